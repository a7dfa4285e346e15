//! A client that appends: transactions of every kind, each written down with what the server answered.

use std::time::Duration;

use postgres::Client;
use postgres::error::Error;
use serde_json::{Value, json};

use crate::random::Random;
use crate::record::{Answer, Asked, End, Entry, Log, Made, Query};
use crate::server::{Server, broken, state};
use crate::world::{self, ACCOUNTS, PARTITIONS, STOCKS, STREAMS, TAGS, TYPES};

/// One connection's work. A new one is made when the connection breaks.
pub struct Writer<'a> {
    server: &'a Server,
    log: &'a Log,
    random: Random,
    client: Client,
    /// An append of events with ids whose answer was lost: it is sent again.
    lost: Option<Asked>,
}

/// Why a step ended a transaction.
enum Failure {
    /// The server refused: the transaction is aborted.
    Aborted,
    /// The connection is gone.
    Lost,
}

impl<'a> Writer<'a> {
    pub fn new(server: &'a Server, log: &'a Log, random: Random) -> Option<Self> {
        let client = server.connect()?;
        Some(Self {
            server,
            log,
            random,
            client,
            lost: None,
        })
    }

    /// Runs transactions until the time is over.
    pub fn run(&mut self) {
        while !self.server.is_over() {
            if self.client.is_closed() {
                match self.server.connect() {
                    Some(client) => self.client = client,
                    None => return,
                }
            }
            self.transaction();
            if self.random.chance(10) {
                let pause = self.random.below(30) as u64;
                std::thread::sleep(Duration::from_millis(pause));
            }
        }
    }

    fn transaction(&mut self) {
        let tx = self.log.number();
        let isolation = *self.random.pick(&[
            "read committed",
            "read committed",
            "repeatable read",
            "serializable",
        ]);
        let synchronous = self.random.chance(60);
        let settings = self.settings(isolation, synchronous);
        if self.client.batch_execute(&settings).is_err() {
            return;
        }
        self.log.note(Entry::Begin {
            tx,
            isolation: isolation.into(),
            synchronous,
        });
        if self.lost.is_some() || self.random.chance(50) {
            self.log.note(Entry::Commit { tx });
            let ended = match self.append(tx, 0) {
                Ok(()) => Some(End::Committed),
                Err(Failure::Aborted) => Some(End::RolledBack),
                Err(Failure::Lost) => None,
            };
            self.end(tx, ended);
        } else {
            self.several(tx);
        }
    }

    /// What the session is set to before a transaction.
    fn settings(&mut self, isolation: &str, synchronous: bool) -> String {
        let timeout = |random: &mut Random| match random.below(25) {
            0 => random.between(1, 60),
            _ => 20_000,
        };
        format!(
            "SET default_transaction_isolation = '{isolation}'; SET synchronous_commit = {}; \
             SET statement_timeout = {}; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = 20000",
            if synchronous { "on" } else { "off" },
            timeout(&mut self.random),
            timeout(&mut self.random)
        )
    }

    /// A transaction of several statements.
    fn several(&mut self, tx: u64) {
        let mut step = 0;
        match self.steps(tx, &mut step) {
            Ok(()) if self.random.chance(85) => {
                self.log.note(Entry::Commit { tx });
                let ended = match self.client.batch_execute("COMMIT") {
                    Ok(()) => Some(End::Committed),
                    // A serialization failure at the end is an answer; a connection that breaks there is none.
                    Err(error) if !broken(&error) && !self.client.is_closed() => {
                        Some(End::RolledBack)
                    }
                    Err(_) => None,
                };
                self.end(tx, ended);
            }
            Ok(()) | Err(Failure::Aborted) => {
                let _ = self.client.batch_execute("ROLLBACK");
                self.end(tx, Some(End::RolledBack));
            }
            Err(Failure::Lost) => self.end(tx, Some(End::RolledBack)),
        }
    }

    fn steps(&mut self, tx: u64, step: &mut u32) -> Result<(), Failure> {
        self.execute("BEGIN")?;
        let n = match self.random.below(10) {
            0 => self.random.between(8, 30),
            _ => self.random.between(1, 4),
        };
        for _ in 0..n {
            match self.random.below(12) {
                0 => self.savepoint(tx, step)?,
                1 => self.in_vain(tx, step)?,
                2 => {
                    let pause = self.random.below(60) as u64;
                    std::thread::sleep(Duration::from_millis(pause));
                }
                3 => self.execute(
                    "SELECT count(*) FROM en57_read(max_count => 20, backwards => true)",
                )?,
                _ => {
                    self.append(tx, *step)?;
                    *step += 1;
                }
            }
        }
        Ok(())
    }

    /// Steps that a savepoint may undo.
    fn savepoint(&mut self, tx: u64, step: &mut u32) -> Result<(), Failure> {
        self.execute("SAVEPOINT inner")?;
        let from = *step;
        let mut ended = Ok(());
        for _ in 0..self.random.between(1, 3) {
            ended = self.append(tx, *step);
            *step += 1;
            if ended.is_err() {
                break;
            }
        }
        match ended {
            Err(Failure::Lost) => Err(Failure::Lost),
            Ok(()) if self.random.chance(50) => self.execute("RELEASE inner"),
            _ => {
                self.execute("ROLLBACK TO inner")?;
                self.log.note(Entry::Undo { tx, from });
                Ok(())
            }
        }
    }

    /// An append in a function that catches an exception behind it.
    fn in_vain(&mut self, tx: u64, step: &mut u32) -> Result<(), Failure> {
        let partition = self.partition();
        let events = self.plain_events(3);
        let asked = Asked {
            partition: partition.clone(),
            events,
            stream: None,
            expected: None,
            fail_if: None,
            after: 0,
            decider: false,
        };
        let document = documents(&asked.events);
        self.log.note(Entry::Ask {
            tx,
            step: *step,
            asked,
        });
        let done = self
            .client
            .execute("SELECT append_in_vain($1, $2)", &[&document, &partition]);
        self.log.note(Entry::Undo { tx, from: *step });
        *step += 1;
        done.map(drop).map_err(|e| self.failure(&e))
    }

    /// One append, of whatever kind.
    fn append(&mut self, tx: u64, step: u32) -> Result<(), Failure> {
        let asked = match self.random.below(10) {
            _ if self.lost.is_some() => self.lost.take().unwrap_or_else(|| self.plain()),
            0 => self.reservation(),
            1 | 2 => self.movement(),
            3 | 4 => self.in_a_stream()?,
            5..=7 => self.conditional()?,
            _ => self.plain(),
        };
        self.log.note(Entry::Ask {
            tx,
            step,
            asked: asked.clone(),
        });
        match self.ask(&asked) {
            Ok(answer) => {
                self.log.note(Entry::Answer { tx, step, answer });
                Ok(())
            }
            Err(error) => {
                let failure = self.failure(&error);
                if matches!(failure, Failure::Aborted) {
                    let answer = Answer::Refused {
                        state: state(&error).to_owned(),
                    };
                    self.log.note(Entry::Answer { tx, step, answer });
                } else if asked.events.iter().all(|e| e.with_id) {
                    self.lost = Some(asked);
                }
                Err(failure)
            }
        }
    }

    fn ask(&mut self, asked: &Asked) -> Result<Answer, Error> {
        const APPEND: &str = "SELECT outcome::text, first_position, \"position\", stream_version, conflicts
            FROM en57_append($1, fail_if => $2::text::en57_query, stream => $3, expected_version => $4, partition => $5)";
        const DECIDE: &str =
            "SELECT outcome::text, first_position, \"position\", stream_version, conflicts
            FROM en57_decide('reserve', $1, partition => $2)";
        let row = if asked.decider {
            let event = &asked.events[0];
            let stock = event.tags[0].trim_start_matches("stock:");
            let command = json!({"stock": stock, "mark": event.mark, "amount": event.amount});
            self.client
                .query_one(DECIDE, &[&command, &asked.partition])?
        } else {
            let fail_if = asked
                .fail_if
                .as_ref()
                .map(|q| world::written(q, Some(asked.after)));
            let document = documents(&asked.events);
            self.client.query_one(
                APPEND,
                &[
                    &document,
                    &fail_if,
                    &asked.stream,
                    &asked.expected,
                    &asked.partition,
                ],
            )?
        };
        let outcome: String = row.get(0);
        Ok(match outcome.as_str() {
            "appended" => Answer::Appended {
                first: row.get(1),
                last: row.get(2),
            },
            "repeated" => Answer::Repeated {
                first: row.get(1),
                last: row.get(2),
            },
            "nothing" => Answer::Nothing,
            "conflict" => {
                let conflicts: Option<Value> = row.get(4);
                let list = conflicts.as_ref().and_then(Value::as_array);
                let positions = list.map_or_else(Vec::new, |l| {
                    l.iter().filter_map(|e| e["position"].as_i64()).collect()
                });
                Answer::Conflict {
                    positions,
                    version: row.get(3),
                }
            }
            other => panic!("the outcome is {other}"),
        })
    }

    fn plain(&mut self) -> Asked {
        let n = if self.random.chance(80) {
            1
        } else {
            self.random.between(2, 6)
        };
        Asked {
            partition: self.partition(),
            events: self.plain_events(n),
            stream: None,
            expected: None,
            fail_if: None,
            after: 0,
            decider: false,
        }
    }

    fn conditional(&mut self) -> Result<Asked, Failure> {
        let mut asked = self.plain();
        let query = world::condition(&mut self.random);
        asked.after = self.known(&query, &asked.partition)?;
        asked.fail_if = Some(query);
        Ok(asked)
    }

    /// A position to condition an append on: mostly what a read has told, sometimes an older one.
    fn known(&mut self, query: &Query, partition: &str) -> Result<i64, Failure> {
        let written = world::written(query, None);
        let sql = "SELECT \"position\" FROM en57_context($1::text::en57_query, $2)";
        let row = self.client.query_one(sql, &[&written, &partition]);
        let head: i64 = row.map(|r| r.get(0)).map_err(|e| self.failure(&e))?;
        let back = if self.random.chance(15) {
            self.random.below(200) as i64
        } else {
            0
        };
        Ok((head - back).max(0))
    }

    fn in_a_stream(&mut self) -> Result<Asked, Failure> {
        let mut asked = self.plain();
        let stream = *self.random.pick(&STREAMS);
        asked.stream = Some(stream.to_owned());
        asked.expected = match self.random.below(5) {
            0 => None,
            1 => Some(*self.random.pick(&[-1, 0, 3])),
            _ => {
                let sql = "SELECT coalesce((en57_stream($1, $2)).version, 0)";
                let row = self.client.query_one(sql, &[&stream, &asked.partition]);
                Some(row.map(|r| r.get(0)).map_err(|e| self.failure(&e))?)
            }
        };
        Ok(asked)
    }

    fn movement(&mut self) -> Asked {
        let n = self.random.between(1, 3);
        let events = (0..n)
            .map(|_| {
                let account = format!("account:{}", self.random.below(ACCOUNTS));
                let amount = self.random.between(0, 120) as i64 - 60;
                self.event("moved", vec![account], amount)
            })
            .collect();
        Asked {
            partition: PARTITIONS[0].into(),
            events,
            stream: None,
            expected: None,
            fail_if: None,
            after: 0,
            decider: false,
        }
    }

    fn reservation(&mut self) -> Asked {
        let stock = format!("stock:{}", self.random.below(STOCKS));
        let amount = self.random.between(0, 10) as i64 - 5;
        let events = vec![self.event("reserved", vec![stock], amount)];
        Asked {
            partition: PARTITIONS[0].into(),
            events,
            stream: None,
            expected: None,
            fail_if: None,
            after: 0,
            decider: true,
        }
    }

    fn partition(&mut self) -> String {
        let temporary = self.random.below(3);
        match self.random.below(20) {
            0 => format!("passing{temporary}"),
            1..=5 => PARTITIONS[1].into(),
            _ => PARTITIONS[0].into(),
        }
    }

    fn plain_events(&mut self, n: usize) -> Vec<Made> {
        (0..n)
            .map(|_| {
                let event_type = *self.random.pick(&TYPES);
                let mut tags: Vec<String> = (0..self.random.below(3))
                    .map(|_| (*self.random.pick(&TAGS)).to_owned())
                    .collect();
                if self.random.chance(1) {
                    tags.push("rare:1".into());
                }
                // Keys that nobody has seen before: a transaction may come to any number of them.
                if self.random.chance(40) {
                    tags.push(format!("new:{:x}", self.random.next()));
                }
                tags.sort();
                tags.dedup();
                let amount = self.random.below(100) as i64;
                self.event(event_type, tags, amount)
            })
            .collect()
    }

    fn event(&mut self, event_type: &str, tags: Vec<String>, amount: i64) -> Made {
        let (a, b) = (self.random.next(), self.random.next());
        let mark = format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            a >> 32,
            a >> 16 & 0xffff,
            a & 0xfff,
            b >> 48 & 0xfff,
            b & 0xffff_ffff_ffff
        );
        // What is erased loses its data, and is known by its id alone.
        let with_id = tags.iter().any(|t| t == "b:1") || self.random.chance(30);
        Made {
            mark,
            event_type: event_type.into(),
            tags,
            amount,
            with_id,
        }
    }

    fn execute(&mut self, sql: &str) -> Result<(), Failure> {
        self.client.batch_execute(sql).map_err(|e| self.failure(&e))
    }

    fn failure(&self, error: &Error) -> Failure {
        if broken(error) || self.client.is_closed() {
            Failure::Lost
        } else {
            Failure::Aborted
        }
    }

    fn end(&self, tx: u64, end: Option<End>) {
        if let Some(end) = end {
            self.log.note(Entry::End { tx, end });
        }
    }
}

fn documents(events: &[Made]) -> Value {
    let one = |e: &Made| {
        let mut event = json!({"type": e.event_type, "tags": e.tags, "data": {"mark": e.mark, "amount": e.amount}});
        if e.with_id {
            event["id"] = json!(e.mark);
        }
        event
    };
    Value::Array(events.iter().map(one).collect())
}
