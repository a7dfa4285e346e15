//! The key index: an access method over nbtree in which one row has several entries, (key, position)
//! for its type and for each of its tags, stream, correlation and causation id.
//!
//! Pages, WAL, splits, vacuum and recovery are nbtree's own; only inserting (one entry for each element
//! of the `bigint[]` column) and building differ. It offers the planner nothing: no operators, no
//! ordering, no way to fetch a tuple. en57 reads it through [`crate::store::index::reader`].

use std::ffi::c_void;
use std::ptr;

use pgrx::pg_sys::{
    self, BlockNumber, Datum, IndexAmRoutine, IndexInfo, ItemPointer, Oid, Relation,
};

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::index::descent::raw;
use crate::store::index::entry::Tree;
use crate::store::index::leaf::{self, New};
use crate::store::pg::{array, guard};

use super::position::Counter;
use super::{catalog, replica, triggers};

unsafe extern "C-unwind" {
    // nbtree's; not in pgrx's bindings. The same from PostgreSQL 13 to 18.
    fn _bt_initmetapage(page: pg_sys::Page, root: BlockNumber, level: u32, all_equal_image: bool);
}

/// The oid of `bthandler` in pg_proc.dat.
pub(in crate::store) const BTREE_HANDLER: u32 = 330;

/// The access method's routine: nbtree's, changed as the module's text says.
pub fn routine() -> *mut IndexAmRoutine {
    // SAFETY: GetIndexAmRoutine returns a newly allocated routine, which is ours to change.
    unsafe {
        let routine = pg_sys::GetIndexAmRoutine(Oid::from(BTREE_HANDLER));
        let r = &mut *routine;
        r.amstorage = true;
        r.amcanorder = false;
        r.amcanbackward = false;
        r.amcanunique = false;
        r.amcanmulticol = true;
        r.amoptionalkey = false;
        r.amsearcharray = false;
        r.amsearchnulls = false;
        r.amclusterable = false;
        r.amcanparallel = false;
        r.amcaninclude = false;
        r.amcanreturn = None;
        r.amproperty = None;
        r.amadjustmembers = None;
        r.amgettuple = None;
        r.amgetbitmap = None;
        r.ambuild = Some(build);
        r.aminsert = Some(insert);
        r.amvalidate = Some(validate);
        #[cfg(any(feature = "pg17", feature = "pg18"))]
        {
            r.amcanbuildparallel = false;
        }
        #[cfg(feature = "pg18")]
        {
            r.amcanhash = false;
            r.amconsistentequality = false;
            r.amconsistentordering = false;
            r.amgettreeheight = None;
            r.amtranslatestrategy = None;
            r.amtranslatecmptype = None;
        }
        routine
    }
}

unsafe extern "C-unwind" fn validate(_class: Oid) -> bool {
    true
}

/// `aminsert`, for rows that come in through the executor: a restore, or events that are erased.
unsafe extern "C-unwind" fn insert(
    index: Relation,
    values: *mut Datum,
    nulls: *mut bool,
    row: ItemPointer,
    heap: Relation,
    _unique: pg_sys::IndexUniqueCheck::Type,
    _unchanged: bool,
    info: *mut IndexInfo,
) -> bool {
    // SAFETY: PostgreSQL passes as many values and nulls as the index has columns; this frame holds
    // nothing.
    unsafe {
        guard::call(|| {
            demand_shape(index)?;
            if *nulls || *nulls.add(1) {
                return Ok(());
            }
            let position = (*values.add(1)).value() as i64;
            let entries: Vec<_> = array::bigints(*values)?
                .into_iter()
                .map(|k| New::of_key(k, position, *row))
                .collect();
            leaf::insert_all(index, heap, info, Tree::Keys, &entries);
            let table = (*heap).rd_id;
            let is_new = (*(*heap).rd_rel).relispartition && !triggers::is_erasing(table);
            if is_new && catalog::is_partition(table)? {
                let store = catalog::store()?;
                Counter::of(store)?.pass(table, position)?;
                replica::demand_subscription(table, store.events)?;
            }
            Ok(())
        });
    }
    false
}

/// Refuses an index of other columns than (keys bigint[], position bigint): anybody may try one on a
/// table of his own.
fn demand_shape(index: Relation) -> Result<()> {
    // SAFETY: the index is open; rd_opcintype has as many elements as it has key columns.
    let fits = unsafe {
        let types = (*index).rd_opcintype;
        (*(*index).rd_index).indnatts == 2
            && *types == pg_sys::INT8ARRAYOID
            && *types.add(1) == pg_sys::INT8OID
    };
    if fits {
        return Ok(());
    }
    Err(Error::new(
        SqlState::NotSupported,
        "an index of access method en57_keys has the columns (bigint[], bigint)",
    )
    .hint("The access method is there for the tables of en57 alone."))
}

/// What a build collects before it sorts and inserts.
struct Building {
    index: Relation,
    heap: Relation,
    info: *mut IndexInfo,
    entries: Vec<New>,
    room: usize,
    inserted: f64,
    largest: i64,
}

impl Building {
    /// Sorted runs insert into neighbouring pages, several times as fast as in the rows' order.
    fn flush(&mut self) {
        self.entries.sort_unstable_by_key(|e| e.at);
        leaf::insert_all(self.index, self.heap, self.info, Tree::Keys, &self.entries);
        self.inserted += self.entries.len() as f64;
        self.entries.clear();
    }
}

unsafe extern "C-unwind" fn build(
    heap: Relation,
    index: Relation,
    info: *mut IndexInfo,
) -> *mut pg_sys::IndexBuildResult {
    // SAFETY: PostgreSQL passes open relations, the index locked exclusively; this frame holds nothing.
    unsafe {
        guard::call(|| {
            demand_shape(index)?;
            write_metapage(index);
            let entry = size_of::<New>();
            let mut building = Building {
                index,
                heap,
                info,
                entries: Vec::new(),
                room: (pg_sys::maintenance_work_mem as usize * 1024 / entry).max(1000),
                inserted: 0.0,
                largest: 0,
            };
            let rows = pg_sys::table_index_build_scan(
                heap,
                index,
                info,
                true,
                true,
                Some(collect),
                (&raw mut building).cast(),
                ptr::null_mut(),
            );
            building.flush();
            // A restore makes the index when the rows are there already.
            let attached = (*(*heap).rd_rel).relispartition;
            if building.largest > 0 && attached && catalog::is_partition((*heap).rd_id)? {
                Counter::of(catalog::store()?)?.pass_all((*heap).rd_id, building.largest)?;
            }
            let result: *mut pg_sys::IndexBuildResult =
                pg_sys::palloc0(size_of::<pg_sys::IndexBuildResult>()).cast();
            (*result).heap_tuples = rows;
            (*result).index_tuples = building.inserted;
            Ok(result)
        })
    }
}

/// Called for each row of a build.
unsafe extern "C-unwind" fn collect(
    _index: Relation,
    row: ItemPointer,
    values: *mut Datum,
    nulls: *mut bool,
    _alive: bool,
    state: *mut c_void,
) {
    // SAFETY: `state` is the Building of `build`, which waits for the scan; this frame holds nothing.
    unsafe {
        guard::call(|| -> Result<()> {
            if *nulls || *nulls.add(1) {
                return Ok(());
            }
            let building = &mut *state.cast::<Building>();
            let position = (*values.add(1)).value() as i64;
            building.largest = building.largest.max(position);
            for key in array::bigints(*values)? {
                building.entries.push(New::of_key(key, position, *row));
            }
            if building.entries.len() >= building.room {
                building.flush();
            }
            Ok(())
        });
    }
}

/// Makes the empty tree: nbtree's metapage alone, as its own ambuildempty does for the init fork.
/// nbtree's ambuild cannot be used: it wants to sort, and its sort demands a relation that says btree.
unsafe fn write_metapage(index: Relation) {
    // SAFETY: the index is new and locked exclusively; the page is initialised under the buffer's
    // exclusive lock and logged whole where the relation is logged.
    unsafe {
        let buffer = pg_sys::ReadBufferExtended(
            index,
            pg_sys::ForkNumber::MAIN_FORKNUM,
            pg_sys::InvalidBlockNumber,
            pg_sys::ReadBufferMode::RBM_ZERO_AND_LOCK,
            ptr::null_mut(),
        );
        let logged = (*(*index).rd_rel).relpersistence as u8 == pg_sys::RELPERSISTENCE_PERMANENT;
        pg_sys::ffi::pg_guard_ffi_boundary(|| {
            // A page that is changed and not logged must not be written: an error in between is a PANIC.
            pg_sys::CritSectionCount += 1;
            _bt_initmetapage(pg_sys::BufferGetPage(buffer), 0, 0, false);
            raw::MarkBufferDirty(buffer);
            if logged {
                raw::log_newpage_buffer(buffer, true);
            }
            pg_sys::CritSectionCount -= 1;
        });
        pg_sys::UnlockReleaseBuffer(buffer);
    }
}
