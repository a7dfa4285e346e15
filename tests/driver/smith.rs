//! Random calls of everything that the extension has, by roles with few rights, from several connections at once: no call
//! crashes the server, breaks something inside, reads or changes what its role has no right to, or leaves a lock behind.
//!
//! Functions, tables, operators and settings come from the catalogs, so what is new is called without a change here. For an
//! hour of it: `make smith SECONDS=3600 SEED=7`.
//!
//! Fails when a function lets a role read or write a partition without asking for its privilege, when a panic or an internal
//! error reaches the caller, or when the server ends.

mod statements;
mod values;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use postgres::error::DbError;
use postgres::{Client, Config, NoTls, SimpleQueryMessage};

use crate::support::cluster::{Cluster, Database, End};
use crate::support::random::{Random, seed};
use crate::support::session::Session;

use statements::Surface;

const WORLD: &str = include_str!("smith/world.sql");
/// All of "theirs" has this word in it.
const SECRET: &str = "moonstone";
const CALLERS: [&str; 6] = [
    "smith_nobody",
    "smith_reader",
    "smith_writer",
    "smith_admin",
    "smith_nobody",
    "smith_writer",
];
/// No statement is allowed to run longer than its timeout, so none takes so long, whatever else the machine does.
const STUCK: Duration = Duration::from_secs(60);

/// What may be told. What is missing here is what matters: XX000 and its like, 40003, 53000 to 53300, 57P01 to 57P03.
const ALLOWED: &[&str] = &[
    "01000", "0A000", "21000", "22000", "22001", "22003", "22004", "22007", "22008", "22009",
    "22011", "22012", "22015", "22021", "22023", "22025", "2202E", "22030", "22032", "22P02",
    "22P03", "22P04", "22P05", "23502", "23503", "23505", "23514", "23P01", "24000", "25001",
    "25006", "25P01", "25P02", "26000", "2BP01", "34000", "3B001", "3D000", "3F000", "40001",
    "40P01", "42501", "42601", "42602", "42622", "42701", "42702", "42703", "42704", "42710",
    "42712", "42723", "42725", "42804", "42809", "42846", "42883", "42939", "42P01", "42P02",
    "42P03", "42P05", "42P07", "42P13", "42P17", "42P18", "54000", "54001", "55000", "55006",
    "55P02", "55P03",
];
/// These as well: a timeout, a handler's exception, and those of en57's own.
const ALLOWED_TOO: [&str; 10] = [
    "57014", "P0001", "N5701", "N5702", "N5703", "N5704", "N5705", "N5706", "N5707", "54023",
];

/// A connection of a role that calls, with its last statements.
struct Caller<'a> {
    role: &'static str,
    client: Client,
    heard: Arc<Mutex<Vec<String>>>,
    last: VecDeque<String>,
    /// How often each SQLSTATE was met.
    states: BTreeMap<String, u64>,
    surface: &'a Surface,
}

fn connect(db: &Database, role: &str) -> (Client, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::new(Mutex::new(vec![]));
    let sink = heard.clone();
    let client = Config::new()
        .host_path(db.cluster.folder())
        .user(role)
        .dbname(&db.name)
        .notice_callback(move |notice: DbError| {
            if let Ok(mut all) = sink.lock() {
                all.push(format!("{} {notice:?}", notice.severity()));
            }
        })
        .connect(NoTls)
        .expect("a role connects");
    (client, heard)
}

impl<'a> Caller<'a> {
    fn new(db: &Database, role: &'static str, surface: &'a Surface) -> Self {
        let (client, heard) = connect(db, role);
        Self {
            role,
            client,
            heard,
            last: VecDeque::new(),
            states: BTreeMap::new(),
            surface,
        }
    }

    fn fail(&self, why: &str) -> ! {
        let shown: Vec<String> = self
            .last
            .iter()
            .map(|s| s.chars().take(4000).collect())
            .collect();
        panic!(
            "{why}\nby {}, EN57_TEST_SEED={}, after\n{};",
            self.role,
            seed(),
            shown.join(";\n")
        );
    }

    /// Nothing of the others' is told, in whatever way.
    fn look(&self, text: &str) {
        if text.contains(SECRET) {
            let shown: String = text.chars().take(2000).collect();
            self.fail(&format!("a secret was told: {shown}"));
        }
    }

    /// Whether it has succeeded.
    fn run(&mut self, sql: &str) -> bool {
        if self.last.len() == 40 {
            self.last.pop_front();
        }
        self.last.push_back(sql.to_owned());
        let started = Instant::now();
        let answer = self.client.simple_query(sql);
        if started.elapsed() > STUCK {
            self.fail("it has ignored its timeout");
        }
        let state = match answer {
            Ok(messages) => {
                for message in &messages {
                    if let SimpleQueryMessage::Row(row) = message {
                        (0..row.len())
                            .filter_map(|n| row.try_get(n).ok().flatten())
                            .for_each(|text| self.look(text));
                    }
                }
                "ok".to_owned()
            }
            Err(error) => match error.as_db_error() {
                Some(e) => {
                    let text = format!("{e:?}");
                    self.look(&text);
                    let state = e.code().code().to_owned();
                    if !ALLOWED.contains(&state.as_str()) && !ALLOWED_TOO.contains(&state.as_str())
                    {
                        self.fail(&text);
                    }
                    if ["panicked", "backtrace", ".rs:"].iter().any(|trace| {
                        [Some(e.message()), e.detail(), e.hint(), e.where_()]
                            .into_iter()
                            .flatten()
                            .any(|t| t.contains(trace))
                    }) {
                        self.fail(&format!("the library's inside is told: {text}"));
                    }
                    state
                }
                None => self.fail(&format!("the connection is lost: {error}")),
            },
        };
        let is_ok = state == "ok";
        *self.states.entry(state).or_insert(0) += 1;
        let heard: Vec<String> = self
            .heard
            .lock()
            .map(|mut h| h.drain(..).collect())
            .unwrap_or_default();
        for notice in &heard {
            self.look(notice);
            let lower = notice.to_lowercase();
            if [
                "leak",
                "still referenced",
                "don't own",
                "not owned",
                "alloc set",
                "still active",
            ]
            .iter()
            .any(|w| lower.contains(w))
            {
                self.fail(&format!("something was left behind: {notice}"));
            }
        }
        is_ok
    }

    /// A transaction, or statements that are one each.
    fn episode(&mut self, random: &mut Random) {
        if random.chance(25) {
            let setting = self.surface.setting(random);
            self.run(&setting);
        }
        if random.chance(55) {
            let statement = self.surface.statement(random);
            self.run(&statement);
            return;
        }
        let isolation = random.pick(&[
            "",
            "",
            "ISOLATION LEVEL REPEATABLE READ",
            "ISOLATION LEVEL SERIALIZABLE",
            "READ ONLY",
        ]);
        self.run(&format!("BEGIN {isolation}"));
        for n in 0..random.between(1, 6) {
            if random.chance(15) {
                let setting = self.surface.setting(random);
                self.run(&setting);
            }
            self.run(&format!("SAVEPOINT s{n}"));
            let statement = self.surface.statement(random);
            let failed = !self.run(&statement);
            match random.below(8) {
                // A few go on in a transaction that has failed.
                0 => true,
                1 | 2 => self.run(&format!("ROLLBACK TO s{n}")),
                _ if failed => self.run(&format!("ROLLBACK TO s{n}")),
                3 | 4 => self.run(&format!("RELEASE s{n}")),
                _ => true,
            };
        }
        match random.below(10) {
            0..6 => {
                self.run("COMMIT");
            }
            6 => {
                let name = format!("smith {}", random.below(2));
                self.run(&format!("PREPARE TRANSACTION '{name}'"));
                self.run(&format!("ROLLBACK PREPARED '{name}'"));
            }
            _ => (),
        }
        self.run("ROLLBACK");
    }

    fn work(&mut self, n: u64, until: Instant, end: &AtomicBool) {
        let mut random = Random::new(9000 + n);
        while Instant::now() < until && !end.load(Ordering::Relaxed) {
            self.episode(&mut random);
            if random.chance(2) {
                self.run("ROLLBACK");
                let row = self
                    .client
                    .simple_query("SELECT session_user, current_setting('is_superuser')");
                let told = format!("{row:?}");
                if let Ok(messages) = row
                    && let Some(SimpleQueryMessage::Row(row)) = messages
                        .iter()
                        .find(|m| matches!(m, SimpleQueryMessage::Row(_)))
                    && (row.get(0), row.get(1)) != (Some(self.role), Some("off"))
                {
                    self.fail(&format!("it is another role now: {told}"));
                }
            }
        }
        self.run("ROLLBACK");
        self.run("CLOSE ALL");
        self.run("DISCARD ALL");
    }
}

/// Everything that no caller may change, each with a name.
const PROTECTED: &str = include_str!("smith/protected.sql");

fn protected(session: &mut Session) -> Vec<(String, String)> {
    session
        .rows(PROTECTED, &[])
        .iter()
        .map(|r| (r.get(0), r.get(1)))
        .collect()
}

/// The admin may drop all that is his. This brings it back, so that there is something to call.
fn repair(session: &mut Session) {
    const STATEMENTS: [&str; 14] = [
        "RESET ROLE",
        "SELECT en57_create_partition('mine', if_not_exists => true)",
        "SELECT en57_grant('smith_reader', 'reader', 'mine')",
        "SELECT en57_grant('smith_writer', 'writer', 'mine')",
        "SELECT en57_grant('smith_admin', 'admin', 'mine')",
        "SELECT en57_truncate('mine') WHERE (SELECT count(*) FROM en57.events WHERE partition = 'mine') > 3000",
        "SET ROLE smith_admin",
        "SELECT en57_create_document_projection('my documents', '{}', 'stream', 'evolve', or_replace => true)",
        "SELECT en57_create_projection('my handler', '{\"types\": [\"a\"]}', 'handle_all(en57_event[])', mode => 'async', truncate => 'forget', or_replace => true)",
        "SELECT en57_create_projection('my inline', '{\"types\": [\"b\"]}', 'handle(en57_event)', if_not_exists => true)",
        "SELECT en57_create_invariant('my rule', '{}', 'tag:n:', 'evolve', 'sound', key_required => false, or_replace => true)",
        "SELECT en57_create_fold('my fold', 'evolve', snapshot_every => 3, or_replace => true)",
        "SELECT en57_create_decider('my decider', 'asks', 'evolve', 'decide', or_replace => true)",
        "SELECT en57_run('my handler')",
    ];
    for statement in STATEMENTS {
        let _ = session.try_run(statement);
    }
}

#[test]
fn random_calls() {
    let seconds = std::env::var("EN57_SMITH_SECONDS")
        .map_or(15, |s| s.parse().expect("EN57_SMITH_SECONDS is a number"));
    let cluster = Cluster::own(&[
        "max_prepared_transactions = 5",
        "log_min_messages = log",
        "max_locks_per_transaction = 256",
    ]);
    let db = cluster.database();
    let mut owner = db.connect();
    owner.run(WORLD);
    for role in CALLERS {
        owner.run(&format!("ALTER ROLE {role} SET statement_timeout = '400ms'; ALTER ROLE {role} SET lock_timeout = '100ms'"));
        owner.run(&format!("ALTER ROLE {role} SET search_path = {role}, public; ALTER ROLE {role} SET en57.partition = 'mine'"));
    }
    let surface = Surface::of(&mut owner);
    let before = protected(&mut owner);
    let mut repairer = db.connect();
    repairer.run("SET lock_timeout = '1s'; SET search_path = smith_admin, public; SET en57.partition = 'mine'; SET statement_timeout = '20s'");
    let until = Instant::now() + Duration::from_secs(seconds);
    let end = AtomicBool::new(false);
    let mut callers: Vec<Caller> = CALLERS
        .iter()
        .map(|role| Caller::new(&db, role, &surface))
        .collect();
    std::thread::scope(|scope| {
        for (n, caller) in callers.iter_mut().enumerate() {
            let end = &end;
            scope.spawn(move || {
                // One that fails lets the others end.
                let stop = End(end);
                caller.work(n as u64, until, end);
                std::mem::forget(stop);
            });
        }
        while Instant::now() < until && !end.load(Ordering::Relaxed) {
            repair(&mut repairer);
            std::thread::sleep(Duration::from_secs(1));
        }
    });

    let mut states = BTreeMap::new();
    for caller in &callers {
        for (state, n) in &caller.states {
            *states.entry(state.clone()).or_insert(0) += n;
        }
    }
    let calls: u64 = states.values().sum();
    eprintln!("smith: {calls} statements in {seconds} s: {states:?}");

    // A session that is done holds nothing.
    let left = "SELECT coalesce(string_agg(l::text, chr(10)), '') FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.usename LIKE 'smith%'";
    assert_eq!(owner.text(left), "");
    drop(
        callers
            .iter_mut()
            .map(|c| c.client.is_closed())
            .collect::<Vec<_>>(),
    );
    for (then, now) in before.iter().zip(&protected(&mut owner)) {
        assert_eq!(
            then,
            now,
            "was changed by somebody without the right; EN57_TEST_SEED={}",
            seed()
        );
    }
    assert_eq!(before.len(), protected(&mut owner).len());
    let wrong = owner.text("SELECT coalesce(string_agg(c::text, chr(10)), '') FROM en57_check() c");
    assert_eq!(wrong, "", "EN57_TEST_SEED={}", seed());
    let log = cluster.log();
    for line in log.lines() {
        assert!(
            !["PANIC:", "TRAP:", "terminated by signal"]
                .iter()
                .any(|w| line.contains(w)),
            "{line}"
        );
    }
    assert!(states["ok"] * 10 > calls, "{states:?}");
    assert!(states["42501"] > 0 && states["22023"] > 0, "{states:?}");
}
