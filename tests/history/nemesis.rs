//! What goes wrong meanwhile: killed clients and backends, crashes, promotions, cancelled statements, maintenance,
//! dumps, partitions that come and go, rebuilds, erasures, restarts of the worker.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use postgres::Client;

use crate::cluster::Cluster;
use crate::random::Random;
use crate::record::{Entry, Log};
use crate::world;

pub struct Nemesis<'a> {
    /// The primary.
    pub cluster: &'static Cluster,
    /// The folder of the logs.
    pub folder: &'a Path,
    pub log: &'a Log,
    pub random: Random,
    /// Processes of clients, and how to begin one anew.
    pub crews: Vec<Child>,
    pub start: &'a dyn Fn(usize) -> Child,
    pub deadline: Instant,
    /// What it did, and how often.
    pub deeds: std::collections::BTreeMap<String, usize>,
    /// What the logs of servers that are gone say of crashes.
    pub crashed: Vec<String>,
}

impl Nemesis<'_> {
    pub fn run(&mut self) {
        let mut next_crash = Instant::now() + Duration::from_secs(15);
        let mut client = None;
        let left = self.deadline.saturating_duration_since(Instant::now());
        let mut next_promotion = Instant::now() + left * 2 / 5;
        while Instant::now() < self.deadline {
            let pause = self.random.between(20, 300) as u64;
            std::thread::sleep(Duration::from_millis(pause));
            if Instant::now() > next_crash {
                client = None;
                self.crash();
                let pause = self.random.between(12, 40) as u64;
                next_crash = Instant::now() + Duration::from_secs(pause);
                continue;
            }
            if Instant::now() > next_promotion {
                client = None;
                self.promote();
                let pause = self.random.between(40, 150) as u64;
                next_promotion = Instant::now() + Duration::from_secs(pause);
                continue;
            }
            let deed = self.random.below(18);
            if deed == 0 {
                self.kill_clients();
                continue;
            }
            if client.as_ref().is_none_or(|c: &Client| c.is_closed()) {
                client = Some(self.cluster.connect("history").client);
                continue;
            }
            if let Some(client) = &mut client {
                self.disturb(client, deed);
            }
        }
    }

    pub fn done(&mut self, deed: &'static str) {
        *self.deeds.entry(deed.to_owned()).or_default() += 1;
        self.log.note(Entry::Nemesis { deed: deed.into() });
    }

    /// SIGKILL for all clients of one process; a new process takes their place.
    fn kill_clients(&mut self) {
        let i = self.random.below(self.crews.len());
        let _ = self.crews[i].kill();
        let _ = self.crews[i].wait();
        self.crews[i] = (self.start)(i);
        self.done("clients killed");
    }

    fn crash(&mut self) {
        self.log.note(Entry::Crash);
        if self.random.chance(50) {
            let pid = self.cluster.connect("history").client.query_one(
                "SELECT pid FROM pg_stat_activity WHERE datname = 'history' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1",
                &[],
            );
            if let Ok(row) = pid {
                let pid: i32 = row.get(0);
                if self.cluster.kill_backend(pid) {
                    self.done("backend killed, crash recovery");
                }
            }
        } else {
            self.cluster.stop("immediate");
            self.cluster.start();
            self.done("immediate stop and start");
        }
        drop(self.cluster.connect("history"));
        self.log.note(Entry::Crash);
    }

    fn disturb(&mut self, client: &mut Client, deed: usize) {
        let statement = match deed {
            1 => (
                "backends terminated",
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = 'history' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 2",
            ),
            2 | 3 => (
                "statements cancelled",
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = 'history' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 4",
            ),
            4 => ("VACUUM", "VACUUM en57.events_default"),
            5 => *self.random.pick(&[
                (
                    "VACUUM FREEZE",
                    "VACUUM (FREEZE, ANALYZE) en57.events_default",
                ),
                ("VACUUM FULL", "VACUUM FULL en57.events_default"),
            ]),
            6 => (
                "REINDEX CONCURRENTLY",
                "REINDEX TABLE CONCURRENTLY en57.events_default",
            ),
            7 => ("CHECKPOINT", "CHECKPOINT"),
            8 => *self.random.pick(&[
                (
                    "partition created",
                    "SELECT en57_create_partition('passing' || floor(random() * 3)::int)",
                ),
                (
                    "partition dropped",
                    "SELECT en57_drop_partition('passing' || floor(random() * 3)::int)",
                ),
                (
                    "partition emptied",
                    "SELECT en57_truncate('passing' || floor(random() * 3)::int)",
                ),
            ]),
            9 => *self.random.pick(&[
                ("rebuild", "CALL en57_rebuild('accounts')"),
                ("rebuild", "CALL en57_rebuild('accounts_later')"),
            ]),
            10 => (
                "erase",
                "SELECT en57_erase(jsonb_build_object('tags', jsonb_build_array('b:1'), 'types', jsonb_build_array('t' || floor(random() * 4)::int))::en57_query, 'history')",
            ),
            11 => *self.random.pick(&[
                ("worker started", "SELECT en57_worker_start()"),
                ("worker stopped", "SELECT en57_worker_stop()"),
                (
                    "worker terminated",
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'en57 worker'",
                ),
            ]),
            12 => ("en57_run", "SELECT en57_run('accounts_later', 500)"),
            14 => *self.random.pick(&[
                ("documents made beside", world::MADE_BESIDE),
                (
                    "projection dropped",
                    "SELECT en57_drop_projection('accounts_beside')",
                ),
            ]),
            13 => {
                let now_and_then = self.random.chance(15);
                self.dump(client, now_and_then);
                return;
            }
            15 | 16 => {
                match self.alter(client) {
                    Ok(deed) => self.done(deed),
                    Err(error) => self.failed("subscription altered", &error),
                }
                return;
            }
            _ => ("status", "SELECT count(*) FROM en57_status()"),
        };
        let (deed, sql) = statement;
        let limits = "SET statement_timeout = 10000; SET lock_timeout = 1000";
        let done = client
            .batch_execute(limits)
            .and_then(|()| client.batch_execute(sql));
        match done {
            Ok(()) => self.done(deed),
            Err(error) => self.failed(deed, &error),
        }
    }

    /// Changes the query of a subscription, its number of shards, or both. If the shards are not at one position, their
    /// number stays, until a later call finds them there.
    fn alter(&mut self, client: &mut Client) -> Result<&'static str, postgres::Error> {
        let names = world::SUBSCRIPTIONS.map(|s| s.0);
        let altered: Vec<&str> = names.into_iter().filter(|n| world::is_altered(n)).collect();
        let name = *self.random.pick(&altered);
        let (queries, shards) = (world::ALTERED_QUERIES, world::ALTERED_SHARDS);
        let query = self
            .random
            .chance(50)
            .then(|| *self.random.pick(&queries) as i32);
        let shards =
            (query.is_none() || self.random.chance(30)).then(|| *self.random.pick(&shards));
        let written = query.map(|n| world::written(&world::queries()[n as usize]));
        client.batch_execute("SET statement_timeout = 10000; SET lock_timeout = 1000")?;
        let mut transaction = client.transaction()?;
        let alter =
            "SELECT en57_alter_subscription($1, query => $2::text::en57_query, shards => $3)";
        // One after the other: where the shards change, the new query may let those that lag behind pass events at once.
        let mut at_once = None::<bool>;
        for (written, shards) in [(written, None), (None, shards)] {
            if written.is_some() || shards.is_some() {
                let row = transaction.query_one(alter, &[&name, &written, &shards])?;
                at_once = row.get(0);
                transaction.execute(world::NOTE_ALTERED, &[&name, &query])?;
            }
        }
        transaction.commit()?;
        Ok(match (shards, at_once == Some(true)) {
            (None, _) => "subscription altered",
            (_, true) => "subscription resharded",
            (_, false) => "subscription to be resharded",
        })
    }

    /// What could not be done is counted as well, with its SQLSTATE.
    fn failed(&mut self, deed: &str, error: &postgres::Error) {
        let state = error.code().map_or("connection lost", |c| c.code());
        let entry = self.deeds.entry(format!("{deed}: failed, {state}"));
        *entry.or_default() += 1;
    }
}

/// Ends the processes of clients.
pub fn end(crews: &mut [Child]) {
    for crew in crews {
        let _ = crew.kill();
        let _ = crew.wait();
    }
}

/// A process of clients: its number, how many of them append, and for how many seconds.
pub fn crew(folder: &Path, what: [u64; 3], seed: u64) -> Child {
    let myself = std::env::current_exe().expect("the program has a path");
    Command::new(myself)
        .arg("clients")
        .arg(folder)
        .args(what.map(|n| n.to_string()))
        .env("EN57_TEST_SEED", seed.to_string())
        .spawn()
        .expect("the program can be started again")
}
