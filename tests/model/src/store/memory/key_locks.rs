//! The table of key locks as the model sees it. The engine changes it under spin locks: so each change of a key is one step.
//! Holders of keys are kept where those of PostgreSQL's own locks are, in modes that exclude the same.

use crate::pg_sys::{self, Oid};
use crate::server::server;
use crate::store::lock::keys::key_tag;

use super::key_mode::Mode;

/// The lock manager's mode that excludes what this one does.
pub fn mode_of(mode: Mode) -> u32 {
    match mode {
        Mode::Written => pg_sys::RowExclusiveLock,
        Mode::Checked => pg_sys::ShareLock,
        Mode::CheckedAndWritten => pg_sys::ShareRowExclusiveLock,
    }
}

pub fn held_as(partition: Oid, key: i64) -> Option<Mode> {
    let modes = [Mode::Written, Mode::Checked, Mode::CheckedAndWritten];
    let is_held = |m: &Mode| server().is_held(&key_tag(partition, key), mode_of(*m));
    modes.into_iter().filter(is_held).reduce(Mode::and)
}

pub fn holds_any() -> bool {
    server().holds_keys()
}

pub fn writers_of(partition: Oid, key: i64) -> Vec<usize> {
    server().conflicting(&key_tag(partition, key), pg_sys::ShareLock)
}

pub(in crate::store) fn taken() -> usize {
    0
}

/// The callback of a rollback is called while the subtransaction is the running one.
pub(in crate::store) fn roll_back(_: usize) {
    server().release_keys_from(server().depth());
}

/// Subtransactions are not committed here.
pub(in crate::store) fn hand_over(_: usize, _: u32) {}

pub(in crate::store) fn release_all() {
    server().release_keys_from(0);
}
