//! What en57 remembers about the running transaction and the session, and the callbacks that end it.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::c_void;
use std::rc::Rc;
use std::sync::atomic::Ordering::SeqCst;

use pgrx::pg_sys::{self, Oid};

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::memory::shmem::{Log, Shared};
use crate::store::memory::{key_locks, late_key, slot, worker_slot};
use crate::store::pg::guard;

use super::deadlock;

/// A session remembers its own newest appends key by key up to this many, beyond it as a whole.
const REMEMBERED_KEYS: usize = 1024;

/// What lasts as long as a transaction.
#[derive(Default)]
struct Running {
    /// REPEATABLE READ and above: `next` as of the first read.
    kept_next: Option<i64>,
    /// REPEATABLE READ and above: the frontier of each query that was read, by its stored form and partition.
    kept_frontiers: HashMap<(u32, Vec<u8>), i64>,
    /// REPEATABLE READ and above: the definitions that its reads go by.
    kept_definitions: Option<Rc<dyn Any>>,
    /// Whether it has changed them itself: then nobody else does meanwhile.
    owns_definitions: bool,
    key_locks: usize,
    written: Written,
    /// The log whose positions begin at 1 again once the transaction is committed.
    restart: Option<&'static Log>,
    /// Whether those who wait are to look again when the transaction has committed.
    wakes: bool,
    /// Whether the worker is to look again at what there is to do.
    redefines: bool,
    marks: Vec<Mark>,
    /// That of the subtransaction that was committed last: its commit may still fail.
    committed: Option<Mark>,
}

/// How far the transaction was when a subtransaction began.
#[derive(Clone, Copy, Default)]
struct Mark {
    subtransaction: pg_sys::SubTransactionId,
    key_locks: usize,
    keys: usize,
    last: i64,
    late_keys: u64,
    taken: usize,
    restart: Option<&'static Log>,
}

impl Mark {
    fn of(subtransaction: pg_sys::SubTransactionId, running: &Running) -> Self {
        let Running {
            key_locks,
            written,
            restart,
            ..
        } = running;
        Self {
            subtransaction,
            key_locks: *key_locks,
            keys: written.keys.len(),
            last: written.last,
            late_keys: late_key::last_serial(),
            taken: key_locks::taken(),
            restart: *restart,
        }
    }
}

impl Running {
    fn mark_of(&self, subtransaction: pg_sys::SubTransactionId) -> Option<Mark> {
        let mut marks = self.marks.iter();
        marks.find(|m| m.subtransaction == subtransaction).copied()
    }

    fn go_back_to(&mut self, mark: Mark) {
        self.key_locks = mark.key_locks;
        self.restart = mark.restart;
        self.written.last = mark.last;
        self.written.keys.truncate(mark.keys);
        late_key::roll_back(mark.late_keys);
        key_locks::roll_back(mark.taken);
    }
}

/// Keys that were written, with the last position under each.
#[derive(Default)]
pub struct Written {
    /// `None` for the key: the partition as a whole.
    keys: Vec<(Oid, Option<i64>, i64)>,
    /// The last position of all.
    pub last: i64,
    /// Where there were too many keys, each partition stands for all of its own.
    overflow: bool,
}

thread_local! {
    static RUNNING: RefCell<Running> = RefCell::default();
    /// The session's own committed appends that readers may not see yet.
    static COMMITTED: RefCell<Written> = RefCell::default();
    /// How many of the callbacks are registered.
    static REGISTERED: Cell<u8> = const { Cell::new(0) };
    /// The subtransaction in which that was done, in the transaction in which it was; else 0.
    static REGISTERED_IN: Cell<pg_sys::SubTransactionId> = const { Cell::new(0) };
    /// Whether the callbacks for the end of the transaction have run, and its locks are still to be released.
    static HAS_ENDED: Cell<bool> = const { Cell::new(false) };
    static RESTARTS: Cell<u64> = const { Cell::new(0) };
    static SLEEPING: Cell<bool> = const { Cell::new(false) };
}

impl Written {
    fn add(&mut self, partition: Oid, keys: impl Iterator<Item = (i64, i64)>, last: i64) {
        self.last = self.last.max(last);
        if !self.overflow {
            self.keys.extend(keys.map(|(k, p)| (partition, Some(k), p)));
        }
        self.keys.push((partition, None, last));
        self.condense();
    }

    /// Keeps one entry for each partition where there are too many.
    fn condense(&mut self) {
        if !self.overflow && self.keys.len() <= REMEMBERED_KEYS {
            return;
        }
        self.overflow = true;
        let mut lasts: HashMap<Oid, i64> = HashMap::new();
        for (partition, _, position) in self.keys.drain(..) {
            let last = lasts.entry(partition).or_default();
            *last = position.max(*last);
        }
        self.keys
            .extend(lasts.into_iter().map(|(p, last)| (p, None, last)));
    }

    /// The last position written under a key, or in the partition; 0 if none.
    pub fn last_of(&self, partition: Oid, key: Option<i64>) -> i64 {
        let key = key.filter(|_| !self.overflow);
        let own = self
            .keys
            .iter()
            .filter(|(p, k, _)| *p == partition && *k == key);
        own.map(|(_, _, position)| *position).max().unwrap_or(0)
    }

    /// Takes what a transaction has committed. Never fails: `wrote` has made room.
    fn absorb(&mut self, other: Self) {
        self.overflow |= other.overflow;
        self.last = self.last.max(other.last);
        self.keys.extend(other.keys);
    }

    /// Forgets what is not beyond a partition's frontier.
    fn forget(&mut self, partition: Oid, frontier: i64) {
        self.keys
            .retain(|(p, _, position)| *p != partition || *position > frontier);
        if self.keys.is_empty() {
            *self = Self::default();
        }
    }
}

/// Makes sure that the end of the running transaction is heard. Cheap.
pub fn watch() {
    while REGISTERED.get() < 3 {
        // SAFETY: the callbacks are functions of this library, which is never unloaded. Where there is no memory for one, it
        // is tried again.
        unsafe {
            match REGISTERED.get() {
                0 => pg_sys::RegisterXactCallback(Some(on_transaction_event), std::ptr::null_mut()),
                1 => pg_sys::RegisterSubXactCallback(
                    Some(on_subtransaction_event),
                    std::ptr::null_mut(),
                ),
                _ => {
                    pg_sys::RegisterResourceReleaseCallback(Some(on_release), std::ptr::null_mut())
                }
            }
            REGISTERED_IN.set(pg_sys::GetCurrentSubTransactionId());
        }
        REGISTERED.set(REGISTERED.get() + 1);
    }
}

unsafe extern "C-unwind" fn on_transaction_event(event: pg_sys::XactEvent::Type, _: *mut c_void) {
    match event {
        pg_sys::XactEvent::XACT_EVENT_COMMIT => {
            slot::settle();
            let (wakes, redefines) = RUNNING.with(|r| {
                r.try_borrow()
                    .map_or((false, false), |r| (r.wakes, r.redefines))
            });
            if redefines {
                worker_slot::note_change();
            }
            if wakes || redefines {
                slot::wake();
            }
            end(true);
        }
        pg_sys::XactEvent::XACT_EVENT_ABORT => {
            slot::settle();
            wake_up();
            end(false);
        }
        pg_sys::XactEvent::XACT_EVENT_PREPARE => end(false),
        pg_sys::XactEvent::XACT_EVENT_PRE_PREPARE
            if slot::in_use() || restarts() || key_locks::holds_any() =>
        {
            let error = Error::new(
                SqlState::NotSupported,
                if restarts() {
                    "cannot PREPARE a transaction that restarts positions"
                } else if slot::in_use() {
                    "cannot PREPARE a transaction that has appended events"
                } else {
                    "cannot PREPARE a transaction that has locked keys of events"
                },
            )
            .hint("Commit it in one phase.");
            // SAFETY: PostgreSQL allows errors before a prepare; this frame holds nothing.
            unsafe { guard::raise(error) }
        }
        _ => {}
    }
}

/// What a subtransaction has to give back when it is rolled back: its writes and its locks.
unsafe extern "C-unwind" fn on_subtransaction_event(
    event: pg_sys::SubXactEvent::Type,
    own: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    _: *mut c_void,
) {
    RUNNING.with(|r| {
        let Ok(mut running) = r.try_borrow_mut() else {
            return;
        };
        match event {
            pg_sys::SubXactEvent::SUBXACT_EVENT_START_SUB => {
                let mark = Mark::of(own, &running);
                running.marks.push(mark);
                running.committed = None;
            }
            pg_sys::SubXactEvent::SUBXACT_EVENT_COMMIT_SUB => {
                running.committed = running.mark_of(own);
                let taken = running.committed.map_or(0, |mark| mark.taken);
                key_locks::hand_over(taken, parent);
                running.marks.retain(|m| m.subtransaction < own);
            }
            pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB => {
                let committed = running.committed.filter(|m| m.subtransaction == own);
                let mark = running.mark_of(own).or(committed);
                match mark {
                    Some(mark) => running.go_back_to(mark),
                    // It began before anything was written.
                    None if own <= REGISTERED_IN.get() => running.go_back_to(Mark::default()),
                    // It did not begin whole: nothing was done in it.
                    None => {}
                }
                running.marks.retain(|m| m.subtransaction < own);
            }
            _ => {}
        }
    });
}

/// The end of the transaction gives its keys back. And a subtransaction that was rolled back has given its locks back: those
/// who wait for what its transaction could have written under them look again. At the callback for the rollback itself, readers still find the locks.
unsafe extern "C-unwind" fn on_release(
    phase: pg_sys::ResourceReleasePhase::Type,
    is_commit: bool,
    is_top_level: bool,
    _: *mut c_void,
) {
    // With PostgreSQL's own locks: after the others can see all that was changed, of definitions as well.
    let is_of_locks = phase == pg_sys::ResourceReleasePhase::RESOURCE_RELEASE_LOCKS;
    if is_of_locks && is_top_level && HAS_ENDED.replace(false) {
        key_locks::release_all();
    }
    let is_last = phase == pg_sys::ResourceReleasePhase::RESOURCE_RELEASE_AFTER_LOCKS;
    if is_last && !is_commit && !is_top_level && slot::in_use() {
        slot::wake();
    }
}

/// Runs inside commit and abort: allocates as little as it can and raises nothing.
fn end(committed: bool) {
    HAS_ENDED.set(true);
    REGISTERED_IN.set(0);
    let ended = RUNNING.with(|r| r.try_borrow_mut().map(|mut r| std::mem::take(&mut *r)));
    if let Some(log) = ended
        .as_ref()
        .ok()
        .and_then(|e| e.restart.filter(|_| committed))
    {
        slot::restart(log);
    }
    if let Some(ended) = ended.ok().filter(|e| committed && e.written.last > 0) {
        COMMITTED.with(|c| c.borrow_mut().absorb(ended.written));
    }
}

/// Counts a key lock that was taken.
pub fn count_key_lock() {
    RUNNING.with(|r| r.borrow_mut().key_locks += 1);
}

/// Those who wait look again when the transaction has committed.
pub fn wake_at_commit() {
    watch();
    RUNNING.with(|r| r.borrow_mut().wakes = true);
}

/// The worker looks again at what there is to do when the transaction has committed.
pub fn redefine_at_commit() {
    watch();
    RUNNING.with(|r| r.borrow_mut().redefines = true);
}

/// How many key locks the transaction has taken.
pub fn key_locks() -> usize {
    RUNNING.with(|r| r.borrow().key_locks)
}

/// Remembers what the transaction has written: keys with the last position under each.
pub fn wrote(partition: Oid, keys: impl Iterator<Item = (i64, i64)>, last: i64) {
    RUNNING.with(|r| {
        let written = &mut r.borrow_mut().written;
        written.add(partition, keys, last);
        // Nothing may fail once the transaction is committed: so there is room by then.
        COMMITTED.with(|c| {
            let mut committed = c.borrow_mut();
            committed.condense();
            committed.keys.reserve(written.keys.len());
        });
    });
}

/// Looks at what this session has committed and readers may not see yet.
pub fn with_committed<T>(body: impl FnOnce(&Written) -> T) -> T {
    COMMITTED.with(|c| body(&c.borrow()))
}

/// Forgets what the session has committed to a partition up to a position at which everybody sees it.
pub fn forget_committed(partition: Oid, frontier: i64) {
    COMMITTED.with(|c| {
        let mut committed = c.borrow_mut();
        if committed.last > 0 {
            committed.forget(partition, frontier);
        }
    });
}

/// Positions begin at 1 again once the transaction is committed.
pub fn restart_at_commit(log: &'static Log) {
    watch();
    RUNNING.with(|r| r.borrow_mut().restart = Some(log));
}

fn restarts() -> bool {
    RUNNING.with(|r| r.borrow().restart.is_some())
}

/// Until then it cannot have new ones.
///
/// # Errors
/// 55000.
pub fn refuse_after_restart() -> Result<()> {
    if !restarts() {
        return Ok(());
    }
    Err(Error::new(
        SqlState::NotInPrerequisiteState,
        "positions begin at 1 again when this transaction is committed",
    )
    .hint("Append in the next transaction."))
}

/// Takes note of how often positions have begun at 1 again: what the session has committed before is gone.
pub fn note_restarts(restarts: u64) {
    if RESTARTS.replace(restarts) != restarts {
        COMMITTED.with(|c| *c.borrow_mut() = Written::default());
    }
}

/// Whether reads of this transaction must repeat.
pub fn repeats() -> bool {
    // SAFETY: reads the transaction's isolation level.
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
}

/// `next` as this transaction may see it: in REPEATABLE READ and above that of its first read.
pub fn bounded_next(current: i64) -> i64 {
    if !repeats() {
        return current;
    }
    watch();
    RUNNING.with(|r| *r.borrow_mut().kept_next.get_or_insert(current))
}

/// The frontier that a repeating transaction has read this query up to.
pub fn kept_frontier(partition: Oid, query: &[u8]) -> Option<i64> {
    if !repeats() {
        return None;
    }
    RUNNING.with(|r| {
        r.borrow()
            .kept_frontiers
            .get(&(partition.to_u32(), query.to_vec()))
            .copied()
    })
}

/// Keeps a query's frontier for the rest of a repeating transaction.
pub fn keep_frontier(partition: Oid, query: &[u8], frontier: i64) {
    if repeats() {
        RUNNING.with(|r| {
            r.borrow_mut()
                .kept_frontiers
                .insert((partition.to_u32(), query.to_vec()), frontier)
        });
    }
}

/// The definitions that reads go by: in a repeating transaction those of its first read.
pub fn kept_definitions<T: 'static>(now: Rc<T>) -> Rc<T> {
    if !repeats() {
        return now;
    }
    watch();
    RUNNING.with(|r| {
        let mut running = r.borrow_mut();
        if running.owns_definitions {
            return now;
        }
        let kept = running.kept_definitions.get_or_insert_with(|| now.clone());
        Rc::clone(kept).downcast().unwrap_or(now)
    })
}

/// The transaction changes definitions: its reads go by its own.
pub fn own_definitions() {
    watch();
    RUNNING.with(|r| r.borrow_mut().owns_definitions = true);
}

/// A repeating transaction starts a new moment: what it has locked is read as it is now.
pub fn renew_moment() {
    RUNNING.with(|r| {
        let mut running = r.borrow_mut();
        running.kept_next = None;
        running.kept_frontiers.clear();
        running.kept_definitions = None;
    });
}

/// Counts this backend among those that want to be woken; uncounted when dropped, or at abort.
pub struct Sleeper;

impl Sleeper {
    /// Counts.
    pub fn new(shared: &Shared) -> Self {
        watch();
        if !SLEEPING.replace(true) {
            shared.sleepers.fetch_add(1, SeqCst);
        }
        Self
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        wake_up();
    }
}

/// This backend sleeps no more. Never fails.
pub(in crate::store) fn wake_up() {
    if let Some(shared) = Shared::attached().filter(|_| SLEEPING.replace(false)) {
        deadlock::forget(shared);
        shared.sleepers.fetch_sub(1, SeqCst);
    }
}
