//! Which counter in shared memory is that of this database's log: it is entered there by the first use after the server's
//! start.

use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::Ordering::SeqCst;

use pgrx::pg_sys::{self, Oid};

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::index::entry::{Direction, Entry};
use crate::store::index::reader::Reader;
use crate::store::memory::late_key::bound_of;
use crate::store::memory::shmem::{Log, Shared, exclusively};
use crate::store::memory::stat;
use crate::store::pg::guard::{self, Severity};
use crate::store::pg::subtransaction::in_subtransaction;
use crate::store::row::table::IndexRole;
use crate::store::session::transaction;

use super::catalog::Store;
use super::position::Counter;
use super::version;

thread_local! {
    static CACHED: Cell<Option<(u32, &'static Log)>> = const { Cell::new(None) };
}

impl Counter {
    /// The counter of the store's log, initialised by the first use after the server's start.
    ///
    /// # Errors
    /// 0A000 on a standby; 55000 where a newer version has made the tables; 54000 where the cluster has too many logs.
    pub fn of(store: &'static Store) -> Result<Self> {
        let shared = Shared::get()?;
        let relation = store.events.to_u32();
        if let Some((_, log)) = CACHED.get().filter(|(cached, _)| *cached == relation) {
            transaction::note_restarts(log.restarts.load(SeqCst));
            return Ok(Self { shared, log, store });
        }
        // SAFETY: asks for a flag in shared memory.
        if unsafe { pg_sys::RecoveryInProgress() } {
            return Err(
                Error::new(SqlState::NotSupported, "en57 cannot be used on a standby")
                    .detail("What a position's readers may rely on is known on the primary alone.")
                    .hint("Read on the primary."),
            );
        }
        version::refuse_newer()?;
        let log = match find(shared, relation) {
            Some(log) => log,
            None => {
                let ceiling = store.read_ceiling();
                let last = largest_stored(store, ceiling > 0)?;
                exclusively(|| enter(shared, relation, ceiling.max(last)))?
            }
        };
        CACHED.set(Some((relation, log)));
        transaction::note_restarts(log.restarts.load(SeqCst));
        stat::count_for(shared, log);
        Ok(Self { shared, log, store })
    }

    /// What was counted for the log, and since when.
    pub fn counts(&self) -> (stat::Counts, i64) {
        stat::counts(self.shared, self.log)
    }

    /// Counts anew from now on.
    pub fn reset_counts(&self) {
        stat::reset(self.shared, self.log);
    }

    /// Forgets what this backend knew of the counter, for a store that was dropped.
    pub fn forget() {
        CACHED.set(None);
    }
}

fn find(shared: &'static Shared, relation: u32) -> Option<&'static Log> {
    // SAFETY: set at the start of the backend.
    let database = unsafe { pg_sys::MyDatabaseId }.to_u32();
    shared
        .logs
        .iter()
        .find(|l| l.relation.load(SeqCst) == relation && l.database.load(SeqCst) == database)
}

/// Enters a log whose positions up to `last` are taken. The caller holds the lock.
fn enter(shared: &'static Shared, relation: u32, last: i64) -> Result<&'static Log> {
    if let Some(log) = find(shared, relation) {
        return Ok(log);
    }
    let free = shared.logs.iter().find(|l| l.database.load(SeqCst) == 0);
    let log = free
        .or_else(|| shared.logs.iter().find(|l| is_abandoned(l)))
        .ok_or_else(|| {
            Error::new(
                SqlState::LimitExceeded,
                "too many databases of this cluster use en57",
            )
        })?;
    log.relation.store(relation, SeqCst);
    log.next.store(last + 1, SeqCst);
    log.ceiling.store(last, SeqCst);
    log.ceiling_stored.store(last, SeqCst);
    log.ceiling_step.store(0, SeqCst);
    log.ceiling_raised_us.store(0, SeqCst);
    log.restarts.store(0, SeqCst);
    stat::begin(shared, log);
    // SAFETY: set at the start of the backend.
    log.database
        .store(unsafe { pg_sys::MyDatabaseId }.to_u32(), SeqCst);
    Ok(log)
}

/// Whether the log's database, or its table in this database, is no more.
fn is_abandoned(log: &Log) -> bool {
    let database = Oid::from(log.database.load(SeqCst));
    let relation = Oid::from(log.relation.load(SeqCst));
    // SAFETY: lookups in the system caches.
    unsafe {
        if database == pg_sys::MyDatabaseId {
            return pg_sys::get_rel_namespace(relation) == pg_sys::InvalidOid;
        }
        pg_sys::get_database_name(database).is_null()
    }
}

/// The largest position in the store, visible or not; 0 where there is none. A partition that cannot be
/// used, or whose index cannot be read, does not keep others from being used, if there is a ceiling: it covers
/// what was ever allotted.
fn largest_stored(store: &Store, has_ceiling: bool) -> Result<i64> {
    let mut largest = 0;
    for partition in store.usable() {
        let relation = partition.open_to_read();
        if relation.index(IndexRole::Position).is_err() {
            continue;
        }
        let last = in_subtransaction(|| {
            let mut entries = Vec::new();
            let tree = Reader::positions(&relation)?;
            tree.page(Entry::MAX, Entry::MIN, Direction::Backward, &mut entries)?;
            Ok(entries.first().map_or(0, |e| e.position))
        })?;
        largest = match last {
            Ok(last) => largest.max(last),
            // XX: the data are corrupted; 58: the system cannot read them.
            Err(failure) if has_ceiling && ["XX", "58"].contains(&&failure.state[..2]) => {
                let message = format!("partition \"{}\" cannot be read", partition.name);
                let hint = Some("Call en57_check().");
                guard::log(Severity::Warning, &message, Some(&failure.in_words()), hint);
                largest
            }
            Err(failure) => return failure.raise(),
        };
    }
    Ok(largest)
}

/// What has happened to a log, for those who want to know whether anything has.
#[derive(PartialEq)]
pub struct Activity {
    next: i64,
    restarts: u64,
    /// Of the transactions in flight.
    flights: u64,
}

/// The log's, where this backend has used it. Cheap, and needs no transaction.
pub fn activity() -> Option<Activity> {
    let (_, log) = CACHED.get()?;
    let shared = Shared::attached()?;
    let (next, restarts) = (log.next.load(SeqCst), log.restarts.load(SeqCst));
    let of = shared.index_of(log) as u32 + 1;
    let mut flights = DefaultHasher::new();
    for (backend, slot) in shared.used_slots().iter().enumerate() {
        let bound = bound_of(&slot.bound);
        if bound != 0 && slot.log.load(SeqCst) == of {
            (backend, bound, slot.generation.load(SeqCst)).hash(&mut flights);
        }
    }
    let flights = flights.finish();
    Some(Activity {
        next,
        restarts,
        flights,
    })
}
