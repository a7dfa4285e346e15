//! The key locks of this backend's transaction: what it holds in the table, and what a rollback gives back.
//!
//! They last until the transaction ends, or the subtransaction that has taken them is rolled back. The callbacks for that
//! give them back after the slot was cleared: whoever does not find a hold any more finds what was written under the key, or
//! that it was undone.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use pgrx::pg_sys::{self, Oid};

use super::key_mode::Mode;
use super::key_table::{Holder, Key, Outcome, Stance};
use super::shmem::{Shared, my_backend};

pub use super::key_table::Shown;

/// More room than this is given back at the end of a transaction.
const KEPT_ROOM: usize = 1024;

/// PostgreSQL's TopSubTransactionId.
const TOP: pg_sys::SubTransactionId = 1;

/// A key of a partition.
type Name = (u32, i64);

/// One key that is held.
#[derive(Clone, Copy)]
struct Own {
    /// Its place in the table.
    hold: u32,
    mode: Mode,
    /// Who has taken it last; see [`Holder`].
    subtransaction: u32,
}

#[derive(Default)]
struct Owned {
    held: HashMap<Name, Own, BuildHasherDefault<KeyHasher>>,
    /// What subtransactions have taken: the key, and how it was held before.
    taken: Vec<(Name, Option<Own>)>,
    /// The place in the table of the key that others are kept from because this backend waits for it.
    wanted: Option<u32>,
}

/// Keys are hashes already.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.write_u32(u32::from(*b)));
    }
    fn write_u32(&mut self, n: u32) {
        self.write_i64(i64::from(n));
    }
    fn write_i64(&mut self, n: i64) {
        self.0 = (self.0.rotate_left(29) ^ n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

thread_local! {
    static OWNED: RefCell<Owned> = RefCell::default();
}

/// A key that is to be taken.
#[derive(Clone, Copy)]
pub struct Wish {
    /// The partition.
    pub partition: Oid,
    /// The key in it.
    pub key: i64,
    /// As what.
    pub mode: Mode,
    /// The running subtransaction's xid, 0 where none runs: the end of the wish.
    pub subtransaction: u32,
}

impl Wish {
    fn name(&self) -> Name {
        (self.partition.to_u32(), self.key)
    }
}

fn key_of((partition, key): Name) -> Key {
    Key {
        // SAFETY: set at the start of the backend.
        database: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        partition,
        key,
    }
}

/// The local number of the running transaction.
fn transaction() -> u32 {
    // SAFETY: this backend's own entry among PostgreSQL's processes, there as long as the backend.
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    unsafe {
        (*pg_sys::MyProc).lxid
    }
    // SAFETY: as above.
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    unsafe {
        (*pg_sys::MyProc).vxid.lxid
    }
}

/// As what the transaction holds a key.
pub fn held_as(partition: Oid, key: i64) -> Option<Mode> {
    OWNED.with_borrow(|owned| {
        let own = owned.held.get(&(partition.to_u32(), key));
        own.map(|own| own.mode)
    })
}

/// Whether the transaction holds any key.
pub fn holds_any() -> bool {
    OWNED.with_borrow(|owned| !owned.held.is_empty())
}

/// Takes a key, where nobody is in the way.
pub(in crate::store) fn take(shared: &Shared, wish: Wish, stance: Stance) -> Outcome {
    make_room();
    OWNED.with_borrow_mut(|owned| {
        let before = owned.held.get(&wish.name()).copied();
        let mode = before.map_or(wish.mode, |own| own.mode.and(wish.mode));
        let holder = Holder {
            backend: my_backend() as u32,
            transaction: transaction(),
            subtransaction: wish.subtransaction,
        };
        let own = before.map(|own| own.hold);
        let key = key_of(wish.name());
        let outcome = shared.key_table().take(&key, mode, holder, own, stance);
        match outcome {
            Outcome::Held(hold) => {
                if wish.subtransaction != 0 {
                    owned.taken.push((wish.name(), before));
                }
                let own = Own {
                    hold,
                    mode,
                    subtransaction: wish.subtransaction,
                };
                owned.held.insert(wish.name(), own);
            }
            Outcome::Full => {}
            Outcome::Blocked { .. } if stance == Stance::Newcomer => return outcome,
            Outcome::Blocked { lock, .. } => {
                owned.wanted = Some(lock);
                return outcome;
            }
        }
        owned.wanted = None;
        outcome
    })
}

/// Makes room for one more key. A session that finds no memory ends at once, and what it holds must be given back then: so
/// nothing is allocated while it is borrowed.
fn make_room() {
    let full = |owned: &Owned| {
        let (held, taken) = (&owned.held, &owned.taken);
        let is_full = held.len() == held.capacity() || taken.len() == taken.capacity();
        is_full.then_some((held.len(), taken.len()))
    };
    if let Some((held, taken)) = OWNED.with_borrow(full) {
        let mut larger = Owned::default();
        larger.held.reserve(2 * held + 16);
        larger.taken.reserve(2 * taken + 16);
        OWNED.with_borrow_mut(|owned| {
            larger.held.extend(owned.held.drain());
            larger.taken.append(&mut owned.taken);
            larger.wanted = owned.wanted.take();
            std::mem::swap(owned, &mut larger);
        });
    }
}

/// The other backends whose transactions hold a key as written.
pub fn writers_of(partition: Oid, key: i64) -> Vec<usize> {
    match Shared::attached() {
        Some(shared) => {
            let key = key_of((partition.to_u32(), key));
            shared.key_table().writers(&key, my_backend())
        }
        None => Vec::new(),
    }
}

/// All that transactions of this database hold, and those who wait for a key as the first.
pub fn shown(shared: &Shared) -> Vec<Shown> {
    shared.key_table().shown(key_of((0, 0)).database)
}

/// What a subtransaction begins with.
pub(in crate::store) fn taken() -> usize {
    OWNED.with_borrow(|owned| owned.taken.len())
}

/// Gives back what was taken since. Never fails.
pub(in crate::store) fn roll_back(taken: usize) {
    let Some(shared) = Shared::attached() else {
        return;
    };
    let table = shared.key_table();
    OWNED.with_borrow_mut(|owned| {
        if let Some(lock) = owned.wanted.take() {
            table.stop_waiting(lock, my_backend() as u32);
        }
        while owned.taken.len() > taken {
            let Some((name, before)) = owned.taken.pop() else {
                break;
            };
            match before {
                Some(own) => {
                    table.change(own.hold, own.mode, own.subtransaction);
                    owned.held.insert(name, own);
                }
                None => {
                    if let Some(own) = owned.held.remove(&name) {
                        table.release(own.hold);
                    }
                }
            }
        }
    });
}

/// A subtransaction is committed into its parent: what it has taken is the parent's from now on.
pub(in crate::store) fn hand_over(taken: usize, parent: pg_sys::SubTransactionId) {
    let Some(shared) = Shared::attached() else {
        return;
    };
    if OWNED.with_borrow(|owned| owned.taken.len() <= taken) {
        return;
    }
    // SAFETY: asks for the numbers of the running subtransaction, which has one since it has taken keys, and of its parent.
    let (own, parent) = unsafe {
        let own = pg_sys::GetCurrentTransactionIdIfAny();
        let parent = match parent {
            TOP => 0,
            _ => pg_sys::SubTransGetParent(own).into_inner(),
        };
        (own.into_inner(), parent)
    };
    let table = shared.key_table();
    OWNED.with_borrow_mut(|owned| {
        let Owned {
            held, taken: all, ..
        } = owned;
        for (name, before) in &mut all[taken..] {
            if let Some(now) = held.get_mut(name).filter(|o| o.subtransaction == own) {
                now.subtransaction = parent;
                table.change(now.hold, now.mode, parent);
            }
            if let Some(before) = before.as_mut().filter(|b| b.subtransaction == own) {
                before.subtransaction = parent;
            }
        }
    });
}

/// Gives all back at the end of the transaction. Never fails.
pub(in crate::store) fn release_all() {
    roll_back(0);
    let Some(shared) = Shared::attached() else {
        return;
    };
    let table = shared.key_table();
    OWNED.with_borrow_mut(|owned| {
        for (_, own) in owned.held.drain() {
            table.release(own.hold);
        }
        if owned.held.capacity() > KEPT_ROOM {
            *owned = Owned::default();
        }
    });
}
