//! Swapping row by row: the documents that differ are written into the live table.
//!
//! Readers do not wait. By its snapshot, each of them sees all changes or none.

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

/// Documents that are compared together at most, and their bytes: an array must stay below 1 GB.
const DOCUMENTS_AT_ONCE: usize = 2000;
const BYTES_AT_ONCE: i64 = 16 << 20;

/// Some rebuilt documents after an id, as arrays of their columns, and the last id.
const PAGE: &str = "
    SELECT array_agg(id), array_agg(doc), array_agg(version), array_agg(position), array_agg(updated_at), max(id)
      FROM (SELECT *, sum(bytes) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) AS so_far
              FROM en57.rebuild_documents WHERE rebuild = $1 AND id > $2 ORDER BY id LIMIT $3) page
     WHERE so_far - bytes < $4";
/// Some rebuilt documents after an id, as rows.
const ROWS: &str = "
    SELECT id, doc, version, position, updated_at
      FROM (SELECT *, sum(bytes) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) AS so_far
              FROM en57.rebuild_documents WHERE rebuild = $1 AND id > $2 ORDER BY id LIMIT $3) page
     WHERE so_far - bytes < $4 ORDER BY id";
/// The rebuilt documents with these ids, as arrays of their columns, and the last id.
const PAGE_OF: &str = "
    SELECT array_agg(id), array_agg(doc), array_agg(version), array_agg(position), array_agg(updated_at), max(id)
      FROM (SELECT d.*, sum(d.bytes) OVER (ORDER BY d.id ROWS UNBOUNDED PRECEDING) AS so_far
              FROM unnest($2) AS s (id), LATERAL (
                   SELECT * FROM en57.rebuild_documents WHERE rebuild = $1 AND id = s.id OFFSET 0) d) page
     WHERE so_far - bytes < $3";
/// Which of these ids have a rebuilt document.
const REBUILT: &str = "
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
    /// The rebuilt documents of a rebuild, and the table of the projection.
    ///
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

    /// The ids of the documents that differ; `None` if there are more than `at_most`.
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

    /// Makes the live table equal to the rebuilt documents. Documents that are equal, bit by bit, are not written.
    ///
    /// # Errors
    /// PostgreSQL's own, by unwinding.
    pub fn give_all(&self) -> Result<()> {
        self.each_page(|page, after, last| self.live.give(page, after, last).map(|()| true))
            .map(drop)
    }

    /// Makes the live documents with these ids equal to the rebuilt ones.
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
        let rows = BY_INDEX.plan(|| run(REBUILT, &[number, texts(ids)]))?;
        let rebuilt = rows.iter().map(|row| row[0].map_or(Ok(""), fmgr::text));
        let rebuilt: HashSet<&str> = rebuilt.collect::<Result<_>>()?;
        let gone: Vec<&str> = ids
            .iter()
            .copied()
            .filter(|i| !rebuilt.contains(i))
            .collect();
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

    /// Calls `give` for each page of rebuilt documents until it returns `false`. It gets the page, the id after which the
    /// page begins, and the last id in it; `None`: the page is empty. Returns whether these were all pages.
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

    /// Calls `give` with rows of rebuilt documents in the order of their ids, until it returns `false`: id, document,
    /// version, position, time. Returns whether these were all rows.
    ///
    /// # Errors
    /// Those of `give`.
    pub fn each_rows(&self, mut give: impl FnMut(&[Values]) -> Result<bool>) -> Result<bool> {
        self.pages(ROWS, |rows, _| {
            let last = rows.last().and_then(|row| row[0]).map(fmgr::text);
            Ok((give(&rows)?, last.transpose()?.map(str::to_owned)))
        })
    }

    /// Runs a statement for page after page, and calls `give` with its rows and the id after which the page begins. `give`
    /// returns whether to go on, and the last id of the page.
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

/// The live table of the documents, used with its owner's rights.
struct Live {
    name: String,
    owner: Oid,
}

impl Live {
    fn run(
        &self,
        planner: &PlannerSettings,
        sql: &str,
        parameters: &[(Type, Option<Datum>)],
    ) -> Result<Vec<Values>> {
        rights::as_role_restricted(self.owner, || {
            rights::with_path(rights::SAFE_PATH, || {
                planner.plan(|| spi::run(sql, parameters))
            })
        })
    }

    /// Makes the live documents of a range equal to a page: the page has all documents after one id and up to another.
    /// `last` is `None` for an empty page, which ends the table.
    fn give(&self, page: &Values, after: &str, last: Option<&str>) -> Result<()> {
        let delete = format!("DELETE FROM {} d WHERE {}", self.name, missing(after, last));
        self.run(&BY_HASH, &delete, &bounds(page, after, last))?;
        if last.is_none() {
            return Ok(());
        }
        self.put(page)
    }

    /// Updates and inserts the documents of a page.
    fn put(&self, page: &Values) -> Result<()> {
        let Self { name, .. } = self;
        let columns = columns(page);
        // OFFSET 0 keeps the planner from making a join of the subquery: so each id is looked up in the index.
        let update = format!(
            "UPDATE {name} d SET doc = s.doc, version = s.version, position = s.position, updated_at = s.updated_at
               FROM (SELECT s.*, l.tid FROM {GIVEN}, LATERAL (
                         SELECT ctid AS tid, doc, version, position, updated_at FROM {name} WHERE id = s.id OFFSET 0) l
                      WHERE record_image_ne(ROW(l.doc, l.version, l.position, l.updated_at),
                                ROW(s.doc, s.version, s.position, s.updated_at)) OFFSET 0) s
              WHERE d.ctid = s.tid"
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

    /// Adds the ids of the live documents that differ from a page, with the same arguments as [`Self::give`].
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

/// The condition for live documents in the range of a page that are not in the page, with the parameters of [`bounds`].
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
