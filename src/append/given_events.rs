//! Given events: a caller gives them in place of a log. They have the form that imports take, and that reads return.

use std::collections::HashMap;

use crate::dcb::error::{Result, invalid};
use crate::store::Datum;
use crate::store::pg::clock;
use crate::store::pg::json::Jsonb;
use crate::store::row::door::Unread;
use crate::store::row::event::{Column, NewEvent};

use super::import::{self, Recorded};
use super::{fit, parse};

/// An event as if it were stored.
pub struct GivenEvent<'a> {
    /// What was appended.
    pub event: NewEvent<'a>,
    /// Its position.
    pub position: i64,
    recorded_at_us: i64,
    stream_version: Option<i64>,
}

/// Reads an event or an array of them, in the order of their positions. An event without a position, or without a
/// version in its stream, gets the next one.
///
/// # Errors
/// As [`import::from_json`]; 22023 if positions or versions do not grow.
pub fn events(document: Jsonb<'_>) -> Result<Vec<GivenEvent<'_>>> {
    let recorded = if document.is_object() {
        vec![import::recorded(document, 0)?]
    } else if document.is_array() {
        import::from_json(document)?
    } else {
        return Err(invalid(
            "given must be a JSON object or an array of objects",
        ));
    };
    parse::refuse_repeated_ids(recorded.iter().map(|r| &r.event))?;
    fit::demand_versions(recorded.iter().map(|r| &r.event))?;
    let now_us = clock::now_us();
    let (mut last, mut versions) = (0, HashMap::new());
    let mut events = Vec::with_capacity(recorded.len());
    for (i, recorded) in recorded.into_iter().enumerate() {
        let Recorded {
            event,
            position,
            recorded_at_us,
            stream_version,
        } = recorded;
        last = next(position, last, i, "position")?;
        let stream_version = match event.stream {
            Some(name) => {
                let head = versions.entry(name).or_insert(0);
                *head = next(stream_version, *head, i, "stream_version")?;
                Some(*head)
            }
            None => None,
        };
        events.push(GivenEvent {
            event,
            position: last,
            recorded_at_us: recorded_at_us.unwrap_or(now_us),
            stream_version,
        });
    }
    Ok(events)
}

/// The given number, which must be greater than the one before; without one, the next number.
fn next(given: Option<i64>, before: i64, i: usize, key: &str) -> Result<i64> {
    let next = given.unwrap_or(before.saturating_add(1));
    if next > before {
        return Ok(next);
    }
    let message = format!("event {}: {key} {next} does not follow {before}", i + 1);
    Err(invalid(message).hint("Order the events as a read shows them, or leave the numbers out."))
}

impl GivenEvent<'_> {
    /// The columns that it would have in a partition.
    pub fn columns(&self, partition: &str) -> Unread {
        let mut columns = self.event.columns(partition);
        let mut set = |column: Column, value: i64| {
            columns.complete(column, Datum::from(value));
        };
        set(Column::Position, self.position);
        set(Column::RecordedAt, self.recorded_at_us);
        set(Column::OccurredAt, self.recorded_at_us);
        if let Some(version) = self.stream_version {
            set(Column::StreamVersion, version);
        }
        columns
    }
}
