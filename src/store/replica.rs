//! Whether a table is filled by logical replication.
//!
//! The apply worker inserts transactions in the order of their commits, and nobody knows here which are in flight on the
//! publisher: positions that are lower than those that are there may still come. So such a table has no frontier.

use pgrx::pg_sys::{self, Datum, Oid};

/// The cache of `pg_subscription_rel`.
const CACHE: i32 = pg_sys::SysCacheIdentifier::SUBSCRIPTIONRELMAP as i32;

/// Whether a subscription has one of the tables, be it enabled or not.
pub(super) fn is_subscribed(tables: &[Oid]) -> bool {
    tables.iter().any(|table| {
        let (table, no) = (Datum::from(*table), Datum::from(0));
        // SAFETY: a lookup in the system caches by the first of two keys; the list is read before it is released.
        unsafe {
            let list = pg_sys::SearchSysCacheList(CACHE, 1, table, no, no);
            let is_listed = (*list).n_members > 0;
            pg_sys::ReleaseCatCacheList(list);
            is_listed
        }
    })
}

/// Lets a function be called when a table comes to a subscription or goes from it.
pub(super) fn watch(callback: unsafe extern "C-unwind" fn(Datum, i32, u32)) {
    // SAFETY: the callback is a function of this library, which is never unloaded.
    unsafe { pg_sys::CacheRegisterSyscacheCallback(CACHE, Some(callback), Datum::from(0)) };
}
