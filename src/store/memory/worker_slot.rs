//! What the sessions of a database and its worker know of each other: whether it runs, whether it is wanted, and
//! how often there was something new to do.
//!
//! **Invariant:** of the worker processes of a database that claims its desk works, no other; and it gives the
//! desk back after its last transaction has ended.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64};

use pgrx::pg_sys::{self, Oid};

use crate::dcb::error::{Error, Result, SqlState};

use super::shmem::{Shared, exclusively};

/// A database's worker in shared memory.
#[repr(C, align(32))]
pub struct WorkerSlot {
    /// The database; 0 while the entry is free.
    database: AtomicU32,
    /// The worker's process; 0 where there is none.
    pid: AtomicI32,
    /// Whether the worker is connected to its database.
    connected: AtomicBool,
    /// Whether a worker has begun to connect and was not seen to succeed.
    connecting: AtomicBool,
    /// Whether it was stopped on purpose: a process that PostgreSQL starts again ends at once.
    stopped: AtomicBool,
    /// Counts changes of what there is to do.
    changes: AtomicU64,
}

const _: () = assert!(size_of::<WorkerSlot>() == 32);

/// The desk of a database, if it has ever had a worker since the server's start.
fn find(shared: &'static Shared, database: Oid) -> Option<&'static WorkerSlot> {
    let of_database = |d: &&WorkerSlot| d.database.load(SeqCst) == database.to_u32();
    shared.desks.iter().find(of_database)
}

/// The database of this backend.
pub fn own_database() -> Oid {
    // SAFETY: set at the start of the backend.
    unsafe { pg_sys::MyDatabaseId }
}

/// The desk of this backend's database, as `find`.
///
/// # Errors
/// 53200 without shared memory.
pub fn existing() -> Result<Option<&'static WorkerSlot>> {
    Ok(find(Shared::get()?, own_database()))
}

/// Tells the worker, where there is one, that there may be something new to do. Never fails.
pub fn note_change() {
    if let Some(desk) = Shared::attached().and_then(|s| find(s, own_database())) {
        desk.changes.fetch_add(1, SeqCst);
    }
}

impl WorkerSlot {
    /// The desk of a database, a new one where it has none.
    ///
    /// # Errors
    /// 54000 where more databases have workers than there is room for.
    pub fn of(database: Oid) -> Result<&'static Self> {
        let shared = Shared::get()?;
        exclusively(|| {
            if let Some(desk) = find(shared, database) {
                return Ok(desk);
            }
            let is_free = |d: &&Self| d.database.load(SeqCst) == 0;
            let is_left = |d: &&Self| d.pid.load(SeqCst) == 0;
            let free = shared.desks.iter().find(is_free);
            let desk = free.or_else(|| shared.desks.iter().find(is_left));
            let desk = desk.ok_or_else(|| {
                Error::new(
                    SqlState::LimitExceeded,
                    "too many databases of this cluster have workers of en57",
                )
            })?;
            desk.connecting.store(false, SeqCst);
            desk.stopped.store(false, SeqCst);
            desk.database.store(database.to_u32(), SeqCst);
            Ok(desk)
        })
    }

    /// Takes the desk for a process; whether it was free.
    pub fn claim(&self, pid: i32) -> bool {
        self.pid.compare_exchange(0, pid, SeqCst, SeqCst).is_ok()
    }

    /// Gives it back, where it is this process's.
    pub fn leave(&self, pid: i32) {
        if self.pid.load(SeqCst) == pid {
            self.connected.store(false, SeqCst);
            self.pid.store(0, SeqCst);
        }
    }

    /// The process that has the desk, connected or about to be.
    pub fn holder(&self) -> Option<i32> {
        Some(self.pid.load(SeqCst)).filter(|pid| *pid != 0)
    }

    /// The process that works.
    pub fn running(&self) -> Option<i32> {
        self.holder().filter(|_| self.connected.load(SeqCst))
    }

    /// The worker begins to connect; whether one before it has done so in vain.
    pub fn begin_to_connect(&self) -> bool {
        self.connecting.swap(true, SeqCst)
    }

    /// The worker is connected.
    pub fn connected(&self) {
        self.connecting.store(false, SeqCst);
        self.connected.store(true, SeqCst);
    }

    /// A worker is wanted from now on, or is not.
    pub fn want(&self, wanted: bool) {
        if wanted {
            self.connecting.store(false, SeqCst);
        }
        self.stopped.store(!wanted, SeqCst);
    }

    /// Whether it was stopped on purpose.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(SeqCst)
    }

    /// How often there was something new to do.
    pub fn changes(&self) -> u64 {
        self.changes.load(SeqCst)
    }
}
