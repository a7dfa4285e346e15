//! Taking a key and waiting for it, in one step.

use crate::dcb::error::Result;
use crate::pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL;
use crate::pg_sys::Oid;
use crate::server::server;
use crate::store::memory::key_locks::{held_as, mode_of};
use crate::store::memory::key_mode::Mode;

use super::keys::{Taken, key_tag};

pub(in crate::store) fn take(partition: Oid, key: i64, mode: Mode) -> Result<Taken> {
    let mode = held_as(partition, key).map_or(mode, |held| held.and(mode));
    let outcome = server().acquire(&key_tag(partition, key), mode_of(mode), true);
    Ok(match outcome {
        LOCKACQUIRE_NOT_AVAIL => Taken::Not,
        _ => Taken::Anew,
    })
}
