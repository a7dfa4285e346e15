//! Writing what differs into the live table, row by row: readers see all of it or nothing, each by its own snapshot,
//! and wait for nothing.

use std::collections::{BTreeSet, HashSet};

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::pg::scratch::Scratch;
use crate::store::pg::spi::{self, Type, Values, text};
use crate::store::pg::{array, fmgr, names, rights};
use crate::store::{Datum, Oid};

use super::super::definition::Projection;
use super::super::document::missing_table;
use super::documents;
use super::planner::{BY_HASH, BY_INDEX, PlannerSettings};
use super::state::{RebuildState, run};

/// Documents that are compared together, and bytes of them: an array must stay below 1 GB.
const DOCUMENTS_AT_ONCE: usize = 2000;
const BYTES_AT_ONCE: i64 = 16 << 20;

/// Some rebuilt documents after an id, as arrays of their columns, and the last id.
const PAGE: &str = "
    SELECT array_agg(id), array_agg(doc), array_agg(version), array_agg(position), array_agg(updated_at), max(id)
      FROM (SELECT *, sum(bytes) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) AS so_far
              FROM en57.rebuild_documents WHERE rebuild = $1 AND id > $2 ORDER BY id LIMIT $3) page
     WHERE so_far - bytes < $4";
/// The same as rows.
const ROWS: &str = "
    SELECT id, doc, version, position, updated_at
      FROM (SELECT *, sum(bytes) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) AS so_far
              FROM en57.rebuild_documents WHERE rebuild = $1 AND id > $2 ORDER BY id LIMIT $3) page
     WHERE so_far - bytes < $4 ORDER BY id";
/// A page of these ids alone.
const PAGE_OF: &str = "
    SELECT array_agg(id), array_agg(doc), array_agg(version), array_agg(position), array_agg(updated_at), max(id)
      FROM (SELECT d.*, sum(d.bytes) OVER (ORDER BY d.id ROWS UNBOUNDED PRECEDING) AS so_far
              FROM unnest($2) AS s (id), LATERAL (
                   SELECT * FROM en57.rebuild_documents WHERE rebuild = $1 AND id = s.id OFFSET 0) d) page
     WHERE so_far - bytes < $3";
/// Which of these ids have a rebuilt document.
const THERE: &str = "
    SELECT s.id FROM unnest($2) AS s (id), LATERAL (
           SELECT FROM en57.rebuild_documents WHERE rebuild = $1 AND id = s.id OFFSET 0) d";

/// The columns of a page.
const GIVEN: &str = "unnest($1, $2, $3, $4, $5) AS s (id, doc, version, position, updated_at)";

/// The rebuilt documents and the live ones.
pub struct Rows {
    rebuild: i64,
    live: Live,
}

impl Rows {
    /// # Errors
    /// 55000 where the table is gone.
    pub fn of(state: &RebuildState, projection: &Projection) -> Result<Self> {
        let missing = || missing_table(&projection.name);
        let table = documents(projection)?.table;
        Ok(Self {
            rebuild: state.number,
            live: Live {
                name: names::qualified_name(table).ok_or_else(missing)?,
                owner: rights::owner_of(table).ok_or_else(missing)?,
            },
        })
    }

    /// The ids of the documents that differ; `None`: there are more than so many.
    ///
    /// # Errors
    /// PostgreSQL's own, by unwinding.
    pub fn differing(&self, at_most: usize) -> Result<Option<BTreeSet<String>>> {
        let mut ids = BTreeSet::new();
        let is_all = self.each_page(|page, after, last| {
            self.live.differing(page, after, last, &mut ids)?;
            Ok(ids.len() <= at_most)
        })?;
        Ok(is_all.then_some(ids))
    }

    /// Makes the live table equal to the rebuilt documents, bit by bit the same. What is equal is left alone.
    ///
    /// # Errors
    /// PostgreSQL's own, by unwinding.
    pub fn give_all(&self) -> Result<()> {
        self.each_page(|page, after, last| self.live.give(page, after, last).map(|()| true))
            .map(drop)
    }

    /// The same, of the documents with these ids alone.
    ///
    /// # Errors
    /// PostgreSQL's own, by unwinding.
    pub fn give(&self, ids: &BTreeSet<String>) -> Result<()> {
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let scratch = Scratch::new();
        for some in ids.chunks(DOCUMENTS_AT_ONCE) {
            scratch.run(|| self.give_some(some))?;
            scratch.reset();
        }
        Ok(())
    }

    fn give_some(&self, mut ids: &[&str]) -> Result<()> {
        let number = (Type::Bigint, Some(Datum::from(self.rebuild)));
        let texts = |ids: &[&str]| (Type::Texts, Some(array::make(ids)));
        let rows = BY_INDEX.plan(|| run(THERE, &[number, texts(ids)]))?;
        let there = rows.iter().map(|row| row[0].map_or(Ok(""), fmgr::text));
        let there: HashSet<&str> = there.collect::<Result<_>>()?;
        let gone: Vec<&str> = ids.iter().copied().filter(|i| !there.contains(i)).collect();
        self.live.remove(&gone)?;
        while !ids.is_empty() {
            pgrx::check_for_interrupts!();
            let bytes = (Type::Bigint, Some(Datum::from(BYTES_AT_ONCE)));
            let page = BY_INDEX.plan(|| run(PAGE_OF, &[number, texts(ids), bytes]))?;
            let page = page.first().ok_or_else(no_page)?;
            let Some(last) = page[5].map(fmgr::text).transpose()? else {
                break;
            };
            self.live.put(page)?;
            ids = &ids[ids.partition_point(|id| *id <= last)..];
        }
        Ok(())
    }

    /// Hands pages of rebuilt documents to `give`, each with the id after which it begins and the last one in it, or
    /// none, until it says enough. Returns whether that were all.
    fn each_page(
        &self,
        mut give: impl FnMut(&Values, &str, Option<&str>) -> Result<bool>,
    ) -> Result<bool> {
        self.pages(PAGE, |rows, after| {
            let page = rows.first().ok_or_else(no_page)?;
            let last = page[5].map(fmgr::text).transpose()?;
            Ok((give(page, after, last)?, last.map(str::to_owned)))
        })
    }

    /// Hands rows of rebuilt documents to `give`, in the order of their ids, until it says enough: id, document,
    /// version, position, time. Returns whether that were all.
    ///
    /// # Errors
    /// Those of `give`.
    pub fn each_rows(&self, mut give: impl FnMut(&[Values]) -> Result<bool>) -> Result<bool> {
        self.pages(ROWS, |rows, _| {
            let last = rows.last().and_then(|row| row[0]).map(fmgr::text);
            Ok((give(&rows)?, last.transpose()?.map(str::to_owned)))
        })
    }

    /// Hands what a statement finds after each last id to `give`, which says whether to go on, and the last id.
    fn pages(
        &self,
        sql: &str,
        mut give: impl FnMut(Vec<Values>, &str) -> Result<(bool, Option<String>)>,
    ) -> Result<bool> {
        let scratch = Scratch::new();
        // No document has an empty id.
        let mut after = String::new();
        loop {
            pgrx::check_for_interrupts!();
            let (goes_on, last) = scratch.run(|| {
                let parameters = [
                    (Type::Bigint, Some(Datum::from(self.rebuild))),
                    text(&after),
                    (Type::Bigint, Some(Datum::from(DOCUMENTS_AT_ONCE as i64))),
                    (Type::Bigint, Some(Datum::from(BYTES_AT_ONCE))),
                ];
                give(BY_INDEX.plan(|| run(sql, &parameters))?, &after)
            })?;
            scratch.reset();
            match last {
                _ if !goes_on => return Ok(false),
                Some(last) => after = last,
                None => return Ok(true),
            }
        }
    }
}

fn no_page() -> Error {
    Error::new(SqlState::Internal, "an aggregate has no row")
}

/// The table of the documents, used with its owner's rights.
struct Live {
    name: String,
    owner: Oid,
}

impl Live {
    fn run(
        &self,
        way: &PlannerSettings,
        sql: &str,
        parameters: &[(Type, Option<Datum>)],
    ) -> Result<Vec<Values>> {
        rights::as_role_restricted(self.owner, || {
            rights::with_path(rights::SAFE_PATH, || way.plan(|| spi::run(sql, parameters)))
        })
    }

    /// Gives the table the documents of a page, which are all that there are after one id and up to another;
    /// where there are none, no more are to follow.
    fn give(&self, page: &Values, after: &str, last: Option<&str>) -> Result<()> {
        let delete = format!("DELETE FROM {} d WHERE {}", self.name, missing(after, last));
        self.run(&BY_HASH, &delete, &bounds(page, after, last))?;
        if last.is_none() {
            return Ok(());
        }
        self.put(page)
    }

    /// Gives the table the documents of a page.
    fn put(&self, page: &Values) -> Result<()> {
        let Self { name, .. } = self;
        let columns = columns(page);
        // The subquery is planned by itself, so each id is looked for in the index.
        let update = format!(
            "UPDATE {name} d SET doc = s.doc, version = s.version, position = s.position, updated_at = s.updated_at
               FROM (SELECT s.*, l.place FROM {GIVEN}, LATERAL (
                         SELECT ctid AS place, doc, version, position, updated_at FROM {name} WHERE id = s.id OFFSET 0) l
                      WHERE record_image_ne(ROW(l.doc, l.version, l.position, l.updated_at),
                                ROW(s.doc, s.version, s.position, s.updated_at)) OFFSET 0) s
              WHERE d.ctid = s.place"
        );
        self.run(&BY_INDEX, &update, &columns)?;
        let insert = format!(
            "INSERT INTO {name} (id, doc, version, position, updated_at)
             SELECT * FROM {GIVEN} WHERE NOT EXISTS (SELECT FROM {name} d WHERE d.id = s.id)"
        );
        self.run(&BY_INDEX, &insert, &columns).map(drop)
    }

    fn remove(&self, ids: &[&str]) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let delete = format!("DELETE FROM {} WHERE id = ANY ($1)", self.name);
        let ids = (Type::Texts, Some(array::make(ids)));
        self.run(&BY_INDEX, &delete, &[ids]).map(drop)
    }

    /// The ids of which the table's documents differ from those of a page; as in [`Self::give`].
    fn differing(
        &self,
        page: &Values,
        after: &str,
        last: Option<&str>,
        ids: &mut BTreeSet<String>,
    ) -> Result<()> {
        let Self { name, .. } = self;
        let surplus = format!("SELECT id FROM {name} d WHERE {}", missing(after, last));
        let mut rows = self.run(&BY_HASH, &surplus, &bounds(page, after, last))?;
        if last.is_some() {
            let differ = format!(
                "SELECT s.id FROM {GIVEN} LEFT JOIN LATERAL (
                         SELECT ROW(doc, version, position, updated_at) AS row FROM {name} WHERE id = s.id OFFSET 0) l ON true
                  WHERE l.row IS NULL OR record_image_ne(l.row, ROW(s.doc, s.version, s.position, s.updated_at))"
            );
            rows.extend(self.run(&BY_INDEX, &differ, &columns(page))?);
        }
        for row in rows {
            ids.insert(row[0].map_or(Ok(""), fmgr::text)?.to_owned());
        }
        Ok(())
    }
}

/// What tells a live document of a page's range that is not among the page's, with the parameters of [`bounds`].
fn missing(after: &str, last: Option<&str>) -> String {
    let from = if after.is_empty() {
        ""
    } else {
        "AND d.id > $2"
    };
    let to = last.map_or("", |_| "AND d.id <= $3");
    format!("NOT EXISTS (SELECT FROM unnest($1) AS s (id) WHERE s.id = d.id) {from} {to}")
}

fn ids_of(page: &Values) -> (Type, Option<Datum>) {
    (
        Type::Texts,
        page[0].or_else(|| Some(array::make::<&str>(&[]))),
    )
}

fn bounds(page: &Values, after: &str, last: Option<&str>) -> [(Type, Option<Datum>); 3] {
    [ids_of(page), text(after), text(last.unwrap_or_default())]
}

fn columns(page: &Values) -> [(Type, Option<Datum>); 5] {
    [
        ids_of(page),
        (Type::Jsonbs, page[1]),
        (Type::Bigints, page[2]),
        (Type::Bigints, page[3]),
        (Type::Times, page[4]),
    ]
}
