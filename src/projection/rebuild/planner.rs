//! How statements that join a page of documents with a table are planned.
//!
//! The planner cannot know how large such a page is, and what it knows of a table that has just been filled is
//! out of date. A wrong guess reads the whole table for each page.

use std::ffi::CStr;

use crate::store::pg::rights;

/// What is switched off meanwhile.
pub struct PlannerSettings(&'static [(&'static CStr, &'static CStr)]);

/// For each document of the page a look into the index.
pub const BY_INDEX: PlannerSettings = PlannerSettings(&[
    (c"enable_seqscan", c"off"),
    (c"enable_bitmapscan", c"off"),
    (c"enable_hashjoin", c"off"),
    (c"enable_mergejoin", c"off"),
    (c"jit", c"off"),
]);

/// A range of the table's index, compared with the page as a whole.
pub const BY_HASH: PlannerSettings = PlannerSettings(&[
    (c"enable_seqscan", c"off"),
    (c"enable_nestloop", c"off"),
    (c"enable_mergejoin", c"off"),
    (c"jit", c"off"),
]);

impl PlannerSettings {
    /// Runs with it.
    pub fn plan<T>(&self, body: impl FnOnce() -> T) -> T {
        rights::with_settings(self.0, body)
    }
}
