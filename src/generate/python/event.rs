//! Python's classes of events, and the functions that read and write them.

use crate::generate::model::{EventType, Shape};
use crate::generate::text::{Text, quoted, type_name};

use super::Writer;
use super::layout::{alias, docstring, two_gaps};

const ENVELOPE: &str = r#"@dataclass(frozen=True, kw_only=True)
class Envelope:
    """What all events have."""

    position: int
    id: _uuid.UUID
    tags: list[str]
    stream: str | None
    stream_version: int | None
    occurred_at: _dt.datetime
    recorded_at: _dt.datetime
    partition: str


class _Envelope(TypedDict):
    position: int
    id: _uuid.UUID
    tags: list[str]
    stream: str | None
    stream_version: int | None
    occurred_at: _dt.datetime
    recorded_at: _dt.datetime
    partition: str"#;

const UNKNOWN: &str = r#"@dataclass(frozen=True, kw_only=True)
class UnknownEvent(Envelope):
    """An event of another type or version, or one whose data has been erased."""

    type: str
    schema_version: int
    data: object
    meta: object

    def to_json(self) -> dict[str, object]:
        return _row(self, self.type, self.schema_version, self.data, self.meta)"#;

const PARSE: &str = r#"def parse_event(row: Mapping[str, object]) -> Event:
    """The event in a row of `SELECT * FROM en57_read(..)`, or in its JSON."""
    envelope: _Envelope = {
        "position": _integer(row["position"]),
        "id": _id(row["id"]),
        "tags": [_text(tag) for tag in _list(row["tags"])],
        "stream": _nullable(row["stream"], _text),
        "stream_version": _nullable(row["stream_version"], _integer),
        "occurred_at": _time(row["occurred_at"]),
        "recorded_at": _time(row["recorded_at"]),
        "partition": _text(row["partition"]),
    }
    kind = (_text(row["type"]), _integer(row["schema_version"]))
    data, meta = row["data"], row["meta"]"#;

const ROW: &str = r#"def _row(
    event: Envelope, type: str, schema_version: int, data: object, meta: object
) -> dict[str, object]:
    return {
        "position": event.position,
        "id": str(event.id),
        "type": type,
        "data": data,
        "meta": meta,
        "tags": event.tags,
        "stream": event.stream,
        "stream_version": event.stream_version,
        "schema_version": schema_version,
        "occurred_at": _time_json(event.occurred_at),
        "recorded_at": _time_json(event.recorded_at),
        "partition": event.partition,
    }


def _append(
    type: str,
    schema_version: int,
    data: object,
    tags: Sequence[str],
    meta: object,
    id: _uuid.UUID | None,
    occurred_at: _dt.datetime | None,
    correlation_id: str | None,
    causation_id: str | None,
    trace_id: str | None,
) -> dict[str, object]:
    json: dict[str, object] = {
        "type": type,
        "schema_version": schema_version,
        "data": data,
        "tags": list(tags),
    }
    if meta is not None:
        json["meta"] = meta
    if id is not None:
        json["id"] = str(id)
    if occurred_at is not None:
        json["occurred_at"] = _time_json(occurred_at)
    if correlation_id is not None:
        json["correlation_id"] = correlation_id
    if causation_id is not None:
        json["causation_id"] = causation_id
    if trace_id is not None:
        json["trace_id"] = trace_id
    return json"#;

/// The parameters of `to_append` after the metadata.
const OPTIONS: &str = "    id: _uuid.UUID | None = None,
    occurred_at: _dt.datetime | None = None,
    correlation_id: str | None = None,
    causation_id: str | None = None,
    trace_id: str | None = None,";

impl Writer<'_> {
    /// The class that all events extend, the classes of all events, and the functions that read and write them.
    pub fn events(&self, text: &mut Text) {
        two_gaps(text);
        text.line(ENVELOPE);
        for event in &self.model.events {
            two_gaps(text);
            self.event(event, text);
        }
        two_gaps(text);
        text.line(UNKNOWN);
        two_gaps(text);
        let names = self.model.events.iter().map(|e| format!("{}Event", e.name));
        let names: Vec<String> = names.chain(["UnknownEvent".to_owned()]).collect();
        text.line(alias("Event", &names.join(" | ")));
        two_gaps(text);
        self.parse(text);
        two_gaps(text);
        text.line(ROW);
    }

    /// The function that reads an event.
    fn parse(&self, text: &mut Text) {
        text.line(PARSE);
        text.block(|t| {
            for event in &self.model.events {
                self.parse_one(event, t);
            }
            t.line("type, version = kind\nreturn UnknownEvent(");
            t.line("    **envelope, type=type, schema_version=version, data=data, meta=meta\n)");
        });
    }

    /// The lines in the function that reads events for one of them.
    fn parse_one(&self, event: &EventType, text: &mut Text) {
        let (kind, version) = (quoted(&event.event_type), event.version);
        let needs_data = !self.model.data_takes_null(event);
        let guard = if needs_data {
            " and data is not None"
        } else {
            ""
        };
        let data = self.parser(&Shape::Named(event.data));
        let meta = self.parser(&Shape::Named(event.meta).nullable());
        text.line(format!("if kind == ({kind}, {version}){guard}:"));
        text.block(|t| {
            t.line(format!("return {}Event(\n    **envelope,", event.name));
            t.line(format!("    data=_named(\"data\", data, {data}),"));
            t.line(format!("    meta=_named(\"meta\", meta, {meta}),\n)"));
        });
    }

    /// The class of one event.
    fn event(&self, event: &EventType, text: &mut Text) {
        let (name, version) = (&event.name, event.version);
        let literal = quoted(&event.event_type);
        let data = self.annotation(&Shape::Named(event.data));
        let meta = self.annotation(&Shape::Named(event.meta));
        text.line("@dataclass(frozen=True, kw_only=True)");
        text.line(format!("class {name}Event(Envelope):"));
        text.block(|t| {
            docstring(t, &[format!("{}, version {version}.", type_name(event))]);
            t.line(format!("data: {data}\nmeta: {meta} | None"));
            t.line(format!("type: Literal[{literal}] = {literal}"));
            t.line(format!("schema_version: Literal[{version}] = {version}\n"));
            self.define_to_append(event, t);
            t.gap();
            self.define_to_json_of_event(event, t);
        });
    }

    /// The method that makes a new event.
    fn define_to_append(&self, event: &EventType, text: &mut Text) {
        let (data, meta) = (Shape::Named(event.data), Shape::Named(event.meta));
        let (data_type, meta_type) = (self.annotation(&data), self.annotation(&meta));
        text.line("@staticmethod\ndef to_append(");
        text.line(format!("    data: {data_type},\n    *,"));
        text.line("    tags: Sequence[str] = (),");
        text.line(format!("    meta: {meta_type} | None = None,"));
        text.line(OPTIONS);
        let call = |t: &mut Text| {
            t.line(format!("{},", quoted(&event.event_type)));
            t.line(format!("{},", event.version));
            t.line(format!("{},\ntags,", self.encode(&data, "data")));
            t.line(format!("{},", self.encode_nullable(&meta, "meta")));
            t.line("id,\noccurred_at,\ncorrelation_id,\ncausation_id,\ntrace_id,");
        };
        text.line(") -> dict[str, object]:");
        text.block(|t| {
            t.line("\"\"\"The new event for en57_append.\"\"\"");
            t.enclose("return _append(", call, ")");
        });
    }

    /// The method that writes an event.
    fn define_to_json_of_event(&self, event: &EventType, text: &mut Text) {
        let data = self.encode(&Shape::Named(event.data), "self.data");
        let meta = self.encode_nullable(&Shape::Named(event.meta), "self.meta");
        let call = |t: &mut Text| {
            t.line("self,\nself.type,\nself.schema_version,");
            t.line(format!("{data},\n{meta},"));
        };
        text.line("def to_json(self) -> dict[str, object]:");
        text.block(|t| t.enclose("return _row(", call, ")"));
    }
}
