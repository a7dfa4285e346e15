//! Invariants under load: whoever races, at whatever isolation level, however few keys may be locked, the
//! log never holds what the check refuses; nothing that may be is refused, and nothing must be tried again.
//!
//! Without the locks of keys (`invariant/rules.rs`, `Rules::plan`) accounts are overdrawn. Without the second
//! look in `Rules::look_again`, or without the exclusion of appends when an invariant is created, appends
//! beside the creation go unchecked. States that outlive what they were made of show in `kept_states_are_exact`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Database, End, await_that};
use crate::support::crew::{Gate, crew};
use crate::support::random::{Random, scaled};
use crate::support::session::{Session, state, told};

const CLIENTS: usize = 16;
const LEVELS: [&str; 3] = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

const FUNCTIONS: &str = "
    CREATE FUNCTION balance(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
        SELECT to_jsonb((state#>>'{}')::bigint + coalesce(e.data#>>'{}', '0')::bigint) $$;
    CREATE FUNCTION not_negative(state jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
        SELECT (state#>>'{}') WHERE (state#>>'{}')::bigint < 0 $$";

fn create(session: &mut Session, name: &str, key: &str) {
    session.run(&format!(
        r#"SELECT en57_create_invariant('{name}', '{{"types": ["moved"]}}', '{key}', 'balance(jsonb,en57_event)',
               'not_negative(jsonb)', initial => '0', key_required => false)"#
    ));
}

/// Accounts that are, or were at some time after an append, below 0: the events of one append have the
/// same time.
fn overdrawn(session: &mut Session, prefix: &str) -> i64 {
    session.number(&format!(
        "SELECT count(*) FROM (
             SELECT sum(sum(data::text::bigint)) OVER (PARTITION BY t ORDER BY min(position)) AS balance
               FROM en57_read() e, unnest(tags) t
              WHERE t LIKE '{prefix}%' AND type = 'moved' GROUP BY t, recorded_at) b WHERE balance < 0"
    ))
}

/// What is kept of states that is not the fold of the log.
fn wrong_states(session: &mut Session) -> i64 {
    session.number(
        "SELECT count(*) FROM en57.invariant_states s JOIN en57.invariants i ON i.number = s.invariant
          WHERE s.state::text::bigint IS DISTINCT FROM (
              SELECT sum(data::text::bigint) FROM en57_read(i.query)
               WHERE position <= s.position AND substr(i.key, 5) || s.id = ANY (tags))",
    )
}

fn moved(cents: i64, tags: &[String]) -> Value {
    json!({"type": "moved", "data": cents, "tags": tags})
}

/// In each round sixteen clients want the last cent of an account: exactly one gets it, nobody fails otherwise.
fn last_cent(level: &'static str, few_locks: bool) {
    let db = Cluster::shared().database();
    let mut session = db.connect();
    session.run(FUNCTIONS);
    create(&mut session, "no debt", "tag:account:");
    let gate = Gate::new(CLIENTS);
    let rounds = scaled(40);
    let won: usize = crew(CLIENTS, |client| {
        let mut session = db.connect();
        if few_locks {
            session.run("SET en57.max_key_locks = 1");
        }
        let mut won = 0;
        for round in 0..rounds {
            let account = format!("account:{round}");
            // Every third round has a state that is kept.
            if client == 0 && round % 3 == 0 {
                let events: Vec<_> = (0..16).flat_map(|_| [1, -1]).collect();
                let events = events
                    .iter()
                    .map(|c| moved(*c, std::slice::from_ref(&account)));
                session.append(&events.collect(), None);
            }
            if client == 0 {
                session.append(&moved(1, std::slice::from_ref(&account)), None);
            }
            session.run(&format!("BEGIN ISOLATION LEVEL {level}"));
            session.number("SELECT en57_count('{\"types\": [\"never\"]}')");
            gate.pass();
            let mut tags = vec![account];
            if client % 4 == 3 {
                tags.extend((0..100).map(|n| format!("filler:{client}:{n}")));
            }
            if client % 2 == 1 {
                // As an answer, after which the transaction commits what it has: nothing.
                let sql = "SELECT outcome::text FROM en57_append($1, on_refusal => 'return')";
                let outcome: String = session.row(sql, &[&moved(-1, &tags)]).get(0);
                assert!(
                    ["appended", "refused"].contains(&outcome.as_str()),
                    "{outcome}"
                );
                session.run("COMMIT");
                won += usize::from(outcome == "appended");
                gate.pass();
                continue;
            }
            match session.try_append(&moved(-1, &tags), None) {
                Ok(_) => {
                    session.run("COMMIT");
                    won += 1;
                }
                Err(e) => {
                    assert_eq!(state(&e), "N5703", "{}", told(&e));
                    session.run("ROLLBACK");
                }
            }
            gate.pass();
        }
        won
    })
    .into_iter()
    .sum();
    assert_eq!(won, rounds, "one of each round");
    assert_eq!(overdrawn(&mut session, "account:"), 0);
    assert_eq!(wrong_states(&mut session), 0);
}

#[test]
fn last_cent_read_committed() {
    last_cent(LEVELS[0], false);
}

#[test]
fn last_cent_repeatable_read() {
    last_cent(LEVELS[1], false);
}

#[test]
fn last_cent_serializable() {
    last_cent(LEVELS[2], false);
}

#[test]
fn last_cent_with_the_lock_of_the_root() {
    last_cent(LEVELS[0], true);
}

/// Moves between accounts until it is told to stop; returns how many were made.
fn transfer(
    session: &mut Session,
    seed: u64,
    prefix: &str,
    go_on: impl Fn(usize) -> bool,
) -> usize {
    let mut random = Random::new(seed);
    let mut made = 0;
    for n in 0.. {
        if !go_on(n) {
            break;
        }
        let account = |random: &mut Random| format!("{prefix}{}", random.below(5));
        session.run(&format!("BEGIN ISOLATION LEVEL {}", random.pick(&LEVELS)));
        session.run(&format!(
            "SET LOCAL en57.max_key_locks = {}",
            random.pick(&[1, 3, 64])
        ));
        let mut outcome = Ok(());
        for _ in 0..1 + random.below(2) {
            let events: Vec<_> = (0..1 + random.below(4))
                .map(|_| {
                    let tags = [account(&mut random), account(&mut random)];
                    moved(*random.pick(&[-3, -2, -1, 1, 2]), &tags)
                })
                .collect();
            outcome = session.try_append(&json!(events), None).map(drop);
            if outcome.is_err() {
                break;
            }
        }
        let end = *random.pick(&["ROLLBACK", "COMMIT", "COMMIT", "COMMIT"]);
        match outcome.and_then(|()| session.try_run(end)) {
            Ok(()) => made += 1,
            // Two appends in one transaction may lock in any order.
            Err(e) if ["N5703", "40P01"].contains(&state(&e)) => session.run("ROLLBACK"),
            Err(e) => panic!("{}", told(&e)),
        }
    }
    made
}

/// Accounts with a hundred, few of them, everybody moves something about, some of it is rolled back.
#[test]
fn kept_states_are_exact() {
    let db = Cluster::shared().database();
    let mut session = db.connect();
    session.run(FUNCTIONS);
    create(&mut session, "no debt", "tag:account:");
    let made: usize = crew(CLIENTS, |client| {
        let mut session = db.connect();
        transfer(&mut session, 700 + client as u64, "account:", |n| {
            n < scaled(60)
        })
    })
    .into_iter()
    .sum();
    assert!(made > CLIENTS, "something was moved");
    assert_eq!(overdrawn(&mut session, "account:"), 0);
    assert!(session.number("SELECT count(*) FROM en57.invariant_states") > 0);
    assert_eq!(wrong_states(&mut session), 0);
    // All of it still holds, says who looks at every event.
    session.run("SELECT en57_enable_invariant('no debt')");
}

/// Invariants are created, disabled and enabled again while everybody writes. Each is about accounts of its
/// own; who appends after it was created is checked.
#[test]
fn created_under_load() {
    let db = Cluster::shared().database();
    let mut session = db.connect();
    session.run(FUNCTIONS);
    session.run("CREATE TABLE checked (round int, since bigint, until bigint)");
    let rounds = scaled(12);
    let (done, round) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let writers: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (db, done, round) = (&db, &done, &round);
                scope.spawn(move || write_by_rounds(db, client, done, round))
            })
            .collect();
        let end = End(&done);
        for n in 0..rounds {
            let grows = |session: &mut Session| {
                let before = session.head();
                await_that("the log to grow", || session.head() > before + 40);
            };
            round.store(n, Ordering::SeqCst);
            grows(&mut session);
            // Nobody appends between the change and the end of its transaction.
            let change = |session: &mut Session, call: &str, note: &str| {
                session.run(&format!("BEGIN; SELECT {call}; {note}; COMMIT"));
                grows(session);
            };
            let (begins, ends) = (
                format!("INSERT INTO checked VALUES ({n}, en57_head())"),
                format!("UPDATE checked SET until = en57_head() WHERE round = {n}"),
            );
            let create = format!(
                r#"en57_create_invariant('{n}', '{{"types": ["moved"]}}', 'tag:account:{n}:', 'balance(jsonb,en57_event)',
                       'not_negative(jsonb)', initial => '0', validate => false, key_required => false)"#
            );
            change(&mut session, &create, &begins);
            change(
                &mut session,
                &format!("en57_disable_invariant('{n}')"),
                &ends,
            );
            let enable = format!("en57_enable_invariant('{n}', validate => false)");
            change(&mut session, &enable, &begins);
        }
        drop(end);
        let written: usize = writers
            .into_iter()
            .map(|w| w.join().expect("a writer succeeds"))
            .sum();
        assert!(written > CLIENTS, "the clients have written");
    });
    assert_eq!(wrong_states(&mut session), 0);
    // While it is enabled nothing makes an account poorer that is below 0 by then.
    let unchecked = session.number(
        "SELECT count(*) FROM (
             SELECT round, position, t, data::text::bigint AS cents,
                    sum(data::text::bigint) OVER (PARTITION BY t ORDER BY position) AS balance
               FROM en57_read(), unnest(tags) t, LATERAL (SELECT split_part(t, ':', 2)::int) r (round)) e
           JOIN checked c USING (round)
          WHERE e.position > c.since AND (e.position <= c.until OR c.until IS NULL) AND cents < 0 AND balance < 0",
    );
    assert_eq!(unchecked, 0, "appends went unchecked");
}

fn write_by_rounds(db: &Database, client: usize, done: &AtomicBool, round: &AtomicUsize) -> usize {
    let mut session = db.connect();
    let mut random = Random::new(900 + client as u64);
    let mut written = 0;
    while !done.load(Ordering::Relaxed) {
        let account = format!(
            "account:{}:{}",
            round.load(Ordering::SeqCst),
            random.below(3)
        );
        let cents = *random.pick(&[-2, -1, 1]);
        match session.try_append(&moved(cents, &[account]), None) {
            Ok(_) => written += 1,
            Err(e) => assert_eq!(state(&e), "N5703", "{}", told(&e)),
        }
    }
    written
}

/// States that do not fit in memory while an invariant is created go to their table, and come back.
#[test]
fn more_states_than_memory() {
    let db = Cluster::shared().database();
    let mut session = db.connect();
    session.run(
        "CREATE FUNCTION large(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
             SELECT jsonb_build_object('n', coalesce((state->>'n')::int, 0) + 1, 'pad', repeat('x', 1000000)) $$;
         CREATE FUNCTION few(state jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
             SELECT 'too many: ' || (state->>'n') WHERE (state->>'n')::int > 3 $$",
    );
    // Each of a hundred keys comes again after all others.
    let event = |n: usize| json!({"type": "t", "tags": [format!("k:{:03}", n % 100)]});
    session.append(&(0..300).map(event).collect(), None);
    session.append(&json!([event(42), event(42)]), None);
    // A tag that is the prefix comes first.
    let empty = json!({"type": "t", "tags": ["k:"]});
    session.append(&(0..4).map(|_| empty.clone()).collect(), None);
    let create = "SELECT en57_create_invariant('few', '{}', 'tag:k:', 'large(jsonb,en57_event)', 'few(jsonb)', key_required => false)";
    let refused = session.try_run(create).expect_err("a key is broken");
    assert!(
        told(&refused).starts_with("N5703 too many: 4") && told(&refused).contains("\"key\": \"\""),
        "{}",
        told(&refused)
    );
    session.run(&create.replace("'few(jsonb)'", "'few(jsonb)', validate => false"));
    let allow = |session: &mut Session, n: usize| {
        session.run(&format!(
            "CREATE OR REPLACE FUNCTION few(state jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
                 SELECT 'too many: ' || (state->>'n') WHERE (state->>'n')::int > {n} $$"
        ));
    };
    allow(&mut session, 4);
    let refused = session
        .try_run("SELECT en57_enable_invariant('few')")
        .expect_err("another key is broken");
    assert!(
        told(&refused).starts_with("N5703 too many: 5") && told(&refused).contains("\"042\""),
        "{}",
        told(&refused)
    );
    allow(&mut session, 5);
    session.run("SELECT en57_disable_invariant('few'); SELECT en57_enable_invariant('few')");
    let kept = "SELECT string_agg(DISTINCT state->>'n', ',') || ' in ' || count(*) FROM en57.invariant_states";
    assert_eq!(session.text(kept), "3,4,5 in 101");
    session.append(&event(7), None);
    let refused = session
        .try_append(&event(42), None)
        .expect_err("it is full");
    assert_eq!(state(&refused), "N5703");
}

/// A dump takes invariants with it, and leaves their states.
#[test]
fn dumped_and_restored() {
    let cluster = Cluster::shared();
    let (from, to) = (cluster.database(), cluster.bare_database());
    let mut session = from.connect();
    session.run(FUNCTIONS);
    create(&mut session, "no debt", "tag:account:");
    let events = (0..40).map(|_| moved(1, &["account:1".into()])).collect();
    session.append(&events, None);
    assert!(session.number("SELECT count(*) FROM en57.invariant_states") > 0);
    cluster.shell(&format!(
        "$BIN/pg_dump {} | $BIN/psql -qX -v ON_ERROR_STOP=1 {}",
        from.name, to.name
    ));
    let mut restored = to.connect();
    assert_eq!(
        restored.number("SELECT count(*) FROM en57.invariant_states"),
        0
    );
    for session in [&mut session, &mut restored] {
        let all = moved(-41, &["account:1".into()]);
        let refused = session.try_append(&all, None).expect_err("one is missing");
        assert_eq!(state(&refused), "N5703", "{}", told(&refused));
        session.append(&moved(-40, &["account:1".into()]), None);
        assert_eq!(wrong_states(session), 0);
    }
    // Numbers are not given twice.
    create(&mut restored, "another", "tag:other:");
}
