//! A dump has the default partition as it has all others, and CREATE EXTENSION has made one before: each way of
//! restoring it must come out with the dump's.
//!
//! Fails without the event trigger en57_before_restore ("already exists", "would overlap"), and where the table is a member
//! of the extension (what a DBA has done to it is gone, and a dump of the schemas is without its events).

use serde_json::json;

use crate::support::cluster::{Cluster, Database};
use crate::support::session::{Session, told};

/// What DBAs do to a table.
const ADORN: &str = "
    CREATE INDEX by_time ON en57.events_default (recorded_at);
    ALTER TABLE en57.events_default ADD CONSTRAINT short CHECK (length(type) < 100);
    ALTER TABLE en57.events_default SET (fillfactor = 90, autovacuum_vacuum_insert_threshold = 1000000);
    COMMENT ON TABLE en57.events_default IS 'ours';
    COMMENT ON COLUMN en57.events_default.tags IS 'labels';
    ALTER TABLE en57.events_default ALTER COLUMN type SET STATISTICS 77;
    CREATE STATISTICS en57.kinds ON type, stream FROM en57.events_default;
    GRANT SELECT ON en57.events_default TO pg_monitor;";

const SHOWN: &str = "
    SELECT string_agg(how, E'\n' ORDER BY how COLLATE \"C\") FROM (
        SELECT pg_get_indexdef(indexrelid) || indisreplident FROM pg_index WHERE indrelid = $1::text::regclass
        UNION ALL SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = $1::text::regclass AND contype = 'c'
        UNION ALL SELECT reloptions::text || relacl::text || relreplident::text || relispartition FROM pg_class WHERE oid = $1::text::regclass
        UNION ALL SELECT obj_description($1::text::regclass, 'pg_class') || col_description($1::text::regclass, 6)
        UNION ALL SELECT attname || attstattarget FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum IN (3, 4)
        UNION ALL SELECT pg_get_statisticsobjdef(oid) FROM pg_statistic_ext WHERE stxrelid = $1::text::regclass
        UNION ALL SELECT tgname || tgenabled::text FROM pg_trigger WHERE tgrelid = $1::text::regclass) m (how)";

fn shown(session: &mut Session, table: &str) -> String {
    session.row(SHOWN, &[&table]).get(0)
}

/// A log with a default partition that a DBA has worked on.
fn adorned(cluster: &'static Cluster) -> Database {
    let from = cluster.database();
    let mut session = from.connect();
    session.run(ADORN);
    session.append(
        &json!([{"type": "a", "tags": ["x"]}, {"type": "b", "data": {"n": 1}}]),
        None,
    );
    from
}

/// The events are there, the table is as it was, and the log goes on.
fn is_restored(from: &Database, to: &Database, table: &str) {
    let (mut a, mut b) = (from.connect(), to.connect());
    assert_eq!(shown(&mut b, table), shown(&mut a, table));
    let events = "SELECT string_agg(e::text, ' ') FROM en57_read() e";
    assert_eq!(a.text(events), b.text(events));
    assert_eq!(b.number("SELECT count(*) FROM en57_check()"), 0);
    let members =
        "SELECT count(*) FROM pg_depend WHERE deptype = 'e' AND objid = $1::text::regclass";
    assert_eq!(b.row(members, &[&table]).get::<_, i64>(0), 0);
    assert!(b.append(&json!({"type": "c"}), None).position > 2);
}

fn dump(from: &Database, options: &str) -> String {
    let cluster = from.cluster;
    let file = format!("{}/{}.dump", cluster.folder(), from.name);
    cluster.shell(&format!("$BIN/pg_dump {options} -f {file} {}", from.name));
    file
}

#[test]
fn what_a_dba_has_added_survives_each_format() {
    let cluster = Cluster::shared();
    let from = adorned(cluster);
    let plain = dump(&from, "-Fp");
    for to in [cluster.bare_database(), cluster.database()] {
        cluster.shell(&format!(
            "$BIN/psql -qX -v ON_ERROR_STOP=1 {} -f {plain}",
            to.name
        ));
        is_restored(&from, &to, "en57.events_default");
        to.connect().run("DROP EXTENSION en57");
    }
    let custom = dump(&from, "-Fc");
    for (to, options) in [
        (cluster.bare_database(), "-j 3"),
        (cluster.database(), "-j 3"),
        (cluster.database(), "--single-transaction"),
        (cluster.database(), "--clean --if-exists"),
    ] {
        let restore = format!(
            "$BIN/pg_restore --exit-on-error {options} -d {} {custom}",
            to.name
        );
        cluster.shell(&restore);
        is_restored(&from, &to, "en57.events_default");
    }
}

#[test]
fn in_sections_and_schema_and_data_apart() {
    let cluster = Cluster::shared();
    let from = adorned(cluster);
    let file = dump(&from, "-Fc");
    for (to, parts) in [
        (
            cluster.bare_database(),
            &[
                "--section=pre-data",
                "--section=data",
                "--section=post-data",
            ][..],
        ),
        (
            cluster.database(),
            &[
                "--section=pre-data",
                "--section=data",
                "--section=post-data",
            ],
        ),
        (cluster.bare_database(), &["--schema-only", "--data-only"]),
        (cluster.database(), &["--schema-only", "--data-only"]),
    ] {
        for part in parts {
            cluster.shell(&format!(
                "$BIN/pg_restore --exit-on-error {part} -d {} {file}",
                to.name
            ));
        }
        is_restored(&from, &to, "en57.events_default");
    }
}

#[test]
fn a_table_of_another_name() {
    let cluster = Cluster::shared();
    let from = adorned(cluster);
    from.connect()
        .run("ALTER TABLE en57.events_default RENAME TO first");
    let file = dump(&from, "-Fc");
    for to in [cluster.bare_database(), cluster.database()] {
        cluster.shell(&format!(
            "$BIN/pg_restore --exit-on-error -d {} {file}",
            to.name
        ));
        is_restored(&from, &to, "en57.first");
    }
}

/// Such a dump is without the extension; it goes into a database that has it.
#[test]
fn a_dump_of_schemas_has_the_events() {
    let cluster = Cluster::shared();
    let (from, to) = (adorned(cluster), cluster.database());
    let file = dump(&from, "-Fc -n public -n en57");
    let restore = format!(
        "$BIN/pg_restore -l {file} | grep -v 'SCHEMA - public' > {file}.list;
         $BIN/pg_restore --exit-on-error -L {file}.list -d {} {file}",
        to.name
    );
    cluster.shell(&restore);
    is_restored(&from, &to, "en57.events_default");
}

#[test]
fn a_partition_with_events_makes_no_way() {
    let cluster = Cluster::shared();
    let (from, to) = (adorned(cluster), cluster.database());
    let mut session = to.connect();
    session.append(&json!({"type": "kept"}), None);
    let plain = dump(&from, "-Fp");
    let script = format!(
        "$BIN/psql -qX1 -v ON_ERROR_STOP=1 {} -f {plain} 2>&1 || true",
        to.name
    );
    let said = cluster.shell(&script);
    assert!(
        said.contains("the partition \"default\" is there already, and has events"),
        "{said}"
    );
    assert_eq!(
        session.text("SELECT string_agg(type, ' ') FROM en57_read()"),
        "kept"
    );
}

/// The guards fire for replicas no more, which is told at once.
#[test]
fn guards_after_disable_triggers() {
    let cluster = Cluster::shared();
    let (from, to) = (adorned(cluster), cluster.database());
    let file = dump(&from, "-Fc --data-only");
    cluster.shell(&format!(
        "$BIN/pg_restore --exit-on-error --disable-triggers -d {} {file}",
        to.name
    ));
    let mut session = to.connect();
    let warning = "SELECT warning FROM en57_status() WHERE name = 'guards'";
    let told_of = session.text(warning);
    assert!(
        told_of.contains("trigger en57_guard is not in force"),
        "{told_of}"
    );
    // What it says to do is enough.
    for guard in ["en57_guard", "en57_guard_truncate"] {
        let command = format!("ALTER TABLE en57.events_default ENABLE ALWAYS TRIGGER {guard}");
        assert!(told_of.contains(&command), "{told_of}");
        session.run(&command);
    }
    assert_eq!(
        session.number("SELECT count(warning) FROM en57_status() WHERE name = 'guards'"),
        0
    );
}

#[test]
fn drop_extension_takes_it_along_and_spares_what_others_need() {
    let to = Cluster::shared().database();
    let mut session = to.connect();
    session.run("CREATE VIEW mine AS SELECT type FROM en57.events_default");
    let error = session
        .try_run("DROP EXTENSION en57")
        .expect_err("the view needs the table");
    assert!(told(&error).contains("depend"), "{}", told(&error));
    session.run("DROP VIEW mine; DROP EXTENSION en57; CREATE EXTENSION en57");
    session.append(&json!({"type": "a"}), None);
}

/// To the same major version, which pg_upgrade does as well.
#[test]
fn pg_upgrade_takes_all_along() {
    let old = Cluster::own(&[]);
    let versions = old.shell("$BIN/psql --version; $BIN/postgres --version");
    let majors: Vec<&str> = versions
        .lines()
        .filter_map(|l| l.split(' ').nth(2)?.split('.').next())
        .collect();
    if majors[0] != majors[1] {
        // Where CI runs it must be there.
        assert!(!["15", "18"].contains(&majors[1]), "{versions}");
        println!("skipped, because pg_upgrade wants a psql of the server's version: {versions}");
        return;
    }
    let from = adorned(&old);
    let mut session = from.connect();
    session.run("SELECT en57_create_partition('acme')");
    session.run("SELECT en57_append('{\"type\": \"c\"}', partition => 'acme')");
    let table = "en57.events_default";
    let events = "SELECT string_agg(e::text, ' ') FROM en57_read(partition => '*') e";
    let (shape, stored) = (shown(&mut session, table), session.text(events));
    drop(session);
    let new = Cluster::own(&[]);
    old.stop("fast");
    new.stop("fast");
    let folder = new.folder();
    old.shell(&format!(
        "unset PGHOST; cd {folder}; $BIN/pg_upgrade -b $BIN -B $BIN -d {}/data -D data -U postgres -s {folder}",
        old.folder()
    ));
    old.start();
    new.start();
    let mut session = new.connect(&from.name);
    assert_eq!(shown(&mut session, table), shape);
    assert_eq!(session.text(events), stored);
    assert_eq!(session.number("SELECT count(*) FROM en57_check()"), 0);
    // What the extension has made belongs to it, and the partitions to nobody.
    // An oid may be that of an object of another kind as well, the more so after pg_upgrade, which keeps those of some kinds.
    for (kind, object, members) in [
        ("pg_event_trigger", "SELECT oid FROM pg_event_trigger", 2),
        ("pg_class", "SELECT inhrelid FROM pg_inherits", 0),
    ] {
        let sql = format!(
            "SELECT count(*) FROM pg_depend WHERE deptype = 'e' AND classid = '{kind}'::regclass AND objid IN ({object})"
        );
        assert_eq!(session.number(&sql), members, "{object}");
    }
    assert!(session.append(&json!({"type": "d"}), None).position > 3);
}
