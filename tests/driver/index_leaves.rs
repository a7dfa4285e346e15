//! Entries that en57 puts on the leaves of B-trees itself are as good as nbtree's own.
//!
//! Many writers fill the same leaves, one entry and hundreds at a time, with and without given ids, some rolling
//! back. Then the server crashes. With `wal_consistency_checking` recovery compares each page that it replays with
//! the image that was logged of it, and stops where they differ. amcheck looks at the two indexes that it knows;
//! each event must be found under each of its keys.
//!
//! Without the record of `leaf::write` entries are lost; with an entry in a wrong place (`View::place_of`) amcheck
//! or the counts tell; where the end of the page is not looked at (`high` in `leaf::insert`), entries stand on
//! pages where nobody looks for them.

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, OwnCluster};
use crate::support::crew::{Gate, crew};
use crate::support::random::{Random, scaled};
use crate::support::session::state;

const WRITERS: usize = 6;

#[test]
fn leaves_are_nbtrees_own() {
    let cluster: OwnCluster = Cluster::own(&[
        "wal_consistency_checking = 'btree'",
        "max_wal_size = 4GB",
        "checkpoint_timeout = 1h",
    ]);
    let db = cluster.database();
    let mut session = db.connect();
    let has_amcheck = session.has("amcheck");
    let stored: usize = crew(WRITERS, |n| {
        let mut session = db.connect();
        let mut random = Random::new(4_200 + n as u64);
        let mut stored = 0;
        for _ in 0..scaled(60) {
            // A page takes some 290 entries: batches of more fill pages, those of fewer share them.
            let size = *random.pick(&[1, 1, 1, 2, 40, 130, 400]);
            let events: Vec<Value> = (0..size).map(|_| event(&mut random)).collect();
            session.run("BEGIN");
            assert!(session.append(&json!(events), None).is_appended());
            if random.chance(15) {
                session.run("ROLLBACK");
            } else {
                session.run("COMMIT");
                stored += size;
            }
        }
        stored
    })
    .into_iter()
    .sum();

    cluster.stop("immediate");
    cluster.start();
    let mut session = db.connect();
    assert_eq!(
        session.number("SELECT count(*) FROM en57.events"),
        stored as i64
    );
    assert_eq!(
        session.number("SELECT count(*) FROM en57_read()"),
        stored as i64
    );
    for index in ["events_default_position", "events_default_id"] {
        if has_amcheck {
            session.run(&format!("SELECT bt_index_check('en57.{index}', true)"));
        }
    }
    let lost = "SELECT coalesce(string_agg(format('%s: %s of %s', k, found, n), ', '), '')
        FROM (SELECT k, n, en57_count(CASE WHEN is_tag THEN en57_query(tags => ARRAY[k]) ELSE en57_query(types => ARRAY[k]) END) AS found
              FROM (SELECT unnest(tags) AS k, true AS is_tag, count(*) AS n FROM en57.events GROUP BY 1
                    UNION ALL SELECT type, false, count(*) FROM en57.events GROUP BY 1) AS keys) AS counted
        WHERE found <> n";
    assert_eq!(session.text(lost), "", "key: found of stored");
    // A given id is found by the index, one that was made here too.
    let unknown = "SELECT count(*) FROM en57.events AS e WHERE (en57_get(e.id)).position IS DISTINCT FROM e.position";
    assert_eq!(session.number(unknown), 0);
}

/// Half of the tags are shared by many events, half are their own.
fn event(random: &mut Random) -> Value {
    let mut event = json!({
        "type": format!("type {}", random.below(3)),
        "tags": [format!("shared:{}", random.below(20)), format!("own:{}", random.next())],
    });
    if random.chance(10) {
        let id = u128::from(random.next()) << 64 | u128::from(random.next());
        event["id"] = json!(uuid::Uuid::from_u128(id).to_string());
    }
    event
}

/// An id is stored once, whoever comes with it at the same time, and by the next one after a rollback. Without
/// `is_there` in `leaf::insert` all store it.
#[test]
fn ids_are_unique() {
    let db = Cluster::shared().database();
    let gate = Gate::new(WRITERS);
    let won: usize = crew(WRITERS, |n| {
        let mut session = db.connect();
        let mut random = Random::new(4_300 + n as u64);
        let mut won = 0;
        for round in 0..scaled(100) {
            gate.pass();
            let id =
                |n: usize| uuid::Uuid::from_u128((n as u128) << 96 | round as u128).to_string();
            // Behind another id, which is each one's own: the lock of the first id plays no part.
            let batch = json!([{"type": "own", "id": id(n)}, {"type": "known", "id": id(WRITERS)}]);
            session.run("BEGIN");
            let answer = session.try_append(&batch, None);
            let undone = random.chance(30);
            session.run(if undone { "ROLLBACK" } else { "COMMIT" });
            match answer {
                Ok(_) => won += usize::from(!undone),
                Err(error) => assert_eq!(state(&error), "23505"),
            }
        }
        won
    })
    .into_iter()
    .sum();
    let mut session = db.connect();
    let stored = "SELECT count(*) FROM en57.events WHERE type = 'known'";
    assert_eq!(session.number(stored), won as i64);
    let twice = "SELECT count(*) - count(DISTINCT id) FROM en57.events";
    assert_eq!(session.number(twice), 0);
    assert!(won > 0, "nobody stored any");
}
