//! Creating projections.

use crate::dcb::error::{Error, Result, SqlState, invalid, null, required};
use crate::dcb::query::Query;
use crate::definition::function::Form;
use crate::definition::name::{self, IfTaken};
use crate::fold::evolve;
use crate::store::call::function::Function;
use crate::store::log::catalog;
use crate::store::log::partition::{Access, exclude_appends};
use crate::store::pg::spi::{self, Type, text};
use crate::store::pg::{composite, json, names, rights};
use crate::store::session::definitions::as_extension_owner;
use crate::store::session::transaction;
use crate::store::{Datum, Oid};

use super::definition::{self, KIND};
use super::document::IdSource;
use super::from_history;
use super::start::Start;
use super::status::{MODES, ON_ERROR, Status, word};

/// The default of `batch_size`.
const BATCH_SIZE: i32 = 500;
/// The DETAIL of errors about functions that the creator of a projection does not own.
pub const BECAUSE: &str = "A projection runs its functions with the rights of their owner.";
const BATCH_SIZES: std::ops::RangeInclusive<i32> = 1..=10_000;

/// The arguments of en57_create_projection() or en57_create_document_projection().
pub struct NewProjection<'a> {
    /// Its name.
    pub name: Option<&'a str>,
    /// Which events.
    pub query: Option<Query>,
    /// What handles them.
    pub work: NewWork<'a>,
    /// `inline` or `async`.
    pub mode: Option<&'a str>,
    /// `stop` or `skip`.
    pub on_error: Option<&'a str>,
    /// How many events are handled together.
    pub batch_size: Option<i32>,
    /// The partition's name.
    pub partition: Option<&'a str>,
    /// `beginning`, `end` or a position.
    pub start: Option<&'a str>,
    /// What happens if there is a projection of this name.
    pub if_taken: IfTaken,
    /// The row type en57_event.
    pub event_type: Oid,
}

/// What handles the events.
pub enum NewWork<'a> {
    /// A function is called.
    Handler {
        /// A name, or a name with argument types.
        handler: Option<&'a str>,
        /// The function that deletes what it has written.
        truncate: Option<&'a str>,
    },
    /// Documents.
    Documents {
        /// `stream` or `tag:PREFIX`.
        key: Option<&'a str>,
        /// A function, in place of it.
        key_function: Option<&'a str>,
        /// The function that folds.
        evolve: Option<&'a str>,
        /// The document before its first event.
        initial: Option<Datum>,
    },
}

/// A request that has been checked.
pub struct Checked<'a> {
    /// The name.
    pub name: &'a str,
    /// Which events it takes.
    pub query: Query,
    /// Whether it runs in the append's transaction.
    pub is_inline: bool,
    /// Whether an event that fails is put aside.
    pub skips: bool,
    /// How many events a batch has.
    pub batch_size: i32,
    /// Whether it keeps documents.
    pub has_documents: bool,
    /// Its functions.
    pub work: CheckedWork<'a>,
    /// What is done where there is one of the name.
    pub if_taken: IfTaken,
    start: Start,
}

/// The functions of a request, which the caller may use, by their full names.
pub struct CheckedWork<'a> {
    /// The handler, or the function that folds documents.
    pub function: String,
    /// The function that deletes what the handler has written.
    pub truncate: Option<String>,
    /// Which documents an event belongs to: `stream` or `tag:PREFIX`.
    pub key: Option<&'a str>,
    /// The function that says so, in place of `key`.
    pub key_function: Option<String>,
    /// The document before its first event.
    pub initial: Option<Datum>,
}

/// Creates a projection, or gives one that exists the requested definition.
///
/// # Errors
/// 42501 without the rights; 42710 where the name is taken; 22004 and 22023 for what does not fit;
/// those of the functions, where stored events are handled at once.
pub fn create(request: &NewProjection) -> Result<()> {
    catalog::demand_writable("en57_create_projection()")?;
    let checked = check(request)?;
    let partition = catalog::partition_to_administer(request.partition)?;
    Access::Read.demand(partition.oid)?;
    name::reserve(KIND, checked.name);
    let old = definition::find(checked.name, false)?;
    if let Some(old) = &old
        && !checked.changes(old, &partition)?
    {
        return Ok(());
    }
    let make = || {
        let table = match request.work {
            NewWork::Documents { .. } => Some(create_table(checked.name)?),
            NewWork::Handler { .. } => None,
        };
        let start = checked.start;
        let position = start.position(checked.is_inline, &checked.query, &partition.name)?;
        insert(&checked, &partition.name, table, position)
    };
    if old.is_none()
        && checked.handles_beside_appends()
        && from_history::bring_up(checked.name, &partition, make)?
    {
        return Ok(());
    }
    if checked.is_inline || old.is_some() {
        // Waits for the appends in flight. Later ones wait for this transaction.
        exclude_appends(&partition)?;
    }
    if old.is_some()
        && let Some(old) = definition::find(checked.name, true)?
    {
        return checked.replace(old);
    }
    make()?;
    if checked.is_inline {
        super::manage::activate(checked.name)?;
    }
    Ok(())
}

impl Checked<'_> {
    /// Whether the stored events may be handled while appends go on. Not by a handler: an append may wait for the rows that
    /// it has written, while this transaction waits for that append. Not if the projection begins with future events. And
    /// not if the transaction's snapshot hides what others commit.
    fn handles_beside_appends(&self) -> bool {
        self.is_inline && self.has_documents && self.start != Start::End && !transaction::repeats()
    }
}

/// Checks a request: its arguments first, then its functions.
fn check<'a>(request: &NewProjection<'a>) -> Result<Checked<'a>> {
    let name = name::name(request.name, "a projection's")?;
    let query = request
        .query
        .clone()
        .ok_or_else(|| null("query").hint("Write {} for every event."))?;
    let is_inline = choice(request.mode, "mode", MODES)?;
    let skips = !choice(request.on_error, "on_error", ON_ERROR)?;
    demand_stop(is_inline, skips)?;
    let batch_size = request.batch_size.unwrap_or(BATCH_SIZE);
    if !BATCH_SIZES.contains(&batch_size) {
        return Err(invalid(format!(
            "batch_size must be from {} to {}",
            BATCH_SIZES.start(),
            BATCH_SIZES.end()
        )));
    }
    let start = Start::parse(required(request.start, "start")?)?;
    Ok(Checked {
        name,
        query,
        is_inline,
        skips,
        batch_size,
        start,
        has_documents: matches!(request.work, NewWork::Documents { .. }),
        work: request.work.check(request.event_type)?,
        if_taken: request.if_taken,
    })
}

impl<'a> NewWork<'a> {
    /// Checks the functions, and that the caller may let a projection run them.
    fn check(&self, event: Oid) -> Result<CheckedWork<'a>> {
        match *self {
            Self::Handler { handler, truncate } => check_handler(handler, truncate, event),
            Self::Documents {
                key,
                key_function,
                evolve,
                initial,
            } => {
                let evolve = required(evolve, "evolve")?;
                let function = evolve::check(evolve, event, initial.is_some())?;
                function.demand_definable(BECAUSE)?;
                let (key, key_function) = match key_function {
                    Some(function) => (None, Some(check_key_function(function, event)?.name())),
                    None => check_key(required(key, "key")?, event)?,
                };
                Ok(CheckedWork {
                    function: function.name(),
                    truncate: None,
                    key,
                    key_function,
                    initial,
                })
            }
        }
    }
}

fn check_handler<'a>(
    handler: Option<&str>,
    truncate: Option<&str>,
    event: Oid,
) -> Result<CheckedWork<'a>> {
    let form = Form {
        role: "handler",
        text: "(en57_event) or (en57_event[]) returning void",
    };
    let function = function(required(handler, form.role)?, &form, |f| {
        let takes_events = f.arguments == [event] || f.arguments == [composite::array_type(event)];
        takes_events && f.result == composite::VOID
    })?;
    Ok(CheckedWork {
        function: function.name(),
        truncate: truncate.map(check_truncate).transpose()?,
        key: None,
        key_function: None,
        initial: None,
    })
}

fn check_truncate(said: &str) -> Result<String> {
    let form = Form {
        role: "truncate",
        text: "() returning void",
    };
    let function = function(said, &form, |f| {
        f.arguments.is_empty() && f.result == composite::VOID
    })?;
    Ok(function.name())
}

/// Checks the argument `key`: `stream`, `tag:PREFIX` or the name of a function. Returns the key or the function.
///
/// # Errors
/// 22023; those of [`check_key_function`].
pub fn check_key(said: &str, event: Oid) -> Result<(Option<&str>, Option<String>)> {
    match IdSource::parse(said) {
        Ok(_) => Ok((Some(said), None)),
        // An empty text and a text with a colon are attempts at a tag, not names of functions.
        Err(error) if said.is_empty() || said.contains(':') => Err(error),
        Err(_) => {
            let or = "A key that is no function is 'stream' or 'tag:PREFIX'.";
            let function = check_key_function(said, event).map_err(|error| match error.state {
                SqlState::UndefinedFunction => error.hint(or),
                _ => error,
            })?;
            Ok((None, Some(function.name())))
        }
    }
}

/// Finds a function that can say which documents an event belongs to, and that the caller may use.
///
/// # Errors
/// Those of [`Form::find`], 42501.
pub fn check_key_function(said: &str, event: Oid) -> Result<Function> {
    let form = Form {
        role: "key",
        text: "(en57_event) returning text or text[]",
    };
    function(said, &form, |f| {
        f.arguments == [event] && [composite::TEXT, composite::TEXT_ARRAY].contains(&f.result)
    })
}

/// Finds a function of a form, and makes sure that the caller may let a projection run it.
fn function(said: &str, form: &Form, fits: impl Fn(&Function) -> bool) -> Result<Function> {
    let function = form.find(said, fits)?;
    function.demand_definable(BECAUSE)?;
    Ok(function)
}

/// Makes the table of a document projection, owned by the caller, in the schema of the caller's tables.
fn create_table(name: &str) -> Result<Oid> {
    let Some(schema) = rights::schema_for_tables() else {
        return Err(Error::new(
            SqlState::UndefinedObject,
            "no schema has been selected to create the table in",
        )
        .hint("Set search_path to the schema that is to have it."));
    };
    let table = format!("{}.{}", names::identifier(&schema), names::identifier(name));
    spi::command(&format!(
        "CREATE TABLE {table} (
             id pg_catalog.text COLLATE pg_catalog.\"C\" PRIMARY KEY,
             doc pg_catalog.jsonb NOT NULL,
             version pg_catalog.int8 NOT NULL,
             position pg_catalog.int8 NOT NULL,
             updated_at pg_catalog.timestamptz NOT NULL
         )"
    ))?;
    // Statistics would keep what en57_erase() erases.
    spi::command(&format!(
        "ALTER TABLE {table} ALTER COLUMN doc SET STATISTICS 0"
    ))?;
    names::table_named(&schema, name).ok_or_else(|| {
        Error::new(
            SqlState::Internal,
            "the table of a projection is not where it was made",
        )
    })
}

fn insert(checked: &Checked, partition: &str, table: Option<Oid>, position: i64) -> Result<()> {
    let optional = |t: Option<&str>| t.map_or((Type::Text, None), text);
    let path = rights::path_of_caller();
    let query = json::parse(&checked.query.to_string(), "")?;
    let work = &checked.work;
    // An inline projection runs after it has handled the stored events.
    let status = if checked.is_inline {
        Status::Paused
    } else {
        Status::Running
    };
    let parameters = [
        text(checked.name),
        text(word(checked.is_inline, MODES)),
        text(partition),
        (Type::Jsonb, Some(query)),
        text(&work.function),
        optional(work.key),
        optional(work.key_function.as_deref()),
        (Type::Jsonb, work.initial),
        (Type::Oid, table.map(Datum::from)),
        text(word(!checked.skips, ON_ERROR)),
        (
            Type::Bigint,
            Some(Datum::from(i64::from(checked.batch_size))),
        ),
        text(&path.to_string_lossy()),
        status.parameter(),
        (Type::Bigint, Some(Datum::from(position))),
        optional(work.truncate.as_deref()),
    ];
    as_extension_owner(|| {
        spi::run(
            "INSERT INTO en57.projections (name, mode, partition, query, handler, key, key_function, initial,
                 document_table, on_error, batch_size, search_path, status, position, start_position,
                 truncate_function)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::regclass, $10, $11, $12, $13, $14, $14, $15)",
            &parameters,
        )
        .map(drop)
    })
}

/// Makes sure that an inline projection has no dead letters.
///
/// # Errors
/// 22023.
pub fn demand_stop(is_inline: bool, skips: bool) -> Result<()> {
    if skips && is_inline {
        return Err(invalid("on_error must be 'stop' for an inline projection")
            .detail("An error in an inline projection fails the append."));
    }
    Ok(())
}

/// Whether an argument is the first of its two words.
///
/// # Errors
/// 22004, 22023.
pub fn choice(said: Option<&str>, argument: &str, words: [&str; 2]) -> Result<bool> {
    match said {
        Some(word) if words.contains(&word) => Ok(word == words[0]),
        Some(_) => Err(invalid(format!(
            "{argument} must be '{}' or '{}'",
            words[0], words[1]
        ))),
        None => Err(null(argument)),
    }
}
