//! A scan under way.
//!
//! **Invariant:** as in [`crate::store::row::srf`], nothing is pinned, opened or locked between two rows but by the
//! transaction. What it keeps is memory of the query's, and goes with it.

use std::ffi::{c_int, c_void};

use pgrx::pg_sys::{
    self, Bitmapset, CustomScan, CustomScanState, Datum, EState, ExprState, FunctionCallInfo,
    HeapTupleData, Node, NodeTag, Oid, ScanState, TupleDesc, TupleTableSlot,
};

use crate::dcb::error::Result;
use crate::store::pg::composite::RowType;
use crate::store::pg::fmgr::Args;
use crate::store::pg::guard;
use crate::store::row::door::Event;
use crate::store::row::event::EVENT_COLUMNS;
use crate::store::row::{event_tuple, srf};

use super::plan::{self, Methods, Written};
use super::{Bounds, Scan, Scanned, Told, condition, explain, list};

/// How many rows are read at first: a query with a LIMIT may need no more.
const FIRST_ROWS: usize = 16;

static METHODS: Methods<pg_sys::CustomExecMethods> = Methods(pg_sys::CustomExecMethods {
    CustomName: c"en57".as_ptr(),
    BeginCustomScan: Some(begin),
    ExecCustomScan: Some(execute),
    EndCustomScan: Some(end),
    ReScanCustomScan: Some(again),
    MarkPosCustomScan: None,
    RestrPosCustomScan: None,
    EstimateDSMCustomScan: None,
    InitializeDSMCustomScan: None,
    ReInitializeDSMCustomScan: None,
    InitializeWorkerCustomScan: None,
    ShutdownCustomScan: None,
    ExplainCustomScan: Some(explain::explain),
});

// PostgreSQL's functions without pgrx's guard: they run where no Rust frame holds anything, and an error passes through.
mod raw {
    use std::ffi::c_void;

    use pgrx::pg_sys::{ExecScanAccessMtd, ExecScanRecheckMtd, Node, ScanState, TupleTableSlot};

    /// Looks at a node, and says whether it has seen enough.
    pub type Walker = unsafe extern "C-unwind" fn(node: *mut Node, context: *mut c_void) -> bool;

    unsafe extern "C-unwind" {
        #[cfg(feature = "pg15")]
        #[link_name = "expression_tree_walker"]
        pub fn walk_expression(node: *mut Node, walker: Walker, context: *mut c_void) -> bool;
        #[cfg(not(feature = "pg15"))]
        #[link_name = "expression_tree_walker_impl"]
        pub fn walk_expression(node: *mut Node, walker: Walker, context: *mut c_void) -> bool;
        pub fn ExecScan(
            node: *mut ScanState,
            access: ExecScanAccessMtd,
            recheck: ExecScanRecheckMtd,
        ) -> *mut TupleTableSlot;
    }
}

/// The node. PostgreSQL knows its first field.
#[repr(C)]
pub(super) struct State {
    node: CustomScanState,
    /// Made by [`begin`]. Its drop is a callback of the query's memory.
    work: *mut Work,
}

/// What a scan has.
pub(super) struct Work {
    /// What the plan says.
    pub written: Written,
    scanned: &'static Scanned,
    /// The call of the function, whose arguments are filled in when the scan starts.
    call: FunctionCallInfo,
    arguments: Vec<*mut ExprState>,
    values: Vec<*mut ExprState>,
    /// The parameters of the arguments that can change while the plan is executed.
    parameters: *mut Bitmapset,
    /// `None` until the first row is asked for.
    pub source: Option<Box<dyn Scan>>,
    /// Whether it is to begin again before the next row.
    begins: bool,
    rows: Vec<HeapTupleData>,
    next: usize,
    more: bool,
    at_once: usize,
    /// Where the rows are.
    scratch: pg_sys::MemoryContext,
    /// The events' type. Its values are made by PostgreSQL's own description of it: newer minor releases write versions of the
    /// columns into them, which a copy of the description does not have.
    row_type: Oid,
    /// Its columns, as rows of no named type, which have no versions.
    rows_of: TupleDesc,
    /// The same without those behind the last one that somebody asks for. They are NULL in the slot.
    narrow: TupleDesc,
    /// What other calls have looked at.
    before: Told,
}

/// What the node works with.
///
/// # Safety
/// A node that [`begin`] has seen.
pub(super) unsafe fn work<'w>(node: *mut CustomScanState) -> Option<&'w mut Work> {
    // SAFETY: the caller's contract. It is this process's alone, and used by one function of this module at a time.
    unsafe { (*node.cast::<State>()).work.as_mut() }
}

/// Makes the node of a scan. [`begin`] makes it ready.
pub(super) unsafe extern "C-unwind" fn create(_: *mut CustomScan) -> *mut Node {
    // SAFETY: a new node; an error for want of memory passes through a frame that holds nothing.
    unsafe {
        let state = pg_sys::palloc0(size_of::<State>()).cast::<State>();
        (*state).node.ss.ps.type_ = NodeTag::T_CustomScanState;
        (*state).node.methods = &METHODS.0;
        state.cast()
    }
}

unsafe extern "C-unwind" fn begin(node: *mut CustomScanState, estate: *mut EState, _: c_int) {
    // SAFETY: called by the executor in the query's memory; this frame holds nothing.
    unsafe { guard::call(|| prepare(node, estate)) }
}

unsafe fn prepare(node: *mut CustomScanState, estate: *mut EState) -> Result<()> {
    // SAFETY: the executor's structures. What is made here is in the query's memory.
    unsafe {
        let scan = (*node).ss.ps.plan.cast::<CustomScan>();
        let (function, conditions) = plan::expressions(scan);
        let memory = (*estate).es_query_cxt;
        let info = pg_sys::palloc0(size_of::<pg_sys::FmgrInfo>()).cast::<pg_sys::FmgrInfo>();
        demand_execute((*function).funcid);
        pg_sys::fmgr_info_cxt((*function).funcid, info, memory);
        let prepared = |expression| pg_sys::ExecInitExpr(expression, node.cast());
        let arguments: Vec<_> = list::nodes((*function).args).map(prepared).collect();
        let size = size_of::<pg_sys::FunctionCallInfoBaseData>()
            + arguments.len() * size_of::<pg_sys::NullableDatum>();
        let call = pg_sys::palloc0(size).cast::<pg_sys::FunctionCallInfoBaseData>();
        (*call).flinfo = info;
        (*call).fncollation = (*function).inputcollid;
        (*call).nargs = arguments.len() as i16;
        let written = Written::of(scan);
        let sides = written.conditions.iter().map(|(_, side, _)| *side);
        let values = conditions.into_iter().zip(sides);
        let values = values
            .map(|(whole, side)| prepared(condition::value(whole, side).cast()))
            .collect();
        let row_type = (*function).funcresulttype;
        let rows_of = columns_of(row_type, EVENT_COLUMNS);
        let narrow = columns_of(row_type, written.last_column);
        std::slice::from_raw_parts_mut((*(*node).ss.ss_ScanTupleSlot).tts_isnull, EVENT_COLUMNS)
            .fill(true);
        let scratch = pg_sys::AllocSetContextCreateInternal(
            memory,
            c"en57 scan".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        );
        let work = Box::new(Work {
            scanned: plan::scanned((*info).fn_addr)?,
            row_type,
            rows_of,
            narrow,
            written,
            call,
            arguments,
            values,
            parameters: parameters(function.cast()),
            before: Told::default(),
            source: None,
            begins: true,
            rows: Vec::new(),
            next: 0,
            more: true,
            at_once: FIRST_ROWS,
            scratch,
        });
        let callback =
            pg_sys::MemoryContextAlloc(memory, size_of::<pg_sys::MemoryContextCallback>())
                .cast::<pg_sys::MemoryContextCallback>();
        let work = Box::into_raw(work);
        (*callback).func = Some(forget);
        (*callback).arg = work.cast();
        pg_sys::MemoryContextRegisterResetCallback(memory, callback);
        (*node.cast::<State>()).work = work;
        Ok(())
    }
}

/// The parameters of an expression that one part of a plan sets for another one. Those of the statement do not change.
unsafe fn parameters(expression: *mut Node) -> *mut Bitmapset {
    unsafe extern "C-unwind" fn walker(node: *mut Node, found: *mut c_void) -> bool {
        // SAFETY: called with the nodes of an expression, whose tags say what they are, and with a set.
        unsafe {
            if node.is_null() {
                return false;
            }
            let parameter = node.cast::<pg_sys::Param>();
            if (*node).type_ == NodeTag::T_Param
                && (*parameter).paramkind == pg_sys::ParamKind::PARAM_EXEC
            {
                let found = found.cast::<*mut Bitmapset>();
                *found = pg_sys::bms_add_member(*found, (*parameter).paramid);
                return false;
            }
            raw::walk_expression(node, walker, found)
        }
    }
    let mut found: *mut Bitmapset = std::ptr::null_mut();
    // SAFETY: an expression. An error for want of memory passes through frames that hold nothing.
    unsafe {
        pg_sys::ffi::pg_guard_ffi_boundary(|| walker(expression, (&raw mut found).cast()));
    }
    found
}

/// Called when the query's memory goes.
unsafe extern "C-unwind" fn forget(work: *mut c_void) {
    // SAFETY: the Box that `prepare` leaked; the callback is called once.
    unsafe { drop(Box::from_raw(work.cast::<Work>())) };
}

/// The first columns of a row type, as those of rows of no named type.
unsafe fn columns_of(row_type: Oid, count: usize) -> TupleDesc {
    // SAFETY: the type has so many columns, as the planner has seen; the new description is in the current memory.
    unsafe {
        let described = RowType::of(row_type);
        let columns = pg_sys::CreateTemplateTupleDesc(count as i32);
        for n in 1..=count as i16 {
            pg_sys::TupleDescCopyEntry(columns, n, described.raw(), n);
        }
        columns
    }
}

/// As the executor demands it of who calls the function.
fn demand_execute(function: Oid) {
    // SAFETY: looks at the catalogs, and raises PostgreSQL's own error.
    unsafe {
        let mode = pg_sys::AclMode::from(pg_sys::ACL_EXECUTE);
        #[cfg(feature = "pg15")]
        let answer = pg_sys::pg_proc_aclcheck(function, pg_sys::GetUserId(), mode);
        #[cfg(not(feature = "pg15"))]
        let answer = pg_sys::object_aclcheck(
            pg_sys::ProcedureRelationId,
            function,
            pg_sys::GetUserId(),
            mode,
        );
        if answer != pg_sys::AclResult::ACLCHECK_OK {
            let kind = pg_sys::ObjectType::OBJECT_FUNCTION;
            pg_sys::aclcheck_error(answer, kind, pg_sys::get_func_name(function));
        }
        let hook = pg_sys::object_access_hook;
        if hook.is_some() {
            pg_sys::RunFunctionExecuteHook(function);
        }
    }
}

unsafe extern "C-unwind" fn execute(node: *mut CustomScanState) -> *mut TupleTableSlot {
    // SAFETY: the executor's own loop over conditions and projection.
    unsafe { raw::ExecScan(node.cast(), Some(next_row), Some(is_still_right)) }
}

/// A row is to be looked at once more, in another version (EvalPlanQual). No scan has such rows: the planner is offered none
/// where that may be wanted. But minor releases of before August 2025 ask this of all that belongs to no table, also within
/// a subquery; there the next row is meant.
unsafe extern "C-unwind" fn is_still_right(node: *mut ScanState, _: *mut TupleTableSlot) -> bool {
    // SAFETY: called by the executor, as `next_row` is.
    unsafe { u32::from((*next_row(node)).tts_flags) & pg_sys::TTS_FLAG_EMPTY == 0 }
}

unsafe extern "C-unwind" fn next_row(node: *mut ScanState) -> *mut TupleTableSlot {
    // SAFETY: called by the executor; this frame holds nothing.
    unsafe {
        let slot = (*node).ss_ScanTupleSlot;
        let Some(work) = work(node.cast()) else {
            return slot;
        };
        if work.next >= work.rows.len() {
            guard::call(|| work.refill((*node).ps.ps_ExprContext));
        }
        guard::call(|| work.put_next(slot));
        slot
    }
}

impl Work {
    /// What the first argument is.
    pub fn subject(&self) -> &'static std::ffi::CStr {
        self.scanned.subject
    }

    /// What it has looked at, all in all.
    pub fn told(&self) -> Told {
        let Some(source) = &self.source else {
            return self.before;
        };
        let now = source.told();
        Told {
            entries: self.before.entries + now.entries,
            rows: self.before.rows + now.rows,
            ..now
        }
    }

    /// Reads the next rows.
    unsafe fn refill(&mut self, context: *mut pg_sys::ExprContext) -> Result<()> {
        self.next = 0;
        self.rows.clear();
        if self.begins {
            // SAFETY: the executor's context for expressions. The rows of before are no longer used.
            unsafe {
                pg_sys::MemoryContextReset(self.scratch);
                let before = pg_sys::MemoryContextSwitchTo(self.scratch);
                self.begin(context)?;
                pg_sys::MemoryContextSwitchTo(before);
            }
            self.begins = false;
        }
        let (rows_of, rows) = (self.rows_of, &mut self.rows);
        let Some(source) = &mut self.source else {
            return Ok(());
        };
        // SAFETY: the rows handed out before are no longer used: the executor has asked for the next one. The memory lives
        // as long as this.
        unsafe {
            pg_sys::MemoryContextReset(self.scratch);
            let before = pg_sys::MemoryContextSwitchTo(self.scratch);
            while self.more && rows.is_empty() {
                let most = source.at_once();
                self.more = source.fill(self.at_once.min(most), &mut |event| {
                    rows.push(copied(event, rows_of));
                    Ok(())
                })?;
                self.at_once = self.at_once.saturating_mul(4).min(most);
            }
            pg_sys::MemoryContextSwitchTo(before);
        }
        Ok(())
    }

    /// Puts the next row into the slot, or nothing at the end.
    unsafe fn put_next(&mut self, slot: *mut TupleTableSlot) -> Result<()> {
        // SAFETY: the slot has the columns that the plan says, and keeps no copy; the row stays where it is until the
        // executor asks for the next one.
        unsafe {
            pg_sys::ExecClearTuple(slot);
            let Some(row) = self.rows.get_mut(self.next) else {
                return Ok(());
            };
            self.next += 1;
            let (values, nulls) = ((*slot).tts_values, (*slot).tts_isnull);
            pg_sys::heap_deform_tuple(row, self.narrow, values, nulls);
            if self.written.whole {
                let before = pg_sys::MemoryContextSwitchTo(self.scratch);
                let row_type = RowType::of(self.row_type);
                *values.add(EVENT_COLUMNS) = pg_sys::heap_copy_tuple_as_datum(row, row_type.raw());
                *nulls.add(EVENT_COLUMNS) = false;
                pg_sys::MemoryContextSwitchTo(before);
            }
            pg_sys::ExecStoreVirtualTuple(slot);
        }
        Ok(())
    }

    /// Calls the function, so to speak; or begins again with what the call has returned.
    unsafe fn begin(&mut self, context: *mut pg_sys::ExprContext) -> Result<()> {
        // SAFETY: the arguments are evaluated as the executor does it. Those of types that are passed by reference live until
        // the next row is asked for, which is longer than the start.
        unsafe {
            if self.source.is_none() {
                for (n, argument) in self.arguments.iter().enumerate() {
                    let at = (*self.call).args.as_mut_ptr().add(n);
                    let (value, isnull) = evaluated(*argument, context);
                    *at = pg_sys::NullableDatum { value, isnull };
                }
                self.source = Some((self.scanned.start)(&Args::of(self.call))?);
            }
            let bounds = self.bounds(context);
            if let Some(source) = &mut self.source {
                source.begin(bounds);
            }
        }
        Ok(())
    }

    /// What the query asks for, of what the call returns.
    unsafe fn bounds(&self, context: *mut pg_sys::ExprContext) -> Bounds {
        let mut bounds = Bounds {
            direction: self.written.direction,
            ..Bounds::default()
        };
        for ((kind, _, of_type), value) in self.written.conditions.iter().zip(&self.values) {
            // SAFETY: as for the arguments.
            unsafe {
                let (value, is_null) = evaluated(*value, context);
                if !is_null {
                    bounds.bound(*kind, value, *of_type);
                }
            }
        }
        bounds
    }
}

unsafe fn evaluated(
    expression: *mut ExprState,
    context: *mut pg_sys::ExprContext,
) -> (Datum, bool) {
    let mut is_null = false;
    // SAFETY: a prepared expression, evaluated in the memory of the row, inside a guard.
    unsafe {
        let value = pg_sys::ExecEvalExprSwitchContext(expression, context, &mut is_null);
        (value, is_null)
    }
}

/// A copy of an event as a row of its type, in the current memory. As it is stored, if it has no other form: see
/// [`crate::store::row::srf`].
unsafe fn copied(event: &Event, rows_of: TupleDesc) -> HeapTupleData {
    if let Some(stored) = srf::as_stored(event) {
        return srf::copy_of_stored(stored);
    }
    let columns = event_tuple::event_columns(event);
    let mut values = columns.map(|c| c.unwrap_or(Datum::from(0)));
    let mut nulls = columns.map(|c| c.is_none());
    // SAFETY: as many values as the description has columns.
    unsafe { *pg_sys::heap_form_tuple(rows_of, values.as_mut_ptr(), nulls.as_mut_ptr()) }
}

unsafe extern "C-unwind" fn end(node: *mut CustomScanState) {
    // SAFETY: called by the executor, once. The rest goes with the query's memory.
    unsafe {
        if let Some(work) = work(node) {
            guard::call(|| {
                work.source = None;
                work.rows = Vec::new();
                Ok(())
            });
        }
    }
}

unsafe extern "C-unwind" fn again(node: *mut CustomScanState) {
    // SAFETY: called by the executor. Expressions are evaluated again by the first row of the scan.
    unsafe {
        guard::call(|| {
            pg_sys::ExecScanReScan(&mut (*node).ss);
            let Some(work) = work(node) else {
                return Ok(());
            };
            work.next = 0;
            work.rows.clear();
            work.more = true;
            work.begins = true;
            work.at_once = FIRST_ROWS;
            // Otherwise it returns the same as before, as a function does that is called once.
            if pg_sys::bms_overlap(work.parameters, (*node).ss.ps.chgParam) {
                work.before = work.told();
                work.source = None;
            }
            Ok(())
        });
    }
}
