//! What the planner is offered: a path for each order that is of use.

use std::cell::Cell;
use std::sync::OnceLock;

use pgrx::pg_sys::{
    self, CustomPath, FuncExpr, Node, NodeTag, PathKey, PlannerInfo, RangeTblEntry,
    RangeTblFunction, RelOptInfo, RestrictInfo, Var,
};

use crate::dcb::error::Result;
use crate::store::index::entry::Direction;
use crate::store::pg::{guard, settings};
use crate::store::row::event::EVENT_COLUMNS;

use super::condition::Condition;
use super::plan::METHODS;
use super::{BACKWARDS, MAX_COUNT, Scanned, list};

/// The oid of the language `c` in pg_language.dat.
const C_LANGUAGE: pg_sys::Oid = pg_sys::Oid::from_u32(13);

static SCANNED: OnceLock<&'static [Scanned]> = OnceLock::new();

thread_local! {
    static PREVIOUS: Cell<pg_sys::set_rel_pathlist_hook_type> = const { Cell::new(None) };
}

/// Offers scans of these functions from now on. Called once, when the library is loaded.
pub fn install(scanned: &'static [Scanned]) {
    if SCANNED.set(scanned).is_err() {
        return;
    }
    // SAFETY: the hook is a variable of this process, read by the planner alone. The methods are static.
    unsafe {
        PREVIOUS.set(pg_sys::set_rel_pathlist_hook);
        pg_sys::set_rel_pathlist_hook = Some(offer);
        pg_sys::RegisterCustomScanMethods(&super::plan::SCAN_METHODS.0);
    }
}

/// The function of an entry point.
pub(super) fn by_entry(entry: pg_sys::PGFunction) -> Option<&'static Scanned> {
    let mut scanned = SCANNED.get()?.iter();
    scanned.find(|s| entry.is_some_and(|e| std::ptr::fn_addr_eq(e, s.entry)))
}

unsafe extern "C-unwind" fn offer(
    root: *mut PlannerInfo,
    rel: *mut RelOptInfo,
    number: pg_sys::Index,
    entry: *mut RangeTblEntry,
) {
    // SAFETY: the planner's own structures, valid for the call; this frame holds nothing.
    unsafe {
        if let Some(previous) = PREVIOUS.get() {
            previous(root, rel, number, entry);
        }
        if (*entry).rtekind == pg_sys::RTEKind::RTE_FUNCTION && settings::scans() {
            guard::call(|| add_paths(root, rel, entry));
        }
    }
}

/// The call of a function in FROM, if it can be scanned.
///
/// # Safety
/// An entry of kind RTE_FUNCTION.
pub(super) unsafe fn call_of(
    entry: *mut RangeTblEntry,
) -> Option<(*mut FuncExpr, &'static Scanned)> {
    // SAFETY: the caller's contract; each node's tag says what it is.
    unsafe {
        if (*entry).funcordinality || list::length((*entry).functions) != 1 {
            return None;
        }
        let function = list::nodes::<RangeTblFunction>((*entry).functions).next()?;
        let call = (*function).funcexpr.cast::<FuncExpr>();
        if (*call).xpr.type_ != NodeTag::T_FuncExpr
            || !(*function).funccolnames.is_null()
            || (*function).funccolcount as usize != EVENT_COLUMNS
            || !(*call).funcretset
            || list::length((*call).args) <= BACKWARDS
            // What such an argument depends on is known to PostgreSQL alone.
            || pg_sys::contain_subplans(call.cast())
        {
            return None;
        }
        Some((call, scanned((*call).funcid)?))
    }
}

/// What can be scanned in place of a call of this function.
///
/// # Safety
/// Within a guard.
pub(super) unsafe fn scanned(function: pg_sys::Oid) -> Option<&'static Scanned> {
    // SAFETY: a lookup in the system caches, whose entry is released; then PostgreSQL's own description of the function.
    // Where it would be called through another one, for its rights, its settings or a hook, that one is its address.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::PROCOID as i32;
        let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(function));
        if tuple.is_null() {
            return None;
        }
        let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_proc>();
        let (language, is_set) = ((*form).prolang, (*form).proretset);
        pg_sys::ReleaseSysCache(tuple);
        if language != C_LANGUAGE || !is_set {
            return None;
        }
        let mut info: pg_sys::FmgrInfo = std::mem::zeroed();
        pg_sys::fmgr_info(function, &mut info);
        by_entry(info.fn_addr)
    }
}

unsafe fn add_paths(
    root: *mut PlannerInfo,
    rel: *mut RelOptInfo,
    entry: *mut RangeTblEntry,
) -> Result<()> {
    // SAFETY: the planner's structures. A query that locks rows, or changes some, may look at a row of the scan once more
    // (EvalPlanQual); PostgreSQL's own scan can do that.
    unsafe {
        let query = (*root).parse;
        let reads = [pg_sys::CmdType::CMD_SELECT, pg_sys::CmdType::CMD_INSERT];
        if !reads.contains(&(*query).commandType) || !(*query).rowMarks.is_null() {
            return Ok(());
        }
        let Some((call, scanned)) = call_of(entry) else {
            return Ok(());
        };
        let orders = orders(call, scanned);
        (*rel).pathlist = std::ptr::null_mut();
        for (n, direction) in orders.iter().enumerate() {
            let keys = path_keys(root, rel, scanned, *direction);
            // The second one is of use for its order alone.
            if n == 0 || !keys.is_null() {
                add_path(root, rel, call, *direction, keys);
            }
        }
        Ok(())
    }
}

/// In which order a scan could return its events: that of the call, where it is known, comes first. Where their number is
/// limited, another order would mean other events. Where a window of them is asked for, the call knows where it begins, and not
/// where it ends.
///
/// # Safety
/// A call of a function that can be scanned.
unsafe fn orders(call: *mut FuncExpr, scanned: &Scanned) -> Vec<Option<Direction>> {
    // SAFETY: the caller's contract.
    unsafe {
        let mut window = scanned.window.iter();
        let is_whole = window.all(|n| matches!(constant((*call).args, *n), Constant::Null));
        let only_one = is_limited(call) || !is_whole;
        match constant((*call).args, BACKWARDS) {
            Constant::Unknown => vec![None],
            Constant::Null if only_one => vec![Some(Direction::Forward)],
            Constant::Value(backwards) if only_one => vec![Some(direction(backwards))],
            Constant::Null => vec![Some(Direction::Forward), Some(Direction::Backward)],
            Constant::Value(backwards) => {
                let first = direction(backwards);
                vec![Some(first), Some(first.reversed())]
            }
        }
    }
}

fn direction(backwards: pg_sys::Datum) -> Direction {
    match backwards.value() & 0xFF {
        0 => Direction::Forward,
        _ => Direction::Backward,
    }
}

/// Whether a call may return fewer events than match.
///
/// # Safety
/// As [`orders`].
pub(super) unsafe fn is_limited(call: *mut FuncExpr) -> bool {
    // SAFETY: the caller's contract.
    !matches!(unsafe { constant((*call).args, MAX_COUNT) }, Constant::Null)
}

/// What is known of an argument when the call is planned.
pub(super) enum Constant {
    Unknown,
    Null,
    Value(pg_sys::Datum),
}

/// The n-th argument.
///
/// # Safety
/// A list of expressions.
pub(super) unsafe fn constant(args: *mut pg_sys::List, n: usize) -> Constant {
    // SAFETY: the caller's contract; the tag says that it is a constant.
    unsafe {
        match list::nodes::<pg_sys::Const>(args).nth(n) {
            None => Constant::Null,
            Some(c) if (*c).xpr.type_ != NodeTag::T_Const => Constant::Unknown,
            Some(c) if (*c).constisnull => Constant::Null,
            Some(c) => Constant::Value((*c).constvalue),
        }
    }
}

/// The order of the scan's rows, as far as it is of use to the query. No two rows have the same position, so whatever else
/// the query is to be ordered by makes no difference.
unsafe fn path_keys(
    root: *mut PlannerInfo,
    rel: *mut RelOptInfo,
    scanned: &Scanned,
    direction: Option<Direction>,
) -> *mut pg_sys::List {
    // SAFETY: the planner's structures.
    unsafe {
        let Some(direction) = direction else {
            return std::ptr::null_mut();
        };
        let mut wanted = list::nodes::<PathKey>((*root).query_pathkeys);
        let Some(first) = wanted
            .next()
            .filter(|key| is_order(*key, rel, scanned, direction))
        else {
            return std::ptr::null_mut();
        };
        let mut keys = list::push(std::ptr::null_mut(), first);
        for key in wanted.take_while(|key| has_column(*key, rel)) {
            keys = list::push(keys, key);
        }
        keys
    }
}

/// Whether a key is a column of the scan, and so the same in all rows that have the same position. A key of another relation can
/// differ where rows of the scan are joined; a function of the position can return a set, be volatile, or look at a window.
unsafe fn has_column(key: *mut PathKey, rel: *mut RelOptInfo) -> bool {
    // SAFETY: the planner's structures; the tag says that an expression is a column.
    unsafe {
        let mut members = list::nodes::<pg_sys::EquivalenceMember>((*(*key).pk_eclass).ec_members);
        members.any(|member| {
            let column = (*member).em_expr.cast::<Var>();
            !(*member).em_is_child
                && (*column).xpr.type_ == NodeTag::T_Var
                && is_column(column, rel)
        })
    }
}

/// Whether a key is one of the columns by which the scan is in order.
unsafe fn is_order(
    key: *mut PathKey,
    rel: *mut RelOptInfo,
    scanned: &Scanned,
    direction: Direction,
) -> bool {
    // SAFETY: the planner's structures; the tag says that an expression is a column.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        let strategy = (*key).pk_strategy as u32;
        #[cfg(feature = "pg18")]
        let strategy = (*key).pk_cmptype as u32;
        let wanted = match direction {
            Direction::Forward => pg_sys::BTLessStrategyNumber,
            Direction::Backward => pg_sys::BTGreaterStrategyNumber,
        };
        if strategy != wanted || (*key).pk_opfamily != pg_sys::INTEGER_BTREE_FAM_OID {
            return false;
        }
        let mut members = list::nodes::<pg_sys::EquivalenceMember>((*(*key).pk_eclass).ec_members);
        members.any(|member| {
            let column = (*member).em_expr.cast::<Var>();
            (*column).xpr.type_ == NodeTag::T_Var
                && is_column(column, rel)
                && scanned
                    .ordered_by
                    .iter()
                    .any(|c| c.attribute() == (*column).varattno)
        })
    }
}

/// Whether a column is one of the scan's.
pub(super) unsafe fn is_column(column: *const Var, rel: *const RelOptInfo) -> bool {
    // SAFETY: a column, and the planner's description of a relation.
    unsafe { (*column).varno as u32 == (*rel).relid && (*column).varlevelsup == 0 }
}

unsafe fn add_path(
    root: *mut PlannerInfo,
    rel: *mut RelOptInfo,
    call: *mut FuncExpr,
    direction: Option<Direction>,
    keys: *mut pg_sys::List,
) {
    // SAFETY: a new node in the planner's memory, with all that it needs; then it is the planner's.
    unsafe {
        let path = pg_sys::palloc0(size_of::<CustomPath>()).cast::<CustomPath>();
        let base = &mut (*path).path;
        base.type_ = NodeTag::T_CustomPath;
        base.pathtype = NodeTag::T_CustomScan;
        base.parent = rel;
        base.pathtarget = (*rel).reltarget;
        base.param_info = pg_sys::get_baserel_parampathinfo(root, rel, (*rel).lateral_relids);
        base.rows = match base.param_info.as_ref() {
            Some(info) => info.ppi_rows,
            None => (*rel).rows,
        };
        base.pathkeys = keys;
        cost(root, rel, call, base);
        (*path).flags = pg_sys::CUSTOMPATH_SUPPORT_PROJECTION;
        (*path).custom_private = list::of_numbers(&[to_number(direction)]);
        (*path).methods = &METHODS.0;
        pg_sys::add_path(rel, path.cast());
    }
}

/// A direction in a list of numbers.
pub(super) fn to_number(direction: Option<Direction>) -> i32 {
    match direction {
        None => 0,
        Some(Direction::Forward) => 1,
        Some(Direction::Backward) => 2,
    }
}

/// The direction of a number.
pub(super) fn from_number(number: i32) -> Option<Direction> {
    match number {
        1 => Some(Direction::Forward),
        2 => Some(Direction::Backward),
        _ => None,
    }
}

/// An index scan's price, about: a descent before the first row, and the look at an entry and at a row for each.
unsafe fn cost(
    root: *mut PlannerInfo,
    rel: *mut RelOptInfo,
    call: *mut FuncExpr,
    path: &mut pg_sys::Path,
) {
    // SAFETY: the planner's structures and prices.
    unsafe {
        let mut within = std::ptr::null_mut();
        for clause in list::nodes::<RestrictInfo>((*rel).baserestrictinfo) {
            if Condition::of(root, clause, rel, call).is_some() {
                within = list::push(within, clause);
            }
        }
        let kind = pg_sys::JoinType::JOIN_INNER;
        let part = pg_sys::clauselist_selectivity(root, within, 0, kind, std::ptr::null_mut());
        let (conditions, target) = ((*rel).baserestrictcost, (*(*rel).reltarget).cost);
        let each = pg_sys::cpu_index_tuple_cost + pg_sys::cpu_tuple_cost + conditions.per_tuple;
        path.startup_cost = 100.0 * pg_sys::cpu_operator_cost + conditions.startup + target.startup;
        path.total_cost = path.startup_cost
            + ((*rel).tuples * part).max(1.0) * each
            + path.rows * target.per_tuple;
    }
}

/// A condition's expression.
///
/// # Safety
/// A condition of the planner's.
pub(super) unsafe fn expression(clause: *mut RestrictInfo) -> *mut Node {
    // SAFETY: the caller's contract.
    unsafe { (*clause).clause.cast() }
}
