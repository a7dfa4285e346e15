//! Events as the JSON objects that conflicts show.

use std::ffi::CStr;

use pgrx::pg_sys::{self, Datum};

use crate::dcb::error::Result;
use crate::dcb::query::JsonString;
use crate::store::pg::fmgr;
use crate::store::pg::json::{self, Jsonb, Value};

use super::door::Event;
use super::event::Column;

fn uuid_text(datum: Datum) -> String {
    uuid::Uuid::from_bytes(fmgr::uuid(datum)).to_string()
}

/// An event as the JSON object that conflicts show: the columns of `en57_event`.
///
/// # Errors
/// Those of damaged rows.
pub fn event_json(row: &Event) -> Result<String> {
    object(row, true)
}

/// An event as that object without data and metadata, and with a key `truncated` that says so.
///
/// # Errors
/// Those of damaged rows.
pub fn truncated_json(row: &Event) -> Result<String> {
    object(row, false)
}

fn object(row: &Event, whole: bool) -> Result<String> {
    let mut out = String::with_capacity(256);
    let text = |column| row.get(column).map(fmgr::text).transpose();
    let quoted = |t: Option<&str>| t.map_or("null".to_owned(), |t| JsonString(t).to_string());
    let document = |column| match row.get(column).filter(|_| whole) {
        Some(document) => json::text(document),
        None => Ok("null"),
    };
    let tags: Vec<String> = row
        .tags()?
        .texts()?
        .iter()
        .map(|t| JsonString(t).to_string())
        .collect();
    let version = row
        .get(Column::StreamVersion)
        .map_or("null".to_owned(), |d| (d.value() as i64).to_string());
    let id = row.get(Column::Id).map_or(String::new(), uuid_text);
    for (name, value) in [
        ("position", row.position().to_string()),
        ("id", JsonString(&id).to_string()),
        ("type", quoted(Some(row.event_type()?))),
        ("data", document(Column::Data)?.to_owned()),
        ("meta", document(Column::Meta)?.to_owned()),
        ("tags", format!("[{}]", tags.join(", "))),
        ("stream", quoted(text(Column::Stream)?)),
        ("stream_version", version),
        ("schema_version", row.schema_version().to_string()),
        (
            "occurred_at",
            JsonString(&timestamp_text(row.occurred_at_us())).to_string(),
        ),
        (
            "recorded_at",
            JsonString(&timestamp_text(row.recorded_at_us())).to_string(),
        ),
        ("partition", quoted(text(Column::Partition)?)),
    ] {
        if !whole && matches!(name, "data" | "meta") {
            continue;
        }
        let separator = if out.is_empty() { '{' } else { ',' };
        out.push(separator);
        out.push_str(&format!("\"{name}\": {value}"));
    }
    if !whole {
        out.push_str(",\"truncated\": true");
    }
    out.push('}');
    Ok(out)
}

/// Metadata in the gem's form. The gem looks in every object for `serializer`, which says how it wrote the keys and
/// values of data; an event that somebody else wrote, or that `en57.meta` gave its metadata, gets an empty one. NULL
/// stays NULL: so the gem itself writes what needs no description.
///
/// # Errors
/// XX001 where it is damaged.
pub fn gem_meta(meta: Datum) -> Result<Datum> {
    match Jsonb::from_datum(meta).get("serializer")? {
        Some(Value::Container(described)) if described.is_object() => Ok(meta),
        _ => json::concat(meta, json::parse("{\"serializer\": {}}", "")?),
    }
}

/// An event as the JSON object that the gem's functions show.
///
/// # Errors
/// Those of damaged rows.
pub fn gem_json(row: &Event) -> Result<String> {
    let document = |datum: Option<Datum>| datum.map_or(Ok("null"), json::text);
    let tags: Vec<String> = row
        .tags()?
        .texts()?
        .iter()
        .map(|t| JsonString(t).to_string())
        .collect();
    let meta = row.get(Column::Meta).map(gem_meta).transpose()?;
    Ok(format!(
        "{{\"id\": \"{}\", \"type\": {}, \"data\": {}, \"meta\": {}, \"tags\": [{}]}}",
        row.get(Column::Id).map_or(String::new(), uuid_text),
        JsonString(row.event_type()?),
        document(row.get(Column::Data))?,
        document(meta)?,
        tags.join(", "),
    ))
}

/// A time as ISO 8601 text, as PostgreSQL's own JSON output writes it.
fn timestamp_text(us: i64) -> String {
    // SAFETY: the function writes a NUL-terminated text of at most MAXDATELEN (128) + 1 bytes.
    unsafe {
        let mut buffer = [0 as std::ffi::c_char; 160];
        pg_sys::JsonEncodeDateTime(
            buffer.as_mut_ptr(),
            Datum::from(us),
            pg_sys::TIMESTAMPTZOID,
            std::ptr::null(),
        );
        CStr::from_ptr(buffer.as_ptr())
            .to_string_lossy()
            .into_owned()
    }
}
