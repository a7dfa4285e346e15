//! Projections as the rows of `en57.projections` define them, with their functions looked up.

use std::ffi::CString;

use crate::dcb::codec;
use crate::dcb::error::{Result, missing, required};
use crate::dcb::query::Query;
use crate::definition::function::Named;
use crate::store::lock::manager::{Queue, queue_for};
use crate::store::pg::spi::{self, Type, Values, text};
use crate::store::pg::{composite, fmgr, guard, rights};
use crate::store::session::definitions::as_extension_owner;
use crate::store::{Datum, Oid};

use super::document::{Documents, IdSource};
use super::status::{MODES, ON_ERROR, Status, word};

/// A projection, with its functions looked up.
pub struct Projection {
    /// Orders projections by their creation, and tells their documents' locks apart.
    pub number: i64,
    /// Its name.
    pub name: String,
    /// The partition whose events it takes.
    pub partition: String,
    /// Which of them.
    pub query: Query,
    /// Whether it runs in the append's transaction.
    pub is_inline: bool,
    /// What is done with the events.
    pub work: Work,
    /// Whether an event whose handling fails is put aside.
    pub skips: bool,
    /// How many events are handled together at most.
    pub batch_size: usize,
    /// Where its functions find bare names.
    pub path: CString,
    /// Whether it handles events.
    pub status: Status,
    /// All events up to here are handled, if the projection is not inline and running.
    pub position: i64,
    /// The event that could not be handled.
    pub failed_position: Option<i64>,
}

/// The word for projections in messages.
pub const KIND: &str = "projection";

/// What is done with events.
pub enum Work {
    /// A function is called.
    Handler(Named),
    /// Documents are kept.
    Documents(Documents),
}

/// The first columns of the table, in its order.
const COLUMNS: &str = "name, number, mode, partition, query, handler, key, key_function, initial,
    document_table, on_error, batch_size, search_path, status, position, failed_position";

/// The inline projections that are running, of the table's rows, in the order of their creation.
///
/// For a partition whose root the caller has locked, the answer is exact: whoever changes such a projection locks that
/// root as well, and the invalidation of his change arrives before the next append there looks.
///
/// # Errors
/// Those of damaged rows.
pub fn running_inline(rows: &[Values]) -> Result<Vec<Projection>> {
    let all: Result<Vec<Projection>> =
        as_extension_owner(|| rows.iter().map(Projection::from_row).collect());
    let mut running = all?;
    running.retain(Projection::runs_inline);
    running.sort_by_key(|p| p.number);
    Ok(running)
}

/// A projection by name. With `lock`, it is locked until the end of the transaction.
///
/// # Errors
/// 42704 where there is none, 22004 where the name is NULL.
pub fn by_name(name: Option<&str>, lock: bool) -> Result<Projection> {
    let name = required(name, "the projection's name")?;
    find(name, lock)?.ok_or_else(|| missing(KIND, name))
}

/// A projection by name, `None` where there is none. With `lock`, it is locked until the end of the transaction.
///
/// # Errors
/// 55000 where the table is missing.
pub fn find(name: &str, lock: bool) -> Result<Option<Projection>> {
    if lock && let Some(number) = number_of(name)? {
        queue_for(Queue::Projection, number, true);
    }
    let lock = if lock { "FOR UPDATE" } else { "" };
    let found = load(
        &format!("SELECT {COLUMNS} FROM en57.projections WHERE name = $1 {lock}"),
        &[text(name)],
    )?;
    Ok(found.into_iter().next())
}

/// Locks a projection that was found without a lock until the end of the transaction. Its row is read again, since
/// others may have changed it before the lock was there.
///
/// # Errors
/// 42704 where it was dropped meanwhile, even if there is another one of its name.
pub fn locked(found: &Projection) -> Result<Projection> {
    queue_for(Queue::Projection, found.number, true);
    let locked = load(
        &format!("SELECT {COLUMNS} FROM en57.projections WHERE number = $1 FOR UPDATE"),
        &[number(found.number)],
    )?;
    let locked = locked.into_iter().next();
    locked.ok_or_else(|| missing(KIND, &found.name))
}

/// Locks the projection of a number until the end of the transaction. `None` where it was dropped, or another
/// transaction has locked it.
///
/// # Errors
/// 55000 where the table is missing.
pub fn locked_nowait(projection: i64) -> Result<Option<Projection>> {
    if !queue_for(Queue::Projection, projection, false) {
        return Ok(None);
    }
    let found = load(
        &format!("SELECT {COLUMNS} FROM en57.projections WHERE number = $1 FOR UPDATE SKIP LOCKED"),
        &[number(projection)],
    )?;
    Ok(found.into_iter().next())
}

fn number_of(name: &str) -> Result<Option<i64>> {
    let found = as_extension_owner(|| {
        let sql = "SELECT number FROM en57.projections WHERE name = $1";
        spi::run(sql, &[text(name)])
    })?;
    let number = found.first().and_then(|row| row[0]);
    Ok(number.map(|n| n.value() as i64))
}

fn number(value: i64) -> (Type, Option<Datum>) {
    (Type::Bigint, Some(Datum::from(value)))
}

/// The async projections that are running, in the order of their creation.
///
/// # Errors
/// 55000 where the table is missing.
pub fn running_async() -> Result<Vec<Projection>> {
    load(
        &format!(
            "SELECT {COLUMNS} FROM en57.projections WHERE mode = $1 AND status = $2 ORDER BY number"
        ),
        &[text(word(false, MODES)), Status::Running.parameter()],
    )
}

/// The projections of a partition, in the order of their creation.
///
/// # Errors
/// 55000 where the table is missing.
pub fn all_of(partition: &str) -> Result<Vec<Projection>> {
    load(
        &format!("SELECT {COLUMNS} FROM en57.projections WHERE partition = $1 ORDER BY number"),
        &[text(partition)],
    )
}

fn load(sql: &str, parameters: &[(Type, Option<Datum>)]) -> Result<Vec<Projection>> {
    as_extension_owner(|| {
        let rows = spi::run(sql, parameters)?;
        rows.iter().map(Projection::from_row).collect()
    })
}

impl Projection {
    fn from_row(row: &Values) -> Result<Self> {
        let text = |n: usize| row[n].map(|d| fmgr::text(d).map(str::to_owned)).transpose();
        let required = |n: usize| Ok(text(n)?.unwrap_or_default());
        let number = |n: usize| row[n].map(|d| d.value() as i64);
        let handler = Named::new(required(5)?);
        let key = match (text(6)?, text(7)?) {
            (_, Some(function)) => Some(IdSource::Function(Named::new(function))),
            (Some(key), None) => Some(IdSource::parse(&key)?),
            (None, None) => None,
        };
        let work = match key {
            None => Work::Handler(handler),
            Some(key) => Work::Documents(Documents {
                table: Oid::from(row[9].map_or(0, |d| d.value() as u32)),
                key,
                evolve: handler,
                initial: row[8].map(|d| fmgr::varlena(d).to_vec()),
            }),
        };
        Ok(Self {
            name: required(0)?,
            number: number(1).unwrap_or_default(),
            partition: required(3)?,
            query: row[4].map_or(Ok(Query::everything()), |d| codec::decode(fmgr::varlena(d)))?,
            is_inline: required(2)? == word(true, MODES),
            work,
            skips: required(10)? == word(false, ON_ERROR),
            batch_size: row[11].map_or(1, |d| d.value() as i32 as usize),
            path: guard::text(&required(12)?),
            status: Status::parse(&required(13)?)?,
            position: number(14).unwrap_or_default(),
            failed_position: number(15),
        })
    }

    /// Whether it handles events in the append's transaction. Then its stored position is out of date.
    pub fn runs_inline(&self) -> bool {
        self.is_inline && self.status == Status::Running
    }

    /// Its functions, all of which see events.
    pub fn functions(&self) -> Vec<&Named> {
        match &self.work {
            Work::Handler(handler) => vec![handler],
            Work::Documents(d) => match &d.key {
                IdSource::Function(key) => vec![&d.evolve, key],
                IdSource::Plain(_) => vec![&d.evolve],
            },
        }
    }

    /// The role as which a transaction of it alone is to run and to end: that of its handler, or of its
    /// documents; `None` where they are gone.
    pub fn role(&self) -> Option<Oid> {
        match &self.work {
            Work::Handler(handler) => handler.owner(),
            Work::Documents(d) => rights::owner_of(d.table).or_else(|| d.evolve.owner()),
        }
    }

    /// The row type of the events that its functions take.
    ///
    /// # Errors
    /// 42883 where the function is gone.
    pub fn event_type(&self) -> Result<Oid> {
        Ok(match &self.work {
            Work::Handler(handler) => {
                let argument = handler.function(KIND, &self.name)?.arguments[0];
                match composite::element_type(argument) {
                    none if none == Oid::INVALID => argument,
                    element => element,
                }
            }
            Work::Documents(documents) => documents.evolve.function(KIND, &self.name)?.arguments[1],
        })
    }
}
