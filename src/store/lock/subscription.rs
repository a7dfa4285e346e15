//! What a session holds of subscriptions: the locks of shards, how far it has polled them, and tickets
//! that tell a function which runs with its owner's rights whose call it serves.
//!
//! The locks last until the transaction ends and write nothing, so a poll that finds no event costs no write.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};

use pgrx::pg_sys::{self, LOCKTAG, LockAcquireResult, Oid};

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::pg::language;

use super::manager::{LockSpace, acquire, release, tag};

thread_local! {
    /// How far the transaction has polled the shards whose locks it holds. An entry is worth nothing
    /// without the lock, and is removed when the lock is taken anew.
    static POLLED: RefCell<HashMap<(i32, i32), i64>> = RefCell::default();
    /// The shards, by their subscriptions' names, whose last poll has given the session nothing.
    static EMPTY_HANDED: RefCell<HashSet<(String, i32)>> = RefCell::default();
    /// The last position that was read of a shard.
    static LAST_READ: Cell<i64> = const { Cell::new(0) };
    /// Up to where the last read of a shard had all there is.
    static COMPLETE_TO: Cell<i64> = const { Cell::new(0) };
    /// The last ticket that was given out, and to whom.
    static TICKET: Cell<Option<(i64, Oid)>> = const { Cell::new(None) };
}

/// Locks a subscription, shared by its pollers or exclusively, until the transaction ends. Returns
/// whether it is locked now, which without `wait` another transaction may prevent.
pub fn lock_subscription(id: i32, exclusive: bool, wait: bool) -> bool {
    let mode = if exclusive {
        pg_sys::ExclusiveLock
    } else {
        pg_sys::ShareLock
    };
    acquire(&of_subscription(id), mode, wait) != LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}

/// Gives an exclusive lock back that this subtransaction has taken, and under which nothing was done.
pub fn unlock_subscription(id: i32) {
    release(&of_subscription(id), pg_sys::ExclusiveLock);
}

/// Locks a shard in the same way, always exclusively.
pub fn lock_shard(id: i32, shard: i32, wait: bool) -> bool {
    let tag = tag(LockSpace::Shard, id as u32, shard as u32);
    match acquire(&tag, pg_sys::ExclusiveLock, wait) {
        LockAcquireResult::LOCKACQUIRE_NOT_AVAIL => return false,
        // Not held until now: what was polled before was rolled back, or was another transaction's.
        LockAcquireResult::LOCKACQUIRE_OK => {
            POLLED.with_borrow_mut(|polled| polled.remove(&(id, shard)));
        }
        _ => {}
    }
    true
}

/// Notes that the transaction, which holds the shard's lock, has been given all up to this position.
pub fn note_polled(id: i32, shard: i32, position: i64) {
    lock_shard(id, shard, true);
    POLLED.with_borrow_mut(|polled| polled.insert((id, shard), position));
}

/// Up to where the transaction was given the shard's events, where it was. It must hold the lock.
pub fn polled(id: i32, shard: i32) -> Option<i64> {
    POLLED.with_borrow(|polled| polled.get(&(id, shard)).copied())
}

/// Notes whether the session's last poll of a shard has given it nothing.
pub fn note_empty_handed(name: &str, shard: i32, is_empty: bool) {
    EMPTY_HANDED.with_borrow_mut(|shards| {
        if is_empty {
            shards.insert((name.to_owned(), shard));
        } else if !shards.is_empty() {
            shards.remove(&(name.to_owned(), shard));
        }
    });
}

/// Whether the session's last poll of a shard has given it nothing.
pub fn is_empty_handed(name: &str, shard: i32) -> bool {
    EMPTY_HANDED
        .with_borrow(|shards| !shards.is_empty() && shards.contains(&(name.to_owned(), shard)))
}

/// Notes the last position that was read.
pub fn note_read(position: i64) {
    LAST_READ.set(position);
}

/// Notes up to where a read of a shard, which begins, has all there is.
pub fn note_complete(upto: i64) {
    COMPLETE_TO.set(upto);
}

/// Up to where the last read of a shard had all there is.
pub fn complete_to() -> i64 {
    COMPLETE_TO.get()
}

/// The last position that was noted.
pub fn last_read() -> i64 {
    LAST_READ.get()
}

/// A number that stands for the current role, once. It cannot be guessed, so that nobody can show a
/// ticket but who has it from here.
///
/// What takes a ticket believes its other arguments. So only the extension's own functions, which check them, get one,
/// and superusers.
///
/// # Errors
/// 42501 where somebody else asks; XX000 where there is no source of randomness.
pub fn ticket() -> Result<i64> {
    // SAFETY: reads the backend's state.
    if !language::asks_for_tickets() && !unsafe { pg_sys::superuser() } {
        return Err(no_ticket());
    }
    let mut number = 0i64;
    // SAFETY: fills the eight bytes of `number`; reads the backend's state.
    let (is_random, role) = unsafe {
        let size = size_of::<i64>();
        let filled = pg_sys::pg_strong_random((&raw mut number).cast(), size);
        (filled, pg_sys::GetUserId())
    };
    if !is_random {
        return Err(Error::new(SqlState::Internal, "no random numbers"));
    }
    TICKET.set(Some((number, role)));
    Ok(number)
}

/// The role that the ticket stands for. It is used up by that.
///
/// # Errors
/// 42501 where it is not the last ticket that was given out.
pub fn redeem(ticket: i64) -> Result<Oid> {
    match TICKET.take() {
        Some((number, role)) if number == ticket => Ok(role),
        _ => Err(no_ticket()),
    }
}

fn no_ticket() -> Error {
    Error::new(SqlState::InsufficientPrivilege, "no such ticket")
        .hint("Call the functions en57_*, not those of the schema en57.")
}

/// The session's name as a holder: its process, and when it began, since numbers of processes return.
pub fn session() -> String {
    // SAFETY: both are set at the start of the backend.
    let (pid, start) = unsafe { (pg_sys::MyProcPid, pg_sys::MyStartTimestamp) };
    format!("pid {pid}/{start:x}")
}

fn of_subscription(id: i32) -> LOCKTAG {
    tag(LockSpace::Subscription, id as u32, 0)
}
