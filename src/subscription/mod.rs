//! Subscriptions: what of them is no SQL. Which events are settled, and which of them are a shard's.
//! Positions, leases and dead letters are in sql/subscriptions.sql.
//!
//! It stores nothing. It uses `read`, `upcast`, `store` and `dcb`.
//!
#![cfg_attr(doc, doc = include_str!("../../docs/architecture/subscriptions.md"))]

mod wait;

pub use wait::wait;

use crate::dcb::error::Result;
use crate::dcb::query::Query;
use crate::dcb::shard::{Key, Shard};
use crate::read::{Options, Reading, frontier};
use crate::store::lock::subscription;
use crate::store::pg::fmgr;
use crate::store::pg::spi::{self, text};
use crate::store::row::door::Event;
use crate::store::row::event::{Column, Row};
use crate::store::row::srf::{Sink, Source};
use crate::store::session::definitions::as_extension_owner;
use crate::upcast::Sought;

/// The frontier of a query as it stands, without waiting for anything.
///
/// # Errors
/// 42501, 42704.
pub fn settled(query: Option<Query>, partition: Option<&str>) -> Result<i64> {
    let sought = Sought::now(query.unwrap_or_else(Query::everything))?;
    frontier::settled_in_all(&sought, partition)
}

/// The subscriptions of a partition, by name.
///
/// # Errors
/// 55000 where the tables are missing.
pub fn names_of(partition: &str) -> Result<Vec<String>> {
    let sql = "SELECT name FROM en57.subscriptions WHERE partition = $1 ORDER BY name";
    let rows = as_extension_owner(|| spi::run(sql, &[text(partition)]))?;
    let name = |row: &spi::Values| row[0].map_or(Ok(""), fmgr::text).map(str::to_owned);
    rows.iter().map(name).collect()
}

/// The subscriptions of a partition that was emptied: events that were put aside are gone; where positions
/// begin at 1 again, so do they, and leases end.
///
/// # Errors
/// 55000 where the tables are missing.
pub fn begin_anew(partition: &str, restart: bool) -> Result<()> {
    const LETTERS: &str = "DELETE FROM en57.dead_letters AS l USING en57.subscriptions AS s
        WHERE l.subscription = s.id AND s.partition = $1";
    // Of a subscription of all partitions those of the events that are gone.
    const ANY_OF_ALL: &str = "SELECT 1 FROM en57.dead_letters l, en57.subscriptions s
        WHERE l.subscription = s.id AND s.partition = '*' LIMIT 1";
    const LETTERS_OF_ALL: &str = "DELETE FROM en57.dead_letters AS l USING en57.subscriptions AS s
        WHERE l.subscription = s.id AND s.partition = '*'
          AND NOT EXISTS (SELECT FROM en57.events e WHERE e.\"position\" = l.\"position\")";
    const TARGETS: &str = "UPDATE en57.subscriptions SET drain_to = NULL
        WHERE partition = ANY (ARRAY[$1, '*']) AND drain_to IS NOT NULL";
    const SHARDS: &str = "UPDATE en57.subscription_shards AS t
        SET \"position\" = 0, delivered = 0, token = t.token + 1, holder = NULL, lease = NULL, lease_until = NULL,
            failed_position = NULL, attempts = 0, last_error = NULL, updated_at = clock_timestamp()
        FROM en57.subscriptions AS s WHERE t.subscription = s.id AND s.partition = ANY (ARRAY[$1, '*'])";
    let steps: &[&str] = if restart {
        &[LETTERS, TARGETS, SHARDS]
    } else {
        &[LETTERS]
    };
    as_extension_owner(|| {
        if !spi::run(ANY_OF_ALL, &[])?.is_empty() {
            spi::run(LETTERS_OF_ALL, &[])?;
        }
        steps
            .iter()
            .try_for_each(|sql| spi::run(sql, &[text(partition)]).map(|_| ()))
    })
}

/// A reading of one shard.
pub struct ShardReading {
    reading: Reading,
    shard: Shard,
    left: i64,
}

impl ShardReading {
    /// Starts to read what is settled by now, and notes up to where that is.
    ///
    /// # Errors
    /// 42501, 42704.
    pub fn start(
        query: Option<Query>,
        options: Options,
        shard: Shard,
        partition: Option<&str>,
    ) -> Result<Self> {
        let left = options.max_count;
        let options = Options {
            max_count: i64::MAX,
            ..options
        };
        let upto = options.upto;
        let reading = Reading::start_settled(query, options, partition)?;
        reading.demand_all()?;
        subscription::note_complete(upto.min(reading.frontier()));
        Ok(Self {
            reading,
            shard,
            left,
        })
    }
}

impl Source for ShardReading {
    type Item = Event;

    fn at_once(&self) -> usize {
        self.reading.at_once()
    }

    fn fill(&mut self, at_most: usize, sink: &mut Sink<Event>) -> Result<bool> {
        let mut found = 0;
        while found < at_most && self.left > 0 {
            // Never more than are wanted, as what was read is not given back.
            let wanted = (at_most - found).min(usize::try_from(self.left).unwrap_or(usize::MAX));
            let more = self.reading.fill(wanted, &mut |row| {
                if self.shard.is_all() || self.shard.has(key(row)?) {
                    sink(row)?;
                    subscription::note_read(row.position());
                    found += 1;
                    self.left -= 1;
                }
                Ok(())
            })?;
            if !more {
                return Ok(false);
            }
        }
        Ok(self.left > 0)
    }
}

/// The key by which an event is in its shard.
///
/// # Errors
/// Those of damaged rows.
pub fn key(row: &Row) -> Result<Key<'_>> {
    let stream = row.get(Column::Stream).map(fmgr::text).transpose()?;
    let first_tag = row.tags()?.iter().next();
    // A shard keeps its events, whatever they are called later.
    let event_type = row.stored_type()?;
    Ok(Key::of(
        stream.map(str::as_bytes),
        first_tag,
        event_type.as_bytes(),
    ))
}
