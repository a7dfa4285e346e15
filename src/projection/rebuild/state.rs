//! Rebuilds as the rows of `en57.rebuilds` keep them: what is made, and how far it has come.

use std::time::Instant;

use crate::dcb::codec;
use crate::dcb::error::Result;
use crate::dcb::query::Query;
use crate::definition::function::Named;
use crate::store::Datum;
use crate::store::lock::manager::{Queue, queue_for};
use crate::store::pg::spi::{self, Type, Values, text};
use crate::store::pg::{fmgr, guard, json, names};
use crate::store::session::definitions::{self, as_extension_owner};
use crate::upcast;

use super::super::definition::{Projection, Work};
use super::super::document::{Documents, IdSource};
use super::super::status::{MODES, Phase, word};

/// A rebuild.
#[derive(Clone)]
pub struct RebuildState {
    /// Its number.
    pub number: i64,
    /// The projection's name.
    pub projection: String,
    /// What the projection will be.
    pub definition: Definition,
    /// A hash of its functions and the upcasters.
    functions: Option<String>,
    /// What it does.
    pub phase: Phase,
    /// The position after which the projection begins.
    pub start_position: i64,
    /// All events up to here are in the documents.
    pub position: i64,
    /// How many.
    pub events: i64,
    /// When it began, or began anew, in PostgreSQL's microseconds.
    started_at_us: i64,
}

/// How documents are made of events, and when: what a rebuild may change.
#[derive(Clone)]
pub struct Definition {
    /// The function that folds, with its argument types.
    pub handler: String,
    /// The key, where it is none of a function's.
    pub key: Option<String>,
    /// The function that says the key.
    pub key_function: Option<String>,
    /// A jsonb without its length word.
    pub initial: Option<Vec<u8>>,
    /// The search path of the functions.
    pub path: String,
    /// Which events; `None`: as before.
    pub query: Option<Query>,
    /// Whether it runs in the append's transaction; `None`: as before.
    pub is_inline: Option<bool>,
}

const COLUMNS: &str =
    "number, projection, handler, key, key_function, initial, search_path, functions,
    phase, start_position, position, events, started_at, query, mode";

/// A hash of two functions. A part is empty where there is no such function: `to_regprocedure` finds nothing by a name
/// without a schema and argument types.
const FUNCTIONS: &str = "SELECT md5(concat(pg_get_functiondef(to_regprocedure($1)),
    pg_get_functiondef(to_regprocedure($2))))";

fn optional(value: Option<&str>) -> (Type, Option<Datum>) {
    let value = value.map(|t| fmgr::make_varlena(t.as_bytes()));
    (Type::Text, value)
}

fn number(number: i64) -> (Type, Option<Datum>) {
    (Type::Bigint, Some(Datum::from(number)))
}

/// Runs a statement on en57's own tables.
pub fn run(sql: &str, parameters: &[(Type, Option<Datum>)]) -> Result<Vec<Values>> {
    as_extension_owner(|| spi::run(sql, parameters))
}

impl Definition {
    /// What a projection is now.
    pub fn of(projection: &Projection, documents: &Documents) -> Self {
        let (key, key_function) = match &documents.key {
            IdSource::Plain(key) => (Some(key.to_string()), None),
            IdSource::Function(function) => (None, Some(function.name.clone())),
        };
        Self {
            handler: documents.evolve.name.clone(),
            key,
            key_function,
            initial: documents.initial.clone(),
            path: projection.path.to_string_lossy().into_owned(),
            query: None,
            is_inline: None,
        }
    }

    /// The projection as it will be, but for when it runs: that changes with the swap.
    pub fn applied_to(&self, mut projection: Projection) -> Result<Projection> {
        if let Work::Documents(Documents { table, .. }) = projection.work {
            let key = match (&self.key, &self.key_function) {
                (Some(key), _) => IdSource::parse(key)?,
                (None, function) => {
                    IdSource::Function(Named::new(function.clone().unwrap_or_default()))
                }
            };
            projection.work = Work::Documents(Documents {
                table,
                key,
                evolve: Named::new(self.handler.clone()),
                initial: self.initial.clone(),
            });
        }
        projection.path = guard::text(&self.path);
        if let Some(query) = &self.query {
            projection.query = query.clone();
        }
        Ok(projection)
    }

    fn parameters(&self) -> Result<[(Type, Option<Datum>); 7]> {
        let query = self.query.as_ref();
        let query = query.map(|q| json::parse(&q.to_string(), "")).transpose()?;
        let mode = self.is_inline.map(|is_inline| word(is_inline, MODES));
        Ok([
            text(&self.handler),
            optional(self.key.as_deref()),
            optional(self.key_function.as_deref()),
            (Type::Jsonb, self.initial.as_deref().map(fmgr::make_varlena)),
            text(&self.path),
            (Type::Jsonb, query),
            optional(mode),
        ])
    }

    /// Whether another definition equals it, apart from the search path.
    pub fn is_as(&self, other: &Self) -> bool {
        let made = |d: &Self| (d.query.clone(), d.is_inline);
        made(self) == made(other)
            && (&self.handler, &self.key, &self.key_function, &self.initial)
                == (
                    &other.handler,
                    &other.key,
                    &other.key_function,
                    &other.initial,
                )
    }

    /// Whether an event belongs to the same documents with both, if the function is not replaced.
    pub fn has_key_of(&self, other: &Self) -> bool {
        let is_plain = self.key.is_some();
        (&self.key, &self.key_function, &self.query)
            == (&other.key, &other.key_function, &other.query)
            && (is_plain || self.path == other.path)
    }

    /// Stores it as the definition of a projection.
    pub fn store(&self, projection: &str) -> Result<()> {
        let mut parameters = self.parameters()?.to_vec();
        parameters.push(text(projection));
        if self.query.is_some() {
            // A statement of its own: in coalesce() the parameter, a jsonb, would need a cast to en57_query, whose schema is
            // not known here.
            let sql = "UPDATE en57.projections SET query = $1 WHERE name = $2";
            run(sql, &[parameters[5], parameters[7]])?;
        }
        parameters.remove(5);
        run(
            "UPDATE en57.projections SET handler = $1, key = $2, key_function = $3, initial = $4,
                 search_path = $5, mode = coalesce($6, mode) WHERE name = $7",
            &parameters,
        )
        .map(drop)
    }

    /// A hash of its functions, and of the upcasters that make the events for them.
    ///
    /// # Errors
    /// 55000 where the tables are missing.
    pub fn functions(&self) -> Result<Option<String>> {
        let names = [text(&self.handler), optional(self.key_function.as_deref())];
        // Otherwise a session with another quote_all_identifiers would find another hash, and begin the rebuild anew.
        let rows = names::quoted_as_needed(|| run(FUNCTIONS, &names))?;
        let hash = rows.first().and_then(|row| row[0]);
        definitions::accept_changes();
        let upcasters = match upcast::known()?.generation() {
            0 => String::new(),
            generation => format!(" {generation}"),
        };
        let hash = hash.map(fmgr::text).transpose()?;
        Ok(hash.map(|hash| format!("{hash}{upcasters}")))
    }
}

impl RebuildState {
    /// The rebuild of a projection. With `lock`, it is locked until the end of the transaction.
    pub fn of(projection: &str, lock: bool) -> Result<Option<Self>> {
        Self::load("projection = $1", text(projection), lock)
    }

    /// The rebuild of this number.
    pub fn numbered(n: i64, lock: bool) -> Result<Option<Self>> {
        Self::load("number = $1", number(n), lock)
    }

    fn load(condition: &str, parameter: (Type, Option<Datum>), lock: bool) -> Result<Option<Self>> {
        if lock {
            let sql = format!("SELECT number FROM en57.rebuilds WHERE {condition}");
            let rows = run(&sql, &[parameter])?;
            if let Some(number) = rows.first().and_then(|row| row[0]) {
                queue_for(Queue::Rebuild, number.value() as i64, true);
            }
        }
        let lock = if lock { "FOR UPDATE" } else { "" };
        let sql = format!("SELECT {COLUMNS} FROM en57.rebuilds WHERE {condition} {lock}");
        let rows = run(&sql, &[parameter])?;
        rows.first().map(Self::from_row).transpose()
    }

    fn from_row(row: &Values) -> Result<Self> {
        let text = |n: usize| row[n].map(|d| fmgr::text(d).map(str::to_owned)).transpose();
        let required = |n: usize| Ok(text(n)?.unwrap_or_default());
        let number = |n: usize| row[n].map_or(0, |d| d.value() as i64);
        Ok(Self {
            number: number(0),
            projection: required(1)?,
            definition: Definition {
                handler: required(2)?,
                key: text(3)?,
                key_function: text(4)?,
                initial: row[5].map(|d| fmgr::varlena(d).to_vec()),
                path: required(6)?,
                query: row[13]
                    .map(|d| codec::decode(fmgr::varlena(d)))
                    .transpose()?,
                is_inline: text(14)?.map(|mode| mode == word(true, MODES)),
            },
            functions: text(7)?,
            phase: Phase::parse(&required(8)?)?,
            start_position: number(9),
            position: number(10),
            events: number(11),
            started_at_us: number(12),
        })
    }

    /// Whether nothing has happened to a rebuild since it was in another state: nobody has gone on with it, begun it anew,
    /// or ended it.
    pub fn is_where(&self, other: &Self) -> bool {
        let progress = |s: &Self| (s.number, s.phase, s.position, s.events, s.started_at_us);
        progress(self) == progress(other)
    }

    /// Begins a rebuild of a projection that has none. Deletes what rebuilds have left behind that were interrupted after
    /// their swap.
    pub fn begin(projection: &str, definition: &Definition) -> Result<i64> {
        for table in ["rebuild_documents", "rebuild_dead_letters"] {
            run(
                &format!(
                    "DELETE FROM en57.{table} d WHERE NOT EXISTS (SELECT FROM en57.rebuilds r WHERE r.number = d.rebuild)"
                ),
                &[],
            )?;
        }
        let mut parameters = definition.parameters()?.to_vec();
        parameters.push(text(projection));
        parameters.push(optional(definition.functions()?.as_deref()));
        let rows = run(
            "INSERT INTO en57.rebuilds (handler, key, key_function, initial, search_path, query, mode, projection,
                 functions, start_position, position)
             SELECT $1, $2, $3, $4, $5, $6, $7, name, $9, start_position, start_position
             FROM en57.projections WHERE name = $8 RETURNING number",
            &parameters,
        )?;
        Ok(rows
            .first()
            .and_then(|row| row[0])
            .map_or(0, |d| d.value() as i64))
    }

    /// Whether a function, or any upcaster, was replaced since the rebuild began.
    pub fn is_outdated(&self) -> Result<bool> {
        Ok(self.definition.functions()? != self.functions)
    }

    /// Begins anew, with the functions as they are now.
    pub fn begin_anew(&mut self) -> Result<()> {
        self.functions = self.definition.functions()?;
        self.position = self.start_position;
        self.events = 0;
        let rows = run(
            "UPDATE en57.rebuilds SET functions = $2, position = start_position, events = 0, work = '0',
                 started_at = clock_timestamp(), updated_at = clock_timestamp() WHERE number = $1 RETURNING started_at",
            &[number(self.number), optional(self.functions.as_deref())],
        )?;
        let started_at = rows.first().and_then(|row| row[0]);
        self.started_at_us = started_at.map_or(0, |d| d.value() as i64);
        forget_documents(self.number)
    }

    /// Stores how far the rebuild has come.
    pub fn advance(
        &mut self,
        position: i64,
        events: i64,
        phase: Phase,
        since: Instant,
    ) -> Result<()> {
        self.position = position;
        self.events += events;
        self.phase = phase;
        let work_us = i64::try_from(since.elapsed().as_micros()).unwrap_or(i64::MAX);
        run(
            "UPDATE en57.rebuilds SET position = $2, events = events + $3, phase = $4,
                 work = work + make_interval(secs => $5::float8 / 1000000), failed_position = NULL, last_error = NULL,
                 updated_at = clock_timestamp() WHERE number = $1",
            &[
                number(self.number),
                number(position),
                number(events),
                phase.parameter(),
                number(work_us),
            ],
        )
        .map(drop)
    }

    /// Goes on after a failure.
    pub fn try_again(&self) -> Result<()> {
        run(
            "UPDATE en57.rebuilds SET phase = $2, failed_position = NULL, last_error = NULL WHERE number = $1",
            &[number(self.number), Phase::Building.parameter()],
        )
        .map(drop)
    }

    /// Stores why the rebuild does not go on.
    pub fn fail(&self, position: Option<i64>, error: Datum) -> Result<()> {
        run(
            "UPDATE en57.rebuilds SET phase = $4, failed_position = $2, last_error = $3,
                 updated_at = clock_timestamp() WHERE number = $1",
            &[
                number(self.number),
                (Type::Bigint, position.map(Datum::from)),
                (Type::Jsonb, Some(error)),
                Phase::Failed.parameter(),
            ],
        )
        .map(drop)
    }

    /// Ends it, also for the sessions that work on it: they read the phase before each batch.
    pub fn cancel(&self) -> Result<()> {
        run(
            "UPDATE en57.rebuilds SET phase = $2, updated_at = clock_timestamp() WHERE number = $1",
            &[number(self.number), Phase::Cancelled.parameter()],
        )?;
        forget_documents(self.number)
    }

    /// Deletes its row. [`forget_documents`] deletes its documents.
    pub fn remove(&self) -> Result<()> {
        run(
            "DELETE FROM en57.rebuilds WHERE number = $1",
            &[number(self.number)],
        )
        .map(drop)
    }

    /// Makes an event a dead letter of the rebuild.
    pub fn put_aside(&self, position: i64, error: Datum) -> Result<()> {
        run(
            "INSERT INTO en57.rebuild_dead_letters (rebuild, position, error) VALUES ($1, $2, $3)",
            &[
                number(self.number),
                number(position),
                (Type::Jsonb, Some(error)),
            ],
        )
        .map(drop)
    }

    /// Whether an event is a dead letter of the live projection.
    pub fn was_put_aside(&self, position: i64) -> Result<bool> {
        let rows = run(
            "SELECT 1 FROM en57.projection_dead_letters WHERE projection = $1 AND position = $2",
            &[text(&self.projection), number(position)],
        )?;
        Ok(!rows.is_empty())
    }

    /// Replaces the projection's dead letters with those of the rebuild.
    pub fn hand_over_dead_letters(&self) -> Result<()> {
        run(
            "DELETE FROM en57.projection_dead_letters WHERE projection = $1",
            &[text(&self.projection)],
        )?;
        run(
            "INSERT INTO en57.projection_dead_letters (projection, position, error)
             SELECT $2, position, error FROM en57.rebuild_dead_letters WHERE rebuild = $1",
            &[number(self.number), text(&self.projection)],
        )
        .map(drop)
    }
}

/// Deletes the documents and dead letters that a rebuild has made.
pub fn forget_documents(n: i64) -> Result<()> {
    for table in ["rebuild_documents", "rebuild_dead_letters"] {
        run(
            &format!("DELETE FROM en57.{table} WHERE rebuild = $1"),
            &[number(n)],
        )?;
    }
    Ok(())
}

/// Lets the rebuild of a projection begin anew if it has seen any erased event; `first` is the position of the first one.
/// Returns whether it has seen any.
pub fn erased(projection: &str, first: i64) -> Result<bool> {
    let Some(mut state) = RebuildState::of(projection, true)?
        .filter(|s| s.phase != Phase::Cancelled && s.position >= first)
    else {
        return Ok(false);
    };
    if state.phase == Phase::Swapping {
        run(
            "UPDATE en57.rebuilds SET phase = $2 WHERE number = $1",
            &[number(state.number), Phase::Building.parameter()],
        )?;
    }
    state.begin_anew()?;
    Ok(true)
}

/// Lets the rebuild of a projection begin anew after a position, as the projection does.
pub fn restarted(projection: &str, start: i64) -> Result<()> {
    let rebuild = RebuildState::of(projection, true)?;
    if let Some(mut state) = rebuild.filter(|s| s.phase != Phase::Cancelled) {
        run(
            "UPDATE en57.rebuilds SET start_position = $2, phase = $3, failed_position = NULL,
                 last_error = NULL WHERE number = $1",
            &[
                number(state.number),
                number(start),
                Phase::Building.parameter(),
            ],
        )?;
        state.start_position = start;
        state.begin_anew()?;
    }
    Ok(())
}

/// The query of a projection's rebuild, where it is not that of the projection.
pub fn query_of(projection: &str) -> Result<Option<Query>> {
    Ok(RebuildState::of(projection, false)?.and_then(|state| state.definition.query))
}
