//! Where the model's shared memory is: one log, a slot for each thread, a few late keys.

use crate::dcb::error::Result;
use crate::pg_sys;
use crate::server::me;

use super::atomic::AtomicU32;
use super::late_key::LateKey;

pub use super::layout::{Log, Slot};

/// As the engine's, but smaller.
pub struct Shared {
    pub used_slots: AtomicU32,
    pub sleepers: AtomicU32,
    pub moved: pg_sys::ConditionVariable,
    pub logs: [Log; 1],
    slots: Vec<Slot>,
    late_keys: Vec<LateKey>,
}

std::thread_local! {
    static SHARED: &'static Shared = Box::leak(Box::new(Shared::new()));
}

const LATE_KEYS: usize = 12;

impl Shared {
    fn new() -> Self {
        let shared = Self {
            used_slots: AtomicU32::default(),
            sleepers: AtomicU32::default(),
            moved: pg_sys::ConditionVariable,
            logs: [Log::default()],
            slots: (0..crate::world::THREADS)
                .map(|_| Slot::default())
                .collect(),
            late_keys: (0..LATE_KEYS).map(|_| LateKey::default()).collect(),
        };
        shared.used_slots.0.name("used_slots");
        shared.sleepers.0.name("sleepers");
        let log = &shared.logs[0];
        log.next.0.name("next");
        log.ceiling.0.name("ceiling");
        for (n, slot) in shared.slots.iter().enumerate() {
            let name = |what: &str| format!("slot {}.{what}", n + 1);
            slot.log.0.name(&name("log"));
            slot.partition.0.name(&name("partition"));
            slot.bound.0.name(&name("bound"));
            slot.generation.0.name(&name("generation"));
            slot.late_keys.0.name(&name("late_keys"));
            slot.is_several.0.name(&name("is_several"));
            slot.awaits.0.name(&name("awaits"));
        }
        shared
    }

    pub fn get() -> Result<&'static Self> {
        Ok(SHARED.with(|shared| *shared))
    }

    pub fn attached() -> Option<&'static Self> {
        Self::get().ok()
    }

    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    pub(in crate::store) fn late_keys(&self) -> &[LateKey] {
        &self.late_keys
    }

    pub fn used_slots(&self) -> &[Slot] {
        let used = self.used_slots.load(std::sync::atomic::Ordering::SeqCst);
        &self.slots[..used as usize]
    }

    pub fn my_slot(&self) -> &Slot {
        &self.slots[my_backend()]
    }

    pub fn index_of(&self, _: &Log) -> usize {
        0
    }
}

pub fn my_backend() -> usize {
    me()
}

pub fn key_lock_count() -> usize {
    512
}
