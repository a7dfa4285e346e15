//! Names of tables, found and written down: quoted where they must be.

use std::ffi::CStr;

use pgrx::pg_sys::{self, Oid};

use super::guard;
use super::rights::with_settings;

/// Runs what writes names down that are to be kept: quoted where they must be, whatever the session has set.
pub fn quoted_as_needed<T>(body: impl FnOnce() -> T) -> T {
    // SAFETY: reads the backend's state.
    if !unsafe { pg_sys::quote_all_identifiers } {
        return body();
    }
    with_settings(&[(c"quote_all_identifiers", c"off")], body)
}

/// A table's name with its schema, quoted; `None` where it is gone.
pub fn qualified_name(table: Oid) -> Option<String> {
    // SAFETY: lookups in the system caches; the texts are NUL-terminated and copied at once.
    unsafe {
        let name = pg_sys::get_rel_name(table);
        let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(table));
        if name.is_null() || schema.is_null() {
            return None;
        }
        let quoted = pg_sys::quote_qualified_identifier(schema, name);
        Some(CStr::from_ptr(quoted).to_string_lossy().into_owned())
    }
}

/// A table's schema and name; empty where it is gone.
pub fn names_of(table: Oid) -> (String, String) {
    // SAFETY: lookups in the system caches; the texts are null or NUL-terminated, and copied at once.
    unsafe {
        let copied = |text: *const std::ffi::c_char| {
            let text = (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy());
            text.unwrap_or_default().into_owned()
        };
        let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(table));
        (copied(schema), copied(pg_sys::get_rel_name(table)))
    }
}

/// The table of this name in a schema, `None` where there is none.
pub fn table_named(schema: &str, name: &str) -> Option<Oid> {
    let (schema, name) = (super::guard::text(schema), super::guard::text(name));
    // SAFETY: lookups in the system caches.
    let oid = unsafe {
        let schema = pg_sys::get_namespace_oid(schema.as_ptr(), true);
        pg_sys::get_relname_relid(name.as_ptr(), schema)
    };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// A name as an identifier, quoted where it must be.
pub fn identifier(name: &str) -> String {
    let name = guard::text(name);
    // SAFETY: the result is NUL-terminated and copied at once.
    unsafe {
        CStr::from_ptr(pg_sys::quote_identifier(name.as_ptr()))
            .to_string_lossy()
            .into_owned()
    }
}
