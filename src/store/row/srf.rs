//! Set-returning functions: as a tuplestore where they stand in FROM, row by row (with bounded memory)
//! where they stand in a select list.
//!
//! **Invariant:** between two rows nothing is pinned, opened or locked but by the transaction: a scan
//! that is given up, by LIMIT or by closing a cursor, is dropped with its memory context.

use std::ffi::c_void;

use pgrx::pg_sys::{self, Datum, TupleDesc};

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::pg::fmgr::Args;
use crate::store::pg::scratch::Scratch;

use super::door::Event;
use super::event::{COLUMNS, EVENT_COLUMNS};
use super::event_tuple::{self, StreamInfo, Traced};

/// Rows to be returned, some at a time.
pub trait Source {
    /// What becomes a row.
    type Item;

    /// Hands at most so many rows to `sink`, fewer where they are large; returns whether more may follow.
    ///
    /// # Errors
    /// Those of reading, and of the sink.
    fn fill(&mut self, at_most: usize, sink: &mut Sink<Self::Item>) -> Result<bool>;

    /// How many rows are best asked for together.
    fn at_once(&self) -> usize {
        ROWS_AT_ONCE
    }
}

/// Takes what a source finds.
pub type Sink<'a, T> = dyn FnMut(&T) -> Result<()> + 'a;

/// The form of a result row.
pub struct Shape<T, const N: usize> {
    /// Its columns.
    pub columns: fn(&T) -> [Option<Datum>; N],
    /// The stored row whose first columns they are, if there is one.
    pub as_stored: Option<fn(&T) -> Option<&pg_sys::HeapTupleData>>,
}

/// Events as `en57_event`.
pub const EVENTS: Shape<Event, EVENT_COLUMNS> = Shape {
    columns: event_tuple::event_columns,
    as_stored: Some(as_stored),
};
/// Events as the gem's functions return them.
pub const GEM_EVENTS: Shape<Event, 6> = Shape {
    columns: event_tuple::gem_columns,
    as_stored: None,
};
/// Streams as `en57_stream_info`.
pub const STREAMS: Shape<StreamInfo, 6> = Shape {
    columns: event_tuple::stream_columns,
    as_stored: None,
};
/// Rows of `en57_trace`.
pub const TRACE: Shape<Traced, 3> = Shape {
    columns: event_tuple::traced_columns,
    as_stored: None,
};

/// How many rows are read together, as a rule: so many are in memory at a time.
pub const ROWS_AT_ONCE: usize = 256;

/// Answers one call of a set-returning function.
///
/// # Errors
/// Those of the source; 0A000 where the caller cannot take a set.
pub fn respond<S: Source + 'static, const N: usize>(
    args: &Args,
    shape: &Shape<S::Item, N>,
    start: impl FnOnce() -> Result<S>,
) -> Result<Option<Datum>> {
    let (fcinfo, info) = (args.raw(), result_info(args)?);
    // SAFETY: `info` is valid for the call.
    let allowed = unsafe { (*info).allowedModes } as u32;
    if allowed & pg_sys::SetFunctionReturnMode::SFRM_Materialize_Preferred != 0 {
        materialize(info, shape, &mut start()?)?;
        return Ok(None);
    }
    one_by_one(fcinfo, info, shape, start)
}

/// Where the rows of a call go.
fn result_info(args: &Args) -> Result<*mut pg_sys::ReturnSetInfo> {
    // SAFETY: PostgreSQL sets resultinfo to null or a node, whose tag says which.
    unsafe {
        let info = (*args.raw()).resultinfo.cast::<pg_sys::ReturnSetInfo>();
        if info.is_null() || (*info).type_ != pg_sys::NodeTag::T_ReturnSetInfo {
            return Err(Error::new(
                SqlState::NotSupported,
                "set-valued function called in context that cannot accept a set",
            ));
        }
        Ok(info)
    }
}

/// Takes one row of a set, as the declared result has its columns.
pub type Put<'a, const N: usize> = &'a mut dyn FnMut([Option<Datum>; N]) -> Result<()>;

/// Answers a call of a function whose rows are not events, all at once.
///
/// # Errors
/// Those of `fill`; 0A000 where the caller cannot take a set.
pub fn respond_at_once<const N: usize>(
    args: &Args,
    fill: impl FnOnce(Put<N>) -> Result<()>,
) -> Result<Option<Datum>> {
    let info = result_info(args)?;
    // SAFETY: `info` is valid for the call.
    let allowed = unsafe { (*info).allowedModes } as u32;
    if allowed & pg_sys::SetFunctionReturnMode::SFRM_Materialize == 0 {
        return Err(Error::new(
            SqlState::NotSupported,
            "materialize mode required, but it is not allowed in this context",
        ));
    }
    let (store, descriptor) = begin(info);
    fill(&mut |columns| {
        let (mut values, mut nulls) = split(columns);
        // SAFETY: as many values as the declared result has columns.
        unsafe {
            assert_eq!((*descriptor).natts as usize, N, "columns of the result");
            let (values, nulls) = (values.as_mut_ptr(), nulls.as_mut_ptr());
            pg_sys::tuplestore_putvalues(store, descriptor, values, nulls);
        }
        Ok(())
    })?;
    Ok(None)
}

fn materialize<S: Source, const N: usize>(
    info: *mut pg_sys::ReturnSetInfo,
    shape: &Shape<S::Item, N>,
    source: &mut S,
) -> Result<()> {
    let (store, descriptor) = begin(info);
    let scratch = Scratch::new();
    let mut more = true;
    while more {
        more = scratch.run(|| {
            source.fill(source.at_once(), &mut |row| {
                if let Some(stored) = shape.as_stored.and_then(|stored| stored(row)) {
                    put_as_stored(store, stored);
                } else {
                    let (mut values, mut nulls) = split((shape.columns)(row));
                    // SAFETY: as many values as the declared result has columns.
                    unsafe {
                        pg_sys::tuplestore_putvalues(
                            store,
                            descriptor,
                            values.as_mut_ptr(),
                            nulls.as_mut_ptr(),
                        );
                    }
                }
                Ok(())
            })
        })?;
        scratch.reset();
    }
    Ok(())
}

/// Makes the store of a whole answer.
fn begin(info: *mut pg_sys::ReturnSetInfo) -> (*mut pg_sys::Tuplestorestate, TupleDesc) {
    let random = pg_sys::SetFunctionReturnMode::SFRM_Materialize_Random;
    // SAFETY: the tuplestore and its descriptor are made in the query's memory, as the protocol for
    // set-returning functions demands, and belong to the executor once they are in `info`.
    unsafe {
        let before = pg_sys::MemoryContextSwitchTo((*(*info).econtext).ecxt_per_query_memory);
        let store = pg_sys::tuplestore_begin_heap(
            (*info).allowedModes as u32 & random != 0,
            false,
            pg_sys::work_mem,
        );
        let descriptor = pg_sys::CreateTupleDescCopy((*info).expectedDesc);
        pg_sys::MemoryContextSwitchTo(before);
        (*info).returnMode = pg_sys::SetFunctionReturnMode::SFRM_Materialize;
        (*info).setResult = store;
        (*info).setDesc = descriptor;
        (store, descriptor)
    }
}

/// The stored row of an event, where it has become no other.
pub(in crate::store) fn as_stored(event: &Event) -> Option<&pg_sys::HeapTupleData> {
    event.stored_type.is_none().then_some(&event.stored)
}

/// A copy of an event as it is stored, in the current memory: the table's first columns are those of `en57_event`, so the row
/// need not be taken apart and formed again, which took two fifths of what `en57_read` takes.
pub(in crate::store) fn copy_of_stored(stored: &pg_sys::HeapTupleData) -> pg_sys::HeapTupleData {
    // SAFETY: the row's page is pinned; the copy is ours to change. A tuple may hold more than its number of attributes
    // says; the bitmap of 12 columns has the same length as that of 13. Where dropped columns have made it longer, the
    // header says where the data begin.
    unsafe {
        let length = stored.t_len as usize;
        let header: pg_sys::HeapTupleHeader = pg_sys::palloc(length).cast();
        std::ptr::copy_nonoverlapping(stored.t_data.cast::<u8>(), header.cast::<u8>(), length);
        let flags = (*header).t_infomask2 & !(pg_sys::HEAP_NATTS_MASK as u16);
        (*header).t_infomask2 = flags | EVENT_COLUMNS as u16;
        pg_sys::HeapTupleData {
            t_data: header,
            ..*stored
        }
    }
}

fn put_as_stored(store: *mut pg_sys::Tuplestorestate, stored: &pg_sys::HeapTupleData) {
    let mut tuple = copy_of_stored(stored);
    // SAFETY: the tuplestore copies the tuple, which is then ours to free.
    unsafe {
        pg_sys::tuplestore_puttuple(store, &mut tuple);
        pg_sys::pfree(tuple.t_data.cast());
    }
}

const _: () = assert!(EVENT_COLUMNS.div_ceil(8) == COLUMNS.div_ceil(8));

fn split<const N: usize>(columns: [Option<Datum>; N]) -> ([Datum; N], [bool; N]) {
    (
        columns.map(|c| c.unwrap_or(Datum::from(0))),
        columns.map(|c| c.is_none()),
    )
}

/// What a row-by-row answer keeps between calls.
struct State<S> {
    source: S,
    rows: Vec<Datum>,
    next: usize,
    more: bool,
    scratch: pg_sys::MemoryContext,
    descriptor: TupleDesc,
}

/// The first call of a query's: makes the state.
///
/// # Safety
/// As [`one_by_one`] does it.
unsafe fn begin_rows<S: Source + 'static>(
    fcinfo: pg_sys::FunctionCallInfo,
    info: *mut pg_sys::ReturnSetInfo,
    start: impl FnOnce() -> Result<S>,
) -> Result<()> {
    // SAFETY: the FuncCallContext protocol. The state is a Box whose drop is a callback of the memory that PostgreSQL keeps for
    // the function; it holds no resource of PostgreSQL's.
    unsafe {
        let context = pg_sys::init_MultiFuncCall(fcinfo);
        let memory = (*context).multi_call_memory_ctx;
        let before = pg_sys::MemoryContextSwitchTo(memory);
        let descriptor = pg_sys::BlessTupleDesc(pg_sys::CreateTupleDescCopy((*info).expectedDesc));
        let scratch = pg_sys::AllocSetContextCreateInternal(
            memory,
            c"en57 rows".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        );
        let callback: *mut pg_sys::MemoryContextCallback =
            pg_sys::palloc0(size_of::<pg_sys::MemoryContextCallback>()).cast();
        pg_sys::MemoryContextSwitchTo(before);
        let state = Box::into_raw(Box::new(State {
            source: start()?,
            rows: Vec::new(),
            next: 0,
            more: true,
            scratch,
            descriptor,
        }));
        (*callback).func = Some(forget::<S>);
        (*callback).arg = state.cast();
        pg_sys::MemoryContextRegisterResetCallback(memory, callback);
        (*context).user_fctx = state.cast();
        Ok(())
    }
}

fn one_by_one<S: Source + 'static, const N: usize>(
    fcinfo: pg_sys::FunctionCallInfo,
    info: *mut pg_sys::ReturnSetInfo,
    shape: &Shape<S::Item, N>,
    start: impl FnOnce() -> Result<S>,
) -> Result<Option<Datum>> {
    // SAFETY: the FuncCallContext protocol: made at the first call, kept by PostgreSQL in the function's
    // own memory, deleted with the query or at the end.
    unsafe {
        if (*(*fcinfo).flinfo).fn_extra.is_null() {
            begin_rows(fcinfo, info, start)?;
        }
        let context = pg_sys::per_MultiFuncCall(fcinfo);
        let state = &mut *(*context).user_fctx.cast::<State<S>>();
        while state.next >= state.rows.len() && state.more {
            state.refill(shape)?;
        }
        if let Some(row) = state.rows.get(state.next) {
            state.next += 1;
            (*info).isDone = pg_sys::ExprDoneCond::ExprMultipleResult;
            return Ok(Some(*row));
        }
        pg_sys::end_MultiFuncCall(fcinfo, context);
        (*info).isDone = pg_sys::ExprDoneCond::ExprEndResult;
        Ok(None)
    }
}

impl<S: Source> State<S> {
    fn refill<const N: usize>(&mut self, shape: &Shape<S::Item, N>) -> Result<()> {
        let (descriptor, rows) = (self.descriptor, &mut self.rows);
        rows.clear();
        self.next = 0;
        // SAFETY: the rows handed out before are no longer used: the executor asked for the next one.
        // The context lives as long as the state.
        unsafe {
            pg_sys::MemoryContextReset(self.scratch);
            let before = pg_sys::MemoryContextSwitchTo(self.scratch);
            self.more = self.source.fill(self.source.at_once(), &mut |row| {
                let (mut values, mut nulls) = split((shape.columns)(row));
                let tuple =
                    pg_sys::heap_form_tuple(descriptor, values.as_mut_ptr(), nulls.as_mut_ptr());
                rows.push(pg_sys::HeapTupleHeaderGetDatum((*tuple).t_data));
                Ok(())
            })?;
            pg_sys::MemoryContextSwitchTo(before);
        }
        Ok(())
    }
}

/// Called when the function's memory goes.
unsafe extern "C-unwind" fn forget<S>(state: *mut c_void) {
    // SAFETY: the Box that one_by_one leaked; the callback is called once.
    unsafe { drop(Box::from_raw(state.cast::<State<S>>())) };
}
