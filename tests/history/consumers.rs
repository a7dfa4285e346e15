//! Consumers of subscriptions: some handle and acknowledge in one transaction, some hold a lease with a token.

use std::time::Duration;

use postgres::types::ToSql;
use postgres::{Client, Error, Row};

use crate::random::Random;
use crate::server::{Risk, Server};
use crate::world::{SUBSCRIPTIONS, is_altered};

/// One consumer of a shard; several compete for it.
pub struct Consumer<'a> {
    pub server: &'a Server,
    pub random: Random,
    pub subscription: usize,
    pub shard: i32,
}

impl Consumer<'_> {
    pub fn run(&mut self) {
        while let Some(mut client) = self.server.connect() {
            while !client.is_closed() && !self.server.is_over() {
                let (name, _, _, _, leased) = SUBSCRIPTIONS[self.subscription];
                if is_altered(name) && self.random.chance(20) {
                    self.shard = self.random.below(8) as i32;
                }
                let done = if leased {
                    self.with_lease(&mut client)
                } else {
                    self.in_transaction(&mut client)
                };
                match done {
                    Ok(n) if n > 0 => (),
                    _ => {
                        let _ = client.batch_execute("ROLLBACK");
                        std::thread::sleep(Duration::from_millis(self.random.below(60) as u64));
                    }
                }
            }
            if self.server.is_over() {
                return;
            }
        }
    }

    /// Polls, handles and acknowledges in one transaction: exactly once.
    pub fn in_transaction(&mut self, client: &mut Client) -> Result<usize, Error> {
        let name = SUBSCRIPTIONS[self.subscription].0;
        let shards = self.shards(client)?;
        let risk = Risk::take(&self.server.folder);
        client.batch_execute(if risk.is_none() || self.random.chance(50) {
            "BEGIN"
        } else {
            "BEGIN; SET LOCAL synchronous_commit = off"
        })?;
        let max_count = self.random.between(1, 200) as i64;
        let rows = client.query(
            "SELECT \"position\", coalesce(data ->> 'mark', id::text) FROM en57_poll($1, $2, shard => $3, shards => $4)",
            &[&name, &max_count, &self.shard, &shards],
        )?;
        let (positions, marks) = seen(&rows);
        if let Some(last) = positions.last() {
            // The poll keeps out who alters the subscription, until the transaction ends.
            let version = self.version(client)?;
            self.handle(client, [&positions, &marks], (shards, version))?;
            client.execute(
                "SELECT en57_ack($1, $2, $3, $4)",
                &[&name, &last, &self.shard, &shards],
            )?;
        }
        if self.random.chance(90) {
            client.batch_execute("COMMIT")?;
            return Ok(positions.len());
        }
        client.batch_execute("ROLLBACK")?;
        Ok(positions.len())
    }

    /// Takes the lease for a time; each batch is handled in a transaction, and acknowledged in another one.
    pub fn with_lease(&mut self, client: &mut Client) -> Result<usize, Error> {
        let name = SUBSCRIPTIONS[self.subscription].0;
        let shards = self.shards(client)?;
        let lease = format!("{} ms", self.random.between(20, 400));
        // In one transaction: nobody alters the subscription between the two. Who does so later ends the lease.
        client.batch_execute("BEGIN")?;
        let row = client.query_one(
            "SELECT en57_lease($1, $2::text::interval, $3, $4)",
            &[&name, &lease, &self.shard, &shards],
        )?;
        let version = self.version(client)?;
        client.batch_execute("COMMIT")?;
        let Some(token): Option<i64> = row.get(0) else {
            return Ok(0);
        };
        let mut n = 0;
        for _ in 0..self.random.between(1, 8) {
            let max_count = self.random.between(1, 200) as i64;
            let sql = "SELECT \"position\", coalesce(data ->> 'mark', id::text) FROM en57_poll($1, $2, shard => $3, shards => $4, token => $5)";
            let rows = client.query(sql, &[&name, &max_count, &self.shard, &shards, &token])?;
            let (positions, marks) = seen(&rows);
            let Some(last) = positions.last() else {
                break;
            };
            self.handle(client, [&positions, &marks], (shards, version))?;
            if self.random.chance(5) {
                return Ok(n);
            }
            client.execute(
                "SELECT en57_ack($1, $2, $3, $4, $5)",
                &[&name, last, &self.shard, &shards, &token],
            )?;
            n += positions.len();
        }
        Ok(n)
    }

    /// The number of shards, which changes where the subscription is altered; then a shard that there is.
    fn shards(&mut self, client: &mut Client) -> Result<i32, Error> {
        let (name, _, _, shards, _) = SUBSCRIPTIONS[self.subscription];
        if !is_altered(name) {
            return Ok(shards);
        }
        let sql = "SELECT count(*)::integer FROM en57_subscriptions WHERE name = $1";
        let shards: i32 = client.query_one(sql, &[&name])?.get(0);
        self.shard %= shards.max(1);
        Ok(shards)
    }

    /// Which version of a subscription this is: the number under which it was written down that it was altered.
    fn version(&self, client: &mut Client) -> Result<i64, Error> {
        let sql = "SELECT coalesce(max(n), 0) FROM altered WHERE subscription = $1";
        let name = SUBSCRIPTIONS[self.subscription].0;
        Ok(client.query_one(sql, &[&name])?.get(0))
    }

    fn handle(
        &self,
        client: &mut Client,
        [positions, marks]: [&(dyn ToSql + Sync); 2],
        (shards, version): (i32, i64),
    ) -> Result<(), Error> {
        let sql = "INSERT INTO consumed (subscription, shard, shards, version, \"position\", mark)
            SELECT $1, $2, $3, $4, * FROM unnest($5::bigint[], $6::text[])";
        let name = SUBSCRIPTIONS[self.subscription].0;
        client
            .execute(
                sql,
                &[&name, &self.shard, &shards, &version, positions, marks],
            )
            .map(drop)
    }
}

fn seen(rows: &[Row]) -> (Vec<i64>, Vec<String>) {
    let seen = rows
        .iter()
        .map(|r| (r.get::<_, i64>(0), r.get::<_, String>(1)));
    seen.unzip()
}
