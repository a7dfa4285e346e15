//! Looking without waiting for others: what views and the status do, which people ask when something is stuck.

use pgrx::pg_sys::{self, Datum, Oid};

use crate::dcb::error::{Error, Result, SqlState};

use super::subtransaction::in_subtransaction;

/// The session's `lock_timeout` while locks are not waited for.
struct Impatience {
    before: i32,
}

impl Impatience {
    fn begin() -> Self {
        // SAFETY: a setting of this backend's, which PostgreSQL reads when it has to wait for a lock. The shortest is
        // a millisecond.
        unsafe {
            let before = pg_sys::LockTimeout;
            pg_sys::LockTimeout = 1;
            Self { before }
        }
    }
}

impl Drop for Impatience {
    fn drop(&mut self) {
        // SAFETY: as above; nothing is called.
        unsafe { pg_sys::LockTimeout = self.before };
    }
}

/// What `body` finds where nobody else keeps a lock that it needs, be it on a table, an index or a sequence. It must not
/// wait for anything else.
///
/// # Errors
/// 55P03 where somebody does; those of `body`.
pub fn nowait<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    let impatience = Impatience::begin();
    let outcome = in_subtransaction(body);
    drop(impatience);
    match outcome? {
        Ok(found) => Ok(found),
        Err(failure) if failure.state == SqlState::LockNotAvailable.code() => Err(locked()),
        Err(failure) => failure.raise(),
    }
}

fn locked() -> Error {
    Error::new(
        SqlState::LockNotAvailable,
        "another transaction has locked what this needs",
    )
    .hint("See pg_locks for the transaction; try again when it has ended.")
}

/// Makes sure that nobody else has locked a table or an index of it against readers, or is about to; nothing is locked
/// by it.
///
/// # Errors
/// 55P03 where somebody does.
pub fn demand_unlocked(table: Oid) -> Result<()> {
    let mode = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
    // SAFETY: locks that are given back at once; of what is gone they do no harm.
    let is_free = |relation: Oid| unsafe {
        let locked = pg_sys::ConditionalLockRelationOid(relation, mode);
        if locked {
            pg_sys::UnlockRelationOid(relation, mode);
        }
        locked
    };
    if is_free(table) && indexes_of(table).into_iter().all(is_free) {
        Ok(())
    } else {
        Err(locked())
    }
}

fn indexes_of(table: Oid) -> Vec<Oid> {
    // SAFETY: the entry is pinned while its list is read, and null where the table is gone; the list is a copy, null where
    // it is empty.
    unsafe {
        let relation = pg_sys::RelationIdGetRelation(table);
        if relation.is_null() {
            return Vec::new();
        }
        let list = pg_sys::RelationGetIndexList(relation);
        pg_sys::RelationClose(relation);
        let n = if list.is_null() {
            0
        } else {
            (*list).length as usize
        };
        (0..n)
            .map(|i| (*(*list).elements.add(i)).oid_value)
            .collect()
    }
}

/// What a table takes on disk, with its indexes; `None` where it is gone.
///
/// # Errors
/// 55P03 where somebody else has locked it.
pub fn bytes_of(table: Oid) -> Result<Option<i64>> {
    demand_unlocked(table)?;
    nowait(|| {
        // SAFETY: the function takes a relation's oid, and locks the relation itself.
        let size = unsafe {
            let table = Some(Datum::from(table));
            pgrx::direct_function_call_as_datum(pg_sys::pg_total_relation_size, &[table])
        };
        Ok(size.map(|bytes| bytes.value() as i64))
    })
}
