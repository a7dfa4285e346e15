//! Several threads that do the same, together.

use std::sync::{Condvar, Mutex};
use std::thread;

use super::cluster::PATIENCE;

/// Runs `work` on `n` threads, each with its number; returns their results in this order. A panic of one is
/// a panic of the whole.
pub fn crew<T: Send>(n: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..n).map(|i| scope.spawn(move || work(i))).collect();
        threads
            .into_iter()
            .map(|t| t.join().expect("a thread of the crew succeeds"))
            .collect()
    })
}

/// A barrier that does not wait for ever for one who has failed.
pub struct Gate {
    size: usize,
    state: Mutex<(usize, usize)>,
    changed: Condvar,
}

impl Gate {
    pub fn new(size: usize) -> Self {
        Self {
            size,
            state: Mutex::new((0, 0)),
            changed: Condvar::new(),
        }
    }

    /// Returns when all are here.
    pub fn pass(&self) {
        let mut state = self.state.lock().expect("nobody panics while holding it");
        let round = state.1;
        state.0 += 1;
        if state.0 == self.size {
            *state = (0, round + 1);
            self.changed.notify_all();
            return;
        }
        let (_state, waited) = self
            .changed
            .wait_timeout_while(state, PATIENCE, |s| s.1 == round)
            .expect("nobody panics while holding it");
        assert!(!waited.timed_out(), "not all came to the gate");
    }
}
