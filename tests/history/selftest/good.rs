//! A small log in which nothing is wrong, made in memory: each rule has something to look at.

use std::collections::HashMap;

use serde_json::json;

use crate::ending::{Consumed, Ending, Stored};
use crate::history::History;
use crate::record::{
    Answer, Asked, Criterion, End, Entry, Fault, Line, Made, Query, Read, Restored,
};
use crate::world::{self, SUBSCRIPTIONS};

/// A log while it is made.
#[derive(Default)]
pub struct Good {
    pub lines: Vec<Line>,
    pub ending: Ending,
    pub position: i64,
    pub tx: u64,
    marks: u64,
    versions: HashMap<(String, String), i64>,
}

/// The log.
pub fn good() -> Good {
    let mut good = Good::default();
    good.plain();
    good.refused();
    good.streams();
    good.accounts();
    good.imports();
    good.locks();
    good.ended_otherwise();
    good.looked_at();
    good.reads();
    good.dump();
    good.stands_on_events();
    good
}

/// A query of one tag.
pub fn tag(tag: &str) -> Query {
    vec![Criterion {
        tags: vec![tag.into()],
        ..Criterion::default()
    }]
}

impl Good {
    /// An entry, some time after the one before.
    pub fn note(&mut self, entry: Entry) {
        let at = self.lines.len() as u64 * 10 + 1_000;
        self.lines.push(Line { at, entry });
    }

    fn event(&mut self, event_type: &str, tags: &[&str], amount: i64) -> Made {
        self.marks += 1;
        Made {
            mark: format!("mark {}", self.marks),
            event_type: event_type.into(),
            tags: tags.iter().map(|t| (*t).into()).collect(),
            amount,
            ..Made::default()
        }
    }

    /// A call with these events.
    pub fn asked(&mut self, partition: &str, events: &[(&str, &[&str], i64)]) -> Asked {
        let events = events.iter().map(|(t, tags, n)| self.event(t, tags, *n));
        Asked {
            events: events.collect(),
            partition: partition.into(),
            ..Asked::default()
        }
    }

    /// A call that gets positions; it stores its events if they are to stay.
    pub fn append(&mut self, step: u32, asked: &Asked, stays: bool) {
        let tx = self.tx;
        self.note(Entry::Ask {
            tx,
            step,
            asked: asked.clone(),
        });
        let first = self.position + 1;
        let mut version = None;
        for event in &asked.events {
            self.position += 1;
            if !stays {
                continue;
            }
            let stream = asked.stream_of(event).cloned();
            version = stream.as_ref().map(|s| {
                let key = (asked.partition.clone(), s.clone());
                let count = self.versions.entry(key).or_default();
                *count += 1;
                *count
            });
            self.ending.events.push(Stored {
                position: self.position,
                mark: event.mark.clone(),
                event_type: event.event_type.clone(),
                tags: event.tags.clone(),
                stream,
                version,
                partition: asked.partition.clone(),
                amount: Some(event.amount),
                id: event.id.clone(),
                recorded_at: self.position,
            });
        }
        let answer = Answer::Appended {
            first,
            last: self.position,
            version,
        };
        self.note(Entry::Answer { tx, step, answer });
    }

    /// A transaction.
    pub fn begin(&mut self) {
        self.tx += 1;
        self.note(Entry::Begin {
            tx: self.tx,
            isolation: "read committed".into(),
            synchronous: true,
        });
    }

    /// Its end.
    pub fn end(&mut self, end: End) {
        let tx = self.tx;
        if end == End::Committed {
            self.note(Entry::Commit { tx });
        }
        self.note(Entry::End { tx, end });
    }

    /// A transaction of one append.
    pub fn appended(&mut self, asked: &Asked) {
        self.begin();
        self.append(0, asked, true);
        self.end(End::Committed);
    }

    /// A call that is answered otherwise.
    pub fn answered(&mut self, asked: Asked, answer: Answer) {
        self.begin();
        let tx = self.tx;
        self.note(Entry::Ask { tx, step: 0, asked });
        self.note(Entry::Answer {
            tx,
            step: 0,
            answer,
        });
        self.end(End::RolledBack);
    }

    fn plain(&mut self) {
        for (i, event_type) in ["t0", "t1", "t3", "t2", "t0"].into_iter().enumerate() {
            for partition in ["default", "second"] {
                let tags: [&[&str]; 3] = [&["a:0", "b:0"], &["a:1"], &["b:0", "rare:1"]];
                let mut asked = self.asked(partition, &[(event_type, tags[i % 3], 3)]);
                asked.events[0].id = Some(asked.events[0].mark.clone());
                self.appended(&asked);
            }
        }
        let mut asked = self.asked("default", &[("t0", &["a:0"], 1)]);
        asked.fail_if = Some(tag("a:0"));
        for criterion in asked.fail_if.iter_mut().flatten() {
            criterion.after = self.position;
        }
        self.appended(&asked);
    }

    fn refused(&mut self) {
        let mut asked = self.asked("default", &[("t1", &[], 0)]);
        asked.fail_if = Some(tag("a:0"));
        let first = self
            .ending
            .events
            .iter()
            .find(|e| e.tags.contains(&"a:0".into()));
        let positions = first.map(|e| e.position).into_iter().collect();
        let version = None;
        self.answered(asked, Answer::Conflict { positions, version });
        let mut asked = self.asked("default", &[("t1", &[], 0)]);
        asked.events[0].id = Some("mark 1".into());
        let refused = |state: &str, message: &str| Answer::Refused {
            state: state.into(),
            message: message.into(),
        };
        self.answered(asked, refused("23505", "its id is known already"));
        let asked = self.asked("default", &[("t1", &[], 0)]);
        self.answered(asked, refused("57014", "statement timeout"));
        // The first call once more.
        let Entry::Ask { asked, .. } = self.lines[1].entry.clone() else {
            return;
        };
        self.answered(asked, Answer::Repeated { first: 1, last: 1 });
    }

    fn streams(&mut self) {
        for expected in 0..2 {
            let mut asked = self.asked("second", &[("t2", &[], 2)]);
            (asked.stream, asked.expected) = (Some("s1".into()), Some(expected));
            self.appended(&asked);
        }
        let mut asked = self.asked("second", &[("t2", &[], 2)]);
        (asked.stream, asked.expected) = (Some("s1".into()), Some(0));
        let (positions, version) = (vec![], Some(2));
        self.answered(asked, Answer::Conflict { positions, version });
        let mut asked = self.asked("second", &[("t2", &[], 2), ("t2", &[], 3)]);
        asked.events[0].stream = Some("s2".into());
        asked.events[0].expected = Some(0);
        asked.events[1].stream = Some("s1".into());
        self.appended(&asked);
    }

    fn accounts(&mut self) {
        for amount in [50, -20] {
            let asked = self.asked("default", &[("moved", &["account:1"], amount)]);
            self.appended(&asked);
        }
        let mut asked = self.asked("default", &[("moved", &["account:1"], -40)]);
        asked.faults = true;
        let fault = Fault {
            key: "1".into(),
            state: -10,
        };
        self.answered(asked, Answer::Faults(vec![fault]));
        let mut asked = self.asked("default", &[("reserved", &["stock:1"], 5)]);
        asked.decider = Some("reserve".into());
        self.appended(&asked);
        let mut asked = self.asked("default", &[("reserved", &["stock:1"], -6)]);
        asked.decider = Some("reserve".into());
        self.answered(asked, Answer::Nothing);
    }

    /// Undone, rolled back, and a commit of which nobody knows what became.
    fn ended_otherwise(&mut self) {
        self.begin();
        let asked = self.asked("default", &[("t1", &["a:0"], 0)]);
        self.append(0, &asked, false);
        self.end(End::RolledBack);
        self.begin();
        let asked = self.asked("default", &[("t1", &["a:0"], 0)]);
        self.append(0, &asked, false);
        let (tx, from) = (self.tx, 0);
        self.note(Entry::Undo { tx, from });
        let asked = self.asked("default", &[("t1", &["a:1"], 0), ("t0", &[], 0)]);
        self.append(1, &asked, true);
        self.note(Entry::Commit { tx });
    }

    /// What is there that a query of the world matches.
    pub fn matching(&self, query: usize, partition: &str) -> Vec<(i64, String)> {
        self.found(&world::queries()[query], partition)
    }

    /// What is there that a query matches.
    pub fn found(&self, query: &Query, partition: &str) -> Vec<(i64, String)> {
        let events = self.ending.events.iter().filter(|e| {
            (partition == "*" || e.partition == partition)
                && world::matches(query, &e.event_type, &e.tags)
        });
        events.map(|e| (e.position, e.mark.clone())).collect()
    }

    fn looked_at(&mut self) {
        for query in [0, 2] {
            for partition in ["default", "*"] {
                let all = self.matching(query, partition);
                let (before, after) = all.split_at(all.len() / 2);
                let upto = before.last().map_or(0, |l| l.0);
                for (got, upto) in [(before, upto), (after, self.position)] {
                    self.note(Entry::Follow {
                        follower: format!("query {query} of {partition}"),
                        query,
                        partition: partition.into(),
                        got: got.to_vec(),
                        upto,
                    });
                    let asked = self.lines.len() as u64 * 10 + 999;
                    self.note(Entry::Head {
                        session: 1,
                        query,
                        partition: partition.into(),
                        position: upto,
                        asked,
                    });
                }
            }
        }
    }

    fn reads(&mut self) {
        for backwards in [false, true] {
            let query = tag("a:0");
            let mut got = self.found(&query, "default");
            if backwards {
                got.reverse();
            }
            let read = Read {
                query,
                partition: "default".into(),
                upto: self.position,
                backwards,
                ..Read::default()
            };
            let again = Some(got.clone());
            let asked = 0;
            self.note(Entry::Read {
                read,
                got,
                again,
                asked,
            });
        }
        let events = self.ending.events.iter();
        let s1 = events.filter(|e| e.stream.as_deref() == Some("s1"));
        let got: Vec<(i64, String)> = s1
            .filter_map(|e| Some((e.version?, e.mark.clone())))
            .collect();
        self.note(Entry::ReadStream {
            stream: "s1".into(),
            partition: "second".into(),
            from: 1,
            upto: got.len() as i64,
            backwards: false,
            got,
        });
        let all = self.found(&tag("a:1"), "*");
        self.note(Entry::Counted {
            query: tag("a:1"),
            partition: "*".into(),
            head: self.position,
            count: all.len() as i64,
            last: all.last().map_or(0, |l| l.0),
            asked: 0,
        });
    }

    fn dump(&mut self) {
        let dump = Restored {
            head: self.position,
            events: self.found(&vec![], "*"),
            versions: vec![("second".into(), "s1".into(), vec![1, 2, 3])],
            documents: vec![("1".into(), 2, 30)],
            next: self.position + 100,
            faults: vec![],
        };
        self.note(Entry::Restored { dump });
    }

    fn stands_on_events(&mut self) {
        for (name, query, partition, _, _) in SUBSCRIPTIONS {
            if world::is_altered(name) {
                self.altered(name, partition);
                continue;
            }
            let all = self.matching(query, partition).into_iter();
            let consumed = all.map(|(position, mark)| Consumed {
                shard: 0,
                position,
                mark,
                shards: 1,
                version: 0,
            });
            let consumed = consumed.collect();
            self.ending.consumed.insert(name.into(), consumed);
        }
        self.ending.pages = 100;
        let handled = self.found(&tag("b:0"), "default");
        let handled: Vec<i64> = handled.into_iter().map(|h| h.0).collect();
        for name in ["inline", "async"] {
            self.ending.handled.insert(name.into(), handled.clone());
        }
        let account = [("1".to_owned(), json!({"n": 2, "sum": 30}))];
        for name in ["accounts", "accounts_later", "accounts_beside"] {
            let documents = account.clone().into_iter().collect();
            self.ending.documents.insert(name.into(), documents);
        }
        let streams = [
            ("s1".to_owned(), json!({"n": 3, "sum": 7})),
            ("s2".to_owned(), json!({"n": 1, "sum": 2})),
            ("s5".to_owned(), json!({"n": 2, "sum": 3})),
        ];
        let documents = streams.into_iter().collect();
        self.ending
            .documents
            .insert("streams_later".into(), documents);
    }

    /// What the checker makes of it.
    pub fn history(&self) -> History {
        History::new(&self.lines, self.ending.clone())
    }
}
