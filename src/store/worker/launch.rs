//! How background workers come to be: a session, or the launcher at the server's start, registers one by the oid
//! of its database.

use std::ffi::{CStr, c_char, c_int};

use pgrx::pg_sys::{self, Datum, Oid};

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::pg::guard::{self, Severity};
use crate::store::pg::{settings, subtransaction};

use super::process;

/// What `pg_stat_activity` shows as its kind.
pub(in crate::store) const KIND: &CStr = c"en57 worker";
/// After how many seconds PostgreSQL starts one again that has ended.
const RESTART_S: c_int = 5;

/// With the library preloaded, and databases named: has their workers started with the server.
pub fn init() {
    if !settings::preloading() || settings::databases().is_none() {
        return;
    }
    // SAFETY: reads a flag of the postmaster's.
    if unsafe { pg_sys::IsBinaryUpgrade } {
        return;
    }
    let mut launcher = description(c"en57 launcher", c"en57_launcher_main", Datum::from(0));
    // SAFETY: the postmaster copies the description; it is loading libraries.
    unsafe { pg_sys::RegisterBackgroundWorker(&raw mut launcher) };
}

fn description(kind: &CStr, function: &CStr, argument: Datum) -> pg_sys::BackgroundWorker {
    fn set(field: &mut [c_char], text: &CStr) {
        for (to, from) in field.iter_mut().zip(text.to_bytes_with_nul()) {
            *to = *from as c_char;
        }
    }
    let mut worker = pg_sys::BackgroundWorker {
        bgw_flags: (pg_sys::BGWORKER_SHMEM_ACCESS | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION)
            as c_int,
        // On a standby: after its promotion.
        bgw_start_time: pg_sys::BgWorkerStartTime::BgWorkerStart_RecoveryFinished,
        bgw_restart_time: RESTART_S,
        bgw_main_arg: argument,
        ..Default::default()
    };
    set(&mut worker.bgw_name, kind);
    set(&mut worker.bgw_type, kind);
    set(&mut worker.bgw_library_name, c"en57");
    set(&mut worker.bgw_function_name, function);
    worker
}

/// Registers the worker of a database.
///
/// # Errors
/// 53400 where the server has no worker process left.
pub(in crate::store) fn register(database: Oid) -> Result<*mut pg_sys::BackgroundWorkerHandle> {
    let mut worker = description(KIND, c"en57_worker_main", Datum::from(database));
    let mut handle = std::ptr::null_mut();
    // SAFETY: the description is copied; the handle lives in the current memory context.
    let registered = unsafe {
        worker.bgw_notify_pid = pg_sys::MyProcPid;
        pg_sys::RegisterDynamicBackgroundWorker(&raw mut worker, &raw mut handle)
    };
    if !registered {
        return Err(Error::new(
            SqlState::ConfigurationLimitExceeded,
            "no background worker process is free",
        )
        .hint("Raise max_worker_processes and restart the server."));
    }
    Ok(handle)
}

/// The launcher's work: registers a worker for each database that is named, and ends.
pub fn launch() {
    // SAFETY: called by PostgreSQL as a process of its own, with signals blocked until it is set up; an error
    // ends the process.
    unsafe {
        guard::call(|| {
            process::handle_signals();
            pg_sys::BackgroundWorkerInitializeConnection(std::ptr::null(), std::ptr::null(), 0);
            let named = subtransaction::in_transaction(None, || Ok(named_databases()));
            for (name, database) in named.or_else(|failure| failure.raise())? {
                let Some(database) = database else {
                    let message = format!("en57.databases: database \"{name}\" does not exist");
                    let hint = "Create it, and call en57_worker_start() there.";
                    guard::log(Severity::Warning, &message, None, Some(hint));
                    continue;
                };
                if let Err(error) = register(database) {
                    let message = format!("the worker of database \"{name}\" was not started");
                    let hint = error.hint.as_deref();
                    guard::log(
                        Severity::Warning,
                        &message,
                        Some(&format!("{}.", error.message)),
                        hint,
                    );
                }
            }
            Ok(())
        });
    }
}

/// The databases of the setting, `None` for those that are not there.
fn named_databases() -> Vec<(String, Option<Oid>)> {
    let Some(setting) = settings::databases() else {
        return Vec::new();
    };
    let all = databases();
    let mut names = Vec::new();
    // SAFETY: the text is a copy that is taken apart in place; the list's elements point into it.
    unsafe {
        let mut list = std::ptr::null_mut();
        let copy = pg_sys::pstrdup(setting.as_ptr());
        if !pg_sys::SplitIdentifierString(copy, b',' as c_char, &raw mut list) {
            let message = "en57.databases is not a list of names";
            guard::log(Severity::Warning, message, None, None);
            return names;
        }
        let n = if list.is_null() {
            0
        } else {
            (*list).length as usize
        };
        for i in 0..n {
            let name: *mut c_char = (*(*list).elements.add(i)).ptr_value.cast();
            let name = CStr::from_ptr(name).to_string_lossy().into_owned();
            let found = all.iter().find(|(other, _)| *other == name);
            let oid = found.map(|(_, oid)| *oid);
            names.push((name, oid));
        }
    }
    names
}

/// All databases. Without one of its own a process cannot count on indexes, so the table is read.
fn databases() -> Vec<(String, Oid)> {
    let mut all = Vec::new();
    // SAFETY: the table is open and locked until the scan is over; what is read of a row is copied before
    // the next one.
    unsafe {
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let table = pg_sys::table_open(pg_sys::DatabaseRelationId, lock);
        let (nothing, null) = (pg_sys::InvalidOid, std::ptr::null_mut());
        let scan = pg_sys::systable_beginscan(table, nothing, false, null, 0, std::ptr::null_mut());
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let row: *mut pg_sys::FormData_pg_database = pg_sys::GETSTRUCT(tuple).cast();
            let name = CStr::from_ptr((*row).datname.data.as_ptr());
            all.push((name.to_string_lossy().into_owned(), (*row).oid));
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(table, lock);
    }
    all
}
