//! What the threads of the model do: they append, read and wait, as the engine's upper floors do it, and check what they are
//! told.

use std::rc::Rc;

use crate::explore::{Model, Program};
use crate::pg_sys::Oid;
use crate::read::writers;
use crate::server::{Question, server};
use crate::store::lock::plan::Plan;
use crate::store::log::counter::counter;
use crate::store::memory::shmem::{Log, Shared};
use crate::store::pg::xmin::XminRelease;
use crate::store::session::{sleep, transaction};
use crate::world::{fail, mix, world};

pub const HERE: u32 = 7;
pub const ELSEWHERE: u32 = 8;

/// All events of a partition.
pub fn all_of(partition: u32) -> Question {
    Question {
        partition,
        keys: None,
    }
}

/// The events of `HERE` under a key.
pub fn under(key: i64) -> Question {
    Question {
        partition: HERE,
        keys: Some(vec![key]),
    }
}

fn given<T, E: std::fmt::Debug>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error:?}"),
    }
}

/// Memory as `threads` backends find it that have appended before, in `HERE`.
pub fn model(threads: Vec<Program>) -> Model {
    let used = threads.len() as i64;
    let begin = move || {
        server().reset();
        let world = world();
        let shared = given(Shared::get());
        world.set(log().next.0.place(), 1);
        world.set(shared.used_slots.0.place(), used);
        for slot in shared.slots() {
            world.set(slot.log.0.place(), 1);
            world.set(slot.partition.0.place(), i64::from(HERE));
        }
        set_ceiling(1000);
    };
    Model {
        begin: Box::new(begin),
        threads,
        end: Box::new(|| server().check_promises()),
    }
}

/// The log in shared memory.
pub fn log() -> &'static Log {
    &given(Shared::get()).logs[0]
}

/// The ceiling is stored, and known.
pub fn set_ceiling(ceiling: i64) {
    let (world, log) = (world(), log());
    world.set(log.ceiling.0.place(), ceiling);
    world.set(log.ceiling_stored.0.place(), ceiling);
    world.set(server().stored_place(), ceiling);
}

/// Backends that have never appended.
pub fn forget_slots() {
    let (world, shared) = (world(), given(Shared::get()));
    world.set(shared.used_slots.0.place(), 0);
    for slot in shared.slots() {
        world.set(slot.log.0.place(), 0);
        world.set(slot.partition.0.place(), 0);
    }
}

fn store(partition: u32, first: i64, n: i64, keys: &[i64]) {
    (first..first + n).for_each(|position| server().insert(partition, position, keys));
}

/// An append without locks: positions, rows, and the partition's frontier as of then.
pub fn allot(partition: u32, n: i64, keys: &[i64]) -> i64 {
    transaction::watch();
    let (first, stable) = given(counter().allot(Oid::from(partition), n));
    store(partition, first, n, keys);
    stable
}

/// The same by one who does not want to know the frontier. Who looks changes nothing for others: so where one looks, it is
/// as good as if all did.
pub fn allot_blindly(partition: u32, n: i64, keys: &[i64]) {
    transaction::watch();
    let first = counter().allot_without_frontier(Oid::from(partition), n);
    store(partition, first, n, keys);
}

/// An append with the locks of the keys that it writes.
pub fn append(partition: u32, keys: &[i64]) -> i64 {
    lock(partition, keys);
    let first = counter().allot_without_frontier(Oid::from(partition), 1);
    store(partition, first, 1, keys);
    first
}

/// The locks alone.
pub fn lock(partition: u32, keys: &[i64]) {
    let mut plan = Plan::default();
    keys.iter().for_each(|key| plan.write(*key));
    given(plan.acquire(Oid::from(partition)));
}

/// Appends if there is no event yet under a key, or none at all in the partition (`None`).
pub fn append_if(writes: &[i64], checks: Option<i64>) {
    let mut plan = Plan::default();
    writes.iter().for_each(|key| plan.write(*key));
    match checks {
        Some(key) => plan.check(key),
        None => plan.check_all(),
    }
    given(plan.acquire(Oid::from(HERE)));
    let question = checks.map_or(all_of(HERE), under);
    if !server().look(&question).is_empty() {
        return;
    }
    let first = counter().allot_without_frontier(Oid::from(HERE), 1);
    store(HERE, first, 1, writes);
    server().promise(checks, 0, first);
}

fn frontier(question: &Question) -> i64 {
    let groups = || {
        let keys = question.keys.clone()?;
        Some(vec![vec![keys]])
    };
    writers::frontier(&counter(), Oid::from(question.partition), groups).0
}

/// Finds the frontier, which is not below one that anybody was given before, and looks at the rows.
pub fn read(question: &Question) -> i64 {
    let before = server().highest(question);
    let found = frontier(question);
    if found < before {
        fail(format!(
            "a frontier went back from {before} to {found}: {question:?}"
        ));
    }
    server().take(question, found);
    world().forget_but(mix(found as u64, 5));
    found
}

/// Sleeps until the frontier has reached a position.
pub fn wait_for(question: &Question, position: i64) {
    let reached = || Ok(frontier(question) >= position);
    given(sleep::wait_until(None, XminRelease::NONE, reached));
}

/// Reads twice.
pub fn reader(question: Question) -> Program {
    Rc::new(move || {
        read(&question);
        read(&question);
    })
}

/// Ends a transaction; of what was before, nothing is kept but its number.
pub fn commit(round: usize) {
    server().commit();
    world().forget_but(mix(round as u64, 3));
}

/// Transactions of one append each, the frontier of which is looked at from some round on.
pub fn appends(rounds: usize, looks_from: usize) -> Program {
    Rc::new(move || {
        let mut before = 0;
        for round in 0..rounds {
            if round < looks_from {
                allot_blindly(HERE, 1, &[1]);
                commit(round);
                continue;
            }
            let stable = allot(HERE, 1, &[1]);
            if stable < before {
                fail(format!("a frontier went back from {before} to {stable}"));
            }
            before = stable;
            server().take(&all_of(HERE), stable);
            server().commit();
            world().forget_but(mix(round as u64, stable as u64));
        }
    })
}
