//! The planner's question how many rows a call returns.
//!
//! PostgreSQL calls a function's support function before it chooses a path, and loads the library for it. So the scan is
//! offered to the first query of a session as well.

use pgrx::pg_sys::{self, Datum, FuncExpr, NodeTag, SupportRequestRows};

use crate::store::pg::fmgr::Args;

use super::list;
use super::path::{self, Constant, constant};

/// The part of rows that PostgreSQL expects a comparison with an unknown value to leave (DEFAULT_INEQ_SEL).
const UNKNOWN_PART: f64 = 1.0 / 3.0;

/// How the number of a function's rows is estimated. Arguments are named by their numbers, from 0.
pub struct Estimate {
    /// What must be known.
    pub needed: &'static [usize],
    /// What `count` goes by, where it is known.
    pub counted: &'static [usize],
    /// What leaves a part of the rows, nobody knows which.
    pub narrowing: &'static [usize],
    /// How many rows there are, with arguments that are not known as NULL; `None` where that cannot be said.
    pub count: fn(&Args) -> Option<f64>,
}

/// Answers the planner. What it asks beside, and what cannot be said, is left to PostgreSQL.
pub fn rows(args: &Args) -> Option<Datum> {
    let nothing = Some(Datum::null());
    // SAFETY: the argument is a request of the planner's, whose tag says which.
    unsafe {
        let Some(request) = args
            .datum(0)
            .map(|d| d.cast_mut_ptr::<SupportRequestRows>())
        else {
            return nothing;
        };
        if (*request).type_ != NodeTag::T_SupportRequestRows
            || (*request).node.is_null()
            || (*(*request).node).type_ != NodeTag::T_FuncExpr
        {
            return nothing;
        }
        let call = (*request).node.cast::<FuncExpr>();
        let scanned = path::scanned((*call).funcid);
        let Some(rows) = scanned.and_then(|scanned| estimated(call, &scanned.rows)) else {
            return nothing;
        };
        (*request).rows = rows.max(1.0);
        args.datum(0)
    }
}

/// # Safety
/// A call, within a guard.
unsafe fn estimated(call: *mut FuncExpr, estimate: &Estimate) -> Option<f64> {
    // SAFETY: the caller's contract. The description of the call is that of a call with these arguments.
    unsafe {
        let arguments = (*call).args;
        let n = list::length(arguments);
        let size =
            size_of::<pg_sys::FunctionCallInfoBaseData>() + n * size_of::<pg_sys::NullableDatum>();
        let described = pg_sys::palloc0(size).cast::<pg_sys::FunctionCallInfoBaseData>();
        (*described).nargs = n as i16;
        let mut part = 1.0;
        for i in 0..n {
            let (counts, narrows) = (
                estimate.counted.contains(&i),
                estimate.narrowing.contains(&i),
            );
            let (value, isnull) = match constant(arguments, i) {
                Constant::Unknown if estimate.needed.contains(&i) => return None,
                Constant::Unknown => {
                    part *= if counts || narrows { UNKNOWN_PART } else { 1.0 };
                    (Datum::null(), true)
                }
                Constant::Null => (Datum::null(), true),
                Constant::Value(value) => {
                    part *= if narrows { UNKNOWN_PART } else { 1.0 };
                    (value, false)
                }
            };
            *(*described).args.as_mut_ptr().add(i) = pg_sys::NullableDatum { value, isnull };
        }
        (estimate.count)(&Args::of(described)).map(|rows| rows * part)
    }
}
