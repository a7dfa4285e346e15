//! What the protocol leaves to PostgreSQL: its lock manager, condition variables, the log's rows and when they can be seen,
//! and the order in which a transaction ends. One step each where PostgreSQL makes one of it by a lock of its own.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::locks::Lock;
use crate::pg_sys::{self, LOCKTAG};
use crate::world::{Parts, Place, THREADS, fail, mix, world};

/// A row of the log.
#[derive(Clone, Debug)]
pub struct Row {
    pub position: i64,
    pub partition: u32,
    pub keys: Vec<i64>,
    pub thread: usize,
    /// How deep in subtransactions it was written.
    depth: usize,
    pub is_committed: bool,
}

/// What a reader asks for: events of a partition, of all keys (`None`) or under one of some.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    pub partition: u32,
    pub keys: Option<Vec<i64>>,
}

impl Question {
    pub fn matches(&self, row: &Row) -> bool {
        let by_key = |keys: &Vec<i64>| row.keys.iter().any(|key| keys.contains(key));
        row.partition == self.partition && self.keys.as_ref().is_none_or(by_key)
    }
}

#[derive(Clone, Copy, Default)]
pub struct Callbacks {
    pub xact: pg_sys::XactCallback,
    pub subxact: pg_sys::SubXactCallback,
    pub release: pg_sys::ResourceReleaseCallback,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sleep {
    Awake,
    Prepared,
    Signalled,
}

/// The server.
pub struct Server {
    pub callbacks: RefCell<Callbacks>,
    rows: RefCell<Vec<Row>>,
    /// Ghost: the conditions of appends that succeeded.
    promises: RefCell<Vec<(Option<i64>, i64, i64)>>,
    /// Ghost: all positions that were ever given.
    given: RefCell<Vec<i64>>,
    /// Ghost: the highest frontier that somebody was given, for each question.
    frontiers: RefCell<HashMap<Question, i64>>,
    pub(crate) locks: RefCell<Vec<Lock>>,
    sleeps: RefCell<[Sleep; THREADS]>,
    /// How deep each thread is in subtransactions.
    pub(crate) depths: RefCell<[usize; THREADS]>,
    serials: RefCell<[u32; THREADS]>,
    open: RefCell<Vec<Vec<u32>>>,
    /// `en57.max_key_locks`, by thread.
    pub most_key_locks: RefCell<[usize; THREADS]>,
    /// The stored ceiling.
    stored: Place,
    table: Place,
    flag: Place,
    moved: Place,
    pub(crate) places: RefCell<HashMap<LOCKTAG, Place>>,
}

std::thread_local! {
    static SERVER: Rc<Server> = Rc::new(Server::new());
}

pub fn server() -> Rc<Server> {
    SERVER.with(Rc::clone)
}

/// Who runs.
pub fn me() -> usize {
    world().current.get().unwrap_or(0)
}

impl Server {
    fn new() -> Self {
        let world = world();
        Self {
            callbacks: RefCell::default(),
            rows: RefCell::default(),
            given: RefCell::default(),
            promises: RefCell::default(),
            frontiers: RefCell::default(),
            locks: RefCell::default(),
            sleeps: RefCell::new([Sleep::Awake; THREADS]),
            depths: RefCell::default(),
            serials: RefCell::default(),
            open: RefCell::new(vec![Vec::new(); THREADS]),
            most_key_locks: RefCell::new([64; THREADS]),
            stored: world.new_place("the stored ceiling".into(), 0),
            table: world.new_place("the table".into(), 0),
            flag: world.new_place("the flag".into(), 0),
            moved: world.new_place("the condition variable".into(), 0),
            places: RefCell::default(),
        }
    }

    /// Before a run.
    pub fn reset(&self) {
        self.callbacks.take();
        self.rows.take();
        self.given.take();
        self.promises.take();
        self.frontiers.take();
        self.locks.take();
        self.sleeps.replace([Sleep::Awake; THREADS]);
        self.depths.take();
        self.serials.take();
        self.open.replace(vec![Vec::new(); THREADS]);
        self.most_key_locks.replace([64; THREADS]);
    }

    // The log's rows.

    /// The running transaction inserts a row, which nobody else sees.
    pub fn insert(&self, partition: u32, position: i64, keys: &[i64]) {
        if self.given.borrow().contains(&position) {
            return fail(format!("position {position} was given twice"));
        }
        self.given.borrow_mut().push(position);
        self.rows.borrow_mut().push(Row {
            position,
            partition,
            keys: keys.to_vec(),
            thread: me(),
            depth: self.depths.borrow()[me()],
            is_committed: false,
        });
    }

    /// The rows that a question finds, by what can be seen now.
    pub fn look(&self, question: &Question) -> Vec<i64> {
        world().touch(self.table, Parts::READ);
        let rows = self.rows.borrow();
        let seen = rows
            .iter()
            .filter(|row| row.is_committed || row.thread == me());
        let found: Vec<i64> = seen
            .filter(|row| question.matches(row))
            .map(|row| row.position)
            .collect();
        found
            .iter()
            .for_each(|position| world().note(*position as u64));
        world().note(0);
        found
    }

    /// The highest frontier that anybody was given for a question up to now.
    pub fn highest(&self, question: &Question) -> i64 {
        world().touch(self.table, Parts::READ);
        let highest = self.frontiers.borrow().get(question).copied().unwrap_or(0);
        world().note(highest as u64);
        highest
    }

    /// A reader was given a frontier and looks at the rows: none up to it may come later.
    pub fn take(&self, question: &Question, frontier: i64) {
        world().touch(self.table, Parts::WRITE);
        world().tell(|| format!("looks at rows up to {frontier}"));
        let mut frontiers = self.frontiers.borrow_mut();
        let known = frontiers.entry(question.clone()).or_insert(0);
        if frontier > *known {
            let keys = question.keys.iter().flatten();
            let place = keys.fold(u64::from(question.partition), |h, key| mix(h, *key as u64));
            world().toggle(mix(place, *known as u64));
            world().toggle(mix(place, frontier as u64));
            *known = frontier;
        }
    }

    /// All rows that were committed.
    pub fn committed(&self) -> Vec<Row> {
        let rows = self.rows.borrow();
        rows.iter()
            .filter(|row| row.is_committed)
            .cloned()
            .collect()
    }

    /// An append succeeds on condition that between `after` and its position nothing is under a key (`None`: in the
    /// partition). Looked at in the end.
    pub fn promise(&self, key: Option<i64>, after: i64, position: i64) {
        let promise = (key, after, position);
        self.promises.borrow_mut().push(promise);
        let what = mix(key.map_or(0, |k| k as u64 + 1), after as u64);
        world().toggle(mix(what, position as u64));
    }

    /// Whether all promises were kept that were committed.
    pub fn check_promises(&self) {
        let rows = self.committed();
        let is_there = |position: i64| rows.iter().any(|row| row.position == position);
        for (key, after, position) in self.promises.borrow().iter() {
            let breaks = |row: &&Row| {
                (after + 1..*position).contains(&row.position)
                    && key.is_none_or(|key| row.keys.contains(&key))
            };
            if let Some(row) = rows.iter().find(breaks).filter(|_| is_there(*position)) {
                let between = row.position;
                fail(format!(
                    "{position} was appended on condition that nothing is under {key:?} after {after}: {between} is"
                ));
            }
        }
    }

    // Transactions.

    /// What COMMIT does, as CommitTransaction in xact.c does it: `ProcArrayEndTransaction`, then the callbacks, then the locks.
    pub fn commit(&self) {
        if crate::is_broken("locks_released_before_visible") {
            self.release_from(0);
        }
        let is_early = crate::is_broken("cleared_before_visible");
        if !is_early {
            self.show();
        }
        self.end(pg_sys::XactEvent::XACT_EVENT_COMMIT);
        if is_early {
            self.show();
        }
    }

    fn show(&self) {
        let thread = me();
        let is_own = |row: &Row| row.thread == thread && !row.is_committed;
        if !self.rows.borrow().iter().any(is_own) {
            return;
        }
        world().touch(self.table, Parts::WRITE);
        world().tell(|| "its rows can be seen".into());
        let mut late = None;
        for row in self.rows.borrow_mut().iter_mut() {
            if row.thread != thread || row.is_committed {
                continue;
            }
            row.is_committed = true;
            world().toggle(mix(row.position as u64, 77));
            for (question, frontier) in &*self.frontiers.borrow() {
                if row.position <= *frontier && question.matches(row) {
                    late = Some(format!(
                        "position {} comes after somebody was told that all up to {frontier} are there: {question:?}",
                        row.position
                    ));
                }
            }
        }
        if let Some(message) = late {
            fail(message);
        }
    }

    /// What ROLLBACK does, as AbortTransaction does it.
    pub fn abort(&self) {
        let thread = me();
        self.rows
            .borrow_mut()
            .retain(|row| row.thread != thread || row.is_committed);
        self.end(pg_sys::XactEvent::XACT_EVENT_ABORT);
    }

    fn end(&self, event: pg_sys::XactEvent::Type) {
        let callbacks = *self.callbacks.borrow();
        self.depths.borrow_mut()[me()] = 0;
        self.open.borrow_mut()[me()].clear();
        if let Some(callback) = callbacks.xact {
            // SAFETY: the engine's own function, called as PostgreSQL calls it.
            unsafe { callback(event, std::ptr::null_mut()) };
        }
        let commits = event == pg_sys::XactEvent::XACT_EVENT_COMMIT;
        self.release_all(0, commits, true);
    }

    fn release_all(&self, depth: usize, commits: bool, top: bool) {
        use pg_sys::ResourceReleasePhase::{
            RESOURCE_RELEASE_AFTER_LOCKS, RESOURCE_RELEASE_BEFORE_LOCKS, RESOURCE_RELEASE_LOCKS,
        };
        for phase in [
            RESOURCE_RELEASE_BEFORE_LOCKS,
            RESOURCE_RELEASE_LOCKS,
            RESOURCE_RELEASE_AFTER_LOCKS,
        ] {
            if phase == RESOURCE_RELEASE_LOCKS {
                self.release_from(depth);
            }
            if let Some(callback) = self.callbacks.borrow().release {
                // SAFETY: as above.
                unsafe { callback(phase, commits, top, std::ptr::null_mut()) };
            }
        }
    }

    /// The running subtransaction; 1 where there is none.
    pub fn subtransaction(&self) -> u32 {
        self.open.borrow()[me()].last().copied().unwrap_or(1)
    }

    /// SAVEPOINT.
    pub fn savepoint(&self) {
        let serial = {
            let serial = &mut self.serials.borrow_mut()[me()];
            *serial += 1;
            *serial + 1
        };
        self.depths.borrow_mut()[me()] += 1;
        self.open.borrow_mut()[me()].push(serial);
        self.tell_subtransaction(pg_sys::SubXactEvent::SUBXACT_EVENT_START_SUB, serial);
    }

    /// ROLLBACK TO it, as AbortSubTransaction does it: its rows are undone, then the callbacks, then its locks.
    pub fn roll_back(&self) {
        let thread = me();
        let depth = self.depths.borrow()[thread];
        let undone = |row: &Row| row.thread == thread && !row.is_committed && row.depth >= depth;
        self.rows.borrow_mut().retain(|row| !undone(row));
        let serial = self.open.borrow_mut()[thread].pop().unwrap_or(0);
        self.tell_subtransaction(pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB, serial);
        self.release_all(depth, false, false);
        self.depths.borrow_mut()[thread] -= 1;
    }

    fn tell_subtransaction(&self, event: pg_sys::SubXactEvent::Type, serial: u32) {
        if let Some(callback) = self.callbacks.borrow().subxact {
            // SAFETY: as above.
            unsafe { callback(event, serial, 1, std::ptr::null_mut()) };
        }
    }

    // The condition variable.

    fn set_sleep(&self, thread: usize, sleep: Sleep) {
        let old = std::mem::replace(&mut self.sleeps.borrow_mut()[thread], sleep);
        if old != sleep {
            let world = world();
            world.toggle(mix(thread as u64 + 900, old as u64));
            world.toggle(mix(thread as u64 + 900, sleep as u64));
        }
    }

    pub fn prepare_to_sleep(&self) {
        world().touch(self.moved, Parts::WRITE);
        self.set_sleep(me(), Sleep::Prepared);
        world().tell(|| "prepares to sleep".into());
    }

    pub fn sleep(&self) {
        let thread = me();
        world().tell(|| "sleeps".into());
        let is_awake = move || server().sleeps.borrow()[thread] != Sleep::Prepared;
        world().touch_when(self.moved, Parts::WRITE, Rc::new(is_awake));
        world().tell(|| "was woken".into());
    }

    pub fn cancel_sleep(&self) {
        world().touch(self.moved, Parts::WRITE);
        self.set_sleep(me(), Sleep::Awake);
    }

    pub fn broadcast(&self) {
        world().touch(self.moved, Parts::WRITE);
        world().tell(|| "wakes all".into());
        for thread in 0..THREADS {
            let is_prepared = self.sleeps.borrow()[thread] == Sleep::Prepared;
            if is_prepared {
                self.set_sleep(thread, Sleep::Signalled);
            }
        }
    }

    // What a client waits for.

    pub fn raise_flag(&self) {
        world().store(self.flag, 1);
    }

    pub fn wait_for_flag(&self) {
        let flag = self.flag;
        world().touch_when(flag, Parts::READ, Rc::new(move || world().value(flag) == 1));
    }

    // The ceiling.

    pub fn stored_ceiling(&self) -> i64 {
        world().load(self.stored)
    }

    pub fn store_ceiling(&self, ceiling: i64) {
        world().store(self.stored, ceiling);
    }

    pub fn stored_place(&self) -> Place {
        self.stored
    }
}

/// `en57.max_key_locks` of the running thread.
pub fn most_key_locks() -> usize {
    server().most_key_locks.borrow()[me()]
}
