//! The history checker: many clients do what clients do, a nemesis disturbs them, and a checker proves from what the
//! clients were told, and from what is there at the end, that the guarantees were kept. It knows nothing of how.
//!
//!     history                   the whole; EN57_HISTORY_SECONDS (30), EN57_TEST_SEED, EN57_HISTORY_CLIENTS (24)
//!     history check FOLDER      looks once more at the logs of a run
//!     history shrink FOLDER     finds the shortest log that still shows what is wrong
//!
#![cfg_attr(doc, doc = include_str!("../../docs/architecture/history.md"))]

#[allow(dead_code)]
#[path = "../driver/support/cluster.rs"]
mod cluster;
#[allow(dead_code)]
#[path = "../driver/support/random.rs"]
mod random;
#[allow(dead_code)]
#[path = "../driver/support/session.rs"]
mod session;

mod check;
mod client;
mod consumers;
mod ending;
mod history;
mod nemesis;
mod readers;
mod record;
mod server;
mod shrink;
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::random::Random;
use crate::record::Log;
use crate::server::Server;

/// Processes of clients; the nemesis kills one at a time.
const CREWS: usize = 4;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["clients", folder, socket, seconds] => {
            let seconds = seconds.parse().expect("a number of seconds");
            clients(
                Path::new(folder),
                Path::new(socket),
                Duration::from_secs(seconds),
            );
            ExitCode::SUCCESS
        }
        ["check", folder] => judge(Path::new(folder)),
        ["shrink", folder] => shrink::shrink(Path::new(folder)),
        _ => run(),
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |s| {
        s.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number"))
    })
}

/// The whole: a server, clients, the nemesis, the ending, the judgement.
fn run() -> ExitCode {
    let seconds = number("EN57_HISTORY_SECONDS", 30);
    let mut random = Random::new(0);
    let cluster = Cluster::own(&[
        "max_connections = 120",
        "max_prepared_transactions = 5",
        "max_worker_processes = 20",
        "autovacuum_naptime = 5",
        "deadlock_timeout = 50ms",
        "log_lock_waits = on",
    ]);
    cluster.connect("postgres").run("CREATE DATABASE history");
    cluster.connect("history").run(world::SCHEMA);
    for (name, query, partition, shards, _) in world::SUBSCRIPTIONS {
        let query = world::written(&world::queries()[query], None);
        let sql = format!(
            "SELECT en57_create_subscription('{name}', '{query}', partition => '{partition}', shards => {shards})"
        );
        cluster.connect("history").run(&sql);
    }
    let folder = PathBuf::from(cluster.folder()).with_extension("history");
    std::fs::create_dir_all(&folder).expect("a folder for the logs");
    println!(
        "history: {seconds} seconds, seed {}; the logs are in {}",
        random::seed(),
        folder.display()
    );
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let (logs, socket) = (folder.display().to_string(), cluster.folder());
    let seeds: Vec<u64> = (0..1000).map(|_| random.next()).collect();
    let begun = std::cell::Cell::new(0);
    let start = |_: usize| {
        let left = deadline.saturating_duration_since(Instant::now());
        begun.set(begun.get() + 1);
        nemesis::crew(
            &logs,
            &socket,
            seeds[begun.get() % seeds.len()],
            left.as_secs(),
        )
    };
    let log = Log::new(&folder);
    let crews = (0..CREWS).map(&start).collect();
    let mut nemesis = nemesis::Nemesis {
        cluster: *cluster,
        log: &log,
        random,
        crews,
        start: &start,
        deadline,
        deeds: Default::default(),
    };
    let follow = Server {
        socket: socket.clone().into(),
        deadline,
    };
    std::thread::scope(|scope| {
        followers(scope, &follow, &log);
        nemesis.run();
    });
    nemesis::end(&mut nemesis.crews);
    for (deed, n) in &nemesis.deeds {
        println!("history: {n} x {deed}");
    }
    ending::collect(Path::new(&socket), &folder);
    let judged = judge(&folder);
    if judged == ExitCode::SUCCESS {
        let _ = std::fs::remove_dir_all(&folder);
    }
    judged
}

/// Followers live in the main process: they must outlive the clients that are killed.
fn followers<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    server: &'scope Server,
    log: &'scope Log,
) {
    let mut n = 0;
    for query in 0..world::queries().len() {
        for partition in ["default", "second", "*"] {
            n += 1;
            let by_head = n % 2 == 0;
            let name = format!(
                "query {query}, {partition}, {}",
                if by_head {
                    "by head"
                } else {
                    "by the last event"
                }
            );
            let random = Random::new(500 + n);
            let mut follower = readers::Follower {
                server,
                log,
                random,
                name,
                query,
                partition,
                by_head,
            };
            scope.spawn(move || follower.run());
        }
    }
}

/// The work of one process of clients.
fn clients(folder: &Path, socket: &Path, time: Duration) {
    let server = Server {
        socket: socket.into(),
        deadline: Instant::now() + time,
    };
    let log = Log::new(folder);
    let writers = number("EN57_HISTORY_CLIENTS", 24) as usize / CREWS;
    std::thread::scope(|scope| {
        let (server, log) = (&server, &log);
        for n in 0..writers {
            scope.spawn(move || {
                if let Some(mut writer) = client::Writer::new(server, log, Random::new(n as u64)) {
                    writer.run();
                }
            });
        }
        for (subscription, (_, _, _, shards, _)) in world::SUBSCRIPTIONS.iter().enumerate() {
            for shard in 0..*shards {
                let random = Random::new(100 + subscription as u64 * 10 + shard as u64);
                let mut consumer = consumers::Consumer {
                    server,
                    random,
                    subscription,
                    shard,
                };
                scope.spawn(move || consumer.run());
            }
        }
    });
}

/// Checks the logs and the ending of a folder, and says what it has found.
fn judge(folder: &Path) -> ExitCode {
    let text = std::fs::read_to_string(folder.join("ending.json")).expect("the ending was written");
    let ending = serde_json::from_str(&text).expect("the ending is JSON");
    let history = history::History::new(&history::lines(folder), ending);
    println!(
        "history: {} transactions, {} events, {} crashes",
        history.transactions.len(),
        history.ending.events.len(),
        history.crashes.len() / 2
    );
    let mut failed = false;
    for rule in check::all(&history) {
        let fine = rule.violations.is_empty() && rule.seen > 0;
        println!(
            "{} history: {} ({} looked at)",
            if fine { "ok" } else { "not ok" },
            rule.name,
            rule.seen
        );
        rule.violations
            .iter()
            .take(10)
            .for_each(|v| println!("    {v}"));
        if rule.violations.len() > 10 {
            println!("    and {} more", rule.violations.len() - 10);
        }
        failed |= !fine;
    }
    if failed {
        println!("history: the logs are kept in {}", folder.display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
