//! Tests that run inside a backend, for what SQL cannot reach. See tests/in_process/README.md.
//!
//! The tests of a module are its child `tests`, so that they see what is private there; `sql` lists them all. Each test runs in a
//! transaction of its own, which the caller rolls back. What a rollback does not undo, such as a slot in shared
//! memory, a test restores itself.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Once;

use pgrx::pg_sys::panic::CaughtError;

use crate::dcb::error::{Error, Result, SqlState};

use super::guard;

pub(in crate::store) mod fence;
pub(in crate::store) mod fuzz;

/// One test.
pub(crate) struct Test {
    /// The path of its module.
    pub(crate) module: &'static str,
    /// The name of its function.
    pub(crate) name: &'static str,
    /// What it does. It fails by a panic, or with an error.
    pub(crate) run: fn() -> Result<()>,
}

impl Test {
    /// Its name for people: the module that it tests, without what all have in common, then its own.
    pub(crate) fn path(&self) -> String {
        let module = self.module.replace("en57::store::", "");
        format!("{}::{}", module.trim_end_matches("::tests"), self.name)
    }
}

/// What a test returns: nothing, or that with an error.
pub(crate) trait Outcome {
    /// As a result.
    fn outcome(self) -> Result<()>;
}

impl Outcome for () {
    fn outcome(self) -> Result<()> {
        Ok(())
    }
}

impl Outcome for Result<()> {
    fn outcome(self) -> Result<()> {
        self
    }
}

/// Lists the tests of a module as `ALL`. One that is not in the list is told of by the compiler: it is not used.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        /// The tests of this module.
        pub(crate) const ALL: &[$crate::store::pg::in_process::Test] = &[$($crate::store::pg::in_process::Test {
            module: module_path!(),
            name: stringify!($name),
            run: || $crate::store::pg::in_process::Outcome::outcome($name()),
        }),*];
    };
}
pub(crate) use tests;

thread_local! {
    /// Where the last panic was.
    static PANICKED_AT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs a test. What a panic says is told to the client, with its place: a user would be told nothing of it.
///
/// # Errors
/// Whatever the test fails with.
pub(crate) fn run(test: &Test) -> Result<()> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let at = info.location().map(ToString::to_string);
            PANICKED_AT.set(at.unwrap_or_default());
            before(info);
        }));
    });
    match catch_unwind(AssertUnwindSafe(test.run)) {
        Ok(outcome) => outcome,
        Err(payload) => match cause(payload) {
            Ok(message) => Err(Error::new(SqlState::Internal, message).detail(PANICKED_AT.take())),
            Err(payload) => resume_unwind(payload),
        },
    }
}

/// What a panic says.
///
/// # Errors
/// The payload, where it is an error of PostgreSQL's or en57's.
pub(in crate::store) fn cause(
    payload: Box<dyn Any + Send>,
) -> std::result::Result<String, Box<dyn Any + Send>> {
    if payload.is::<CaughtError>() || payload.is::<Error>() {
        return Err(payload);
    }
    Ok(guard::in_words(payload))
}
