//! pg_dump and what it restores: the events, the indexes, and the next position.
//!
//! Without `pg_extension_config_dump` on tables and sequence the events are lost; without the note that the
//! guard takes of rows which come in by COPY (`Counter::pass`) a store in use gives out positions twice. So it does
//! without the same note when the key index of a partition is made after its rows (`Counter::pass_all`), where the
//! counter was asked for in between.

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Database};
use crate::support::random::Random;
use crate::support::session::{Session, state};

const QUERIES: [&str; 7] = [
    "{}",
    r#"{"tags": ["t:1"]}"#,
    r#"{"tags": ["t:1", "u:0"]}"#,
    r#"{"types": ["y1", "y2"], "after": 50}"#,
    r#"[{"types": ["y0"]}, {"tags": ["t:3", "u:1"]}]"#,
    r#"{"correlation_id": "c1"}"#,
    r#"{"stream": "s:1"}"#,
];

/// Beside the default one; the table of the second has another name than it was given.
const PARTITIONS: [&str; 3] = ["acme", "Müller & Söhne's", "empty"];

fn make_partitions(session: &mut Session) {
    for name in PARTITIONS {
        session.row("SELECT en57_create_partition($1)::text", &[&name]);
    }
    session.run("ALTER TABLE en57.events_empty RENAME TO other_name");
}

fn fill(session: &mut Session) {
    let mut random = Random::new(800);
    make_partitions(session);
    session.run(
        "DO $$ BEGIN CREATE ROLE en57_dumped; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
    );
    session.run(
        "SELECT en57_grant('en57_dumped', 'writer', 'acme'), en57_grant('en57_dumped', 'reader', 'default'),
                en57_grant('en57_dumped', 'admin', 'empty'); GRANT SELECT ON en57.events TO en57_dumped",
    );
    for n in 0..100 {
        let place = random.below(6);
        let place = PARTITIONS[..2].get(place).copied().unwrap_or("default");
        session.row("SELECT set_config('en57.partition', $1, false)", &[&place]);
        let event = |random: &mut Random, e: usize| {
            json!({
                "type": format!("y{}", random.below(3)),
                "tags": [format!("t:{}", random.below(5)), format!("u:{}", random.below(2))],
                "data": {"n": n, "text": "tab\t back\\slash \"quote\" line\n é 😀 \\. \\N", "deep": [null, true, 1.5e300, {"": []}]},
                "meta": {"e": e},
                "correlation_id": format!("c{}", random.below(3)),
                "schema_version": random.between(1, 3),
                "occurred_at": "2001-02-03 04:05:06.789+00",
            })
        };
        let mut events: Vec<Value> = (0..random.between(1, 4))
            .map(|e| event(&mut random, e))
            .collect();
        events.push(json!({"type": "bare"}));
        if random.chance(20) {
            session.run("BEGIN");
            session.append(&json!(events), None);
            session.run("ROLLBACK");
        } else {
            session.append(&json!(events), None);
        }
    }
    session.run("RESET en57.partition");
    session.run(
        "SELECT en57_append('[{\"type\": \"of a stream\"}, {\"type\": \"of a stream\"}]', stream => 's:' || n % 3)
        FROM generate_series(1, 20) n",
    );
    // The last thing is a gap, and the last event but one a large one.
    let large: String = (0..20_000)
        .map(|_| char::from(b'a' + random.below(26) as u8))
        .collect();
    session.append(
        &json!({"type": "large", "tags": ["t:1"], "data": large}),
        None,
    );
    session.append(
        &json!({"type": "known", "tags": ["known"], "id": "0193e3a0-0000-7000-8000-0000000000ab"}),
        None,
    );
    session.run("BEGIN");
    session.append(&json!([{"type": "gone"}, {"type": "gone"}]), None);
    session.run("ROLLBACK");
}

/// What the partitions' tables are like: bounds, rights, settings, indexes, triggers, comments; and the functions'
/// rights.
const MADE: &str = "
    SELECT string_agg(how, E'\n' ORDER BY how) FROM (
        SELECT concat_ws(' ', c.oid::regclass, pg_get_expr(relpartbound, c.oid), coalesce(relacl, acldefault('r', relowner)), reloptions, relowner::regrole,
               relreplident, obj_description(c.oid, 'pg_class'), (SELECT array_agg(attstattarget ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid)) FROM pg_class c
         WHERE relnamespace = 'en57'::regnamespace AND relkind IN ('r', 'p')
        UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = indrelid
         WHERE relnamespace = 'en57'::regnamespace
        UNION ALL SELECT conrelid::regclass || pg_get_constraintdef(c.oid) FROM pg_constraint c WHERE connamespace = 'en57'::regnamespace AND contype = 'c'
        UNION ALL SELECT pg_get_statisticsobjdef(oid) FROM pg_statistic_ext
        UNION ALL SELECT indexrelid::regclass::text FROM pg_index WHERE indisreplident
        UNION ALL SELECT tgenabled::text || pg_get_triggerdef(t.oid) FROM pg_trigger t WHERE NOT tgisinternal
        UNION ALL SELECT concat_ws(' ', p.oid::regprocedure, coalesce(proacl, acldefault('f', proowner))) FROM pg_proc p WHERE proname LIKE 'en57%'
    ) m (how)";

fn everything(session: &mut Session, query: &str) -> Vec<String> {
    let sql = "SELECT e::text FROM en57_read($1::text::en57_query) e";
    session
        .rows(sql, &[&query])
        .iter()
        .map(|r| r.get(0))
        .collect()
}

fn same(from: &Database, to: &Database) {
    let [mut a, mut b] = [from.connect(), to.connect()];
    for query in QUERIES {
        let expected = everything(&mut a, query);
        assert!(!expected.is_empty());
        assert_eq!(everything(&mut b, query), expected, "{query}");
    }
    let streams = "SELECT string_agg(s::text, ' ') FROM en57_streams s";
    assert_eq!(a.text(streams), b.text(streams));
    for place in PARTITIONS.into_iter().chain(["*"]) {
        let sql = "SELECT e::text FROM en57_read(partition => $1) e";
        let of = |session: &mut Session| -> Vec<String> {
            let rows = session.rows(sql, &[&place]);
            rows.iter().map(|r| r.get(0)).collect()
        };
        let expected = of(&mut a);
        assert_eq!(expected.is_empty(), place == "empty");
        assert_eq!(of(&mut b), expected, "{place}");
    }
    let lines = |text: String| -> Vec<String> { text.lines().map(str::to_owned).collect() };
    let (made, restored) = (lines(a.text(MADE)), lines(b.text(MADE)));
    for (made, restored) in made.iter().zip(&restored) {
        assert_eq!(made, restored);
    }
    assert_eq!(made.len(), restored.len());
    let members = "SELECT string_agg(pg_describe_object(classid, objid, objsubid), ', ' ORDER BY 1)
        FROM (SELECT classid, objid, objsubid FROM pg_depend WHERE deptype = 'e' AND refobjid =
            (SELECT oid FROM pg_extension WHERE extname = 'en57')
            ORDER BY pg_describe_object(classid, objid, objsubid)) m";
    assert_eq!(a.text(members), b.text(members));
}

/// The restored store goes on where the other one was.
fn goes_on(db: &Database) {
    let mut session = db.connect();
    let last = session.positions("{}").last().copied().unwrap_or(0);
    let head = session.head();
    let known = session.append(&json!({"type": "known"}), Some(r#"{"tags": ["known"]}"#));
    assert!(known.is_conflict());
    let again =
        json!({"type": "known", "tags": ["known"], "id": "0193e3a0-0000-7000-8000-0000000000ab"});
    assert_eq!(session.append(&again, None).outcome, "repeated");
    let next = session.append(
        &json!({"type": "next", "tags": ["t:1"]}),
        Some(r#"{"tags": ["next"]}"#),
    );
    assert!(
        next.is_appended() && next.position > last && next.position > head,
        "{next:?} after {last}, {head}"
    );
    assert_eq!(
        session.positions(r#"{"tags": ["t:1"]}"#).last(),
        Some(&next.position)
    );
    // Streams go on at their versions, and are not begun again.
    let outcomes = "SELECT string_agg(outcome::text, ' ' ORDER BY expected) FROM en57_stream('s:1') s,
        unnest(ARRAY[0, version]) expected, en57_append('{\"type\": \"next\"}', stream => 's:1', expected_version => expected)";
    assert_eq!(session.text(outcomes), "conflict appended");
    let twice =
        "SELECT count(*) FROM (SELECT 1 FROM en57.events GROUP BY position HAVING count(*) > 1) t";
    assert_eq!(session.number(twice), 0);
    assert!(
        session
            .try_run("UPDATE en57.events SET type = 'x'")
            .is_err()
    );
    assert!(session.try_run("DELETE FROM en57.events").is_err());
    assert!(session.try_run("TRUNCATE en57.events").is_err());
    assert!(session.try_run("TRUNCATE en57.events_acme").is_err());
    assert!(session.try_run("DELETE FROM en57.events_acme").is_err());
}

#[test]
fn plain_dump_into_a_new_database() {
    let cluster = Cluster::shared();
    let (from, to) = (cluster.database(), cluster.bare_database());
    fill(&mut from.connect());
    cluster.shell(&format!(
        "$BIN/pg_dump {} | $BIN/psql -qX -v ON_ERROR_STOP=1 {}",
        from.name, to.name
    ));
    same(&from, &to);
    goes_on(&to);
    // And a dump of the restored one.
    let third = cluster.bare_database();
    cluster.shell(&format!(
        "$BIN/pg_dump --inserts {} | $BIN/psql -qX -v ON_ERROR_STOP=1 {}",
        to.name, third.name
    ));
    same(&to, &third);
    goes_on(&third);
}

#[test]
fn custom_format_in_parallel() {
    let cluster = Cluster::shared();
    let (from, to) = (cluster.database(), cluster.bare_database());
    fill(&mut from.connect());
    let file = format!("{}/{}.dump", cluster.folder(), from.name);
    cluster.shell(&format!("$BIN/pg_dump -Fc -f {file} {}", from.name));
    cluster.shell(&format!(
        "$BIN/pg_restore --exit-on-error -j 4 -d {} {file}",
        to.name
    ));
    same(&from, &to);
    goes_on(&to);
}

/// The server has just started: nothing is known of the log in shared memory when the rows come in.
#[test]
fn restore_after_a_restart_and_a_restart_after_that() {
    let cluster = Cluster::own(&[]);
    let (from, to) = (cluster.database(), cluster.bare_database());
    fill(&mut from.connect());
    let file = format!("{}/{}.dump", cluster.folder(), from.name);
    cluster.shell(&format!("$BIN/pg_dump -Fc -f {file} {}", from.name));
    cluster.stop("fast");
    cluster.start();
    cluster.shell(&format!(
        "$BIN/pg_restore --exit-on-error -d {} {file}",
        to.name
    ));
    same(&from, &to);
    cluster.stop("immediate");
    cluster.start();
    same(&from, &to);
    goes_on(&to);
}

/// Rows come into a store that is in use: its counter stands at the beginning when they do.
#[test]
fn data_into_a_store_in_use() {
    let cluster = Cluster::shared();
    let (from, to) = (cluster.database(), cluster.database());
    fill(&mut from.connect());
    let mut user = to.connect();
    make_partitions(&mut user);
    user.run("SELECT en57_grant('en57_dumped', 'writer', 'acme'), en57_grant('en57_dumped', 'reader', 'default'),
                en57_grant('en57_dumped', 'admin', 'empty'); GRANT SELECT ON en57.events TO en57_dumped");
    assert_eq!(user.head(), 0);
    user.run("BEGIN");
    user.append(&json!({"type": "gone"}), None);
    user.run("ROLLBACK");
    cluster.shell(&format!(
        "$BIN/pg_dump --data-only {} | $BIN/psql -qX -v ON_ERROR_STOP=1 {}",
        from.name, to.name
    ));
    same(&from, &to);
    // The session that has known the counter all the time, too.
    let last = user.positions("{}").last().copied().unwrap_or(0);
    assert!(user.append(&json!({"type": "bare"}), None).position > last);
    goes_on(&to);
    // A second time, the same rows are refused as a whole.
    let events = user.number("SELECT en57_count()");
    let script = format!(
        "$BIN/pg_dump --data-only {} | $BIN/psql -qX1 {} 2>&1 || true",
        from.name, to.name
    );
    assert!(cluster.shell(&script).contains("ERROR"));
    assert_eq!(user.number("SELECT en57_count()"), events);
    assert_eq!(
        state(
            &user
                .try_run("INSERT INTO en57.events_default SELECT * FROM en57.events_default")
                .expect_err("refused")
        )
        .len(),
        5
    );
}

/// The newest positions of the old store are a gap. Whoever took them for a checkpoint must not miss what the
/// restored one appends.
#[test]
fn a_checkpoint_in_a_gap_survives() {
    let cluster = Cluster::shared();
    let (from, to) = (cluster.database(), cluster.bare_database());
    let mut session = from.connect();
    session.append(&json!({"type": "t"}), None);
    session.run("BEGIN");
    session.append(&json!([{"type": "gone"}, {"type": "gone"}]), None);
    session.run("ROLLBACK");
    let head = session.head();
    assert_eq!(head, 3);
    cluster.shell(&format!(
        "$BIN/pg_dump {} | $BIN/psql -qX -v ON_ERROR_STOP=1 {}",
        from.name, to.name
    ));
    let mut restored = to.connect();
    let next = restored.append(&json!({"type": "t"}), None).position;
    assert!(next > head, "{next} is given out again");
    assert_eq!(
        restored
            .rows("SELECT 1 FROM en57_read(after => $1)", &[&head])
            .len(),
        1
    );
}

/// The counter is asked for when the rows of a partition are there and its indexes are not, and the stored ceiling
/// is not yet, as by a monitor beside pg_restore.
#[test]
fn a_counter_that_is_asked_for_during_the_restore() {
    let cluster = Cluster::shared();
    let (from, to) = (cluster.database(), cluster.bare_database());
    let mut session = from.connect();
    session.run("SELECT en57_create_partition('acme')");
    let sql = "SELECT position FROM en57_append('[{\"type\": \"t\"}, {\"type\": \"t\"}]', partition => 'acme')";
    let last = session.number(sql);
    let file = format!("{}/{}.dump", cluster.folder(), from.name);
    cluster.shell(&format!("$BIN/pg_dump -Fc -f {file} {}", from.name));
    let restore = |section: &str| {
        cluster.shell(&format!(
            "$BIN/pg_restore -l {file} | grep -v 'SEQUENCE SET' > {file}.list;
             $BIN/pg_restore --exit-on-error -L {file}.list --section={section} -d {} {file}",
            to.name
        ));
    };
    restore("pre-data");
    let mut restored = to.connect();
    assert_eq!(restored.head(), 0);
    restore("data");
    assert_eq!(restored.head(), 0);
    restore("post-data");
    assert_eq!(
        restored.number("SELECT en57_head(partition => 'acme')"),
        last
    );
    let next = restored.append(&json!({"type": "t"}), None).position;
    assert!(next > last, "{next} is given out again");
}
