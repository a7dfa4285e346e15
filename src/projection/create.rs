//! Making projections.

use crate::dcb::error::{Error, Result, SqlState, invalid, null, required};
use crate::dcb::query::Query;
use crate::definition::function::Form;
use crate::definition::name::{self, IfTaken};
use crate::fold::evolve;
use crate::store::call::function::Function;
use crate::store::log::catalog;
use crate::store::log::partition::Access;
use crate::store::pg::spi::{self, Type};
use crate::store::pg::{composite, fmgr, names, rights};
use crate::store::session::definitions::as_extension_owner;
use crate::store::session::transaction;
use crate::store::{Datum, Oid};

use super::definition::{self, KIND};
use super::document::IdSource;
use super::from_history;
use super::start::Start;

/// How many events are handled together, where nobody says otherwise.
const BATCH_SIZE: i32 = 500;
/// Why its creator must own a projection's functions.
pub const BECAUSE: &str = "A projection runs its functions with the rights of their owner.";
const BATCH_SIZES: std::ops::RangeInclusive<i32> = 1..=10_000;

/// What is to be made, as the caller said it.
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
    /// What is done where there is one of the name.
    pub if_taken: IfTaken,
    /// The row type en57_event.
    pub event_type: Oid,
}

/// What handles the events.
pub enum NewWork<'a> {
    /// A function is called.
    Handler {
        /// As it is written: by name, or with the types of its arguments.
        handler: Option<&'a str>,
        /// The function that takes away what it has written.
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
        /// What the first event meets.
        initial: Option<Datum>,
    },
}

/// A request that has been checked.
pub struct Checked<'a> {
    pub name: &'a str,
    pub query: Query,
    pub is_inline: bool,
    pub skips: bool,
    pub batch_size: i32,
    pub has_documents: bool,
    pub function: String,
    pub truncate: Option<String>,
    pub key: Option<&'a str>,
    pub key_function: Option<String>,
    pub initial: Option<Datum>,
    pub if_taken: IfTaken,
    start: Start,
}

/// Makes a projection, or makes what is asked for of one that is there.
///
/// # Errors
/// 42501 without the rights; 42710 where the name is taken; 22004 and 22023 for what does not fit;
/// those of the functions, where stored events are handled at once.
pub fn create(request: &NewProjection) -> Result<()> {
    catalog::demand_writable("en57_create_projection()")?;
    let checked = check(request)?;
    let place = crate::store::log::catalog::partition_to_administer(request.partition)?;
    Access::Read.demand(place.oid)?;
    name::reserve(KIND, checked.name);
    let old = definition::find(checked.name, false)?;
    if let Some(old) = &old
        && !checked.changes(old, &place)?
    {
        return Ok(());
    }
    let make = || {
        let table = match request.work {
            NewWork::Documents { .. } => Some(create_table(checked.name)?),
            NewWork::Handler { .. } => None,
        };
        let start = checked.start;
        let position = start.position(checked.is_inline, &checked.query, &place.name)?;
        insert(&checked, &place.name, table, position)
    };
    if old.is_none()
        && checked.can_go_ahead()
        && from_history::bring_up(checked.name, &place, make)?
    {
        return Ok(());
    }
    if checked.is_inline || old.is_some() {
        // Who has appended before has ended, and who appends after waits until this transaction has.
        crate::store::log::partition::exclude_appends(&place)?;
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
    /// Whether stored events may be handled while appends go on. Not by a handler: what it has written is locked, and an
    /// append that is to end first may wait for it. Nor where it begins with what comes, or does not see what others
    /// commit.
    fn can_go_ahead(&self) -> bool {
        self.is_inline && self.has_documents && self.start != Start::End && !transaction::repeats()
    }
}

fn check<'a>(request: &NewProjection<'a>) -> Result<Checked<'a>> {
    let name = name::name(request.name, "a projection's")?;
    let query = request
        .query
        .clone()
        .ok_or_else(|| null("query").hint("Write {} for every event."))?;
    let is_inline = choice(request.mode, "mode", ["inline", "async"])?;
    let skips = !choice(request.on_error, "on_error", ["stop", "skip"])?;
    demand_stop(is_inline, skips)?;
    let batch_size = request.batch_size.unwrap_or(BATCH_SIZE);
    if !BATCH_SIZES.contains(&batch_size) {
        return Err(invalid(format!(
            "batch_size must be from {} to {}",
            BATCH_SIZES.start(),
            BATCH_SIZES.end()
        )));
    }
    let event = request.event_type;
    let mut checked = Checked {
        name,
        query,
        is_inline,
        skips,
        batch_size,
        start: Start::parse(required(request.start, "start")?)?,
        has_documents: matches!(request.work, NewWork::Documents { .. }),
        function: String::new(),
        truncate: None,
        key: None,
        key_function: None,
        initial: None,
        if_taken: request.if_taken,
    };
    match request.work {
        NewWork::Handler { handler, truncate } => {
            let fits = |f: &Function| {
                f.arguments == [event] || f.arguments == [composite::array_type(event)]
            };
            let form = Form {
                role: "handler",
                text: "(en57_event) or (en57_event[]) returning void",
            };
            let function = function(required(handler, form.role)?, &form, |f| {
                fits(f) && f.result == composite::VOID
            })?;
            checked.function = function.name();
            checked.truncate = truncate.map(check_truncate).transpose()?;
        }
        NewWork::Documents {
            key,
            key_function,
            evolve,
            initial,
        } => {
            let function = evolve::check(required(evolve, "evolve")?, event, initial.is_some())?;
            function.demand_definable(BECAUSE)?;
            checked.function = function.name();
            checked.initial = initial;
            match key_function {
                Some(key_function) => {
                    checked.key_function = Some(check_key_function(key_function, event)?.name());
                }
                None => {
                    let key = required(key, "key")?;
                    (checked.key, checked.key_function) = check_key(key, event)?;
                }
            }
        }
    }
    Ok(checked)
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

/// What says which documents an event belongs to: `stream` or `tag:PREFIX`, or else the name of a function.
///
/// # Errors
/// 22023; those of [`check_key_function`].
pub fn check_key(said: &str, event: Oid) -> Result<(Option<&str>, Option<String>)> {
    match IdSource::parse(said) {
        Ok(_) => Ok((Some(said), None)),
        // It was meant for a tag.
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

/// A function that may say which documents an event belongs to.
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

/// A function of the form that is wanted, and that the caller may have run with its owner's rights.
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
    let table = format!("{}.{}", names::quoted(&schema), names::quoted(name));
    spi::command(&format!(
        "CREATE TABLE {table} (
             id pg_catalog.text COLLATE pg_catalog.\"C\" PRIMARY KEY,
             doc pg_catalog.jsonb NOT NULL,
             version pg_catalog.int8 NOT NULL,
             position pg_catalog.int8 NOT NULL,
             updated_at pg_catalog.timestamptz NOT NULL
         )"
    ))?;
    // Statistics would keep what en57_erase() takes away.
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
    let text = |t: &str| Some(fmgr::make_varlena(t.as_bytes()));
    let path = rights::path_of_caller();
    let query = crate::store::pg::json::parse(&checked.query.to_string(), "")?;
    let choose = |yes: bool, a, b| text(if yes { a } else { b });
    let parameters = [
        (Type::Text, text(checked.name)),
        (Type::Text, choose(checked.is_inline, "inline", "async")),
        (Type::Text, text(partition)),
        (Type::Jsonb, Some(query)),
        (Type::Text, text(&checked.function)),
        (Type::Text, checked.key.and_then(text)),
        (Type::Text, checked.key_function.as_deref().and_then(text)),
        (Type::Jsonb, checked.initial),
        (Type::Oid, table.map(Datum::from)),
        (Type::Text, choose(checked.skips, "skip", "stop")),
        (
            Type::Bigint,
            Some(Datum::from(i64::from(checked.batch_size))),
        ),
        (Type::Text, text(&path.to_string_lossy())),
        (Type::Text, choose(checked.is_inline, "paused", "running")),
        (Type::Bigint, Some(Datum::from(position))),
        (Type::Text, checked.truncate.as_deref().and_then(text)),
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

/// Makes sure that an inline projection puts no events aside.
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

/// Whether the first of two words was said, which is the default for the caller's functions.
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
