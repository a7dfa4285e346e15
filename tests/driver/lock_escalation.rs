//! Batches with more keys than `en57.max_key_locks`: the root's lock stands for them.
//!
//! Without the root modes of its matrix conditions are wrong beside them.

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, await_that};
use crate::support::crew::{Gate, crew};
use crate::support::random::{Random, scaled};

const CLIENTS: usize = 16;

#[test]
fn sixteen_batches_of_ten_thousand_tags() {
    // Of its own: what the lock table holds must not depend on others.
    let cluster = Cluster::own(&[]);
    let db = cluster.database().with_few_key_locks();
    let gate = Gate::new(CLIENTS);
    crew(CLIENTS, |client| {
        let mut session = db.connect();
        let event = |n: usize| json!({"type": "many", "tags": [format!("tag:{client}:{n}")]});
        let batch = Value::Array((0..10_000).map(event).collect());
        gate.pass();
        let condition = match client % 4 {
            0 => None,
            1 => Some(json!({"tags": [format!("tag:{client}:5000")]})),
            2 => Some(json!({"types": ["never"]})),
            _ => Some(Value::Array(
                (0..500)
                    .map(|n| json!({"tags": [format!("tag:{client}:{n}")]}))
                    .collect(),
            )),
        };
        let condition = condition.map(|c| c.to_string());
        session.run("BEGIN");
        let answer = session.append(&batch, condition.as_deref());
        assert!(answer.is_appended(), "{answer:.200?}");
        assert_eq!(answer.position - answer.first.unwrap_or(0), 9_999);
        // In the same transaction again: the locks add up.
        let more = session.append(
            &json!({"type": "more", "tags": [format!("tag:{client}:0")]}),
            None,
        );
        assert!(more.is_appended());
        session.run("COMMIT");
        let again = session.append(
            &batch,
            Some(&json!({"tags": [format!("tag:{client}:9999")]}).to_string()),
        );
        assert!(again.is_conflict(), "{again:.200?}");
    });
    let mut session = db.connect();
    assert_eq!(session.number("SELECT en57_count()"), 16 * 10_001);
    assert_eq!(session.positions(r#"{"tags": ["tag:7:7777"]}"#).len(), 1);
}

/// In each round sixteen clients want one seat: small appends, large batches, conditions of many keys. And, in
/// every second round, two who do not ask: a large batch and a small append without a condition. Then nobody
/// who asked may come after them.
#[test]
fn conditions_are_exact_beside_large_batches() {
    let db = Cluster::shared().database().with_few_key_locks();
    let gate = Gate::new(CLIENTS);
    let rounds = scaled(60);
    let won = crew(CLIENTS, |client| {
        let mut session = db.connect();
        let mut random = Random::new(600 + client as u64);
        let mut won = Vec::new();
        for round in 0..rounds {
            let seat = format!("seat:{round}");
            let mut events = vec![json!({"type": "sold", "tags": [seat, "seat"], "data": client})];
            if client % 2 == 0 {
                let extra =
                    |n: usize| json!({"type": "filler", "tags": [format!("filler:{client}:{n}")]});
                events.extend((0..200).map(extra));
                let place = random.below(events.len());
                events.swap(0, place);
            }
            let mut criteria = vec![json!({"tags": [seat], "types": ["sold"]})];
            if client % 4 < 2 && client > 7 {
                criteria
                    .extend((0..100).map(|n| json!({"tags": [format!("nobody:{client}:{n}")]})));
                random.shuffle(&mut criteria);
            }
            let condition = json!(criteria).to_string();
            let asks = client > 1 || round % 2 == 0;
            gate.pass();
            let answer = session.append(&json!(events), asks.then_some(condition.as_str()));
            if answer.is_appended() && asks {
                won.push((round, answer.first, answer.position));
            } else if asks {
                assert!(answer.is_conflict(), "{answer:?}");
                assert!((1..=3).contains(&answer.conflicting().len()), "{answer:?}");
            }
        }
        won
    });
    let won: Vec<_> = won.into_iter().flatten().collect();
    let mut session = db.connect();
    for round in 0..rounds {
        let of_round: Vec<_> = won.iter().filter(|w| w.0 == round).collect();
        let sold = session.positions(&json!({"tags": [format!("seat:{round}")]}).to_string());
        if round % 2 == 0 {
            assert_eq!(
                (of_round.len(), sold.len()),
                (1, 1),
                "seat {round} is sold once"
            );
        } else {
            assert!(of_round.len() <= 1 && sold.len() == 2 + of_round.len());
            // Who asked and was answered "free" was the first.
            for (_, first, last) in of_round {
                assert!(
                    first.is_some_and(|f| f <= sold[0]) && *last >= sold[0],
                    "seat {round} was taken"
                );
            }
        }
    }
}

/// A large batch that is not committed yet holds no key locks, and is waited for all the same.
#[test]
fn conditions_wait_for_a_large_batch_in_flight() {
    let db = Cluster::shared().database().with_few_key_locks();
    for (n, condition) in [None, Some(r#"{"tags": ["never"]}"#)]
        .into_iter()
        .enumerate()
    {
        let [mut large, mut asks, mut watch] = [db.connect(), db.connect(), db.connect()];
        let seat = format!("seat:{n}");
        let event = |i: usize| json!({"type": "filler", "tags": [format!("filler:{i}"), seat]});
        large.run("BEGIN");
        let batch = Value::Array((0..100).map(event).collect());
        let stored = large.append(&batch, condition);
        assert!(stored.is_appended());
        let pid = asks.pid();
        std::thread::scope(|scope| {
            let query = json!({"tags": [seat]}).to_string();
            let asks = &mut asks;
            let waiting = scope.spawn(move || asks.append(&json!({"type": "t"}), Some(&query)));
            await_that("the condition waits", || {
                let sql = "SELECT count(*) FROM pg_locks WHERE pid = $1 AND NOT granted";
                waiting.is_finished() || watch.row(sql, &[&pid]).get::<_, i64>(0) > 0
            });
            large.run("COMMIT");
            let answer = waiting.join().expect("it ends");
            assert!(answer.is_conflict(), "{answer:?}");
            assert_eq!(answer.position, stored.position);
        });
    }
}

/// `{}` means any event: of sixteen who want to be the first in a log, one is; and with `after` one in a round.
#[test]
fn conditions_on_everything() {
    let db = Cluster::shared().database().with_few_key_locks();
    let gate = Gate::new(CLIENTS);
    for round in 0..scaled(30) {
        let after = db.connect().head();
        let answers = crew(CLIENTS, |client| {
            let mut session = db.connect();
            let n = if client % 4 == 0 { 100 } else { 1 };
            let events: Vec<_> = (0..n)
                .map(|n| json!({"type": "t", "tags": [format!("{round}:{client}:{n}")]}))
                .collect();
            gate.pass();
            // Two of them append without a condition: they may come before or after, but not in between.
            let condition = (client > 1).then(|| json!({"after": after}).to_string());
            (client, session.append(&json!(events), condition.as_deref()))
        });
        let won: Vec<_> = answers
            .iter()
            .filter(|(client, a)| *client > 1 && a.is_appended())
            .collect();
        assert!(won.len() <= 1, "round {round}: {won:?}");
        if let Some((_, winner)) = won.first() {
            let positions = db.connect().positions(&json!({"after": after}).to_string());
            assert_eq!(positions.first().copied(), winner.first, "round {round}");
        }
    }
}
