//! Where the log is: the tables of the extension and its partitions by name, looked up once a backend and
//! again after they have changed.
//!
//! **Invariant:** the bound of a table says which partition it is (`FOR VALUES IN ('acme')`), nothing else
//! does: so it holds through dumps, renames and whatever a DBA attaches and detaches.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::pg_sys::{self, Datum, Oid};

use crate::dcb::error::{self, Error, Result, SqlState, invalid, shown};
use crate::dcb::partition as names;
use crate::store::call::function;
use crate::store::pg::nowait::{demand_unlocked, nowait};
use crate::store::pg::{guard, rights, settings};

use super::partition::{Access, Partition};
use super::position::Counter;
use super::{partition_bound, replica};

// Not in pgrx's bindings. The same from PostgreSQL 15 to 18.
unsafe extern "C-unwind" {
    fn ResetSequence(sequence: Oid);
}

/// From what others are kept by a lock on the log as a whole, until the end of the transaction.
#[derive(Clone, Copy)]
pub enum Exclusion {
    /// From attaching and detaching partitions; not from appending and reading.
    OfAttaching,
    /// From all that goes through the partitioned table.
    OfAll,
}

/// The log of this database.
#[derive(PartialEq)]
pub struct Store {
    /// The oid of `en57.events`.
    pub events: Oid,
    ceiling: Oid,
    schema: Oid,
}

#[derive(Default)]
struct Known {
    by_name: HashMap<String, Rc<Partition>>,
    /// Which partition a table is.
    names: HashMap<Oid, String>,
}

thread_local! {
    static CACHED: Cell<Option<&'static Store>> = const { Cell::new(None) };
    /// What was leaked last, to be used again where nothing has changed.
    static LEAKED: Cell<Option<&'static Store>> = const { Cell::new(None) };
    static KNOWN: RefCell<Known> = RefCell::default();
    /// Counts invalidations, so that what was read while one came in is not kept.
    static CHANGES: Cell<u64> = const { Cell::new(0) };
    static WATCHED: Cell<bool> = const { Cell::new(false) };
}

/// The log of this database.
///
/// # Errors
/// 55000 where the extension's tables are not there.
pub fn store() -> Result<&'static Store> {
    if let Some(store) = CACHED.get() {
        return Ok(store);
    }
    if !WATCHED.replace(true) {
        // SAFETY: the callback is a function of this library, which is never unloaded.
        unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(on_change), Datum::from(0)) };
        replica::watch(on_subscription);
    }
    let loaded = load()?;
    let store = match LEAKED.get().filter(|leaked| **leaked == loaded) {
        Some(same) => same,
        // Leaked: a few bytes for each extension that this backend has seen.
        None => Box::leak(Box::new(loaded)),
    };
    LEAKED.set(Some(store));
    CACHED.set(Some(store));
    Ok(store)
}

/// Called by PostgreSQL when it takes note of a change, at any lock that is acquired: nothing here holds
/// a borrow while it calls PostgreSQL.
unsafe extern "C-unwind" fn on_change(_: Datum, relation: Oid) {
    CHANGES.set(CHANGES.get() + 1);
    // What is known of a table changes with the table alone: attaching another one changes the log.
    KNOWN.with_borrow_mut(|known| {
        if relation == pg_sys::InvalidOid {
            *known = Known::default();
        } else {
            known.by_name.retain(|_, p| p.oid != relation);
            known.names.remove(&relation);
        }
    });
    let is_log = CACHED.get().is_some_and(|store| store.events == relation);
    if relation == pg_sys::InvalidOid || is_log {
        CACHED.set(None);
        Counter::forget();
    }
}

/// Called when subscriptions of logical replication have changed, which changes no table.
unsafe extern "C-unwind" fn on_subscription(_: Datum, _: i32, _: u32) {
    CHANGES.set(CHANGES.get() + 1);
    KNOWN.with_borrow_mut(|known| known.by_name.clear());
}

fn load() -> Result<Store> {
    // SAFETY: lookups in the system caches by static names.
    let (schema, events, ceiling) = unsafe {
        let schema = pg_sys::get_namespace_oid(c"en57".as_ptr(), true);
        let find = |name: &std::ffi::CStr| pg_sys::get_relname_relid(name.as_ptr(), schema);
        (schema, find(c"events"), find(c"position_ceiling"))
    };
    if [schema, events, ceiling].contains(&pg_sys::InvalidOid) {
        return Err(Error::new(
            SqlState::NotInPrerequisiteState,
            "the tables of en57 are missing",
        )
        .hint("Run CREATE EXTENSION en57."));
    }
    Ok(Store {
        events,
        ceiling,
        schema,
    })
}

/// The partition that an argument means: where there is none, the session's, or the default one.
///
/// # Errors
/// 22P02 where the setting is not UTF-8.
pub fn effective_name(argument: Option<&str>) -> Result<String> {
    if let Some(name) = argument {
        return Ok(name.to_owned());
    }
    match settings::partition() {
        Some(name) => crate::store::pg::fmgr::utf8(name.as_bytes()).map(str::to_owned),
        None => Ok(names::DEFAULT.to_owned()),
    }
}

/// Whether a table is one of the log's partitions.
///
/// # Errors
/// 55000 where it is attached for anything else than one name.
pub fn is_partition(table: Oid) -> Result<bool> {
    Ok(store()?.name_of(table)?.is_some())
}

fn known(name: &str) -> Option<Rc<Partition>> {
    KNOWN.with_borrow(|known| known.by_name.get(name).cloned())
}

impl Store {
    /// A partition by name, for what the caller is about to do: his rights are checked, then the table
    /// is locked until the end of the transaction, so that it stays what it is.
    ///
    /// # Errors
    /// 42704 where there is none of that name; 42501; 0A000 where row-level security is in force for the
    /// caller; 55000 where its table is not what en57 made; 22023 for `*`.
    pub fn partition(&self, name: Option<&str>, access: Access) -> Result<Rc<Partition>> {
        let name = effective_name(name)?;
        loop {
            let table = self.table_of(&name)?;
            if let Some(found) = self.enter(&name, table, access)? {
                return Ok(found);
            }
            // SAFETY: takes note of what others have committed: the partition has gone, or moved.
            unsafe { pg_sys::AcceptInvalidationMessages() };
        }
    }

    /// Those of all partitions that the caller may read, in no particular order, opened for it as by
    /// [`Self::partition`].
    ///
    /// # Errors
    /// 42501 where he may read none.
    pub fn readable(&self, all: &[(String, Oid)], access: Access) -> Result<Vec<Rc<Partition>>> {
        let mut readable = Vec::new();
        for (name, table) in all {
            if access.is_allowed(*table) {
                // One that was dropped meanwhile is not there.
                readable.extend(self.enter(name, *table, access)?);
            }
        }
        if readable.is_empty() {
            return Err(Error::new(
                SqlState::InsufficientPrivilege,
                "permission denied for all partitions",
            )
            .hint("This needs the SELECT privilege on at least one; see en57_grant()."));
        }
        Ok(readable)
    }

    /// Makes sure that the caller may do something with a partition, and returns its table; nothing is
    /// locked.
    ///
    /// # Errors
    /// 42704, 42501.
    pub fn demand(&self, name: &str, access: Access) -> Result<Oid> {
        loop {
            let table = self.table_of(name)?;
            if access.demand(table)? {
                return Ok(table);
            }
            // SAFETY: takes note of what others have committed: the table is gone.
            unsafe { pg_sys::AcceptInvalidationMessages() };
        }
    }

    /// Locks the log as a whole.
    pub fn lock(&self, exclusion: Exclusion) {
        let mode = match exclusion {
            Exclusion::OfAttaching => pg_sys::ShareUpdateExclusiveLock,
            Exclusion::OfAll => pg_sys::AccessExclusiveLock,
        };
        // SAFETY: a lock of the transaction's.
        unsafe { pg_sys::LockRelationOid(self.events, mode as _) };
    }

    /// A table of the schema by name, InvalidOid where there is none.
    pub(in crate::store) fn table_named(&self, table: &str) -> Oid {
        let table = guard::text(table);
        // SAFETY: a lookup in the system caches.
        unsafe { pg_sys::get_relname_relid(table.as_ptr(), self.schema) }
    }

    /// A partition that was found before, as it is now; `None` where it is no more.
    ///
    /// # Errors
    /// 55000 where its table has become something else.
    pub fn again(&self, partition: &Rc<Partition>) -> Result<Option<Rc<Partition>>> {
        self.enter(&partition.name, partition.oid, Access::Own)
    }

    /// Checks the caller's rights, locks the table, and makes sure that it is the partition still; `None`
    /// where it is not.
    fn enter(&self, name: &str, table: Oid, access: Access) -> Result<Option<Rc<Partition>>> {
        if !access.demand(table)? {
            return Ok(None);
        }
        // SAFETY: locking a relation that is gone does no harm, and takes note of it.
        unsafe { pg_sys::LockRelationOid(table, access.lock() as _) };
        let entered = match known(name).filter(|p| p.oid == table) {
            Some(known) => Some(known),
            None if self.name_of(table)?.as_deref() == Some(name) => Some(remember(table, name)?),
            None => None,
        };
        if let Some(partition) = entered.as_ref().filter(|_| access.sees_rows()) {
            partition.refuse_row_security()?;
        }
        if let Some(partition) = entered.as_ref().filter(|_| access.needs_frontier()) {
            partition.refuse_replica()?;
        }
        if access == Access::Watch {
            // SAFETY: acquired above.
            unsafe { pg_sys::UnlockRelationOid(table, access.lock() as _) };
        }
        Ok(entered)
    }

    /// The table of a partition. It is found under one of the names that it was given, whatever the
    /// number of partitions; the bounds of all are looked at only where it was renamed.
    fn table_of(&self, name: &str) -> Result<Oid> {
        if let Some(known) = known(name) {
            return Ok(known.oid);
        }
        if name == names::ALL {
            return Err(
                invalid("\"*\" does not name one partition").hint("It is for reading by a query.")
            );
        }
        for table in names::tables(name) {
            let table = self.table_named(&table);
            if table != pg_sys::InvalidOid && self.name_of(table)?.as_deref() == Some(name) {
                return Ok(table);
            }
        }
        let all = self.all()?;
        let found = all.iter().find(|(other, _)| other == name);
        found.map(|(_, table)| *table).ok_or_else(|| {
            let others: Vec<&str> = all.iter().map(|(other, _)| other.as_str()).collect();
            let look = error::where_to_look("partition");
            error::missing("partition", name).hint(match error::nearest(name, &others) {
                Some(near) => format!(
                    "Did you mean \"{}\"? {look} en57_create_partition() makes a new one.",
                    shown(near)
                ),
                None => format!("{look} en57_create_partition() makes it."),
            })
        })
    }

    /// Whether there is a partition of this name.
    ///
    /// # Errors
    /// 55000 where a table of the log is not a partition as en57 makes them.
    pub fn has_partition(&self, name: &str) -> Result<bool> {
        match self.table_of(name) {
            Ok(_) => Ok(true),
            Err(error) if error.state == SqlState::UndefinedObject => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The name in `en57` of the table that a new partition is given.
    ///
    /// # Errors
    /// 42710 where all its names are taken.
    pub fn free_table(&self, name: &str) -> Result<String> {
        let is_free = |table: &&String| self.table_named(table) == pg_sys::InvalidOid;
        let tables = names::tables(name);
        tables.iter().find(is_free).cloned().ok_or_else(|| {
            Error::new(
                SqlState::DuplicateObject,
                format!("table en57.{} exists already", tables[0]),
            )
            .hint("Rename it, or attach it as the partition.")
        })
    }

    /// All partitions by name, with their tables, as committed now: which there are is not remembered,
    /// since others are told of a change after its transaction has ended.
    ///
    /// # Errors
    /// 55000 where a table of the log is not a partition as en57 makes them.
    pub fn all(&self) -> Result<Vec<(String, Oid)>> {
        loop {
            let children = partition_bound::children(self.events);
            let mut all = Vec::with_capacity(children.len());
            for table in &children {
                all.extend(self.name_of(*table)?.map(|name| (name, *table)));
            }
            if all.len() == children.len() {
                return Ok(all);
            }
            // Attached or dropped this very moment: we are about to be told.
            std::thread::yield_now();
            // SAFETY: takes note of what others have committed.
            unsafe { pg_sys::AcceptInvalidationMessages() };
            pgrx::check_for_interrupts!();
        }
    }

    /// The name of a table's partition; `None` where it is not one.
    ///
    /// # Errors
    /// 55000 where it is attached for anything else than one name.
    pub fn name_of(&self, table: Oid) -> Result<Option<String>> {
        if let Some(name) = KNOWN.with_borrow(|known| known.names.get(&table).cloned()) {
            return Ok(Some(name));
        }
        let changes = CHANGES.get();
        let name = partition_bound::name(table, self.events)?;
        if let Some(name) = name.as_ref().filter(|_| changes == CHANGES.get()) {
            KNOWN.with_borrow_mut(|known| known.names.insert(table, name.clone()));
        }
        Ok(name)
    }

    /// Its partitions as far as they can be used, locked for reading.
    pub(in crate::store) fn usable(&self) -> Vec<Rc<Partition>> {
        let name = |table: Oid| self.name_of(table).ok().flatten();
        let enter = |table: Oid| self.enter(&name(table)?, table, Access::Own).ok().flatten();
        let tables = partition_bound::children(self.events);
        tables.into_iter().filter_map(enter).collect()
    }

    /// The durable ceiling of positions, 0 where none was set yet.
    pub fn read_ceiling(&self) -> i64 {
        // SAFETY: pg_sequence_last_value takes a sequence's oid; it returns NULL (None) before the
        // first setval.
        rights::as_owner_of(self.ceiling, || unsafe {
            let oid = Some(Datum::from(self.ceiling));
            pgrx::direct_function_call_as_datum(pg_sys::pg_sequence_last_value, &[oid])
        })
        .map_or(0, |d| d.value() as i64)
    }

    /// The durable ceiling, without waiting for who lets positions begin at 1 again.
    ///
    /// # Errors
    /// 55P03.
    pub fn ceiling_now(&self) -> Result<i64> {
        demand_unlocked(self.ceiling)?;
        nowait(|| Ok(self.read_ceiling()))
    }

    /// Forgets the ceiling, once the transaction is committed.
    pub fn reset_ceiling(&self) {
        // SAFETY: gives the sequence new storage, as TRUNCATE .. RESTART IDENTITY does; the lock keeps
        // others from its old one.
        unsafe {
            pg_sys::LockRelationOid(self.ceiling, pg_sys::AccessExclusiveLock as _);
            pg_sys::ffi::pg_guard_ffi_boundary(|| ResetSequence(self.ceiling));
        }
    }

    /// Makes a ceiling durable: when this returns, it survives a crash. It is on synchronous standbys then, too, as far as
    /// the session waits for them at all (`synchronous_commit`): a position can be seen before anything is committed.
    pub fn write_ceiling(&self, ceiling: i64) {
        rights::as_owner_of(self.ceiling, || {
            // SAFETY: setval takes a sequence's oid and a value; it writes WAL at once, outside of the
            // transaction, and XactLastRecEnd is the end of that record. The wait for standbys is PostgreSQL's own; it
            // returns at once where there are none, and wants interrupts to be held off.
            unsafe {
                let args = [Some(Datum::from(self.ceiling)), Some(Datum::from(ceiling))];
                pgrx::direct_function_call_as_datum(pg_sys::setval_oid, &args);
                pg_sys::XLogFlush(pg_sys::XactLastRecEnd);
                pg_sys::InterruptHoldoffCount += 1;
                pg_sys::SyncRepWaitForLSN(pg_sys::XactLastRecEnd, false);
                pg_sys::InterruptHoldoffCount -= 1;
            }
        });
    }
}

/// Looks at a partition whose table the caller has locked, and keeps what there is to know of it, unless it
/// changes meanwhile: an index may.
fn remember(table: Oid, name: &str) -> Result<Rc<Partition>> {
    loop {
        let changes = CHANGES.get();
        let is_replica = replica::is_subscribed(&[table, store()?.events]);
        let partition = Rc::new(Partition::load(table, name, is_replica)?);
        if changes == CHANGES.get() {
            KNOWN.with_borrow_mut(|known| {
                let kept = Rc::clone(&partition);
                known.by_name.insert(name.to_owned(), kept);
            });
            return Ok(partition);
        }
    }
}

/// Whether the running command may write: what every function of en57 that appends, locks keys or administers asks
/// first.
///
/// # Errors
/// 0A000 within a function that en57 asks for an answer; PostgreSQL's own (25006), by unwinding.
pub fn demand_writable(command: &str) -> Result<()> {
    function::refuse_within_answer(command)?;
    let command = guard::text(command);
    // SAFETY: raises where the transaction is read-only or the server in recovery.
    unsafe {
        pg_sys::PreventCommandIfReadOnly(command.as_ptr());
        pg_sys::PreventCommandDuringRecovery(command.as_ptr());
    }
    Ok(())
}

/// The partition, if the caller may make code run in the appends to it.
///
/// # Errors
/// 42501, 42704.
pub fn partition_to_administer(partition: Option<&str>) -> Result<Rc<Partition>> {
    store()?.partition(partition, Access::Project)
}
