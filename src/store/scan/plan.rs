//! The plan node of a scan: what of it is known when the query is planned.

use std::ptr;

use pgrx::pg_sys::{
    self, CustomPath, CustomScan, FuncExpr, List, Node, NodeTag, Oid, Plan, PlannerInfo,
    RelOptInfo, RestrictInfo,
};

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::index::entry::Direction;
use crate::store::pg::guard;
use crate::store::row::event::{COLUMN_TYPES, EVENT_COLUMNS};

use super::condition::{Condition, Kind};
use super::{Scanned, exec, list, path};

/// Tables of functions that PostgreSQL calls. They never change.
pub(super) struct Methods<T>(pub T);

// SAFETY: they are read only.
unsafe impl<T> Sync for Methods<T> {}

/// The name that EXPLAIN shows.
const NAME: *const std::ffi::c_char = c"en57".as_ptr();

/// How a path becomes a plan.
pub(super) static METHODS: Methods<pg_sys::CustomPathMethods> =
    Methods(pg_sys::CustomPathMethods {
        CustomName: NAME,
        PlanCustomPath: Some(plan),
        ReparameterizeCustomPathByChild: None,
    });

/// How a plan becomes what is executed.
pub(super) static SCAN_METHODS: Methods<pg_sys::CustomScanMethods> =
    Methods(pg_sys::CustomScanMethods {
        CustomName: NAME,
        CreateCustomScanState: Some(exec::create),
    });

/// What is written down beside the expressions, as a list of numbers. The first expression is the call; so PostgreSQL knows
/// that the plan depends on the function. Those behind it are the conditions that bound the scan.
pub(super) struct Written {
    /// The order of the rows, where it is not that of the call.
    pub direction: Option<Direction>,
    /// Whether somebody asks for rows as a whole.
    pub whole: bool,
    /// The last column that somebody asks for, from 1; 0 if none.
    pub last_column: usize,
    /// Of each condition: its kind, which of its arguments is the value, and the value's type.
    pub conditions: Vec<(Kind, usize, Oid)>,
}

impl Written {
    /// How many numbers there are before those of the conditions.
    const FIXED: usize = 3;

    unsafe fn to_list(&self) -> *mut List {
        let mut numbers = vec![
            path::to_number(self.direction),
            i32::from(self.whole),
            self.last_column as i32,
        ];
        for (kind, side, of_type) in &self.conditions {
            numbers.extend([*kind as i32, *side as i32, of_type.to_u32().cast_signed()]);
        }
        // SAFETY: within the planner's guard.
        unsafe { list::of_numbers(&numbers) }
    }

    /// What a plan says.
    ///
    /// # Safety
    /// A scan that [`plan`] has made.
    pub unsafe fn of(scan: *const CustomScan) -> Self {
        // SAFETY: the caller's contract.
        unsafe {
            let list = (*scan).custom_private;
            let number = |n| list::number(list, n);
            let oid = |n| Oid::from(number(n).cast_unsigned());
            let conditions = (Self::FIXED..list::length(list)).step_by(3);
            Self {
                direction: path::from_number(number(0)),
                whole: number(1) != 0,
                last_column: number(2) as usize,
                conditions: conditions
                    .map(|n| {
                        (
                            Kind::of_number(number(n)),
                            number(n + 1) as usize,
                            oid(n + 2),
                        )
                    })
                    .collect(),
            }
        }
    }
}

/// The call of a plan, and the conditions that bound it.
///
/// # Safety
/// A scan that [`plan`] has made.
pub(super) unsafe fn expressions(scan: *const CustomScan) -> (*mut FuncExpr, Vec<*mut Node>) {
    // SAFETY: the caller's contract.
    unsafe {
        let mut all = list::nodes::<Node>((*scan).custom_exprs);
        let call = all.next().unwrap_or(ptr::null_mut());
        (call.cast(), all.collect())
    }
}

/// The function of an entry point.
///
/// # Errors
/// 55000 if it is not one that can be scanned.
pub(super) fn scanned(entry: pg_sys::PGFunction) -> Result<&'static Scanned> {
    path::by_entry(entry).ok_or_else(|| {
        let message = "the function of a scan has changed since the query was planned";
        Error::new(SqlState::NotInPrerequisiteState, message).hint("Plan the query again.")
    })
}

unsafe extern "C-unwind" fn plan(
    root: *mut PlannerInfo,
    rel: *mut RelOptInfo,
    best: *mut CustomPath,
    target: *mut List,
    clauses: *mut List,
    _: *mut List,
) -> *mut Plan {
    // SAFETY: called by the planner with a path of ours; this frame holds nothing.
    unsafe { guard::call(|| node(root, rel, best, target, clauses)) }
}

unsafe fn node(
    root: *mut PlannerInfo,
    rel: *mut RelOptInfo,
    best: *mut CustomPath,
    target: *mut List,
    clauses: *mut List,
) -> Result<*mut Plan> {
    // SAFETY: the planner's structures; the new node is in its memory.
    unsafe {
        let entry = *(*root).simple_rte_array.add((*rel).relid as usize);
        let Some((call, _)) = path::call_of(entry) else {
            return Err(Error::new(SqlState::Internal, "a scan of something else"));
        };
        let conditions = pg_sys::extract_actual_clauses(clauses, false);
        let mut used = ptr::null_mut();
        // Not the target list of this node: PostgreSQL may give it another one, of the same columns.
        let asked_for = (*(*rel).reltarget).exprs;
        pg_sys::pull_varattnos(asked_for.cast(), (*rel).relid, &mut used);
        pg_sys::pull_varattnos(conditions.cast(), (*rel).relid, &mut used);
        let is_used = |attribute: i32| {
            pg_sys::bms_is_member(attribute - pg_sys::FirstLowInvalidHeapAttributeNumber, used)
        };
        let mut expressions = list::push(ptr::null_mut(), call);
        let mut bounding = Vec::new();
        for clause in list::nodes::<RestrictInfo>(clauses) {
            if let Some(found) = Condition::of(root, clause, rel, call) {
                bounding.push((found.kind, found.side, found.of_type));
                expressions = list::push(expressions, found.whole);
            }
        }
        let written = Written {
            direction: path::from_number(list::number((*best).custom_private, 0)),
            whole: is_used(0),
            last_column: (1..=EVENT_COLUMNS)
                .rfind(|n| is_used(*n as i32))
                .unwrap_or(0),
            conditions: bounding,
        };
        let node = pg_sys::palloc0(size_of::<CustomScan>()).cast::<CustomScan>();
        (*node).scan.plan.type_ = NodeTag::T_CustomScan;
        (*node).scan.plan.targetlist = target;
        (*node).scan.plan.qual = conditions;
        // No table: PostgreSQL would open one.
        (*node).scan.scanrelid = 0;
        (*node).flags = (*best).flags;
        (*node).custom_exprs = expressions;
        (*node).custom_private = written.to_list();
        (*node).custom_scan_tlist = columns(rel, call, written.whole);
        (*node).methods = &SCAN_METHODS.0;
        Ok(node.cast())
    }
}

/// The columns of the rows that the scan makes: those of an event, and perhaps the event as a whole.
unsafe fn columns(rel: *mut RelOptInfo, call: *mut FuncExpr, whole: bool) -> *mut List {
    // SAFETY: the nodes are in the planner's memory.
    unsafe {
        let mut columns = ptr::null_mut();
        let mut add = |number: usize, attribute: i16, of_type: Oid| {
            let relation = (*rel).relid as i32;
            let collation = pg_sys::get_typcollation(of_type);
            let column = pg_sys::makeVar(relation as _, attribute, of_type, -1, collation, 0);
            let entry =
                pg_sys::makeTargetEntry(column.cast(), number as i16, ptr::null_mut(), false);
            columns = list::push(columns, entry);
        };
        for (n, of_type) in COLUMN_TYPES.iter().enumerate().take(EVENT_COLUMNS) {
            add(n + 1, n as i16 + 1, *of_type);
        }
        if whole {
            add(EVENT_COLUMNS + 1, 0, (*call).funcresulttype);
        }
        columns
    }
}
