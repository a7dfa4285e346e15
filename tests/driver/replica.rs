//! A log that logical replication fills: two databases, a publication and a subscription.
//!
//! Fails without `Partition::refuse_replica` (a reader passes events that come later for good), and without what the
//! guard lets an apply worker do (the subscription stops for ever at en57_truncate()).

use serde_json::json;

use crate::cluster::{Cluster, Database, await_that};
use crate::session::{Session, state, told};

/// The subscriber's database is on the same server: so the slot is made before.
fn subscribe(from: &Database, to: &Database, name: &str) {
    let mut publisher = from.connect();
    publisher.run("CREATE PUBLICATION log FOR TABLE en57.events");
    publisher.run(&format!(
        "SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')"
    ));
    to.connect().run(&format!(
        "CREATE SUBSCRIPTION {name} CONNECTION 'host={} user=postgres dbname={}' PUBLICATION log
             WITH (create_slot = false, slot_name = '{name}')",
        from.cluster.folder(),
        from.name
    ));
}

fn await_events(session: &mut Session, expected: &str) {
    let sql = "SELECT coalesce(string_agg(type, ' ' ORDER BY position), '') FROM en57.events";
    await_that(expected, || session.text(sql) == expected);
}

#[test]
fn a_replica_is_not_read_as_settled() {
    let cluster = Cluster::own(&["wal_level = logical", "max_worker_processes = 40"]);
    let (from, to) = (cluster.database(), cluster.database());
    let (mut first, mut second, mut replica) = (from.connect(), from.connect(), to.connect());
    // They are there before anybody subscribes.
    replica.run("SELECT en57_create_subscription('s', '{}')");
    replica.run(
        "CREATE FUNCTION note(e en57_event) RETURNS void LANGUAGE sql AS '';
         SELECT en57_create_projection('p', '{}', 'note(en57_event)', mode => 'async')",
    );
    assert_eq!(replica.number("SELECT en57_count()"), 0);
    first.append(
        &json!({"type": "copied", "data": {"name": "Ada"}, "tags": ["ada"]}),
        None,
    );
    subscribe(&from, &to, "sub");
    await_events(&mut replica, "copied");
    // The one with the lower position comes last.
    first.run("BEGIN");
    first.append(&json!({"type": "early"}), None);
    second.append(&json!({"type": "late"}), None);
    await_events(&mut replica, "copied late");

    for call in [
        "SELECT en57_read()",
        "SELECT en57_read(partition => '*')",
        "SELECT en57_context()",
        "SELECT en57_head()",
        "SELECT en57_count()",
        "SELECT en57_wait(0, '1s')",
        "SELECT en57_append('{\"type\": \"a\"}')",
        "SELECT en57_append('{\"type\": \"a\"}', fail_if => '{}')",
        "SELECT en57_lock('{\"types\": [\"a\"]}')",
        "SELECT en57_poll('s', 10)",
        "SELECT en57_run('p')",
        "SELECT en57_erase('{\"tags\": [\"ada\"]}', 'why')",
        "SELECT en57_create_projection('q', '{}', 'note(en57_event)')",
    ] {
        let error = replica.try_run(call).expect_err(call);
        assert!(
            told(&error).contains("is filled by logical replication"),
            "{call}: {}",
            told(&error)
        );
        assert_eq!(state(&error), "55000", "{call}");
    }
    // Plain SQL, views and what administers go on.
    for view in [
        "en57_partitions",
        "en57_projections",
        "en57_subscriptions",
        "en57_stat",
    ] {
        replica.number(&format!(
            "SELECT count(*) FROM (SELECT * FROM {view} OFFSET 0) v"
        ));
    }
    let warning = replica.text("SELECT warning FROM en57_status() WHERE name = 'replicas'");
    assert!(warning.contains("subscription sub fills it"), "{warning}");
    let found = replica.text("SELECT string_agg(problem, ' ') FROM en57_check()");
    assert!(found.contains("subscription sub fills it"), "{found}");

    first.run("COMMIT");
    await_events(&mut replica, "copied early late");
    // An event that is erased there is erased here, by its replica identity.
    first.run("SELECT en57_erase('{\"tags\": [\"ada\"]}', 'why')");
    let data = "SELECT count(*) FROM en57.events WHERE data::text LIKE '%Ada%'";
    await_that("it is erased", || replica.number(data) == 0);
    // Positions begin again, and come again.
    first.run("SELECT en57_truncate('default', restart => true)");
    first.append(&json!([{"type": "anew"}, {"type": "again"}]), None);
    await_events(&mut replica, "anew again");
    let published = "SELECT count(warning) FROM en57_status() WHERE name = 'publications'";
    assert_eq!(first.number(published), 0);

    // Without the subscription it is a log of its own, which goes on above what it has, in sessions that knew it.
    replica.run("ALTER SUBSCRIPTION sub DISABLE");
    replica.run("ALTER SUBSCRIPTION sub SET (slot_name = NONE); DROP SUBSCRIPTION sub");
    let next = replica.append(&json!({"type": "own"}), None);
    assert!(next.is_appended() && next.position > 2, "{next:?}");
    assert_eq!(
        replica.text("SELECT string_agg(type, ' ') FROM en57_read()"),
        "anew again own"
    );
    assert_eq!(replica.number("SELECT count(*) FROM en57_check()"), 0);
    await_that("the slot is free", || {
        first
            .try_run("SELECT pg_drop_replication_slot('sub')")
            .is_ok()
    });
}
