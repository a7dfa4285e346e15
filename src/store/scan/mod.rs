//! Functions in FROM that return events, as a plan node of their own: a custom scan.
//!
//! PostgreSQL calls a function in FROM once and keeps all that it returns, before anybody asks for the first row. The
//! planner offers a custom scan in its place ([`plan`]), which reads as it is asked ([`exec`]). So LIMIT ends the read, an
//! order by position needs no sort, and conditions on the position bound what is read.
//!
//! It uses `pg`, `row`, the directions of `index`, and the errors of `dcb`. What is read, and as of when, is the business of whoever implements
//! [`Scan`].
#![cfg_attr(doc, doc = include_str!("../../../docs/architecture/scans.md"))]

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::dcb::error::Result;
use crate::dcb::query::Criterion;
use crate::store::index::entry::Direction;
use crate::store::pg::fmgr::Args;
use crate::store::row::door::Event;
use crate::store::row::event::Column;
use crate::store::row::srf::Source;

mod condition;
mod exec;
mod explain;
mod list;
mod path;
mod plan;
mod support;

pub use path::install;
pub use support::{Estimate, rows};

/// The number of the argument, from 0, that says how many events are returned at most.
const MAX_COUNT: usize = 3;
/// That of the one which turns the order round.
const BACKWARDS: usize = 4;

/// A read that can begin again: it returns the same events then, whatever was appended meanwhile.
pub trait Scan: Source<Item = Event> {
    /// Begins with the first event that lies within these bounds.
    fn begin(&mut self, bounds: Bounds);

    /// What EXPLAIN tells of it.
    fn told(&self) -> Told;
}

/// Which of its events a read returns, and in which order. It may return others as well, which the query's filter takes out.
#[derive(Clone)]
pub struct Bounds {
    /// Only what is behind this position.
    pub after: i64,
    /// Only what is not behind this position.
    pub upto: i64,
    /// Only what satisfies all of these: by their types, tags and streams.
    pub within: Vec<Criterion>,
    /// In this order, where it is not that of the call.
    pub direction: Option<Direction>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            after: 0,
            upto: i64::MAX,
            within: Vec::new(),
            direction: None,
        }
    }
}

/// What a read has done so far.
#[derive(Clone, Copy, Default)]
pub struct Told {
    /// Nothing that matches is missing up to this position.
    pub frontier: i64,
    /// How many keys were looked for.
    pub keys: i64,
    /// How many rows the index has led to.
    pub entries: i64,
    /// How many of them are events that match, and could be seen.
    pub rows: i64,
}

/// A function whose calls can be scans.
pub struct Scanned {
    /// Its entry point in this library. That of a function tells that it is this one, and that PostgreSQL would call it
    /// directly: with the caller's rights and settings.
    pub entry: unsafe extern "C-unwind" fn(pg_sys::FunctionCallInfo) -> pg_sys::Datum,
    /// Begins to read.
    pub start: fn(&Args) -> Result<Box<dyn Scan>>,
    /// What the first argument is, for EXPLAIN.
    pub subject: &'static CStr,
    /// How the planner learns the number of its rows.
    pub rows: Estimate,
    /// The numbers of the arguments that bound a window of its events.
    pub window: &'static [usize],
    /// By which columns its events are in order. No two of them have the same value in it.
    pub ordered_by: &'static [Column],
}

/// Declares a SQL function that returns a set of events, and that can be scanned: `scanned_function!(CONSTANT, name, start,
/// subject, window, ordered_by, rows)`, where `start` is a `fn(&Args) -> Result<impl Scan>`.
#[macro_export]
macro_rules! scanned_function {
    ($(#[$doc:meta])* $constant:ident, $name:ident, $start:expr, $subject:expr, $window:expr, $ordered_by:expr, $rows:expr) => {
        $(#[$doc])*
        pub const $constant: $crate::store::scan::Scanned = {
            #[unsafe(export_name = concat!("pg_finfo_", stringify!($name)))]
            extern "C" fn info() -> &'static ::pgrx::pg_sys::Pg_finfo_record {
                const RECORD: ::pgrx::pg_sys::Pg_finfo_record =
                    ::pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
                &RECORD
            }
            #[unsafe(export_name = stringify!($name))]
            unsafe extern "C-unwind" fn entry(
                fcinfo: ::pgrx::pg_sys::FunctionCallInfo,
            ) -> ::pgrx::pg_sys::Datum {
                use $crate::store::row::srf;
                // SAFETY: called by PostgreSQL; this frame holds nothing.
                unsafe {
                    $crate::store::pg::fmgr::enter(fcinfo, |args| {
                        srf::respond(args, &srf::EVENTS, || $start(args))
                    })
                }
            }
            $crate::store::scan::Scanned {
                entry,
                start: |args| Ok(Box::new($start(args)?)),
                subject: $subject,
                window: $window,
                ordered_by: $ordered_by,
                rows: $rows,
            }
        };
    };
}
