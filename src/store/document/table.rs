//! The rows of a table of documents, read and written without the executor, which would cost more than the
//! rest of what an inline projection does. Only where the table is as en57 has made it: what somebody has
//! added to it is the executor's business.

use std::mem::MaybeUninit;

use pgrx::pg_sys::{self, Datum, ItemPointerData, Oid};

use crate::dcb::error::Result;
use crate::store::index::lookup::{self, Condition};
use crate::store::log::insert::IndexInfoBox;
use crate::store::pg::fmgr;
use crate::store::row::table::{Index, Opened};

/// The types of the columns: id, doc, version, position, updated_at.
const COLUMNS: [Oid; 5] = [
    pg_sys::TEXTOID,
    pg_sys::JSONBOID,
    pg_sys::INT8OID,
    pg_sys::INT8OID,
    pg_sys::TIMESTAMPTZOID,
];

/// An open table of documents with its only index.
pub struct PlainTable {
    table: Opened,
    key: Index,
}

/// Where a document's row stands.
#[derive(Clone, Copy)]
pub struct RowId(ItemPointerData);

/// What is stored of a document.
pub struct Stored {
    /// Where.
    pub at: RowId,
    /// The document, in the current memory context.
    pub doc: Datum,
    /// How many events are in it.
    pub version: i64,
}

/// A document as it is to be stored.
pub struct Document<'a> {
    /// Its id.
    pub id: &'a str,
    /// The document.
    pub doc: Datum,
    /// How many events are in it.
    pub version: i64,
    /// The position of the last one.
    pub position: i64,
    /// When that was recorded, in PostgreSQL's microseconds.
    pub updated_at_us: i64,
}

impl PlainTable {
    /// Opens a table for writing, if it needs no executor and its owner may do everything with it.
    pub fn open(oid: Oid, owner: Oid) -> Option<Self> {
        let lock = pg_sys::RowExclusiveLock;
        let table = Opened::table(oid, lock);
        if !may_do_all(owner, oid) || !is_plain(&table) {
            return None;
        }
        let [key] = table.index_list()[..] else {
            return None;
        };
        let key = Index::open(key, lock);
        is_key(&key).then_some(Self { table, key })
    }

    /// The document with an id, committed by now or the transaction's own.
    ///
    /// # Errors
    /// PostgreSQL's own, by unwinding.
    pub fn find(&self, id: &str) -> Result<Option<Stored>> {
        find(&self.table, &self.key, id)
    }

    /// Inserts a document; what follows in the transaction sees it.
    ///
    /// # Errors
    /// 23505 where somebody else has inserted it, by unwinding.
    pub fn insert(&self, document: &Document) {
        // SAFETY: the table is open and locked for writing, the tuple newly formed for it.
        unsafe {
            let new = self.form(document);
            let command = pg_sys::GetCurrentCommandId(true);
            pg_sys::heap_insert(self.table.relation(), new, command, 0, std::ptr::null_mut());
            self.enter(document.id, &mut (*new).t_self);
            pg_sys::CommandCounterIncrement();
        }
    }

    /// Replaces a document; what follows in the transaction sees it. `false`: somebody else has changed it
    /// meanwhile, and nothing was done.
    ///
    /// # Errors
    /// PostgreSQL's own, by unwinding.
    pub fn update(&self, at: RowId, document: &Document) -> bool {
        // SAFETY: the table is open and locked for writing, the tuple newly formed for it; `at` is where
        // one of its rows stood.
        unsafe {
            let new = self.form(document);
            let mut at = at.0;
            let mut failure: pg_sys::TM_FailureData = MaybeUninit::zeroed().assume_init();
            let mut lock_mode = pg_sys::LockTupleMode::LockTupleNoKeyExclusive;
            #[cfg(not(feature = "pg15"))]
            let mut indexes = pg_sys::TU_UpdateIndexes::TU_None;
            let outcome = pg_sys::heap_update(
                self.table.relation(),
                &mut at,
                new,
                pg_sys::GetCurrentCommandId(true),
                std::ptr::null_mut(),
                true,
                &mut failure,
                &mut lock_mode,
                #[cfg(not(feature = "pg15"))]
                &mut indexes,
            );
            if outcome != pg_sys::TM_Result::TM_Ok {
                return false;
            }
            // Where the new version is on the same page, the index leads to it by the old one.
            let is_heap_only =
                u32::from((*(*new).t_data).t_infomask2) & pg_sys::HEAP_ONLY_TUPLE != 0;
            if !is_heap_only {
                self.enter(document.id, &mut (*new).t_self);
            }
            pg_sys::CommandCounterIncrement();
            true
        }
    }

    /// Removes a document. `false`: somebody else has changed it meanwhile, and nothing was done.
    ///
    /// # Errors
    /// PostgreSQL's own, by unwinding.
    pub fn delete(&self, at: RowId) -> bool {
        // SAFETY: as in `update`.
        unsafe {
            let mut at = at.0;
            let mut failure: pg_sys::TM_FailureData = MaybeUninit::zeroed().assume_init();
            let outcome = pg_sys::heap_delete(
                self.table.relation(),
                &mut at,
                pg_sys::GetCurrentCommandId(true),
                std::ptr::null_mut(),
                true,
                &mut failure,
                false,
            );
            if outcome == pg_sys::TM_Result::TM_Ok {
                pg_sys::CommandCounterIncrement();
            }
            outcome == pg_sys::TM_Result::TM_Ok
        }
    }

    /// # Safety
    /// The document is a valid jsonb.
    unsafe fn form(&self, document: &Document) -> pg_sys::HeapTuple {
        // SAFETY: the table has the columns, as `open` has checked.
        unsafe { document.form(&self.table) }
    }

    /// Enters a row into the index.
    ///
    /// # Safety
    /// `row` is where a row of the table with this id stands.
    unsafe fn enter(&self, id: &str, row: &mut ItemPointerData) {
        let info = IndexInfoBox::new();
        // SAFETY: table and index are open and locked for writing; the index has one column, a text.
        unsafe {
            pg_sys::index_insert(
                self.key.relation(),
                &mut fmgr::make_varlena(id.as_bytes()),
                &mut false,
                row,
                self.table.relation(),
                pg_sys::IndexUniqueCheck::UNIQUE_CHECK_YES,
                false,
                info.0,
            );
        }
    }
}

impl Document<'_> {
    /// It as a row of a table.
    ///
    /// # Safety
    /// The table has the columns of documents, and the document is a valid jsonb.
    pub(in crate::store) unsafe fn form(&self, table: &Opened) -> pg_sys::HeapTuple {
        let mut values = [
            fmgr::make_varlena(self.id.as_bytes()),
            self.doc,
            Datum::from(self.version),
            Datum::from(self.position),
            Datum::from(self.updated_at_us),
        ];
        // SAFETY: as many values, of the types, as the table has columns.
        unsafe {
            pg_sys::heap_form_tuple(
                (*table.relation()).rd_att,
                values.as_mut_ptr(),
                [false; COLUMNS.len()].as_mut_ptr(),
            )
        }
    }
}

impl RowId {
    /// As PostgreSQL has it.
    pub(in crate::store) fn tid(self) -> ItemPointerData {
        self.0
    }
}

/// The document with an id, committed by now or the transaction's own, in a table of documents with an index on
/// their ids.
pub(in crate::store) fn find(table: &Opened, key: &Index, id: &str) -> Result<Option<Stored>> {
    let condition = Condition {
        strategy: pg_sys::BTEqualStrategyNumber,
        function: pg_sys::F_TEXTEQ,
        value: fmgr::make_varlena(id.as_bytes()),
    };
    let mut found = None;
    lookup::each(table, key, condition, |slot| {
        // SAFETY: the slot holds a row of the table, whose columns are as checked and NOT NULL.
        found = Some(unsafe {
            let mut null = false;
            Stored {
                at: RowId((*slot).tts_tid),
                doc: Datum::from(pg_sys::pg_detoast_datum_copy(
                    pg_sys::slot_getattr(slot, 2, &mut null).cast_mut_ptr(),
                )),
                version: pg_sys::slot_getattr(slot, 3, &mut null).value() as i64,
            }
        });
        Ok(false)
    })?;
    Ok(found)
}

/// Whether nothing has to happen with a row but that it is stored.
fn is_plain(table: &Opened) -> bool {
    // SAFETY: the table is open; what its relcache entry points to lives as long.
    unsafe {
        let class = &*(*table.relation()).rd_rel;
        let descriptor = (*table.relation()).rd_att;
        let constraints = (*descriptor).constr;
        let is_checked = !constraints.is_null()
            && ((*constraints).num_check > 0 || (*constraints).has_generated_stored);
        class.relkind as u8 == pg_sys::RELKIND_RELATION
            && class.relam == pg_sys::HEAP_TABLE_AM_OID
            && class.relreplident as u8 == pg_sys::REPLICA_IDENTITY_DEFAULT
            && (*table.relation()).trigdesc.is_null()
            && (*table.relation()).rd_rules.is_null()
            && !class.relhassubclass
            && !class.relispartition
            && !class.relrowsecurity
            && !is_checked
            && has_columns(table)
    }
}

/// Whether a table has the columns of documents, and no other.
pub(in crate::store) fn has_columns(table: &Opened) -> bool {
    // SAFETY: the table is open; its descriptor lives as long.
    unsafe {
        let descriptor = (*table.relation()).rd_att;
        (*descriptor).natts as usize == COLUMNS.len()
            && (1..)
                .zip(COLUMNS)
                .all(|(n, of)| pg_sys::SPI_gettypeid(descriptor, n) == of)
    }
}

/// Whether a role may read and write a table.
pub(in crate::store) fn may_do_all(role: Oid, table: Oid) -> bool {
    let all = pg_sys::ACL_SELECT | pg_sys::ACL_INSERT | pg_sys::ACL_UPDATE | pg_sys::ACL_DELETE;
    let all = pg_sys::AclMode::from(all);
    // SAFETY: a lookup in the system caches.
    let granted =
        unsafe { pg_sys::pg_class_aclmask(table, role, all, pg_sys::AclMaskHow::ACLMASK_ALL) };
    granted == all
}

/// Whether an index is a plain unique one on id, to be read and written.
pub(in crate::store) fn is_key(index: &Index) -> bool {
    // SAFETY: the index is open, so its relcache entry stays.
    unsafe {
        let relation = index.relation();
        let form = (*relation).rd_index;
        (*(*relation).rd_rel).relam == pg_sys::BTREE_AM_OID
            && (*form).indisunique
            && (*form).indimmediate
            && (*form).indisvalid
            && (*form).indisready
            && (*form).indnatts == 1
            && *(*form).indkey.values.as_ptr() == 1
            && *(*relation).rd_indcollation == pg_sys::C_COLLATION_OID
            && *(*relation).rd_opcintype == pg_sys::TEXTOID
            && pg_sys::heap_attisnull(
                (*relation).rd_indextuple,
                pg_sys::Anum_pg_index_indpred as _,
                std::ptr::null_mut(),
            )
    }
}
