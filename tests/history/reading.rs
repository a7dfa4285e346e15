//! Clients that read with every option, up to a head which they asked for before: what such a read returns is exactly
//! known afterwards.

use std::time::Duration;

use postgres::{Client, Error, Row};

use crate::random::Random;
use crate::record::{Entry, Log, Query, Read, Seen, now};
use crate::server::Server;
use crate::world::{self, PARTITIONS, STREAMS};

/// One connection that reads.
pub struct Reader<'a> {
    pub server: &'a Server,
    pub log: &'a Log,
    pub random: Random,
}

impl Reader<'_> {
    pub fn run(&mut self) {
        while let Some(mut client) = self.server.connect() {
            while !client.is_closed() && !self.server.is_over() {
                if self.read_one(&mut client).is_err() {
                    let _ = client.batch_execute("ROLLBACK");
                }
                let pause = self.random.below(40) as u64;
                std::thread::sleep(Duration::from_millis(pause));
            }
            if self.server.is_over() {
                return;
            }
        }
    }

    fn read_one(&mut self, client: &mut Client) -> Result<(), Error> {
        let query = if self.random.chance(50) {
            world::condition(&mut self.random)
        } else {
            let queries = world::queries();
            self.random.pick(&queries).clone()
        };
        let places = [PARTITIONS[0], PARTITIONS[1], "*"];
        let partition = (*self.random.pick(&places)).to_owned();
        match self.random.below(10) {
            0 | 1 => self.stream(client),
            2 if self.random.chance(30) => self.count(client, query, partition),
            3 | 4 => self.page(client, query, partition),
            _ => self.read(client, query, partition),
        }
    }

    /// en57_read with some of its options.
    fn read(&mut self, client: &mut Client, query: Query, partition: String) -> Result<(), Error> {
        let head = head(client, &query, &partition)?;
        let back = [0, 0, 50, 1_000];
        let upto = (head - *self.random.pick(&back)).max(0);
        let max_count = self.random.chance(60).then(|| match self.random.below(10) {
            0 => 0,
            _ => self.random.between(1, 60) as i64,
        });
        // The whole only now and then: the checker looks at each event of each read.
        let whole = self.random.chance(if max_count.is_some() { 50 } else { 3 });
        let after = if whole {
            0
        } else {
            (upto - self.random.below(500) as i64).max(0)
        };
        // The time of an event that is there, from which on to read.
        let recorded_from: Option<i64> = if self.random.chance(20) {
            let sql = "SELECT (extract(epoch FROM recorded_at) * 1000000)::bigint FROM en57_read(NULL, upto => $1, max_count => 1, backwards => true)";
            client.query_opt(sql, &[&upto])?.map(|r| r.get(0))
        } else {
            None
        };
        let read = Read {
            query,
            partition,
            after,
            upto,
            max_count,
            backwards: self.random.chance(40),
            recorded_from,
        };
        let twice = self.random.chance(25);
        let asked = now();
        if twice {
            client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")?;
        }
        let got = self.ask(client, &read)?;
        let again = if twice {
            let pause = self.random.below(80) as u64;
            std::thread::sleep(Duration::from_millis(pause));
            let again = self.ask(client, &read)?;
            client.batch_execute("COMMIT")?;
            Some(again)
        } else {
            None
        };
        self.log.note(Entry::Read {
            read,
            got,
            again,
            asked,
        });
        Ok(())
    }

    fn ask(&self, client: &mut Client, read: &Read) -> Result<Seen, Error> {
        const READ: &str = "SELECT \"position\", coalesce(data ->> 'mark', id::text) FROM en57_read($1::text::en57_query, after => $2, upto => $3,
            max_count => $4, backwards => $5, recorded_from => to_timestamp(0) + $6 * interval '1 microsecond', partition => $7)";
        let rows = client.query(
            READ,
            &[
                &world::written(&read.query),
                &read.after,
                &read.upto,
                &read.max_count,
                &read.backwards,
                &read.recorded_from.map(|t| t as f64),
                &read.partition,
            ],
        )?;
        Ok(seen(&rows))
    }

    /// A page of en57_context: it tells itself up to where it is complete.
    fn page(&mut self, client: &mut Client, query: Query, partition: String) -> Result<(), Error> {
        const PAGE: &str = "SELECT c.\"position\", e.\"position\", coalesce(e.data ->> 'mark', e.id::text)
            FROM en57_context($1::text::en57_query, $2, $3, $4) c LEFT JOIN unnest(c.events) e ON true";
        let after = self.random.below(2_000) as i64;
        let max_count = self
            .random
            .chance(80)
            .then(|| self.random.between(1, 60) as i64);
        let asked = now();
        let written = world::written(&query);
        let rows = client.query(PAGE, &[&written, &partition, &after, &max_count])?;
        let upto: i64 = rows[0].get(0);
        let events = rows.iter().filter(|r| r.get::<_, Option<i64>>(1).is_some());
        let got = events.map(|r| (r.get(1), r.get(2))).collect();
        let read = Read {
            query,
            partition,
            after,
            upto: upto.max(after),
            ..Read::default()
        };
        self.log.note(Entry::Read {
            read,
            got,
            again: None,
            asked,
        });
        Ok(())
    }

    /// A stream, some of its versions.
    fn stream(&mut self, client: &mut Client) -> Result<(), Error> {
        let stream = (*self.random.pick(&STREAMS)).to_owned();
        let partition = (*self.random.pick(&PARTITIONS)).to_owned();
        let sql = "SELECT coalesce((en57_stream($1, $2)).version, 0)";
        let known: i64 = client.query_one(sql, &[&stream, &partition])?.get(0);
        if known == 0 {
            return Ok(());
        }
        let upto = self.random.between(1, known as usize) as i64;
        let least = (upto - 100).max(1) as usize;
        let from = self.random.between(least, upto as usize) as i64;
        let backwards = self.random.chance(40);
        let sql = "SELECT stream_version, coalesce(data ->> 'mark', id::text)
            FROM en57_read_stream($1, from_version => $2, to_version => $3, backwards => $4, partition => $5)";
        let rows = client.query(sql, &[&stream, &from, &upto, &backwards, &partition])?;
        self.log.note(Entry::ReadStream {
            stream,
            partition,
            from,
            upto,
            backwards,
            got: seen(&rows),
        });
        Ok(())
    }

    fn count(&self, client: &mut Client, query: Query, partition: String) -> Result<(), Error> {
        let head = head(client, &query, &partition)?;
        let asked = now();
        let sql = "SELECT en57_count($1::text::en57_query, $2), coalesce((en57_last($1::text::en57_query, $2)).\"position\", 0)";
        let row = client.query_one(sql, &[&world::written(&query), &partition])?;
        self.log.note(Entry::Counted {
            query,
            partition,
            head,
            count: row.get(0),
            last: row.get(1),
            asked,
        });
        Ok(())
    }
}

fn head(client: &mut Client, query: &Query, partition: &str) -> Result<i64, Error> {
    let sql = "SELECT en57_head($1::text::en57_query, $2)";
    let row = client.query_one(sql, &[&world::written(query), &partition])?;
    Ok(row.get(0))
}

fn seen(rows: &[Row]) -> Seen {
    rows.iter().map(|r| (r.get(0), r.get(1))).collect()
}
