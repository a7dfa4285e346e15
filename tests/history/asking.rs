//! One call of en57_append, en57_decide, en57_import or en57_lock, and its answer.

use std::collections::HashMap;

use postgres::Client;
use postgres::error::Error;
use serde_json::{Value, json};

use crate::record::{Answer, Asked, Fault, Made, Query};
use crate::server::state;
use crate::world;

/// Stands for a version or a position that the client asks the server for, before it appends.
pub const NEWEST: i64 = -2;

/// Sends a call.
pub fn ask(client: &mut Client, asked: &Asked) -> Result<Answer, Error> {
    const APPEND: &str = "SELECT outcome::text, first_position, \"position\", stream_version, conflicts, faults
        FROM en57_append($1, fail_if => $2::text::en57_query, stream => $3, expected_version => $4, partition => $5,
            on_conflict => $6, on_refusal => $7)";
    const DECIDE: &str =
        "SELECT outcome::text, first_position, \"position\", stream_version, conflicts, faults
        FROM en57_decide($1, $2, partition => $3)";
    if let Some(query) = &asked.lock {
        return lock(client, asked, query);
    }
    if asked.import {
        return import(client, asked);
    }
    let row = if let Some(decider) = &asked.decider {
        let event = &asked.events[0];
        let stock = event.tags[0].trim_start_matches("stock:");
        let command = json!({"stock": stock, "mark": event.mark, "amount": event.amount});
        client.query_one(DECIDE, &[decider, &command, &asked.partition])?
    } else {
        let fail_if = asked.fail_if.as_ref().map(world::written);
        let document = documents(&asked.events);
        let how = |other: bool, this: &'static str| other.then_some(this);
        client.query_one(
            APPEND,
            &[
                &document,
                &fail_if,
                &asked.stream,
                &asked.expected,
                &asked.partition,
                &how(asked.raise, "raise"),
                &how(asked.faults, "return"),
            ],
        )?
    };
    let outcome: String = row.get(0);
    Ok(match outcome.as_str() {
        "appended" => Answer::Appended {
            first: row.get(1),
            last: row.get(2),
            version: row.get(3),
        },
        "repeated" => Answer::Repeated {
            first: row.get(1),
            last: row.get(2),
        },
        "nothing" => Answer::Nothing,
        "conflict" => Answer::Conflict {
            positions: positions(row.get::<_, Option<Value>>(4).as_ref()),
            version: row.get(3),
        },
        "refused" => Answer::Faults(faults(row.get::<_, Option<Value>>(5).as_ref())),
        other => panic!("the outcome is {other}"),
    })
}

/// How far back a client reads when it has a lock.
const BACK: i64 = 200;

/// Locks, and then reads what matches.
fn lock(client: &mut Client, asked: &Asked, query: &Query) -> Result<Answer, Error> {
    const READ: &str = "SELECT \"position\", coalesce(data ->> 'mark', id::text)
        FROM en57_read($1::text::en57_query, after => $2, partition => $3)";
    let written = world::written(query);
    let lock = "SELECT en57_lock($1::text::en57_query, $2)";
    let row = client.query_one(lock, &[&written, &asked.partition])?;
    let position: i64 = row.get(0);
    let after = (position - BACK).max(0);
    let rows = client.query(READ, &[&written, &after, &asked.partition])?;
    Ok(Answer::Locked {
        position,
        after,
        got: rows.iter().map(|r| (r.get(0), r.get(1))).collect(),
    })
}

/// Imports, and then looks where the events are: en57_import does not tell. All other events of its partition are older.
fn import(client: &mut Client, asked: &Asked) -> Result<Answer, Error> {
    const READ: &str =
        "SELECT data ->> 'mark', \"position\" FROM en57_read(NULL, after => $1, partition => $2)
        WHERE data ->> 'mark' = ANY ($3)";
    let head = "SELECT en57_head(NULL, $1)";
    let head: i64 = client.query_one(head, &[&asked.partition])?.get(0);
    let import = "SELECT en57_import($1, $2, keep_positions => $3)";
    let keep = asked.events.iter().any(|e| e.position.is_some());
    let document = documents(&asked.events);
    client.query_one(import, &[&document, &asked.partition, &keep])?;
    let marks: Vec<&str> = asked.events.iter().map(|e| e.mark.as_str()).collect();
    let rows = client.query(READ, &[&head, &asked.partition, &marks])?;
    let found: HashMap<String, i64> = rows.iter().map(|r| (r.get(0), r.get(1))).collect();
    let position = |e: &Made| found.get(&e.mark).copied().unwrap_or(0);
    let positions = asked.events.iter().map(position).collect();
    Ok(Answer::Imported { positions })
}

/// A time in microseconds since 1970 as PostgreSQL reads it.
fn time(microseconds: i64) -> String {
    let days = microseconds.div_euclid(86_400_000_000);
    let rest = microseconds.rem_euclid(86_400_000_000);
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    // A Julian day: PostgreSQL takes it for a date.
    let day = days + 2_440_588;
    format!(
        "J{day} {hours:02}:{minutes:02}:{:02}.{fraction:06} UTC",
        seconds % 60
    )
}

/// What an error answers. What `on_conflict` and `on_refusal` turn into errors says why in its DETAIL.
pub fn refusal(error: &Error) -> Answer {
    let known = error.as_db_error();
    let detail: Option<Value> = known
        .and_then(|e| e.detail())
        .and_then(|d| serde_json::from_str(d).ok());
    match (state(error), detail) {
        ("N5701" | "N5702", Some(detail)) => Answer::Conflict {
            positions: positions(detail.get("conflicts")),
            version: detail["stream_version"].as_i64(),
        },
        ("N5703", Some(detail)) => Answer::Faults(faults(Some(&json!([detail])))),
        (state, _) => Answer::Refused {
            state: state.to_owned(),
            message: known.map_or_else(String::new, |e| e.message().to_owned()),
        },
    }
}

fn positions(conflicts: Option<&Value>) -> Vec<i64> {
    let list = conflicts.and_then(Value::as_array);
    list.map_or_else(Vec::new, |l| {
        l.iter().filter_map(|e| e["position"].as_i64()).collect()
    })
}

fn faults(faults: Option<&Value>) -> Vec<Fault> {
    let list = faults.and_then(Value::as_array);
    let fault = |f: &Value| {
        Some(Fault {
            key: f["key"].as_str()?.into(),
            state: f["state"].as_i64()?,
        })
    };
    list.map_or_else(Vec::new, |l| l.iter().filter_map(fault).collect())
}

/// Events as en57_append takes them.
pub fn documents(events: &[Made]) -> Value {
    let one = |e: &Made| {
        let mut event = json!({"type": e.event_type, "tags": e.tags, "data": {"mark": e.mark, "amount": e.amount}});
        let named = [
            ("id", json!(e.id)),
            ("stream", json!(e.stream)),
            ("expected_version", json!(e.expected)),
            ("recorded_at", json!(e.recorded_at.map(time))),
            ("position", json!(e.position)),
            ("stream_version", json!(e.version)),
        ];
        for (name, value) in named.into_iter().filter(|(_, v)| !v.is_null()) {
            event[name] = value;
        }
        event
    };
    Value::Array(events.iter().map(one).collect())
}
