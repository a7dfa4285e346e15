//! Documents: one row for each id that the events of a projection name, folded by a function.

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

/// What a document projection keeps.
pub struct Documents {
    /// The table of the documents.
    pub table: Oid,
    /// Which documents an event belongs to.
    pub key: IdSource,
    /// `(doc, event) → doc`.
    pub evolve: Named,
    /// What the first event of a document meets: a jsonb without its length word; `None`: NULL.
    pub initial: Option<Vec<u8>>,
}

/// Which documents an event belongs to.
pub enum IdSource {
    /// Those of its stream, or of its tags.
    Plain(group_key::GroupKey),
    /// What a function says.
    Function(Named),
}

impl IdSource {
    /// A key that is no function.
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

    /// The ids of an event with this stream and these tags; `None`: a function must be asked. A tag that is the prefix
    /// names no document: an empty id is none, as from a function.
    pub fn ids<'t>(
        &self,
        stream: Option<&str>,
        tags: impl Iterator<Item = &'t str>,
    ) -> Option<Vec<String>> {
        match self {
            Self::Plain(key) => Some(named(key.ids(stream, tags))),
            Self::Function(_) => None,
        }
    }

    /// The ids of a stored event, as far as no function must be asked.
    ///
    /// # Errors
    /// Those of damaged rows.
    pub fn ids_of_row(&self, row: &Row) -> Result<Option<Vec<String>>> {
        match self {
            Self::Plain(key) => Ok(Some(named(key.ids_of_row(row)?))),
            Self::Function(_) => Ok(None),
        }
    }
}

fn named(mut ids: Vec<String>) -> Vec<String> {
    ids.retain(|id| !id.is_empty());
    ids
}

/// Events by the documents that they belong to, in position order.
pub type ById<'i> = BTreeMap<String, Vec<&'i Ready<'i>>>;

/// Asks a key function. NULL and empty ids are none.
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

/// The table of a projection's documents is gone.
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
    /// Makes sure that the caller may say what is written into the table, whose owner this is.
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

    /// Says which documents events belong to.
    ///
    /// # Errors
    /// 42883 where the key function is gone; its own.
    pub fn by_id<'i>(&self, projection: &Projection, items: &'i [Ready<'i>]) -> Result<ById<'i>> {
        let asked = match &self.key {
            IdSource::Function(key) => Some(key.function(KIND, &projection.name)?.prepare()),
            _ => None,
        };
        let at = projection.error_context("key");
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
    pub fn fold(&self, projection: &Projection, by_id: ById, at: &ErrorContext) -> Result<()> {
        let missing = || missing_table(&projection.name);
        let table = Table::open(self.table).ok_or_else(missing)?;
        let evolve = self.evolve.function(KIND, &projection.name)?.prepare();
        let scratch = Scratch::new();
        for (id, items) in by_id {
            pgrx::check_for_interrupts!();
            scratch.run(|| {
                let (place, stored) = table.load(&id)?;
                let state = self.evolved(stored, &items, &evolve, at);
                let Some(last) = items.last() else {
                    return Ok(());
                };
                table.store(&id, place, &state, (last.position, last.recorded_at_us))
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
        at: &ErrorContext,
    ) -> DocumentState {
        let initial = self.initial.as_deref().map(fmgr::make_varlena);
        let mut folding = Folding::new(evolve, initial);
        let mut version = 0;
        if let Some(stored) = stored {
            folding.resume(stored.doc);
            version = stored.version;
        }
        for item in items {
            at.at(item.position, item.position);
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

/// Where a document was found.
pub enum Found {
    Nowhere,
    /// By a statement.
    InTable,
    /// In a table that needs no statements.
    RowId(RowId),
}

/// The table of a projection's documents, used with its owner's rights.
pub struct Table {
    oid: Oid,
    owner: Oid,
    /// Where the table is as en57 has made it.
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

    /// A document, and where it is.
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

    /// Stores what has become of a document; `last` is its last event's position, and when it was recorded.
    pub fn store(
        &self,
        id: &str,
        place: Found,
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
        let is_done = match (&place, &self.plain, &document) {
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
        self.store_by_statement(id, matches!(place, Found::Nowhere), document.as_ref())
    }

    /// The executor's way. It overwrites what somebody else has done by hand, or raises 40001 where the
    /// transaction is isolated from that.
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
