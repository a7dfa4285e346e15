//! Where things are in the shared memory.

use std::sync::atomic::Ordering::SeqCst;

use crate::dcb::error::Result;
use crate::store::pg::in_process::tests;

use super::{
    LOGS, Log, Shared, Slot, backend_of, cells_offset, key_table_offsets, late_key_count,
    late_keys_offset, my_backend, pid_of, size, slot_count,
};

tests![
    parts_lie_one_after_the_other,
    aligned_start,
    numbers_of_logs,
    own_slot,
    processes_of_backends,
];

fn parts_lie_one_after_the_other() -> Result<()> {
    let shared = Shared::get()?;
    let start = std::ptr::from_ref(shared) as usize;
    let (slots, cells, keys) = (shared.slots(), shared.cells(), shared.late_keys());
    assert_eq!(
        (slots.len(), cells.len(), keys.len()),
        (slot_count(), slot_count(), late_key_count())
    );
    let ranges = [
        (start, start + size_of::<Shared>()),
        (
            slots.as_ptr_range().start as usize,
            slots.as_ptr_range().end as usize,
        ),
        (
            cells.as_ptr_range().start as usize,
            cells.as_ptr_range().end as usize,
        ),
        (
            keys.as_ptr_range().start as usize,
            keys.as_ptr_range().end as usize,
        ),
    ];
    for pair in ranges.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "{pair:?} overlap");
    }
    assert_eq!(ranges[2].0, start + cells_offset());
    assert_eq!(ranges[3].0, start + late_keys_offset());
    let [first, .., end] = key_table_offsets();
    assert!(ranges[3].1 <= start + first && first.is_multiple_of(64));
    assert_eq!(end, size(), "the last part ends with the whole");
    Ok(())
}

/// Slots of different backends are never on one line of the processor's cache.
fn aligned_start() -> Result<()> {
    let shared = Shared::get()?;
    for (n, slot) in shared.slots().iter().enumerate() {
        assert_eq!(std::ptr::from_ref(slot) as usize % 64, 0, "slot {n}");
    }
    assert!(shared.cells().as_ptr().is_aligned() && shared.late_keys().as_ptr().is_aligned());
    assert_eq!((size_of::<Slot>(), size_of::<Log>()), (64, 64));
    Ok(())
}

fn numbers_of_logs() -> Result<()> {
    let shared = Shared::get()?;
    for n in [0, 1, LOGS / 2, LOGS - 1] {
        assert_eq!(shared.index_of(&shared.logs[n]), n);
    }
    Ok(())
}

fn own_slot() -> Result<()> {
    let shared = Shared::get()?;
    assert!(my_backend() < slot_count());
    assert!(std::ptr::eq(
        shared.my_slot(),
        &raw const shared.slots()[my_backend()]
    ));
    let used = shared.used_slots.load(SeqCst) as usize;
    assert_eq!(shared.used_slots().len(), used);
    assert!(used <= slot_count());
    Ok(())
}

/// A backend's number leads to its process, and its virtual transaction id to that number.
fn processes_of_backends() {
    assert_eq!(pid_of(my_backend()), i32::try_from(std::process::id()).ok());
    let mut own = pgrx::pg_sys::VirtualTransactionId::default();
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    {
        own.backendId = my_backend() as i32;
    }
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    {
        own.procNumber = my_backend() as i32;
    }
    assert_eq!(backend_of(&own), my_backend());
    // One that nobody has: no process, or none any more.
    assert_ne!(
        pid_of(slot_count() - 1),
        i32::try_from(std::process::id()).ok()
    );
}
