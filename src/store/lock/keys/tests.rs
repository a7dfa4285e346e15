//! Which modes stand for which, and how locks are named.

use pgrx::pg_sys::{self, Oid};

use crate::dcb::error::Result;
use crate::store::lock::manager::acquire;
use crate::store::memory::key_mode::Mode;
use crate::store::pg::in_process::tests;
use crate::store::session::transaction;

use super::{
    MODES, ROOT_WRITES, covers, holds_root, is_checked, is_covered, is_root_covered, key_tag,
    root_tag, take_key, writers_of, writers_of_anything,
};

tests![
    modes_that_cover_others,
    modes_of_writers,
    tags,
    locks_that_are_held,
    own_locks_are_nobody_elses,
];

fn conflict(a: u32, b: u32) -> bool {
    // SAFETY: looks into PostgreSQL's table of conflicts.
    unsafe { pg_sys::DoLockModesConflict(a as i32, b as i32) }
}

/// A mode covers another one if nobody comes past it whom the other one would keep out: by PostgreSQL's own table.
/// `covers` may say less, never more.
fn modes_that_cover_others() {
    for held in MODES {
        for wanted in MODES {
            let keeps_out = |m: &u32| !conflict(wanted, *m) || conflict(held, *m);
            let is_exact = MODES.iter().all(keeps_out);
            assert_eq!(covers(held, wanted), is_exact, "{wanted} by {held}");
        }
    }
}

/// Those that stand for keys conflict with conditions on keys.
fn modes_of_writers() {
    for mode in ROOT_WRITES {
        assert!(
            conflict(mode, pg_sys::RowExclusiveLock),
            "{mode} and a condition"
        );
        assert_eq!(
            conflict(mode, pg_sys::RowShareLock),
            mode == pg_sys::ExclusiveLock,
            "{mode}"
        );
    }
}

/// The same key of two partitions is two locks; nothing else is lost of either.
fn tags() {
    let (one, two) = (Oid::from(100), Oid::from(101));
    let number = |partition, key| {
        let tag = key_tag(partition, key);
        u64::from(tag.locktag_field2) << 32 | u64::from(tag.locktag_field3)
    };
    for key in [i64::MIN, -1, 0, 1, i64::MAX] {
        assert_ne!(number(one, key), number(two, key));
        let bits = number(one, key) ^ number(one, 0);
        assert_eq!(bits, key as u64, "keys of one partition differ as they did");
    }
    let (key, root) = (key_tag(one, 1), root_tag(one));
    assert_ne!(key.locktag_field4, root.locktag_field4);
    assert_ne!(root.locktag_field2, root_tag(two).locktag_field2);
    // pg_advisory_lock() has the objsubids 1 and 2.
    assert!(key.locktag_field4 > 2 && root.locktag_field4 > 2);
    // SAFETY: set at the start of the backend.
    let database = unsafe { pg_sys::MyDatabaseId }.to_u32();
    assert!([key, root].iter().all(|tag| tag.locktag_field1 == database));
}

fn locks_that_are_held() -> Result<()> {
    let partition = Oid::from(4_000_000_000);
    transaction::watch();
    assert!(!holds_root(partition) && !is_covered(partition, 7, Mode::Written));
    assert!(take_key(partition, 7, Mode::Checked)?);
    assert!(is_checked(partition, 7) && !is_covered(partition, 7, Mode::Written));
    assert!(take_key(partition, 7, Mode::Written)?);
    assert!(is_checked(partition, 7) && is_covered(partition, 7, Mode::CheckedAndWritten));
    assert!(!is_checked(partition, 8) && !is_checked(Oid::from(3_999_999_999), 7));
    let root = root_tag(partition);
    acquire(&root, pg_sys::RowShareLock, true);
    assert!(holds_root(partition) && !holds_root(Oid::from(3_999_999_999)));
    assert!(is_root_covered(&root, pg_sys::RowShareLock));
    assert!(!is_root_covered(&root, pg_sys::RowExclusiveLock));
    Ok(())
}

/// Who asks who writes under a key is not told of himself.
fn own_locks_are_nobody_elses() -> Result<()> {
    let partition = Oid::from(4_000_000_001);
    transaction::watch();
    take_key(partition, 7, Mode::Written)?;
    acquire(&root_tag(partition), pg_sys::ExclusiveLock, true);
    assert_eq!(writers_of(partition, 7), [0; 0]);
    assert_eq!(writers_of_anything(partition), [0; 0]);
    Ok(())
}
