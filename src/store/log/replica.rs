//! Whether a table is filled by logical replication.
//!
//! The apply worker inserts transactions in the order of their commits, and nobody knows here which are in flight on the
//! publisher: positions that are lower than those that are there may still come. So such a table has no frontier.

use pgrx::pg_sys::{self, Datum, Oid};

use crate::dcb::error::{Error, Result, SqlState};

use super::partition_bound::relation_name;

/// The cache of `pg_subscription_rel`.
const CACHE: i32 = pg_sys::SysCacheIdentifier::SUBSCRIPTIONRELMAP as i32;

/// Whether a subscription has one of the tables, be it enabled or not.
pub(in crate::store) fn is_subscribed(tables: &[Oid]) -> bool {
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

/// Makes sure that an apply worker inserts only where a subscription has the table: who was taken out of one may be read
/// as settled from then on, while the worker is still behind. It is asked when the position is covered by the worker's
/// slot, so who has read before that is found out here, and who reads after that knows of it.
///
/// # Errors
/// 55000. The worker starts anew then, and leaves the table out.
pub(in crate::store) fn demand_subscription(table: Oid, events: Oid) -> Result<()> {
    // SAFETY: reads the backend's state, and takes note of what others have committed.
    unsafe {
        if !pg_sys::IsLogicalWorker() {
            return Ok(());
        }
        pg_sys::AcceptInvalidationMessages();
    }
    if is_subscribed(&[table, events]) {
        return Ok(());
    }
    Err(Error::new(
        SqlState::NotInPrerequisiteState,
        format!(
            "no subscription has table \"{}\" any more",
            relation_name(table)
        ),
    )
    .detail(
        "It may have been read since, and events with lower positions must not come after that.",
    )
    .hint("The worker of logical replication starts anew, and leaves the table out."))
}

/// Lets a function be called when a table comes to a subscription or goes from it.
pub(in crate::store) fn watch(callback: unsafe extern "C-unwind" fn(Datum, i32, u32)) {
    // SAFETY: the callback is a function of this library, which is never unloaded.
    unsafe { pg_sys::CacheRegisterSyscacheCallback(CACHE, Some(callback), Datum::from(0)) };
}
