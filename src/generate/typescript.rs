//! TypeScript: interfaces and unions; JSON is what they are made of already, so only events are looked into.

use crate::dcb::error::Result;

use super::model::{Declaration, EventType, Kind, Model, Shape};
use super::text::{Text, comment, header, quoted};

const WIDTH: usize = 80;

/// The names that the file has, beside those of types, or means by theirs. Types get others.
pub const NAMES: &[&str] = &[
    "AppendEvent",
    "AppendOptions",
    "Date",
    "Envelope",
    "Event",
    "EventKind",
    "EventOf",
    "EventRow",
    "Exclude",
    "Extract",
    "NonNullable",
    "Number",
    "UnknownEvent",
];

/// The model in TypeScript.
///
/// # Errors
/// 22023 where a module is named.
pub fn write(model: &Model, module: Option<&str>) -> Result<String> {
    super::no_module("TypeScript", module)?;
    let mut text = Text::new("  ");
    for line in header(model, "typescript") {
        text.line(format!("// {line}").trim_end());
    }
    events(model, &mut text);
    for (i, declaration) in model.declarations.iter().enumerate() {
        if model.is_inlined(i) {
            continue;
        }
        text.gap();
        declare(model, declaration, &mut text);
    }
    for event in &model.events {
        if let Some(plain) = &event.plain_name {
            text.gap();
            docs(
                &mut text,
                vec![format!(
                    "The newest version of {}.",
                    quoted(&super::schema::clean(&event.event_type))
                )],
                false,
            );
            text.line(format!("export type {plain} = {};", event.name));
        }
    }
    functions(model, &mut text);
    Ok(text.finish())
}

const ENVELOPE: &str = r#"/** What all events have. Times are ISO 8601, as JSON has them. */
export interface Envelope {
  position: number;
  id: string;
  tags: string[];
  stream: string | null;
  stream_version: number | null;
  occurred_at: string;
  recorded_at: string;
  partition: string;
}"#;

const UNKNOWN: &str = r#"/** An event of another type or version, or one whose data has been erased. */
export interface UnknownEvent extends Envelope {
  kind: "Unknown";
  type: string;
  schema_version: number;
  data: unknown;
  meta: unknown;
}"#;

fn events(model: &Model, text: &mut Text) {
    text.gap();
    text.line("/** An event as en57 returns it; `kind` tells which. */");
    let mut names: Vec<String> = model
        .events
        .iter()
        .map(|e| format!("{}Event", e.name))
        .collect();
    names.push("UnknownEvent".to_owned());
    alias(text, "Event", &names);
    text.gap();
    text.line(ENVELOPE);
    for event in &model.events {
        text.gap();
        text.line(format!(
            "export interface {}Event extends Envelope {{",
            event.name
        ));
        text.block(|t| {
            t.line(format!("kind: {};", quoted(&event.name)));
            t.line(format!("type: {};", quoted(&event.event_type)));
            t.line(format!("schema_version: {};", event.version));
            t.line(format!("data: {};", event.name));
            t.line(format!("meta: {};", meta(model, event)));
        });
        text.line("}");
    }
    text.gap();
    text.line(UNKNOWN);
}

fn meta(model: &Model, event: &EventType) -> String {
    format!("{} | null", model.declarations[event.meta].name)
}

/// `export type X = A | B;`, on several lines if it must be.
fn alias(text: &mut Text, name: &str, alternatives: &[String]) {
    let line = format!("export type {name} = {};", alternatives.join(" | "));
    if alternatives.len() == 1 || text.width(&line) <= WIDTH {
        text.line(line);
    } else {
        text.line(format!(
            "export type {name} =\n  | {};",
            alternatives.join("\n  | ")
        ));
    }
}

fn docs(text: &mut Text, mut lines: Vec<String>, deprecated: bool) {
    lines
        .iter_mut()
        // Tools read what begins with @ts-, even here.
        .for_each(|line| *line = line.replace("*/", "* /").replace("@ts-", "@ ts-"));
    if deprecated {
        lines.pop(); // "Deprecated."
        lines.push("@deprecated".to_owned());
    }
    match lines.as_slice() {
        [] => {}
        [line] => text.line(format!("/** {line} */")),
        lines => {
            text.line("/**");
            for line in lines {
                text.line(format!(" * {line}").trim_end());
            }
            text.line(" */");
        }
    }
}

fn declare(model: &Model, declaration: &Declaration, text: &mut Text) {
    let name = &declaration.name;
    let of_alias = match &declaration.kind {
        Kind::Alias(shape) => Some(shape),
        _ => None,
    };
    docs(
        text,
        comment(&declaration.doc, of_alias, &[]),
        declaration.doc.deprecated,
    );
    match &declaration.kind {
        Kind::Record { fields, rest } if fields.is_empty() && rest.is_none() => {
            text.line(format!("export type {name} = {{ [key: string]: never }};"));
        }
        Kind::Record { fields, rest } => {
            text.line(format!("export interface {name} {{"));
            text.block(|t| {
                for field in fields {
                    docs(
                        t,
                        comment(&field.doc, Some(&field.shape), &[]),
                        field.doc.deprecated,
                    );
                    let optional = if field.required { "" } else { "?" };
                    let key = key(&field.json);
                    let head = format!("{key}{optional}:");
                    let alternatives = alternatives(model, &field.shape);
                    let line = format!("{head} {};", alternatives.join(" | "));
                    if alternatives.len() > 1 && t.width(&line) > WIDTH {
                        t.line(format!("{head}\n  | {};", alternatives.join("\n  | ")));
                    } else {
                        t.line(line);
                    }
                }
                if rest.is_some() {
                    docs(t, vec!["All other properties.".to_owned()], false);
                    t.line("[key: string]: unknown;");
                }
            });
            text.line("}");
        }
        Kind::Enum(values) => {
            let values: Vec<String> = values.iter().map(|v| quoted(v)).collect();
            alias(text, name, &values);
        }
        Kind::Union(variants) => {
            let shapes = variants.iter().flat_map(|v| alternatives(model, &v.shape));
            alias(text, name, &shapes.collect::<Vec<_>>());
        }
        Kind::Alias(shape) => alias(text, name, &alternatives(model, shape)),
        Kind::Open => {}
    }
}

/// A property's name, in quotes where it is no identifier.
fn key(name: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
    let is_name = name.chars().all(is_part) && !name.starts_with(|c: char| c.is_ascii_digit());
    // Assigning this one would set the prototype; as a type it is a property like others.
    if is_name && !name.is_empty() {
        name.to_owned()
    } else {
        quoted(name)
    }
}

/// The types of which a value is one.
fn alternatives(model: &Model, shape: &Shape) -> Vec<String> {
    let one = |s: &str| vec![s.to_owned()];
    match shape {
        Shape::Any => one("unknown"),
        Shape::Null => one("null"),
        Shape::Boolean => one("boolean"),
        Shape::Integer | Shape::Number => one("number"),
        Shape::Text(_) => one("string"),
        Shape::Literals(values) => values.iter().map(ToString::to_string).collect(),
        Shape::List(inner) => match alternatives(model, inner).as_slice() {
            [one] => vec![format!("{one}[]")],
            several => vec![format!("({})[]", several.join(" | "))],
        },
        Shape::Map(inner) => {
            let inner = alternatives(model, inner).join(" | ");
            vec![format!("{{ [key: string]: {inner} }}")]
        }
        Shape::Nullable(inner) => {
            let mut shapes = alternatives(model, inner);
            shapes.push("null".to_owned());
            shapes
        }
        Shape::Named(n) => match &model.declarations[*n].kind {
            Kind::Enum(values) if values.len() == 1 => vec![quoted(&values[0])],
            _ => one(&model.declarations[*n].name),
        },
    }
}

const ROW: &str = r#"/** An event as JSON or a driver has it: `SELECT * FROM en57_read(..)`. */
export interface EventRow {
  position: number | string | bigint;
  id: string;
  type: string;
  data: unknown;
  meta: unknown;
  tags: string[];
  stream: string | null;
  stream_version: number | string | bigint | null;
  schema_version: number;
  occurred_at: string | Date;
  recorded_at: string | Date;
  partition: string;
}

function time(value: string | Date): string {
  return typeof value === "string" ? value : value.toISOString();
}

/** The event in a row. Its data is taken for what was checked at the append. */
export function parseEvent(row: EventRow): Event {
  const envelope: Envelope = {
    position: Number(row.position),
    id: row.id,
    tags: row.tags,
    stream: row.stream,
    stream_version:
      row.stream_version === null ? null : Number(row.stream_version),
    occurred_at: time(row.occurred_at),
    recorded_at: time(row.recorded_at),
    partition: row.partition,
  };"#;

const APPEND: &str = r#"/** The event as JSON: the columns of `en57_event`. */
export function eventToJson(event: Event): EventRow {
  const { kind, ...row } = event;
  return row;
}

/** The kinds of events that are registered. */
export type EventKind = Exclude<Event["kind"], "Unknown">;

/** The event of a kind. */
export type EventOf<K extends EventKind> = Extract<Event, { kind: K }>;

/** What an event can have beside its data. */
export interface AppendOptions<M> {
  tags?: string[];
  meta?: M;
  id?: string;
  occurred_at?: string;
  correlation_id?: string;
  causation_id?: string;
  trace_id?: string;
}

/** An event as `en57_append` takes it. */
export interface AppendEvent extends AppendOptions<unknown> {
  type: string;
  schema_version: number;
  data: unknown;
}

/** The new event of a kind, for `en57_append`. */
export function toAppend<K extends EventKind>(
  kind: K,
  data: EventOf<K>["data"],
  options: AppendOptions<NonNullable<EventOf<K>["meta"]>> = {},
): AppendEvent {
  return { ...registered[kind], data, ...options };
}"#;

fn functions(model: &Model, text: &mut Text) {
    text.gap();
    text.line(ROW);
    text.block(|t| {
        t.line("switch (`${row.schema_version} ${row.type}`) {");
        t.block(|t| {
            for event in &model.events {
                let name = &event.name;
                t.line(format!("case {}:", quoted(&format!("{} {}", event.version, event.event_type))));
                t.block(|t| {
                    if !model.takes_null(&Shape::Named(event.data)) {
                        t.line("if (row.data === null) break;");
                    }
                    t.line("return {\n  ...envelope,");
                    t.block(|t| {
                        t.line(format!("kind: {},", quoted(name)));
                        t.line(format!("type: {},", quoted(&event.event_type)));
                        t.line(format!("schema_version: {},", event.version));
                        t.line(format!("data: row.data as {name},"));
                        t.line(format!("meta: row.meta as {},", meta(model, event)));
                    });
                    t.line("};");
                });
            }
        });
        if model.events.is_empty() {
            t.line("  default:\n    break;");
        }
        t.line("}");
        t.line(
            "return {\n  ...envelope,\n  kind: \"Unknown\",\n  type: row.type,\n  schema_version: row.schema_version,
  data: row.data,\n  meta: row.meta,\n};",
        );
    });
    text.line("}");
    text.gap();
    text.line(
        "const registered: {\n  [K in EventKind]: { type: string; schema_version: number };\n} = {",
    );
    text.block(|t| {
        for event in &model.events {
            let entry = format!(
                "type: {}, schema_version: {}",
                quoted(&event.event_type),
                event.version
            );
            let line = format!("{}: {{ {entry} }},", key(&event.name));
            if t.width(&line) <= WIDTH {
                t.line(line);
            } else {
                t.line(format!(
                    "{}: {{\n  {},\n}},",
                    key(&event.name),
                    entry.replace(", schema_version", ",\n  schema_version")
                ));
            }
        }
    });
    text.line("};");
    text.gap();
    text.line(APPEND);
}
