//! The room as the model sees it. The search for deadlocks is left out.

/// No sleeper waits so long that it looks for a deadlock.
pub mod deadlock {
    use std::sync::atomic::Ordering::SeqCst;

    use crate::dcb::error::Result;
    use crate::store::memory::shmem::Shared;

    pub fn timeout() -> std::time::Duration {
        std::time::Duration::from_secs(1_000_000)
    }
    pub fn note(shared: &Shared, blocker: usize) {
        shared.my_slot().awaits.store(blocker as u32 + 1, SeqCst);
    }
    pub fn forget(shared: &Shared) {
        shared.my_slot().awaits.store(0, SeqCst);
    }
    pub fn refuse(_: &Shared, _: usize) -> Result<()> {
        Ok(())
    }
}

#[cfg(not(feature = "broken"))]
#[path = "../../../../../src/store/session/transaction.rs"]
pub mod transaction;
#[cfg(feature = "broken")]
pub mod transaction {
    include!(concat!(env!("OUT_DIR"), "/transaction.rs"));
}

#[cfg(not(feature = "broken"))]
#[path = "../../../../../src/store/session/sleep.rs"]
pub mod sleep;
#[cfg(feature = "broken")]
pub mod sleep {
    include!(concat!(env!("OUT_DIR"), "/sleep.rs"));
}
