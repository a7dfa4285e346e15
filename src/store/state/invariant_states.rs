//! The states that invariants keep, by invariant and id: read and written without the executor.
//!
//! They are looked at with the self snapshot (committed now, or own): who does so holds the lock of the
//! id's key, so nobody else changes the row before the transaction ends. That makes the answer exact at
//! every isolation level, fails no update for being concurrent, and leaves no predicate lock.

use std::mem::MaybeUninit;

use pgrx::pg_sys::{self, Datum, ItemPointerData, Oid, Relation, ScanKeyData};

use crate::dcb::error::Result;
use crate::store::pg::{composite, fmgr};
use crate::store::session::definitions;

/// The columns of `en57.invariant_states`, in its order.
const INVARIANT: i16 = 1;
const ID: i16 = 2;
const COLUMNS: usize = 6;

/// A state as it is kept.
pub struct KeptState {
    /// All events of the id up to here are in it.
    pub position: i64,
    /// The state, in the memory context in which it was found.
    pub state: Option<Datum>,
    /// What it was made with.
    pub made_with: MadeWith,
    tid: Option<ItemPointerData>,
}

/// What a state was made with. Where that is not so any more, the state is worth nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MadeWith {
    /// The function, and the table of the events.
    pub mark: i64,
    /// How events were read.
    pub generation: i64,
}

/// The table of the states, open until the transaction ends.
pub struct States {
    relation: Relation,
    index: Oid,
}

impl States {
    /// Opens it.
    ///
    /// # Errors
    /// 55000 where it is missing.
    pub fn open() -> Result<Self> {
        let table = definitions::table(c"invariant_states")?;
        let index = definitions::table(c"invariant_states_pkey")?;
        // SAFETY: the lock is kept until the transaction ends, the reference until `drop`.
        let relation = unsafe { pg_sys::table_open(table, pg_sys::RowExclusiveLock as _) };
        Ok(Self { relation, index })
    }

    /// The state that is kept of an id.
    pub fn find(&self, invariant: i64, id: &str) -> Option<KeptState> {
        // SAFETY: the table is open; a scan of its primary key with the static self snapshot. The row is
        // taken apart, and what is needed of it copied, while the scan keeps it pinned.
        unsafe {
            let mut keys: [ScanKeyData; 2] = MaybeUninit::zeroed().assume_init();
            let key = |key: &mut ScanKeyData, column, function: u32, value| {
                let equal = pg_sys::BTEqualStrategyNumber as u16;
                pg_sys::ScanKeyInit(key, column, equal, Oid::from(function), value);
            };
            let [first, second] = &mut keys;
            key(first, INVARIANT, pg_sys::F_INT8EQ, Datum::from(invariant));
            let id = fmgr::make_varlena(id.as_bytes());
            key(second, ID, pg_sys::F_TEXTEQ, id);
            let scan = pg_sys::systable_beginscan(
                self.relation,
                self.index,
                true,
                &raw mut pg_sys::SnapshotSelfData,
                2,
                keys.as_mut_ptr(),
            );
            let row = pg_sys::systable_getnext(scan);
            let found = (!row.is_null()).then(|| {
                let (mut values, mut nulls) = ([Datum::from(0); COLUMNS], [true; COLUMNS]);
                pg_sys::heap_deform_tuple(
                    row,
                    (*self.relation).rd_att,
                    values.as_mut_ptr(),
                    nulls.as_mut_ptr(),
                );
                let [_, _, position, state, mark, generation] = values;
                KeptState {
                    position: position.value() as i64,
                    state: (!nulls[3]).then(|| composite::copied(state)),
                    made_with: MadeWith {
                        mark: mark.value() as i64,
                        generation: generation.value() as i64,
                    },
                    tid: Some((*row).t_self),
                }
            });
            pg_sys::systable_endscan(scan);
            found
        }
    }

    /// Keeps a state, instead of the one that `find` has found, if it has.
    pub fn keep(&self, invariant: i64, id: &str, state: &KeptState, before: Option<&KeptState>) {
        let (document, tid) = (state.state, before.and_then(|b| b.tid));
        let mut nulls = [false; COLUMNS];
        nulls[3] = document.is_none();
        let mut values = [
            Datum::from(invariant),
            fmgr::make_varlena(id.as_bytes()),
            Datum::from(state.position),
            document.unwrap_or(Datum::from(0)),
            Datum::from(state.made_with.mark),
            Datum::from(state.made_with.generation),
        ];
        // SAFETY: the table is open and locked for writing; as many values as it has columns. Nobody else
        // has changed the row at `tid` since it was found: the id's key is locked. The next statement,
        // and the next state of this one, must see the row: hence the new command.
        unsafe {
            let tuple = pg_sys::heap_form_tuple(
                (*self.relation).rd_att,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
            match tid {
                Some(mut tid) => pg_sys::CatalogTupleUpdate(self.relation, &mut tid, tuple),
                None => pg_sys::CatalogTupleInsert(self.relation, tuple),
            }
            pg_sys::CommandCounterIncrement();
        }
    }
}

impl KeptState {
    /// A state that is to be kept.
    pub fn new(position: i64, state: Option<Datum>, made_with: MadeWith) -> Self {
        Self {
            position,
            state,
            made_with,
            tid: None,
        }
    }
}

impl Drop for States {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: opened by `open`, closed once; the lock stays.
            unsafe { pg_sys::table_close(self.relation, pg_sys::NoLock as _) };
        }
    }
}
