//! Each way of pg_dump and pg_restore brings a log to another database, with all that follows it: `dump_and_restore` looks
//! what the restored tables are, here is whether the log goes on.
//!
//! Without `pg_extension_config_dump` on what is kept beside the log, followers begin anew, or end; without that on the
//! ceiling, positions come again that a reader has passed.

use crate::support::cluster::{Cluster, Database};
use crate::support::followed::{self, Seen};

/// A log with followers that are in the midst of it; its last positions are a gap that a reader has seen.
fn filled(cluster: &'static Cluster) -> (Database, Seen) {
    let db = cluster.database();
    let mut session = db.connect();
    followed::prepare(&mut session);
    let mut seen = Seen::default();
    seen.append(&mut session, 20);
    seen.follow(&mut session, 10);
    seen.append(&mut session, 20);
    seen.follow(&mut session, 7);
    seen.append_in_vain(&mut session);
    (db, seen)
}

#[test]
fn each_way_of_dump_and_restore() {
    let cluster = Cluster::shared();
    let (from, seen) = filled(cluster);
    let psql = "$BIN/psql -qX -v ON_ERROR_STOP=1";
    let restore = "$BIN/pg_restore --exit-on-error";
    let ways = [
        format!("$BIN/pg_dump FROM | {psql} TO"),
        format!("$BIN/pg_dump --inserts --rows-per-insert=7 FROM | {psql} TO"),
        format!("$BIN/pg_dump --column-inserts FROM | {psql} -1 TO"),
        format!("$BIN/pg_dump -Fc -f FILE FROM; {restore} -d TO FILE"),
        format!("$BIN/pg_dump -Fc -f FILE FROM; {restore} -1 -d TO FILE"),
        format!("$BIN/pg_dump -Ft -f FILE FROM; {restore} -d TO FILE"),
        format!("$BIN/pg_dump -Fd -j 3 -f FILE FROM; {restore} -j 3 -d TO FILE"),
        format!(
            "$BIN/pg_dump -Fc -f FILE FROM; for s in pre-data data post-data; do {restore} --section=$s -d TO FILE; done"
        ),
        format!(
            "for s in pre-data data post-data; do $BIN/pg_dump --section=$s FROM | {psql} TO; done"
        ),
        format!(
            "$BIN/pg_dump --schema-only FROM | {psql} TO; $BIN/pg_dump --data-only FROM | {psql} TO"
        ),
        format!(
            "$BIN/pg_dump -Fc -f FILE FROM; {restore} --schema-only -d TO FILE; {restore} --data-only -j 3 -d TO FILE"
        ),
        format!("$BIN/pg_dump -Fc -f FILE FROM; {restore} --clean --if-exists -d TO FILE"),
        format!(
            "$BIN/pg_dump --serializable-deferrable --no-owner --no-privileges FROM | {psql} TO"
        ),
    ];
    for (n, way) in ways.iter().enumerate() {
        let to = cluster.bare_database();
        let file = format!("{}/way{n}", cluster.folder());
        cluster.shell(
            &way.replace("FROM", &from.name)
                .replace("TO", &to.name)
                .replace("FILE", &file),
        );
        println!("{way}");
        seen.is_whole(&mut to.connect());
        seen.clone().goes_on(&to);
    }
    // The old log goes on as well.
    seen.clone().goes_on(&from);
}

#[test]
fn a_whole_server() {
    let (old, new) = (Cluster::own(&[]), Cluster::own(&[]));
    let (from, seen) = filled(&old);
    let file = format!("{}/all.sql", old.folder());
    old.shell(&format!("$BIN/pg_dumpall -f {file}"));
    // The role that initdb makes is there.
    new.shell(&format!(
        "grep -v '^CREATE ROLE postgres;' {file} | $BIN/psql -qX -v ON_ERROR_STOP=1 postgres"
    ));
    let to = Database {
        cluster: &new,
        name: from.name.clone(),
    };
    seen.clone().goes_on(&to);
}

/// The table of a partition alone, into a log of its own: its events are there, and positions go on beyond them. There are no
/// followers, and nothing is known of positions that were beyond its last event.
#[test]
fn the_table_of_a_partition() {
    let cluster = Cluster::shared();
    let (from, seen) = filled(cluster);
    let to = cluster.database();
    cluster.shell(&format!(
        "$BIN/pg_dump --data-only -t en57.events_default {} | $BIN/psql -qX -v ON_ERROR_STOP=1 {}",
        from.name, to.name
    ));
    let mut session = to.connect();
    seen.is_whole(&mut session);
    let last = seen
        .events
        .last_key_value()
        .map_or(0, |(position, _)| *position);
    assert!(session.head() >= last);
    followed::prepare(&mut session);
    let mut moved = Seen::of_events(&seen, last);
    moved.goes_on(&to);
}
