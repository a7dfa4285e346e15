//! Which partition a table is, as PostgreSQL's catalogs have it: the bound with which it is attached.

use std::ffi::CStr;

use pgrx::pg_sys::{self, Datum, Oid};

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::pg::fmgr;

// Not in pgrx's bindings. The same from PostgreSQL 15 to 18.
unsafe extern "C-unwind" {
    fn find_inheritance_children(parent: Oid, lock: pg_sys::LOCKMODE) -> *mut pg_sys::List;
}

/// The tables that are attached to a partitioned one.
pub fn children(parent: Oid) -> Vec<Oid> {
    // SAFETY: a scan of pg_inherits, with a snapshot of its own; the list is in the current memory context.
    unsafe {
        let list = pg_sys::ffi::pg_guard_ffi_boundary(|| {
            find_inheritance_children(parent, pg_sys::NoLock as _)
        });
        let elements = elements(list);
        let children = elements.iter().map(|cell| cell.oid_value).collect();
        pg_sys::list_free(list);
        children
    }
}

/// Whether a table is attached to another one. PostgreSQL's own function raises where the table is detached
/// or dropped this very moment.
fn is_child(table: Oid, parent: Oid) -> bool {
    // The columns are inhrelid, inhparent, ..
    const INHERITS: u32 = 2611;
    const INHERITS_BY_TABLE: u32 = 2680;
    const TABLE: pg_sys::AttrNumber = 1;
    const PARENT: i32 = 2;
    // SAFETY: a scan of a catalog by its index; all is closed before this returns, or by the abort. Both
    // columns are never NULL.
    unsafe {
        if !pg_sys::get_rel_relispartition(table) {
            return false;
        }
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let inherits = pg_sys::table_open(Oid::from(INHERITS), lock);
        let mut key: pg_sys::ScanKeyData = std::mem::MaybeUninit::zeroed().assume_init();
        pg_sys::ScanKeyInit(
            &mut key,
            TABLE,
            pg_sys::BTEqualStrategyNumber as _,
            Oid::from(pg_sys::F_OIDEQ),
            Datum::from(table),
        );
        let index = Oid::from(INHERITS_BY_TABLE);
        let snapshot = std::ptr::null_mut();
        let scan = pg_sys::systable_beginscan(inherits, index, true, snapshot, 1, &mut key);
        let tuple = pg_sys::systable_getnext(scan);
        let mut is_null = false;
        let is_child = !tuple.is_null()
            && pg_sys::htup::heap_getattr(tuple, PARENT, (*inherits).rd_att, &mut is_null)
                == Datum::from(parent);
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(inherits, lock);
        is_child
    }
}

/// The one value for which a table is attached; `None` where it is not attached to `parent`.
///
/// # Errors
/// 55000 where it is attached for anything else than one name.
pub fn name(table: Oid, parent: Oid) -> Result<Option<String>> {
    if !is_child(table, parent) {
        return Ok(None);
    }
    // SAFETY: a lookup in the system caches; the text is copied before its tuple is released.
    let text = unsafe {
        let cache = pg_sys::SysCacheIdentifier::RELOID as i32;
        let tuple = pg_sys::SearchSysCache1(cache, Datum::from(table));
        if tuple.is_null() {
            return Ok(None);
        }
        let mut is_null = false;
        let attribute = pg_sys::Anum_pg_class_relpartbound as pg_sys::AttrNumber;
        let bound = pg_sys::SysCacheGetAttr(cache, tuple, attribute, &mut is_null);
        let text = (!is_null).then(|| pg_sys::text_to_cstring(bound.cast_mut_ptr()));
        pg_sys::ReleaseSysCache(tuple);
        text
    };
    let Some(text) = text else { return Ok(None) };
    // SAFETY: a bound is stored as the text of its node; the result lives in the current memory context.
    let bound = unsafe { pg_sys::stringToNode(text) };
    // SAFETY: the node is a PartitionBoundSpec, as the catalog has it.
    match unsafe { only_value(bound.cast()) } {
        Some(value) => fmgr::text(value).map(|name| Some(name.to_owned())),
        None => Err(Error::new(
            SqlState::NotInPrerequisiteState,
            format!(
                "table \"{}\" is not attached to en57.events for one name",
                relation_name(table)
            ),
        )
        .detail(
            "Each partition of the log has a table of its own, and none is there for all others.",
        )
        .hint("Detach the table.")),
    }
}

/// The value of a list bound of just one.
unsafe fn only_value(bound: *mut pg_sys::PartitionBoundSpec) -> Option<Datum> {
    // SAFETY: the caller's node; its list is of Const nodes.
    unsafe {
        let bound = &*bound;
        let strategy = bound.strategy as u8;
        let [only] = elements(bound.listdatums) else {
            return None;
        };
        let value = &*only.ptr_value.cast::<pg_sys::Const>();
        (strategy == b'l' && !bound.is_default && !value.constisnull).then_some(value.constvalue)
    }
}

unsafe fn elements<'a>(list: *mut pg_sys::List) -> &'a [pg_sys::ListCell] {
    if list.is_null() {
        return &[];
    }
    // SAFETY: a list has as many elements as its length says, and lives in the current memory context.
    unsafe { std::slice::from_raw_parts((*list).elements, (*list).length as usize) }
}

/// A table's name, empty where it is gone.
pub fn relation_name(table: Oid) -> String {
    // SAFETY: a lookup in the system caches; the name is a copy.
    unsafe {
        let name = pg_sys::get_rel_name(table);
        if name.is_null() {
            return String::new();
        }
        CStr::from_ptr(name).to_string_lossy().into_owned()
    }
}
