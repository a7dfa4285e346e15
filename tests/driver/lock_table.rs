//! A table of key locks that is full makes appends lock their partition. PostgreSQL's lock table that is full refuses reads
//! and appends with 53200 and PostgreSQL's HINT; the next transaction works.
//!
//! Fails where what a transaction leaves in shared memory (its slot, its keys) outlives it: readers would be held back, or
//! the table would be used up in the end.

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, await_that};
use crate::support::followed::{self, Seen};
use crate::support::random::scaled;
use crate::support::session::{state, told};

#[test]
fn of_ten_locks_for_each_transaction() {
    let settings = [
        "max_locks_per_transaction = 10",
        "max_connections = 60",
        "max_worker_processes = 2",
        "autovacuum_max_workers = 1",
        "max_wal_senders = 0",
    ];
    let cluster = Cluster::own(&settings);
    let db = cluster.database();
    let mut session = db.connect();
    followed::prepare(&mut session);
    let mut seen = Seen::default();
    seen.append(&mut session, 20);
    // Key locks have a table of their own: a batch of many keys takes none of PostgreSQL's.
    let event = |n: usize| json!({"type": "wide", "tags": [format!("wide:{n}")]});
    let wide = |from: usize| Value::Array((from..from + 300).map(event).collect());
    session.run("BEGIN");
    assert!(session.append(&wide(0), None).is_appended());
    session.run("ROLLBACK");

    // Some fill the table with locks that they keep.
    session.run("SELECT en57_create_partition('elsewhere')");
    let tags = |holder: usize, n: usize| -> Vec<String> {
        (0..100).map(|t| format!("{holder}:{n}:{t}")).collect()
    };
    let batch = |holder: usize, n: usize| -> Value {
        let events = (40 * n..40 * n + 40)
            .map(|n| json!({"type": "held", "tags": tags(holder, n)}))
            .collect();
        Value::Array(events)
    };
    let mut holders = vec![];
    let is_full = "SELECT count(*) FROM en57_status() WHERE name = 'key_locks' AND warning LIKE '%max_locks_per_transaction%'";
    while session.number(is_full) == 0 {
        let mut holder = db.connect();
        holder.run("SET en57.max_key_locks = 100000; BEGIN");
        for n in 0..3 {
            let appended = holder.append(&batch(holders.len(), n), None);
            assert!(appended.is_appended());
        }
        holders.push(holder);
        assert!(holders.len() < 40, "the table is never full");
    }
    let used = "SELECT used::bigint FROM en57.key_lock_use()";
    let room = session.number("SELECT room::bigint FROM en57.key_lock_use()");
    while session.number(used) < room - 100 {
        let holder = holders.last_mut().expect("there are some");
        let left = room - session.number(used) - 20;
        let tags: Vec<String> = (0..left.min(100)).map(|t| format!("{left}:{t}")).collect();
        holder.append(&json!({"type": "held", "tags": tags}), None);
    }
    // Whoever finds no room locks the partition, and waits for those who have keys in it.
    let many: Vec<String> = (0..100).map(|t| format!("more:{t}")).collect();
    let more = json!([{"type": "more", "tags": many}, {"type": "more", "tags": tags(99, 0)}]);
    let append = "SELECT outcome::text FROM en57_append($1, partition => 'elsewhere')";
    assert_eq!(
        session.row(append, &[&more]).get::<_, String>(0),
        "appended"
    );
    session.run("ROLLBACK; SET lock_timeout = '50ms'");
    let error = session
        .try_append(&more, None)
        .expect_err("others are there");
    assert_eq!(state(&error), "55P03", "{}", told(&error));
    session.run("RESET lock_timeout; BEGIN");
    assert!(session.number("SELECT times_full FROM en57.key_lock_use()") >= 2);
    std::thread::scope(|scope| {
        let pid = session.pid();
        let waits = scope.spawn(|| session.append(&more, None));
        let mut watch = db.connect();
        let sql = "SELECT count(*) FROM pg_locks WHERE pid = $1 AND NOT granted";
        await_that("it waits for the partition", || {
            watch.row(sql, &[&pid]).get::<_, i64>(0) == 1
        });
        for mut holder in holders {
            holder.run("ROLLBACK");
        }
        assert!(waits.join().expect("it ends").is_appended());
    });
    session.run("ROLLBACK");
    // All is given back, however transactions end.
    for round in 0..scaled(20) {
        session.run("BEGIN");
        session.append(&json!({"type": "first"}), None);
        session.append(&batch(100, round), None);
        session.run("SAVEPOINT s");
        session.append(&batch(101, round), None);
        session.run(["ROLLBACK TO s; ROLLBACK", "ROLLBACK"][round % 2]);
        assert_eq!(session.number(used), 0);
    }
    session.run("RESET en57.max_key_locks");
    seen.last = session.head();
    assert_eq!(session.number("SELECT count(*) FROM en57.in_flight()"), 0);
    seen.goes_on(&db);

    // More partitions than locks: they cannot be read together, and each can alone.
    let mut made = 0;
    let error = loop {
        let sql = format!(
            "SELECT en57_create_partition('p{made}'); SELECT count(*) FROM en57_read(partition => '*')"
        );
        match session.try_run(&sql) {
            Ok(()) => made += 1,
            Err(error) => break error,
        }
        assert!(made < 2000, "the table is never full");
    };
    assert_eq!(state(&error), "53200", "{}", told(&error));
    assert!(
        told(&error).contains("max_locks_per_transaction"),
        "{}",
        told(&error)
    );
    assert_eq!(
        session.number("SELECT count(*) FROM en57_read(partition => 'p0')"),
        0
    );
    seen.append(&mut session, 3);
}
