//! Definitions that backends remember: PostgreSQL's own invalidation messages say that they have changed, at
//! the same time as the change becomes visible.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::rc::Rc;

use pgrx::pg_sys::{self, Datum, Oid};

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::memory::shmem::Shared;
use crate::store::pg::fmgr::Args;
use crate::store::pg::rights::{self, SAFE_PATH};
use crate::store::pg::spi::Values;
use crate::store::pg::subtransaction::in_subtransaction;

use super::transaction;

/// A table of definitions. Each has a trigger that calls [`announce`].
#[derive(Clone, Copy, Debug)]
pub enum Table {
    /// What is done with events.
    Projections,
    /// What states are made of events, and what is decided on them.
    Folds,
    /// What new events must fit.
    EventTypes,
    /// What becomes of old events when they are read.
    Upcasters,
    /// What must hold after every append.
    Invariants,
}

/// In the order of [`Table`].
const NAMES: [&CStr; 5] = [
    c"projections",
    c"folds",
    c"event_types",
    c"upcasters",
    c"invariants",
];

/// What is known of one table.
struct Watched {
    oid: Cell<Oid>,
    /// Counts its changes.
    generation: Cell<u64>,
}

thread_local! {
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
    static WATCHED: [Watched; NAMES.len()] = const {
        [const { Watched { oid: Cell::new(pg_sys::InvalidOid), generation: Cell::new(1) } }; NAMES.len()]
    };
}

/// What was read from a table of definitions, kept until the table, a function or a schema changes.
pub struct Cache<T> {
    table: Table,
    /// As of which generation of the table; 0: none.
    generation: Cell<u64>,
    known: RefCell<Option<Rc<T>>>,
}

impl<T> Cache<T> {
    /// An empty one.
    pub const fn new(table: Table) -> Self {
        Self {
            table,
            generation: Cell::new(0),
            known: RefCell::new(None),
        }
    }

    /// Whether what was read may be out of date, as of what has been accepted of others' changes.
    pub fn has_changed(&self) -> bool {
        self.generation.get() != generation(self.table)
    }

    /// What `load` makes of the table's rows, as of what has been accepted of others' changes.
    ///
    /// # Errors
    /// 55000 where the table is missing; those of `load`, after which nothing is known.
    pub fn get(&self, load: impl FnOnce(Vec<Values>) -> Result<T>) -> Result<Rc<T>> {
        if !self.has_changed()
            && let Some(known) = &*self.known.borrow()
        {
            return Ok(known.clone());
        }
        // Before the rows are read: what changes meanwhile is a change.
        let generation = generation(self.table);
        let loaded = Rc::new(load(rows(watch(self.table)?))?);
        *self.known.borrow_mut() = Some(loaded.clone());
        self.generation.set(generation);
        Ok(loaded)
    }
}

/// Takes note of what other transactions have changed by now. Cheap where nothing has.
pub fn accept_changes() {
    // SAFETY: PostgreSQL does the same at each lock of a relation.
    unsafe { pg_sys::AcceptInvalidationMessages() };
}

/// Counts the changes of a table of definitions and of functions, as of what has been accepted.
pub fn generation(table: Table) -> u64 {
    WATCHED.with(|w| w[table as usize].generation.get())
}

/// From now on changes of the table are counted.
fn watch(which: Table) -> Result<Oid> {
    if !REGISTERED.replace(true) {
        // SAFETY: the callbacks are functions of this library, which is never unloaded.
        unsafe {
            pg_sys::CacheRegisterRelcacheCallback(Some(on_relation), Datum::from(0));
            let functions = pg_sys::SysCacheIdentifier::PROCOID as i32;
            pg_sys::CacheRegisterSyscacheCallback(functions, Some(on_function), Datum::from(0));
            let schemas = pg_sys::SysCacheIdentifier::NAMESPACEOID as i32;
            pg_sys::CacheRegisterSyscacheCallback(schemas, Some(on_function), Datum::from(0));
        }
    }
    let oid = table(NAMES[which as usize])?;
    WATCHED.with(|w| w[which as usize].oid.set(oid));
    Ok(oid)
}

/// All rows of a table that are committed by now, or the transaction's own, in the current memory context.
/// Rows that somebody changes meanwhile may be missing or come twice. Unlike a scan on a snapshot, this
/// leaves no predicate locks.
fn rows(table: Oid) -> Vec<Values> {
    // SAFETY: the table is open and locked until the scan is over; rows are copied before they are taken
    // apart. The self snapshot is static.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as _);
        let descriptor = (*relation).rd_att;
        let columns = (*descriptor).natts as usize;
        let scan = pg_sys::systable_beginscan(
            relation,
            pg_sys::InvalidOid,
            false,
            &raw mut pg_sys::SnapshotSelfData,
            0,
            std::ptr::null_mut(),
        );
        let mut rows = Vec::new();
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let (mut values, mut nulls) = (vec![Datum::from(0); columns], vec![true; columns]);
            pg_sys::heap_deform_tuple(
                pg_sys::heap_copytuple(tuple),
                descriptor,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
            let row = values.into_iter().zip(nulls);
            rows.push(row.map(|(value, null)| (!null).then_some(value)).collect());
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, pg_sys::NoLock as _);
        rows
    }
}

/// A table of the schema en57.
///
/// # Errors
/// 55000 where it is missing.
pub fn table(name: &CStr) -> Result<Oid> {
    // SAFETY: lookups in the system caches by static names.
    let oid = unsafe {
        let schema = pg_sys::get_namespace_oid(c"en57".as_ptr(), true);
        pg_sys::get_relname_relid(name.as_ptr(), schema)
    };
    if oid == pg_sys::InvalidOid {
        return Err(Error::new(
            SqlState::NotInPrerequisiteState,
            "the tables of en57 are missing",
        )
        .hint("Run CREATE EXTENSION en57."));
    }
    Ok(oid)
}

fn count_changes(of: impl Fn(&Watched) -> bool) {
    WATCHED.with(|watched| {
        for table in watched.iter().filter(|w| of(w)) {
            table.generation.set(table.generation.get() + 1);
        }
    });
}

unsafe extern "C-unwind" fn on_relation(_: Datum, relation: Oid) {
    count_changes(|w| relation == pg_sys::InvalidOid || relation == w.oid.get());
}

/// Functions may be replaced, dropped, or given to somebody else; and their schemas be renamed, by whose names they are
/// found.
unsafe extern "C-unwind" fn on_function(_: Datum, _: i32, _: u32) {
    count_changes(|_| true);
}

/// The trigger on a table of definitions: tells every backend, at commit, that they have changed.
///
/// # Errors
/// 0A000 where it is called by anything but a trigger.
pub fn announce(args: &Args) -> Result<()> {
    // SAFETY: PostgreSQL sets `context` to the trigger's data when it calls a trigger function.
    unsafe {
        let data = (*args.raw()).context.cast::<pg_sys::TriggerData>();
        if data.is_null() || (*data).type_ != pg_sys::NodeTag::T_TriggerData {
            return Err(Error::new(
                SqlState::NotSupported,
                "this function is called by triggers alone",
            ));
        }
        pg_sys::CacheInvalidateRelcacheByRelid((*(*data).tg_relation).rd_id);
    }
    if Shared::attached().is_none() {
        // To tell the worker. Who changes definitions need not be able to.
        in_subtransaction(|| Shared::get().map(drop))?.ok();
    }
    transaction::redefine_at_commit();
    Ok(())
}

/// Runs a statement on en57's own tables, with the rights of their owner, by names that nobody else can
/// have given.
///
/// # Errors
/// Those of the body; 55000 where the table is missing.
pub fn as_extension_owner<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    let owner = rights::owner_of(table(c"projections")?).unwrap_or(rights::current_role());
    rights::as_role_restricted(owner, || rights::with_path(SAFE_PATH, body))
}
