//! Promotions and dumps: what makes another server, or another database, of this one.
//!
//! A promotion must lose nothing: the standby is synchronous, and for its time nobody commits without waiting for it.

use std::time::{Duration, Instant};

use postgres::{Client, Error};

use crate::cluster::{Cluster, await_that};
use crate::nemesis::Nemesis;
use crate::record::{Entry, Restored};
use crate::server::{Risk, announce, state};

/// The settings of all servers of a run.
pub const SETTINGS: [&str; 8] = [
    "max_connections = 200",
    "max_prepared_transactions = 5",
    "max_worker_processes = 20",
    "autovacuum_naptime = 5",
    "deadlock_timeout = 50ms",
    "log_lock_waits = on",
    "wal_keep_size = 256MB",
    "restart_after_crash = on",
];

/// A server that lives as long as this process.
pub fn lasting(cluster: crate::cluster::OwnCluster) -> &'static Cluster {
    let lasting = *cluster;
    std::mem::forget(cluster);
    lasting
}

/// What a server's log tells of processes that have crashed, but for those that the nemesis has killed.
pub fn crashes(cluster: &Cluster) -> Vec<String> {
    let log = cluster.log();
    let of_itself = |l: &&str| {
        let ended = l.contains("terminated by signal") && !l.contains("by signal 9");
        ended || l.contains("PANIC:") || l.contains("TRAP:")
    };
    log.lines().filter(of_itself).map(str::to_owned).collect()
}

impl Nemesis<'_> {
    /// A standby takes over from a primary that stops at once, under load.
    pub fn promote(&mut self) {
        let old = self.cluster;
        let standby = lasting(Cluster::copied(&SETTINGS, |data| {
            old.base_backup(data, "-R -c fast");
        }));
        standby.start();
        let refused = standby.connect("history").try_run("SELECT en57_head()");
        self.done(match refused {
            Err(e) if state(&e) == "0A000" => "read refused on a standby",
            _ => "read answered on a standby",
        });
        let forbidden = if std::env::var_os("EN57_HISTORY_CARELESS").is_some() {
            // To see what the checker finds: the standby does not get what happens now.
            let mut deaf = standby.connect("history");
            deaf.run("ALTER SYSTEM SET primary_conninfo = ''");
            deaf.run("SELECT pg_reload_conf()");
            None
        } else {
            Some(self.await_standby())
        };
        let pause = self.random.between(100, 2_500) as u64;
        std::thread::sleep(Duration::from_millis(pause));
        old.stop("immediate");
        let folder = standby.folder();
        standby.shell(&format!("$BIN/pg_ctl promote -s -w -D {folder}/data"));
        announce(self.folder, &folder);
        drop(forbidden);
        Risk::allow(self.folder);
        self.crashed.extend(crashes(old));
        old.shell(&format!("rm -rf {}/data", old.folder()));
        self.cluster = standby;
        self.done("standby promoted");
    }

    /// Makes the standby synchronous, and waits until nothing is left of what does not wait for it. Nobody commits without
    /// the wait as long as the result is kept.
    fn await_standby(&self) -> Risk {
        let mut admin = self.cluster.connect("history");
        admin.run("ALTER SYSTEM SET synchronous_standby_names = '*'");
        admin.run("SELECT pg_reload_conf()");
        await_that("the standby is synchronous", || {
            admin.number("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == 1
        });
        let forbidden = Risk::forbid(self.folder);
        // Transactions of clients that were killed go on. Nothing of before may be left that does not wait.
        let now: String = admin.row("SELECT clock_timestamp()::text", &[]).get(0);
        let older = format!(
            "FROM pg_stat_activity WHERE datname = 'history' AND backend_type = 'client backend' AND xact_start < '{now}'"
        );
        let waiting = Instant::now();
        await_that("all others have ended", || {
            if waiting.elapsed() > Duration::from_secs(10) {
                admin.run(&format!("SELECT pg_terminate_backend(pid) {older}"));
            }
            admin.number(&format!("SELECT count(*) {older}")) == 0
        });
        // Unless all clients have gone home.
        await_that("somebody waits for the standby", || {
            admin.number("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") > 0
                || Instant::now() > self.deadline
        });
        let lsn: String = admin
            .row("SELECT pg_current_wal_insert_lsn()::text", &[])
            .get(0);
        let there = format!("SELECT count(*) FROM pg_stat_replication WHERE flush_lsn >= '{lsn}'");
        await_that("the standby has all that", || admin.number(&there) == 1);
        forbidden
    }

    /// Dumps the database; also looks what comes out of the dump, if that is wanted.
    pub fn dump(&mut self, client: &mut Client, restore: bool) {
        let Ok(row) = client.query_one("SELECT en57_head(NULL, '*')", &[]) else {
            return;
        };
        let head = row.get(0);
        let file = format!("{}/history.dump", self.cluster.folder());
        let host = self.cluster.folder();
        let program = format!("{}/pg_dump", crate::cluster::bindir());
        let dump = [
            &program, "-h", &host, "-U", "postgres", "-Fc", "-f", &file, "history",
        ];
        let done = crate::cluster::as_user(&dump)
            .stderr(std::process::Stdio::null())
            .status();
        // It may fail: a partition that is dropped meanwhile is one reason.
        if !done.is_ok_and(|s| s.success()) {
            return;
        }
        self.done("pg_dump");
        if !restore {
            return;
        }
        self.cluster.shell(&format!(
            "$BIN/createdb restored; $BIN/pg_restore -d restored {file}"
        ));
        let looked = look(&mut self.cluster.connect("restored").client, head);
        let dump = looked.unwrap_or_else(|e| panic!("the restored database: {e:?}"));
        self.log.note(Entry::Restored { dump });
        self.cluster.shell("$BIN/dropdb restored");
        self.done("dump restored");
    }
}

/// What is in a database that a dump was restored into.
fn look(client: &mut Client, head: i64) -> Result<Restored, Error> {
    const EVENTS: &str =
        "SELECT \"position\", coalesce(data ->> 'mark', id::text) FROM en57_read(partition => '*')";
    const VERSIONS: &str = "SELECT partition, stream, array_agg(stream_version ORDER BY \"position\")
        FROM en57_read(partition => '*') WHERE stream IS NOT NULL AND partition NOT LIKE 'passing%' GROUP BY 1, 2";
    const DOCUMENTS: &str =
        "SELECT id, (doc ->> 'n')::bigint, (doc ->> 'sum')::bigint FROM accounts";
    let mut dump = Restored {
        head,
        ..Restored::default()
    };
    for row in client.query("SELECT to_jsonb(c) FROM en57_check() c", &[])? {
        let fault = row.get::<_, serde_json::Value>(0);
        dump.faults.push(fault.to_string());
    }
    let events = client.query(EVENTS, &[])?;
    dump.events = events.iter().map(|r| (r.get(0), r.get(1))).collect();
    let versions = client.query(VERSIONS, &[])?;
    let version = versions.iter().map(|r| (r.get(0), r.get(1), r.get(2)));
    dump.versions = version.collect();
    let documents = client.query(DOCUMENTS, &[])?;
    let document = documents.iter().map(|r| (r.get(0), r.get(1), r.get(2)));
    dump.documents = document.collect();
    let append = "SELECT \"position\" FROM en57_append('{\"type\": \"after the restore\"}')";
    dump.next = client.query_one(append, &[])?.get(0);
    Ok(dump)
}
