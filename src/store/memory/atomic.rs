//! The atomics of the protocol of slots, late keys and positions. Its code names them from here, so that the model
//! checker in `tests/model/` can put its own in their place. See docs/architecture/model.md.

use std::hash::Hash;

pub use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64};

/// Lets others run, who are about to change what this thread has just loaded.
pub fn pause() {
    std::thread::yield_now();
}

/// Finds something out, or changes something, and keeps nothing of what was loaded meanwhile but the result. Here it only
/// calls `body`. The model takes threads for equal that differ in nothing but what they do not keep.
#[inline]
pub fn keeping_only<T: Hash>(body: impl FnOnce() -> T) -> T {
    body()
}
