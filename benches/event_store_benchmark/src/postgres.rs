//! en57 and the floor, through the client library and the kind of pool that the suite's PostgreSQL adapter uses.

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use base64::prelude::{BASE64_STANDARD, Engine};
use bench_core::adapter::{
    EsbAppendCondition, EsbQuery, EsbQueryItem, EventData, EventStoreAdapter, ReadEvent,
    ReadRequest,
};
use deadpool_postgres::{Manager, Pool, Runtime};
use serde_json::{Map, Value, json};
use std::any::Any;
use std::time::Duration;
use tokio_postgres::NoTls;

/// One pool for all workers of a run, of as many connections as the suite's PostgreSQL adapter opens.
pub fn pool(uri: &str) -> Result<Pool> {
    let connections = std::env::var("ESB_POSTGRES_MAX_CONNECTIONS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(12);
    let manager = Manager::new(uri.parse().context("the connection string")?, NoTls);
    let wait = Some(Duration::from_secs(30));
    Ok(Pool::builder(manager)
        .runtime(Runtime::Tokio1)
        .max_size(connections)
        .wait_timeout(wait)
        .create_timeout(wait)
        .build()?)
}

/// Creates what a store keeps its events in.
pub async fn create(pool: &Pool, script: &str) -> Result<()> {
    Ok(pool.get().await?.batch_execute(script).await?)
}

/// Appends by `en57_append`, reads by `en57_read`.
pub struct En57(pub Pool);

impl En57 {
    pub const SCRIPT: &'static str = "CREATE EXTENSION en57";
}

/// A payload is bytes, and `data` is JSON: it is stored as a string in base64.
fn events_of(events: &[EventData]) -> Value {
    events
        .iter()
        .map(|event| {
            json!({
                "type": &*event.event_type,
                "tags": event.tags.iter().map(|tag| &**tag).collect::<Vec<_>>(),
                "data": BASE64_STANDARD.encode(&event.payload),
            })
        })
        .collect()
}

fn criterion_of(item: &EsbQueryItem, after: Option<u64>) -> Value {
    let mut criterion = Map::new();
    // An empty list restricts nothing in the suite; en57 wants the key left out.
    if !item.types.is_empty() {
        criterion.insert("types".into(), json!(item.types));
    }
    if !item.tags.is_empty() {
        criterion.insert("tags".into(), json!(item.tags));
    }
    if let Some(after) = after {
        criterion.insert("after".into(), json!(after));
    }
    Value::Object(criterion)
}

/// The text of an `en57_query`. None where nothing can match, so that nothing needs a check.
fn query_of(query: &EsbQuery, after: Option<u64>) -> Option<String> {
    (!query.items.is_empty()).then(|| {
        Value::from_iter(query.items.iter().map(|item| criterion_of(item, after))).to_string()
    })
}

#[async_trait]
impl EventStoreAdapter for En57 {
    fn as_any(&self) -> &dyn Any {
        self
    }

    async fn append_dcb(
        &self,
        events: &[EventData],
        condition: Option<EsbAppendCondition>,
    ) -> Result<Option<u64>> {
        let fail_if = condition.and_then(|c| query_of(&c.fail_if_events_match, c.after));
        let client = self.0.get().await?;
        let append = client
            .prepare_cached(
                "SELECT position, outcome::text FROM en57_append($1, $2::text::en57_query)",
            )
            .await?;
        let row = client
            .query_one(&append, &[&events_of(events), &fail_if])
            .await?;
        let outcome: &str = row.get(1);
        ensure!(outcome == "appended", "the append was not done: {outcome}");
        Ok(row.get::<_, Option<i64>>(0).map(|position| position as u64))
    }

    // As the suite's other adapters without streams do it: no event with one of the tags after the known position.
    async fn append_to_stream(
        &self,
        events: &[EventData],
        _stream_position: Option<usize>,
        global_position: Option<u64>,
    ) -> Result<Option<u64>> {
        let condition = global_position.map(|after| {
            let mut tags: Vec<&str> = events
                .iter()
                .flat_map(|event| &*event.tags)
                .map(|tag| &**tag)
                .collect();
            tags.sort_unstable();
            tags.dedup();
            let items = tags.into_iter().map(|tag| EsbQueryItem::new().tags([tag]));
            EsbAppendCondition::new(EsbQuery::with_items(items)).after(Some(after))
        });
        self.append_dcb(events, condition).await
    }

    async fn read_stream(&self, req: ReadRequest) -> Result<Vec<ReadEvent>> {
        let item = EsbQueryItem::new().tags([req.tag]).types(req.event_type);
        let query = criterion_of(&item, None).to_string();
        let (after, limit) = (
            req.from_offset.map(|n| n as i64),
            req.limit.map(|n| n as i64),
        );
        let client = self.0.get().await?;
        let read = client
            .prepare_cached(
                "SELECT position, type, data #>> '{}', (extract(epoch FROM recorded_at) * 1000)::bigint
                   FROM en57_read($1::text::en57_query, after => $2, max_count => $3)",
            )
            .await?;
        let rows = client.query(&read, &[&query, &after, &limit]).await?;
        rows.iter()
            .map(|row| {
                Ok(ReadEvent {
                    offset: row.get::<_, i64>(0) as u64,
                    event_type: row.get::<_, &str>(1).into(),
                    payload: BASE64_STANDARD.decode(row.get::<_, &str>(2))?.into(),
                    timestamp_ms: row.get::<_, i64>(3) as u64,
                })
            })
            .collect()
    }
}

/// The floor: one INSERT into a table without any index but that of the position. It checks no condition.
pub struct Insert(pub Pool);

impl Insert {
    pub const SCRIPT: &'static str = "CREATE TABLE plain (
        position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        type text NOT NULL,
        data bytea NOT NULL,
        tags text[] NOT NULL,
        recorded_at timestamptz NOT NULL DEFAULT now())";
    /// Reads of a tag need an index: its floor is the least that can find one. Not there when writes are measured.
    pub const FOR_READS: &'static str = "CREATE INDEX ON plain ((tags[1]), position)";
}

#[async_trait]
impl EventStoreAdapter for Insert {
    fn as_any(&self) -> &dyn Any {
        self
    }

    async fn append_dcb(
        &self,
        events: &[EventData],
        _condition: Option<EsbAppendCondition>,
    ) -> Result<Option<u64>> {
        self.append_to_stream(events, None, None).await
    }

    async fn append_to_stream(
        &self,
        events: &[EventData],
        _stream_position: Option<usize>,
        _global_position: Option<u64>,
    ) -> Result<Option<u64>> {
        let mut client = self.0.get().await?;
        const INSERT: &str =
            "INSERT INTO plain (type, data, tags) VALUES ($1, $2, $3) RETURNING position";
        let insert = client.prepare_cached(INSERT).await?;
        if let [event] = events {
            return Ok(Some(insert_one(&client, &insert, event).await?));
        }
        let transaction = client.transaction().await?;
        let mut last = None;
        for event in events {
            last = Some(insert_one(&transaction, &insert, event).await?);
        }
        transaction.commit().await?;
        Ok(last)
    }

    async fn read_stream(&self, req: ReadRequest) -> Result<Vec<ReadEvent>> {
        let (after, limit) = (
            req.from_offset.unwrap_or(0) as i64,
            req.limit.map(|n| n as i64),
        );
        let client = self.0.get().await?;
        let read = client
            .prepare_cached(
                "SELECT position, type, data, (extract(epoch FROM recorded_at) * 1000)::bigint FROM plain
                  WHERE tags[1] = $1 AND ($2::text IS NULL OR type = $2) AND position > $3 ORDER BY position LIMIT $4",
            )
            .await?;
        let rows = client
            .query(&read, &[&req.tag, &req.event_type, &after, &limit])
            .await?;
        Ok(rows
            .iter()
            .map(|row| ReadEvent {
                offset: row.get::<_, i64>(0) as u64,
                event_type: row.get::<_, &str>(1).into(),
                payload: row.get::<_, &[u8]>(2).into(),
                timestamp_ms: row.get::<_, i64>(3) as u64,
            })
            .collect())
    }
}

async fn insert_one(
    client: &impl deadpool_postgres::GenericClient,
    insert: &tokio_postgres::Statement,
    event: &EventData,
) -> Result<u64> {
    let tags: Vec<&str> = event.tags.iter().map(|tag| &**tag).collect();
    let row = client
        .query_one(insert, &[&&*event.event_type, &&*event.payload, &tags])
        .await?;
    Ok(row.get::<_, i64>(0) as u64)
}
