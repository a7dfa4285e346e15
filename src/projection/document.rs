//! Documents: one row for each id that the events of a projection name, folded by a function.

use std::collections::BTreeMap;

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::array::TextArray;
use crate::store::event::Row;
use crate::store::function::{Callable, Whereabouts};
use crate::store::scratch::Scratch;
use crate::store::spi::{self, Type};
use crate::store::{Datum, Oid, fmgr, rights, tuple};

use super::apply::Item;
use super::definition::{Named, Projection};

/// What a document projection keeps.
pub struct Documents {
    /// The table of the documents.
    pub table: Oid,
    /// Which documents an event belongs to.
    pub key: Key,
    /// `(doc, event) → doc`.
    pub evolve: Named,
    /// What the first event of a document meets: a jsonb without its length word; `None`: NULL.
    pub initial: Option<Vec<u8>>,
}

/// Which documents an event belongs to.
pub enum Key {
    /// That of its stream.
    Stream,
    /// Those of its tags that begin so; the rest is the id.
    Tag(String),
    /// What a function says.
    Function(Named),
}

impl Key {
    /// A key that is no function.
    ///
    /// # Errors
    /// 22023.
    pub fn parse(text: &str) -> Result<Self> {
        match text.strip_prefix("tag:") {
            Some(prefix) if !prefix.is_empty() => Ok(Self::Tag(prefix.to_owned())),
            None if text == "stream" => Ok(Self::Stream),
            _ => Err(Error::new(
                SqlState::InvalidParameter,
                "key must be 'stream', 'tag:PREFIX', or a function",
            )
            .hint(
                "With 'tag:course:', an event tagged course:sql belongs to the document sql. \
                 A function is written 'name(en57_event)'::regprocedure.",
            )),
        }
    }

    /// The ids of an event with this stream and these tags; `None`: a function must be asked.
    pub fn ids<'t>(
        &self,
        stream: Option<&str>,
        tags: impl Iterator<Item = &'t str>,
    ) -> Option<Vec<String>> {
        match self {
            Self::Stream => Some(stream.map(str::to_owned).into_iter().collect()),
            Self::Tag(prefix) => Some(
                tags.filter_map(|t| t.strip_prefix(prefix.as_str()))
                    .filter(|id| !id.is_empty())
                    .map(str::to_owned)
                    .collect(),
            ),
            Self::Function(_) => None,
        }
    }

    /// The ids of a stored event, as far as no function must be asked.
    ///
    /// # Errors
    /// Those of damaged rows.
    pub fn ids_of_row(&self, row: &Row) -> Result<Option<Vec<String>>> {
        let stream = row
            .get(crate::store::event::Column::Stream)
            .map(fmgr::text)
            .transpose()?;
        Ok(self.ids(stream, row.tags()?.texts()?.into_iter()))
    }
}

/// Events by the documents that they belong to, in position order.
pub type ById<'i> = BTreeMap<String, Vec<&'i Item>>;

/// Asks a key function. NULL and empty ids are none.
///
/// # Errors
/// 54000 for an id of more than a tag's bytes; 22023 for an array of several dimensions or with NULLs.
pub fn asked_ids(function: &Callable, event: Datum, projection: &str) -> Result<Vec<String>> {
    let Some(answer) = function.call([Some(event)]) else {
        return Ok(Vec::new());
    };
    let place = format!("the key of projection \"{projection}\" ");
    let texts = if function.returns_array() {
        TextArray::from_datum(answer, &place)?.texts()?
    } else {
        vec![fmgr::text(answer)?]
    };
    let mut ids: Vec<String> = texts
        .into_iter()
        .filter(|id| !id.is_empty())
        .map(str::to_owned)
        .collect();
    if ids
        .iter()
        .any(|id| id.len() > crate::dcb::limits::TEXT_BYTES)
    {
        let message = format!(
            "{place}is longer than {} bytes",
            crate::dcb::limits::TEXT_BYTES
        );
        return Err(Error::new(SqlState::LimitExceeded, message));
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// A document while events are folded into it.
struct State {
    doc: Option<Datum>,
    /// How many events are in it; 0: there is no document.
    version: i64,
}

impl Documents {
    /// Says which documents events belong to.
    ///
    /// # Errors
    /// 42883 where the key function is gone; its own.
    pub fn by_id<'i>(&self, projection: &Projection, items: &'i [Item]) -> Result<ById<'i>> {
        let asked = match &self.key {
            Key::Function(key) => Some(key.function(&projection.name)?.prepare()),
            _ => None,
        };
        let at = projection.whereabouts("key");
        let mut by_id = ById::new();
        for item in items {
            let ids = match (&item.ids, &asked) {
                (Some(ids), _) => ids.clone(),
                (None, Some(key)) => {
                    at.at(item.position, item.position);
                    at.tell(|| asked_ids(key, item.event, &projection.name))?
                }
                (None, None) => Vec::new(),
            };
            for id in ids {
                by_id.entry(id).or_default().push(item);
            }
        }
        Ok(by_id)
    }

    /// Folds events into their documents, document by document in the order of their ids. The caller
    /// keeps others from doing the same.
    ///
    /// # Errors
    /// 42883 where the function, 55000 where the table is gone; those of the function, by unwinding.
    pub fn fold(&self, projection: &Projection, by_id: ById, at: &Whereabouts) -> Result<()> {
        let missing = || {
            Error::new(
                SqlState::NotInPrerequisiteState,
                format!("the table of projection \"{}\" is missing", projection.name),
            )
            .hint("Drop the projection with en57_drop_projection() and create it again.")
        };
        let table = Table {
            name: rights::qualified_name(self.table).ok_or_else(missing)?,
            owner: rights::owner_of(self.table).ok_or_else(missing)?,
        };
        let evolve = self.evolve.function(&projection.name)?.prepare();
        let scratch = Scratch::new();
        for (id, items) in by_id {
            pgrx::check_for_interrupts!();
            scratch.run(|| {
                let stored = table.load(&id)?;
                let was_there = stored.is_some();
                let state = self.evolved(stored, &items, &evolve, at);
                let Some(last) = items.last() else {
                    return Ok(());
                };
                table.store(&id, was_there, &state, last)
            })?;
            scratch.reset();
        }
        Ok(())
    }

    fn evolved(
        &self,
        stored: Option<State>,
        items: &[&Item],
        evolve: &Callable,
        at: &Whereabouts,
    ) -> State {
        let fresh = || State {
            doc: self.initial.as_deref().map(fmgr::make_varlena),
            version: 0,
        };
        let mut state = stored.unwrap_or_else(fresh);
        for item in items {
            at.at(item.position, item.position);
            match evolve.call([state.doc, Some(item.event)]) {
                Some(doc) => {
                    state.doc = Some(doc);
                    state.version += 1;
                }
                // Deleted: what follows begins anew.
                None => state = fresh(),
            }
        }
        state
    }
}

/// The table of a projection's documents, used with its owner's rights.
struct Table {
    name: String,
    owner: Oid,
}

impl Table {
    fn run(&self, sql: &str, parameters: &[(Type, Option<Datum>)]) -> Result<Vec<spi::Values>> {
        rights::as_role(self.owner, || spi::run(sql, parameters))
    }

    fn load(&self, id: &str) -> Result<Option<State>> {
        let sql = format!(
            "SELECT doc, version FROM {} WHERE id OPERATOR(pg_catalog.=) $1",
            self.name
        );
        let rows = self.run(&sql, &[text(id)])?;
        Ok(rows.first().map(|row| State {
            doc: row[0].map(tuple::detoasted),
            version: row[1].map_or(0, |d| d.value() as i64),
        }))
    }

    fn store(&self, id: &str, was_there: bool, state: &State, last: &Item) -> Result<()> {
        let Self { name, .. } = self;
        let sql = match (was_there, state.version) {
            (false, 0) => return Ok(()),
            (true, 0) => {
                let sql = format!("DELETE FROM {name} WHERE id OPERATOR(pg_catalog.=) $1");
                return self.run(&sql, &[text(id)]).map(drop);
            }
            (false, _) => format!(
                "INSERT INTO {name} (id, doc, version, position, updated_at) VALUES ($1, $2, $3, $4, $5)"
            ),
            (true, _) => format!(
                "UPDATE {name} SET doc = $2, version = $3, position = $4, updated_at = $5
                 WHERE id OPERATOR(pg_catalog.=) $1"
            ),
        };
        let parameters = [
            text(id),
            (Type::Jsonb, state.doc),
            (Type::Bigint, Some(Datum::from(state.version))),
            (Type::Bigint, Some(Datum::from(last.position))),
            (Type::Time, Some(Datum::from(last.recorded_at_us))),
        ];
        self.run(&sql, &parameters).map(drop)
    }
}

fn text(id: &str) -> (Type, Option<Datum>) {
    (Type::Text, Some(fmgr::make_varlena(id.as_bytes())))
}
