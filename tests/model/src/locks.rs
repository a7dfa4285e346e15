//! PostgreSQL's lock manager, as far as the protocol uses it.

use std::rc::Rc;

use crate::pg_sys::{self, LOCKTAG, LockAcquireResult};
use crate::server::{Server, me, server};
use crate::store::lock::manager::LockSpace;
use crate::world::{Parts, Place, mix, world};

/// A lock that a thread holds.
#[derive(Clone, Copy)]
pub struct Lock {
    pub tag: LOCKTAG,
    pub mode: u32,
    pub thread: usize,
    pub depth: usize,
}

/// PostgreSQL's table of conflicts (LockConflicts in lock.c), of the modes that en57 uses.
#[allow(non_upper_case_globals)]
fn conflict(one: u32, other: u32) -> bool {
    use pg_sys::{ExclusiveLock, RowExclusiveLock, RowShareLock, ShareLock, ShareRowExclusiveLock};
    let with: &[u32] = match one {
        RowShareLock => &[ExclusiveLock],
        RowExclusiveLock => &[ShareLock, ShareRowExclusiveLock, ExclusiveLock],
        ShareLock => &[RowExclusiveLock, ShareRowExclusiveLock, ExclusiveLock],
        ShareRowExclusiveLock => &[
            RowExclusiveLock,
            ShareLock,
            ShareRowExclusiveLock,
            ExclusiveLock,
        ],
        ExclusiveLock => &[
            RowShareLock,
            RowExclusiveLock,
            ShareLock,
            ShareRowExclusiveLock,
            ExclusiveLock,
        ],
        _ => unreachable!("en57 does not use this mode"),
    };
    with.contains(&other)
}

/// A lock's parts: one for each mode. Who asks looks at those that conflict.
fn asking(mode: u32) -> Parts {
    let modes = 0..8u32;
    let conflicting = modes.filter(|other| MODES.contains(other) && conflict(mode, *other));
    Parts {
        reads: conflicting.fold(0, |all, other| all | 1 << other),
        writes: 0,
    }
}

fn taking(mode: u32) -> Parts {
    Parts {
        reads: asking(mode).reads,
        writes: 1 << mode,
    }
}

fn releasing(mode: u32) -> Parts {
    Parts {
        reads: 0,
        writes: 1 << mode,
    }
}

const MODES: [u32; 5] = [
    pg_sys::RowShareLock,
    pg_sys::RowExclusiveLock,
    pg_sys::ShareLock,
    pg_sys::ShareRowExclusiveLock,
    pg_sys::ExclusiveLock,
];

impl Lock {
    fn is_key(&self) -> bool {
        self.tag.locktag_field4 == LockSpace::Key as u16
    }

    fn hash(&self, place: Place) -> u64 {
        mix(place as u64, u64::from(self.mode) * 64 + self.thread as u64)
    }
}

impl Server {
    fn place_of(&self, tag: &LOCKTAG) -> Place {
        let name = || format!("lock {}/{:x}", tag.locktag_field4, tag.locktag_field3);
        let mut places = self.places.borrow_mut();
        *places
            .entry(*tag)
            .or_insert_with(|| world().new_place(name(), 0))
    }

    fn is_free(&self, tag: &LOCKTAG, mode: u32, thread: usize) -> bool {
        let locks = self.locks.borrow();
        let mut others = locks.iter().filter(|l| l.thread != thread && l.tag == *tag);
        !others.any(|l| conflict(mode, l.mode))
    }

    pub fn acquire(&self, tag: &LOCKTAG, mode: u32, wait: bool) -> LockAcquireResult::Type {
        let (world, thread) = (world(), me());
        if self.is_held(tag, mode) {
            return LockAcquireResult::LOCKACQUIRE_ALREADY_HELD;
        }
        let place = self.place_of(tag);
        if wait {
            let tag = *tag;
            world.touch_when(
                place,
                taking(mode),
                Rc::new(move || server().is_free(&tag, mode, thread)),
            );
        } else {
            world.touch(place, taking(mode));
            let is_free = self.is_free(tag, mode, thread);
            world.note(u64::from(is_free));
            if !is_free {
                return LockAcquireResult::LOCKACQUIRE_NOT_AVAIL;
            }
        }
        if world.is_over.get() {
            return LockAcquireResult::LOCKACQUIRE_NOT_AVAIL;
        }
        let depth = self.depths.borrow()[thread];
        let lock = Lock {
            tag: *tag,
            mode,
            thread,
            depth,
        };
        self.locks.borrow_mut().push(lock);
        world.toggle(lock.hash(place));
        world.tell(|| format!("locks {:x} in mode {mode}", tag.locktag_field3));
        LockAcquireResult::LOCKACQUIRE_OK
    }

    pub fn release(&self, tag: &LOCKTAG, mode: u32) {
        let (world, thread) = (world(), me());
        let place = self.place_of(tag);
        world.touch(place, releasing(mode));
        let mut locks = self.locks.borrow_mut();
        let held = |l: &Lock| l.thread == thread && l.tag == *tag && l.mode == mode;
        if let Some(n) = locks.iter().position(held) {
            world.toggle(locks.remove(n).hash(place));
            world.tell(|| format!("releases {:x}", tag.locktag_field3));
        }
    }

    pub fn is_held(&self, tag: &LOCKTAG, mode: u32) -> bool {
        let thread = me();
        let locks = self.locks.borrow();
        locks
            .iter()
            .any(|l| l.thread == thread && l.tag == *tag && l.mode == mode)
    }

    /// Who holds a lock in a mode that conflicts.
    pub fn conflicting(&self, tag: &LOCKTAG, mode: u32) -> Vec<usize> {
        let (world, thread) = (world(), me());
        world.touch(self.place_of(tag), asking(mode));
        let locks = self.locks.borrow();
        let others = locks.iter().filter(|l| l.thread != thread && l.tag == *tag);
        let mut found: Vec<usize> = others
            .filter(|l| conflict(mode, l.mode))
            .map(|l| l.thread)
            .collect();
        found.sort_unstable();
        found.dedup();
        found.iter().for_each(|t| world.note(*t as u64 + 1));
        world.note(0);
        world.tell(|| format!("asks who writes {:x}: {found:?}", tag.locktag_field3));
        found
    }

    pub fn release_from(&self, depth: usize) {
        self.release_those(|lock| lock.depth >= depth);
    }

    pub fn depth(&self) -> usize {
        self.depths.borrow()[me()]
    }

    /// Keys, which are no locks of PostgreSQL's.
    pub fn release_keys_from(&self, depth: usize) {
        self.release_those(|lock| lock.depth >= depth && lock.is_key());
    }

    pub fn holds_keys(&self) -> bool {
        let locks = self.locks.borrow();
        locks.iter().any(|l| l.thread == me() && l.is_key())
    }

    fn release_those(&self, which: impl Fn(&Lock) -> bool) {
        let thread = me();
        loop {
            let is_it = |l: &&Lock| l.thread == thread && which(l);
            let Some(lock) = self.locks.borrow().iter().find(is_it).copied() else {
                return;
            };
            if world().is_over.get() {
                return;
            }
            self.release(&lock.tag, lock.mode);
        }
    }
}
