//! Whether this library knows the extension's tables: those of a newer version it does not.

use std::ffi::CStr;

use pgrx::pg_sys::{self, Datum};

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::pg::fmgr;

/// The library's.
const OWN: &str = env!("CARGO_PKG_VERSION");

/// Refuses tables that a newer version has made: what it stores there, and how, nobody knows here.
///
/// # Errors
/// 55000.
pub(super) fn refuse_newer() -> Result<()> {
    // SAFETY: a variable of this process. A script that is running makes what it needs by functions of this library.
    if unsafe { pg_sys::creating_extension } {
        return Ok(());
    }
    let Some(version) = of_tables()? else {
        return Ok(());
    };
    if numbers(&version) <= numbers(OWN) {
        return Ok(());
    }
    Err(Error::new(
        SqlState::NotInPrerequisiteState,
        format!("the tables of en57 have version {version}, but this session has the library of version {OWN}"),
    )
    .hint(format!(
        "Install the files of version {version}, and connect anew; with en57 in shared_preload_libraries, restart the server."
    )))
}

/// The numbers of a version, in the order of which versions come.
fn numbers(version: &str) -> Vec<u32> {
    let is_part = |c: char| c.is_ascii_digit() || c == '.';
    let end = version.find(|c| !is_part(c)).unwrap_or(version.len());
    version[..end]
        .split('.')
        .filter_map(|n| n.parse().ok())
        .collect()
}

/// The version of the extension in this database, if it is there.
///
/// # Errors
/// 22P02 where it is not UTF-8.
pub fn of_tables() -> Result<Option<String>> {
    // The columns, from 0.
    const EXTNAME: usize = 1;
    const EXTVERSION: usize = 5;
    let mut found = None;
    // SAFETY: a scan of a small catalog with its own snapshot; columns are taken by its own descriptor, and copied before
    // it ends.
    unsafe {
        let catalog = pg_sys::table_open(pg_sys::ExtensionRelationId, pg_sys::AccessShareLock as _);
        let scan = pg_sys::systable_beginscan(
            catalog,
            pg_sys::InvalidOid,
            false,
            std::ptr::null_mut(),
            0,
            std::ptr::null_mut(),
        );
        loop {
            let row = pg_sys::systable_getnext(scan);
            if row.is_null() {
                break;
            }
            let n = (*(*catalog).rd_att).natts as usize;
            let (mut values, mut nulls) = (vec![Datum::from(0); n], vec![true; n]);
            pg_sys::heap_deform_tuple(
                row,
                (*catalog).rd_att,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
            let name = CStr::from_ptr(values[EXTNAME].cast_mut_ptr());
            if name == c"en57" {
                found = Some(fmgr::text(values[EXTVERSION]).map(str::to_owned));
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(catalog, pg_sys::AccessShareLock as _);
    }
    found.transpose()
}
