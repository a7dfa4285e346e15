//! The tests that run inside a backend, by name. See tests/in_process/README.md.

use crate::dcb::error::{Error, SqlState};
use crate::sql_function;
use crate::store::index;
use crate::store::lock::{keys, plan};
use crate::store::log::position;
use crate::store::memory::{late_key, shmem};
use crate::store::pg::array;
use crate::store::pg::fmgr::Args;
use crate::store::pg::in_process::{Test, run};
use crate::store::pg::json;

/// The tests of all modules.
const MODULES: &[&[Test]] = &[
    array::tests::ALL,
    array::fuzz::ALL,
    json::tests::ALL,
    json::fuzz::ALL,
    index::page::tests::ALL,
    index::page::damage::ALL,
    index::page::fuzz::ALL,
    index::descent::tests::ALL,
    index::leaf::tests::ALL,
    index::reader::tests::ALL,
    index::check::tests::ALL,
    keys::tests::ALL,
    plan::tests::ALL,
    late_key::tests::ALL,
    shmem::tests::ALL,
    position::tests::ALL,
];

fn all() -> impl Iterator<Item = &'static Test> {
    MODULES.iter().copied().flatten()
}

sql_function!(
    /// The names of all tests.
    en57_in_process_test_names,
    |_: &Args| {
        let names: Vec<String> = all().map(Test::path).collect();
        Ok(Some(array::make(&names)))
    }
);

sql_function!(
    /// Runs one test.
    en57_run_in_process_test,
    |args: &Args| {
        let name = args.text(0)?.unwrap_or_default();
        let test = all().find(|test| test.path() == name).ok_or_else(|| {
            Error::new(
                SqlState::UndefinedObject,
                format!("there is no test {name}"),
            )
        })?;
        run(test)?;
        Ok(None)
    }
);
