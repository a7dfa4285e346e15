//! What the threads do, by scenario. Each is small enough to be explored whole, and has just what its subject needs.

use std::rc::Rc;

use crate::client::{
    ELSEWHERE, HERE, all_of, allot_blindly, append, append_if, appends, commit, forget_slots, log,
    model, reader, set_ceiling, under, wait_for,
};
use crate::explore::{Model, Program};
use crate::server::server;
use crate::world::{fail, world};

/// A scenario's name, and what makes it.
pub type Scenario = (&'static str, fn() -> Model);

/// Explored in seconds all together.
pub const SMALL: &[Scenario] = &[
    ("slots", slots),
    ("slots_where_all_look", slots_where_all_look),
    ("slots_where_three_look", slots_where_three_look),
    ("slots_of_new_backends", slots_of_new_backends),
    ("rollback", rollback),
    ("ceiling", ceiling),
    ("late_keys", late_keys),
    ("savepoint", savepoint),
    ("savepoint_and_another_key", savepoint_and_another_key),
    ("partitions", partitions),
    ("refused_elsewhere", refused_elsewhere),
    ("conditions", conditions),
    ("conditions_on_one_key", conditions_on_one_key),
    ("condition_on_everything", condition_on_everything),
    ("escalation", escalation),
    ("escalation_and_reader", escalation_and_reader),
    ("sleepers", sleepers),
    ("sleeper_beside_a_savepoint", sleeper_beside_a_savepoint),
    (
        "sleeper_beside_a_first_append",
        sleeper_beside_a_first_append,
    ),
    ("sleeper_beside_a_root_lock", sleeper_beside_a_root_lock),
];

/// `make model`: more of the same, which takes minutes.
pub const LARGE: &[Scenario] = &[
    ("large_late_keys", large_late_keys),
    ("large_savepoint", large_savepoint),
    ("large_partitions", large_partitions),
    ("large_ceiling", large_ceiling),
    ("large_rollback", large_rollback),
    ("large_sleepers", large_sleepers),
];

fn program(body: impl Fn() + 'static) -> Program {
    Rc::new(body)
}

/// Transactions of one append each, with its locks.
fn locked_appends(partition: u32, key: i64, rounds: usize) -> Program {
    program(move || {
        for round in 0..rounds {
            append(partition, &[key]);
            commit(round);
        }
    })
}

/// Three backends append twice, and one looks at the frontier each time.
fn slots() -> Model {
    model(vec![appends(2, 2), appends(2, 0), appends(2, 2)])
}

/// Two append twice and look at the frontier each time.
fn slots_where_all_look() -> Model {
    model(vec![appends(2, 0), appends(2, 0)])
}

/// Three append once and look at the frontier.
fn slots_where_three_look() -> Model {
    model(vec![appends(1, 0), appends(1, 0), appends(1, 0)])
}

/// Backends that append for the first time, beside a reader.
fn slots_of_new_backends() -> Model {
    let model = model(vec![appends(1, 1), appends(1, 1), reader(all_of(HERE))]);
    let begin = model.begin;
    let begin = Box::new(move || {
        begin();
        forget_slots();
    });
    Model { begin, ..model }
}

/// A transaction is rolled back, and its backend goes on.
fn rollback_beside(others: Vec<Program>) -> Model {
    let undoes = program(|| {
        allot_blindly(HERE, 1, &[1]);
        server().abort();
        allot_blindly(HERE, 1, &[1]);
        commit(1);
    });
    model([vec![undoes], others].concat())
}

fn rollback() -> Model {
    rollback_beside(vec![appends(1, 1), reader(all_of(HERE))])
}

fn large_rollback() -> Model {
    rollback_beside(vec![appends(2, 2), reader(all_of(HERE))])
}

/// Each append needs more room than the first step of the ceiling has.
fn ceiling_of(backends: usize) -> Model {
    let appends = || {
        program(|| {
            for round in 0..2 {
                allot_blindly(HERE, 70, &[1]);
                commit(round);
            }
        })
    };
    let model = model((0..backends).map(|_| appends()).collect());
    let begin = model.begin;
    let begin = Box::new(move || {
        begin();
        set_ceiling(0);
        let (next, stored) = (log().next.0.place(), server().stored_place());
        let is_covered = move || {
            let (last, stored) = (world().value(next) - 1, world().value(stored));
            if last > stored {
                fail(format!(
                    "{last} was allotted, and the stored ceiling is {stored}"
                ));
            }
        };
        world().check(next, stored, Rc::new(is_covered));
    });
    Model { begin, ..model }
}

fn ceiling() -> Model {
    ceiling_of(2)
}

fn large_ceiling() -> Model {
    ceiling_of(3)
}

/// A transaction comes to a key when it has positions, beside one that appends under it, and its reader.
fn late_keys_of(transactions: usize, others: usize) -> Model {
    let late = program(move || {
        for round in 0..transactions {
            append(HERE, &[1]);
            append(HERE, &[2]);
            commit(round);
        }
    });
    let other = locked_appends(HERE, 2, others);
    model(vec![late, other, reader(under(2))])
}

fn late_keys() -> Model {
    late_keys_of(1, 1)
}

fn large_late_keys() -> Model {
    late_keys_of(2, 2)
}

/// A transaction undoes what it had under a key, and comes to the key again.
fn savepoint() -> Model {
    let back = program(|| {
        append(HERE, &[1]);
        server().savepoint();
        append(HERE, &[2]);
        server().roll_back();
        append(HERE, &[2]);
        commit(0);
    });
    model(vec![back, reader(under(2))])
}

/// The same, but then it comes to another key, which is given the entry of the first.
fn savepoint_beside(others: Vec<Program>) -> Model {
    let back = program(|| {
        append(HERE, &[1]);
        server().savepoint();
        append(HERE, &[3]);
        server().roll_back();
        append(HERE, &[2]);
        commit(0);
    });
    model([vec![back], others].concat())
}

fn savepoint_and_another_key() -> Model {
    savepoint_beside(vec![reader(under(3))])
}

fn large_savepoint() -> Model {
    savepoint_beside(vec![locked_appends(HERE, 2, 1), reader(under(2))])
}

/// A transaction goes on to a second partition, beside one that appends there, and the partition's reader.
fn partitions_of(others: usize) -> Model {
    let both = program(|| {
        append(HERE, &[1]);
        append(ELSEWHERE, &[1]);
        commit(0);
    });
    let other = locked_appends(ELSEWHERE, 2, others);
    model(vec![both, other, reader(all_of(ELSEWHERE))])
}

fn partitions() -> Model {
    partitions_of(1)
}

fn large_partitions() -> Model {
    partitions_of(2)
}

/// A transaction locks a key of a partition and stores nothing under it, appends in another partition, and then comes to
/// the key.
fn refused_elsewhere() -> Model {
    let refused = program(|| {
        append(HERE, &[1]);
        crate::client::lock(ELSEWHERE, &[2]);
        append(HERE, &[1]);
        append(ELSEWHERE, &[2]);
        commit(0);
    });
    let question = crate::server::Question {
        partition: ELSEWHERE,
        keys: Some(vec![2]),
    };
    model(vec![refused, reader(question)])
}

/// Two write what the other one checks, and one writes both without a condition. Each appends twice.
fn conditions() -> Model {
    let crossed = |writes: i64, checks: i64| {
        program(move || {
            append_if(&[writes], Some(checks));
            commit(0);
            append_if(&[checks], Some(writes));
            commit(1);
        })
    };
    let free = program(|| {
        append(HERE, &[1]);
        commit(0);
        append(HERE, &[2]);
        commit(1);
    });
    model(vec![crossed(1, 2), crossed(2, 1), free])
}

/// Three append twice on condition that none has.
fn conditions_on_one_key() -> Model {
    let one = || {
        program(|| {
            for round in 0..2 {
                append_if(&[1], Some(1));
                commit(round);
            }
        })
    };
    model(vec![one(), one(), one()])
}

/// One has the condition that the partition is empty, beside one that appends without a condition.
fn condition_on_everything() -> Model {
    let empty = program(|| {
        for round in 0..2 {
            append_if(&[1], None);
            commit(round);
        }
    });
    model(vec![empty, locked_appends(HERE, 2, 2)])
}

/// Two with conditions on keys, beside one whose locks are escalated, and who then has a condition on everything.
fn escalation() -> Model {
    let few = |key: i64| {
        program(move || {
            for round in 0..2 {
                append_if(&[key], Some(2));
                commit(round);
            }
        })
    };
    let many = program(|| {
        server().most_key_locks.borrow_mut()[2] = 0;
        append(HERE, &[2]);
        commit(0);
        append_if(&[1], None);
        commit(1);
    });
    model(vec![few(3), few(1), many])
}

/// A transaction that has positions comes to stand for all keys.
fn escalation_and_reader() -> Model {
    let many = program(|| {
        append(HERE, &[1]);
        server().most_key_locks.borrow_mut()[0] = 0;
        append(HERE, &[2]);
        commit(0);
    });
    model(vec![many, locked_appends(HERE, 2, 1), reader(under(2))])
}

/// Each appends, and then waits until it can read that.
fn sleepers_of(rounds: &[usize]) -> Model {
    let one = |rounds: usize| {
        program(move || {
            for round in 0..rounds {
                let position = append(HERE, &[1]);
                server().commit();
                wait_for(&under(1), position);
                world().forget_but(round as u64);
            }
        })
    };
    model(rounds.iter().map(|n| one(*n)).collect())
}

fn sleepers() -> Model {
    sleepers_of(&[2, 2])
}

fn large_sleepers() -> Model {
    sleepers_of(&[1, 1, 1])
}

/// A transaction undoes what it had under a key, and goes on until another one can read what it has appended there.
fn sleeper_beside(before: &'static [i64], most_key_locks: usize) -> Model {
    let idle = program(move || {
        for key in before {
            append(HERE, &[*key]);
        }
        server().most_key_locks.borrow_mut()[0] = most_key_locks;
        server().savepoint();
        append(HERE, &[2]);
        server().roll_back();
        server().wait_for_flag();
        commit(0);
    });
    let waits = program(|| {
        let position = append(HERE, &[2]);
        server().commit();
        wait_for(&under(2), position);
        server().raise_flag();
    });
    model(vec![idle, waits])
}

fn sleeper_beside_a_savepoint() -> Model {
    sleeper_beside(&[1], 64)
}

/// It came to the key before it had positions: there is no late key.
fn sleeper_beside_a_first_append() -> Model {
    sleeper_beside(&[], 64)
}

/// The root's lock stands for the key: it goes later than keys do.
fn sleeper_beside_a_root_lock() -> Model {
    sleeper_beside(&[], 0)
}
