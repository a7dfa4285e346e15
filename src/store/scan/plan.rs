//! The plan node of a scan: what of it is known when the query is planned.

use std::ptr;

use pgrx::pg_sys::{
    self, CustomPath, CustomScan, FuncExpr, List, Node, NodeTag, Oid, OpExpr, Plan, PlannerInfo,
    RelOptInfo, RestrictInfo, Var,
};

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::index::entry::Direction;
use crate::store::pg::guard;
use crate::store::row::event::{COLUMN_TYPES, Column, EVENT_COLUMNS};

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

/// What compares the position with something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
}

impl Comparison {
    const ALL: [Self; 5] = [
        Self::Less,
        Self::LessOrEqual,
        Self::Equal,
        Self::GreaterOrEqual,
        Self::Greater,
    ];

    /// The one with the sides exchanged.
    fn turned(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Equal => Self::Equal,
            Self::GreaterOrEqual => Self::LessOrEqual,
            Self::Greater => Self::Less,
        }
    }

    /// By the number of a strategy of B-trees.
    fn of_strategy(strategy: i32) -> Option<Self> {
        let n = usize::try_from(strategy).ok()?.checked_sub(1)?;
        Self::ALL.get(n).copied()
    }

    /// As SQL writes it.
    pub(super) const fn sign(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Equal => "=",
            Self::GreaterOrEqual => ">=",
            Self::Greater => ">",
        }
    }

    /// What positions it leaves: behind the first one, not behind the second one.
    pub(super) fn range(self, value: i64) -> (i64, i64) {
        match self {
            Self::Less => (0, value.saturating_sub(1)),
            Self::LessOrEqual => (0, value),
            Self::Equal => (value.saturating_sub(1), value),
            Self::GreaterOrEqual => (value.saturating_sub(1), i64::MAX),
            Self::Greater => (value, i64::MAX),
        }
    }
}

/// A condition that bounds the position.
#[derive(Clone, Copy)]
pub(super) struct Bound {
    /// How the position is compared with the value.
    pub comparison: Comparison,
    /// What the position is compared with: the same for all rows of a scan.
    pub value: *mut Node,
    /// Its type.
    pub of_type: Oid,
}

impl Bound {
    /// The bound that a condition sets on a scan of this call. Where the call limits the number of events, none: the condition
    /// holds for those that are left.
    ///
    /// # Safety
    /// A condition, a relation and a call of the planner's.
    pub unsafe fn of(
        root: *mut PlannerInfo,
        clause: *mut RestrictInfo,
        rel: *const RelOptInfo,
        call: *mut FuncExpr,
    ) -> Option<Self> {
        // SAFETY: the caller's contract; each node's tag says what it is.
        unsafe {
            let compared = path::expression(clause).cast::<OpExpr>();
            if (*compared).xpr.type_ != NodeTag::T_OpExpr || path::is_limited(call) {
                return None;
            }
            let mut sides = list::nodes::<Node>((*compared).args);
            let (left, right) = (sides.next()?, sides.next()?);
            let family = pg_sys::INTEGER_BTREE_FAM_OID;
            let comparison = Comparison::of_strategy(pg_sys::get_op_opfamily_strategy(
                (*compared).opno,
                family,
            ))?;
            let (value, comparison) = if is_position(left, rel) {
                (right, comparison)
            } else if is_position(right, rel) {
                (left, comparison.turned())
            } else {
                return None;
            };
            let of_type = pg_sys::exprType(value);
            let is_known = [pg_sys::INT8OID, pg_sys::INT4OID, pg_sys::INT2OID].contains(&of_type);
            let own = pg_sys::pull_varnos(root, value);
            let is_fixed = !pg_sys::bms_is_member((*rel).relid as i32, own)
                && !pg_sys::contain_volatile_functions(value)
                && !pg_sys::contain_subplans(value);
            (is_known && is_fixed).then_some(Self {
                comparison,
                value,
                of_type,
            })
        }
    }
}

unsafe fn is_position(side: *const Node, rel: *const RelOptInfo) -> bool {
    // SAFETY: a node, whose tag says what it is.
    unsafe {
        let column = side.cast::<Var>();
        (*side).type_ == NodeTag::T_Var
            && path::is_column(column, rel)
            && (*column).varattno == Column::Position.attribute()
    }
}

/// What is written down beside the expressions, as a list of numbers. The first expression is the call; so PostgreSQL knows
/// that the plan depends on the function. Those behind it are the values of bounds.
pub(super) struct Written {
    /// The order of the rows, where it is not that of the call.
    pub direction: Option<Direction>,
    /// Whether somebody asks for rows as a whole.
    pub whole: bool,
    /// The last column that somebody asks for, from 1; 0 if none.
    pub last_column: usize,
    /// What bounds the position, with the type of the value.
    pub bounds: Vec<(Comparison, Oid)>,
}

impl Written {
    /// How many numbers there are before those of the bounds.
    const FIXED: usize = 3;

    unsafe fn to_list(&self) -> *mut List {
        let mut numbers = vec![
            path::to_number(self.direction),
            i32::from(self.whole),
            self.last_column as i32,
        ];
        for (comparison, of_type) in &self.bounds {
            numbers.extend([*comparison as i32, of_type.to_u32().cast_signed()]);
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
            let bounds = (Self::FIXED..list::length(list)).step_by(2);
            Self {
                direction: path::from_number(number(0)),
                whole: number(1) != 0,
                last_column: number(2) as usize,
                bounds: bounds
                    .map(|n| (Comparison::ALL[number(n) as usize], oid(n + 1)))
                    .collect(),
            }
        }
    }
}

/// The call of a plan, and the values of its bounds.
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
        let mut bounds = Vec::new();
        for clause in list::nodes::<RestrictInfo>(clauses) {
            if let Some(bound) = Bound::of(root, clause, rel, call) {
                bounds.push((bound.comparison, bound.of_type));
                expressions = list::push(expressions, bound.value);
            }
        }
        let written = Written {
            direction: path::from_number(list::number((*best).custom_private, 0)),
            whole: is_used(0),
            last_column: (1..=EVENT_COLUMNS)
                .rfind(|n| is_used(*n as i32))
                .unwrap_or(0),
            bounds,
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
