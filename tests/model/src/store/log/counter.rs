//! The counter of the one log.

use crate::pg_sys::Oid;
use crate::store::memory::atomic::keeping_only;
use crate::store::memory::shmem::Shared;

use super::catalog::Store;
use super::position::Counter;

std::thread_local! {
    static STORE: &'static Store = Box::leak(Box::new(Store { events: 1.into() }));
}

pub fn counter() -> Counter {
    let store = STORE.with(|store| *store);
    match Shared::get() {
        Ok(shared) => Counter {
            shared,
            log: &shared.logs[0],
            store,
        },
        Err(error) => panic!("{error:?}"),
    }
}

impl Counter {
    /// As `allot`, but without the frontier.
    pub fn allot_without_frontier(&self, partition: Oid, n: i64) -> i64 {
        match self
            .cover(partition)
            .map(|()| keeping_only(|| self.take(n)))
        {
            Ok(Some(first)) => first,
            other => panic!("{other:?}"),
        }
    }
}
