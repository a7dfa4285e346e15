//! Events as rows: the columns of `en57.events`, new rows, and views of stored ones.

use std::ffi::CStr;

use pgrx::pg_sys::{self, Datum, Oid};

use crate::dcb::error::Result;
use crate::dcb::key::{Namespace, key};
use crate::dcb::query::Matchable;
use crate::store::pg::array::TextArray;
use crate::store::pg::json::{Jsonb, Value};
use crate::store::pg::{fmgr, settings};

use super::door::{Columns, Unread};

/// The columns of `en57.events`, in the table's order: first those of `en57_event` as that type has
/// them, so that a row can be handed out as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Column {
    /// Where the event stands in the log.
    Position,
    /// Its id.
    Id,
    /// Its type.
    Type,
    /// What happened.
    Data,
    /// Circumstances.
    Meta,
    /// Its tags, sorted.
    Tags,
    /// Its stream's name.
    Stream,
    /// Its number in its stream.
    StreamVersion,
    /// The version of its schema.
    SchemaVersion,
    /// When it happened.
    OccurredAt,
    /// When it was appended.
    RecordedAt,
    /// Its partition's name.
    Partition,
    /// The frontier of the partition when the position was allotted.
    Stable,
}

/// How many columns there are.
pub const COLUMNS: usize = Column::Stable as usize + 1;
/// How many of them an `en57_event` has.
pub const EVENT_COLUMNS: usize = Column::Partition as usize + 1;

/// The types of the columns.
pub const COLUMN_TYPES: [Oid; COLUMNS] = [
    pg_sys::INT8OID,
    pg_sys::UUIDOID,
    pg_sys::TEXTOID,
    pg_sys::JSONBOID,
    pg_sys::JSONBOID,
    pg_sys::TEXTARRAYOID,
    pg_sys::TEXTOID,
    pg_sys::INT8OID,
    pg_sys::INT4OID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::TEXTOID,
    pg_sys::INT8OID,
];

/// The names of the columns.
pub const COLUMN_NAMES: [&CStr; COLUMNS] = [
    c"position",
    c"id",
    c"type",
    c"data",
    c"meta",
    c"tags",
    c"stream",
    c"stream_version",
    c"schema_version",
    c"occurred_at",
    c"recorded_at",
    c"partition",
    c"stable",
];

impl Column {
    /// PostgreSQL's number of the column, from 1.
    pub const fn attribute(self) -> i16 {
        self as i16 + 1
    }
}

/// An event that is about to be appended, as matching sees it: beyond all positions, unless one is said.
pub struct Candidate<'a> {
    position: i64,
    event: &'a NewEvent<'a>,
    name: &'a str,
}

impl Candidate<'_> {
    /// The event as if it stood at a position.
    pub fn at(mut self, position: i64) -> Self {
        self.position = position;
        self
    }
}

impl Matchable for Candidate<'_> {
    fn position(&self) -> i64 {
        self.position
    }
    fn event_type(&self) -> &str {
        self.name
    }
    fn has_tag(&self, tag: &str) -> bool {
        self.event.tags.contains(&tag)
    }
    fn stream(&self) -> Option<&str> {
        self.event.stream
    }
    fn correlation_id(&self) -> Option<&str> {
        self.event.correlation_id.as_deref()
    }
    fn causation_id(&self) -> Option<&str> {
        self.event.causation_id.as_deref()
    }
}

/// An event that is to be appended: checked, with tags sorted and free of duplicates.
pub struct NewEvent<'a> {
    /// Its id, where the client gave one.
    pub id: Option<[u8; 16]>,
    /// Its type.
    pub event_type: &'a str,
    /// Its tags.
    pub tags: Vec<&'a str>,
    /// What happened, still where the client's document is.
    pub data: Option<Value<'a>>,
    /// A jsonb object.
    pub meta: Option<Datum>,
    /// The version of its schema.
    pub schema_version: i32,
    /// PostgreSQL's microseconds, where it is not the time of recording.
    pub occurred_at_us: Option<i64>,
    /// From its metadata.
    pub correlation_id: Option<String>,
    /// From its metadata.
    pub causation_id: Option<String>,
    /// The stream that it goes to.
    pub stream: Option<&'a str>,
    /// What its stream's version must be before it, as the client says it.
    pub expected_version: Option<i64>,
}

impl NewEvent<'_> {
    /// The version of an event of which it could not be told.
    pub const UNTOLD: i32 = 0;

    /// The distinct keys under which the event is indexed and locked.
    pub fn keys(&self) -> Vec<i64> {
        keys(
            self.event_type,
            self.tags.iter().map(|t| t.as_bytes()),
            self.stream,
            self.correlation_id.as_deref(),
            self.causation_id.as_deref(),
        )
    }

    /// About how many bytes it takes: its type, tags, data and metadata.
    pub fn bytes(&self) -> usize {
        let tags: usize = self.tags.iter().map(|t| t.len()).sum();
        let data = match self.data {
            Some(Value::Container(container)) => container.document().len(),
            Some(Value::String(text)) => text.len(),
            _ => 0,
        };
        self.event_type.len() + tags + data + self.meta.map_or(0, fmgr::bytes_of)
    }

    /// The event as matching sees it: with the type that readers will see.
    pub fn candidate<'e>(&'e self, name: &'e str) -> Candidate<'e> {
        Candidate {
            position: i64::MAX,
            event: self,
            name,
        }
    }

    /// The event as an `en57_event` has it before it is appended: what is not known yet is NULL.
    pub fn columns(&self, partition: &str) -> Unread {
        let text = |t: &str| fmgr::make_varlena(t.as_bytes());
        let mut columns = [None; EVENT_COLUMNS];
        columns[Column::Id as usize] = self.id.as_ref().map(fmgr::make_uuid);
        columns[Column::Type as usize] = Some(text(self.event_type));
        columns[Column::Data as usize] = self.data.map(Value::to_datum);
        columns[Column::Meta as usize] = self.meta;
        columns[Column::Tags as usize] = Some(crate::store::pg::array::make(&self.tags));
        columns[Column::Stream as usize] = self.stream.map(text);
        columns[Column::SchemaVersion as usize] = Some(Datum::from(self.schema_version));
        columns[Column::OccurredAt as usize] = self.occurred_at_us.map(Datum::from);
        columns[Column::Partition as usize] = Some(text(partition));
        Unread::new(columns)
    }
}

/// The distinct keys of an event, in ascending order.
pub fn keys<'t>(
    event_type: &str,
    tags: impl Iterator<Item = &'t [u8]>,
    stream: Option<&str>,
    correlation_id: Option<&str>,
    causation_id: Option<&str>,
) -> Vec<i64> {
    let mut keys = vec![effective(Namespace::Type, event_type.as_bytes())];
    keys.extend(tags.map(|t| effective(Namespace::Tag, t)));
    let named = [
        (Namespace::Stream, stream),
        (Namespace::Correlation, correlation_id),
        (Namespace::Causation, causation_id),
    ];
    keys.extend(
        named
            .iter()
            .filter_map(|(n, text)| text.map(|t| effective(*n, t.as_bytes()))),
    );
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// A key as it is indexed and locked.
pub fn effective(namespace: Namespace, text: &[u8]) -> i64 {
    settings::effective_key(key(namespace, text))
}

/// A text of an object in `meta`.
///
/// # Errors
/// 22P02 where a text is not UTF-8.
pub fn meta_text(meta: Option<Datum>, name: &str) -> Result<Option<&str>> {
    let Some(meta) = meta else { return Ok(None) };
    let document = Jsonb::from_datum(meta);
    if !document.is_object() {
        return Ok(None);
    }
    Ok(match document.get(name)? {
        Some(Value::String(text)) => Some(text),
        _ => None,
    })
}

/// A stored row, its values borrowed from the page that `heap` keeps pinned. It passes a door before anybody gets it:
/// see [`super::door`].
pub struct Row {
    /// The columns.
    pub(in crate::store) values: [Datum; COLUMNS],
    /// Which of them are NULL.
    pub(in crate::store) nulls: [bool; COLUMNS],
    /// The row as it is stored, in the pinned page.
    pub(in crate::store) stored: pg_sys::HeapTupleData,
    /// Where the columns are what upcasters have made of them: the type that is stored.
    pub(in crate::store) stored_type: Option<Datum>,
}

impl Row {
    /// A column, `None` where it is NULL.
    pub fn get(&self, column: Column) -> Option<Datum> {
        (!self.nulls[column as usize]).then_some(self.values[column as usize])
    }

    /// The event's position.
    pub fn position(&self) -> i64 {
        self.values[Column::Position as usize].value() as i64
    }

    /// The event's type.
    ///
    /// # Errors
    /// 22P02 where it is not UTF-8.
    pub fn event_type(&self) -> Result<&str> {
        fmgr::text(self.values[Column::Type as usize])
    }

    /// The type that is stored, whatever upcasters have made of it.
    ///
    /// # Errors
    /// 22P02 where it is not UTF-8.
    pub fn stored_type(&self) -> Result<&str> {
        self.stored_type
            .map_or_else(|| self.event_type(), fmgr::text)
    }

    /// Its columns as `en57_event` has them; large values still point where the row does.
    pub(in crate::store) fn columns(&self) -> Columns {
        std::array::from_fn(|i| (!self.nulls[i]).then_some(self.values[i]))
    }

    /// This event with columns that upcasters have made.
    pub(in crate::store) fn upcast(&self, columns: &Columns) -> Self {
        let (mut values, mut nulls) = (self.values, self.nulls);
        for (i, column) in columns.iter().enumerate() {
            values[i] = column.unwrap_or(Datum::from(0));
            nulls[i] = column.is_none();
        }
        Self {
            values,
            nulls,
            stored: self.stored,
            stored_type: Some(self.values[Column::Type as usize]),
        }
    }

    /// The event's tags.
    ///
    /// # Errors
    /// 22023 where the array is not of the form that en57 writes.
    pub fn tags(&self) -> Result<TextArray<'_>> {
        TextArray::from_datum(self.values[Column::Tags as usize], "tags ")
    }

    /// The stream that the event is in.
    ///
    /// # Errors
    /// 22P02 where it is not UTF-8.
    pub fn stream(&self) -> Result<Option<&str>> {
        self.get(Column::Stream).map(fmgr::text).transpose()
    }

    /// Its number in the stream.
    pub fn stream_version(&self) -> Option<i64> {
        self.get(Column::StreamVersion).map(|d| d.value() as i64)
    }

    /// When it was recorded, in PostgreSQL's microseconds.
    pub fn recorded_at_us(&self) -> i64 {
        self.values[Column::RecordedAt as usize].value() as i64
    }

    /// When it happened, in PostgreSQL's microseconds.
    pub fn occurred_at_us(&self) -> i64 {
        self.values[Column::OccurredAt as usize].value() as i64
    }

    /// About how many bytes it takes in memory: what is stored compressed, or beside the row, counts as it
    /// will be read.
    pub fn bytes(&self) -> usize {
        let columns = [Column::Type, Column::Data, Column::Meta, Column::Tags];
        columns
            .iter()
            .filter_map(|c| self.get(*c))
            .map(fmgr::bytes_of)
            .sum()
    }

    /// The version of its schema.
    pub fn schema_version(&self) -> i32 {
        self.values[Column::SchemaVersion as usize].value() as i32
    }

    /// The keys that the key index has for it, in ascending order.
    ///
    /// # Errors
    /// As its parts.
    pub fn keys(&self) -> Result<Vec<i64>> {
        let meta = self.get(Column::Meta);
        Ok(keys(
            self.event_type()?,
            self.tags()?.iter(),
            self.get(Column::Stream).map(fmgr::text).transpose()?,
            meta_text(meta, "correlation_id")?.filter(|t| !t.is_empty()),
            meta_text(meta, "causation_id")?.filter(|t| !t.is_empty()),
        ))
    }

    /// What matching needs to see.
    ///
    /// # Errors
    /// As its parts.
    pub fn matchable(&self) -> Result<RowView<'_>> {
        Ok(RowView {
            row: self,
            event_type: self.event_type()?,
            tags: self.tags()?,
        })
    }
}

/// A row as matching sees it.
pub struct RowView<'a> {
    row: &'a Row,
    event_type: &'a str,
    tags: TextArray<'a>,
}

impl<'a> RowView<'a> {
    /// Lets it match by another type than the stored one.
    pub fn call_it(&mut self, name: &'a str) {
        self.event_type = name;
    }
}

impl Matchable for RowView<'_> {
    fn position(&self) -> i64 {
        self.row.position()
    }
    fn event_type(&self) -> &str {
        self.event_type
    }
    fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|t| t == tag.as_bytes())
    }
    fn has_any_tag(&self, sorted: &[String]) -> bool {
        let is_one = |tag: &[u8]| sorted.binary_search_by(|t| t.as_bytes().cmp(tag)).is_ok();
        self.tags.iter().any(is_one)
    }
    fn stream(&self) -> Option<&str> {
        self.row.stream().ok().flatten()
    }
    fn correlation_id(&self) -> Option<&str> {
        meta_text(self.row.get(Column::Meta), "correlation_id")
            .ok()
            .flatten()
    }
    fn causation_id(&self) -> Option<&str> {
        meta_text(self.row.get(Column::Meta), "causation_id")
            .ok()
            .flatten()
    }
}

/// The ids of new events in order: those that were given, and new ones of when each is recorded, in PostgreSQL's
/// microseconds.
pub fn ids<'e>(events: impl Iterator<Item = (&'e NewEvent<'e>, i64)>) -> Vec<[u8; 16]> {
    events
        .map(|(event, recorded_at_us)| event.id.unwrap_or_else(|| new_id(recorded_at_us)))
        .collect()
}

/// A new version-7 uuid: milliseconds since 1970 from PostgreSQL's clock, the rest random.
fn new_id(now_us: i64) -> [u8; 16] {
    const POSTGRES_EPOCH_MS: u64 = 946_684_800_000;
    let ms = POSTGRES_EPOCH_MS.wrapping_add_signed(now_us.div_euclid(1000));
    uuid::Builder::from_unix_timestamp_millis(ms, &random_bytes())
        .into_uuid()
        .into_bytes()
}

/// Ten bytes from PostgreSQL's source of strong randomness, fetched by the page: each call of the
/// source costs as much as an index entry.
fn random_bytes() -> [u8; 10] {
    use std::cell::RefCell;
    thread_local! {
        static POOL: RefCell<([u8; 640], usize)> = const { RefCell::new(([0; 640], 640)) };
    }
    POOL.with(|pool| {
        let (bytes, used) = &mut *pool.borrow_mut();
        if *used == bytes.len() {
            // SAFETY: the buffer is as long as said.
            let filled =
                unsafe { pg_sys::pg_strong_random(bytes.as_mut_ptr().cast(), bytes.len()) };
            assert!(filled, "no source of randomness");
            *used = 0;
        }
        let mut out = [0; 10];
        out.copy_from_slice(&bytes[*used..*used + 10]);
        *used += 10;
        out
    })
}
