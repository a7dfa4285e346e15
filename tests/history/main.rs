//! The history checker: many clients do what clients do, a nemesis disturbs them, and a checker proves from what the
//! clients were told, and from what is there at the end, that the guarantees were kept. It knows nothing of how.
//!
//!     history                   the whole; EN57_HISTORY_SECONDS (30), EN57_TEST_SEED, EN57_HISTORY_CLIENTS (12 to 64)
//!     history check FOLDER      looks once more at the logs of a run
//!     history shrink FOLDER     finds the shortest log that still shows what is wrong
//!     history selftest          plants a fault for each rule into a good log: it must be found, and shrunk
//!
#![cfg_attr(doc, doc = include_str!("../../docs/architecture/history.md"))]

use en57_tests::random;

#[allow(dead_code)]
#[path = "../driver/support/cluster.rs"]
mod cluster;
#[path = "../driver/support/crash.rs"]
mod crash;
#[allow(dead_code)]
#[path = "../driver/support/session.rs"]
mod session;

mod asking;
mod check;
mod client;
mod consumers;
mod ending;
mod history;
mod making;
mod nemesis;
mod readers;
mod reading;
mod record;
mod selftest;
mod server;
mod shrink;
mod standby;
mod summary;
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
        ["clients", folder, crew, writers, seconds] => {
            let number = |s: &str| s.parse().expect("a number");
            let time = Duration::from_secs(number(seconds));
            clients(Path::new(folder), number(crew), number(writers), time);
            ExitCode::SUCCESS
        }
        ["check", folder] => judge(Path::new(folder)),
        ["shrink", folder] => shrink::shrink(Path::new(folder)),
        ["selftest"] => selftest::run(),
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
    let chosen = random.between(12, 64) as u64;
    let writers = number("EN57_HISTORY_CLIENTS", chosen);
    let cluster = standby::lasting(Cluster::own_with(
        &standby::SETTINGS,
        &["--data-checksums"],
        &[],
    ));
    cluster.connect("postgres").run("CREATE DATABASE history");
    cluster.connect("history").run(world::SCHEMA);
    for (name, query, partition, shards, _) in world::SUBSCRIPTIONS {
        let (number, query) = (query, world::written(&world::queries()[query]));
        let sql = format!(
            "SELECT en57_create_subscription('{name}', '{query}', partition => '{partition}', shards => {shards})"
        );
        let mut session = cluster.connect("history");
        session.run(&sql);
        if world::is_altered(name) {
            session.rows(world::NOTE_ALTERED, &[&name, &Some(number as i32)]);
        }
    }
    let folder = PathBuf::from(cluster.folder()).with_extension("history");
    std::fs::create_dir_all(&folder).expect("a folder for the logs");
    server::announce(&folder, &cluster.folder());
    server::Risk::allow(&folder);
    let run = summary::Run {
        seconds,
        seed: random::seed(),
        writers,
        connections: connections(writers),
        commit: std::env::var("EN57_COMMIT").unwrap_or_default(),
    };
    run.begin(&folder);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let seeds: Vec<u64> = (0..1000).map(|_| random.next()).collect();
    let begun = std::cell::Cell::new(0);
    let start = |crew: usize| {
        let left = deadline.saturating_duration_since(Instant::now());
        begun.set(begun.get() + 1);
        let seed = seeds[begun.get() % seeds.len()];
        // All crews together are all writers.
        let (crew, crews) = (crew as u64, CREWS as u64);
        let its = writers * (crew + 1) / crews - writers * crew / crews;
        nemesis::crew(&folder, [crew, its, left.as_secs()], seed)
    };
    let log = Log::new(&folder);
    let crews = (0..CREWS).map(&start).collect();
    let mut nemesis = nemesis::Nemesis {
        cluster,
        folder: &folder,
        log: &log,
        random,
        crews,
        start: &start,
        deadline,
        deeds: Default::default(),
        crashed: Vec::new(),
    };
    let follow = Server {
        folder: folder.clone(),
        deadline,
    };
    std::thread::scope(|scope| {
        followers(scope, &follow, &log);
        nemesis.run();
    });
    nemesis::end(&mut nemesis.crews);
    let mut client = nemesis.cluster.connect("history").client;
    nemesis.dump(&mut client, true);
    drop(client);
    for (deed, n) in &nemesis.deeds {
        println!("history: {n} x {deed}");
    }
    let mut crashed = std::mem::take(&mut nemesis.crashed);
    crashed.extend(standby::crashes(nemesis.cluster));
    ending::collect(&folder, crashed, nemesis.cluster);
    let _ = std::fs::write(folder.join("server.log"), nemesis.cluster.log());
    let judged = judge(&folder);
    if judged == ExitCode::SUCCESS {
        let _ = std::fs::remove_dir_all(&folder);
    }
    judged
}

/// How many connections are there at a time, as a rule.
fn connections(writers: u64) -> u64 {
    let shards: i32 = world::SUBSCRIPTIONS.iter().map(|s| s.3).sum();
    let consumers = shards as u64 * CREWS as u64 / 2;
    let followers = world::queries().len() as u64 * 3;
    // With a reader in each crew, and the nemesis.
    writers + consumers + CREWS as u64 + followers + 1
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
fn clients(folder: &Path, crew: u64, writers: u64, time: Duration) {
    let server = Server {
        folder: folder.into(),
        deadline: Instant::now() + time,
    };
    let log = Log::new(folder);
    std::thread::scope(|scope| {
        let (server, log) = (&server, &log);
        for n in 0..writers {
            scope.spawn(move || {
                if let Some(mut writer) = client::Writer::new(server, log, n) {
                    writer.run();
                }
            });
        }
        let all = world::SUBSCRIPTIONS.iter().enumerate();
        // Half of the crews compete for each of them.
        let its = all.filter(|(n, _)| (*n as u64 + crew).is_multiple_of(2));
        for (subscription, (_, _, _, shards, _)) in its {
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
        let random = Random::new(200);
        let mut reader = reading::Reader {
            server,
            log,
            random,
        };
        scope.spawn(move || reader.run());
    });
}

/// Checks the logs and the ending of a folder, and says what it has found.
fn judge(folder: &Path) -> ExitCode {
    let (lines, ending) = history::load(folder);
    let history = history::History::new(&lines, ending);
    println!(
        "history: {} transactions, {} events, {} crashes",
        history.transactions.len(),
        history.ending.events.len(),
        history.crashes.len() / 2
    );
    let (mut failed, mut violations) = (false, 0);
    for named in check::rules() {
        let rule = check::look(named, &history);
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
        violations += rule.violations.len();
    }
    let run = summary::Run::of(folder);
    if failed {
        run.advise(folder);
    }
    println!("history: summary {}", run.summary(&history, violations));
    if failed {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
