//! Random events, queries and reads, and events as the domain's own matching sees them: what `matching_oracle` compares
//! the engine with.

use serde_json::{Value, json};

use super::random::Random;
use crate::dcb::query::Matchable;

#[derive(Clone, Debug)]
pub struct Event {
    pub position: i64,
    pub event_type: String,
    pub tags: Vec<String>,
    pub correlation_id: Option<String>,
    pub causation_id: Option<String>,
    pub stream: Option<String>,
    pub version: i64,
    /// Microseconds since 1970; the bounds of the type stand for infinity.
    pub occurred_at: Option<i64>,
    pub recorded_at: i64,
    pub partition: &'static str,
}

/// Where events are; the first one is meant where none is named.
pub const PARTITIONS: [&str; 3] = ["default", "acme", "A b's \"c\""];

impl Matchable for Event {
    fn position(&self) -> i64 {
        self.position
    }
    fn event_type(&self) -> &str {
        &self.event_type
    }
    fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|t| t == tag)
    }
    fn stream(&self) -> Option<&str> {
        self.stream.as_deref()
    }
    fn correlation_id(&self) -> Option<&str> {
        self.correlation_id.as_deref()
    }
    fn causation_id(&self) -> Option<&str> {
        self.causation_id.as_deref()
    }
}

impl Event {
    pub fn random(random: &mut Random) -> Self {
        let named =
            |random: &mut Random| random.chance(40).then(|| format!("n{}", random.below(4)));
        let tags = (0..random.below(5)).map(|_| tag(random)).collect();
        Self {
            position: 0,
            event_type: event_type(random),
            tags,
            correlation_id: named(random),
            causation_id: named(random),
            stream: None,
            version: 0,
            occurred_at: random.chance(60).then(|| time(random)),
            recorded_at: 0,
            partition: PARTITIONS[0],
        }
    }

    pub fn occurred(&self) -> i64 {
        self.occurred_at.unwrap_or(self.recorded_at)
    }

    pub fn document(&self, random: &mut Random) -> Value {
        let mut document = json!({"type": self.event_type, "tags": self.tags});
        if let Some(at) = self.occurred_at {
            document["occurred_at"] = json!(in_some_zone(at, random));
        }
        for (key, value) in [
            ("correlation_id", &self.correlation_id),
            ("causation_id", &self.causation_id),
        ] {
            match value {
                Some(value) if random.chance(50) => document["meta"][key] = json!(value),
                Some(value) => document[key] = json!(value),
                None => {}
            }
        }
        document
    }
}

// Some names are both a type's, a tag's and an id's: their keys must not be confused.
fn event_type(random: &mut Random) -> String {
    format!("n{}", random.below(5))
}

fn tag(random: &mut Random) -> String {
    // A few tags are on many events, many on few.
    match random.below(3) {
        0 => format!("n{}", random.below(3)),
        1 => format!("tag {}", random.below(12)),
        _ => format!("tag é{}", random.below(60)),
    }
}

const MINUTE: i64 = 60_000_000;
/// The second of January 2020.
const DAY: i64 = 1_577_923_200_000_000;

/// A time of that day, to the minute, or an end of all time.
fn time(random: &mut Random) -> i64 {
    match random.below(20) {
        0 => i64::MAX,
        1 => i64::MIN,
        _ => DAY + random.below(60) as i64 * MINUTE,
    }
}

/// The time as a text in one of many zones.
fn in_some_zone(at: i64, random: &mut Random) -> String {
    if at == i64::MAX || at == i64::MIN {
        let sign = if at < 0 { "-" } else { "" };
        return format!("{sign}infinity");
    }
    let offset = random.between(0, 56) as i64 * 30 - 14 * 60;
    let minutes = (at - DAY) / MINUTE + offset + 24 * 60;
    let (day, hour, minute) = (1 + minutes / 1440, minutes / 60 % 24, minutes % 60);
    let sign = if offset < 0 { '-' } else { '+' };
    let (hours, rest) = (offset.abs() / 60, offset.abs() % 60);
    format!("2020-01-{day:02} {hour:02}:{minute:02}:00{sign}{hours:02}:{rest:02}")
}

/// A stream's name.
pub fn stream(random: &mut Random) -> String {
    format!("n{}", random.below(5))
}

fn criterion(random: &mut Random, head: i64) -> Value {
    let mut criterion = json!({});
    if random.chance(45) {
        criterion["types"] = (0..random.between(1, 3))
            .map(|_| json!(event_type(random)))
            .collect();
    }
    if random.chance(65) {
        criterion["tags"] = (0..random.between(1, 3))
            .map(|_| json!(tag(random)))
            .collect();
    }
    if random.chance(30) {
        criterion["any_tags"] = (0..random.between(1, 4))
            .map(|_| json!(tag(random)))
            .collect();
    }
    if random.chance(20) {
        let prefixes = ["n", "n1", "n4", "n9", "n11"];
        criterion["stream_prefix"] = json!(random.pick(&prefixes));
    }
    for key in ["correlation_id", "causation_id"] {
        if random.chance(12) {
            criterion[key] = json!(format!("n{}", random.below(5)));
        }
    }
    if random.chance(12) {
        criterion["stream"] = json!(stream(random));
    }
    if random.chance(25) {
        criterion["after"] = json!(random.below(head as usize + 3));
    }
    criterion
}

/// A query as a client writes it.
pub fn query(random: &mut Random, head: i64) -> Value {
    let n = random.between(1, 4);
    let mut criteria: Vec<Value> = (0..n).map(|_| criterion(random, head)).collect();
    match random.below(3) {
        0 => json!({"items": criteria, "after": random.below(head as usize + 3)}),
        1 if n == 1 => criteria.remove(0),
        _ => json!(criteria),
    }
}

/// A read with its options, as the server gets it.
pub fn request(random: &mut Random, log: &[Event]) -> Value {
    let head = log.last().map_or(0, |e| e.position);
    let mut request =
        json!({"query": query(random, head).to_string(), "backwards": random.chance(50)});
    for (key, chance) in [("after", 30), ("upto", 30)] {
        if random.chance(chance) {
            request[key] = json!(random.below(head as usize + 3));
        }
    }
    if random.chance(40) {
        request["max_count"] = json!(random.below(12));
    }
    if random.chance(25) {
        // At a time of recording, or just beside it.
        let at = match random.below(log.len() + 2) {
            0 => i64::MAX,
            1 => i64::MIN,
            n => log[n - 2].recorded_at + random.between(0, 2) as i64 - 1,
        };
        request["as_of"] = json!(at);
    }
    if random.chance(20) && !log.is_empty() {
        let at = random.pick(log).recorded_at;
        request["recorded_from"] = json!(at + random.between(0, 2) as i64 - 1);
    }
    if random.chance(25) {
        request["occurred_until"] = json!(time(random));
    }
    request["partition"] = match random.below(6) {
        0 | 1 => json!("*"),
        2 => Value::Null,
        _ => json!(random.pick(&PARTITIONS)),
    };
    request
}

/// Whether an event is where the request looks.
pub fn is_there(event: &Event, request: &Value) -> bool {
    match request["partition"].as_str() {
        None => event.partition == PARTITIONS[0],
        Some("*") => true,
        Some(partition) => event.partition == partition,
    }
}
