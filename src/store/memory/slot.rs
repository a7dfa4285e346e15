//! The slot of this backend: whether its transaction has been allotted positions, and the end of that.

use std::sync::atomic::Ordering::SeqCst;

use pgrx::pg_sys;

use super::late_key;
use super::shmem::{Log, Shared};

/// Called when a transaction that restarts positions has been committed, before it lets others append
/// again. Never fails.
pub fn restart(log: &Log) {
    // The next append finds no room below the ceiling, and raises the stored one.
    log.ceiling.store(0, SeqCst);
    log.ceiling_stored.store(0, SeqCst);
    log.next.store(1, SeqCst);
    log.restarts.fetch_add(1, SeqCst);
}

/// Called at the end of a transaction, after it has become visible or was undone: its positions are
/// settled. Never fails.
pub fn settle() {
    let Some(shared) = Shared::attached() else {
        return;
    };
    let slot = shared.my_slot();
    if slot.bound.load(SeqCst) == 0 {
        return;
    }
    // In this order: who has loaded the bound has loaded the generation before, so he is told when the list is taken
    // apart.
    slot.bound.store(0, SeqCst);
    slot.generation.fetch_add(1, SeqCst);
    late_key::give_back(shared);
    wake();
}

/// Wakes those who wait. Never fails.
pub fn wake() {
    if let Some(shared) = Shared::attached().filter(|s| s.sleepers.load(SeqCst) > 0) {
        // SAFETY: the variable lives in shared memory and was initialised; a broadcast raises nothing.
        unsafe { pg_sys::ConditionVariableBroadcast((&raw const shared.moved).cast_mut()) };
    }
}

/// Whether this backend's running transaction has been allotted positions. Never fails.
pub fn in_use() -> bool {
    holder().is_some()
}

/// The shared memory, where this backend's running transaction has been allotted positions. Never fails.
pub(in crate::store) fn holder() -> Option<&'static Shared> {
    Shared::attached().filter(|s| s.my_slot().bound.load(SeqCst) != 0)
}
