//! What goes on beside appends: imports, locks, subscriptions that are altered. What the good log has of them, and the
//! faults that are planted there.

use super::Plant;
use super::good::{Good, tag};
use super::{answers, asks, consumed};
use crate::ending::{Altered, Consumed, Stored};
use crate::record::{Answer, Asked, End, Entry};

/// What an import is given for a time.
const RECORDED: i64 = 77;

impl Good {
    /// One keeps its positions and versions; one is refused for its positions, and one for its versions.
    pub fn imports(&mut self) {
        let mut asked = self.asked("second", &[("t0", &[], 1), ("t1", &["a:1"], 2)]);
        asked.import = true;
        self.position += 10;
        let positions = vec![self.position + 1, self.position + 4];
        for (n, event) in asked.events.iter_mut().enumerate() {
            event.stream = Some("s5".into());
            event.version = Some(n as i64 + 1);
            event.position = Some(positions[n]);
            event.recorded_at = Some(RECORDED);
        }
        for (event, position) in asked.events.iter().zip(&positions) {
            self.ending.events.push(Stored {
                position: *position,
                mark: event.mark.clone(),
                event_type: event.event_type.clone(),
                tags: event.tags.clone(),
                stream: event.stream.clone(),
                version: event.version,
                partition: asked.partition.clone(),
                amount: Some(event.amount),
                id: None,
                recorded_at: RECORDED,
            });
        }
        self.position += 4;
        self.begin();
        self.step(0, asked.clone(), Answer::Imported { positions });
        self.end(End::Committed);
        let refused = |message: &str| Answer::Refused {
            state: "22023".into(),
            message: message.into(),
        };
        let mut again = self.asked("second", &[("t0", &[], 1)]);
        (again.import, again.events[0].position) = (true, Some(1));
        self.answered(
            again,
            refused("position 1 is not beyond the last one of the log, 9"),
        );
        let mut again = self.asked("second", &[("t0", &[], 1)]);
        again.import = true;
        again.events[0].stream = Some("s5".into());
        again.events[0].version = Some(9);
        self.answered(
            again,
            refused("event 1: stream_version 9 of stream \"s5\" does not follow 2"),
        );
    }

    /// A transaction locks, reads and appends; another one appends after it.
    pub fn locks(&mut self) {
        self.begin();
        let asked = Asked {
            partition: "default".into(),
            lock: Some(tag("a:1")),
            ..Asked::default()
        };
        let got = self.found(&tag("a:1"), "default");
        let position = self.position;
        let locked = Answer::Locked {
            position,
            after: 0,
            got,
        };
        self.step(0, asked, locked);
        let asked = self.asked("default", &[("t0", &["a:1"], 1)]);
        self.append(1, &asked, true);
        self.end(End::Committed);
        let asked = self.asked("default", &[("t0", &["a:1"], 1)]);
        self.appended(&asked);
    }

    fn step(&mut self, step: u32, asked: Asked, answer: Answer) {
        let tx = self.tx;
        self.note(Entry::Ask { tx, step, asked });
        self.note(Entry::Answer { tx, step, answer });
    }

    /// A subscription of everything becomes one of `t0`, and gets another number of shards.
    pub fn altered(&mut self, name: &str, partition: &str) {
        let all = self.matching(0, partition);
        let middle = all[all.len() / 2].0;
        let version = |n, query, positions| Altered {
            n,
            query,
            positions,
        };
        let versions = vec![
            version(1, 0, vec![0]),
            version(50, 1, vec![middle]),
            version(90, 1, vec![middle, middle]),
        ];
        let later = self.matching(1, partition).into_iter();
        let consumed = all
            .into_iter()
            .filter(|(p, _)| *p <= middle)
            .map(|(position, mark)| Consumed {
                shard: 0,
                position,
                mark,
                shards: 1,
                version: 1,
            })
            .chain(
                later
                    .filter(|(p, _)| *p > middle)
                    .map(|(position, mark)| Consumed {
                        shard: 1,
                        position,
                        mark,
                        shards: 2,
                        version: 90,
                    }),
            )
            .collect();
        self.ending.altered.insert(name.into(), versions);
        self.ending.consumed.insert(name.into(), consumed);
    }
}

pub const PLANTS: &[Plant] = &[
    (
        "an import keeps",
        "an imported event has another time",
        |log| {
            imported(log).recorded_at += 1;
        },
    ),
    (
        "an import keeps",
        "an event comes between two of an import",
        |log| {
            let (mut between, at) = (imported(log).clone(), imported(log).position);
            (between.position, between.mark) = (at + 1, "between".into());
            let i = log.ending.events.iter().position(|e| e.position > at);
            log.ending.events.insert(i.expect("the second"), between);
        },
    ),
    (
        "an import keeps",
        "who imports does not see an event of it",
        |log| {
            answers(log, |a| {
                if let Answer::Imported { positions } = a {
                    positions[0] = 0;
                }
            });
        },
    ),
    (
        "an import comes behind",
        "an import is put below a position that was told",
        |log| {
            answers(log, |a| {
                if let Answer::Imported { positions } = a {
                    positions[0] = 1;
                }
            });
        },
    ),
    (
        "every import that was refused",
        "a position is refused that is beyond all others",
        |log| {
            asks(log, |a| {
                if a.import && a.events[0].position == Some(1) {
                    a.events[0].position = Some(1_000);
                }
            });
        },
    ),
    (
        "every import that was refused",
        "a version is refused that follows",
        |log| {
            asks(log, |a| {
                if a.import && a.events[0].version == Some(9) {
                    a.events[0].version = Some(3);
                }
            });
        },
    ),
    (
        "nobody appends what another transaction has locked",
        "somebody appends under a lock of another one",
        |log| {
            // The last append of the log's locks is answered before the transaction that has the lock commits.
            let locked = log.lines.iter().position(|l| {
                matches!(
                    &l.entry,
                    Entry::Answer {
                        answer: Answer::Locked { .. },
                        ..
                    }
                )
            });
            let locked = locked.expect("a lock");
            let at = log.lines[locked].at;
            for line in &mut log.lines[locked + 1..] {
                if let Entry::Commit { .. } = line.entry {
                    line.at = at + 1_000_000;
                    break;
                }
            }
        },
    ),
    (
        "who has a lock reads all",
        "who has a lock misses an event",
        |log| {
            answers(log, |a| {
                if let Answer::Locked { got, .. } = a {
                    got.remove(0);
                }
            });
        },
    ),
    (
        "an altered subscription hands out",
        "an altered subscription skips an event of the new query",
        |log| {
            consumed(log, "altered", |c| drop(c.pop()));
        },
    ),
    (
        "an altered subscription hands out",
        "an altered subscription skips an event of the old query, under a lease",
        |log| {
            consumed(log, "altered_leased", |c| drop(c.remove(0)));
        },
    ),
    (
        "an altered subscription hands out",
        "an altered subscription hands out an event twice",
        |log| {
            consumed(log, "altered", |c| c.push(c[c.len() - 1].clone()));
        },
    ),
    (
        "what an altered subscription hands out",
        "an event of the old query is handed out by the new one",
        |log| {
            consumed(log, "altered_leased", |c| {
                c.iter_mut().for_each(|one| one.version = 90);
            });
        },
    ),
    (
        "what an altered subscription hands out",
        "two events of a key change places",
        |log| {
            consumed(log, "altered", |c| c.swap(0, 3));
        },
    ),
    (
        "the events of a key are in one shard",
        "an event comes in the shard of another key",
        |log| {
            consumed(log, "altered", |c| {
                (c[0].shards, c[0].shard) = (2, 0);
                (c[3].shards, c[3].shard) = (2, 1);
            });
        },
    ),
];

/// The first event that was imported.
fn imported(log: &mut Good) -> &mut Stored {
    let mut events = log.ending.events.iter_mut();
    events.find(|e| e.recorded_at == RECORDED).expect("one")
}
