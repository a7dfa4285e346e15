//! The background worker as a process: how it is started and stopped, how it sleeps, and when it must go.
//!
//! PostgreSQL starts it again when it has ended with anything but 0, some seconds later; so who is not wanted any
//! more ends with 0.
//!
//! **Invariant:** nothing is held while it sleeps: no transaction, no snapshot, no lock.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_int};
use std::time::{Duration, Instant};

use pgrx::pg_sys::{self, Datum, Oid};

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::lock::manager;
use crate::store::log::counter::{self, Activity};
use crate::store::memory::shmem::Shared;
use crate::store::memory::slot;
use crate::store::memory::worker_slot::{self, WorkerSlot};
use crate::store::pg::guard::{self, Severity};
use crate::store::pg::spi;
use crate::store::pg::subtransaction::{self, Failure};
use crate::store::pg::xmin::XminRelease;
use crate::store::session::{sleep, transaction};

use super::launch::{KIND, register};

/// How long a worker that is to stop may go on with its batch.
const GRACE_MS: u64 = 2000;
/// How often a sleeping worker looks whether somebody wants the database for himself: DROP DATABASE waits for
/// five seconds.
const LOOK_MS: u64 = 1000;

/// After how long a wait it looks for a deadlock: before the others that are in it do, since it can try again
/// and nobody hears of it.
const DEADLOCK_MS: c_int = 100;

unsafe extern "C" {
    fn kill(pid: c_int, signal: c_int) -> c_int;
}

/// PostgreSQL's own handlers of signals, without a guard of pgrx's round them.
mod handler {
    unsafe extern "C-unwind" {
        pub(in crate::store) fn die(signal: super::c_int);
        pub(in crate::store) fn SignalHandlerForConfigReload(signal: super::c_int);
    }
}

const SIGHUP: c_int = 1;
const SIGTERM: c_int = 15;

/// Starts the worker of this database, unless it runs; returns its process, and whether it was started.
///
/// # Errors
/// 53400 where the server has no worker process left; 55000 where it ends at once.
pub fn start() -> Result<(i32, bool)> {
    let desk = WorkerSlot::of(worker_slot::own_database())?;
    manager::while_worker_is_changed(|| {
        desk.want(true);
        if let Some(pid) = running(desk)? {
            return Ok((pid, false));
        }
        let handle = register(worker_slot::own_database())?;
        let mut pid = 0;
        // SAFETY: the handle was just made.
        unsafe { pg_sys::WaitForBackgroundWorkerStartup(handle, &raw mut pid) };
        loop {
            if let Some(pid) = running(desk)? {
                return Ok((pid, true));
            }
            // SAFETY: as above.
            let status = unsafe { pg_sys::GetBackgroundWorkerPid(handle, &raw mut pid) };
            if status != pg_sys::BgwHandleStatus::BGWH_STARTED && desk.holder().is_none() {
                return Err(ended_at_once());
            }
            sleep::wait_until(Some(50), XminRelease::NONE, || Ok(desk.running().is_some()))?;
        }
    })
    .unwrap_or_else(|| Err(ended_at_once()))
}

/// The worker that runs, after one that is being connected has come to do so, or has failed.
fn running(desk: &WorkerSlot) -> Result<Option<i32>> {
    sleep::wait_until(Some(GRACE_MS), XminRelease::NONE, || {
        Ok(desk.running().is_some() || desk.holder().is_none())
    })?;
    Ok(desk.running())
}

fn ended_at_once() -> Error {
    Error::new(
        SqlState::NotInPrerequisiteState,
        "the worker of en57 has ended at once",
    )
    .hint("The server's log says why.")
}

/// Stops the worker of this database; returns whether there was one. It may finish its batch; if that takes
/// long it is terminated.
///
/// # Errors
/// 53200 without shared memory.
pub fn stop() -> Result<bool> {
    let Some(desk) = worker_slot::existing()? else {
        return Ok(false);
    };
    manager::while_worker_is_changed(|| {
        desk.want(false);
        let Some(pid) = desk.holder() else {
            return Ok(false);
        };
        slot::wake();
        let has_left = || Ok(desk.holder() != Some(pid));
        if !sleep::wait_until(Some(GRACE_MS), XminRelease::NONE, has_left)? {
            // SAFETY: the process has not given its desk back, so it is this worker still.
            unsafe { kill(pid, SIGTERM) };
            sleep::wait_until(None, XminRelease::NONE, has_left)?;
        }
        Ok(true)
    })
    .unwrap_or(Ok(false))
}

/// The process of this database's worker.
///
/// # Errors
/// 53200 without shared memory.
pub fn process() -> Result<Option<i32>> {
    Ok(worker_slot::existing()?.and_then(WorkerSlot::running))
}

/// Lets the process be told to end, and to read its configuration again.
///
/// # Safety
/// Called once, by a background worker that has not unblocked signals yet.
pub(in crate::store) unsafe fn handle_signals() {
    // SAFETY: the handlers are PostgreSQL's own; they set flags and wake the process.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        use pg_sys::pqsignal;
        #[cfg(feature = "pg18")]
        use pg_sys::pqsignal_be as pqsignal;
        pqsignal(SIGHUP, Some(handler::SignalHandlerForConfigReload));
        pqsignal(SIGTERM, Some(handler::die));
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// The worker's process: connects it to its database and lets it work.
///
/// An error that `work` returns or raises ends the process; PostgreSQL starts it again.
pub fn enter(database: Datum, work: impl FnOnce(&Process) -> Result<()>) {
    // SAFETY: called by PostgreSQL as a process of its own, with signals blocked until it is set up; what it
    // raises is reported there.
    unsafe {
        guard::call(|| {
            handle_signals();
            let database = Oid::from(database.value() as u32);
            let desk = WorkerSlot::of(database)?;
            let pid = pg_sys::MyProcPid;
            if desk.is_stopped() || !desk.claim(pid) {
                pg_sys::proc_exit(0);
            }
            pg_sys::before_shmem_exit(Some(leave), Datum::from(std::ptr::from_ref(desk)));
            if desk.begin_to_connect() {
                let message = format!(
                    "the worker of the database with oid {} gives up: it could not connect",
                    database.to_u32()
                );
                guard::log(Severity::Log, &message, None, None);
                desk.want(false);
                pg_sys::proc_exit(0);
            }
            pg_sys::BackgroundWorkerInitializeConnectionByOid(database, pg_sys::InvalidOid, 0);
            pg_sys::pgstat_report_appname(KIND.as_ptr());
            for setting in SETTINGS {
                set(setting.0, setting.1);
            }
            let deadlock_ms = pg_sys::DeadlockTimeout.min(DEADLOCK_MS);
            set(c"deadlock_timeout", &guard::text(&deadlock_ms.to_string()));
            desk.connected();
            slot::wake();
            work(&Process {
                desk,
                reloads: Cell::new(0),
            })
        });
    }
}

/// What must not depend on how server and database are set up: as autovacuum has it.
const SETTINGS: &[(&CStr, &CStr)] = &[
    (c"search_path", c"pg_catalog, pg_temp"),
    (c"statement_timeout", c"0"),
    (c"idle_in_transaction_session_timeout", c"0"),
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    (c"transaction_timeout", c"0"),
    (c"default_transaction_isolation", c"read committed"),
    (c"default_transaction_read_only", c"off"),
    (c"default_transaction_deferrable", c"off"),
];

unsafe fn set(name: &CStr, value: &CStr) {
    let (context, source) = (
        pg_sys::GucContext::PGC_SUSET,
        pg_sys::GucSource::PGC_S_OVERRIDE,
    );
    // SAFETY: PostgreSQL copies the texts.
    unsafe { pg_sys::SetConfigOption(name.as_ptr(), value.as_ptr(), context, source) };
}

/// Called by PostgreSQL when the process ends, after its transaction was aborted. Never fails.
unsafe extern "C-unwind" fn leave(_: c_int, desk: Datum) {
    transaction::wake_up();
    // SAFETY: the desk lives in shared memory, which is attached still.
    unsafe { (*desk.cast_mut_ptr::<WorkerSlot>()).leave(pg_sys::MyProcPid) };
    slot::wake();
}

/// The running worker.
pub struct Process {
    desk: &'static WorkerSlot,
    /// How often the configuration was read again.
    reloads: Cell<u64>,
}

/// What a worker may have to look at: if two are equal, nothing has happened in between.
#[derive(PartialEq)]
pub struct Occasion {
    changes: u64,
    reloads: u64,
    activity: Option<Activity>,
}

impl Process {
    /// How often there was something new to do.
    pub fn changes(&self) -> u64 {
        self.desk.changes()
    }

    /// The state of things. Cheap.
    pub fn moment(&self) -> Occasion {
        Occasion {
            changes: self.desk.changes(),
            reloads: self.reloads.get(),
            activity: counter::activity(),
        }
    }

    /// Runs `body` in a transaction, see [`subtransaction::in_transaction`]. What functions of users leave in the session
    /// (settings, temporary tables, locks, cursors) is cleared away, before others' are called.
    ///
    /// # Errors
    /// Whatever has kept it from being committed.
    pub fn transaction<T>(
        &self,
        role: Option<Oid>,
        body: impl FnOnce() -> Result<T>,
    ) -> std::result::Result<T, Box<Failure>> {
        let outcome = subtransaction::in_transaction(role, body);
        if role.is_some() {
            // SAFETY: no transaction is running; what it does is no part of one.
            unsafe { pg_sys::ResetAllOptions() };
            subtransaction::in_transaction(None, || spi::command(CLEARING))?;
        }
        outcome
    }

    /// Serves what was asked of the process by signals, or by `stop`; may not return.
    pub fn attend(&self) {
        // SAFETY: no transaction is running; a request to terminate ends the process here. What asks for
        // a statement's end comes too late.
        unsafe {
            pg_sys::QueryCancelPending = 0;
            pgrx::check_for_interrupts!();
            if pg_sys::ConfigReloadPending != 0 {
                pg_sys::ConfigReloadPending = 0;
                pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
                self.reloads.set(self.reloads.get() + 1);
            }
            if pg_sys::catchupInterruptPending != 0 {
                pg_sys::ProcessCatchupInterrupt();
            }
            if self.desk.is_stopped() {
                pg_sys::proc_exit(0);
            }
            if manager::is_database_wanted(worker_slot::own_database()) {
                let message =
                    "the worker of en57 leaves its database to a command that needs it alone";
                guard::log(Severity::Log, message, None, None);
                pg_sys::proc_exit(1);
            }
        }
    }

    /// Sleeps until something has happened since `seen`, or the time is over; returns whether it has slept.
    ///
    /// # Errors
    /// 53200 without shared memory.
    pub fn sleep(&self, seen: &Occasion, until: Option<Instant>) -> Result<bool> {
        let shared = Shared::get()?;
        let variable = (&raw const shared.moved).cast_mut();
        let _sleeper = transaction::Sleeper::new(shared);
        let mut has_slept = false;
        self.show(None);
        loop {
            self.attend();
            // SAFETY: the variable lives in shared memory. Preparing before looking means that no wake-up is
            // lost. Whatever else wakes the process sets its latch.
            unsafe {
                pg_sys::ConditionVariablePrepareToSleep(variable);
                let left = until.map(|u| u.saturating_duration_since(Instant::now()));
                let is_over = *seen != self.moment() || left == Some(Duration::ZERO);
                if !is_over && !self.desk.is_stopped() {
                    self.nap(left.map_or(LOOK_MS, |l| (l.as_micros() as u64).div_ceil(1000)));
                    has_slept = true;
                }
                pg_sys::ConditionVariableCancelSleep();
                if is_over {
                    return Ok(has_slept);
                }
            }
        }
    }

    /// Sleeps for some milliseconds, or until it is woken.
    pub fn nap(&self, ms: u64) {
        let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
        // SAFETY: the process's own latch.
        unsafe {
            pg_sys::WaitLatch(
                pg_sys::MyLatch,
                events as c_int,
                ms.min(LOOK_MS) as _,
                wait_event(),
            );
            pg_sys::ResetLatch(pg_sys::MyLatch);
        }
    }

    /// Shows in `pg_stat_activity` what it does; `None`: it sleeps.
    pub fn show(&self, what: Option<&str>) {
        let (state, text) = match what {
            Some(what) => (pg_sys::BackendState::STATE_RUNNING, guard::text(what)),
            None => (pg_sys::BackendState::STATE_IDLE, CString::default()),
        };
        // SAFETY: the text is copied. Statistics are sent while there is nothing else to do.
        unsafe {
            if what.is_none() {
                pg_sys::pgstat_report_stat(true);
            }
            pg_sys::pgstat_report_activity(state, text.as_ptr());
        }
    }
}

/// Session state that is not settings.
const CLEARING: &str =
    "DISCARD TEMP; CLOSE ALL; DEALLOCATE ALL; SELECT pg_catalog.pg_advisory_unlock_all()";

/// What `pg_stat_activity` shows while it sleeps.
fn wait_event() -> u32 {
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    return pg_sys::PG_WAIT_EXTENSION;
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    {
        thread_local! {
            static EVENT: Cell<u32> = const { Cell::new(0) };
        }
        if EVENT.get() == 0 {
            // SAFETY: asks for the number of a name, the same in all processes.
            EVENT.set(unsafe { pg_sys::WaitEventExtensionNew(c"En57Worker".as_ptr()) });
        }
        EVENT.get()
    }
}
