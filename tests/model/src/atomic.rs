//! What stands in place of `src/store/memory/atomic.rs`: words of the model's memory. An order weaker than `SeqCst` is a
//! mistake, because the search assumes it.
#![cfg_attr(doc, doc = include_str!("../../../docs/architecture/portability.md"))]

use std::cell::Cell;
use std::sync::atomic::Ordering;

use crate::world::{Place, world};

pub fn pause() {
    world().wait_for_change();
}

/// Of what the body has seen its result alone counts, for where the thread stands.
pub fn keeping_only<T: std::hash::Hash>(body: impl FnOnce() -> T) -> T {
    let world = world();
    let before = world.history();
    let result = body();
    world.keep_only(before, &result);
    result
}

/// A word.
pub struct Word(Cell<Place>);

impl Default for Word {
    fn default() -> Self {
        let world = world();
        let place = world.new_place(String::new(), 0);
        world.name(place, &format!("word {place}"));
        Self(Cell::new(place))
    }
}

impl Word {
    /// A name for the story of a failure.
    pub fn name(&self, name: &str) {
        world().name(self.0.get(), name);
    }

    pub fn place(&self) -> Place {
        self.0.get()
    }
}

fn is_strong(order: Ordering) {
    assert!(
        order == Ordering::SeqCst,
        "the proof needs one order of all accesses"
    );
}

macro_rules! atomic {
    ($name:ident, $of:ty) => {
        #[derive(Default)]
        pub struct $name(pub Word);

        #[allow(dead_code)]
        impl $name {
            pub fn load(&self, order: Ordering) -> $of {
                is_strong(order);
                world().load(self.0.place()) as $of
            }
            pub fn store(&self, value: $of, order: Ordering) {
                is_strong(order);
                world().store(self.0.place(), value as i64);
            }
            fn change(&self, order: Ordering, verb: &str, new: impl Fn($of) -> Option<$of>) -> $of {
                is_strong(order);
                let new = |old: i64| new(old as $of).map(|value| value as i64);
                world().update(self.0.place(), verb, new, true) as $of
            }
            pub fn swap(&self, value: $of, order: Ordering) -> $of {
                self.change(order, "swaps", |_| Some(value))
            }
            pub fn fetch_add(&self, n: $of, order: Ordering) -> $of {
                self.change(order, "adds to", |old| Some(old.wrapping_add(n)))
            }
            pub fn fetch_sub(&self, n: $of, order: Ordering) -> $of {
                self.change(order, "takes from", |old| Some(old.wrapping_sub(n)))
            }
            pub fn fetch_max(&self, n: $of, order: Ordering) -> $of {
                self.change(order, "raises", |old| Some(old.max(n)))
            }
            pub fn compare_exchange(
                &self,
                from: $of,
                to: $of,
                order: Ordering,
                failed: Ordering,
            ) -> Result<$of, $of> {
                is_strong(failed);
                let old = self.change(order, "exchanges", |old| (old == from).then_some(to));
                if old == from { Ok(old) } else { Err(old) }
            }
        }
    };
}

atomic!(AtomicU32, u32);
atomic!(AtomicI64, i64);
atomic!(AtomicU64, u64);
