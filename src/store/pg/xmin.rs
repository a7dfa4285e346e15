//! Sleeping without holding back vacuum.
//!
//! A statement's snapshot keeps the backend's `xmin` back for as long as the statement runs, although a
//! statement that only sleeps has no use for it.

use pgrx::pg_sys;

use super::fmgr::Args;

/// XminRelease to give up `xmin` while the statement sleeps.
#[derive(Clone, Copy)]
pub struct XminRelease(bool);

impl XminRelease {
    /// No leave: the snapshot is kept.
    pub const NONE: Self = Self(false);

    /// XminRelease, if the running statement is nothing but a call of this function: then no other part of
    /// it can come to use the snapshot afterwards. The isolation level must be READ COMMITTED, the
    /// transaction without an id (which would hold back vacuum as well), and no cursor open.
    pub fn for_call(args: &Args) -> Self {
        // SAFETY: reads the backend's state; the portal and its plan live as long as the statement.
        unsafe {
            let alone = pg_sys::XactIsoLevel < pg_sys::XACT_REPEATABLE_READ as i32
                && pg_sys::GetTopTransactionIdIfAny() == pg_sys::InvalidTransactionId
                && pg_sys::ThereAreNoPriorRegisteredSnapshots();
            let portal = pg_sys::ActivePortal;
            if !alone || portal.is_null() || (*portal).queryDesc.is_null() {
                return Self::NONE;
            }
            let statement = (*(*portal).queryDesc).plannedstmt;
            Self(is_only_a_call(statement, (*(*args.raw()).flinfo).fn_oid))
        }
    }

    /// Before the sleep.
    pub fn go(self) {
        if self.0 {
            // SAFETY: as SnapshotResetXmin does when no snapshot is in use: a plain store of one's own
            // field, which others read at any time.
            unsafe { (*pg_sys::MyProc).xmin = pg_sys::InvalidTransactionId };
        }
    }

    /// After the sleep, before anything is read.
    pub fn come_back(self) {
        if self.0 {
            // SAFETY: taking a snapshot sets xmin again, where it is not set.
            unsafe { pg_sys::GetLatestSnapshot() };
        }
    }
}

/// Whether a plan is `SELECT function(constants)` without tables.
unsafe fn is_only_a_call(statement: *mut pg_sys::PlannedStmt, function: pg_sys::Oid) -> bool {
    // SAFETY: a plan's lists are null or lists of nodes, whose tags say what they are.
    unsafe {
        let plan = (*statement).planTree;
        if plan.is_null()
            || (*plan).type_ != pg_sys::NodeTag::T_Result
            || !(*statement).subplans.is_null()
        {
            return false;
        }
        let list = (*plan).targetlist;
        if list.is_null() || (*list).length != 1 || !(*plan).lefttree.is_null() {
            return false;
        }
        let target = (*(*list).elements).ptr_value.cast::<pg_sys::TargetEntry>();
        let call = (*target).expr.cast::<pg_sys::FuncExpr>();
        if (*call).xpr.type_ != pg_sys::NodeTag::T_FuncExpr || (*call).funcid != function {
            return false;
        }
        let arguments = (*call).args;
        let n = if arguments.is_null() {
            0
        } else {
            (*arguments).length as usize
        };
        (0..n).all(|i| {
            let argument = (*(*arguments).elements.add(i))
                .ptr_value
                .cast::<pg_sys::Node>();
            matches!(
                (*argument).type_,
                pg_sys::NodeTag::T_Const | pg_sys::NodeTag::T_Param
            )
        })
    }
}
