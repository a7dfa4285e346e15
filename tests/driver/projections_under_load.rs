//! Projections under load: what they hold is what a fold of the log gives, whoever raced, rolled back or was
//! on the way when they were created; and two who run the same asynchronous projection do not do the same.
//!
//! Without the locks of documents (`projection/inline.rs`, `Due::plan`) events come into documents in another
//! order than that of the log, and some are lost. Without the exclusion of appends in `projection/create.rs`,
//! or without the second look in `Due::look_again`, events are missing or handled twice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::json;

use crate::support::cluster::{Cluster, Database, End};
use crate::support::crew::crew;
use crate::support::documents::{BY_FUNCTION, BY_TAG, CLIENTS, EVOLVE, create, write, wrong};
use crate::support::random::{Random, scaled};
use crate::support::session::{Session, state, told};

fn races(documents: usize) {
    let db = Cluster::shared().database();
    let mut session = db.connect();
    session.run(EVOLVE);
    create(&mut session, "by_tag", BY_TAG, "inline");
    create(&mut session, "by_function", BY_FUNCTION, "inline");
    // One is written directly, the other by statements.
    session.run("CREATE INDEX ON by_function (position)");
    let committed: usize = crew(CLIENTS, |client| {
        let mut session = db.connect();
        write(&mut session, 1000 + client as u64, documents, |n| {
            n < scaled(60)
        })
    })
    .into_iter()
    .sum();
    assert!(committed > CLIENTS, "the clients have written");
    let folded = r#"SELECT en57_count('{"types": ["changed"]}')"#;
    assert!(session.number(folded) > 0, "there is something to fold");
    for table in ["by_tag", "by_function"] {
        assert_eq!(wrong(&mut session, table), 0, "documents of {table}");
    }
}

/// No retries: an error of class 40 fails the test, but at SERIALIZABLE.
#[test]
fn sixteen_writers_to_one_document() {
    races(1);
}

#[test]
fn sixteen_writers_to_a_hundred_documents() {
    races(100);
}

/// Creates, pauses and resumes projections while everybody writes.
#[test]
fn created_under_load() {
    let db = Cluster::shared().database();
    db.connect().run(EVOLVE);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..CLIENTS as u64)
            .map(|client| {
                let (db, done) = (&db, &done);
                scope.spawn(move || {
                    let mut session = db.connect();
                    write(&mut session, 2000 + client, 20, |_| {
                        !done.load(Ordering::Relaxed)
                    })
                })
            })
            .collect();
        let end = End(&done);
        change_definitions(&db);
        drop(end);
        let committed: usize = writers
            .into_iter()
            .map(|w| w.join().expect("a writer succeeds"))
            .sum();
        assert!(committed > CLIENTS, "the clients have written");
    });
    let mut session = db.connect();
    for n in 0..scaled(4) {
        assert_eq!(wrong(&mut session, &format!("by_tag_{n}")), 0, "by_tag_{n}");
        assert_eq!(
            wrong(&mut session, &format!("by_function_{n}")),
            0,
            "by_function_{n}"
        );
    }
    let noted = "SELECT count(*) FROM (
            SELECT e.position, substr(t, 3) AS id FROM en57_read() e, unnest(e.tags) t WHERE t LIKE 'd:%') stored
        FULL JOIN (SELECT position, id, count(*) AS times FROM noted GROUP BY 1, 2) n USING (position, id)
        WHERE stored.position IS NULL OR times IS DISTINCT FROM 1";
    assert_eq!(session.number(noted), 0, "missed, or noted twice");
}

fn change_definitions(db: &Database) {
    let mut session = db.connect();
    // To be there is all that the writers need not wait for.
    let grows = |session: &mut Session| {
        let before = session.head();
        crate::support::cluster::await_that("the log to grow", || session.head() > before + 20);
    };
    grows(&mut session);
    session.run(
        "SELECT en57_create_projection('noting', '{}', 'note(en57_event[])', batch_size => 10)",
    );
    for n in 0..scaled(4) {
        grows(&mut session);
        create(&mut session, &format!("by_tag_{n}"), BY_TAG, "inline");
        grows(&mut session);
        session.run("SELECT en57_pause('noting')");
        create(
            &mut session,
            &format!("by_function_{n}"),
            BY_FUNCTION,
            "inline",
        );
        grows(&mut session);
        session.run("SELECT en57_resume('noting')");
        session
            .run("CREATE OR REPLACE FUNCTION unrelated() RETURNS int LANGUAGE sql AS 'SELECT 1'");
    }
}

/// Four runners and as many writers, runs that are rolled back among them.
#[test]
fn async_by_several_runners() {
    let db = Cluster::shared().database();
    let mut session = db.connect();
    session.run(EVOLVE);
    create(&mut session, "by_tag", BY_TAG, "async");
    session.run("SELECT en57_create_projection('noting', '{}', 'note(en57_event[])', mode => 'async', batch_size => 7)");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for client in 0..4u64 {
            let (db, done) = (&db, &done);
            scope.spawn(move || {
                let mut session = db.connect();
                let mut random = Random::new(3000 + client);
                while !done.load(Ordering::Relaxed) {
                    let name = ["by_tag", "noting"][random.below(2)];
                    session.run("BEGIN");
                    let run = format!("SELECT en57_run('{name}', {})", 1 + random.below(20));
                    if let Err(e) = session.try_run(&run) {
                        // Both may have run the other's projection before.
                        assert_eq!(state(&e), "40P01", "{}", told(&e));
                    }
                    session.run(["COMMIT", "COMMIT", "ROLLBACK"][random.below(3)]);
                }
            });
        }
        let _end = End(&done);
        crew(4, |client| {
            let mut session = db.connect();
            write(&mut session, 4000 + client as u64, 10, |n| n < scaled(100))
        });
        // Read your writes: who has appended waits for the projection, which nobody polls.
        let position = session
            .append(&json!({"type": "changed", "tags": ["d:1"]}), None)
            .position;
        let waited =
            format!("SELECT en57_wait_projection('by_tag', {position}, '60s')::int::bigint");
        let before = std::time::Instant::now();
        assert_eq!(session.number(&waited), 1);
        assert!(before.elapsed().as_secs() < 30, "woken, not timed out");
    });
    session.run("SELECT en57_run('by_tag'), en57_run('noting')");
    assert_eq!(wrong(&mut session, "by_tag"), 0);
    let noted = "SELECT count(*) FROM (
            SELECT e.position, substr(t, 3) AS id FROM en57_read() e, unnest(e.tags) t WHERE t LIKE 'd:%') stored
        FULL JOIN (SELECT position, id, count(*) AS times FROM noted GROUP BY 1, 2) n USING (position, id)
        WHERE stored.position IS NULL OR times IS DISTINCT FROM 1";
    assert_eq!(session.number(noted), 0, "missed, or noted twice");
}

/// Definitions, positions, documents and dead letters are in a dump, and all goes on where it was.
///
/// Without `pg_extension_config_dump` on the tables the restored database has no projections.
#[test]
fn dumped_and_restored() {
    let cluster = Cluster::shared();
    let (from, to) = (cluster.database(), cluster.bare_database());
    let mut session = from.connect();
    session.run(EVOLVE);
    create(&mut session, "by_tag", BY_TAG, "inline");
    create(&mut session, "by_function", BY_FUNCTION, "async");
    session.run("SELECT en57_create_projection('noting', '{}', 'note(en57_event[])')");
    let events: Vec<_> = (0..20)
        .map(|n| json!({"type": "changed", "tags": [format!("d:{}", n % 3)]}))
        .collect();
    session.append(&json!(events), None);
    session.run("SELECT en57_run('by_function', 7)");
    cluster.shell(&format!(
        "$BIN/pg_dump {} | $BIN/psql -qX -v ON_ERROR_STOP=1 {}",
        from.name, to.name
    ));
    let mut restored = to.connect();
    let state = "SELECT string_agg(concat_ws(' ', name, kind, mode, query, handler, key, status, position), '; ' ORDER BY name)
        FROM en57_projections WHERE mode = 'async'";
    assert_eq!(restored.text(state), session.text(state));
    for session in [&mut session, &mut restored] {
        session.append(&json!(events), None);
        session.run("SELECT en57_run('by_function')");
        assert_eq!(wrong(session, "by_tag"), 0);
        assert_eq!(wrong(session, "by_function"), 0);
        assert_eq!(session.number("SELECT count(*) FROM noted"), 40);
        // Numbers are not given twice.
        session.run("SELECT en57_create_projection('one more', '{}', 'note(en57_event[])')");
    }
}
