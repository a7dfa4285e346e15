//! The table `en57.snapshots`: states of folds that were kept.
//!
//! Its rows are found by the primary key and looked at with the self snapshot, and written without the executor:
//! so neither leaves a predicate lock, and a SERIALIZABLE transaction cannot fail on a snapshot. Nobody waits
//! here but who forgets: whoever would write takes its locks without waiting, or leaves it at that. Locks last
//! until the transaction ends, so what a holder has written is committed or undone when the next one writes.

use std::collections::HashMap;
use std::ffi::CStr;

use pgrx::pg_sys::{self, Datum, LOCKTAG, LockAcquireResult, Oid};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::dcb::codec;
use crate::dcb::error::Result;
use crate::dcb::query::Query;
use crate::store::lock::manager::{LockSpace, acquire, tag};
use crate::store::pg::{clock, composite, fmgr, settings};
use crate::store::session::definitions;

const TABLE: &CStr = c"snapshots";
const INDEX: &CStr = c"snapshots_pkey";
/// The columns, in the table's order: fold, partition, query_hash, position, query, mark, generation, state,
/// taken_at.
const COLUMNS: usize = 9;

/// So many queries of a fold more than there are to be are let go at once, at most. Each costs a lock.
const AT_ONCE: usize = 128;

/// Whose state it is.
#[derive(Clone, Debug)]
pub struct SnapshotKey {
    fold: i64,
    partition: Oid,
    hash: i64,
    query: Vec<u8>,
    /// Of the function and of the way in which events are read: what was kept under another one is worth
    /// nothing.
    made_by: (i64, i64),
}

/// A state that was kept.
pub struct Snapshot {
    /// All events that match are in it up to here.
    pub position: i64,
    /// In the current memory context.
    pub state: Option<Datum>,
}

struct Stored {
    tid: pg_sys::ItemPointerData,
    position: i64,
    state: Option<Datum>,
    is_good: bool,
}

impl SnapshotKey {
    /// A state by the number of the fold's definition, the partition's table, the query, and by what it is made: the
    /// function's mark, and the generation of the upcasters.
    pub fn new(fold: i64, partition: Oid, query: &Query, made_by: (i64, i64)) -> Self {
        let query = codec::encode(query);
        Self {
            fold,
            partition,
            hash: xxh3_64(&query) as i64,
            query,
            made_by,
        }
    }

    /// Whether that is what it is made by.
    pub fn is_made_by(&self, made_by: (i64, i64)) -> bool {
        self.made_by == made_by
    }

    /// The newest state that was kept up to a position.
    ///
    /// # Errors
    /// 55000 where the table is missing.
    pub fn find(&self, upto: i64) -> Result<Option<Snapshot>> {
        let relation = Relation::open(pg_sys::AccessShareLock)?;
        let good = |s: &Stored| s.is_good && s.position <= upto;
        let all = relation.stored(self)?;
        let newest = all.into_iter().filter(good).max_by_key(|s| s.position);
        Ok(newest.map(|s| Snapshot {
            position: s.position,
            state: s.state.map(composite::detoasted),
        }))
    }

    /// Keeps a state, unless somebody else is keeping one or has kept a newer one. The one before stays, for
    /// those who read as of an earlier moment.
    ///
    /// # Errors
    /// 55000 where the table is missing; PostgreSQL's own, by unwinding.
    pub fn keep(&self, position: i64, state: Option<Datum>) -> Result<()> {
        let open = lock(&fold_tag(self.fold), pg_sys::ShareLock, false);
        if !open || !self.lock() {
            return Ok(());
        }
        let relation = Relation::open(pg_sys::RowExclusiveLock)?;
        let stored = relation.stored(self)?;
        let newest = stored
            .iter()
            .filter(|s| s.is_good)
            .map(|s| s.position)
            .max();
        if newest.is_some_and(|newest| newest >= position) {
            return Ok(());
        }
        for old in stored
            .iter()
            .filter(|s| !s.is_good || Some(s.position) != newest)
        {
            relation.delete(old);
        }
        relation.insert([
            Some(Datum::from(self.fold)),
            Some(Datum::from(self.partition)),
            Some(Datum::from(self.hash)),
            Some(Datum::from(position)),
            Some(fmgr::make_varlena(&self.query)),
            Some(Datum::from(self.made_by.0)),
            Some(Datum::from(self.made_by.1)),
            state,
            Some(Datum::from(clock::now_us())),
        ]);
        if stored.is_empty() {
            self.let_others_go(&relation, settings::max_snapshots())?;
        }
        Ok(())
    }

    /// Keeps others from writing snapshots of this query until the transaction ends; `false` where somebody else
    /// does so.
    fn lock(&self) -> bool {
        let seeded = xxh3_64_with_seed(&self.fold.to_ne_bytes(), self.hash as u64);
        let key = seeded ^ u64::from(self.partition.to_u32());
        let tag = tag(LockSpace::Snapshot, (key >> 32) as u32, key as u32);
        lock(&tag, pg_sys::ExclusiveLock, false)
    }

    /// Lets the snapshots of queries go that were made least recently, where there are those of more than `most`
    /// in the fold and partition: whoever may read chooses queries, and would fill the disk. To count them
    /// takes a look at each, so it is done once in a while where many may be kept.
    fn let_others_go(&self, relation: &Relation, most: usize) -> Result<()> {
        let once_in = (most / 256).clamp(1, AT_ONCE / 2) as u64;
        if !xxh3_64(&clock::now_us().to_ne_bytes()).is_multiple_of(once_in) {
            return Ok(());
        }
        let mut made = relation.queries(self)?;
        made.remove(&self.hash);
        let excess = (made.len() + 1).saturating_sub(most).min(AT_ONCE);
        let mut oldest: Vec<(i64, i64)> = made.into_iter().map(|(hash, at)| (at, hash)).collect();
        oldest.sort_unstable();
        let others = oldest.into_iter().map(|(_, hash)| Self {
            hash,
            ..self.clone()
        });
        // Who is writing one of them has just been there: the next one, then.
        for other in others.filter(Self::lock).take(excess) {
            // What is there by now: somebody may have let them go before the lock was taken.
            for old in relation.stored(&other)? {
                relation.delete(&old);
            }
        }
        Ok(())
    }
}

/// The table, open and locked until the transaction ends.
struct Relation(pg_sys::Relation);

impl Relation {
    fn open(lock: u32) -> Result<Self> {
        let table = definitions::table(TABLE)?;
        // SAFETY: raises where there is no such table; closed when dropped, or at abort.
        Ok(Self(unsafe { pg_sys::table_open(table, lock as _) }))
    }

    /// What is kept under a key, of any make.
    fn stored(&self, key: &SnapshotKey) -> Result<Vec<Stored>> {
        let mut found = Vec::new();
        self.scan(key, 3, |row| {
            // SAFETY: a row of the table. It is copied before it is taken apart.
            let (tid, [_, _, _, position, query, mark, generation, state, _]) = unsafe {
                let row = pg_sys::heap_copytuple(row);
                ((*row).t_self, self.columns(row))
            };
            let number = |column: Option<Datum>| column.map_or(0, |d| d.value() as i64);
            let made_by = (number(mark), number(generation));
            let is_its_query = query.is_some_and(|q| fmgr::varlena(q) == key.query);
            found.push(Stored {
                tid,
                position: number(position),
                state,
                is_good: made_by == key.made_by && is_its_query,
            });
        })?;
        Ok(found)
    }

    /// The hashes of the queries of a fold and partition, with the time at which the newest state of each was made.
    fn queries(&self, key: &SnapshotKey) -> Result<HashMap<i64, i64>> {
        let mut made = HashMap::new();
        self.scan(key, 2, |row| {
            // SAFETY: a row of the table; what is taken of it are numbers.
            let columns = unsafe { self.columns(row) };
            let number = |column: Option<Datum>| column.map_or(0, |d| d.value() as i64);
            let (hash, taken_at) = (number(columns[2]), number(columns[8]));
            let newest = made.entry(hash).or_insert(taken_at);
            *newest = taken_at.max(*newest);
        })?;
        Ok(made)
    }

    /// A row's columns; they are as long there as it is.
    unsafe fn columns(&self, row: pg_sys::HeapTuple) -> [Option<Datum>; COLUMNS] {
        let (mut values, mut nulls) = ([Datum::from(0); COLUMNS], [true; COLUMNS]);
        // SAFETY: as the caller says, a row of the table, which has so many columns.
        unsafe {
            let (values, nulls) = (values.as_mut_ptr(), nulls.as_mut_ptr());
            pg_sys::heap_deform_tuple(row, (*self.0).rd_att, values, nulls);
        }
        std::array::from_fn(|n| (!nulls[n]).then_some(values[n]))
    }

    /// The rows with the first so many of a key's fold, partition and query. They are there until `visit` returns.
    fn scan(
        &self,
        key: &SnapshotKey,
        count: usize,
        mut visit: impl FnMut(pg_sys::HeapTuple),
    ) -> Result<()> {
        let index = definitions::table(INDEX)?;
        // SAFETY: the scan keys are on the first columns of the primary key and outlive the scan. The self snapshot
        // is static.
        unsafe {
            let mut keys: [pg_sys::ScanKeyData; 3] = std::mem::zeroed();
            for (n, (function, value)) in [
                (pg_sys::F_INT8EQ, Datum::from(key.fold)),
                (pg_sys::F_OIDEQ, Datum::from(key.partition)),
                (pg_sys::F_INT8EQ, Datum::from(key.hash)),
            ]
            .into_iter()
            .enumerate()
            {
                pg_sys::ScanKeyInit(
                    &raw mut keys[n],
                    n as i16 + 1,
                    pg_sys::BTEqualStrategyNumber as u16,
                    Oid::from(function),
                    value,
                );
            }
            let scan = pg_sys::systable_beginscan(
                self.0,
                index,
                true,
                &raw mut pg_sys::SnapshotSelfData,
                count as i32,
                keys.as_mut_ptr(),
            );
            loop {
                let row = pg_sys::systable_getnext(scan);
                if row.is_null() {
                    break;
                }
                visit(row);
            }
            pg_sys::systable_endscan(scan);
        }
        Ok(())
    }

    fn delete(&self, row: &Stored) {
        let mut tid = row.tid;
        // SAFETY: the table is open for writing; the tid is that of a row, which nobody else deletes: the
        // locks of the key and of the gate are held.
        unsafe { pg_sys::CatalogTupleDelete(self.0, &raw mut tid) };
    }

    fn insert(&self, columns: [Option<Datum>; COLUMNS]) {
        let mut values = columns.map(|c| c.unwrap_or(Datum::from(0)));
        let mut nulls = columns.map(|c| c.is_none());
        // SAFETY: as many values as the table has columns, of their types. The next state of this statement may take
        // the tid of the row, and so must see it: hence the new command.
        unsafe {
            let row =
                pg_sys::heap_form_tuple((*self.0).rd_att, values.as_mut_ptr(), nulls.as_mut_ptr());
            pg_sys::CatalogTupleInsert(self.0, row);
            pg_sys::CommandCounterIncrement();
        }
    }
}

impl Drop for Relation {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: opened by `open`; the lock stays until the transaction ends.
            unsafe { pg_sys::table_close(self.0, pg_sys::NoLock as _) };
        }
    }
}

/// Leave to write snapshots of a partition, held until dropped, or until the end of the transaction by who has
/// written. Who has it before he reads has read nothing that somebody forgets meanwhile.
pub struct Gate {
    tag: LOCKTAG,
    is_kept: bool,
}

impl Gate {
    /// The leave; `None` while somebody forgets, and where the transaction cannot write.
    pub fn enter(partition: Oid) -> Option<Self> {
        // SAFETY: reads the transaction's and the server's state.
        let can_write = unsafe { !pg_sys::XactReadOnly && !pg_sys::RecoveryInProgress() };
        let tag = tag(LockSpace::SnapshotGate, partition.to_u32(), 0);
        (can_write && lock(&tag, pg_sys::ShareLock, false)).then(|| Self {
            tag,
            is_kept: false,
        })
    }

    /// The leave, as soon as nobody forgets any more.
    pub fn wait(partition: Oid) -> Self {
        let tag = tag(LockSpace::SnapshotGate, partition.to_u32(), 0);
        lock(&tag, pg_sys::ShareLock, true);
        Self {
            tag,
            is_kept: false,
        }
    }

    /// Keeps it until the end of the transaction: something was written.
    pub fn stay(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if !self.is_kept && !std::thread::panicking() {
            // SAFETY: taken by `enter`; one that the transaction has taken before stays.
            unsafe { pg_sys::LockRelease(&self.tag, pg_sys::ShareLock as _, false) };
        }
    }
}

/// Keeps others from writing snapshots of a partition until the transaction ends; who has written or may write
/// one has ended.
pub fn close_gate(partition: Oid) {
    lock(
        &tag(LockSpace::SnapshotGate, partition.to_u32(), 0),
        pg_sys::ExclusiveLock,
        true,
    );
}

/// Keeps others from writing snapshots of a fold until the transaction ends.
pub fn close_fold(fold: i64) {
    lock(&fold_tag(fold), pg_sys::ExclusiveLock, true);
}

fn fold_tag(fold: i64) -> LOCKTAG {
    tag(LockSpace::SnapshotGate, fold as u32, 1)
}

fn lock(tag: &LOCKTAG, mode: u32, wait: bool) -> bool {
    acquire(tag, mode, wait) != LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}
