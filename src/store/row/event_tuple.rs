//! Composite values: the rows and results that SQL functions return.

use pgrx::pg_sys::Datum;

use crate::dcb::error::Result;
use crate::dcb::query::Matchable;
use crate::store::pg::array::TextArray;
use crate::store::pg::composite::columns;
use crate::store::pg::fmgr;

use super::door::{Columns, Event};
use super::event::{Column, EVENT_COLUMNS, meta_text};
use super::event_json;

/// An event's columns as `en57_event` has them; large values still point where the row does.
pub fn event_columns(event: &Event) -> Columns {
    event.columns()
}

/// A stream, as `en57_stream_info` shows it.
pub struct StreamInfo {
    /// Its name.
    pub name: String,
    /// The version of its last event.
    pub version: i64,
    /// Its first event's position and the time of its recording, in PostgreSQL's microseconds.
    pub first: (i64, i64),
    /// Its last event's position and the time of its recording.
    pub last: (i64, i64),
}

/// A stream's columns, in the current memory context.
pub fn stream_columns(info: &StreamInfo) -> [Option<Datum>; 6] {
    [
        Some(fmgr::make_varlena(info.name.as_bytes())),
        Some(Datum::from(info.version)),
        Some(Datum::from(info.first.0)),
        Some(Datum::from(info.last.0)),
        Some(Datum::from(info.first.1)),
        Some(Datum::from(info.last.1)),
    ]
}

/// An event in a tree of causes and effects.
pub struct Traced {
    /// How many causes it has in the tree.
    pub depth: i32,
    /// The id of the event that caused it, NULL at the root.
    pub parent: Option<[u8; 16]>,
    /// The event as a value of `en57_event`.
    pub event: Datum,
}

/// Its columns, in the current memory context.
pub fn traced_columns(traced: &Traced) -> [Option<Datum>; 3] {
    [
        Some(Datum::from(traced.depth)),
        traced.parent.as_ref().map(fmgr::make_uuid),
        Some(traced.event),
    ]
}

/// An event's columns as the gem's functions have them: position, id, type, data, meta, tags. Metadata that is damaged is
/// shown as it is stored.
pub fn gem_columns(row: &Event) -> [Option<Datum>; 6] {
    [
        row.get(Column::Position),
        row.get(Column::Id),
        row.get(Column::Type),
        row.get(Column::Data),
        row.get(Column::Meta)
            .map(|meta| event_json::gem_meta(meta).unwrap_or(meta)),
        row.get(Column::Tags),
    ]
}

/// An event that was handed in as a value, as matching sees it.
pub struct EventValue {
    position: i64,
    event_type: String,
    tags: Vec<String>,
    stream: Option<String>,
    correlation_id: Option<String>,
    causation_id: Option<String>,
}

impl Matchable for EventValue {
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

/// An `en57_event` value.
///
/// # Errors
/// 22P02 where a text is not UTF-8, 22023 where tags hold NULL.
pub fn event_value(composite: Datum) -> Result<EventValue> {
    let columns: [Option<Datum>; EVENT_COLUMNS] = columns(composite)?;
    let text = |d: Option<Datum>| d.map(fmgr::text).transpose().map(|t| t.map(str::to_owned));
    let tags = columns[5].map_or(Ok(Vec::new()), |d| {
        TextArray::from_datum(d, "tags ")?.texts()
    })?;
    let meta = |name| meta_text(columns[4], name).map(|t| t.map(str::to_owned));
    Ok(EventValue {
        position: columns[0].map_or(0, |d| d.value() as i64),
        event_type: text(columns[2])?.unwrap_or_default(),
        tags: tags.into_iter().map(str::to_owned).collect(),
        stream: text(columns[6])?,
        correlation_id: meta("correlation_id")?,
        causation_id: meta("causation_id")?,
    })
}
