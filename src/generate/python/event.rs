//! Python's events: what all have, a class for each, and what reads and writes them.

use super::model::{EventType, Shape};
use super::python::{Writer, alias, docstring, two_gaps};
use super::text::{Text, quoted};

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

impl Writer<'_> {
    /// What all events have, each of them, and what reads and writes them.
    pub fn events(&self, text: &mut Text) {
        two_gaps(text);
        text.line(ENVELOPE);
        for event in &self.model.events {
            self.event(event, text);
        }
        two_gaps(text);
        text.line(UNKNOWN);
        two_gaps(text);
        let names = self.model.events.iter().map(|e| format!("{}Event", e.name));
        let names: Vec<String> = names.chain(["UnknownEvent".to_owned()]).collect();
        text.line(alias("Event", &names.join(" | ")));

        two_gaps(text);
        text.line(PARSE);
        text.block(|t| {
            for event in &self.model.events {
                let guard = if self.model.takes_null(&Shape::Named(event.data)) { "" } else { " and data is not None" };
                t.line(format!("if kind == ({}, {}){guard}:", quoted(&event.event_type), event.version));
                t.block(|t| {
                    t.line(format!("return {}Event(", event.name));
                    t.line("    **envelope,");
                    let nullable = Shape::Nullable(Box::new(Shape::Named(event.meta)));
                    t.line(format!("    data=_named(\"data\", data, {}),", self.parser(&Shape::Named(event.data))));
                    t.line(format!("    meta=_named(\"meta\", meta, {}),", self.parser(&nullable)));
                    t.line(")");
                });
            }
            t.line("type, version = kind");
            t.line("return UnknownEvent(\n    **envelope, type=type, schema_version=version, data=data, meta=meta\n)");
        });
        two_gaps(text);
        text.line(ROW);
    }

    fn event(&self, event: &EventType, text: &mut Text) {
        let EventType {
            event_type,
            version,
            name,
            ..
        } = event;
        let (data, meta) = (Shape::Named(event.data), Shape::Named(event.meta));
        let (data_type, meta_type) = (self.annotation(&data), self.annotation(&meta));
        let literal = quoted(event_type);
        two_gaps(text);
        text.line(format!(
            "@dataclass(frozen=True, kw_only=True)\nclass {name}Event(Envelope):"
        ));
        text.block(|t| {
            docstring(
                t,
                &[format!(
                    "{}, version {version}.",
                    super::schema::clean(event_type)
                )],
            );
            t.line(format!("data: {data_type}\nmeta: {meta_type} | None"));
            t.line(format!("type: Literal[{literal}] = {literal}"));
            t.line(format!("schema_version: Literal[{version}] = {version}\n"));
            t.line("@staticmethod\ndef to_append(");
            t.line(format!(
                "    data: {data_type},\n    *,\n    tags: Sequence[str] = (),"
            ));
            t.line(format!(
                "    meta: {meta_type} | None = None,\n    id: _uuid.UUID | None = None,"
            ));
            t.line("    occurred_at: _dt.datetime | None = None,");
            for name in ["correlation_id", "causation_id", "trace_id"] {
                t.line(format!("    {name}: str | None = None,"));
            }
            t.line(") -> dict[str, object]:");
            t.block(|t| {
                t.line("\"\"\"The new event for en57_append.\"\"\"");
                let meta = self.encode_nullable(&meta, "meta");
                t.line("return _append(");
                t.block(|t| {
                    t.line(format!(
                        "{literal},\n{version},\n{},",
                        self.encode(&data, "data")
                    ));
                    t.line(format!("tags,\n{meta},\nid,\noccurred_at,\ncorrelation_id,\ncausation_id,\ntrace_id,"));
                });
                t.line(")");
            });
            t.line("\ndef to_json(self) -> dict[str, object]:");
            t.block(|t| {
                let meta = self.encode_nullable(&meta, "self.meta");
                t.line("return _row(");
                t.block(|t| {
                    t.line(format!(
                        "self,\nself.type,\nself.schema_version,\n{},\n{meta},",
                        self.encode(&data, "self.data")
                    ));
                });
                t.line(")");
            });
        });
    }
}
