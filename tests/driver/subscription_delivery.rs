//! Subscriptions under fire: workers that are killed, writers that roll back, a server that goes down.
//!
//! Polling, applying and acknowledging in one transaction: every event is applied exactly once. Under a lease:
//! at least once. In both, in order in its shard. Fails where a poll does not lock its shard, where positions
//! go beyond what is settled, or where an acknowledgement is taken from who has lost the lease.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Database, await_that};
use crate::support::crew::crew;
use crate::support::random::{Random, scaled};
use crate::support::session::{Session, state};

const QUERY: &str = r#"{"types": ["wanted"]}"#;
const APPLIED: &str = "CREATE TABLE applied (seq bigserial, position bigint, shard int)";

type Outcome = Result<(), postgres::Error>;

/// What all of one test share.
struct Scene<'a> {
    db: &'a Database,
    shards: i32,
    written: AtomicBool,
    done: AtomicBool,
}

impl<'a> Scene<'a> {
    fn new(db: &'a Database, shards: i32) -> Self {
        let mut session = db.connect();
        session.run(APPLIED);
        let sql = "SELECT en57_create_subscription('work', $1::text::en57_query)";
        session.row(sql, &[&QUERY]);
        // So that all the shards are there.
        let sql = "SELECT count(*) FROM en57_poll('work', shards => $1)";
        session.row(sql, &[&shards]);
        Self {
            db,
            shards,
            written: AtomicBool::new(false),
            done: AtomicBool::new(false),
        }
    }

    /// A connection that may be killed.
    fn victim(&self) -> Session {
        let mut session = self.db.connect();
        let _ = session.try_run("SET application_name = 'victim'");
        session
    }

    /// Appends, and now and then rolls back or breaks off.
    fn write(&self, n: u64) {
        let mut random = Random::new(n);
        let mut session = None;
        for _ in 0..scaled(150) {
            let open = session.get_or_insert_with(|| self.victim());
            if self.write_once(open, &mut random).is_err() || random.chance(3) {
                session = None;
            }
        }
    }

    fn write_once(&self, session: &mut Session, random: &mut Random) -> Outcome {
        let event = |random: &mut Random| {
            let kind = *random.pick(&["wanted", "wanted", "other"]);
            match random.below(10) {
                0 => json!({"type": kind}),
                key => json!({"type": kind, "tags": [format!("key:{key}")]}),
            }
        };
        let events: Vec<Value> = (0..random.between(1, 5)).map(|_| event(random)).collect();
        session.try_run("BEGIN")?;
        session.try_append(&json!(events), None)?;
        if random.chance(20) {
            thread::sleep(Duration::from_millis(random.below(5) as u64));
        }
        session.try_run(if random.chance(20) {
            "ROLLBACK"
        } else {
            "COMMIT"
        })
    }

    fn work(&self, n: u64, turn: impl Fn(&mut Session, &mut Random, i32) -> Outcome) {
        let mut random = Random::new(n);
        let mut session = None;
        while !self.done.load(SeqCst) {
            let open = session.get_or_insert_with(|| self.victim());
            let shard = random.below(self.shards as usize) as i32;
            if turn(open, &mut random, shard).is_err() || random.chance(3) {
                session = None;
            }
        }
    }

    /// Kills somebody every now and then, and once the whole server.
    fn kill(&self, n: u64) {
        let mut random = Random::new(n);
        let mut session = self.db.connect();
        let mut kills = 0;
        while !self.written.load(SeqCst) || kills <= 10 {
            thread::sleep(Duration::from_millis(random.between(5, 30) as u64));
            if kills == 10 {
                self.db.cluster.stop("immediate");
                self.db.cluster.start();
                session = self.db.connect();
            }
            let sql = "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity
                WHERE application_name = 'victim' AND datname = current_database() ORDER BY random() LIMIT 1) v";
            session.number(sql);
            kills += 1;
        }
        // Now all that was written must be applied in the end, without anybody's help.
        await_that("nothing is left to be done", || {
            session.number("SELECT coalesce(sum(lag), 0)::bigint FROM en57_subscriptions") == 0
        });
        self.done.store(true, SeqCst);
    }

    fn run(&self, seed: u64, turn: impl Fn(&mut Session, &mut Random, i32) -> Outcome + Sync) {
        const WRITERS: usize = 4;
        let workers = self.shards as usize + 2;
        thread::scope(|scope| {
            let working = scope.spawn(|| {
                crew(workers, |n| self.work(seed + 100 + n as u64, &turn));
            });
            let killing = scope.spawn(|| self.kill(seed));
            crew(WRITERS, |n| self.write(seed + 1 + n as u64));
            self.written.store(true, SeqCst);
            let killed = killing.join();
            self.done.store(true, SeqCst);
            working.join().expect("the workers end");
            killed.expect("all was applied");
        });
    }

    /// What was applied, in this order, and what should have been.
    fn applied(&self) -> (Vec<(i32, i64)>, Vec<i64>) {
        let mut session = self.db.connect();
        let rows = session.rows("SELECT shard, position FROM applied ORDER BY seq", &[]);
        let applied = rows.iter().map(|r| (r.get(0), r.get(1))).collect();
        (applied, session.positions(QUERY))
    }
}

/// Positions of one poll.
fn poll(
    session: &mut Session,
    sql: &str,
    shard: i32,
    shards: i32,
) -> Result<Vec<i64>, postgres::Error> {
    let rows = session.try_rows(sql, &[&shard, &shards])?;
    Ok(rows.iter().map(|r| r.get(0)).collect())
}

fn apply(session: &mut Session, shard: i32, position: i64) -> Outcome {
    let sql = "INSERT INTO applied (position, shard) VALUES ($1, $2)";
    session.try_rows(sql, &[&position, &shard]).map(|_| ())
}

fn exactly_once(shards: i32, seed: u64) {
    let cluster = Cluster::own(&[]);
    let db = cluster.database();
    let scene = Scene::new(&db, shards);
    scene.run(seed, |session, random, shard| {
        const POLL: &str = "SELECT position FROM en57_poll('work', 20, wait => '100ms', shard => $1, shards => $2)";
        session.try_run("BEGIN")?;
        let positions = poll(session, POLL, shard, shards)?;
        for position in &positions {
            apply(session, shard, *position)?;
        }
        if let Some(last) = positions.last() {
            let sql = "SELECT en57_ack('work', $1, $2, $3)";
            session.try_rows(sql, &[last, &shard, &shards])?;
        }
        if random.chance(10) {
            return session.try_run("ROLLBACK");
        }
        session.try_run("COMMIT")
    });
    let (applied, expected) = scene.applied();
    for shard in 0..shards {
        let of_shard: Vec<i64> = applied
            .iter()
            .filter(|a| a.0 == shard)
            .map(|a| a.1)
            .collect();
        assert!(of_shard.is_sorted(), "shard {shard} in order: {of_shard:?}");
    }
    let mut positions: Vec<i64> = applied.iter().map(|a| a.1).collect();
    positions.sort_unstable();
    assert!(expected.len() > 100, "{} events", expected.len());
    assert_eq!(positions, expected, "each exactly once");
}

#[test]
fn exactly_once_in_one_transaction() {
    exactly_once(1, 7000);
}

#[test]
fn exactly_once_in_four_shards() {
    exactly_once(4, 7500);
}

/// Some workers keep their connection and are known by it; others come through a pooler, as it were, with a
/// connection for each call, and show a token. Some are slower than their lease is long.
fn at_least_once(shards: i32, seed: u64) {
    let cluster = Cluster::own(&[]);
    let db = cluster.database();
    let scene = Scene::new(&db, shards);
    let lost = AtomicBool::new(false);
    scene.run(seed, |session, random, shard| {
        let mut other = random.chance(50).then(|| db.connect());
        let token: Option<i64> = match &mut other {
            None => None,
            Some(other) => {
                let sql = "SELECT en57_lease('work', '40ms', $1, $2, holder => 'pooled')";
                let token: Option<i64> = other.try_rows(sql, &[&shard, &shards])?[0].get(0);
                if token.is_none() {
                    return Ok(());
                }
                token
            }
        };
        let sql = "SELECT position FROM en57_poll('work', 10, '20ms', $1, $2, lease => '40ms', token => $3)";
        let rows = session.try_rows(sql, &[&shard, &shards, &token])?;
        let positions: Vec<i64> = rows.iter().map(|r| r.get(0)).collect();
        for position in &positions {
            apply(session, shard, *position)?;
            if random.chance(2) {
                thread::sleep(Duration::from_millis(60));
            }
            if random.chance(30) || Some(position) == positions.last() {
                let sql = "SELECT en57_ack('work', $1, $2, $3, $4)";
                let session = other.as_mut().unwrap_or(session);
                match session.try_rows(sql, &[position, &shard, &shards, &token]) {
                    Err(e) if state(&e) == "N5705" => {
                        lost.store(true, SeqCst);
                        return Ok(());
                    }
                    answer => answer.map(|_| ())?,
                }
            }
        }
        if let (Some(other), Some(token)) = (&mut other, token) {
            let sql = "SELECT en57_lease('work', '0', $1, $2, token => $3)";
            match other.try_rows(sql, &[&shard, &shards, &token]) {
                Err(e) if state(&e) == "N5705" => lost.store(true, SeqCst),
                answer => answer.map(|_| ())?,
            }
        }
        Ok(())
    });
    let (applied, expected) = scene.applied();
    let mut seen = std::collections::HashSet::new();
    let firsts: Vec<(i32, i64)> = applied
        .iter()
        .filter(|a| seen.insert(a.1))
        .copied()
        .collect();
    for shard in 0..shards {
        let of_shard: Vec<i64> = firsts
            .iter()
            .filter(|a| a.0 == shard)
            .map(|a| a.1)
            .collect();
        assert!(of_shard.is_sorted(), "shard {shard} in order: {of_shard:?}");
    }
    let mut positions: Vec<i64> = firsts.iter().map(|a| a.1).collect();
    positions.sort_unstable();
    assert_eq!(positions, expected, "each at least once");
    assert!(lost.load(SeqCst), "no lease was ever taken over");
}

#[test]
fn at_least_once_under_a_lease() {
    at_least_once(1, 8000);
}

#[test]
fn at_least_once_in_four_shards() {
    at_least_once(4, 8500);
}
