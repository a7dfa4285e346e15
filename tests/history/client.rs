//! A client that appends: transactions of every kind, each written down with what the server answered.

use std::time::Duration;

use postgres::Client;
use postgres::error::Error;

use crate::asking;
use crate::making::Maker;
use crate::random::Random;
use crate::record::{Answer, Asked, End, Entry, Log};
use crate::server::{Risk, Server, broken, state};
use crate::world;

/// One connection's work. A new one is made when the connection breaks.
pub struct Writer<'a> {
    server: &'a Server,
    log: &'a Log,
    random: Random,
    make: Maker,
    client: Client,
    /// An append of events with ids whose answer was lost: it is sent again.
    lost: Option<Asked>,
}

/// Why a step ended a transaction.
pub enum Failure {
    /// The server refused: the transaction is aborted.
    Aborted,
    /// The connection is gone.
    Lost,
}

/// How a transaction's session is set up.
struct Mood {
    isolation: &'static str,
    synchronous: bool,
    /// Milliseconds until the server ends the session where it stays idle in a transaction, if that is to happen.
    idle: Option<usize>,
    statement: usize,
    lock: usize,
}

impl<'a> Writer<'a> {
    pub fn new(server: &'a Server, log: &'a Log, n: u64) -> Option<Self> {
        let client = server.connect()?;
        Some(Self {
            server,
            log,
            random: Random::new(n),
            make: Maker::new(Random::new(n + 1_000_000)),
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
        // What may be lost in a crash, and what ends the wait for a standby, are not for the time of a promotion.
        let risk = Risk::take(&self.server.folder);
        let mood = self.mood(risk.is_some());
        let settings = format!(
            "SET default_transaction_isolation = '{}'; SET synchronous_commit = {}; SET statement_timeout = {}; \
             SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {}; SET en57.max_key_locks = {}",
            mood.isolation,
            if mood.synchronous { "on" } else { "off" },
            mood.statement,
            mood.lock,
            mood.idle.unwrap_or(20_000),
            // With few, the root's lock stands for keys now and then.
            if self.random.chance(20) { 4 } else { 10_000 },
        );
        if self.client.batch_execute(&settings).is_err() {
            return;
        }
        self.log.note(Entry::Begin {
            tx,
            isolation: mood.isolation.into(),
            synchronous: mood.synchronous,
        });
        if mood.idle.is_none() && (self.lost.is_some() || self.random.chance(50)) {
            self.log.note(Entry::Commit { tx });
            let ended = match self.append(tx, 0) {
                Ok(()) => Some(End::Committed),
                Err(Failure::Aborted) => Some(End::RolledBack),
                Err(Failure::Lost) => None,
            };
            self.end(tx, ended);
        } else {
            self.several(tx, mood.idle);
        }
    }

    fn mood(&mut self, risky: bool) -> Mood {
        let random = &mut self.random;
        let limit = |random: &mut Random, strikes: bool| match random.below(10) {
            0 if strikes => random.between(1, 60),
            _ => 20_000,
        };
        Mood {
            isolation: random.pick::<&str>(&[
                "read committed",
                "read committed",
                "repeatable read",
                "serializable",
            ]),
            synchronous: !risky || random.chance(60),
            idle: random.chance(2).then(|| random.between(20, 300)),
            statement: if risky { limit(random, true) } else { 0 },
            lock: limit(random, true),
        }
    }

    /// A transaction of several statements.
    fn several(&mut self, tx: u64, idle: Option<usize>) {
        let mut step = 0;
        match self.steps(tx, &mut step, idle) {
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

    fn steps(&mut self, tx: u64, step: &mut u32, idle: Option<usize>) -> Result<(), Failure> {
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
                4 if self.random.chance(60) => {
                    let asked = self.make.lock();
                    self.call(tx, *step, asked)?;
                    *step += 1;
                }
                5 if self.random.chance(30) => {
                    let asked = self.make.import();
                    // It is alone in its partition, and its times must not become old while it waits for that.
                    self.execute("SET LOCAL lock_timeout = 3000")?;
                    self.call(tx, *step, asked)?;
                    *step += 1;
                }
                _ => {
                    self.append(tx, *step)?;
                    *step += 1;
                }
            }
        }
        if let Some(limit) = idle {
            // It has appended and stays idle: for so long that the server ends it, as a rule.
            let pause = limit as u64 + 20;
            std::thread::sleep(Duration::from_millis(pause));
            self.execute("SELECT 1")?;
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
        let asked = self.make.in_vain();
        let document = asking::documents(&asked.events);
        let partition = asked.partition.clone();
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
        let asked = match self.lost.take() {
            Some(lost) => lost,
            None => self.make.any(),
        };
        self.call(tx, step, asked)
    }

    fn call(&mut self, tx: u64, step: u32, mut asked: Asked) -> Result<(), Failure> {
        self.inform(&mut asked)?;
        self.log.note(Entry::Ask {
            tx,
            step,
            asked: asked.clone(),
        });
        match asking::ask(&mut self.client, &asked) {
            Ok(answer) => {
                if matches!(answer, Answer::Appended { .. }) {
                    self.make.remember(&asked);
                }
                self.log.note(Entry::Answer { tx, step, answer });
                Ok(())
            }
            Err(error) => {
                let failure = self.failure(&error);
                if matches!(failure, Failure::Aborted) {
                    let answer = asking::refusal(&error);
                    self.log.note(Entry::Answer { tx, step, answer });
                } else if asked.can_be_repeated() {
                    self.lost = Some(asked);
                }
                Err(failure)
            }
        }
    }

    /// Conditions and versions as they are read just now; mostly the newest, sometimes older ones.
    fn inform(&mut self, asked: &mut Asked) -> Result<(), Failure> {
        let partition = asked.partition.clone();
        let condition = asked.fail_if.iter_mut().flatten();
        for criterion in condition.filter(|c| c.after < 0) {
            let written = world::written(&vec![crate::record::Criterion {
                after: 0,
                ..criterion.clone()
            }]);
            let sql = "SELECT \"position\" FROM en57_context($1::text::en57_query, $2)";
            let row = self.client.query_one(sql, &[&written, &partition]);
            let head: i64 = row.map(|r| r.get(0)).map_err(|e| self.failure(&e))?;
            let back = match self.random.below(7) {
                0 => self.random.below(200) as i64,
                _ => 0,
            };
            criterion.after = (head - back).max(0);
        }
        let mut version = |stream: &str| -> Result<i64, Error> {
            let sql = "SELECT coalesce((en57_stream($1, $2)).version, 0)";
            Ok(self.client.query_one(sql, &[&stream, &partition])?.get(0))
        };
        let mut informed = || -> Result<(), Error> {
            if let (Some(stream), Some(asking::NEWEST)) = (&asked.stream, asked.expected) {
                asked.expected = Some(version(stream)?);
            }
            for event in &mut asked.events {
                if let (Some(stream), Some(asking::NEWEST)) = (&event.stream, event.expected) {
                    event.expected = Some(version(stream)?);
                }
            }
            Ok(())
        };
        informed().map_err(|e| self.failure(&e))?;
        if asked.import {
            self.inform_import(asked)?;
        }
        Ok(())
    }

    /// Versions and positions that an import gives its events: mostly the next ones, sometimes others.
    fn inform_import(&mut self, asked: &mut Asked) -> Result<(), Failure> {
        let first = &asked.events[0];
        if let (Some(stream), Some(asking::NEWEST)) = (&first.stream, first.version) {
            let sql = "SELECT coalesce((en57_stream($1, $2)).version, 0)";
            let row = self.client.query_one(sql, &[stream, &asked.partition]);
            let version: i64 = row.map(|r| r.get(0)).map_err(|e| self.failure(&e))?;
            let wrong = i64::from(self.random.chance(15));
            for (event, n) in asked.events.iter_mut().zip(1..) {
                event.version = Some(version + wrong + n);
            }
        }
        if asked.events[0].position == Some(asking::NEWEST) {
            let row = self.client.query_one("SELECT en57_head(NULL, '*')", &[]);
            let head: i64 = row.map(|r| r.get(0)).map_err(|e| self.failure(&e))?;
            let mut position = head + *self.random.pick(&[0, 20, 200, 2_000]);
            for event in &mut asked.events {
                position += self.random.between(1, 3) as i64;
                event.position = Some(position);
            }
        }
        Ok(())
    }

    fn execute(&mut self, sql: &str) -> Result<(), Failure> {
        self.client.batch_execute(sql).map_err(|e| self.failure(&e))
    }

    fn failure(&self, error: &Error) -> Failure {
        self.log.note(Entry::Failed {
            state: state(error).to_owned(),
            message: error
                .as_db_error()
                .map_or_else(String::new, |e| e.message().to_owned()),
        });
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
