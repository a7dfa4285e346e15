//! Rows of a partition's table: inserted without the executor.
//!
//! What the executor would have done besides is done here or by the callers: privileges, row-level
//! security and triggers are checked in `catalog`, constraints and foreign indexes in `extras`.

use pgrx::pg_sys::{self, Datum, HeapTuple, ItemPointerData};

use crate::dcb::error::Result;
use crate::store::index::entry::Tree;
use crate::store::index::leaf::{self, New};
use crate::store::memory::stat::{self, Counted};
use crate::store::pg::scratch::Scratch;
use crate::store::pg::{array, fmgr};
use crate::store::row::door::Unread;
use crate::store::row::event::{COLUMNS, Column, NewEvent};
use crate::store::row::table::{IndexRole, Opened};

use super::partition::Partition;
use super::user_objects::UserObjects;

/// Tuples that go into the heap, and its WAL, together.
const TUPLES_AT_ONCE: usize = 128;
/// Events whose index entries are sorted together: neighbours in the index are inserted together.
const EVENTS_AT_ONCE: usize = 4096;

/// Where a batch goes and what its rows have in common.
pub struct Batch<'a> {
    /// The partition.
    pub partition: &'a Partition,
    /// Its table, open for writing.
    pub table: &'a Opened,
    /// The frontier when the positions were allotted.
    pub stable: i64,
    /// Where the i-th event stands.
    pub assigned: &'a dyn Fn(usize) -> Assigned<'a>,
    /// The ids of all events: see [`event::ids`](crate::store::row::event::ids).
    pub ids: &'a [[u8; 16]],
}

/// Where an event stands in the log.
#[derive(Clone, Copy)]
pub struct Assigned<'a> {
    /// Its position.
    pub position: i64,
    /// When it was recorded, in PostgreSQL's microseconds.
    pub recorded_at_us: i64,
    /// Its stream and its version there.
    pub stream: Option<(&'a str, i64)>,
}

impl Batch<'_> {
    /// Inserts the events in order, with their entries in every index.
    ///
    /// # Errors
    /// PostgreSQL's own, by unwinding: 23505 where an id is known already.
    pub fn insert(&self, events: &[&NewEvent], keys: &[Vec<i64>]) -> Result<()> {
        let mut extras = UserObjects::where_needed(self.partition, self.table)?;
        let rows: Vec<_> = events.iter().zip(keys).enumerate().collect();
        if let ([event], [keys], None) = (events, keys, &extras) {
            let tuple = self.form(0, event);
            // SAFETY: the table is open and locked for writing, the tuple newly formed for it.
            unsafe {
                let command = pg_sys::GetCurrentCommandId(true);
                pg_sys::heap_insert(
                    self.table.relation(),
                    tuple,
                    command,
                    0,
                    std::ptr::null_mut(),
                );
                let placed = [((self.assigned)(0), keys, (*tuple).t_self)];
                self.index_unique(&placed, &[tuple]);
                self.index_keys(&placed);
            }
            return Ok(());
        }
        let context = Scratch::new();
        for group in rows.chunks(EVENTS_AT_ONCE) {
            let mut placed = Vec::with_capacity(group.len());
            for chunk in group.chunks(TUPLES_AT_ONCE) {
                pgrx::check_for_interrupts!();
                let tuples: Vec<HeapTuple> = context.run(|| {
                    chunk
                        .iter()
                        .map(|(i, (event, _))| self.form(*i, event))
                        .collect()
                });
                if let Some(extras) = &mut extras {
                    tuples.iter().try_for_each(|t| extras.check(*t))?;
                }
                // SAFETY: formed just now after the table's descriptor, in the scratch context.
                unsafe { self.table.insert(&tuples, 0, std::ptr::null_mut()) };
                for ((i, (_, keys)), tuple) in chunk.iter().zip(&tuples) {
                    // SAFETY: formed above in the scratch context, which is reset below.
                    let tid = unsafe { (**tuple).t_self };
                    placed.push(((self.assigned)(*i), *keys, tid));
                }
                let from = placed.len() - chunk.len();
                self.index_unique(&placed[from..], &tuples);
                if let Some(extras) = &mut extras {
                    tuples.iter().try_for_each(|t| extras.index(*t))?;
                }
                context.reset();
            }
            self.index_keys(&placed);
        }
        Ok(())
    }

    /// The i-th event as it is going to be stored: as `en57_event` has it.
    pub fn event_columns(&self, i: usize, event: &NewEvent) -> Unread {
        let (values, nulls) = self.columns(i, event);
        Unread::new(std::array::from_fn(|n| (!nulls[n]).then_some(values[n])))
    }

    /// The i-th event's columns, in the current memory context.
    fn columns(&self, i: usize, event: &NewEvent) -> ([Datum; COLUMNS], [bool; COLUMNS]) {
        let mut values = [Datum::from(0); COLUMNS];
        let mut nulls = [true; COLUMNS];
        let mut set = |column: Column, value: Datum| {
            values[column as usize] = value;
            nulls[column as usize] = false;
        };
        let Assigned {
            position,
            recorded_at_us,
            stream,
        } = (self.assigned)(i);
        set(Column::Position, Datum::from(position));
        set(Column::RecordedAt, Datum::from(recorded_at_us));
        set(Column::Stable, Datum::from(self.stable));
        set(Column::Id, fmgr::make_uuid(&self.ids[i]));
        set(
            Column::Type,
            fmgr::make_varlena(event.event_type.as_bytes()),
        );
        set(
            Column::Partition,
            fmgr::make_varlena(self.partition.name.as_bytes()),
        );
        set(Column::Tags, array::make(&event.tags));
        let occurred_at_us = event.occurred_at_us.unwrap_or(recorded_at_us);
        set(Column::OccurredAt, Datum::from(occurred_at_us));
        set(Column::SchemaVersion, Datum::from(event.schema_version));
        if let Some((name, version)) = stream {
            set(Column::Stream, fmgr::make_varlena(name.as_bytes()));
            set(Column::StreamVersion, Datum::from(version));
        }
        if let Some(data) = event.data {
            set(Column::Data, data.to_datum());
        }
        if let Some(meta) = event.meta {
            set(Column::Meta, meta);
        }
        (values, nulls)
    }

    /// Forms the i-th event's tuple in the current memory context.
    fn form(&self, i: usize, event: &NewEvent) -> HeapTuple {
        let (mut values, mut nulls) = self.columns(i, event);
        // SAFETY: values and nulls have as many elements as the table has columns.
        unsafe {
            let descriptor = (*self.table.relation()).rd_att;
            let n = (*descriptor).natts as usize;
            let tuple = if n == COLUMNS {
                pg_sys::heap_form_tuple(descriptor, values.as_mut_ptr(), nulls.as_mut_ptr())
            } else {
                // Columns were dropped at the end.
                let (mut values, mut nulls) = (values.to_vec(), nulls.to_vec());
                values.resize(n, Datum::from(0));
                nulls.resize(n, true);
                pg_sys::heap_form_tuple(descriptor, values.as_mut_ptr(), nulls.as_mut_ptr())
            };
            stat::count(Counted::Events, 1);
            stat::count(Counted::Bytes, i64::from((*tuple).t_len));
            tuple
        }
    }

    /// Enters the rows into the indexes on position and id, and the first of a new stream into the list of
    /// streams.
    fn index_unique(&self, placed: &[Placed], tuples: &[HeapTuple]) {
        let positions: Vec<_> = placed
            .iter()
            .map(|(assigned, _, row)| New::of_position(assigned.position, *row))
            .collect();
        self.enter(IndexRole::Position, Tree::Positions, &positions);
        let mut ids: Vec<_> = placed
            .iter()
            .zip(tuples)
            .map(|((.., row), tuple)| New::of_id(&self.id_of(*tuple), *row))
            .collect();
        ids.sort_unstable_by_key(|e| e.at);
        self.enter(IndexRole::Id, Tree::Ids, &ids);
        for (assigned, _, row) in placed {
            if let Some((name, 1)) = assigned.stream {
                self.index_stream(name, *row);
            }
        }
    }

    /// Enters a stream into the list of streams. It cannot be there yet; should it be, that is an error.
    fn index_stream(&self, name: &str, mut row: ItemPointerData) {
        for index in self.table.indexes(IndexRole::Stream) {
            let info = IndexInfoBox::new();
            let mut value = fmgr::make_varlena(name.as_bytes());
            // SAFETY: heap and index are open and locked for writing; the index has one column, a text.
            unsafe {
                pg_sys::index_insert(
                    index.relation(),
                    &mut value,
                    &mut false,
                    &mut row,
                    self.table.relation(),
                    pg_sys::IndexUniqueCheck::UNIQUE_CHECK_YES,
                    false,
                    info.0,
                );
            }
        }
    }

    fn id_of(&self, tuple: HeapTuple) -> [u8; 16] {
        let mut null = false;
        // SAFETY: the tuple has the table's columns, the id among them; a uuid is 16 bytes by reference.
        unsafe {
            let value = pg_sys::htup::heap_getattr(
                tuple,
                i32::from(Column::Id.attribute()),
                (*self.table.relation()).rd_att,
                &mut null,
            );
            *value.cast_mut_ptr::<[u8; 16]>()
        }
    }

    /// Enters the rows into the key index.
    fn index_keys(&self, placed: &[Placed]) {
        let mut entries: Vec<New> = placed
            .iter()
            .flat_map(|(assigned, keys, row)| {
                let position = assigned.position;
                keys.iter().map(move |k| New::of_key(*k, position, *row))
            })
            .collect();
        entries.sort_unstable_by_key(|e| e.at);
        self.enter(IndexRole::Keys, Tree::Keys, &entries);
    }

    /// Enters sorted entries into the indexes for one thing.
    fn enter(&self, role: IndexRole, tree: Tree, entries: &[New]) {
        for index in self.table.indexes(role) {
            let info = IndexInfoBox::new();
            leaf::insert_all(
                index.relation(),
                self.table.relation(),
                info.0,
                tree,
                entries,
            );
        }
    }
}

/// Where an event stands, its keys, and where its row is.
type Placed<'a> = (Assigned<'a>, &'a Vec<i64>, ItemPointerData);

/// What nbtree wants to be told about an index while it inserts: nothing, but it wants a structure.
pub(in crate::store) struct IndexInfoBox(pub *mut pg_sys::IndexInfo);

impl IndexInfoBox {
    /// A fresh node, in the current memory context.
    pub fn new() -> Self {
        // SAFETY: makes a node in the current memory context, zeroed but for its tag.
        unsafe {
            let info: *mut pg_sys::IndexInfo =
                pg_sys::palloc0(size_of::<pg_sys::IndexInfo>()).cast();
            (*info).type_ = pg_sys::NodeTag::T_IndexInfo;
            Self(info)
        }
    }
}

impl Drop for IndexInfoBox {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: allocated by `new`, freed once.
            unsafe { pg_sys::pfree(self.0.cast()) };
        }
    }
}
