//! What a DBA has added to a partition's table: CHECK constraints and indexes of his own. Used only
//! where there are any; the executor's own functions do the work.

use pgrx::pg_sys::{self, Datum, HeapTuple, Oid, Relation};

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::row::table::{IndexRole, Opened};

use super::partition::Partition;

/// The executor's state for one batch.
pub struct UserObjects {
    estate: *mut pg_sys::EState,
    target: *mut pg_sys::ResultRelInfo,
    slot: *mut pg_sys::TupleTableSlot,
    indexes: Vec<Added>,
}

struct Added {
    relation: Relation,
    info: *mut pg_sys::IndexInfo,
    unique: pg_sys::IndexUniqueCheck::Type,
}

impl UserObjects {
    /// The extras of a partition, `None` where it has none.
    ///
    /// # Errors
    /// 0A000 for an exclusion or deferrable constraint.
    pub fn where_needed(partition: &Partition, table: &Opened) -> Result<Option<Self>> {
        if !partition.needs_extras {
            return Ok(None);
        }
        let relation = table.relation();
        // SAFETY: the table is open and locked; all is made in the current memory context and ended in
        // drop(), or with the transaction.
        let mut extras = unsafe {
            let target: *mut pg_sys::ResultRelInfo =
                pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast();
            (*target).type_ = pg_sys::NodeTag::T_ResultRelInfo;
            pg_sys::InitResultRelInfo(target, relation, 0, std::ptr::null_mut(), 0);
            Self {
                estate: pg_sys::CreateExecutorState(),
                target,
                slot: pg_sys::MakeSingleTupleTableSlot(
                    (*relation).rd_att,
                    &raw const pg_sys::TTSOpsHeapTuple,
                ),
                indexes: Vec::new(),
            }
        };
        for oid in partition.indexes_of(IndexRole::Other) {
            extras.add(oid)?;
        }
        Ok(Some(extras))
    }

    fn add(&mut self, oid: Oid) -> Result<()> {
        // SAFETY: raises where the index is gone; rd_index lives as long as it is open.
        unsafe {
            let relation = pg_sys::index_open(oid, pg_sys::RowExclusiveLock as _);
            let form = (*relation).rd_index;
            if (*form).indisexclusion || ((*form).indisunique && !(*form).indimmediate) {
                pg_sys::index_close(relation, pg_sys::NoLock as _);
                return Err(Error::new(
                    SqlState::NotSupported,
                    "exclusion and deferrable constraints on tables of en57 are not supported",
                )
                .hint("Drop the constraint; append conditions say the same of events."));
            }
            let unique = if (*form).indisunique {
                pg_sys::IndexUniqueCheck::UNIQUE_CHECK_YES
            } else {
                pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO
            };
            self.indexes.push(Added {
                relation,
                info: pg_sys::BuildIndexInfo(relation),
                unique,
            });
        }
        Ok(())
    }

    /// Checks the table's constraints.
    ///
    /// # Errors
    /// PostgreSQL's own (23514), by unwinding.
    pub(in crate::store) fn check(&mut self, tuple: HeapTuple) -> Result<()> {
        // SAFETY: the slot borrows the tuple until it is cleared.
        unsafe {
            pg_sys::ExecStoreHeapTuple(tuple, self.slot, false);
            pg_sys::ExecConstraints(self.target, self.slot, self.estate);
            pg_sys::ExecClearTuple(self.slot);
        }
        Ok(())
    }

    /// Enters an inserted tuple into the added indexes.
    ///
    /// # Errors
    /// PostgreSQL's own (23505), by unwinding.
    pub(in crate::store) fn index(&mut self, tuple: HeapTuple) -> Result<()> {
        const MAX_KEYS: usize = pg_sys::INDEX_MAX_KEYS as usize;
        // SAFETY: as above; values and nulls have room for every column that an index can have.
        unsafe {
            pg_sys::ExecStoreHeapTuple(tuple, self.slot, false);
            let context = match (*self.estate).es_per_tuple_exprcontext {
                made if !made.is_null() => made,
                _ => pg_sys::MakePerTupleExprContext(self.estate),
            };
            (*context).ecxt_scantuple = self.slot;
            for added in &self.indexes {
                if !(*added.info).ii_ReadyForInserts {
                    continue;
                }
                if !(*added.info).ii_Predicate.is_null() {
                    if (*added.info).ii_PredicateState.is_null() {
                        (*added.info).ii_PredicateState =
                            pg_sys::ExecPrepareQual((*added.info).ii_Predicate, self.estate);
                    }
                    if !pg_sys::ExecQual((*added.info).ii_PredicateState, context) {
                        continue;
                    }
                }
                let mut values = [Datum::from(0); MAX_KEYS];
                let mut nulls = [false; MAX_KEYS];
                pg_sys::FormIndexDatum(
                    added.info,
                    self.slot,
                    self.estate,
                    values.as_mut_ptr(),
                    nulls.as_mut_ptr(),
                );
                let mut tid = (*tuple).t_self;
                pg_sys::index_insert(
                    added.relation,
                    values.as_mut_ptr(),
                    nulls.as_mut_ptr(),
                    &mut tid,
                    (*self.target).ri_RelationDesc,
                    added.unique,
                    false,
                    added.info,
                );
            }
            pg_sys::MemoryContextReset((*context).ecxt_per_tuple_memory);
            pg_sys::ExecClearTuple(self.slot);
        }
        Ok(())
    }
}

impl Drop for UserObjects {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // SAFETY: made by `where_needed`, ended once; index locks stay until the transaction ends.
        unsafe {
            for added in &self.indexes {
                pg_sys::index_close(added.relation, pg_sys::NoLock as _);
            }
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            pg_sys::FreeExecutorState(self.estate);
        }
    }
}
