//! The store of a rebuild's documents between batches: a table, or the new files of the live table during their exchange.

use std::cell::RefCell;

use crate::dcb::error::Result;
use crate::store::Datum;
use crate::store::pg::scratch::Scratch;
use crate::store::pg::spi::{Type, Values};
use crate::store::pg::{array, composite, fmgr};

use super::files::Files;
use super::planner::BY_INDEX;
use super::state::RebuildState;

/// Documents that one statement stores at most, and their bytes: an array must stay below 1 GB.
const STORED_AT_ONCE: usize = 2000;
const BYTES_AT_ONCE: usize = 16 << 20;

/// A document in memory.
pub struct Document {
    /// What it is by now.
    pub doc: Option<Datum>,
    /// How many events are in it; 0: there is none.
    pub version: i64,
    /// The position of the last one.
    pub position: i64,
    /// When that was recorded, in PostgreSQL's microseconds.
    pub recorded_at_us: i64,
    /// Bytes of memory that it takes.
    pub bytes: usize,
    /// Whether there is a row of it.
    pub is_stored: bool,
    /// Whether that row is out of date.
    pub is_changed: bool,
}

impl Document {
    /// There is none yet.
    pub fn new(initial: Option<Datum>) -> Self {
        Self {
            doc: initial,
            version: 0,
            position: 0,
            recorded_at_us: 0,
            bytes: 0,
            is_stored: false,
            is_changed: false,
        }
    }
}

/// A document with its id.
pub type Named<'d> = (&'d String, &'d Document);

/// A store of documents.
pub enum DocumentStore<'a> {
    /// In `en57.rebuild_documents`.
    Table {
        /// The rebuild.
        rebuild: i64,
        /// Whether it contains no documents yet.
        is_empty: bool,
    },
    /// In the files that the live table will have.
    Files(&'a RefCell<Files>),
}

impl DocumentStore<'_> {
    /// The table, for a rebuild in this state.
    pub fn table(state: &RebuildState) -> Self {
        Self::Table {
            rebuild: state.number,
            is_empty: state.events == 0,
        }
    }

    /// Calls `found` for each of these ids that has a document: id, document, version, position. The values are in the
    /// current memory context.
    ///
    /// # Errors
    /// PostgreSQL's own, by unwinding.
    pub fn get(&self, ids: &[&str], mut found: impl FnMut(&str, Datum, i64, i64)) -> Result<()> {
        let rebuild = match self {
            _ if ids.is_empty() => return Ok(()),
            Self::Table { is_empty: true, .. } => return Ok(()),
            Self::Table { rebuild, .. } => *rebuild,
            Self::Files(files) => return files.borrow().get(ids, found),
        };
        let rows = run(
            LOAD,
            &[
                (Type::Bigint, Some(Datum::from(rebuild))),
                (Type::Texts, Some(array::make(ids))),
            ],
        )?;
        for row in rows {
            let number = |n: usize| row[n].map_or(0, |d| d.value() as i64);
            let id = row[0].map_or(Ok(""), fmgr::text)?;
            if let Some(doc) = row[1].map(composite::detoasted) {
                found(id, doc, number(2), number(3));
            }
        }
        Ok(())
    }

    /// Stores documents that have changed.
    ///
    /// # Errors
    /// PostgreSQL's own, by unwinding.
    pub fn put(&self, changed: &[Named]) -> Result<()> {
        match self {
            Self::Table { rebuild, .. } => put_in_table(*rebuild, changed),
            Self::Files(files) => files.borrow_mut().put(changed),
        }
    }
}

fn put_in_table(rebuild: i64, changed: &[Named]) -> Result<()> {
    let (existing, gone): (Vec<Named>, Vec<Named>) =
        changed.iter().partition(|(_, d)| d.version > 0);
    let gone: Vec<&str> = gone
        .iter()
        .filter(|(_, d)| d.is_stored)
        .map(|(id, _)| id.as_str())
        .collect();
    let (mut old, mut new): (Vec<_>, Vec<_>) = existing.into_iter().partition(|(_, d)| d.is_stored);
    // Neighbours in the index are stored together.
    for (documents, sql) in [(&mut old, UPDATE), (&mut new, INSERT)] {
        documents.sort_unstable_by_key(|(id, _)| *id);
        let mut left = documents.as_slice();
        while !left.is_empty() {
            let mut bytes = 0;
            let fits = |d: &&Named| {
                bytes += d.1.bytes;
                bytes <= BYTES_AT_ONCE
            };
            let count = left.iter().take(STORED_AT_ONCE).take_while(fits).count();
            let (now, later) = left.split_at(count.max(1));
            Scratch::new().run(|| run(sql, &columns(rebuild, now)).map(drop))?;
            left = later;
        }
    }
    if gone.is_empty() {
        return Ok(());
    }
    let number = (Type::Bigint, Some(Datum::from(rebuild)));
    run(DELETE, &[number, (Type::Texts, Some(array::make(&gone)))]).map(drop)
}

/// `OFFSET 0` keeps the planner from making a join of the subquery: so each id is looked up in the index. A join could
/// read all documents.
const LOAD: &str = "
    SELECT s.id, d.doc, d.version, d.position
      FROM unnest($2) AS s (id), LATERAL (
           SELECT * FROM en57.rebuild_documents WHERE rebuild = $1 AND id = s.id OFFSET 0) d";
const INSERT: &str = "
    INSERT INTO en57.rebuild_documents (rebuild, id, doc, version, position, updated_at, bytes)
    SELECT $1, * FROM unnest($2, $3, $4, $5, $6, $7)";
const UPDATE: &str = "
    INSERT INTO en57.rebuild_documents (rebuild, id, doc, version, position, updated_at, bytes)
    SELECT $1, * FROM unnest($2, $3, $4, $5, $6, $7)
    ON CONFLICT (rebuild, id) DO UPDATE
       SET doc = excluded.doc, version = excluded.version, position = excluded.position,
           updated_at = excluded.updated_at, bytes = excluded.bytes";
const DELETE: &str = "
    DELETE FROM en57.rebuild_documents WHERE ctid = ANY (ARRAY(
        SELECT d.ctid FROM unnest($2) AS s (id), LATERAL (
               SELECT ctid FROM en57.rebuild_documents WHERE rebuild = $1 AND id = s.id OFFSET 0) d))";

fn run(sql: &str, parameters: &[(Type, Option<Datum>)]) -> Result<Vec<Values>> {
    BY_INDEX.plan(|| super::state::run(sql, parameters))
}

/// Documents as arrays of their columns.
fn columns(number: i64, documents: &[Named]) -> [(Type, Option<Datum>); 7] {
    let ids: Vec<&str> = documents.iter().map(|(id, _)| id.as_str()).collect();
    let mut docs: Vec<Datum> = documents.iter().filter_map(|(_, d)| d.doc).collect();
    let numbers = |of: fn(&Document) -> i64| {
        let values: Vec<i64> = documents.iter().map(|(_, d)| of(d)).collect();
        Some(array::make_bigints(&values))
    };
    let mut times: Vec<Datum> = documents
        .iter()
        .map(|(_, d)| Datum::from(d.recorded_at_us))
        .collect();
    [
        (Type::Bigint, Some(Datum::from(number))),
        (Type::Texts, Some(array::make(&ids))),
        (
            Type::Jsonbs,
            Some(composite::array_of(composite::JSONB, &mut docs)),
        ),
        (Type::Bigints, numbers(|d| d.version)),
        (Type::Bigints, numbers(|d| d.position)),
        (
            Type::Times,
            Some(composite::array_of(composite::TIMESTAMPTZ, &mut times)),
        ),
        (Type::Bigints, numbers(|d| d.bytes as i64)),
    ]
}
