//! A standby that becomes the primary, and an old primary that becomes its standby by pg_rewind.
//!
//! Without the wait for synchronous standbys in `Store::write_ceiling` the new primary gives out positions again that a
//! reader of the old one has passed: those of appends that were rolled back.

use std::process::Command;

use serde_json::json;

use crate::support::cluster::{Cluster, Database, OwnCluster, as_user, await_that};
use crate::support::followed::{self, Seen};
use crate::support::session::Session;

const SETTINGS: [&str; 4] = [
    "wal_level = replica",
    "max_wal_senders = 4",
    "wal_keep_size = 256MB",
    "wal_log_hints = on",
];

/// A standby of a server, which streams.
fn standby_of(primary: &Cluster) -> OwnCluster {
    let standby = Cluster::copied(&SETTINGS, |data| {
        primary.base_backup(data, "-R -X stream -c fast");
    });
    standby.start();
    standby
}

fn caught_up(primary: &mut Session) {
    let sql = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND replay_lsn >= pg_current_wal_insert_lsn()";
    await_that("the standby has it all", || primary.number(sql) >= 1);
}

/// The same database on another server.
fn there(db: &Database, cluster: &OwnCluster) -> Database {
    Database {
        cluster,
        name: db.name.clone(),
    }
}

#[test]
fn of_a_standby_and_back() {
    let primary = Cluster::own(&SETTINGS);
    let db = primary.database();
    let mut session = db.connect();
    followed::prepare(&mut session);
    let mut seen = Seen::default();
    seen.append(&mut session, 30);
    seen.follow(&mut session, 10);
    let standby = standby_of(&primary);
    seen.append(&mut session, 30);
    seen.append_in_vain(&mut session);
    seen.follow(&mut session, 10);
    caught_up(&mut session);
    // What happens on the old primary alone is lost.
    let receiver = pid_of(&there(&db, &standby), "walreceiver");
    signal("STOP", receiver);
    let mut lost = seen.clone();
    lost.append(&mut session, 20);
    lost.follow(&mut session, 1000);
    primary.stop("immediate");
    cut_off(&standby, receiver);
    standby.promote();
    let on_standby = there(&db, &standby);
    seen.goes_on(&on_standby);

    // The old primary follows the new one, without what was lost.
    primary.start();
    primary.stop("fast");
    let folder = standby.folder();
    // Until then pg_rewind takes it to be on the old timeline, and does nothing.
    on_standby.connect().run("CHECKPOINT");
    primary.shell(&format!(
        "$BIN/pg_rewind -D {} -R --source-server='host={folder} user=postgres dbname=postgres'",
        primary.data()
    ));
    // What it copied is the other one's configuration.
    primary.set(&SETTINGS);
    primary.start();
    let mut session = on_standby.connect();
    seen.append(&mut session, 10);
    seen.append_in_vain(&mut session);
    seen.follow(&mut session, 10);
    caught_up(&mut session);
    standby.stop("fast");
    primary.promote();
    seen.goes_on(&db);
}

/// Positions of an append that was rolled back are settled, so a reader may take them for its checkpoint. With a standby
/// that is synchronous it survives the primary.
#[test]
fn of_a_synchronous_standby() {
    let primary = Cluster::own(&SETTINGS);
    let db = primary.database();
    let mut session = db.connect();
    followed::prepare(&mut session);
    let mut seen = Seen::default();
    seen.append(&mut session, 10);
    let standby = standby_of(&primary);
    caught_up(&mut session);
    session.run("ALTER SYSTEM SET synchronous_standby_names = '*'");
    session.run("SELECT pg_reload_conf()");
    await_that("it is synchronous", || {
        session.number("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == 1
    });
    seen.append(&mut session, 10);

    // The standby falls behind.
    let receiver = pid_of(&there(&db, &standby), "walreceiver");
    signal("STOP", receiver);
    let writer = std::thread::spawn({
        let mut writer = db.connect();
        move || {
            let events: Vec<_> = (0..5000).map(|_| json!({"type": "gone"})).collect();
            let _ = writer.try_run("BEGIN");
            let done = writer.try_append(&json!(events), None).is_ok();
            done && writer.try_run("ROLLBACK").is_ok()
        }
    });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    await_that("the append waits for the standby, or is undone", || {
        writer.is_finished() || session.number(waits) == 1
    });
    // Readers go on meanwhile, up to what is settled.
    seen.last = session.head().max(seen.last);
    primary.stop("immediate");
    let _ = writer.join();
    cut_off(&standby, receiver);
    standby.promote();
    let db = there(&db, &standby);
    let mut session = db.connect();
    session.run("ALTER SYSTEM RESET synchronous_standby_names");
    session.run("SELECT pg_reload_conf()");
    seen.goes_on(&db);
}

fn pid_of(db: &Database, kind: &str) -> i32 {
    let sql = format!(
        "SELECT coalesce(max(pid), 0)::bigint FROM pg_stat_activity WHERE backend_type = '{kind}'"
    );
    let mut session = db.connect();
    let mut pid = 0;
    await_that(kind, || {
        pid = session.number(&sql) as i32;
        pid != 0
    });
    pid
}

/// Ends the process that receives WAL before it takes what is on its way. The standby starts anew then, as after any crash.
fn cut_off(standby: &Cluster, receiver: i32) {
    assert!(standby.kill_backend(receiver));
}

fn signal(name: &str, pid: i32) {
    let mut command: Command = as_user(&["kill", &format!("-{name}"), &pid.to_string()]);
    assert!(
        command.status().is_ok_and(|s| s.success()),
        "kill -{name} {pid}"
    );
}
