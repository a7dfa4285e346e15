//! The shared memory of en57: one entry for each log (a database's events table), one slot and one cell of
//! counters for each backend, a pool of late keys, the table of key locks, and a condition variable for those who wait.
//!
//! It is made on first use, so that CREATE EXTENSION works on a stock server: a dynamic segment, which on
//! 15 and 16 is found by a handle in the reserve that PostgreSQL keeps for late comers, and on 17 and 18 by
//! its name. With the library in shared_preload_libraries the room is requested at start.
//!
//! Memory order: see docs/architecture/positions.md, "Slots". All accesses are sequentially consistent.

use std::cell::Cell;
use std::mem::{align_of, offset_of, size_of};
use std::sync::atomic::Ordering::SeqCst;

use pgrx::pg_sys;

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::pg::guard;

use super::atomic::{AtomicU32, AtomicU64};
use super::key_table::{Bucket, FREE_PARTS, Free, Hold, KeyLock, Table};
use super::late_key::LateKey;
use super::stat::{Cell as Counters, Total};
use super::worker_slot::WorkerSlot;

pub use super::layout::{Log, Slot};

#[cfg(feature = "in-process-tests")]
pub mod tests;

/// Logs of one cluster: databases that have the extension, and some room for dropped ones.
const LOGS: usize = 256;
/// Changes when the layout does: two builds must never share a segment.
const NAME: &std::ffi::CStr = c"en57 shared memory 7";

/// The whole; the slots follow it in memory, then the backends' counters, the pool of late keys, and the parts of the table
/// of key locks.
#[repr(C, align(64))]
pub struct Shared {
    ready: AtomicU64,
    /// No slot from here on has ever been used: what need not be looked at.
    pub used_slots: AtomicU32,
    /// How many backends sleep on `moved`, or are about to.
    pub sleepers: AtomicU32,
    /// Broadcast when a slot is cleared, if anybody sleeps.
    pub moved: pg_sys::ConditionVariable,
    /// The logs.
    pub logs: [Log; LOGS],
    /// What `stat` has counted for them.
    pub totals: [Total; LOGS],
    /// What databases' sessions and their workers know of each other.
    pub desks: [WorkerSlot; LOGS],
    slots: [Slot; 0],
}

const _: () = assert!(size_of::<Log>() == 64 && size_of::<Slot>() == 64);
const _: () = assert!(offset_of!(Shared, slots) % 64 == 0);
const _: () = assert!(size_of::<Counters>().is_multiple_of(align_of::<LateKey>()));
const _: () = assert!(size_of::<Free>().is_multiple_of(align_of::<Hold>()));
const _: () = assert!(size_of::<Hold>() == 32);
const _: () = assert!(size_of::<KeyLock>() == 40 && align_of::<KeyLock>() == 8);
const _: () = assert!(size_of::<Bucket>() == 8);

thread_local! {
    static ATTACHED: Cell<Option<&'static Shared>> = const { Cell::new(None) };
}

/// How many slots there are.
pub fn slot_count() -> usize {
    // SAFETY: set before any backend starts. Backend ids count from 1 up to and with MaxBackends.
    unsafe { pg_sys::MaxBackends as usize + 1 }
}

/// Where the counters are.
fn cells_offset() -> usize {
    (offset_of!(Shared, slots) + slot_count() * size_of::<Slot>())
        .next_multiple_of(align_of::<Counters>())
}

/// Where the pool of late keys is.
fn late_keys_offset() -> usize {
    cells_offset() + slot_count() * size_of::<Counters>()
}

/// How many late keys there can be at a time: each stands beside the lock of a key, or of a root.
fn late_key_count() -> usize {
    key_lock_count()
}

/// How many key locks there can be at a time. It is more than most servers need, and grows with the settings for
/// PostgreSQL's own lock table.
pub fn key_lock_count() -> usize {
    // SAFETY: both are set when the server starts.
    let own = unsafe { pg_sys::max_locks_per_xact as usize * pg_sys::MaxBackends as usize };
    own.max(1 << 15).next_power_of_two() * 2
}

/// Where the parts of the table of key locks are, in this order: free lists, holds, keys, buckets. Then the end.
fn key_table_offsets() -> [usize; 5] {
    let n = key_lock_count();
    let sizes = [
        FREE_PARTS * size_of::<Free>(),
        n * size_of::<Hold>(),
        n * size_of::<KeyLock>(),
        n * size_of::<Bucket>(),
    ];
    let start = (late_keys_offset() + late_key_count() * size_of::<LateKey>())
        .next_multiple_of(align_of::<Free>());
    let mut offsets = [start; 5];
    for (i, size) in sizes.iter().enumerate() {
        offsets[i + 1] = offsets[i] + size;
    }
    offsets
}

fn size() -> usize {
    let [.., end] = key_table_offsets();
    end
}

/// What is asked for: the room, and what aligning it may take.
const fn with_padding(bytes: usize) -> usize {
    bytes + align_of::<Counters>()
}

fn aligned(memory: *mut std::ffi::c_void) -> *mut Shared {
    memory
        .cast::<Shared>()
        .map_addr(|a| a.next_multiple_of(align_of::<Counters>()))
}

static mut PREVIOUS_REQUEST: pg_sys::shmem_request_hook_type = None;
static mut PRELOADED: bool = false;

/// With the library preloaded: asks for the room. Otherwise nothing: it is taken on first use.
pub fn init() {
    // SAFETY: runs once, in the postmaster, before any other thread or backend exists.
    unsafe {
        if pg_sys::process_shared_preload_libraries_in_progress {
            PREVIOUS_REQUEST = pg_sys::shmem_request_hook;
            pg_sys::shmem_request_hook = Some(request);
            PRELOADED = true;
        }
    }
}

unsafe extern "C-unwind" fn request() {
    // SAFETY: called by the postmaster at the one time when requests are allowed.
    unsafe {
        if let Some(previous) = PREVIOUS_REQUEST {
            previous();
        }
        pg_sys::RequestAddinShmemSpace(with_padding(size()));
    }
}

impl Shared {
    /// The shared memory, attached (and if need be made) by this backend's first call.
    ///
    /// # Errors
    /// 53200 where the server has no room left for it.
    pub fn get() -> Result<&'static Self> {
        if let Some(shared) = ATTACHED.get() {
            return Ok(shared);
        }
        let shared = attach()?;
        ATTACHED.set(Some(shared));
        Ok(shared)
    }

    /// The shared memory if this backend has attached it; never fails.
    pub fn attached() -> Option<&'static Self> {
        ATTACHED.get()
    }

    /// All slots, by backend.
    pub fn slots(&self) -> &[Slot] {
        // SAFETY: attach() made room for slot_count() slots behind the struct, zeroed, and atomics may
        // be shared.
        unsafe { std::slice::from_raw_parts(self.slots.as_ptr(), slot_count()) }
    }

    /// The backends' counters.
    pub fn cells(&self) -> &[Counters] {
        // SAFETY: as for the slots; attach() aligned the whole for the counters, and cells_offset() keeps
        // that.
        unsafe {
            let start = std::ptr::from_ref(self).cast::<u8>().add(cells_offset());
            std::slice::from_raw_parts(start.cast(), slot_count())
        }
    }

    /// The pool of late keys.
    pub(in crate::store) fn late_keys(&self) -> &[LateKey] {
        // SAFETY: as for the counters, whose alignment is a multiple of an entry's.
        unsafe {
            let start = std::ptr::from_ref(self)
                .cast::<u8>()
                .add(late_keys_offset());
            std::slice::from_raw_parts(start.cast(), late_key_count())
        }
    }

    /// The table of key locks.
    pub(in crate::store) fn key_table(&self) -> Table<'_> {
        let [free, holds, locks, buckets, _] = key_table_offsets();
        let n = key_lock_count();
        // SAFETY: as for the counters. The free lists begin at a multiple of their alignment, and the sizes of all parts
        // are multiples of the alignment of the next one.
        unsafe {
            let start = std::ptr::from_ref(self).cast::<u8>();
            Table::of(
                std::slice::from_raw_parts(start.add(buckets).cast(), n),
                std::slice::from_raw_parts(start.add(locks).cast(), n),
                std::slice::from_raw_parts(start.add(holds).cast(), n),
                std::slice::from_raw_parts(start.add(free).cast(), FREE_PARTS),
            )
        }
    }

    /// How many key locks there are now, and how often there was no room for one.
    pub fn key_lock_use(&self) -> (u32, u64) {
        self.key_table().usage()
    }

    /// How the memory was come by, in words.
    pub fn origin() -> &'static str {
        if preloaded() {
            "requested at the server's start"
        } else {
            "dynamic, made on first use"
        }
    }

    /// The slots that have ever been used.
    pub fn used_slots(&self) -> &[Slot] {
        &self.slots()[..self.used_slots.load(SeqCst) as usize]
    }

    /// This backend's slot.
    pub fn my_slot(&self) -> &Slot {
        &self.slots()[my_backend()]
    }

    /// The index of a log in `logs`.
    pub fn index_of(&self, log: &Log) -> usize {
        (std::ptr::from_ref(log) as usize - self.logs.as_ptr() as usize) / size_of::<Log>()
    }
}

/// This backend's number among the slots.
pub fn my_backend() -> usize {
    // SAFETY: set at the start of the backend.
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    unsafe {
        pg_sys::MyBackendId as usize
    }
    // SAFETY: as above.
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    unsafe {
        pg_sys::MyProcNumber as usize
    }
}

/// The backend of a virtual transaction id.
pub fn backend_of(vxid: &pg_sys::VirtualTransactionId) -> usize {
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    let n = vxid.backendId;
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    let n = vxid.procNumber;
    n as usize
}

#[cfg(any(feature = "pg15", feature = "pg16"))]
unsafe extern "C-unwind" {
    // Not in pgrx's bindings.
    fn BackendIdGetProc(backend: std::ffi::c_int) -> *mut pg_sys::PGPROC;
}

/// The process of a backend number, `None` where it has gone meanwhile.
pub fn pid_of(backend: usize) -> Option<i32> {
    // SAFETY: looks in PostgreSQL's table of backends; null where there is none.
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    let process = unsafe {
        pg_sys::ffi::pg_guard_ffi_boundary(|| BackendIdGetProc(backend as std::ffi::c_int))
    };
    // SAFETY: the array of processes has allProcCount elements.
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    let process = unsafe {
        let all = pg_sys::ProcGlobal;
        if backend < (*all).allProcCount as usize {
            (*all).allProcs.add(backend)
        } else {
            std::ptr::null_mut()
        }
    };
    if process.is_null() {
        return None;
    }
    // SAFETY: entries of processes live as long as the server, and are read by others at any time. The
    // number may have been given up since: the pid is 0 then, or that of a process that has ended.
    Some(unsafe { (&raw const (*process).pid).read_volatile() }).filter(|pid| *pid != 0)
}

/// Runs with PostgreSQL's lock for the making of shared structures held.
pub fn exclusively<T>(body: impl FnOnce() -> T) -> T {
    const ADDIN_SHMEM_INIT_LOCK: usize = 21;
    // SAFETY: the fixed LWLocks are there in every backend. An error inside releases it: the abort of a
    // transaction releases all LWLocks.
    unsafe {
        let lock = &raw mut (*pg_sys::MainLWLockArray.add(ADDIN_SHMEM_INIT_LOCK)).lock;
        pg_sys::LWLockAcquire(lock, pg_sys::LWLockMode::LW_EXCLUSIVE);
        let result = body();
        pg_sys::LWLockRelease(lock);
        result
    }
}

fn attach() -> Result<&'static Shared> {
    let located: std::result::Result<_, String> = exclusively(|| {
        let memory = guard::caught(locate)?;
        // SAFETY: `locate` gives size() bytes that all backends share, or null; the lock keeps others
        // out while the first one fills them.
        unsafe {
            if !memory.is_null() && (*memory).ready.load(SeqCst) == 0 {
                std::ptr::write_bytes(memory.cast::<u8>(), 0, size());
                pg_sys::ConditionVariableInit(&raw mut (*memory).moved);
                (*memory).ready.store(1, SeqCst);
            }
        }
        Ok(memory)
    });
    let needed = format!(
        "{} bytes are needed, for {} possible connections.",
        size(),
        slot_count()
    );
    let (memory, detail) = match located {
        Ok(memory) => (memory, needed),
        Err(reason) => (std::ptr::null_mut(), format!("{reason}. {needed}")),
    };
    // SAFETY: the segment lives as long as the server; only its atomics are changed from here on, and
    // the condition variable by PostgreSQL's own functions.
    unsafe { memory.as_ref() }.ok_or_else(|| {
        Error::new(
            SqlState::OutOfMemory,
            "the shared memory of en57 is not to be had",
        )
        .detail(detail)
        .hint("Make room for it (/dev/shm), or add en57 to shared_preload_libraries and restart the server.")
    })
}

/// Room that was requested at start.
fn requested() -> *mut Shared {
    let mut found = false;
    // SAFETY: the caller holds AddinShmemInitLock. A piece that was not found is new.
    unsafe {
        let memory = aligned(pg_sys::ShmemInitStruct(
            NAME.as_ptr(),
            with_padding(size()),
            &mut found,
        ));
        if !found {
            (*memory).ready.store(0, SeqCst);
        }
        memory
    }
}

#[cfg(any(feature = "pg15", feature = "pg16"))]
fn locate() -> *mut Shared {
    if preloaded() {
        return requested();
    }
    let mut found = false;
    // SAFETY: the caller holds AddinShmemInitLock, so one backend makes the segment and notes its handle
    // in a piece of PostgreSQL's reserve. Segment and mapping are pinned: they last as long as the server
    // and this backend.
    unsafe {
        let handle: *mut AtomicU32 =
            pg_sys::ShmemInitStruct(NAME.as_ptr(), size_of::<AtomicU32>(), &mut found).cast();
        if !found {
            (*handle).store(NO_SEGMENT, SeqCst);
        }
        let segment = match (*handle).load(SeqCst) {
            NO_SEGMENT => {
                let new = pg_sys::dsm_create(with_padding(size()), 0);
                (*aligned(pg_sys::dsm_segment_address(new)))
                    .ready
                    .store(0, SeqCst);
                pg_sys::dsm_pin_segment(new);
                (*handle).store(pg_sys::dsm_segment_handle(new), SeqCst);
                pg_sys::dsm_pin_mapping(new);
                new
            }
            known => {
                let mut mapped = pg_sys::dsm_find_mapping(known);
                if mapped.is_null() {
                    mapped = pg_sys::dsm_attach(known);
                    if mapped.is_null() {
                        return std::ptr::null_mut();
                    }
                    pg_sys::dsm_pin_mapping(mapped);
                }
                mapped
            }
        };
        aligned(pg_sys::dsm_segment_address(segment))
    }
}

/// PostgreSQL's DSM_HANDLE_INVALID.
#[cfg(any(feature = "pg15", feature = "pg16"))]
const NO_SEGMENT: u32 = 0;

#[cfg(not(any(feature = "pg15", feature = "pg16")))]
fn locate() -> *mut Shared {
    if preloaded() {
        return requested();
    }
    let mut found = false;
    unsafe extern "C-unwind" fn zero(memory: *mut std::ffi::c_void) {
        // SAFETY: called once, on a new segment of the size asked for.
        unsafe { std::ptr::write_bytes(memory.cast::<u8>(), 0, with_padding(size())) };
    }
    // SAFETY: the segment is pinned by PostgreSQL's registry for the life of the server.
    unsafe {
        aligned(pg_sys::GetNamedDSMSegment(
            NAME.as_ptr(),
            with_padding(size()),
            Some(zero),
            &mut found,
        ))
    }
}

/// Whether the room was requested at the server's start; inherited by every backend.
fn preloaded() -> bool {
    // SAFETY: written once in the postmaster, before backends exist.
    unsafe { PRELOADED }
}
