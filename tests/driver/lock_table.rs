//! A lock table that is full refuses appends, reads and locks with 53200 and PostgreSQL's HINT; the next transaction works.
//!
//! Fails where what an append leaves in shared memory (its slot, its late keys) outlives the error: readers would be held
//! back, or the pool of late keys would be used up in the end.

use serde_json::{Value, json};

use crate::support::cluster::Cluster;
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
    // Whoever wants more keys than there is room for locks the partition instead.
    let event = |n: usize| json!({"type": "wide", "tags": [format!("wide:{n}")]});
    let wide = |from: usize| Value::Array((from..from + 300).map(event).collect());
    session.run("BEGIN");
    assert!(session.append(&wide(0), None).is_appended());
    session.run("ROLLBACK");

    // Some fill the table with locks that they keep, until one finds no room.
    session.run("SET en57.max_key_locks = 10000");
    let mut holders = vec![];
    let mut refused = 0;
    while refused < 3 {
        let mut holder = db.connect();
        holder.run("SET en57.max_key_locks = 10000; BEGIN");
        let mut n = 0usize;
        let error = loop {
            let tags: Vec<String> = (0..20)
                .map(|t| format!("{}:{n}:{t}", holders.len()))
                .collect();
            n += 1;
            if let Err(error) = holder.try_append(&json!({"type": "held", "tags": tags}), None) {
                break error;
            }
            assert!(n < 1000, "the table is never full");
        };
        assert_eq!(state(&error), "53200", "{}", told(&error));
        assert!(
            told(&error).contains("max_locks_per_transaction"),
            "{}",
            told(&error)
        );
        refused += 1;
        // Its own were given back with the error; it takes fewer of them now.
        holder.run("ROLLBACK; BEGIN");
        for m in 0..n.saturating_sub(2) / 2 {
            let tags: Vec<String> = (0..20)
                .map(|t| format!("{}:{m}:{t}", holders.len()))
                .collect();
            if holder
                .try_append(&json!({"type": "held", "tags": tags}), None)
                .is_err()
            {
                holder.run("ROLLBACK; BEGIN");
                break;
            }
        }
        holders.push(holder);
    }
    drop(holders);
    // The pool of late keys is whole again, however often transactions failed half-way.
    for round in 0..scaled(20) {
        session.run("BEGIN");
        session.append(&json!({"type": "first"}), None);
        let tags: Vec<String> = (0..3000).map(|t| format!("{round}:{t}")).collect();
        let events: Vec<Value> = tags
            .chunks(100)
            .map(|t| json!({"type": "late", "tags": t}))
            .collect();
        let error = session
            .try_append(&json!(events), None)
            .expect_err("too many");
        assert_eq!(state(&error), "53200", "{}", told(&error));
        session.run("ROLLBACK");
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
