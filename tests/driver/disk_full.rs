//! A disk that is full refuses appends with 53100, or stops the server where it holds the WAL; nothing that was
//! acknowledged is lost, and everything goes on as soon as there is room.
//!
//! Fails where an append leaves something behind that is refused half-way: a slot that holds readers back, an entry of an
//! index without its row, a document that has an event which is not there. The disk is one that `support/shim.c` fills, so
//! these tests need no mounts.

use crate::support::cluster::{Cluster, Database, await_that};
use crate::support::followed::{self, Seen};
use crate::support::session::{Session, state, told};
use crate::support::shim::Shim;

/// Appends until there is no room, and demands that it is refused as it must be.
fn append_until_full(seen: &mut Seen, session: &mut Session) {
    loop {
        if let Err(error) = seen.try_append(session) {
            assert_eq!(state(&error), "53100", "{}", told(&error));
            let hint = error.as_db_error().and_then(|e| e.hint());
            assert_eq!(hint, Some("Check free disk space."));
            return;
        }
    }
}

/// What is refused, and what is not, while the disk is full.
fn while_full(seen: &mut Seen, session: &mut Session, refused: &[&str]) {
    for _ in 0..3 {
        append_until_full(seen, session);
    }
    for call in refused {
        let error = session.try_run(call).expect_err(call);
        assert_eq!(state(&error), "53100", "{call}: {}", told(&error));
    }
    // Others read on: nobody is in flight.
    seen.is_whole(session);
    let head = session.head();
    assert_eq!(
        session.number("SELECT count(*) FROM en57.in_flight()"),
        0,
        "a refused append holds readers back"
    );
    assert!(head >= seen.last);
    seen.last = head;
    assert!(
        session
            .append(
                &serde_json::json!({"type": "x"}),
                Some(r#"{"tags": ["d:1"]}"#)
            )
            .is_conflict()
    );
}

fn prepared(cluster: &'static Cluster) -> (Database, Session, Seen) {
    let db = cluster.database();
    let mut session = db.connect();
    followed::prepare(&mut session);
    let mut seen = Seen::default();
    seen.append(&mut session, 20);
    seen.follow(&mut session, 10);
    seen.append(&mut session, 20);
    (db, session, seen)
}

#[test]
fn of_the_data_directory() {
    let (cluster, shim) = Shim::cluster(&["autovacuum = off"]);
    let (db, mut session, mut seen) = prepared(&cluster);
    session.run("CREATE TABLE source AS SELECT n::bigint AS position, 'x' AS type, to_jsonb(repeat(md5(n::text), 1000)) AS data, ARRAY['n:' || n] AS tags FROM generate_series(1, 200) n");
    shim.fill_disk(&format!("{}/base", cluster.data()), 200 << 10);
    let refused = [
        "SELECT en57_import_from('source')",
        "CALL en57_import_in_batches('source', 'source')",
        "SELECT en57_append((SELECT jsonb_agg(jsonb_build_object('type', 'x', 'tags', tags, 'data', data)) FROM source))",
        "SELECT en57_create_partition('acme')",
    ];
    while_full(&mut seen, &mut session, &refused);
    // A rebuild stops, and is taken up again.
    let stopped = session.try_run("CALL en57_rebuild('by_tag', swap => 'files')");
    if let Err(error) = &stopped {
        assert_eq!(state(error), "53100", "{}", told(error));
    }
    shim.disk_has_room();
    session.run("CALL en57_rebuild('by_tag')");
    seen.goes_on(&db);
}

#[test]
fn of_a_tablespace() {
    let (cluster, shim) = Shim::cluster(&["autovacuum = off"]);
    let (db, mut session, mut seen) = prepared(&cluster);
    let folder = format!("{}/space", cluster.folder());
    cluster.shell(&format!("mkdir {folder}"));
    session.run(&format!("CREATE TABLESPACE space LOCATION '{folder}'"));
    session.run("ALTER TABLE en57.events_default SET TABLESPACE space");
    session.run("ALTER INDEX en57.events_default_keys SET TABLESPACE space");
    shim.fill_disk(&folder, 200 << 10);
    while_full(&mut seen, &mut session, &[]);
    // Other partitions are elsewhere.
    session.run("SELECT en57_create_partition('elsewhere')");
    let elsewhere =
        "SELECT outcome::text FROM en57_append('{\"type\": \"x\"}', partition => 'elsewhere')";
    assert_eq!(session.text(elsewhere), "appended");
    session.run("SELECT en57_drop_partition('elsewhere')");
    shim.disk_has_room();
    seen.goes_on(&db);
}

/// PostgreSQL stops where it cannot write its WAL.
#[test]
fn of_the_wal() {
    let settings = [
        "autovacuum = off",
        "min_wal_size = 2MB",
        "max_wal_size = 2GB",
        "wal_recycle = off",
    ];
    let (cluster, shim) = Shim::initialised(&settings, &["--wal-segsize=1"]);
    let (db, mut session, mut seen) = prepared(&cluster);
    shim.fill_disk(&format!("{}/pg_wal", cluster.data()), 512 << 10);
    let error = loop {
        if let Err(error) = seen.try_append(&mut session) {
            break error;
        }
    };
    assert!(
        error.is_closed() || state(&error) == "53100",
        "{}",
        told(&error)
    );
    // It tries to come up again, and cannot, or comes up and stops again.
    await_that("the log tells why", || {
        cluster.log().contains("No space left on device")
    });
    if cluster.is_up()
        && cluster
            .try_connect(&db.name)
            .is_ok_and(|mut c| c.simple_query("SELECT 1").is_ok())
    {
        let mut again = db.connect();
        while seen.try_append(&mut again).is_ok() {}
    }
    shim.disk_has_room();
    if !cluster.is_up() {
        cluster.start();
    }
    seen.goes_on(&db);
}
