//! Open tables and indexes of a partition, locked until the end of the transaction.

use std::ffi::CStr;

use pgrx::pg_sys::{self, HeapTuple, Oid, Relation};

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::pg::names::identifier;

use super::event;

/// The operators of `stream_version = 1`: bigint with integer, as it is written, and bigint with bigint.
const EQUALS: [u32; 2] = [416, 410];

/// What an index is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexRole {
    /// Unique on position.
    Position,
    /// Unique on id.
    Id,
    /// The key index.
    Keys,
    /// Unique on stream, of the first events of streams: the list of them.
    Stream,
    /// Somebody's own.
    Other,
}

impl IndexRole {
    fn description(self) -> &'static str {
        match self {
            Self::Position => "unique index on position",
            Self::Id => "unique index on id",
            Self::Keys => "key index",
            Self::Stream => "unique index on stream",
            Self::Other => "index",
        }
    }
}

/// An open table with the indexes that en57 uses.
pub struct Opened {
    relation: Relation,
    indexes: Vec<(IndexRole, Index)>,
}

/// An open index.
pub struct Index {
    relation: Relation,
    /// Whether it was valid when its table was opened with it.
    is_readable: bool,
}

impl Opened {
    /// Opens a table; raises where it is gone.
    pub fn table(oid: Oid, lock: u32) -> Self {
        // SAFETY: raises where the table is gone.
        let relation = unsafe { pg_sys::table_open(oid, lock as _) };
        Self {
            relation,
            indexes: Vec::with_capacity(4),
        }
    }

    /// PostgreSQL's own handle.
    pub fn relation(&self) -> Relation {
        self.relation
    }

    /// Inserts tuples, several to a page and a WAL record; their `t_self` is set. Indexes are the caller's task.
    ///
    /// # Safety
    /// The table is locked for writing, the tuples are formed after its descriptor; `options` are those of
    /// `heap_insert`, `bulk` is null or of this table.
    pub unsafe fn insert(
        &self,
        tuples: &[HeapTuple],
        options: i32,
        bulk: *mut pg_sys::BulkInsertStateData,
    ) {
        // SAFETY: as the caller has promised; each slot borrows a tuple that outlives it (ExecStoreHeapTuple would
        // let it free the tuple otherwise), and heap_multi_insert writes the place of each row into its slot.
        unsafe {
            let slots: Vec<*mut pg_sys::TupleTableSlot> = tuples
                .iter()
                .map(|tuple| {
                    let slot = pg_sys::MakeSingleTupleTableSlot(
                        (*self.relation).rd_att,
                        &raw const pg_sys::TTSOpsHeapTuple,
                    );
                    pg_sys::ExecStoreHeapTuple(*tuple, slot, false);
                    slot
                })
                .collect();
            pg_sys::heap_multi_insert(
                self.relation,
                slots.as_ptr().cast_mut(),
                slots.len() as i32,
                pg_sys::GetCurrentCommandId(true),
                options,
                bulk,
            );
            for (slot, tuple) in slots.iter().zip(tuples) {
                (**tuple).t_self = (**slot).tts_tid;
                pg_sys::ExecDropSingleTupleTableSlot(*slot);
            }
        }
    }

    /// All its indexes, also those that nobody may read yet.
    pub fn index_list(&self) -> Vec<Oid> {
        // SAFETY: the relation is open; the list is a copy in the current memory context, null where it is empty.
        unsafe {
            let list = pg_sys::RelationGetIndexList(self.relation);
            let n = if list.is_null() { 0 } else { (*list).length };
            (0..n as usize)
                .map(|i| (*(*list).elements.add(i)).oid_value)
                .collect()
        }
    }

    /// Takes indexes of the table's along: those that may be read, and for who writes those that must be written.
    ///
    /// REINDEX CONCURRENTLY exchanges two indexes, and both are written for a while. Then nobody must read the old
    /// one any more: others leave it out before this transaction has ended. So it counts what they are now, once all
    /// of them are open, and for as long as the table is.
    pub fn take(&mut self, indexes: Vec<(IndexRole, Index)>, writes: bool) {
        for (role, mut index) in indexes {
            let (is_valid, is_ready) = index.state();
            index.is_readable = is_valid;
            if is_valid || (is_ready && writes) {
                self.indexes.push((role, index));
            }
        }
    }

    /// The index to look things up in, by what it is for.
    ///
    /// # Errors
    /// 55000 where it is missing.
    pub fn index(&self, role: IndexRole) -> Result<&Index> {
        let mut readable = self.indexes(role).filter(|index| index.is_readable);
        readable.next().ok_or_else(|| {
            Error::new(
                SqlState::NotInPrerequisiteState,
                format!(
                    "table \"{}\" has lost its {}",
                    self.name(),
                    role.description()
                ),
            )
            .hint("Create it again as the extension's script does.")
        })
    }

    /// All indexes for one thing that must be written: more than one while an index is being rebuilt.
    pub fn indexes(&self, role: IndexRole) -> impl Iterator<Item = &Index> {
        self.indexes
            .iter()
            .filter(move |(r, _)| *r == role)
            .map(|(_, index)| index)
    }

    /// The table's name.
    pub fn name(&self) -> String {
        relation_name(self.relation)
    }

    /// Makes sure that the table has the columns that rows are written and read by.
    ///
    /// # Errors
    /// 55000.
    pub fn demand_shape(&self) -> Result<()> {
        // SAFETY: the relation is open.
        let is_heap = unsafe { (*(*self.relation).rd_rel).relam == pg_sys::HEAP_TABLE_AM_OID };
        if !is_heap {
            return Err(Error::new(
                SqlState::NotInPrerequisiteState,
                format!("\"{}\" is not an ordinary table", self.name()),
            )
            .hint("A partition of en57.events is a table of access method heap."));
        }
        // SAFETY: the relation is open; its descriptor lives as long.
        let (fits, added) = unsafe {
            let descriptor = (*self.relation).rd_att;
            let table = (*self.relation).rd_id;
            let n = (*descriptor).natts as usize;
            let name = |i: usize| CStr::from_ptr(pg_sys::SPI_fname(descriptor, i as i32 + 1));
            let fits = n >= event::COLUMNS
                && event::COLUMN_TYPES.iter().enumerate().all(|(i, expected)| {
                    pg_sys::SPI_gettypeid(descriptor, i as i32 + 1) == *expected
                        && name(i) == event::COLUMN_NAMES[i]
                        && pg_sys::get_attgenerated(table, i as i16 + 1) == 0
                });
            // Of a column that was dropped nothing but its place is left, in which rows have NULL.
            let is_there =
                |i: &usize| pg_sys::SPI_gettypeid(descriptor, *i as i32 + 1) != pg_sys::InvalidOid;
            let added: Vec<String> = (event::COLUMNS..n)
                .filter(is_there)
                .map(|i| name(i).to_string_lossy().into_owned())
                .collect();
            (fits, added)
        };
        if fits && added.is_empty() {
            return Ok(());
        }
        let error = Error::new(
            SqlState::NotInPrerequisiteState,
            format!("table \"{}\" has other columns than en57 made", self.name()),
        );
        Err(if fits {
            let drop = |name: &String| format!("DROP COLUMN {}", identifier(name));
            let drops: Vec<String> = added.iter().map(drop).collect();
            error.hint(format!(
                "Run ALTER TABLE en57.events {}. Keep what belongs to events in a table of your own.",
                drops.join(", ")
            ))
        } else {
            error
                .detail("The first columns of a partition are those of en57.events, in the same order and of the same types.")
                .hint("Detach the table, move it to another schema, call en57_create_partition(), and INSERT its rows into the new table with the columns named. What is not there any more is in a backup.")
        })
    }

    /// How many pages it has.
    pub fn pages(&self) -> u32 {
        // SAFETY: the relation is open.
        unsafe {
            pg_sys::RelationGetNumberOfBlocksInFork(self.relation, pg_sys::ForkNumber::MAIN_FORKNUM)
        }
    }

    /// The table that has its large values, if it has one, locked for reading.
    pub fn toast(&self) -> Option<Self> {
        // SAFETY: the relation is open.
        let toast = unsafe { (*(*self.relation).rd_rel).reltoastrelid };
        (toast != pg_sys::InvalidOid).then(|| Self::table(toast, pg_sys::AccessShareLock))
    }
}

impl Index {
    /// Opens an index; raises where it is gone.
    pub fn open(oid: Oid, lock: u32) -> Self {
        // SAFETY: raises where the index is gone.
        let relation = unsafe { pg_sys::index_open(oid, lock as _) };
        Self {
            relation,
            is_readable: false,
        }
    }

    /// PostgreSQL's own handle.
    pub fn relation(&self) -> Relation {
        self.relation
    }

    /// How many pages it has.
    pub fn pages(&self) -> u32 {
        // SAFETY: the index is open.
        unsafe {
            pg_sys::RelationGetNumberOfBlocksInFork(self.relation, pg_sys::ForkNumber::MAIN_FORKNUM)
        }
    }

    /// The index's name.
    pub fn name(&self) -> String {
        relation_name(self.relation)
    }

    /// Whether it may be read, and whether it must be written.
    pub fn state(&self) -> (bool, bool) {
        // SAFETY: the index is open, so its relcache entry stays.
        unsafe {
            let form = (*self.relation).rd_index;
            ((*form).indisvalid, (*form).indisready)
        }
    }

    /// Its oid and its role.
    pub fn describe(&self, key_index_am: Oid) -> (Oid, IndexRole) {
        // SAFETY: the index is open, so its relcache entry stays; rd_index ends in an array of as many
        // attribute numbers as indnatts says.
        unsafe {
            let form = (*self.relation).rd_index;
            let first = *(*form).indkey.values.as_ptr();
            let unique = (*form).indisunique
                && (*form).indnatts == 1
                && (*(*self.relation).rd_rel).relam == pg_sys::BTREE_AM_OID;
            let predicate = self.predicate();
            let is_whole = predicate.is_null();
            let role = if (*(*self.relation).rd_rel).relam == key_index_am {
                IndexRole::Keys
            } else if !unique {
                IndexRole::Other
            } else if first == event::Column::Position.attribute() && is_whole {
                IndexRole::Position
            } else if first == event::Column::Id.attribute() && is_whole {
                IndexRole::Id
            } else if first == event::Column::Stream.attribute()
                && *(*self.relation).rd_indcollation == pg_sys::C_COLLATION_OID
                && is_first_of_stream(predicate)
            {
                IndexRole::Stream
            } else {
                IndexRole::Other
            };
            ((*self.relation).rd_id, role)
        }
    }

    /// What restricts the rows of a partial index: conditions that all hold; null where it has all rows. Their form
    /// depends on no setting, as their text would.
    fn predicate(&self) -> *mut pg_sys::List {
        // SAFETY: the index is open; the list is a copy in the current memory context.
        unsafe { pg_sys::RelationGetIndexPredicate(self.relation) }
    }
}

/// Whether a predicate is `stream_version = 1`.
///
/// # Safety
/// It is null, or the predicate of an index on a table of events.
unsafe fn is_first_of_stream(predicate: *mut pg_sys::List) -> bool {
    // SAFETY: a list of nodes, each of the type that its tag says; an OpExpr's arguments are a list, too.
    unsafe {
        let Some(operator) = only::<pg_sys::OpExpr>(predicate, pg_sys::NodeTag::T_OpExpr) else {
            return false;
        };
        let arguments = (*operator).args;
        if !EQUALS.contains(&(*operator).opno.to_u32()) || (*arguments).length != 2 {
            return false;
        }
        let variable = node::<pg_sys::Var>(arguments, 0, pg_sys::NodeTag::T_Var);
        let constant = node::<pg_sys::Const>(arguments, 1, pg_sys::NodeTag::T_Const);
        let (Some(variable), Some(constant)) = (variable, constant) else {
            return false;
        };
        (*variable).varattno == event::Column::StreamVersion.attribute()
            && !(*constant).constisnull
            && (*constant).constvalue.value() == 1
    }
}

/// The only node of a list, if it is of a type.
///
/// # Safety
/// The list is null, or one of nodes; the tag is that of `T`.
unsafe fn only<T>(list: *mut pg_sys::List, tag: pg_sys::NodeTag) -> Option<*mut T> {
    // SAFETY: as the caller has promised.
    unsafe {
        if list.is_null() || (*list).length != 1 {
            return None;
        }
        node(list, 0, tag)
    }
}

/// The n-th node of a list, if it is of a type.
///
/// # Safety
/// The list is one of more than `n` nodes; the tag is that of `T`.
unsafe fn node<T>(list: *mut pg_sys::List, n: usize, tag: pg_sys::NodeTag) -> Option<*mut T> {
    // SAFETY: as the caller has promised; a node begins with its tag.
    unsafe {
        let node: *mut pg_sys::Node = (*(*list).elements.add(n)).ptr_value.cast();
        ((*node).type_ == tag).then_some(node.cast())
    }
}

fn relation_name(relation: Relation) -> String {
    // SAFETY: an open relation has a NUL-terminated name.
    unsafe {
        CStr::from_ptr((*(*relation).rd_rel).relname.data.as_ptr())
            .to_string_lossy()
            .into_owned()
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: opened by `table`; closed once; the lock stays until the end of the transaction.
            unsafe { pg_sys::table_close(self.relation, pg_sys::NoLock as _) };
        }
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: opened by `open`; closed once; the lock stays until the end of the transaction.
            unsafe { pg_sys::index_close(self.relation, pg_sys::NoLock as _) };
        }
    }
}
