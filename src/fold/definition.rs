//! Named folds and deciders, as `en57.folds` keeps them.

use std::ffi::CString;
use std::rc::Rc;

use crate::dcb::error::{self, Error, Result, SqlState};
use crate::dcb::schema::Schema;
use crate::event_type::LazySchema;
use crate::store::call::function::{ErrorContext, Function};
use crate::store::pg::spi::Values;
use crate::store::pg::{fmgr, guard};
use crate::store::session::definitions::{self, Cache, Table};

/// A fold, or a decider, with its functions looked up.
pub struct Definition {
    /// Its name.
    pub name: String,
    /// Another one after each redefinition: what snapshots are kept by.
    pub number: i64,
    /// `(state, event) → state`.
    pub evolve: Named,
    /// What the first event meets: a jsonb without its length word; `None`: NULL.
    pub initial: Option<Vec<u8>>,
    /// A snapshot is taken when so many events were read beyond the last one; `None`: never.
    pub snapshot_every: Option<i64>,
    /// What makes a decider of it.
    pub decider: Option<Decider>,
    /// Where its functions find bare names.
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

/// A function as a definition names it; it may be gone.
pub struct Named {
    /// With schema and argument types.
    pub name: String,
    found: Option<Function>,
}

thread_local! {
    static KNOWN: Cache<Vec<Rc<Definition>>> = const { Cache::new(Table::Folds) };
}

impl Decider {
    /// That schema, as it is kept: a jsonb without its length word.
    pub fn command_schema(&self) -> Option<&[u8]> {
        self.command_schema.as_ref().map(LazySchema::source)
    }

    /// The JSON Schema of its commands, `None` where any will do.
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

impl Named {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            found: Function::named(name),
        }
    }

    /// The function, `None` where it is gone.
    pub fn found(&self) -> Option<&Function> {
        self.found.as_ref()
    }

    fn mark(&self) -> Option<i64> {
        self.found.as_ref().map(|f| f.mark)
    }
}

/// A row of the table.
///
/// # Errors
/// 22P02 where a text is not UTF-8.
pub fn from_row(row: &Values) -> Result<Definition> {
    let text = |n: usize| row[n].map(fmgr::text).transpose();
    let required = |n: usize| Ok(text(n)?.unwrap_or_default());
    let decider = match (text(5)?, text(6)?) {
        (Some(query), Some(decide)) => Some(Decider {
            query: Named::new(query),
            decide: Named::new(decide),
            command_schema: row[7].map(|d| LazySchema::new(d, "command_schema")),
        }),
        _ => None,
    };
    Ok(Definition {
        name: required(0)?.to_owned(),
        number: row[1].map_or(0, |d| d.value() as i64),
        evolve: Named::new(required(2)?),
        initial: row[3].map(|d| fmgr::varlena(d).to_vec()),
        snapshot_every: row[4].map(|d| i64::from(d.value() as i32)),
        decider,
        path: guard::text(required(8)?),
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

    /// Whether neither it nor one of its functions was replaced between when these two were looked up.
    pub fn is_of_one_make_with(&self, other: &Self) -> bool {
        let make = |d: &Self| {
            let decider = d.decider.as_ref();
            let of_decider = decider.map(|d| [d.query.mark(), d.decide.mark()]);
            (d.number, d.evolve.mark(), of_decider)
        };
        make(self) == make(other)
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

/// The fold, or decider, of a name, as of now.
///
/// # Errors
/// 22004 where the name is NULL, 42704 where there is none.
pub fn by_name(name: Option<&str>, kind: &str) -> Result<Rc<Definition>> {
    let Some(name) = name else {
        return Err(Error::new(
            SqlState::NullNotAllowed,
            format!("the {kind}'s name must not be NULL"),
        ));
    };
    definitions::accept_changes();
    if let Some(known) = find(name, &KNOWN.with(|known| known.get(load))?) {
        return Ok(known);
    }
    // One that is being redefined can be missed by a look at the rows.
    let fresh = Cache::new(Table::Folds);
    find(name, &fresh.get(load)?).ok_or_else(|| missing(Some(name), kind))
}

/// There is none of this name.
pub fn missing(name: Option<&str>, kind: &str) -> Error {
    error::missing(kind, name.unwrap_or_default())
}

fn load(rows: Vec<Values>) -> Result<Vec<Rc<Definition>>> {
    rows.iter().map(|row| from_row(row).map(Rc::new)).collect()
}

/// The newest, where one that is being redefined was met twice.
fn find(name: &str, all: &[Rc<Definition>]) -> Option<Rc<Definition>> {
    all.iter()
        .filter(|d| d.name == name)
        .max_by_key(|d| d.number)
        .cloned()
}
