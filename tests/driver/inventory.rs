//! The inventory of types and tags, and pages of a context, against what reading the whole log says: of random logs, with
//! appends that were rolled back among them, and while others append.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::model::{Event, PARTITIONS, query};
use crate::support::random::{Random, scaled};
use crate::support::session::Session;

/// Names that differ between the inventory and the log. Counts are above what is there where appends were rolled back.
const DIFFER: &str = "
    WITH log AS MATERIALIZED (SELECT * FROM en57_read(partition => $1)),
    told AS (
        SELECT 'type' AS kind, type AS name, count(*) AS events, min(position) AS first, max(position) AS last FROM log GROUP BY type
        UNION ALL SELECT 'tag', t, count(*), min(position), max(position) FROM log, unnest(tags) t GROUP BY t),
    inventory AS (
        SELECT 'type' AS kind, type AS name, events, first_position AS first, last_position AS last FROM en57_types($1)
        UNION ALL SELECT 'tag', tag, events, first_position, last_position FROM en57_tags(max_count => NULL, partition => $1))
    SELECT coalesce(string_agg(t::text || ' ' || i::text, E'\\n'), '') FROM told t FULL JOIN inventory i USING (kind, name)
    WHERE (t.first, t.last) IS DISTINCT FROM (i.first, i.last) OR i.events < t.events OR ($2 AND i.events > t.events)";

fn append(session: &mut Session, random: &mut Random) {
    let events: Vec<Value> = (0..random.between(1, 12))
        .map(|_| Event::random(random).document(random))
        .collect();
    let place = *random.pick(&PARTITIONS);
    let sql = "SELECT outcome::text FROM en57_append($1, partition => $2)";
    session.row(sql, &[&json!(events), &place]);
}

#[test]
fn names_are_those_of_the_log() {
    let db = Cluster::shared().database();
    let mut session = db.connect();
    let mut random = Random::new(5700);
    for name in &PARTITIONS[1..] {
        session.row("SELECT en57_create_partition($1)::text", &[name]);
    }
    let places: Vec<&str> = PARTITIONS.into_iter().chain(["*"]).collect();
    for round in 0..scaled(60) {
        for _ in 0..random.between(1, 4) {
            append(&mut session, &mut random);
        }
        if random.chance(20) {
            // Erased events have other places, and entries that lead there.
            session.run(r#"SELECT en57_erase('{"tags": ["n0"]}', 'test')"#);
        }
        let place = *random.pick(&places);
        let is_exact = round < 20;
        let differ: String = session.row(DIFFER, &[&place, &is_exact]).get(0);
        assert_eq!(differ, "", "round {round}, {place}");
        if is_exact {
            continue;
        }
        session.run("BEGIN");
        append(&mut session, &mut random);
        let differ: String = session.row(DIFFER, &[&place, &false]).get(0);
        assert_eq!(differ, "", "own events, round {round}, {place}");
        session.run("ROLLBACK");
    }
    session.run("VACUUM");
    for place in places {
        let differ: String = session.row(DIFFER, &[&place, &true]).get(0);
        assert_eq!(differ, "", "after vacuum, {place}");
    }
}

/// While two append, and roll back, in transactions of several appends, a follower by pages is given each event once, in order.
#[test]
fn pages_miss_nothing() {
    const PAGE: &str = "SELECT c.position, array_remove(array_agg(e.position), NULL)
        FROM en57_context($1::text::en57_query, after => $2, max_count => $3, partition => '*') c LEFT JOIN unnest(c.events) e ON true GROUP BY 1";
    let db = Cluster::shared().database();
    for name in &PARTITIONS[1..] {
        db.connect()
            .row("SELECT en57_create_partition($1)::text", &[name]);
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2u64)
            .map(|n| {
                let db = &db;
                scope.spawn(move || {
                    let (mut session, mut random) = (db.connect(), Random::new(5800 + n));
                    for _ in 0..scaled(400) {
                        session.run("BEGIN");
                        (0..random.between(1, 4)).for_each(|_| append(&mut session, &mut random));
                        let end = if random.chance(25) {
                            "ROLLBACK"
                        } else {
                            "COMMIT"
                        };
                        session.run(end);
                    }
                })
            })
            .collect();
        for n in 0..2u64 {
            let (db, done) = (&db, &done);
            scope.spawn(move || {
                let (mut session, mut random) = (db.connect(), Random::new(5900 + n));
                let followed = query(&mut random, 0).to_string();
                let (mut at, mut seen) = (0i64, Vec::new());
                loop {
                    let is_last = done.load(Ordering::SeqCst);
                    let size = random.between(1, 20) as i64;
                    let row = session.row(PAGE, &[&followed, &at, &size]);
                    let (position, page): (i64, Vec<i64>) = (row.get(0), row.get(1));
                    assert!(position >= at, "{position} after {at}");
                    assert!(page.len() as i64 <= size);
                    assert!(page.iter().all(|p| *p > at && *p <= position), "{page:?}");
                    let is_end = page.is_empty();
                    seen.extend(page);
                    at = position;
                    if is_last && is_end {
                        break;
                    }
                }
                let all: Vec<i64> = session
                    .rows(
                        "SELECT position FROM en57_read($1::text::en57_query, partition => '*')",
                        &[&followed],
                    )
                    .iter()
                    .map(|row| row.get(0))
                    .collect();
                assert_eq!(seen, all, "{followed}");
            });
        }
        // A writer that has failed must not leave the followers waiting.
        let ended: Vec<_> = writers.into_iter().map(|w| w.join()).collect();
        done.store(true, Ordering::SeqCst);
        ended.into_iter().for_each(|w| w.expect("a writer"));
    });
}
