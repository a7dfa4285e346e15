//! Which modes stand for which, and how locks are named.

use pgrx::pg_sys::{self, Oid};

use crate::dcb::error::Result;
use crate::store::lock::manager::acquire;
use crate::store::pg::in_process::tests;

use super::{
    KEY_WRITES, MODES, ROOT_WRITES, covers, holds_root, is_checked, is_covered, is_held, key_tag,
    root_tag, writers_of, writers_of_anything,
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

/// Whoever writes conflicts with whoever checks, and with nobody who writes only.
fn modes_of_writers() {
    for mode in KEY_WRITES {
        assert!(conflict(mode, pg_sys::ShareLock), "{mode}");
    }
    assert!(!conflict(
        pg_sys::RowExclusiveLock,
        pg_sys::RowExclusiveLock
    ));
    assert!(!conflict(pg_sys::ShareLock, pg_sys::ShareLock));
    assert!(conflict(
        pg_sys::ShareRowExclusiveLock,
        pg_sys::ShareRowExclusiveLock
    ));
    // Of a root: those with key locks, conditional or not, beside those whose root lock stands for their keys.
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

fn locks_that_are_held() {
    let partition = Oid::from(4_000_000_000);
    let (tag, root) = (key_tag(partition, 7), root_tag(partition));
    assert!(!holds_root(partition) && !is_covered(&tag, pg_sys::RowExclusiveLock));
    acquire(&tag, pg_sys::ShareRowExclusiveLock, true);
    assert!(is_held(&tag, pg_sys::ShareRowExclusiveLock) && !is_held(&tag, pg_sys::ShareLock));
    assert!(is_covered(&tag, pg_sys::ShareLock) && is_covered(&tag, pg_sys::RowExclusiveLock));
    assert!(!is_covered(&tag, pg_sys::ExclusiveLock));
    assert!(!is_covered(&key_tag(partition, 8), pg_sys::ShareLock));
    acquire(&root, pg_sys::RowShareLock, true);
    assert!(holds_root(partition) && !holds_root(Oid::from(3_999_999_999)));
    // The transaction counts its key locks itself; those taken here it knows nothing of.
    assert!(!is_checked(partition, 7));
}

/// Who asks who writes under a key is not told of himself.
fn own_locks_are_nobody_elses() -> Result<()> {
    let partition = Oid::from(4_000_000_001);
    acquire(&key_tag(partition, 7), pg_sys::RowExclusiveLock, true);
    acquire(&root_tag(partition), pg_sys::ExclusiveLock, true);
    assert_eq!(writers_of(partition, 7), [0; 0]);
    assert_eq!(writers_of_anything(partition), [0; 0]);
    Ok(())
}
