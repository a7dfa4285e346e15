//! Python: frozen dataclasses that read and write JSON, for 3.11 and later, without packages of others.

use std::collections::BTreeMap;

use crate::dcb::error::Result;

use super::model::{Declaration, EventType, Field, Format, JsonKind, Kind, Model, Shape, Test, Variant};
use super::names::{Names, snake};
use super::text::{Text, comment, header, quoted};

/// Keywords, what the class body needs as it is, and the methods.
const RESERVED: [&str; 46] = [
    "and", "as", "assert", "async", "await", "bool", "break", "class", "classmethod", "cls",
    "continue", "def", "del", "dict", "elif", "else", "except", "finally", "float", "for", "from",
    "from_json", "global", "if", "import", "in", "int", "is", "lambda", "list", "nonlocal", "not",
    "object", "or", "pass", "raise", "return", "self", "str", "to_json", "try", "while", "with",
    "yield", "json", "field",
];
/// The formats that have a type.
const NATIVE: [Format; 4] = [Format::Plain, Format::DateTime, Format::Date, Format::Uuid];
const WIDTH: usize = 88;

/// The model in Python.
///
/// # Errors
/// 22023 where a module is named.
pub fn write(model: &Model, module: Option<&str>) -> Result<String> {
    super::no_module("Python", module)?;
    let mut names = Names::reserving(&["parse_event"]);
    let of = |(i, d): (usize, &Declaration)| (i, names.take(&snake(&d.name), "_"));
    let functions = model.declarations.iter().enumerate().map(of).collect();
    let writer = Writer { model, functions };

    let mut body = Text::new("    ");
    for declaration in &model.declarations {
        writer.declaration(declaration, &mut body);
    }
    for event in &model.events {
        if let Some(plain) = &event.plain_name {
            body.gap();
            docs(&mut body, &[format!("The newest version of {}.", super::schema::clean(&event.event_type))]);
            body.line(format!("{plain}: TypeAlias = {}", event.name));
        }
    }
    writer.events(&mut body);
    for (i, declaration) in model.declarations.iter().enumerate() {
        writer.functions(i, declaration, &mut body);
    }
    let body = body.finish();

    let mut text = Text::new("    ");
    for line in header(model, "python") {
        text.line(format!("# {line}").trim_end());
    }
    text.gap();
    text.line("from __future__ import annotations\n");
    text.line("import datetime as _dt");
    if body.contains("Absent") {
        text.line("import enum as _enum");
    }
    text.line("import uuid as _uuid");
    text.line("from collections.abc import Callable, Mapping, Sequence");
    text.line(match body.contains(" = field(") {
        true => "from dataclasses import dataclass, field",
        false => "from dataclasses import dataclass",
    });
    text.line("from typing import Literal, TypeAlias, TypedDict, TypeVar, cast\n");
    text.line("_T = TypeVar(\"_T\")");
    if body.contains("Absent") {
        two_gaps(&mut text);
        text.line(ABSENT);
    }
    let mut out = text.finish() + &body;
    for helper in HELPERS {
        let name = helper.split_once('(').map_or("", |(head, _)| head);
        let called = name.trim_start_matches("def ");
        let calls = out.matches(&format!("{called}(")).count() + out.matches(&format!(", {called})")).count();
        if calls > 0 {
            out.push_str("\n\n");
            out.push_str(helper);
            out.push('\n');
        }
    }
    Ok(out)
}

const ABSENT: &str = r#"class Absent(_enum.Enum):
    """What is left out, where None is a value."""

    ABSENT = "absent""#;

/// In an order in which each stands before what it calls: those above are looked for first.
const HELPERS: [&str; 13] = [
    r#"def _optional(
    json: dict[str, object], name: str, parse: Callable[[object], _T]
) -> _T | None:
    return parse(json[name]) if name in json else None"#,
    r#"def _maybe(
    json: dict[str, object], name: str, parse: Callable[[object], _T]
) -> _T | Absent:
    return parse(json[name]) if name in json else Absent.ABSENT"#,
    r#"def _nullable(json: object, parse: Callable[[object], _T]) -> _T | None:
    return None if json is None else parse(json)"#,
    r#"def _time_json(value: _dt.datetime) -> str:
    return value.isoformat().replace("+00:00", "Z")"#,
    r#"def _time(json: object) -> _dt.datetime:
    if isinstance(json, _dt.datetime):
        return json
    return _dt.datetime.fromisoformat(_text(json).upper())"#,
    r#"def _date(json: object) -> _dt.date:
    return _dt.date.fromisoformat(_text(json))"#,
    r#"def _id(json: object) -> _uuid.UUID:
    return json if isinstance(json, _uuid.UUID) else _uuid.UUID(_text(json))"#,
    r#"def _object(json: object) -> dict[str, object]:
    if not isinstance(json, dict):
        raise ValueError(f"not an object: {json!r}")
    return json"#,
    r#"def _list(json: object) -> list[object]:
    if not isinstance(json, list):
        raise ValueError(f"not an array: {json!r}")
    return json"#,
    r#"def _text(json: object) -> str:
    if not isinstance(json, str):
        raise ValueError(f"not a string: {json!r}")
    return json"#,
    r#"def _integer(json: object) -> int:
    if isinstance(json, bool) or not isinstance(json, (int, float)) or json % 1:
        raise ValueError(f"not an integer: {json!r}")
    return int(json)"#,
    r#"def _number(json: object) -> float:
    if isinstance(json, bool) or not isinstance(json, (int, float)):
        raise ValueError(f"not a number: {json!r}")
    return json"#,
    r#"def _boolean(json: object) -> bool:
    if not isinstance(json, bool):
        raise ValueError(f"not a boolean: {json!r}")
    return json"#,
];

fn two_gaps(text: &mut Text) {
    text.gap();
    text.line("");
}

fn docs(text: &mut Text, lines: &[String]) {
    for line in lines {
        text.line(format!("# {line}").trim_end());
    }
}

fn docstring(text: &mut Text, lines: &[String]) {
    // A quotation mark at its end would end the text too early.
    let close = |l: &str| if l.ends_with('"') { format!("{l} ") } else { l.to_owned() };
    let plain = |l: &String| l.replace('\\', "\\\\").replace("\"\"\"", "\" \" \"");
    let lines: Vec<String> = lines.iter().map(plain).collect();
    match lines.as_slice() {
        [] => return,
        [line] => text.line(format!("\"\"\"{}\"\"\"", close(line))),
        [first, rest @ ..] => {
            text.line(format!("\"\"\"{first}"));
            rest.iter().for_each(|l| text.line(l));
            text.line("\"\"\"");
        }
    }
    text.line("");
}

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
    return json"#;

struct Writer<'a> {
    model: &'a Model,
    /// The snake_case names of declarations.
    functions: BTreeMap<usize, String>,
}

impl Writer<'_> {
    fn events(&self, text: &mut Text) {
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
                    t.line(format!("    data={},", self.decode(&Shape::Named(event.data), "data")));
                    t.line(format!("    meta=_nullable(meta, {}),", self.parser(&Shape::Named(event.meta))));
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
        let EventType { event_type, version, name, .. } = event;
        let (data, meta) = (Shape::Named(event.data), Shape::Named(event.meta));
        let (data_type, meta_type) = (self.annotation(&data), self.annotation(&meta));
        let literal = quoted(event_type);
        two_gaps(text);
        text.line(format!("@dataclass(frozen=True, kw_only=True)\nclass {name}Event(Envelope):"));
        text.block(|t| {
            docstring(t, &[format!("{}, version {version}.", super::schema::clean(event_type))]);
            t.line(format!("data: {data_type}\nmeta: {meta_type} | None"));
            t.line(format!("type: Literal[{literal}] = {literal}"));
            t.line(format!("schema_version: Literal[{version}] = {version}\n"));
            t.line("@staticmethod\ndef to_append(");
            t.line(format!("    data: {data_type},\n    *,\n    tags: Sequence[str] = (),"));
            t.line(format!("    meta: {meta_type} | None = None,\n    id: _uuid.UUID | None = None,"));
            t.line("    occurred_at: _dt.datetime | None = None,\n) -> dict[str, object]:");
            t.block(|t| {
                t.line("\"\"\"The new event for en57_append.\"\"\"");
                let meta = self.encode_nullable(&meta, "meta");
                t.line("return _append(");
                t.block(|t| {
                    t.line(format!("{literal},\n{version},\n{},", self.encode(&data, "data")));
                    t.line(format!("tags,\n{meta},\nid,\noccurred_at,"));
                });
                t.line(")");
            });
            t.line("\ndef to_json(self) -> dict[str, object]:");
            t.block(|t| {
                let meta = self.encode_nullable(&meta, "self.meta");
                t.line("return _row(");
                t.block(|t| {
                    t.line(format!("self,\nself.type,\nself.schema_version,\n{},\n{meta},", self.encode(&data, "self.data")));
                });
                t.line(")");
            });
        });
    }

    fn encode_nullable(&self, shape: &Shape, value: &str) -> String {
        match self.encode(shape, value) {
            same if same == value => same,
            other => format!("None if {value} is None else {other}"),
        }
    }

    fn declaration(&self, declaration: &Declaration, text: &mut Text) {
        let name = &declaration.name;
        match &declaration.kind {
            Kind::Record { fields, rest } => {
                two_gaps(text);
                self.record(declaration, fields, rest.as_ref(), text);
            }
            Kind::Enum(values) if values.len() == 1 => {}
            kind => {
                text.gap();
                let of = match kind {
                    Kind::Alias(shape) => Some(shape),
                    _ => None,
                };
                docs(text, &comment(&declaration.doc, of, &NATIVE));
                let what = match kind {
                    Kind::Enum(values) => {
                        let values: Vec<String> = values.iter().map(|v| quoted(v)).collect();
                        let line = format!("{name}: TypeAlias = Literal[{}]", values.join(", "));
                        if text.width(&line) > WIDTH {
                            text.line(format!("{name}: TypeAlias = Literal[\n    {},\n]", values.join(",\n    ")));
                        } else {
                            text.line(line);
                        }
                        return;
                    }
                    Kind::Union(variants) => {
                        let shapes = variants.iter().map(|v| self.annotation(&v.shape));
                        shapes.collect::<Vec<_>>().join(" | ")
                    }
                    _ => self.annotation(of.unwrap_or(&Shape::Any)),
                };
                text.line(alias(name, &what));
            }
        }
    }

    fn record(&self, declaration: &Declaration, fields: &[Field], rest: Option<&Shape>, text: &mut Text) {
        let mut names = Names::reserving(&RESERVED);
        let rest = rest.map(|shape| (shape, names.take("additional", "_")));
        let mut name_of = |field: &Field| {
            let name = snake(&field.json);
            let name = if RESERVED.contains(&name.as_str()) { format!("{name}_") } else { name };
            names.take(&name, "_")
        };
        let fields: Vec<(&Field, String)> = fields.iter().map(|f| (f, name_of(f))).collect();
        text.line(format!("@dataclass(frozen=True, kw_only=True)\nclass {}:", declaration.name));
        text.block(|t| {
            docstring(t, &comment(&declaration.doc, None, &NATIVE));
            for (field, name) in &fields {
                docs(t, &comment(&field.doc, Some(&field.shape), &NATIVE));
                let annotation = self.annotation(&field.shape);
                t.line(match (field.required, &field.shape) {
                    (true, _) => format!("{name}: {annotation}"),
                    (false, Shape::Any) => format!("{name}: object = Absent.ABSENT"),
                    (false, shape) if self.model.takes_null(shape) => {
                        format!("{name}: {annotation} | Absent = Absent.ABSENT")
                    }
                    _ => format!("{name}: {annotation} | None = None"),
                });
            }
            if let Some((shape, name)) = &rest {
                docs(t, &["All other properties.".to_owned()]);
                t.line(format!("{name}: dict[str, {}] = field(default_factory=dict)", self.annotation(shape)));
            }
            t.gap();
            self.from_json(&declaration.name, &fields, rest.as_ref(), t);
            t.gap();
            self.to_json(&fields, rest.as_ref(), t);
        });
    }

    fn from_json(&self, name: &str, fields: &[(&Field, String)], rest: Option<&(&Shape, String)>, text: &mut Text) {
        text.line(format!("@staticmethod\ndef from_json(json: object) -> {name}:"));
        text.block(|t| {
            t.line(if fields.is_empty() && rest.is_none() { "_object(json)" } else { "value = _object(json)" });
            if fields.is_empty() && rest.is_none() {
                t.line(format!("return {name}()"));
                return;
            }
            t.line(format!("return {name}("));
            t.block(|t| {
                for (field, name) in fields {
                    let key = quoted(&field.json);
                    let value = if field.required {
                        self.decode(&field.shape, &format!("value[{key}]"))
                    } else {
                        let how = if self.model.takes_null(&field.shape) { "_maybe" } else { "_optional" };
                        format!("{how}(value, {key}, {})", self.parser(&field.shape))
                    };
                    t.line(format!("{name}={value},"));
                }
                if let Some((shape, name)) = rest {
                    t.line(format!("{name}={{\n    key: {}\n    for key, item in value.items()", self.decode(shape, "item")));
                    if !fields.is_empty() {
                        let keys: Vec<String> = fields.iter().map(|(f, _)| quoted(&f.json)).collect();
                        t.line(format!("    if key not in ({},)", keys.join(", ")));
                    }
                    t.line("},");
                }
            });
            t.line(")");
        });
    }

    fn to_json(&self, fields: &[(&Field, String)], rest: Option<&(&Shape, String)>, text: &mut Text) {
        text.line("def to_json(self) -> dict[str, object]:");
        text.block(|t| {
            let required: Vec<_> = fields.iter().filter(|(f, _)| f.required).collect();
            if required.is_empty() && rest.is_none() {
                t.line("json: dict[str, object] = {}");
            } else {
                t.line("json: dict[str, object] = {");
                t.block(|t| {
                    if let Some((shape, name)) = rest {
                        let map = Shape::Map(Box::new((*shape).clone()));
                        t.line(format!("**{},", self.encode(&map, &format!("self.{name}"))));
                    }
                    for (field, name) in required {
                        let value = self.encode(&field.shape, &format!("self.{name}"));
                        t.line(format!("{}: {value},", quoted(&field.json)));
                    }
                });
                t.line("}");
            }
            for (field, name) in fields.iter().filter(|(f, _)| !f.required) {
                let absent = if self.model.takes_null(&field.shape) { "Absent.ABSENT" } else { "None" };
                t.line(format!("if self.{name} is not {absent}:"));
                let value = self.encode(&field.shape, &format!("self.{name}"));
                t.line(format!("    json[{}] = {value}", quoted(&field.json)));
            }
            t.line("return json");
        });
    }

    /// The functions that read and write what is no class.
    fn functions(&self, number: usize, declaration: &Declaration, text: &mut Text) {
        let (name, function) = (&declaration.name, &self.functions[&number]);
        match &declaration.kind {
            Kind::Union(variants) => self.union(name, function, variants, text),
            Kind::Alias(shape) => {
                two_gaps(text);
                text.line(format!("def _parse_{function}(json: object) -> {name}:"));
                text.line(format!("    return {}", self.decode(shape, "json")));
                two_gaps(text);
                text.line(format!("def _dump_{function}(value: {name}) -> object:"));
                text.line(format!("    return {}", self.encode(shape, "value")));
            }
            Kind::Record { .. } | Kind::Enum(_) | Kind::Open => {}
        }
    }

    fn union(&self, name: &str, function: &str, variants: &[Variant], text: &mut Text) {
        two_gaps(text);
        text.line(format!("def _parse_{function}(json: object) -> {name}:"));
        text.block(|t| {
            for variant in variants {
                t.line(format!("if {}:", test(&variant.test)));
                t.line(format!("    return {}", self.decode(&variant.shape, "json")));
            }
            t.line(format!("raise ValueError(f\"not a {name}: {{json!r}}\")"));
        });
        two_gaps(text);
        text.line(format!("def _dump_{function}(value: {name}) -> object:"));
        text.block(|t| {
            for variant in variants {
                let value = self.encode(&variant.shape, "value");
                if value != "value" {
                    t.line(format!("if isinstance(value, {}):", self.class(&variant.shape)));
                    t.line(format!("    return {value}"));
                }
            }
            t.line("return value");
        });
    }

    /// The class of the values of a shape that are not what they are in JSON.
    fn class(&self, shape: &Shape) -> String {
        match shape {
            Shape::List(_) => "list".to_owned(),
            Shape::Map(_) => "dict".to_owned(),
            Shape::Text(_) => self.annotation(shape),
            Shape::Named(n) => self.model.declarations[*n].name.clone(),
            _ => "object".to_owned(),
        }
    }

    fn annotation(&self, shape: &Shape) -> String {
        match shape {
            Shape::Any => "object".to_owned(),
            Shape::Null => "None".to_owned(),
            Shape::Boolean => "bool".to_owned(),
            Shape::Integer => "int".to_owned(),
            Shape::Number => "float".to_owned(),
            Shape::Text(Format::DateTime) => "_dt.datetime".to_owned(),
            Shape::Text(Format::Date) => "_dt.date".to_owned(),
            Shape::Text(Format::Uuid) => "_uuid.UUID".to_owned(),
            Shape::Text(_) => "str".to_owned(),
            Shape::Literals(values) => {
                let values = values.iter().map(|v| match v.as_bool() {
                    Some(true) => "True".to_owned(),
                    Some(false) => "False".to_owned(),
                    None => v.to_string(),
                });
                format!("Literal[{}]", values.collect::<Vec<_>>().join(", "))
            }
            Shape::List(inner) => format!("list[{}]", self.annotation(inner)),
            Shape::Map(inner) => format!("dict[str, {}]", self.annotation(inner)),
            Shape::Nullable(inner) => format!("{} | None", self.annotation(inner)),
            Shape::Named(n) => match &self.model.declarations[*n] {
                Declaration { kind: Kind::Enum(values), .. } if values.len() == 1 => {
                    format!("Literal[{}]", quoted(&values[0]))
                }
                declaration => declaration.name.clone(),
            },
        }
    }

    /// The value that a JSON value stands for.
    fn decode(&self, shape: &Shape, json: &str) -> String {
        match shape {
            Shape::Any => json.to_owned(),
            Shape::Null => "None".to_owned(),
            Shape::Boolean => format!("_boolean({json})"),
            Shape::Integer => format!("_integer({json})"),
            Shape::Number => format!("_number({json})"),
            Shape::Text(Format::DateTime) => format!("_time({json})"),
            Shape::Text(Format::Date) => format!("_date({json})"),
            Shape::Text(Format::Uuid) => format!("_id({json})"),
            Shape::Text(_) => format!("_text({json})"),
            Shape::Literals(values) => {
                let check = if values.iter().all(|v| v.is_boolean()) { "_boolean" } else { "_integer" };
                format!("cast({}, {check}({json}))", self.annotation(shape))
            }
            Shape::List(inner) if **inner == Shape::Any => format!("_list({json})"),
            Shape::Map(inner) if **inner == Shape::Any => format!("_object({json})"),
            Shape::List(inner) => format!("[{} for item in _list({json})]", self.decode(inner, "item")),
            Shape::Map(inner) => {
                format!("{{key: {} for key, item in _object({json}).items()}}", self.decode(inner, "item"))
            }
            Shape::Nullable(inner) => format!("_nullable({json}, {})", self.parser(inner)),
            Shape::Named(n) => match &self.model.declarations[*n].kind {
                Kind::Record { .. } => format!("{}.from_json({json})", self.model.declarations[*n].name),
                Kind::Enum(_) => format!("cast({}, _text({json}))", self.annotation(shape)),
                _ => format!("_parse_{}({json})", self.functions[n]),
            },
        }
    }

    /// A function from a JSON value to what it stands for.
    fn parser(&self, shape: &Shape) -> String {
        let body = self.decode(shape, "item");
        match body.strip_suffix("(item)") {
            Some(function) if !function.contains(['(', ' ', '[', '{']) => function.to_owned(),
            _ => format!("lambda item: {body}"),
        }
    }

    /// The JSON value that a value is written as.
    fn encode(&self, shape: &Shape, value: &str) -> String {
        match shape {
            Shape::Text(Format::DateTime) => format!("_time_json({value})"),
            Shape::Text(Format::Date) => format!("{value}.isoformat()"),
            Shape::Text(Format::Uuid) => format!("str({value})"),
            Shape::List(inner) => match self.encode(inner, "item").as_str() {
                "item" => value.to_owned(),
                item => format!("[{item} for item in {value}]"),
            },
            Shape::Map(inner) => match self.encode(inner, "item").as_str() {
                "item" => value.to_owned(),
                item => format!("{{key: {item} for key, item in {value}.items()}}"),
            },
            Shape::Nullable(inner) => self.encode_nullable(inner, value),
            Shape::Named(n) => match &self.model.declarations[*n].kind {
                Kind::Record { .. } => format!("{value}.to_json()"),
                Kind::Enum(_) => value.to_owned(),
                _ => format!("_dump_{}({value})", self.functions[n]),
            },
            _ => value.to_owned(),
        }
    }
}

/// Another name; in quotes, since what it names may come later.
fn alias(name: &str, what: &str) -> String {
    let what = what.replace('\\', "\\\\").replace('"', "'");
    let line = format!("{name}: TypeAlias = \"{what}\"");
    if line.chars().count() <= WIDTH {
        return line;
    }
    let parts = what.replace(" | ", " | \"\n    \"");
    format!("{name}: TypeAlias = (\n    \"{parts}\"\n)")
}

fn test(test: &Test) -> String {
    let list = |values: &[String]| {
        let values: Vec<String> = values.iter().map(|v| quoted(v)).collect();
        format!("({},)", values.join(", "))
    };
    match test {
        Test::Kind(JsonKind::Boolean) => "isinstance(json, bool)".to_owned(),
        Test::Kind(JsonKind::Number) => "isinstance(json, (int, float))".to_owned(),
        Test::Kind(JsonKind::String) => "isinstance(json, str)".to_owned(),
        Test::Kind(JsonKind::Array) => "isinstance(json, list)".to_owned(),
        Test::Kind(JsonKind::Object) => "isinstance(json, dict)".to_owned(),
        Test::Property(name, values) => {
            format!("isinstance(json, dict) and json.get({}) in {}", quoted(name), list(values))
        }
        Test::Has(names) => {
            format!("isinstance(json, dict) and all(name in json for name in {})", list(names))
        }
    }
}
