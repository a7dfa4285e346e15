//! Taking a key's lock, and waiting for it.
//!
//! Where nobody is in the way, the table of key locks is all that is asked. Where somebody is, it goes as with a row that is
//! locked (PostgreSQL's heap_lock_tuple): those who come to the key queue for a lock of PostgreSQL's lock manager. The first
//! of them marks the key as wanted, so that nobody new goes before him, and waits for the end of one holder after another,
//! until none is in his way. So deadlocks are found, and `lock_timeout`, cancelling and `pg_blocking_pids` work.

use std::time::Duration;

use pgrx::pg_sys::{self, LOCKTAG, Oid, VirtualTransactionId};

use crate::dcb::error::Result;
use crate::store::memory::key_locks::{self, Wish};
use crate::store::memory::key_mode::Mode;
use crate::store::memory::key_table::{Holder, Outcome, Stance};
use crate::store::memory::shmem::Shared;
use crate::store::memory::stat::{self, Counted};

use super::keys::{Taken, key_tag};
use super::manager::{acquire, release};

/// Takes a key that the transaction does not hold in this mode. It is not taken where the table is full.
///
/// # Errors
/// 53200 where the server has no room for the table.
pub(in crate::store) fn take(partition: Oid, key: i64, mode: Mode) -> Result<Taken> {
    let shared = Shared::get()?;
    let wish = Wish {
        partition,
        key,
        mode,
        subtransaction: subtransaction(),
    };
    let is_held = key_locks::held_as(partition, key).is_some();
    let stance = match is_held {
        true => Stance::Holder,
        false => Stance::Newcomer,
    };
    let outcome = match key_locks::take(shared, wish, stance) {
        Outcome::Blocked { by, .. } => {
            stat::count(Counted::LockWaits, 1);
            match is_held {
                true => wait(shared, wish, stance, by),
                false => queue(shared, wish),
            }
        }
        outcome => outcome,
    };
    Ok(match outcome {
        Outcome::Held(_) if is_held => Taken::Before,
        Outcome::Held(_) => Taken::Anew,
        _ => Taken::Not,
    })
}

/// Waits behind those who came before. Where that ends in an error, the end of the (sub)transaction takes back the mark
/// and the place in the queue.
fn queue(shared: &Shared, wish: Wish) -> Outcome {
    let tag = key_tag(wish.partition, wish.key);
    acquire(&tag, pg_sys::ExclusiveLock, true);
    let outcome = wait(shared, wish, Stance::First, None);
    release(&tag, pg_sys::ExclusiveLock);
    outcome
}

/// Waits for one holder after another.
fn wait(shared: &Shared, wish: Wish, stance: Stance, mut by: Option<Holder>) -> Outcome {
    let (mut before, mut again) = (None, 0);
    loop {
        if let Some(holder) = by {
            pgrx::check_for_interrupts!();
            again = if before == by { again + 1 } else { 0 };
            wait_for(holder, again);
            before = by;
        }
        match key_locks::take(shared, wish, stance) {
            Outcome::Blocked { by: other, .. } => by = other,
            outcome => return outcome,
        }
    }
}

/// Waits for the end of a holder's subtransaction, or of his whole transaction. `again`: how often that was waited for
/// before.
///
/// The holder gives his keys back a moment after the lock that is waited for here: so he may be found once more.
fn wait_for(holder: Holder, again: u32) {
    match again {
        0 => {}
        1..=20 => std::thread::yield_now(),
        _ => std::thread::sleep(Duration::from_micros(200)),
    }
    if holder.subtransaction != 0 {
        // It holds this lock until it has ended. Where it was committed, the key is its parent's by then.
        let tag = LOCKTAG {
            locktag_field1: holder.subtransaction,
            locktag_field2: 0,
            locktag_field3: 0,
            locktag_field4: 0,
            locktag_type: pg_sys::LockTagType::LOCKTAG_TRANSACTION as u8,
            locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
        };
        acquire(&tag, pg_sys::ShareLock, true);
        release(&tag, pg_sys::ShareLock);
        return;
    }
    let transaction = VirtualTransactionId {
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        backendId: holder.backend as i32,
        #[cfg(not(any(feature = "pg15", feature = "pg16")))]
        procNumber: holder.backend as i32,
        localTransactionId: holder.transaction,
    };
    // SAFETY: waits for the lock that each transaction holds on its own virtual number until it has ended; where it has,
    // it returns at once.
    unsafe { pg_sys::VirtualXactLock(transaction, true) };
}

/// The xid of the running subtransaction, 0 where none runs. What it takes is given back where it is rolled back: so others
/// must be able to wait for its end.
fn subtransaction() -> u32 {
    // SAFETY: they ask for the state of the transaction, and give the subtransaction a number where it has none.
    unsafe {
        match pg_sys::GetCurrentTransactionNestLevel() {
            1 => 0,
            _ => pg_sys::GetCurrentTransactionId().into_inner(),
        }
    }
}
