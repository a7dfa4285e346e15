//! What is there at the end: the events, what stands on them, and what the store says of itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::consumers::Consumer;
use crate::random::Random;
use crate::server::Server;
use crate::world::{self, SUBSCRIPTIONS};

/// An event as it is stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Stored {
    pub position: i64,
    pub mark: String,
    pub event_type: String,
    pub tags: Vec<String>,
    pub stream: Option<String>,
    pub version: Option<i64>,
    pub partition: String,
    /// None where it was erased.
    pub amount: Option<i64>,
    pub id: Option<String>,
    /// In microseconds since 1970.
    pub recorded_at: i64,
}

impl Stored {
    /// What decides its shard: its stream, or its first tag, or its type.
    pub fn key(&self) -> (u8, &str) {
        match (&self.stream, self.tags.first()) {
            (Some(stream), _) => (0, stream),
            (None, Some(tag)) => (1, tag),
            (None, None) => (2, &self.event_type),
        }
    }
}

/// What a consumer of a subscription has handled.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Consumed {
    pub shard: i32,
    pub position: i64,
    pub mark: String,
    /// Of how many shards.
    #[serde(default)]
    pub shards: i32,
    /// Of a subscription that is altered: the number of its version when the event was handed out.
    #[serde(default)]
    pub version: i64,
}

/// A version of a subscription that is altered: the number of its query, and where its shards were when it began.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Altered {
    pub n: i64,
    pub query: usize,
    pub positions: Vec<i64>,
}

/// All that is looked at.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ending {
    /// In the order of their positions.
    pub events: Vec<Stored>,
    /// Name of a projection → id → document.
    pub documents: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
    /// Name of a projection with a handler → positions, in the order in which it handled them.
    pub handled: BTreeMap<String, Vec<i64>>,
    /// Name of a subscription → what was handled, in that order.
    pub consumed: BTreeMap<String, Vec<Consumed>>,
    /// Name of a subscription that is altered → its versions, in order.
    #[serde(default)]
    pub altered: BTreeMap<String, Vec<Altered>>,
    /// What en57_check found.
    pub faults: Vec<String>,
    /// Lines of the servers' logs that tell of a process that has crashed, but for those that were killed.
    pub crashed: Vec<String>,
    /// How many pages pg_checksums has looked at, and what was wrong with them.
    #[serde(default)]
    pub pages: u64,
    #[serde(default)]
    pub wrong_pages: Vec<String>,
    /// Of the server, and the day by its clock.
    pub version: String,
    pub date: String,
}

/// Lets subscriptions and projections come to their end, collects all, and stops the server.
pub fn collect(folder: &Path, crashed: Vec<String>, cluster: &Cluster) {
    let patience = Duration::from_secs(300);
    let server = Server {
        folder: folder.into(),
        deadline: Instant::now() + patience,
    };
    let mut client = server.connect().expect("the server is there");
    // A change of the number of shards for which they were not ready is cancelled.
    let cancel = "SELECT en57_reshard(name, count(*)::integer) FROM en57_subscriptions WHERE drain_to IS NOT NULL GROUP BY name";
    client.query(cancel, &[]).expect("a change is cancelled");
    for (i, (name, _, _, _, leased)) in SUBSCRIPTIONS.iter().enumerate() {
        let number = "SELECT count(*)::integer FROM en57_subscriptions WHERE name = $1";
        let row = client.query_one(number, &[name]);
        for shard in 0..row.expect("the view can be read").get(0) {
            drain(&server, i, shard, *leased);
        }
    }
    for name in ["accounts_later", "streams_later", "async"] {
        let run = "SELECT en57_run($1)";
        client
            .query_one(run, &[&name])
            .unwrap_or_else(|e| panic!("en57_run of {name}: {e:?}"));
    }
    // What a REINDEX CONCURRENTLY that was cut short leaves behind; PostgreSQL's page says to drop it.
    let left = "SELECT format('DROP INDEX %s', indexrelid::regclass) FROM pg_index WHERE NOT indisvalid AND indrelid = 'en57.events_default'::regclass";
    for row in client.query(left, &[]).expect("the catalog can be read") {
        let drop: String = row.get(0);
        client
            .batch_execute(&drop)
            .expect("an index that is not valid can be dropped");
    }
    // As it was made beside the appends, if it is there.
    client
        .batch_execute(world::MADE_BESIDE)
        .expect("a projection can be made");
    let mut ending = Ending {
        crashed,
        ..Ending::default()
    };
    let version = "SELECT current_setting('server_version'), current_date::text";
    let row = client.query_one(version, &[]).expect("a setting");
    (ending.version, ending.date) = (row.get(0), row.get(1));
    let sql = "SELECT \"position\", coalesce(data ->> 'mark', id::text), type, tags, stream, stream_version, partition,
            (data ->> 'amount')::bigint, id::text, (extract(epoch FROM recorded_at) * 1000000)::bigint
        FROM en57_read(partition => '*')";
    for row in client.query(sql, &[]).expect("all can be read") {
        ending.events.push(Stored {
            position: row.get(0),
            mark: row.get(1),
            event_type: row.get(2),
            tags: row.get(3),
            stream: row.get(4),
            version: row.get(5),
            partition: row.get(6),
            amount: row.get(7),
            id: row.get(8),
            recorded_at: row.get(9),
        });
    }
    for name in [
        "accounts",
        "accounts_later",
        "accounts_beside",
        "streams_later",
    ] {
        let rows = client
            .query(&format!("SELECT id, doc FROM {name}"), &[])
            .expect("documents can be read");
        ending.documents.insert(
            name.into(),
            rows.iter().map(|r| (r.get(0), r.get(1))).collect(),
        );
    }
    for row in client
        .query(
            "SELECT projection, \"position\" FROM handled ORDER BY n",
            &[],
        )
        .expect("a table")
    {
        ending
            .handled
            .entry(row.get(0))
            .or_default()
            .push(row.get(1));
    }
    for row in client
        .query(
            "SELECT subscription, shard, \"position\", mark, shards, version FROM consumed ORDER BY n",
            &[],
        )
        .expect("a table")
    {
        ending
            .consumed
            .entry(row.get(0))
            .or_default()
            .push(Consumed {
                shard: row.get(1),
                position: row.get(2),
                mark: row.get(3),
                shards: row.get(4),
                version: row.get(5),
            });
    }
    let altered = "SELECT subscription, n, query, positions FROM altered ORDER BY n";
    for row in client.query(altered, &[]).expect("a table") {
        let version = Altered {
            n: row.get(1),
            query: row.get::<_, i32>(2) as usize,
            positions: row.get(3),
        };
        ending.altered.entry(row.get(0)).or_default().push(version);
    }
    for row in client
        .query("SELECT to_jsonb(c) FROM en57_check() c", &[])
        .expect("en57_check runs")
    {
        ending
            .faults
            .push(row.get::<_, serde_json::Value>(0).to_string());
    }
    drop(client);
    cluster.stop("fast");
    (ending.pages, ending.wrong_pages) = checksums(cluster);
    let text = serde_json::to_string(&ending).expect("it is JSON");
    std::fs::write(folder.join("ending.json"), text).expect("the folder can be written");
}

/// Looks at all pages of a server that is stopped: how many there are, and what is wrong.
fn checksums(cluster: &Cluster) -> (u64, Vec<String>) {
    let check = format!("$BIN/pg_checksums --check -D '{}'", cluster.data());
    match cluster.try_shell(&check) {
        Ok(told) => {
            let pages = told
                .lines()
                .find_map(|l| l.strip_prefix("Blocks scanned:"))
                .and_then(|n| n.trim().parse().ok());
            (pages.unwrap_or(0), vec![])
        }
        Err(told) => (0, told.lines().map(str::to_owned).collect()),
    }
}

/// Polls until nothing is left.
fn drain(server: &Server, subscription: usize, shard: i32, leased: bool) {
    let mut consumer = Consumer {
        server,
        random: Random::new(1 << 20),
        subscription,
        shard,
    };
    let name = SUBSCRIPTIONS[subscription].0;
    let lag = "SELECT coalesce(max(lag), 0)::bigint FROM en57_subscriptions WHERE name = $1 AND shard = $2";
    while let Some(mut client) = server.connect() {
        let done = if leased {
            consumer.with_lease(&mut client)
        } else {
            consumer.in_transaction(&mut client)
        };
        match done {
            Ok(0) => {
                let _ = client.batch_execute("ROLLBACK");
                let left: i64 = client
                    .query_one(lag, &[&name, &shard])
                    .expect("the view can be read")
                    .get(0);
                if left == 0 {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(_) => (),
            Err(error) => eprintln!("draining {name}: {error}"),
        }
    }
    panic!("{name} is not drained after five minutes");
}
