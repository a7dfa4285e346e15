//! Giving a table, its indexes and its TOAST table the files of others, as CLUSTER and REFRESH MATERIALIZED VIEW do it:
//! the table stays the same one, with all that is said about it anywhere.
//!
//! **Invariant:** it is done in the subtransaction in which the new files were made, or a later one's end would leave
//! PostgreSQL with wrong ideas of which files are new.

use pgrx::pg_sys::{self, Datum, ObjectAddress, Oid, Relation};

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::pg::guard;
use crate::store::row::table::{Index, Opened};

use super::new_files::Pair;
use super::table;

// Not in pgrx's bindings. The same from PostgreSQL 15 to 18.
unsafe extern "C-unwind" {
    fn toast_get_valid_index(toast: Oid, lock: pg_sys::LOCKMODE) -> Oid;
    fn TransferPredicateLocksToHeapRelation(relation: Relation);
    fn CheckTableForSerializableConflictIn(relation: Relation);
}

/// Locks a table so that it keeps its columns and indexes, but is read and written by others.
pub fn keep_shape(table: Oid) {
    // SAFETY: released when the (sub)transaction ends.
    unsafe { pg_sys::LockRelationOid(table, pg_sys::ShareUpdateExclusiveLock as _) };
}

/// Whether somebody waits for a table because of [`keep_shape`]'s lock.
pub fn is_awaited(table: Oid) -> bool {
    let table = Opened::table(table, pg_sys::NoLock);
    // SAFETY: the table is open, and locked so by the transaction.
    unsafe {
        let lock = pg_sys::ShareUpdateExclusiveLock as pg_sys::LOCKMODE;
        pg_sys::LockHasWaitersRelation(table.relation(), lock)
    }
}

/// Keeps everybody out of a table.
pub fn keep_out(table: Oid) {
    // SAFETY: as above.
    unsafe { pg_sys::LockRelationOid(table, pg_sys::AccessExclusiveLock as _) };
}

/// Why a table of documents cannot be given other files: each row that changes must be seen by something that does not
/// look at files. `None`: it can. The answer holds as long as [`keep_shape`]'s lock.
pub fn obstacle(table: Oid, owner: Oid) -> Option<&'static str> {
    let table_lock = pg_sys::AccessShareLock;
    let opened = Opened::table(table, table_lock);
    of_table(&opened)
        .or_else(|| of_indexes(&opened))
        .or_else(|| {
            (!table::may_do_all(owner, table)).then_some("its owner may not read and write it")
        })
}

fn of_table(table: &Opened) -> Option<&'static str> {
    // SAFETY: the table is open; what its relcache entry points to lives as long.
    unsafe {
        let relation = &*table.relation();
        let class = &*relation.rd_rel;
        let constraints = (*relation.rd_att).constr;
        let is_plain = class.relkind as u8 == pg_sys::RELKIND_RELATION
            && class.relam == pg_sys::HEAP_TABLE_AM_OID
            && class.relpersistence as u8 == pg_sys::RELPERSISTENCE_PERMANENT
            && !class.relispartition
            && !class.relhassubclass;
        let reasons = [
            (!is_plain, "it is not an ordinary table"),
            (!table::has_columns(table), "it has columns of its own"),
            (
                !constraints.is_null() && (*constraints).num_check > 0,
                "it has check constraints",
            ),
            (
                !constraints.is_null() && (*constraints).has_generated_stored,
                "it has generated columns",
            ),
            (
                !relation.trigdesc.is_null(),
                "it has triggers, foreign keys or deferrable constraints",
            ),
            (!relation.rd_rules.is_null(), "it has rules"),
            (
                class.relrowsecurity && class.relforcerowsecurity,
                "row security is forced on it",
            ),
            (
                pg_sys::wal_level >= pg_sys::WalLevel::WAL_LEVEL_LOGICAL as i32,
                "wal_level is logical",
            ),
        ];
        reasons.iter().find(|(is, _)| *is).map(|(_, why)| *why)
    }
}

fn of_indexes(table: &Opened) -> Option<&'static str> {
    let mut has_key = false;
    for index in table.index_list() {
        let index = Index::open(index, pg_sys::AccessShareLock);
        let (is_valid, is_ready) = index.state();
        // SAFETY: the index is open, so its relcache entry stays.
        let excludes = unsafe { (*(*index.relation()).rd_index).indisexclusion };
        if !is_valid || !is_ready {
            return Some("it has an invalid index");
        }
        if excludes {
            return Some("it has an exclusion constraint");
        }
        has_key |= table::is_key(&index);
    }
    (!has_key).then_some("it has no unique index on id")
}

/// Gives the files of `table.new` to `table.live`, with those of their indexes, and drops the rest. `rows` is told
/// to the statistics.
pub(in crate::store) fn exchange(table: Pair, indexes: &[Pair], rows: i64) -> Result<()> {
    let live = Opened::table(table.live, pg_sys::NoLock);
    // SAFETY: the caller keeps everybody out of the table.
    unsafe {
        let relation = live.relation();
        pg_sys::CheckTableNotInUse(relation, c"CALL en57_rebuild()".as_ptr());
        // Who has read the rows is known by their tids, which are others from now on.
        pg_sys::ffi::pg_guard_ffi_boundary(|| {
            CheckTableForSerializableConflictIn(relation);
            TransferPredicateLocksToHeapRelation(relation);
        });
        pg_sys::pgstat_count_truncate(relation);
        pg_sys::pgstat_count_heap_insert(relation, rows);
    }
    drop(live);
    let toast = swap(table, true)?;
    for index in indexes {
        // SAFETY: nobody holds it without holding the table, which is the caller's.
        unsafe { pg_sys::LockRelationOid(index.live, pg_sys::AccessExclusiveLock as _) };
        swap(*index, false)?;
    }
    // SAFETY: what has no more use is dropped; the name of the TOAST table is free then.
    unsafe {
        pg_sys::CommandCounterIncrement();
        let new = address(table.new);
        let internal = pg_sys::PERFORM_DELETION_INTERNAL as i32;
        pg_sys::performDeletion(&new, pg_sys::DropBehavior::DROP_RESTRICT, internal);
        if let Some(toast) = toast {
            rename_toast(toast, table.live);
        }
        pg_sys::CommandCounterIncrement();
    }
    Ok(())
}

/// Exchanges what pg_class says about files. Of a table also the TOAST table: rows lead to it by its oid. Returns the
/// one that the live table has then.
fn swap(pair: Pair, is_table: bool) -> Result<Option<Oid>> {
    // SAFETY: both are locked exclusively. The tuples are copies, and are changed in place within their fixed parts.
    unsafe {
        let class = pg_sys::table_open(
            pg_sys::RelationRelationId,
            pg_sys::RowExclusiveLock as pg_sys::LOCKMODE,
        );
        let (live_row, new_row) = (class_row(pair.live)?, class_row(pair.new)?);
        let live = &mut *pg_sys::GETSTRUCT(live_row).cast::<pg_sys::FormData_pg_class>();
        let new = &mut *pg_sys::GETSTRUCT(new_row).cast::<pg_sys::FormData_pg_class>();
        let is_mapped = [live.relfilenode, new.relfilenode].contains(&pg_sys::InvalidOid);
        if is_mapped || live.relam != new.relam || live.relpersistence != new.relpersistence {
            let what = format!(
                "files of relation {} cannot be exchanged",
                live.oid.to_u32()
            );
            return Err(Error::new(SqlState::Internal, what));
        }
        std::mem::swap(&mut live.relfilenode, &mut new.relfilenode);
        std::mem::swap(&mut live.reltablespace, &mut new.reltablespace);
        std::mem::swap(&mut live.relpages, &mut new.relpages);
        std::mem::swap(&mut live.reltuples, &mut new.reltuples);
        std::mem::swap(&mut live.relallvisible, &mut new.relallvisible);
        #[cfg(feature = "pg18")]
        std::mem::swap(&mut live.relallfrozen, &mut new.relallfrozen);
        if is_table {
            std::mem::swap(&mut live.reltoastrelid, &mut new.reltoastrelid);
            std::mem::swap(&mut live.relfrozenxid, &mut new.relfrozenxid);
            std::mem::swap(&mut live.relminmxid, &mut new.relminmxid);
        }
        note_new_file(pair);
        pg_sys::CatalogTupleUpdate(class, &mut (*live_row).t_self, live_row);
        pg_sys::CatalogTupleUpdate(class, &mut (*new_row).t_self, new_row);
        let toasts = [live.reltoastrelid, new.reltoastrelid];
        if is_table {
            for (toast, owner) in toasts.into_iter().zip([pair.live, pair.new]) {
                if toast != pg_sys::InvalidOid {
                    hand_toast_to(toast, owner)?;
                }
            }
        }
        pg_sys::table_close(class, pg_sys::NoLock as _);
        // Until 16 an open file hangs on one relcache entry alone, and is left dangling where both change.
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        for relation in [pair.live, pair.new] {
            pg_sys::RelationCloseSmgrByOid(relation);
        }
        Ok((is_table && toasts[0] != pg_sys::InvalidOid).then_some(toasts[0]))
    }
}

/// A copy of a relation's row of pg_class.
unsafe fn class_row(relation: Oid) -> Result<pg_sys::HeapTuple> {
    let none = Datum::from(0);
    let cache = pg_sys::SysCacheIdentifier::RELOID as i32;
    // SAFETY: a lookup in the system caches.
    let row = unsafe { pg_sys::SearchSysCacheCopy(cache, Datum::from(relation), none, none, none) };
    if row.is_null() {
        let what = format!("relation {} is gone", relation.to_u32());
        return Err(Error::new(SqlState::Internal, what));
    }
    Ok(row)
}

/// Lets PostgreSQL know which file is new in this subtransaction: what is in it may not be in the WAL (wal_level =
/// minimal), and then it must be on disk before the commit.
unsafe fn note_new_file(pair: Pair) {
    // SAFETY: both are locked; the relcache entries stay while they are open.
    unsafe {
        let live = pg_sys::relation_open(pair.live, pg_sys::NoLock as _);
        let new = pg_sys::relation_open(pair.new, pg_sys::NoLock as _);
        (*new).rd_createSubid = (*live).rd_createSubid;
        #[cfg(feature = "pg15")]
        {
            (*new).rd_newRelfilenodeSubid = (*live).rd_newRelfilenodeSubid;
            (*new).rd_firstRelfilenodeSubid = (*live).rd_firstRelfilenodeSubid;
            pg_sys::RelationAssumeNewRelfilenode(live);
        }
        #[cfg(not(feature = "pg15"))]
        {
            (*new).rd_newRelfilelocatorSubid = (*live).rd_newRelfilelocatorSubid;
            (*new).rd_firstRelfilelocatorSubid = (*live).rd_firstRelfilelocatorSubid;
            pg_sys::RelationAssumeNewRelfilelocator(live);
        }
        pg_sys::relation_close(live, pg_sys::NoLock as _);
        pg_sys::relation_close(new, pg_sys::NoLock as _);
    }
}

fn address(relation: Oid) -> ObjectAddress {
    ObjectAddress {
        classId: pg_sys::RelationRelationId,
        objectId: relation,
        objectSubId: 0,
    }
}

/// Makes a TOAST table go with this table, and with no other.
unsafe fn hand_toast_to(toast: Oid, table: Oid) -> Result<()> {
    // SAFETY: a TOAST table depends on nothing but its table.
    unsafe {
        let gone = pg_sys::deleteDependencyRecordsFor(pg_sys::RelationRelationId, toast, false);
        if gone != 1 {
            let what = format!("TOAST table {} depends on {gone} objects", toast.to_u32());
            return Err(Error::new(SqlState::Internal, what));
        }
        pg_sys::recordDependencyOn(
            &address(toast),
            &address(table),
            pg_sys::DependencyType::DEPENDENCY_INTERNAL,
        );
    }
    Ok(())
}

/// Gives a TOAST table and its index the names that belong to their table.
unsafe fn rename_toast(toast: Oid, table: Oid) {
    // SAFETY: the TOAST table is the transaction's own; nobody else can have locked it.
    unsafe {
        let lock = pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE;
        pg_sys::CommandCounterIncrement();
        let index = pg_sys::ffi::pg_guard_ffi_boundary(|| toast_get_valid_index(toast, lock));
        let name = format!("pg_toast_{}", table.to_u32());
        pg_sys::RenameRelationInternal(toast, guard::text(&name).as_ptr(), true, false);
        let name = guard::text(&(name + "_index"));
        pg_sys::RenameRelationInternal(index, name.as_ptr(), true, true);
        pg_sys::CommandCounterIncrement();
        pg_sys::ResetRelRewrite(toast);
    }
}
