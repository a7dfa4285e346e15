//! Documents: a function folds the events of each id into one row.

use std::collections::BTreeMap;

use crate::dcb::error::{Error, Result, SqlState, invalid};
use crate::definition::function::Named;
use crate::definition::group_key;
use crate::fold::evolve::Folding;
use crate::store::call::function::{Callable, ErrorContext};
use crate::store::document::table::{Document, PlainTable, RowId, Stored};
use crate::store::pg::array::TextArray;
use crate::store::pg::scratch::Scratch;
use crate::store::pg::spi::{self, Type, text};
use crate::store::pg::{composite, fmgr, names, rights};
use crate::store::row::event::Row;
use crate::store::{Datum, Oid};

use super::apply::Ready;
use super::definition::{KIND, Projection};

/// The definition of a document projection.
pub struct Documents {
    /// The table of the documents.
    pub table: Oid,
    /// Which documents an event belongs to.
    pub key: IdSource,
    /// `(doc, event) → doc`.
    pub evolve: Named,
    /// The document before its first event: a jsonb without its length word; `None`: NULL.
    pub initial: Option<Vec<u8>>,
}

/// Which documents an event belongs to.
pub enum IdSource {
    /// The document of its stream, or those of its tags.
    Plain(group_key::GroupKey),
    /// The documents that a function returns.
    Function(Named),
}

impl IdSource {
    /// Reads a key that is not a function.
    ///
    /// # Errors
    /// 22023.
    pub fn parse(text: &str) -> Result<Self> {
        group_key::GroupKey::parse(text)
            .map(Self::Plain)
            .ok_or_else(|| {
                invalid("key must be 'stream', 'tag:PREFIX', or a function").hint(
                    "With 'tag:course:', an event tagged course:sql belongs to the document sql. \
                 Any other key is the name of a function.",
                )
            })
    }

    /// The ids of an event with this stream and these tags; `None`: only a function knows. A tag that equals the prefix names
    /// no document: an empty id is none, as in the answer of a function.
    pub fn ids<'t>(
        &self,
        stream: Option<&str>,
        tags: impl Iterator<Item = &'t str>,
    ) -> Option<Vec<String>> {
        match self {
            Self::Plain(key) => Some(without_empty(key.ids(stream, tags))),
            Self::Function(_) => None,
        }
    }

    /// The ids of a stored event; `None`: only a function knows.
    ///
    /// # Errors
    /// Those of damaged rows.
    pub fn ids_of_row(&self, row: &Row) -> Result<Option<Vec<String>>> {
        match self {
            Self::Plain(key) => Ok(Some(without_empty(key.ids_of_row(row)?))),
            Self::Function(_) => Ok(None),
        }
    }
}

fn without_empty(mut ids: Vec<String>) -> Vec<String> {
    ids.retain(|id| !id.is_empty());
    ids
}

/// Events by the documents that they belong to, in position order.
pub type ById<'i> = BTreeMap<String, Vec<&'i Ready<'i>>>;

/// Asks a key function for the ids of an event. NULL and empty texts are left out.
///
/// # Errors
/// 54000 for an id of more than a tag's bytes; 22023 for an array of several dimensions or with NULLs.
pub fn asked_ids(function: &Callable, event: Datum, projection: &str) -> Result<Vec<String>> {
    ids_told(function, function.call([Some(event)]), projection)
}

/// The ids in a key function's answer.
///
/// # Errors
/// As [`asked_ids`].
pub fn ids_told(
    function: &Callable,
    answer: Option<Datum>,
    projection: &str,
) -> Result<Vec<String>> {
    let Some(answer) = answer else {
        return Ok(Vec::new());
    };
    let path = format!("the key of projection \"{projection}\" ");
    let texts = if function.returns_array() {
        TextArray::from_datum(answer, &path)?.texts()?
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
            "{path}is longer than {} bytes",
            crate::dcb::limits::TEXT_BYTES
        );
        return Err(Error::new(SqlState::LimitExceeded, message));
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// 55000: the table of a projection's documents does not exist.
pub fn missing_table(projection: &str) -> Error {
    Error::new(
        SqlState::NotInPrerequisiteState,
        format!("the table of projection \"{projection}\" is missing"),
    )
    .hint("Drop the projection with en57_drop_projection() and create it again.")
}

/// A document while events are folded into it.
pub struct DocumentState {
    /// The document as it is by now; `None`: there is none.
    pub doc: Option<Datum>,
    /// How many events are in it; 0: there is no document.
    pub version: i64,
}

impl Documents {
    /// Makes sure that the caller has the rights of the table's owner, with which documents are written.
    ///
    /// # Errors
    /// 42501.
    pub fn demand_rights_of(&self, owner: Oid) -> Result<()> {
        if rights::has_rights_of(owner) {
            return Ok(());
        }
        let table = names::qualified_name(self.table).unwrap_or_default();
        Err(Error::new(
            SqlState::InsufficientPrivilege,
            format!("must be owner of table {table}"),
        )
        .detail("A projection writes its documents with the rights of their table's owner.")
        .hint(format!(
            "It belongs to {}: this is for members of that role.",
            rights::role_name(owner)
        )))
    }

    /// Groups events by the documents that they belong to.
    ///
    /// # Errors
    /// 42883 where the key function is gone; its own.
    pub fn by_id<'i>(&self, projection: &Projection, items: &'i [Ready<'i>]) -> Result<ById<'i>> {
        let asked = match &self.key {
            IdSource::Function(key) => Some(key.function(KIND, &projection.name)?.prepare()),
            _ => None,
        };
        let context = projection.error_context("key");
        let mut by_id = ById::new();
        for item in items {
            let ids = match (&item.ids, &asked) {
                (Some(ids), _) => ids.clone(),
                (None, Some(key)) => {
                    context.at(item.position, item.position);
                    context.tell(|| asked_ids(key, item.event, &projection.name))?
                }
                (None, None) => Vec::new(),
            };
            for id in ids {
                by_id.entry(id).or_default().push(item);
            }
        }
        Ok(by_id)
    }

    /// Folds events into their documents, document by document in the order of their ids. The caller has locked the
    /// documents or the projection.
    ///
    /// # Errors
    /// 42883 where the function, 55000 where the table is gone; those of the function, by unwinding.
    pub fn fold(&self, projection: &Projection, by_id: ById, context: &ErrorContext) -> Result<()> {
        let missing = || missing_table(&projection.name);
        let table = Table::open(self.table).ok_or_else(missing)?;
        let evolve = self.evolve.function(KIND, &projection.name)?.prepare();
        let scratch = Scratch::new();
        for (id, items) in by_id {
            pgrx::check_for_interrupts!();
            scratch.run(|| {
                let (found, stored) = table.load(&id)?;
                let state = self.evolved(stored, &items, &evolve, context);
                let Some(last) = items.last() else {
                    return Ok(());
                };
                table.store(&id, found, &state, (last.position, last.recorded_at_us))
            })?;
            scratch.reset();
        }
        Ok(())
    }

    fn evolved(
        &self,
        stored: Option<DocumentState>,
        items: &[&Ready],
        evolve: &Callable,
        context: &ErrorContext,
    ) -> DocumentState {
        let initial = self.initial.as_deref().map(fmgr::make_varlena);
        let mut folding = Folding::new(evolve, initial);
        let mut version = 0;
        if let Some(stored) = stored {
            folding.resume(stored.doc);
            version = stored.version;
        }
        for item in items {
            context.at(item.position, item.position);
            version = if folding.add(item.event) {
                version + 1
            } else {
                0
            };
        }
        DocumentState {
            doc: folding.finish(),
            version,
        }
    }
}

/// How a document was found.
pub enum Found {
    Nowhere,
    /// By a statement: it is written by a statement, too.
    InTable,
    /// Without a statement, at this row.
    RowId(RowId),
}

/// The table of a projection's documents, used with its owner's rights.
pub struct Table {
    oid: Oid,
    owner: Oid,
    /// The table as it is read and written without statements; `None` if somebody has altered it.
    plain: Option<PlainTable>,
}

impl Table {
    /// `None` where it is gone.
    pub fn open(oid: Oid) -> Option<Self> {
        let owner = rights::owner_of(oid)?;
        let plain = PlainTable::open(oid, owner);
        Some(Self { oid, owner, plain })
    }

    fn run(&self, sql: &str, parameters: &[(Type, Option<Datum>)]) -> Result<Vec<spi::Values>> {
        rights::as_role_restricted(self.owner, || spi::run(sql, parameters))
    }

    /// Its name with its schema, as messages show it.
    pub fn name(&self) -> String {
        names::qualified_name(self.oid).unwrap_or_default()
    }

    /// Loads a document.
    pub fn load(&self, id: &str) -> Result<(Found, Option<DocumentState>)> {
        if let Some(plain) = &self.plain {
            return Ok(match plain.find(id)? {
                None => (Found::Nowhere, None),
                Some(Stored { at, doc, version }) => {
                    let doc = Some(doc);
                    (Found::RowId(at), Some(DocumentState { doc, version }))
                }
            });
        }
        let sql = format!(
            "SELECT doc, version FROM {} WHERE id OPERATOR(pg_catalog.=) $1",
            self.name()
        );
        let rows = self.run(&sql, &[text(id)])?;
        Ok(match rows.first() {
            None => (Found::Nowhere, None),
            Some(row) => {
                let doc = row[0].map(composite::detoasted);
                let version = row[1].map_or(0, |d| d.value() as i64);
                (Found::InTable, Some(DocumentState { doc, version }))
            }
        })
    }

    /// Stores or deletes a document that [`Self::load`] has looked up. `last` is the position of its last event, and when
    /// that was recorded.
    pub fn store(
        &self,
        id: &str,
        found: Found,
        state: &DocumentState,
        last: (i64, i64),
    ) -> Result<()> {
        let document = state.doc.filter(|_| state.version > 0).map(|doc| Document {
            id,
            doc,
            version: state.version,
            position: last.0,
            updated_at_us: last.1,
        });
        let is_done = match (&found, &self.plain, &document) {
            (Found::Nowhere, _, None) => true,
            (Found::Nowhere, Some(plain), Some(new)) => {
                plain.insert(new);
                true
            }
            (Found::RowId(at), Some(plain), Some(new)) => plain.update(*at, new),
            (Found::RowId(at), Some(plain), None) => plain.delete(*at),
            _ => false,
        };
        if is_done {
            return Ok(());
        }
        self.store_by_statement(id, matches!(found, Found::Nowhere), document.as_ref())
    }

    /// Stores or deletes a document by a statement. It overwrites what somebody has changed by hand meanwhile, or raises
    /// 40001 at a higher isolation level.
    fn store_by_statement(
        &self,
        id: &str,
        is_new: bool,
        document: Option<&Document>,
    ) -> Result<()> {
        let name = self.name();
        let Some(document) = document else {
            let sql = format!("DELETE FROM {name} WHERE id OPERATOR(pg_catalog.=) $1");
            return self.run(&sql, &[text(id)]).map(drop);
        };
        let sql = if is_new {
            format!(
                "INSERT INTO {name} (id, doc, version, position, updated_at) VALUES ($1, $2, $3, $4, $5)"
            )
        } else {
            format!(
                "UPDATE {name} SET doc = $2, version = $3, position = $4, updated_at = $5
                 WHERE id OPERATOR(pg_catalog.=) $1"
            )
        };
        let parameters = [
            text(id),
            (Type::Jsonb, Some(document.doc)),
            (Type::Bigint, Some(Datum::from(document.version))),
            (Type::Bigint, Some(Datum::from(document.position))),
            (Type::Time, Some(Datum::from(document.updated_at_us))),
        ];
        self.run(&sql, &parameters).map(drop)
    }
}
