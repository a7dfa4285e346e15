//! Running with the rights of somebody else, and with a search path that the caller has no say in.

use std::ffi::{CStr, CString};

use pgrx::pg_sys::{self, Datum, Oid};

use crate::dcb::partition::{ALL, DEFAULT};

use super::names::quoted_as_needed;
use super::settings;

mod cursors;

use cursors::Shut;

/// The search path for en57's own statements: nothing that a caller has made is found by its bare name.
pub const SAFE_PATH: &CStr = c"pg_catalog, pg_temp";

/// Runs what may call functions of users with the rights of a role, as a SECURITY DEFINER function does: the role cannot
/// be changed inside. What is left for the transaction's end would run with the caller's rights, so PostgreSQL refuses it
/// inside (held cursors, deferred triggers, temporary tables), unless the role is a superuser, who needs no rights of
/// others'. The caller's cursors are shut meanwhile, and those that are left open inside are closed. An error inside gives
/// the caller's back at abort.
///
/// With his own rights a caller may do all of it, but for those of a role that the session has taken: RESET ROLE would
/// give back what the session was before.
pub fn as_role_restricted<T>(role: Oid, body: impl FnOnce() -> T) -> T {
    // SAFETY: reads the backend's state, and looks the role up.
    let (is_role, is_superuser) =
        unsafe { (pg_sys::GetUserId() == role, pg_sys::superuser_arg(role)) };
    if is_role && !can_be_given_back(role) {
        return body();
    }
    if is_superuser {
        return as_role(role, 0, body);
    }
    as_role(role, pg_sys::SECURITY_RESTRICTED_OPERATION as i32, || {
        let shut = Shut::begin();
        let result = body();
        shut.end();
        result
    })
}

/// Whether the session has come to its current role by SET ROLE or SET SESSION AUTHORIZATION, and has another one to go back
/// to. Not so inside a function that runs with its owner's rights, and in a turn of the worker: there PostgreSQL refuses it.
fn can_be_given_back(role: Oid) -> bool {
    // SAFETY: reads the backend's state.
    unsafe {
        !pg_sys::InLocalUserIdChange()
            && (pg_sys::GetSessionUserId() != role || pg_sys::GetAuthenticatedUserId() != role)
    }
}

/// Runs commands of en57's own, and nothing that a user has written, with the rights of a role: partitions are made and
/// dropped so, which a restricted operation must not do. The role cannot be changed inside. An error inside gives the caller's
/// back at abort.
pub(in crate::store) fn as_role_unrestricted<T>(role: Oid, body: impl FnOnce() -> T) -> T {
    as_role(role, 0, body)
}

/// Runs what is en57's own with the rights of a relation's owner. Raises where the relation is gone.
pub(in crate::store) fn as_owner_of<T>(relation: Oid, body: impl FnOnce() -> T) -> T {
    as_role_unrestricted(owner_of_existing(relation), body)
}

fn as_role<T>(role: Oid, more: i32, body: impl FnOnce() -> T) -> T {
    let (mut user, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: as PostgreSQL's function manager and its maintenance commands do it; transaction and subtransaction
    // abort restore both values.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        let changed = context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32 | more;
        pg_sys::SetUserIdAndSecContext(role, changed);
        let result = body();
        pg_sys::SetUserIdAndSecContext(user, context);
        result
    }
}

/// Runs what calls functions of users: they see the search path of who has made the definition, the partition that
/// it is about, and values in one form, whatever the session has set: what they make is kept, and others see it.
pub fn for_functions<T>(path: &CStr, partition: &str, body: impl FnOnce() -> T) -> T {
    let is_default = [DEFAULT, ALL].contains(&partition);
    let wanted = super::guard::text(if is_default { "" } else { partition });
    let mut settings: Vec<(&CStr, &CStr)> = Vec::with_capacity(4);
    settings.push((c"search_path", path));
    if settings::partition().unwrap_or_default() != wanted {
        settings.push((c"en57.partition", &wanted));
    }
    for (name, value) in forms() {
        settings.push((name, value));
    }
    with_settings(&settings, body)
}

/// Runs what calls functions of the caller's own: values have one form all the same.
pub fn in_one_form<T>(body: impl FnOnce() -> T) -> T {
    let settings: Vec<_> = forms().collect();
    with_settings(&settings, body)
}

/// The settings that values are read and written by, as far as the session's are others than here.
fn forms() -> impl Iterator<Item = (&'static CStr, &'static CStr)> {
    // SAFETY: reads the backend's settings; texts are NUL-terminated and compared at once. A look at the variable
    // takes a tenth of a look by name: this runs for each event that is upcast.
    let are_so = unsafe {
        let zone = pg_sys::pg_get_timezone_name(pg_sys::session_timezone);
        let bytes = pg_sys::GetConfigOption(c"bytea_output".as_ptr(), false, false);
        [
            (c"TimeZone", c"UTC", CStr::from_ptr(zone) == c"UTC"),
            (
                c"DateStyle",
                c"ISO, MDY",
                pg_sys::DateStyle == pg_sys::USE_ISO_DATES as i32
                    && pg_sys::DateOrder == pg_sys::DATEORDER_MDY as i32,
            ),
            (
                c"IntervalStyle",
                c"postgres",
                pg_sys::IntervalStyle == pg_sys::INTSTYLE_POSTGRES as i32,
            ),
            (c"extra_float_digits", c"1", pg_sys::extra_float_digits == 1),
            (c"bytea_output", c"hex", CStr::from_ptr(bytes) == c"hex"),
            (
                c"standard_conforming_strings",
                c"on",
                pg_sys::standard_conforming_strings,
            ),
            (c"array_nulls", c"on", pg_sys::Array_nulls),
            (
                c"transform_null_equals",
                c"off",
                !pg_sys::Transform_null_equals,
            ),
            (
                c"quote_all_identifiers",
                c"off",
                !pg_sys::quote_all_identifiers,
            ),
        ]
    };
    are_so
        .into_iter()
        .filter_map(|(name, value, is_so)| (!is_so).then_some((name, value)))
}

/// Runs with a search path. An error inside gives the caller's back at abort.
pub fn with_path<T>(path: &CStr, body: impl FnOnce() -> T) -> T {
    with_settings(&[(c"search_path", path)], body)
}

/// Runs with settings that anybody may change. What is set inside does not stay: neither with this session, nor, by an
/// error, at abort.
pub fn with_settings<T>(settings: &[(&CStr, &CStr)], body: impl FnOnce() -> T) -> T {
    // SAFETY: as PostgreSQL does it where it calls functions of indexes; transaction and subtransaction abort end the
    // level of settings.
    unsafe {
        let level = pg_sys::NewGUCNestLevel();
        for (name, value) in settings {
            pg_sys::set_config_option(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_USERSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SAVE,
                true,
                0,
                false,
            );
        }
        let result = body();
        pg_sys::AtEOXact_GUC(false, level);
        result
    }
}

/// Who a role is, as a message shows it. Which superuser it is says nothing to who is none.
pub fn role_name(role: Oid) -> String {
    // SAFETY: lookups in the system caches; the name is copied at once, and null where the role is gone.
    unsafe {
        if pg_sys::superuser_arg(role) {
            return "a superuser".to_owned();
        }
        let name = pg_sys::GetUserNameFromId(role, true);
        if name.is_null() {
            return format!("a role with oid {}", role.to_u32());
        }
        CStr::from_ptr(name).to_string_lossy().into_owned()
    }
}

/// Sets a setting until the end of the transaction.
pub fn set_local(name: &CStr, value: &CStr) {
    // SAFETY: as SET LOCAL does it; the texts are copied.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_LOCAL,
            true,
            0,
            false,
        );
    }
}

/// The owner of a relation. Raises where it is gone.
pub(in crate::store) fn owner_of_existing(relation: Oid) -> Oid {
    // SAFETY: it is read while it is open.
    unsafe {
        let opened = pg_sys::relation_open(relation, pg_sys::AccessShareLock as _);
        let owner = (*(*opened).rd_rel).relowner;
        pg_sys::relation_close(opened, pg_sys::NoLock as _);
        owner
    }
}

/// The owner of a table, `None` where it is gone.
pub fn owner_of(table: Oid) -> Option<Oid> {
    // SAFETY: a lookup in the system caches; the tuple is read before it is released.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::RELOID as i32;
        let tuple = pg_sys::SearchSysCache1(cache, Datum::from(table));
        if tuple.is_null() {
            return None;
        }
        let owner = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_class>()).relowner;
        pg_sys::ReleaseSysCache(tuple);
        Some(owner)
    }
}

/// The caller.
pub fn current_role() -> Oid {
    // SAFETY: reads the backend's state.
    unsafe { pg_sys::GetUserId() }
}

/// Whether the caller has the rights of a role.
pub fn has_rights_of(role: Oid) -> bool {
    // SAFETY: a lookup in the system caches.
    unsafe { pg_sys::has_privs_of_role(pg_sys::GetUserId(), role) }
}

/// Whether a function is in a temporary schema, so that it goes when a session ends and nobody else can call it.
pub fn is_temporary(function: Oid) -> bool {
    // SAFETY: lookups in the system caches; a function that is gone has no schema.
    unsafe { pg_sys::isAnyTempNamespace(pg_sys::get_func_namespace(function)) }
}

/// Whether the caller may call a function.
pub fn may_execute(function: Oid) -> bool {
    // SAFETY: a lookup in the system caches.
    unsafe {
        let (user, right) = (pg_sys::GetUserId(), pg_sys::ACL_EXECUTE as pg_sys::AclMode);
        #[cfg(feature = "pg15")]
        let answer = pg_sys::pg_proc_aclcheck(function, user, right);
        #[cfg(not(feature = "pg15"))]
        let answer = pg_sys::object_aclcheck(pg_sys::ProcedureRelationId, function, user, right);
        answer == pg_sys::AclResult::ACLCHECK_OK
    }
}

/// The schemas that the caller's bare names are looked up in, as a search path: temporary ones last, so that
/// nobody's temporary table stands before the one that was meant.
pub fn path_of_caller() -> CString {
    quoted_as_needed(written_path)
}

fn written_path() -> CString {
    // SAFETY: the list is a fresh one of oids in the current memory context; names are copied at once.
    unsafe {
        let list = pg_sys::fetch_search_path(false);
        let n = if list.is_null() {
            0
        } else {
            (*list).length as usize
        };
        let mut path = String::new();
        for i in 0..n {
            let schema = (*(*list).elements.add(i)).oid_value;
            let name = pg_sys::get_namespace_name(schema);
            if name.is_null() || pg_sys::isAnyTempNamespace(schema) {
                continue;
            }
            let quoted = CStr::from_ptr(pg_sys::quote_identifier(name));
            path.push_str(&quoted.to_string_lossy());
            path.push_str(", ");
        }
        super::guard::text(&(path + "pg_temp"))
    }
}

/// The name of the schema in which the caller's new tables go.
pub fn schema_for_tables() -> Option<String> {
    // SAFETY: as above.
    unsafe {
        let list = pg_sys::fetch_search_path(false);
        if list.is_null() || (*list).length == 0 {
            return None;
        }
        let schema = (*(*list).elements).oid_value;
        let name = pg_sys::get_namespace_name(schema);
        if name.is_null() || pg_sys::isAnyTempNamespace(schema) {
            return None;
        }
        Some(CStr::from_ptr(name).to_string_lossy().into_owned())
    }
}
