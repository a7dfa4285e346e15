//! What clients append: every kind of append over few types, tags, streams and accounts.

use crate::asking::NEWEST;
use crate::random::Random;
use crate::record::{Asked, Made, now};
use crate::world::{self, ACCOUNTS, DECIDERS, PARTITIONS, STOCKS, STREAMS, TAGS, TYPES};

/// Makes appends at random.
pub struct Maker {
    random: Random,
    /// An id that this client has used.
    known: Option<(String, String)>,
}

impl Maker {
    pub fn new(random: Random) -> Self {
        Self {
            random,
            known: None,
        }
    }

    /// An append of any kind. Versions and positions that the client must know first are left open.
    pub fn any(&mut self) -> Asked {
        let mut asked = match self.random.below(14) {
            0 | 1 => self.reservation(),
            2..=4 => self.movement(),
            5 | 6 => self.in_a_stream(),
            7 => self.in_several_streams(),
            8..=11 => self.conditional(),
            12 if self.random.chance(50) => self.known_id(),
            _ => self.plain(),
        };
        asked.raise = self.random.chance(5);
        asked
    }

    /// Notes an id that is stored now, as far as the client knows.
    pub fn remember(&mut self, asked: &Asked) {
        if let Some(id) = asked.events.iter().find_map(|e| e.id.clone()) {
            self.known = Some((id, asked.partition.clone()));
        }
    }

    /// Events for an append that will be undone.
    pub fn in_vain(&mut self) -> Asked {
        Asked {
            partition: self.partition(),
            events: self.plain_events(3),
            ..Asked::default()
        }
    }

    /// Events that were recorded elsewhere, a little while ago: the search of en57_read for a time allows for ten seconds of
    /// disorder. Positions and versions that the client must know first are left open.
    pub fn import(&mut self) -> Asked {
        let n = self.random.between(1, 5);
        let mut events = self.plain_events(n);
        let stream = self
            .random
            .chance(50)
            .then(|| (*self.random.pick(&STREAMS)).to_owned());
        let counted = stream.is_some() && self.random.chance(50);
        let placed = self.random.chance(50);
        for event in &mut events {
            event.recorded_at = Some(now() as i64 - self.random.below(3_000_000) as i64);
            event.stream.clone_from(&stream);
            event.version = counted.then_some(NEWEST);
            event.position = placed.then_some(NEWEST);
        }
        Asked {
            partition: self.partition(),
            events,
            import: true,
            ..Asked::default()
        }
    }

    /// A lock of what a condition would ask about.
    pub fn lock(&mut self) -> Asked {
        Asked {
            partition: self.partition(),
            lock: Some(world::condition(&mut self.random)),
            ..Asked::default()
        }
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
            ..Asked::default()
        }
    }

    fn conditional(&mut self) -> Asked {
        let mut asked = match self.random.below(8) {
            0 => self.in_a_stream(),
            _ => self.plain(),
        };
        let mut query = world::condition(&mut self.random);
        query.iter_mut().for_each(|c| c.after = NEWEST);
        asked.fail_if = Some(query);
        asked
    }

    fn in_a_stream(&mut self) -> Asked {
        let mut asked = self.plain();
        asked.stream = Some((*self.random.pick(&STREAMS)).to_owned());
        asked.expected = self.expected();
        asked
    }

    /// Events that name their streams: of some of them a version is expected.
    fn in_several_streams(&mut self) -> Asked {
        let n = self.random.between(2, 6);
        let mut asked = Asked {
            partition: self.partition(),
            events: self.plain_events(n),
            ..Asked::default()
        };
        let mut named = Vec::new();
        for event in &mut asked.events {
            let stream = *self.random.pick(&STREAMS);
            event.stream = Some(stream.to_owned());
            if !named.contains(&stream) {
                event.expected = match self.random.below(5) {
                    0 => None,
                    1 => Some(*self.random.pick(&[-1, 0, 3])),
                    _ => Some(NEWEST),
                };
            }
            named.push(stream);
        }
        asked
    }

    fn expected(&mut self) -> Option<i64> {
        match self.random.below(5) {
            0 => None,
            1 => Some(*self.random.pick(&[-1, 0, 3])),
            _ => Some(NEWEST),
        }
    }

    /// Another event under an id that is known already.
    fn known_id(&mut self) -> Asked {
        let mut asked = self.plain();
        if let Some((id, partition)) = &self.known {
            asked.partition.clone_from(partition);
            let event = &mut asked.events[0];
            event.id = Some(id.clone());
            // Should it be stored after all, it must be known by its mark: it must not be erased.
            event.tags.retain(|t| t != "b:1");
        }
        asked
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
            faults: self.random.chance(50),
            ..Asked::default()
        }
    }

    fn reservation(&mut self) -> Asked {
        let stock = format!("stock:{}", self.random.below(STOCKS));
        let amount = self.random.between(0, 10) as i64 - 5;
        let events = vec![self.event("reserved", vec![stock], amount)];
        let mut asked = Asked {
            partition: PARTITIONS[0].into(),
            events,
            decider: Some((*self.random.pick(&DECIDERS)).into()),
            ..Asked::default()
        };
        asked.events[0].id = None;
        asked
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
            id: with_id.then(|| mark.clone()),
            mark,
            event_type: event_type.into(),
            tags,
            amount,
            ..Made::default()
        }
    }
}
