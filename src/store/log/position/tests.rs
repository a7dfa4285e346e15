//! Positions and frontiers, with other backends' transactions that are only pretended.

use std::cell::Cell;
use std::sync::atomic::Ordering::SeqCst;

use pgrx::pg_sys::Oid;

use crate::dcb::error::{Result, SqlState};
use crate::store::log::catalog;
use crate::store::log::counter::activity;
use crate::store::memory::late_key::Name;
use crate::store::memory::late_key::tests::Other;
use crate::store::memory::shmem::my_backend;
use crate::store::pg::in_process::tests;
use crate::store::session::transaction;

use super::{Counter, Flight, LAST_POSITION};

tests![
    positions_in_a_row,
    frontier_beside_others,
    frontier_of_the_earliest,
    transactions_that_do_not_concern,
    several_partitions,
    own_slot_is_no_flight,
    look_that_holds,
    look_at_one_that_has_ended,
    look_at_the_next_one,
    bounds_in_partitions,
    bounds_under_keys,
    partitions_of_all,
    slot_after_a_restart,
    end_of_all_positions,
    positions_of_ones_own,
    what_has_happened,
];

const HERE: u32 = 4_000_000_000;
const ELSEWHERE: u32 = HERE + 1;

fn here() -> Oid {
    Oid::from(HERE)
}

fn elsewhere() -> Oid {
    Oid::from(ELSEWHERE)
}

fn counter() -> Result<Counter> {
    // Else nobody would clear this backend's slot.
    transaction::watch();
    Counter::of(catalog::store()?)
}

/// The number under which slots name the counter's log.
fn log(counter: &Counter) -> u32 {
    counter.shared.index_of(counter.log) as u32 + 1
}

/// Another backend that has positions from `bound` on in a partition.
fn other(counter: &Counter, n: usize, partition: Oid, bound: i64) -> Other {
    let other = Other::new(counter.shared, n);
    other.begin(log(counter), partition, bound);
    other
}

/// What the counter says next, put back when this is dropped.
struct Next<'c>(&'c Counter, i64);

impl<'c> Next<'c> {
    fn set(counter: &'c Counter, next: i64) -> Self {
        Self(counter, counter.log.next.swap(next, SeqCst))
    }
}

impl Drop for Next<'_> {
    fn drop(&mut self) {
        self.0.log.next.store(self.1, SeqCst);
    }
}

/// The slot says the first position before it is allotted, and says it until the end.
fn positions_in_a_row() -> Result<()> {
    let counter = counter()?;
    let next = counter.next();
    assert!(!counter.has_own());
    assert_eq!(counter.allot(here(), 3)?, (next, next - 1));
    let slot = counter.shared.my_slot();
    assert_eq!(
        (slot.bound.load(SeqCst), slot.partition.load(SeqCst)),
        (next, HERE)
    );
    assert_eq!(slot.log.load(SeqCst), log(&counter));
    assert_eq!(counter.allot(here(), 1)?, (next + 3, next + 2));
    assert_eq!(counter.next(), next + 4);
    assert_eq!(slot.bound.load(SeqCst), next);
    assert!(counter.has_own() && counter.log.ceiling.load(SeqCst) >= next + 3);
    Ok(())
}

/// Only those who may have rows in the partition hold its frontier back.
fn frontier_beside_others() -> Result<()> {
    let counter = counter()?;
    counter.allot(here(), 10)?;
    let next = counter.next();
    let _other = other(&counter, 1, here(), next - 4);
    assert_eq!(counter.allot(here(), 1)?.1, next - 5);
    assert_eq!(counter.allot(elsewhere(), 1)?, (next + 1, next));
    Ok(())
}

fn frontier_of_the_earliest() -> Result<()> {
    let counter = counter()?;
    counter.allot(here(), 10)?;
    let next = counter.next();
    let mut others = [7, 2, 5].map(|n| other(&counter, n, here(), next - n as i64));
    assert_eq!(counter.settled(next, here()), next - 7);
    others[0].end();
    assert_eq!(counter.settled(next, here()), next - 5);
    drop(others);
    assert_eq!(counter.settled(next, here()), next);
    Ok(())
}

/// One of another log, one that has nothing below, one that has no positions.
fn transactions_that_do_not_concern() -> Result<()> {
    let counter = counter()?;
    counter.allot(here(), 10)?;
    let next = counter.next();
    let strange = Other::new(counter.shared, 1);
    strange.begin(log(&counter) + 1, here(), next - 3);
    let _later = other(&counter, 2, here(), next);
    let _none = other(&counter, 3, here(), 0);
    assert_eq!(counter.in_flight(next).count(), 0);
    assert_eq!(counter.settled(next, here()), next);
    assert_eq!(counter.in_flight(next + 1).count(), 1);
    Ok(())
}

fn several_partitions() -> Result<()> {
    let counter = counter()?;
    counter.allot(here(), 10)?;
    let next = counter.next();
    let wide = other(&counter, 1, here(), next - 3);
    assert_eq!(counter.settled(next, elsewhere()), next);
    wide.slot().is_several.store(1, SeqCst);
    assert_eq!(counter.settled(next, elsewhere()), next - 3);
    Ok(())
}

/// What a transaction has itself does not hold back its own frontier, but others see it.
fn own_slot_is_no_flight() -> Result<()> {
    let counter = counter()?;
    let own = || -> Vec<(i64, u32)> {
        let all = counter.all_in_flight().into_iter();
        all.filter(|(backend, ..)| *backend == my_backend())
            .map(|(_, bound, partition)| (bound, partition))
            .collect()
    };
    let first = counter.allot(here(), 10)?.0;
    let others = |f: Flight| f.backend != my_backend();
    assert!(counter.in_flight(counter.next()).all(others));
    assert_eq!(own(), [(first, HERE)]);
    counter.allot(elsewhere(), 1)?;
    assert_eq!(own(), [(first, 0)]);
    Ok(())
}

/// A counter with positions below its next one, and another backend's transaction at one of them.
fn with_flight() -> Result<(Counter, i64, Other)> {
    let counter = counter()?;
    counter.allot(here(), 10)?;
    let next = counter.next();
    Ok((counter, next, other(&counter, 1, here(), next - 3)))
}

fn look_that_holds() -> Result<()> {
    let (counter, next, _other) = with_flight()?;
    let flight = counter.in_flight(next).next();
    let seen = flight.and_then(|f| counter.look(f, next, |f, again| (f.bound, again)));
    assert_eq!(seen, Some((next - 3, false)));
    Ok(())
}

/// Then it has nothing that cannot be seen by now.
fn look_at_one_that_has_ended() -> Result<()> {
    let (counter, next, mut other) = with_flight()?;
    let flight = counter.in_flight(next).next();
    other.end();
    let looks = Cell::new(0);
    let seen = flight.and_then(|f| counter.look(f, next, |_, _| looks.set(looks.get() + 1)));
    assert_eq!((seen, looks.get()), (None, 1));
    Ok(())
}

/// The backend has begun another transaction while it was looked at: what was seen may be of both.
fn look_at_the_next_one() -> Result<()> {
    let (counter, next, other) = with_flight()?;
    let flight = counter.in_flight(next).next();
    let looks = Cell::new(0);
    let seen = flight.and_then(|f| {
        counter.look(f, next, |f, again| {
            looks.set(looks.get() + 1);
            if looks.get() == 1 {
                other.slot().generation.fetch_add(1, SeqCst);
                other.slot().bound.store(next - 1, SeqCst);
            }
            (f.bound, again)
        })
    });
    assert_eq!((seen, looks.get()), (Some((next - 1, true)), 2));
    Ok(())
}

/// In its first partition the slot's bound counts, in others that of the partition's entry.
fn bounds_in_partitions() -> Result<()> {
    let (counter, next, mut other) = with_flight()?;
    other.slot().is_several.store(1, SeqCst);
    other.late(Name::of_partition(elsewhere()), next - 2);
    let flight = counter.in_flight(next).next();
    let bound = |partition| flight.and_then(|f| counter.bound_in(f, next, partition));
    assert_eq!(bound(here()), Some(next - 3));
    assert_eq!(bound(elsewhere()), Some(next - 2));
    assert_eq!(bound(Oid::from(ELSEWHERE + 1)), None);
    Ok(())
}

/// Under a key that it came to late, its entry counts; under others the slot's bound.
fn bounds_under_keys() -> Result<()> {
    let (counter, next, mut other) = with_flight()?;
    let key = crate::store::lock::keys::key_tag(here(), 7);
    let root = crate::store::lock::keys::root_tag(here());
    other.late(Name::of_lock(&key), next - 1);
    let flight = counter.in_flight(next).next();
    let bound = |key| flight.map(|f| counter.bound_under(f, next, here(), key));
    assert_eq!(bound(Some(7)), Some(next - 1));
    assert_eq!(bound(Some(8)), Some(next - 3));
    assert_eq!(bound(None), Some(next - 3));
    other.late(Name::of_lock(&root), 0);
    assert_eq!(bound(None), Some(next), "nothing yet");
    Ok(())
}

fn partitions_of_all() -> Result<()> {
    let (counter, next, mut other) = with_flight()?;
    other.late(Name::of_partition(elsewhere()), next - 2);
    let mut all = counter.partitions_in_flight(next);
    all.sort_unstable_by_key(|(_, bound)| *bound);
    assert_eq!(all, [(here(), next - 3), (elsewhere(), next - 2)]);
    Ok(())
}

/// Positions have begun again, so the bounds of what was undone before say nothing any more.
fn slot_after_a_restart() -> Result<()> {
    let counter = counter()?;
    counter.allot(here(), 10)?;
    counter.allot(elsewhere(), 10)?;
    let _next = Next::set(&counter, 1);
    counter.log.restarts.fetch_add(1, SeqCst);
    let outcome = counter.cover(here());
    let slot = counter.shared.my_slot();
    assert_eq!(slot.bound.load(SeqCst), 1);
    let name = Name::of_partition(elsewhere());
    let late = crate::store::memory::late_key::bound_under(counter.shared, my_backend(), name, 77);
    assert_eq!(late, Some(1));
    counter.log.restarts.fetch_sub(1, SeqCst);
    outcome
}

fn end_of_all_positions() -> Result<()> {
    let counter = counter()?;
    let state = |outcome: Result<(i64, i64)>| outcome.err().map(|e| e.state);
    let limit = Some(SqlState::LimitExceeded);
    {
        let _next = Next::set(&counter, LAST_POSITION - 1);
        assert_eq!(state(counter.allot(here(), 1)), limit);
        assert_eq!(state(counter.allot(here(), i64::MAX)), limit);
        let _next = Next::set(&counter, LAST_POSITION - 10);
        assert_eq!(state(counter.allot(here(), 10)), limit);
    }
    let own = counter.allot_own(here(), counter.next(), LAST_POSITION);
    assert_eq!(own.err().map(|e| e.state), limit);
    Ok(())
}

/// Beyond all that were allotted, also where others are in flight.
fn positions_of_ones_own() -> Result<()> {
    let (counter, next, _other) = with_flight()?;
    assert_eq!(counter.allot_own(here(), next + 5, next + 9)?, next - 4);
    assert_eq!(counter.next(), next + 10);
    for first in [1, next, next + 9] {
        let error = counter.allot_own(here(), first, next + 20).err();
        assert_eq!(
            error.map(|e| e.state),
            Some(SqlState::InvalidParameter),
            "{first}"
        );
    }
    Ok(())
}

/// Whoever asks whether anything has happened is told of new positions, and of transactions that begin and end.
fn what_has_happened() -> Result<()> {
    let counter = counter()?;
    counter.allot(here(), 10)?;
    let before = activity();
    assert!(before.is_some() && activity() == before);
    let mut other = other(&counter, 1, here(), counter.next() - 2);
    let begun = activity();
    assert!(begun != before);
    other.slot().generation.fetch_add(1, SeqCst);
    assert!(activity() != begun);
    other.end();
    assert!(activity() == before);
    counter.allot(here(), 1)?;
    assert!(activity() != before);
    Ok(())
}
