//! A log that logical replication fills, on a second server.
//!
//! Fails without `Partition::refuse_replica` (a reader passes events that come later for good), and without what the
//! guard lets an apply worker do (the subscription stops for ever at en57_truncate()).

use std::sync::OnceLock;

use serde_json::json;

use crate::support::cluster::{Cluster, Database, await_that};
use crate::support::session::{Session, state, told};

/// Two servers, which all tests here share.
fn servers() -> [&'static Cluster; 2] {
    static SERVERS: OnceLock<[Cluster; 2]> = OnceLock::new();
    let [publisher, subscriber] = SERVERS.get_or_init(|| {
        let settings = ["wal_level = logical", "max_worker_processes = 40"];
        [Cluster::new(&settings), Cluster::new(&settings)]
    });
    [publisher, subscriber]
}

/// A log, and one on the other server that is to be filled.
struct Pair {
    from: Database,
    to: Database,
}

impl Pair {
    fn new() -> Self {
        let [publisher, subscriber] = servers();
        Self {
            from: publisher.database(),
            to: subscriber.database(),
        }
    }

    /// Lets the second one be filled; `what` is a publication's.
    fn subscribe(&self, what: &str) {
        let mut publisher = self.from.connect();
        publisher.run(&format!("CREATE PUBLICATION log {what}"));
        self.to.connect().run(&format!(
            "CREATE SUBSCRIPTION {} CONNECTION 'host={} port=5432 user=postgres dbname={}' PUBLICATION log",
            self.name(),
            self.from.cluster.folder(),
            self.from.name
        ));
    }

    fn unsubscribe(&self) {
        let command = format!("DROP SUBSCRIPTION {}", self.name());
        self.to.connect().run(&command);
    }

    fn name(&self) -> String {
        format!("sub_{}", self.to.name)
    }
}

fn await_events(session: &mut Session, expected: &str) {
    let sql = "SELECT coalesce(string_agg(type, ' ' ORDER BY position), '') FROM en57.events";
    await_that(expected, || session.text(sql) == expected);
}

fn is_refused(session: &mut Session, call: &str) {
    let error = session.try_run(call).expect_err(call);
    let told = told(&error);
    assert!(
        told.contains("is filled by logical replication"),
        "{call}: {told}"
    );
    assert_eq!(state(&error), "55006", "{call}");
}

fn make_followers(session: &mut Session) {
    session.run(
        "SELECT en57_create_subscription('s', '{}');
         CREATE FUNCTION note(e en57_event) RETURNS void LANGUAGE sql AS '';
         CREATE FUNCTION keep(doc jsonb, e en57_event) RETURNS jsonb IMMUTABLE LANGUAGE sql AS 'SELECT to_jsonb(e.type)';
         SELECT en57_create_projection('p', '{}', 'note', mode => 'async');
         SELECT en57_create_document_projection('d', '{}', 'stream', 'keep', mode => 'async')",
    );
}

#[test]
fn a_replica_is_not_read_as_settled() {
    let pair = Pair::new();
    let (mut first, mut second) = (pair.from.connect(), pair.from.connect());
    let mut replica = pair.to.connect();
    // They are there before anybody subscribes, and the session knows the partition.
    make_followers(&mut replica);
    assert_eq!(replica.number("SELECT en57_count()"), 0);
    first.append(&json!({"type": "copied"}), None);
    pair.subscribe("FOR TABLE en57.events");
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
        "SELECT en57_import('[{\"type\": \"a\"}]')",
        "SELECT en57_lock('{\"types\": [\"a\"]}')",
        "SELECT en57_poll('s', 10)",
        "SELECT en57_trace('00000000-0000-0000-0000-000000000001')",
        "SELECT en57_read_stream('s')",
        "SELECT en57_get('00000000-0000-0000-0000-000000000001')",
        "SELECT en57_run('p')",
        "CALL en57_rebuild('d')",
        "SELECT en57_erase('{\"tags\": [\"ada\"]}', 'why')",
        "SELECT en57_create_projection('q', '{}', 'note(en57_event)')",
    ] {
        is_refused(&mut replica, call);
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
    let expected = format!("subscription {} fills it", pair.name());
    for look in [
        "SELECT warning FROM en57_status() WHERE name = 'replicas'",
        "SELECT string_agg(problem, ' ') FROM en57_check()",
    ] {
        let told = replica.text(look);
        assert!(told.contains(&expected), "{told}");
    }

    first.run("COMMIT");
    await_events(&mut replica, "copied early late");
    // Without the subscription it is a log of its own, which goes on above what it has, in sessions that knew it.
    pair.unsubscribe();
    let next = replica.append(&json!({"type": "own"}), None);
    assert!(next.is_appended() && next.position > 3, "{next:?}");
    let followed = "SELECT string_agg(type, ' ') FROM en57_poll('s', 10)";
    assert_eq!(replica.text(followed), "copied early late own");
    assert_eq!(replica.number("SELECT en57_run('p')"), 4);
    assert_eq!(replica.number("SELECT count(*) FROM en57_check()"), 0);
}

#[test]
fn what_the_publisher_takes_away_goes() {
    let pair = Pair::new();
    let (mut publisher, mut replica) = (pair.from.connect(), pair.to.connect());
    let ada = json!({"type": "named", "data": {"name": "Ada"}, "tags": ["ada"]});
    publisher.append(&ada, None);
    pair.subscribe("FOR ALL TABLES");
    await_events(&mut replica, "named");
    let warned = "SELECT count(warning) FROM en57_status() WHERE name IN ('publications', 'replica_identity')";
    assert_eq!(publisher.number(warned), 0);
    // All tables are more than the log.
    let warnings = "SELECT warning FROM en57_status() WHERE name = 'replicas'";
    assert!(
        replica
            .text(warnings)
            .contains("it tells of another database")
    );
    let found = "SELECT count(*) FROM en57_check() WHERE object = 'table en57.projections'";
    assert_eq!(replica.number(found), 1);
    // An event that is erased there is erased here, by its replica identity, also when its index was made anew.
    publisher.run("REINDEX INDEX CONCURRENTLY en57.events_default_position");
    publisher.run("SELECT en57_erase('{\"tags\": [\"ada\"]}', 'why')");
    let data = "SELECT count(*) FROM en57.events WHERE data::text LIKE '%Ada%'";
    await_that("it is erased", || replica.number(data) == 0);
    // Positions begin again, and come again.
    publisher.run("SELECT en57_truncate('default', restart => true)");
    publisher.append(&json!([{"type": "anew"}, {"type": "again"}]), None);
    await_events(&mut replica, "anew again");
    pair.unsubscribe();
}

#[test]
fn other_partitions_go_on() {
    let pair = Pair::new();
    let (mut publisher, mut replica) = (pair.from.connect(), pair.to.connect());
    for session in [&mut publisher, &mut replica] {
        session.run("SELECT en57_create_partition('acme')");
    }
    replica.run(
        "CREATE TABLE seen (type text);
         CREATE FUNCTION see(e en57_event) RETURNS void LANGUAGE sql AS 'INSERT INTO seen VALUES (e.type)';
         SELECT en57_create_projection('theirs', '{}', 'see', mode => 'async', partition => 'acme');
         SELECT en57_create_projection('ours', '{}', 'see', mode => 'async')",
    );
    pair.subscribe("FOR TABLE en57.events_acme");
    publisher.run("SET en57.partition = 'acme'");
    publisher.append(&json!({"type": "theirs"}), None);
    await_events(&mut replica, "theirs");
    // The worker does what it can.
    replica.run("SELECT en57_worker_start()");
    replica.append(&json!({"type": "ours"}), None);
    let seen = "SELECT coalesce(string_agg(type, ' ' ORDER BY type), '') FROM seen";
    await_that("ours", || replica.text(seen) == "ours");
    is_refused(&mut replica, "SELECT en57_read(partition => '*')");
    is_refused(&mut replica, "SELECT en57_read(partition => 'acme')");
    assert_eq!(
        replica.text("SELECT string_agg(type, ' ') FROM en57_read()"),
        "ours"
    );

    // Detached it is in nobody's way; attached it is what it was.
    let detach = "ALTER TABLE en57.events DETACH PARTITION en57.events_acme";
    let attach = "ALTER TABLE en57.events ATTACH PARTITION en57.events_acme FOR VALUES IN ('acme')";
    replica.run(detach);
    replica.run("SELECT en57_read(partition => '*')");
    replica.run(attach);
    is_refused(&mut replica, "SELECT en57_read(partition => '*')");
    pair.unsubscribe();
    await_that("theirs", || replica.text(seen) == "ours theirs");
}

/// The worker that fills a table goes on for a while when the table is taken out of the subscription: it is behind, and
/// does not look again. What it brings then must not come below what was read.
#[test]
fn what_comes_too_late_is_left_out() {
    let pair = Pair::new();
    let (mut publisher, mut replica) = (pair.from.connect(), pair.to.connect());
    for session in [&mut publisher, &mut replica] {
        session.run("SELECT en57_create_partition('acme')");
    }
    pair.subscribe("FOR TABLE en57.events_acme, en57.events_default");
    let ready = "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate = 'r'";
    await_that("tables are copied", || replica.number(ready) == 2);
    // Such a table it knows by heart.
    publisher.run("SET en57.partition = 'acme'");
    publisher.append(&json!({"type": "early"}), None);
    await_events(&mut replica, "early");

    // The worker waits with an event in its hands.
    let mut blocker = pair.to.connect();
    blocker.run("BEGIN; LOCK TABLE en57.events_acme IN SHARE MODE");
    publisher.append(&json!({"type": "late"}), None);
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'en57.events_acme'::regclass";
    await_that("it waits", || replica.number(waiting) == 1);
    publisher.run("ALTER PUBLICATION log DROP TABLE en57.events_acme");
    let refresh = format!("ALTER SUBSCRIPTION {} REFRESH PUBLICATION", pair.name());
    replica.run(&refresh);
    replica.run("SET en57.partition = 'acme'");
    let read = "SELECT string_agg(type, ' ' ORDER BY position) FROM en57_read()";
    assert_eq!(replica.text(read), "early");
    blocker.run("COMMIT");

    // It goes on with the other table.
    publisher.run("RESET en57.partition");
    publisher.append(&json!({"type": "other"}), None);
    await_events(&mut replica, "early other");
    assert_eq!(replica.text(read), "early");
    pair.unsubscribe();
}
