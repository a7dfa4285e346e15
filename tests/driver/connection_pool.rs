//! Many clients over few server sessions: PgBouncer in transaction mode, which gives each transaction of a client any
//! session that is free. So what en57 remembers in a session must be right for whoever comes next.
//!
//! Fails where what a transaction has polled outlives its lock of the shard (`holding.rs`, `lock_shard`): then whoever has
//! the session next may acknowledge. Fails where what a repeating transaction keeps outlives it (`transaction.rs`,
//! `end`): then the next repeating one reads as of its moment.
//!
//! Where there is no PgBouncer these tests say so and show nothing; in CI that is a failure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use postgres::{Client, Config, Error, NoTls, Row};

use crate::support::cluster::{Cluster, Database, PATIENCE, as_user, await_that, until};
use crate::support::crew::crew;
use crate::support::random::scaled;
use crate::support::session::{state, told};

const BOUNCER: &str = "PATH=$PATH:/usr/sbin; command -v pgbouncer";

/// A PgBouncer of our own before a database. It ends when our end of its standard input is closed.
struct Pool<'a> {
    db: &'a Database,
    folder: PathBuf,
    process: Child,
}

impl<'a> Pool<'a> {
    /// With so many server sessions; none where PgBouncer is missing.
    fn new(db: &'a Database, name: &str, servers: usize) -> Option<Self> {
        if !as_user(&["sh", "-c", BOUNCER])
            .output()
            .is_ok_and(|o| o.status.success())
        {
            assert!(std::env::var_os("CI").is_none(), "there is no pgbouncer");
            eprintln!("left out: there is no pgbouncer");
            return None;
        }
        let server = db.cluster.folder();
        let folder = PathBuf::from(&server).join(format!("{}-{name}", db.name));
        let at = folder.display();
        let script = format!(
            "set -e; mkdir -m 700 {at}; cat > {at}/ini <<'END'
[databases]
* = host={server} user=postgres pool_size={servers}
[pgbouncer]
pool_mode = transaction
auth_type = any
listen_addr =
listen_port = 5432
unix_socket_dir = {at}
max_client_conn = 100
END
             bouncer=$({BOUNCER}); $bouncer -q {at}/ini </dev/null >{at}/log 2>&1 & cat >/dev/null; kill $!"
        );
        let process = as_user(&["sh", "-c", &script])
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh runs");
        Some(Self {
            db,
            folder,
            process,
        })
    }

    fn client(&self) -> Pooled {
        let connect = || {
            Config::new()
                .host_path(&self.folder)
                .user("postgres")
                .dbname(&self.db.name)
                .connect_timeout(PATIENCE)
                .connect(NoTls)
        };
        let log = || std::fs::read_to_string(self.folder.join("log"));
        Pooled {
            client: until(|| connect().ok()).unwrap_or_else(|| panic!("{:?}", log())),
            servers: BTreeSet::new(),
        }
    }
}

impl Drop for Pool<'_> {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// A client of the pool. It uses no named statements: the next transaction's session would not know them.
struct Pooled {
    client: Client,
    servers: BTreeSet<i32>,
}

impl Pooled {
    fn try_rows(&mut self, sql: &str) -> Result<Vec<Row>, Error> {
        self.client.query_typed(sql, &[])
    }

    fn rows(&mut self, sql: &str) -> Vec<Row> {
        let rows = self.try_rows(sql);
        rows.unwrap_or_else(|e| panic!("{sql}: {}", told(&e)))
    }

    fn row(&mut self, sql: &str) -> Row {
        let mut rows = self.rows(sql);
        assert_eq!(rows.len(), 1, "{sql}");
        rows.remove(0)
    }

    fn number(&mut self, sql: &str) -> i64 {
        self.row(sql).get(0)
    }

    fn text(&mut self, sql: &str) -> String {
        self.row(sql).get(0)
    }

    fn positions(&mut self, sql: &str) -> Vec<i64> {
        self.rows(sql).iter().map(|r| r.get(0)).collect()
    }

    fn run(&mut self, sql: &str) {
        let done = self.client.batch_execute(sql);
        done.unwrap_or_else(|e| panic!("{sql}: {}", told(&e)));
    }

    fn refused(&mut self, sql: &str) -> String {
        let error = self.try_rows(sql).err();
        error.map_or_else(String::new, |e| state(&e).to_owned())
    }

    fn append(&mut self, event: &str) -> i64 {
        self.number(&format!("SELECT position FROM en57_append('{event}')"))
    }

    /// Notes which server session it has just now.
    fn note_server(&mut self) {
        let pid = self.row("SELECT pg_backend_pid()").get(0);
        self.servers.insert(pid);
    }
}

const SERVERS: usize = 4;
const WRITERS: usize = 16;
const KEYS: usize = 3;

const SCENE: &str = r#"
    SELECT en57_create_partition('other');
    CREATE TABLE applied (name text, position bigint);
    SELECT en57_create_subscription('once'), en57_create_subscription('leased');
    SELECT count(*) FROM en57_poll('once', shards => 2);
    SELECT count(*) FROM en57_poll('leased', shards => 2);
    CREATE FUNCTION about(command jsonb) RETURNS en57_query LANGUAGE sql IMMUTABLE AS $$
        SELECT en57_query(tags => '{sold}') $$;
    CREATE FUNCTION count_down(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
        SELECT to_jsonb(state::int - 1) $$;
    CREATE FUNCTION sell(command jsonb, state jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
        SELECT jsonb_build_object('type', 'sale', 'tags', '["sold"]'::jsonb, 'data', state) $$;
    SELECT en57_create_decider('sell', 'about(jsonb)', 'count_down(jsonb,en57_event)', 'sell(jsonb,jsonb)',
        initial => '1000000', snapshot_every => 10);
"#;

/// Counts on under a condition: reads, and appends if nobody has counted meanwhile. Each in a session of its own.
fn count_on(client: &mut Pooled, key: usize) {
    let query = format!(r#""tags": ["count:{key}"]"#);
    loop {
        let row = client.row(&format!(
            "SELECT coalesce(max(position), 0), count(*) FROM en57_read('{{{query}}}')"
        ));
        let (last, n): (i64, i64) = (row.get(0), row.get(1));
        let outcome = client.text(&format!(
            "SELECT outcome::text FROM en57_append('{{\"type\": \"counted\", {query}, \"data\": {}}}',
                 fail_if => '{{{query}, \"after\": {last}}}')",
            n + 1
        ));
        if outcome == "appended" {
            return;
        }
        assert_eq!(outcome, "conflict");
    }
}

/// Decides, and sends the command again, as a client that has lost the answer.
fn decide_twice(client: &mut Pooled, writer: usize, n: usize) {
    let sql = format!(
        "SELECT outcome::text, position
           FROM en57_decide('sell', '{{}}', command_id => md5('{writer}/{n}')::uuid)"
    );
    let (first, second) = (client.row(&sql), client.row(&sql));
    assert_eq!(first.get::<_, &str>(0), "appended");
    assert_eq!(second.get::<_, &str>(0), "repeated");
    assert_eq!(first.get::<_, i64>(1), second.get::<_, i64>(1));
}

/// Takes the next event of another log, unless somebody else has.
fn take(client: &mut Pooled) {
    loop {
        client.run("BEGIN");
        let next = client.number("SELECT coalesce(en57_tracked('source'), 0)") + 1;
        match client.try_rows(&format!("SELECT en57_track('source', {next})")) {
            Ok(_) => {
                client.append(&format!(r#"{{"type": "taken", "data": {next}}}"#));
                return client.run("COMMIT");
            }
            Err(e) => assert_eq!(state(&e), "N5707", "{}", told(&e)),
        }
        client.run("ROLLBACK");
    }
}

fn write(mut client: Pooled, writer: usize) -> BTreeSet<i32> {
    for n in 0..scaled(60) {
        match (writer + n) % 5 {
            0 => count_on(&mut client, n % KEYS),
            1 => decide_twice(&mut client, writer, n),
            2 => take(&mut client),
            3 => {
                client.run("BEGIN; SET LOCAL en57.partition = 'other'");
                client.note_server();
                client.append(r#"{"type": "elsewhere"}"#);
                client.run(if n % 3 == 0 { "ROLLBACK" } else { "COMMIT" });
            }
            _ => drop(client.append(r#"{"type": "here"}"#)),
        }
        assert_eq!(client.text("SHOW en57.partition"), "");
    }
    client.servers
}

fn apply(client: &mut Pooled, name: &str, positions: &[i64]) {
    for position in positions {
        client.rows(&format!(
            "INSERT INTO applied VALUES ('{name}', {position})"
        ));
    }
}

/// Polls, applies and acknowledges in one transaction.
fn once(mut client: Pooled, shard: usize, done: impl Fn() -> bool) {
    while !done() {
        client.run("BEGIN");
        let poll = "SELECT position FROM en57_poll('once', 20, wait => '20ms', shards => 2";
        let positions = client.positions(&format!("{poll}, shard => {shard})"));
        apply(&mut client, "once", &positions);
        if let Some(last) = positions.last() {
            client.rows(&format!("SELECT en57_ack('once', {last}, {shard}, 2)"));
        }
        client.run("COMMIT");
    }
}

/// The same under a lease, each call in a transaction of its own: the token says who it is.
fn leased(mut client: Pooled, shard: usize, done: impl Fn() -> bool) {
    let lease = format!("SELECT en57_lease('leased', '10 min', {shard}, 2)");
    // The first one of all to come writes the shards down, and nobody waits for him.
    let token: i64 = until(|| client.row(&lease).get(0)).expect("the shard is free");
    while !done() {
        let poll = "SELECT position FROM en57_poll('leased', 20, wait => '20ms', shards => 2";
        let positions = client.positions(&format!("{poll}, shard => {shard}, token => {token})"));
        apply(&mut client, "leased", &positions);
        if let Some(last) = positions.last() {
            client.rows(&format!(
                "SELECT en57_ack('leased', {last}, {shard}, 2, token => {token})"
            ));
        }
    }
}

/// Waits and reads after its checkpoint, until it is done and there is nothing more.
fn follow(mut client: Pooled, query: &str, done: impl Fn() -> bool) -> Vec<i64> {
    let mut seen: Vec<i64> = Vec::new();
    loop {
        let last_turn = done();
        let after = seen.last().copied().unwrap_or(0);
        client.number(&format!("SELECT en57_wait({after}, '20ms', {query})"));
        let read = "SELECT position FROM en57_read";
        let new = client.positions(&format!("{read}({query}, after => {after})"));
        if last_turn && new.is_empty() {
            return seen;
        }
        seen.extend(new);
    }
}

/// Every kind of use at once, each event exactly once.
#[test]
fn many_clients_over_few_servers() {
    let db = Cluster::shared().database();
    let mut direct = db.connect();
    direct.run(SCENE);
    let Some(pool) = Pool::new(&db, "few", SERVERS) else {
        return;
    };
    let (written, drained) = (AtomicBool::new(false), AtomicBool::new(false));
    let (pool, counted) = (&pool, r#"'{"types": ["counted"]}'"#);
    let written_by_now = || written.load(SeqCst);
    let is_drained = || drained.load(SeqCst);
    let (servers, followed) = thread::scope(|scope| {
        for shard in 0..2 {
            scope.spawn(move || once(pool.client(), shard, is_drained));
            scope.spawn(move || leased(pool.client(), shard, is_drained));
        }
        let following = ["NULL", counted]
            .map(|query| scope.spawn(move || follow(pool.client(), query, written_by_now)));
        let servers = crew(WRITERS, |writer| write(pool.client(), writer));
        written.store(true, SeqCst);
        let followed = following.map(|f| f.join().expect("a follower follows"));
        await_that("all is applied", || {
            direct.number("SELECT sum(lag)::bigint FROM en57_subscriptions") == 0
        });
        drained.store(true, SeqCst);
        (servers, followed)
    });
    let all: BTreeSet<i32> = servers.iter().flatten().copied().collect();
    assert!(
        all.len() <= SERVERS && servers.iter().any(|s| s.len() > 1),
        "{servers:?}"
    );
    // What was counted, sold and taken is 1, 2, 3 in the order of positions; nothing twice, nothing left out.
    let per_writer = scaled(60);
    let sql = "SELECT type || array_to_string(tags, ''), array_agg(data ORDER BY position) FROM en57_read()
        WHERE data IS NOT NULL GROUP BY 1";
    let mut sequences = BTreeMap::new();
    for row in direct.rows(sql, &[]) {
        sequences.insert(
            row.get::<_, String>(0),
            row.get::<_, Vec<serde_json::Value>>(1),
        );
    }
    assert_eq!(sequences.len(), KEYS + 2, "{:?}", sequences.keys());
    let of_each = WRITERS * per_writer / 5;
    for (name, sequence) in &sequences {
        let numbers: Vec<i64> = sequence
            .iter()
            .filter_map(serde_json::Value::as_i64)
            .collect();
        let n = numbers.len() as i64;
        let expected: Vec<i64> = if name.starts_with("sale") {
            (1_000_001 - n..=1_000_000).rev().collect()
        } else {
            (1..=n).collect()
        };
        assert_eq!(numbers, expected, "{name}");
    }
    let total: usize = sequences.values().map(Vec::len).sum();
    assert_eq!(total, 3 * of_each);
    // Each in its partition.
    let kinds = "SELECT string_agg(DISTINCT type, ' ' ORDER BY type) FROM en57_read";
    assert_eq!(
        direct.text(&format!("{kinds}()")),
        "counted here sale taken"
    );
    assert_eq!(
        direct.text(&format!("{kinds}(partition => 'other')")),
        "elsewhere"
    );
    // Each reader has each event once, in order.
    assert_eq!(followed[0], direct.positions("{}"));
    assert_eq!(followed[1], direct.positions(r#"{"types": ["counted"]}"#));
    for name in ["once", "leased"] {
        let sql = "SELECT coalesce(array_agg(position ORDER BY position), '{}') FROM applied WHERE name = $1";
        let applied: Vec<i64> = direct.row(sql, &[&name]).get(0);
        assert_eq!(applied, followed[0], "{name}");
    }
}

const READ_A: &str = r#"SELECT position FROM en57_read('{"tags": ["a"]}')"#;
const EVENT_A: &str = r#"{"type": "t", "tags": ["a"]}"#;

/// A session waits for its own last appends, whoever's they were; another one does not, and `en57_wait` is the remedy.
#[test]
fn own_appends_are_the_sessions() {
    let db = Cluster::shared().database();
    let (Some(one), Some(another)) = (Pool::new(&db, "one", 1), Pool::new(&db, "another", 1))
    else {
        return;
    };
    let (mut ann, mut bob, mut eve) = (one.client(), one.client(), another.client());
    let mut pending = db.connect();
    pending.run("BEGIN");
    let below = pending.append(&serde_json::json!({"type": "t", "tags": ["a"]}), None);
    let position = ann.append(EVENT_A);
    // Ann's session is Bob's now, so his read waits for her event. One that her event does not match does not.
    bob.run("BEGIN; SET LOCAL en57.wait_timeout = '50ms'");
    assert_eq!(bob.refused(READ_A), "N5706");
    bob.run("ROLLBACK");
    bob.run("BEGIN; SET LOCAL en57.wait_timeout = '50ms'");
    assert_eq!(bob.number(r#"SELECT en57_count('{"tags": ["b"]}')"#), 0);
    bob.run("COMMIT");
    // In Eve's session it would not be waited for: what is not settled is not there.
    assert!(eve.positions(READ_A).is_empty());
    let wait = |timeout: &str| {
        format!(r#"SELECT en57_wait({position} - 1, '{timeout}', '{{"tags": ["a"]}}')"#)
    };
    assert!(eve.number(&wait("50ms")) < below.position);
    pending.run("COMMIT");
    assert_eq!(eve.number(&wait("60s")), position);
    assert_eq!(eve.positions(READ_A), [below.position, position]);
    assert_eq!(bob.positions(READ_A), [below.position, position]);
}

/// What a transaction was given, kept or set is nothing to the next one in its session.
#[test]
fn nothing_of_a_transaction_is_left() {
    let db = Cluster::shared().database();
    let (Some(one), Some(another)) = (Pool::new(&db, "one", 1), Pool::new(&db, "another", 1))
    else {
        return;
    };
    let (mut ann, mut bob, mut eve) = (one.client(), one.client(), another.client());
    let mut direct = db.connect();
    direct.run("SELECT en57_create_subscription('s'), en57_create_partition('other')");
    let first = ann.append(EVENT_A);
    // A poll's right to acknowledge ends with its transaction.
    assert_eq!(
        ann.positions("SELECT position FROM en57_poll('s')"),
        [first]
    );
    let ack = format!("SELECT en57_ack('s', {first})");
    assert_eq!(bob.refused(&ack), "N5705");
    // A lease without a token is the session's, hence Bob's as well, and not Ann's elsewhere. A token is who shows it.
    let poll = "SELECT position FROM en57_poll('s', lease => '10 min')";
    assert_eq!(ann.positions(poll), [first]);
    assert_eq!(bob.positions(poll), [first]);
    assert!(eve.positions(poll).is_empty());
    direct.run("SELECT en57_reset_subscription('s', 0)");
    let token = ann.number("SELECT en57_lease('s', '10 min')");
    let shown = format!("SELECT position FROM en57_poll('s', token => {token})");
    assert_eq!(eve.positions(&shown), [first]);
    assert!(
        bob.refused(&format!(
            "SELECT en57_ack('s', {first}, token => {})",
            token - 1
        )) == "N5705"
    );
    eve.rows(&format!("SELECT en57_ack('s', {first}, token => {token})"));
    // The moment of a repeating transaction.
    ann.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    assert_eq!(ann.positions(READ_A), [first]);
    let second = direct.append(&serde_json::json!({"type": "t", "tags": ["a"]}), None);
    assert_eq!(ann.positions(READ_A), [first]);
    ann.run("COMMIT");
    assert_eq!(bob.positions(READ_A), [first, second.position]);
    bob.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    assert_eq!(bob.positions(READ_A), [first, second.position]);
    bob.run("COMMIT");
    // A partition that was set for a transaction which fails; and positions that it was allotted.
    ann.run("BEGIN; SET LOCAL en57.partition = 'other'");
    ann.append(EVENT_A);
    assert_eq!(ann.refused("SELECT 1 / 0"), "22012");
    ann.run("ROLLBACK");
    let third = bob.append(EVENT_A);
    assert_eq!(bob.positions(READ_A), [first, second.position, third]);
    let left = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(direct.number(left), 0);
    assert_eq!(direct.number("SELECT count(*) FROM en57.in_flight()"), 0);
    // What PgBouncer calls between clients in session mode takes nothing away that en57 needs.
    bob.rows("DISCARD ALL");
    let fourth = bob.append(EVENT_A);
    assert_eq!(bob.positions(READ_A).last(), Some(&fourth));
    // SET alone is not for pools, and this is why.
    ann.run("SET en57.partition = 'other'");
    assert_eq!(bob.text("SHOW en57.partition"), "other");
    ann.run("RESET en57.partition");
}
