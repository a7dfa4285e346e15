//! What EXPLAIN says of a scan.

use std::ffi::CStr;
use std::ptr;

use pgrx::pg_sys::{self, CustomScan, CustomScanState, ExplainState, List, NodeTag};

use crate::dcb::error::Result;
use crate::store::index::entry::Direction;
use crate::store::pg::guard;

use super::{exec, list, plan};

/// Adds what only the scan knows to what EXPLAIN prints of each node.
pub(super) unsafe extern "C-unwind" fn explain(
    node: *mut CustomScanState,
    ancestors: *mut List,
    out: *mut ExplainState,
) {
    // SAFETY: called by EXPLAIN; this frame holds nothing.
    unsafe { guard::call(|| tell(node, ancestors, out)) }
}

unsafe fn tell(
    node: *mut CustomScanState,
    ancestors: *mut List,
    out: *mut ExplainState,
) -> Result<()> {
    // SAFETY: EXPLAIN's own structures; the texts live as long as the call.
    unsafe {
        let Some(work) = exec::work(node) else {
            return Ok(());
        };
        let scan = (*node).ss.ps.plan.cast::<CustomScan>();
        let context = pg_sys::set_deparse_context_plan((*out).deparse_cxt, scan.cast(), ancestors);
        let prefix = (*out).verbose || list::length((*out).rtable) > 1;
        let text = |label: &CStr, expression: *mut pg_sys::Node| {
            let said = pg_sys::deparse_expression(expression, context, prefix, false);
            pg_sys::ExplainPropertyText(label.as_ptr(), said, out);
        };
        let (call, conditions) = plan::expressions(scan);
        let subject = list::nodes::<pg_sys::Node>((*call).args).next();
        if (*out).verbose {
            text(c"Function Call", call.cast());
        } else if let Some(subject) = subject.filter(|subject| !is_null(*subject)) {
            text(work.subject(), subject);
        }
        let kinds = work
            .written
            .conditions
            .iter()
            .map(|(kind, ..)| kind.label());
        let conditions: Vec<(&CStr, String)> = kinds
            .zip(conditions)
            .map(|(label, condition)| {
                let said = pg_sys::deparse_expression(condition, context, prefix, false);
                (label, CStr::from_ptr(said).to_string_lossy().into_owned())
            })
            .collect();
        for label in [c"Key Cond", c"Position Cond"] {
            let said = conditions.iter().filter(|(l, _)| *l == label);
            let said: Vec<&str> = said.map(|(_, said)| said.as_str()).collect();
            if !said.is_empty() {
                let said = guard::text(&said.join(" AND "));
                pg_sys::ExplainPropertyText(label.as_ptr(), said.as_ptr(), out);
            }
        }
        let order = match work.written.direction {
            None => c"as the call says",
            Some(Direction::Forward) => c"forward",
            Some(Direction::Backward) => c"backward",
        };
        pg_sys::ExplainPropertyText(c"Order".as_ptr(), order.as_ptr(), out);
        if (*out).analyze {
            let told = work.told();
            let number = |label: &CStr, number: i64| {
                pg_sys::ExplainPropertyInteger(label.as_ptr(), ptr::null(), number, out);
            };
            number(c"Keys", told.keys);
            number(c"Index Matches", told.entries);
            number(c"Rows Removed by Index Recheck", told.entries - told.rows);
            number(c"Frontier", told.frontier);
        }
        Ok(())
    }
}

unsafe fn is_null(expression: *mut pg_sys::Node) -> bool {
    // SAFETY: a node, whose tag says what it is.
    unsafe {
        (*expression).type_ == NodeTag::T_Const && (*expression.cast::<pg_sys::Const>()).constisnull
    }
}
