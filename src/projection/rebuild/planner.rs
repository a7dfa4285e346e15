//! Planner settings for statements that join a page of documents with a table.
//!
//! The planner does not know how large such a page is, and its statistics of a table that has just been filled are out of
//! date. With a wrong guess it would read the whole table for each page.

use std::ffi::CStr;

use crate::store::pg::rights;

/// Settings for one statement.
pub struct PlannerSettings(&'static [(&'static CStr, &'static CStr)]);

/// Looks each document of the page up in the index.
pub const BY_INDEX: PlannerSettings = PlannerSettings(&[
    (c"enable_seqscan", c"off"),
    (c"enable_bitmapscan", c"off"),
    (c"enable_hashjoin", c"off"),
    (c"enable_mergejoin", c"off"),
    (c"jit", c"off"),
]);

/// Reads a range of the table's index and compares it with the whole page.
pub const BY_HASH: PlannerSettings = PlannerSettings(&[
    (c"enable_seqscan", c"off"),
    (c"enable_nestloop", c"off"),
    (c"enable_mergejoin", c"off"),
    (c"jit", c"off"),
]);

impl PlannerSettings {
    /// Runs with these settings.
    pub fn plan<T>(&self, body: impl FnOnce() -> T) -> T {
        rights::with_settings(self.0, body)
    }
}
