//! The room as the model sees it: the engine's own files, but for where memory is, which is `shmem` here.

#[path = "../../atomic.rs"]
pub mod atomic;
pub mod key_locks;
#[path = "../../../../../src/store/memory/key_mode.rs"]
pub mod key_mode;
pub mod shmem;

/// Statistics are no part of the protocol.
pub mod worker_slot {
    pub fn note_change() {}
}

#[cfg(not(feature = "broken"))]
#[path = "../../../../../src/store/memory/late_key.rs"]
pub mod late_key;
#[cfg(feature = "broken")]
pub mod late_key {
    include!(concat!(env!("OUT_DIR"), "/late_key.rs"));
}

#[cfg(not(feature = "broken"))]
#[path = "../../../../../src/store/memory/slot.rs"]
pub mod slot;
#[cfg(feature = "broken")]
pub mod slot {
    include!(concat!(env!("OUT_DIR"), "/slot.rs"));
}

#[cfg(not(feature = "broken"))]
#[path = "../../../../../src/store/memory/layout.rs"]
pub mod layout;
#[cfg(feature = "broken")]
pub mod layout {
    include!(concat!(env!("OUT_DIR"), "/layout.rs"));
}
