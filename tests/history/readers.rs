//! Clients that read: followers, which store where they are, and sessions that ask for heads.

use std::time::Duration;

use postgres::Client;

use crate::random::Random;
use crate::record::{Entry, Log, now};
use crate::server::Server;
use crate::world;

/// A follower keeps its position over all that happens, as a program does that stores it.
pub struct Follower<'a> {
    pub server: &'a Server,
    pub log: &'a Log,
    pub random: Random,
    pub name: String,
    pub query: usize,
    pub partition: &'static str,
    /// Whether it takes a head first and reads up to there, or takes what it has seen last for its position.
    pub by_head: bool,
}

impl Follower<'_> {
    pub fn run(&mut self) {
        let mut after = 0;
        let query = world::written(&world::queries()[self.query]);
        while let Some(mut client) = self.server.connect() {
            let session = self.log.number();
            while !client.is_closed() && !self.server.is_over() {
                match self.look(&mut client, session, &query, after) {
                    Ok(position) if position > after => after = position,
                    _ => std::thread::sleep(Duration::from_millis(self.random.below(60) as u64)),
                }
            }
            if self.server.is_over() {
                return;
            }
        }
    }

    fn look(
        &mut self,
        client: &mut Client,
        session: u64,
        query: &str,
        after: i64,
    ) -> Result<i64, postgres::Error> {
        const READ: &str = "SELECT \"position\", coalesce(data ->> 'mark', id::text) FROM en57_read($1::text::en57_query, after => $2, upto => $3, max_count => $4, partition => $5)";
        let upto = if self.by_head {
            Some(self.head(client, session, query)?)
        } else {
            None
        };
        let max_count = (!self.by_head).then(|| self.random.between(1, 300) as i64);
        let rows = client.query(READ, &[&query, &after, &upto, &max_count, &self.partition])?;
        let got: Vec<(i64, String)> = rows.iter().map(|r| (r.get(0), r.get(1))).collect();
        let position = match upto {
            Some(upto) => upto,
            None => got.last().map_or(after, |(p, _)| *p),
        };
        if position > after {
            let follower = self.name.clone();
            self.log.note(Entry::Follow {
                follower,
                query: self.query,
                partition: self.partition.into(),
                got,
                upto: position,
            });
        }
        Ok(position)
    }

    fn head(
        &mut self,
        client: &mut Client,
        session: u64,
        query: &str,
    ) -> Result<i64, postgres::Error> {
        let asked = now();
        let row = client.query_one(
            "SELECT en57_head($1::text::en57_query, $2)",
            &[&query, &self.partition],
        )?;
        let position = row.get(0);
        self.log.note(Entry::Head {
            session,
            query: self.query,
            partition: self.partition.into(),
            position,
            asked,
        });
        Ok(position)
    }
}
