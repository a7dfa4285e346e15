//! A frontier never goes back, for nobody who may ask again: so a subscription, and whoever follows by a head, gets every
//! event once.
//!
//! Fails without late keys (`store/late_key.rs`), or where only so many of them fit; where a slot's generation is not
//! looked at again (`Counter::look`): a reader then takes the bound of a transaction that has ended for that of its
//! backend's next one; and, over all partitions, where a transaction that attaches a partition counts with its first bound.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::cluster::{Cluster, Database};
use crate::support::random::{Random, scaled};
use crate::support::session::Session;

const WANTED: &str = r#"{"tags": ["t:0"]}"#;
/// One of two tags, and one of two types.
const ANY: &str = r#"{"types": ["y0", "y2"], "any_tags": ["t:1", "t:2"]}"#;

/// Writes as long as it is told to go on.
type Writer<'a> = Box<dyn Fn(&dyn Fn() -> bool) + Send + 'a>;
/// Reads until it is told that the writers have ended, and to the end.
type Reader<'a> = Box<dyn Fn(&AtomicBool) + Send + 'a>;

/// How long a run is.
fn duration() -> Duration {
    Duration::from_secs(scaled(6) as u64)
}

/// Runs the writers for the time of a run, and meanwhile the readers, who are told when the writers have ended.
fn run<'a>(writers: Vec<Writer<'a>>, readers: Vec<Reader<'a>>) {
    let done = AtomicBool::new(false);
    let end = Instant::now() + duration();
    thread::scope(|scope| {
        let done = &done;
        let writing: Vec<_> = writers
            .into_iter()
            .map(|write| scope.spawn(move || write(&|| Instant::now() < end)))
            .collect();
        let reading: Vec<_> = readers
            .into_iter()
            .map(|read| scope.spawn(move || read(done)))
            .collect();
        // Readers go on to the end, also where a writer has failed.
        let written: Vec<_> = writing.into_iter().map(|w| w.join()).collect();
        done.store(true, SeqCst);
        let read: Vec<_> = reading.into_iter().map(|r| r.join()).collect();
        assert!(written.into_iter().chain(read).all(|r| r.is_ok()));
    });
}

/// Transactions that append under ever new keys, and under the wanted one at last.
fn write_many_keys(db: &Database, n: u64, go_on: &dyn Fn() -> bool) {
    let mut session = db.connect();
    let mut random = Random::new(n);
    while go_on() {
        session.run("BEGIN");
        for x in 0..*random.pick(&[8, 8, 8, 30]) {
            session.append(&json!({"type": "x", "tags": [format!("x:{x}")]}), None);
        }
        session.append(&json!({"type": "t", "tags": ["t:0"]}), None);
        let end = if random.chance(50) {
            "COMMIT"
        } else {
            "ROLLBACK"
        };
        session.run(end);
    }
}

fn write_wanted(db: &Database, go_on: &dyn Fn() -> bool) {
    let mut session = db.connect();
    while go_on() {
        session.append(&json!({"type": "t", "tags": ["t:0"]}), None);
    }
}

/// All wanted events there are, in the end.
fn wanted(db: &Database) -> Vec<i64> {
    db.connect().positions(WANTED)
}

fn assert_same(seen: &[i64], there: &[i64], how: &str) {
    let missed: Vec<_> = there
        .iter()
        .filter(|p| seen.binary_search(p).is_err())
        .collect();
    assert!(
        missed.is_empty(),
        "{how} missed {missed:?} of {}",
        there.len()
    );
    assert_eq!(seen, there, "{how}");
}

/// Polls and acknowledges as fast as it goes, until nothing comes after the last commit: in one transaction, or under a
/// lease in two.
fn poll(db: &Database, name: &str, lease: Option<&str>, done: &AtomicBool) -> Vec<i64> {
    let mut session = db.connect();
    let token: Option<i64> = lease.map(|lease| {
        let sql = "SELECT en57_lease($1, $2::text::interval)";
        session.row(sql, &[&name, &lease]).get(0)
    });
    let mut seen = Vec::new();
    loop {
        let last_round = done.load(SeqCst);
        if token.is_none() {
            session.run("BEGIN");
        }
        let sql = "SELECT position FROM en57_poll($1, 1000, token => $2)";
        let rows = session.rows(sql, &[&name, &token]);
        let polled: Vec<i64> = rows.iter().map(|r| r.get(0)).collect();
        if let Some(last) = polled.last() {
            session.row(
                "SELECT en57_ack($1, $2, token => $3)::text",
                &[&name, last, &token],
            );
        }
        if token.is_none() {
            session.run("COMMIT");
        }
        let found = !polled.is_empty();
        seen.extend(polled);
        if last_round && !found {
            return seen;
        }
    }
}

fn a_subscription_is_given_every_event(lease: Option<&str>, fills: bool) {
    let db = &Cluster::shared().database();
    let mut session = db.connect();
    let sql = "SELECT en57_create_subscription('s', $1::text::en57_query)";
    session.row(sql, &[&WANTED]);
    session.rows("SELECT * FROM en57_poll('s')", &[]);
    let filler = |go_on: &dyn Fn() -> bool| {
        let mut session = db.connect();
        let many: Vec<_> = (0..2_500).map(|_| json!({"type": "filler"})).collect();
        while fills && go_on() {
            session.append(&json!(many), None);
            thread::sleep(Duration::from_millis(4)); // A rate, nothing that is waited for.
        }
    };
    let mut writers: Vec<Writer> = Vec::new();
    for n in 0..3 {
        writers.push(Box::new(move |go_on| write_many_keys(db, n, go_on)));
    }
    writers.push(Box::new(|go_on| write_wanted(db, go_on)));
    writers.push(Box::new(filler));
    let reader = move |done: &AtomicBool| {
        let seen = poll(db, "s", lease, done);
        assert_same(&seen, &wanted(db), "the subscription");
    };
    run(writers, vec![Box::new(reader)]);
}

#[test]
fn a_leased_subscription_is_given_every_event_whoever_appends_under_many_keys() {
    a_subscription_is_given_every_event(Some("1 minute"), false);
}

#[test]
fn a_transactional_subscription_is_given_every_event_whoever_appends_under_many_keys() {
    a_subscription_is_given_every_event(None, true);
}

/// One to three appends a transaction, in one partition or two.
fn write_few(db: &Database, n: u64, partitions: &[&str], go_on: &dyn Fn() -> bool) {
    const SQL: &str = "SELECT position FROM en57_append($1, partition => $2)";
    let mut session = db.connect();
    let mut random = Random::new(n);
    while go_on() {
        session.run("BEGIN");
        for _ in 0..random.between(1, 3) {
            let tag = format!("t:{}", random.below(3));
            let event = json!({"type": format!("y{}", random.below(3)), "tags": [tag]});
            let partition = *random.pick(partitions);
            session.row(SQL, &[&event, &partition]);
        }
        session.run(if random.chance(20) {
            "ROLLBACK"
        } else {
            "COMMIT"
        });
    }
}

fn head(session: &mut Session, query: &str, partition: &str) -> i64 {
    let sql = "SELECT en57_head($1::text::en57_query, $2)";
    session.row(sql, &[&query, &partition]).get(0)
}

/// Asks for heads, which must not go back.
fn ask_heads(db: &Database, query: &str, partition: &str, done: &AtomicBool) {
    let mut session = db.connect();
    let (mut last, mut asked, mut back) = (0, 0, Vec::new());
    while !done.load(SeqCst) {
        let now = head(&mut session, query, partition);
        if now < last {
            back.push((last, now));
        }
        last = now;
        asked += 1;
    }
    assert!(
        back.is_empty(),
        "{query} of {partition:?} went back {} of {asked} times: {back:?}",
        back.len()
    );
}

/// Reads up to a head, and goes on from there.
fn follow_heads(db: &Database, query: &str, partition: &str, done: &AtomicBool) {
    const READ: &str = "SELECT position FROM en57_read($1::text::en57_query, after => $2, upto => $3, partition => $4)";
    let mut session = db.connect();
    let (mut seen, mut after) = (Vec::<i64>::new(), 0);
    loop {
        let last_round = done.load(SeqCst);
        let upto = head(&mut session, query, partition);
        let rows = session.rows(READ, &[&query, &after, &upto, &partition]);
        seen.extend(rows.iter().map(|r| r.get::<_, i64>(0)));
        after = upto.max(after);
        if last_round {
            break;
        }
    }
    let rows = session.rows(READ, &[&query, &0_i64, &(i64::MAX - 1), &partition]);
    let there: Vec<i64> = rows.iter().map(|r| r.get(0)).collect();
    assert_same(&seen, &there, query);
}

#[test]
fn heads_never_go_back_in_one_partition() {
    let db = &Cluster::shared().database();
    let mut writers: Vec<Writer> = Vec::new();
    for n in 0..4 {
        writers.push(Box::new(move |go_on| write_few(db, n, &["default"], go_on)));
    }
    run(
        writers,
        vec![
            Box::new(|done| ask_heads(db, WANTED, "default", done)),
            Box::new(|done| {
                ask_heads(db, r#"{"types": ["y1"], "tags": ["t:1"]}"#, "default", done)
            }),
            Box::new(|done| ask_heads(db, ANY, "default", done)),
            Box::new(|done| ask_heads(db, r#"{"stream_prefix": "s"}"#, "default", done)),
            Box::new(|done| follow_heads(db, WANTED, "default", done)),
            Box::new(|done| follow_heads(db, ANY, "default", done)),
        ],
    );
}

/// Makes partitions in transactions that have positions before, and appends to them.
fn make_partitions(db: &Database, go_on: &dyn Fn() -> bool) {
    let mut session = db.connect();
    let mut n = 0;
    while go_on() {
        n += 1;
        session.run(&format!(
            "BEGIN; SELECT en57_append('{{\"type\": \"z\"}}'); SELECT en57_create_partition('p{n}');
             SELECT en57_append('{{\"type\": \"y0\", \"tags\": [\"t:0\"]}}', partition => 'p{n}'); COMMIT"
        ));
        thread::sleep(Duration::from_millis(20)); // A rate, nothing that is waited for.
    }
}

/// Fails where what is settled in the partitions that are known already is taken for all.
#[test]
fn a_subscription_of_all_partitions_is_given_every_event_while_some_come() {
    let db = &Cluster::shared().database();
    let mut session = db.connect();
    session.run("SELECT en57_create_partition('two')");
    let sql = "SELECT en57_create_subscription($2, $1::text::en57_query, partition => '*')";
    session.row(sql, &[&WANTED, &"polled"]);
    session.row(sql, &[&WANTED, &"leased"]);
    let mut writers: Vec<Writer> = vec![Box::new(|go_on| make_partitions(db, go_on))];
    for n in 0..3 {
        writers.push(Box::new(move |go_on| {
            write_few(db, n, &["default", "two"], go_on)
        }));
    }
    let reader = |name: &'static str, lease: Option<&'static str>| -> Reader {
        Box::new(move |done| {
            let seen = poll(db, name, lease, done);
            let sql = "SELECT position FROM en57_read($1::text::en57_query, partition => '*')";
            let rows = db.connect().rows(sql, &[&WANTED]);
            let there: Vec<i64> = rows.iter().map(|r| r.get(0)).collect();
            assert_same(&seen, &there, name);
        })
    };
    run(
        writers,
        vec![reader("polled", None), reader("leased", Some("1 minute"))],
    );
}

#[test]
fn heads_never_go_back_over_all_partitions_while_some_come_and_go() {
    let db = &Cluster::shared().database().with_few_key_locks();
    db.connect().run("SELECT en57_create_partition('two')");
    let mut writers: Vec<Writer> = vec![Box::new(|go_on| make_partitions(db, go_on))];
    for n in 0..4 {
        writers.push(Box::new(move |go_on| {
            write_few(db, n, &["default", "two"], go_on)
        }));
    }
    run(
        writers,
        vec![
            Box::new(|done| ask_heads(db, WANTED, "*", done)),
            Box::new(|done| ask_heads(db, WANTED, "two", done)),
            Box::new(|done| follow_heads(db, WANTED, "*", done)),
        ],
    );
}

fn under_any_number_of_new_keys(most: usize) {
    let db = &Cluster::shared().database();
    let [mut session, mut other, mut reader] = [db.connect(), db.connect(), db.connect()];
    session.run(&format!("SET en57.max_key_locks = {most}; BEGIN"));
    session.append(&json!({"type": "first"}), None);
    session.run(&format!(
        "DO $$ BEGIN FOR n IN 1..{} LOOP
            BEGIN PERFORM en57_append(jsonb_build_object('type', 'x', 'tags', ARRAY['r:' || n])); RAISE SQLSTATE 'ZZ001';
            EXCEPTION WHEN SQLSTATE 'ZZ001' THEN NULL; END;
         END LOOP; END $$",
        scaled(20_000)
    ));
    for n in 0..200 {
        let tag = format!("k:{n}");
        let query = json!({"tags": [tag]}).to_string();
        other.append(&json!({"type": "theirs", "tags": [tag]}), None);
        let before = head(&mut reader, &query, "default");
        session.append(&json!({"type": "late", "tags": [tag]}), None);
        assert!(
            head(&mut reader, &query, "default") >= before,
            "{tag} went back"
        );
    }
    session.run("COMMIT");
    let count = "SELECT en57_count('{\"types\": [\"late\"]}')";
    assert_eq!(other.number(count), 200);
}

/// What savepoints give back does not use up the room for late keys.
#[test]
fn a_transaction_may_append_under_any_number_of_new_keys() {
    under_any_number_of_new_keys(10_000);
}

/// Beyond `en57.max_key_locks` it locks the partition for any key.
#[test]
fn a_transaction_may_append_under_more_keys_than_it_locks() {
    under_any_number_of_new_keys(64);
}
