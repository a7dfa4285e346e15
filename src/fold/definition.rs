//! Named folds and deciders as the rows of `en57.folds` define them, with their functions looked up.

use std::ffi::CString;
use std::rc::Rc;

use crate::dcb::error::{self, Error, Result, SqlState, required};
use crate::dcb::schema::Schema;
use crate::definition::function::Named;
use crate::event_type::LazySchema;
use crate::store::call::function::{ErrorContext, Function};
use crate::store::pg::spi::Values;
use crate::store::pg::{fmgr, guard};
use crate::store::session::definitions::{self, Cache, Table};

/// A fold or a decider.
pub struct Definition {
    /// Its name.
    pub name: String,
    /// Its number. Each redefinition gives it a new one, so that old snapshots are not used.
    pub number: i64,
    /// `(state, event) → state`.
    pub evolve: Named,
    /// The state before the first event: a jsonb without its length word; `None`: NULL.
    pub initial: Option<Vec<u8>>,
    /// A snapshot is taken after a read of at least so many events that the last one does not contain; `None`: never.
    pub snapshot_every: Option<i64>,
    /// What a decider has beyond a fold; `None`: it is a fold.
    pub decider: Option<Decider>,
    /// The search path of its functions.
    pub path: CString,
}

/// What a decider has beyond a fold.
pub struct Decider {
    /// `command → query`.
    pub query: Named,
    /// `(command, state) → events`.
    pub decide: Named,
    command_schema: Option<LazySchema>,
}

thread_local! {
    static KNOWN: Cache<Vec<Rc<Definition>>> = const { Cache::new(Table::Folds) };
}

impl Decider {
    /// The JSON Schema of its commands as it is stored: a jsonb without its length word.
    pub fn command_schema(&self) -> Option<&[u8]> {
        self.command_schema.as_ref().map(LazySchema::source)
    }

    /// The JSON Schema of its commands; `None`: any command fits.
    ///
    /// # Errors
    /// As [`LazySchema::schema`].
    pub fn schema(&self) -> Result<Option<&Schema>> {
        self.command_schema
            .as_ref()
            .map(LazySchema::schema)
            .transpose()
    }
}

/// Makes a definition of a row of the table.
///
/// # Errors
/// 22P02 where a text is not UTF-8.
pub fn from_row(row: &Values) -> Result<Definition> {
    let text = |n: usize| row[n].map(fmgr::text).transpose();
    let or_empty = |n: usize| Ok(text(n)?.unwrap_or_default());
    let decider = match (text(5)?, text(6)?) {
        (Some(query), Some(decide)) => Some(Decider {
            query: Named::new(query.to_owned()),
            decide: Named::new(decide.to_owned()),
            command_schema: row[7].map(|d| LazySchema::new(d, "command_schema")),
        }),
        _ => None,
    };
    Ok(Definition {
        name: or_empty(0)?.to_owned(),
        number: row[1].map_or(0, |d| d.value() as i64),
        evolve: Named::new(or_empty(2)?.to_owned()),
        initial: row[3].map(|d| fmgr::varlena(d).to_vec()),
        snapshot_every: row[4].map(|d| i64::from(d.value() as i32)),
        decider,
        path: guard::text(or_empty(8)?),
    })
}

impl Definition {
    /// One of its functions.
    ///
    /// # Errors
    /// 42883 where it is gone.
    pub fn function<'n>(&self, named: &'n Named) -> Result<&'n Function> {
        named.found().ok_or_else(|| {
            Error::new(
                SqlState::UndefinedFunction,
                format!(
                    "function {} of {} \"{}\" does not exist",
                    named.name,
                    self.kind(),
                    self.name
                ),
            )
            .hint(format!(
                "Create the function again, give it back its name, or define the {} anew with en57_create_{0}(.., or_replace => true).",
                self.kind()
            ))
        })
    }

    /// Whether another definition is the same version: neither the definition nor one of its functions was replaced between
    /// the times when these two were loaded.
    pub fn is_same_version_as(&self, other: &Self) -> bool {
        let version = |d: &Self| {
            let decider = d.decider.as_ref();
            let of_decider = decider.map(|d| [d.query.mark(), d.decide.mark()]);
            (d.number, d.evolve.mark(), of_decider)
        };
        version(self) == version(other)
    }

    /// What an error's CONTEXT says of one of its functions.
    pub fn error_context(&self, role: &str, named: &Named) -> ErrorContext {
        ErrorContext::new(&format!(
            "{role} {} of {} \"{}\"",
            named.name,
            self.kind(),
            self.name
        ))
    }

    /// `fold` or `decider`.
    pub fn kind(&self) -> &'static str {
        if self.decider.is_some() {
            "decider"
        } else {
            "fold"
        }
    }
}

/// The fold or decider of a name, by its newest committed definition.
///
/// # Errors
/// 22004 where the name is NULL, 42704 where there is none.
pub fn by_name(name: Option<&str>, kind: &str) -> Result<Rc<Definition>> {
    let name = required(name, &format!("the {kind}'s name"))?;
    definitions::accept_changes();
    if let Some(known) = find(name, &KNOWN.with(|known| known.get(load))?) {
        return Ok(known);
    }
    // A look at the rows can miss one that is being redefined. So the rows are read once more.
    let fresh = Cache::new(Table::Folds);
    find(name, &fresh.get(load)?).ok_or_else(|| missing(Some(name), kind))
}

/// 42704: there is no fold or decider of this name.
pub fn missing(name: Option<&str>, kind: &str) -> Error {
    error::missing(kind, name.unwrap_or_default())
}

fn load(rows: Vec<Values>) -> Result<Vec<Rc<Definition>>> {
    rows.iter().map(|row| from_row(row).map(Rc::new)).collect()
}

/// The definition of a name. The newest one, if the rows contain an old and a new one because it is being redefined.
fn find(name: &str, all: &[Rc<Definition>]) -> Option<Rc<Definition>> {
    all.iter()
        .filter(|d| d.name == name)
        .max_by_key(|d| d.number)
        .cloned()
}
