//! TypeScript: interfaces and unions. They describe JSON values as they are, so only events are read and written.

use super::language::{Language, Write};
use super::model::{Declaration, EventType, Field, Kind, Model, Shape};
use super::text::{Text, declaration_comment, field_comment, header, quoted, type_name};

/// TypeScript in the table of languages.
pub const LANGUAGE: Language = Language {
    name: "typescript",
    write: Write::WithoutModule {
        title: "TypeScript",
        write,
    },
    reserved: RESERVED,
};

/// The longest line.
const WIDTH: usize = 80;

/// The names that the file defines beside those of types, or uses from the language. No type gets one.
const RESERVED: &[&str] = &[
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

/// The model as a module of TypeScript.
fn write(model: &Model) -> String {
    let mut text = Text::new("  ");
    text.comment("// ", header(model, "typescript"));
    events(model, &mut text);
    for (number, declaration) in model.declarations.iter().enumerate() {
        if !model.is_inlined(number) {
            text.gap();
            declare(model, declaration, &mut text);
        }
    }
    for (event, plain) in model.newest() {
        text.gap();
        let name = quoted(&type_name(event));
        docs(&mut text, vec![format!("The newest version of {name}.")]);
        text.line(format!("export type {plain} = {};", event.name));
    }
    functions(model, &mut text);
    text.finish()
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

/// The union of all events, and the interface of each.
fn events(model: &Model, text: &mut Text) {
    text.gap();
    text.line("/** An event as en57 returns it; `kind` tells which. */");
    let names = model.events.iter().map(|e| format!("{}Event", e.name));
    let names: Vec<String> = names.chain(["UnknownEvent".to_owned()]).collect();
    alias(text, "Event", &names);
    text.gap();
    text.line(ENVELOPE);
    for event in &model.events {
        text.gap();
        let name = &event.name;
        let lines = |t: &mut Text| {
            t.line(format!("kind: {};", quoted(name)));
            t.line(format!("type: {};", quoted(&event.event_type)));
            t.line(format!("schema_version: {};", event.version));
            t.line(format!("data: {name};"));
            t.line(format!("meta: {};", meta(model, event)));
        };
        let head = format!("export interface {name}Event extends Envelope {{");
        text.enclose(head, lines, "}");
    }
    text.gap();
    text.line(UNKNOWN);
}

/// The type of an event's metadata.
fn meta(model: &Model, event: &EventType) -> String {
    format!("{} | null", model.meta_name(event))
}

/// Adds a type that is one of several: `export type X = A | B;`, on several lines if it is long.
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

/// Adds a comment.
fn docs(text: &mut Text, mut lines: Vec<String>) {
    for line in &mut lines {
        // Tools read words that begin with @ts-, even here.
        *line = line.replace("*/", "* /").replace("@ts-", "@ ts-");
    }
    match lines.as_slice() {
        [] => {}
        [line] => text.line(format!("/** {line} */")),
        lines => {
            text.line("/**");
            text.comment(" * ", lines);
            text.line(" */");
        }
    }
}

/// Adds a comment. If it ends with "Deprecated.", that becomes a tag that tools read.
fn docs_with_tag(text: &mut Text, mut lines: Vec<String>, deprecated: bool) {
    if deprecated {
        lines.pop();
        lines.push("@deprecated".to_owned());
    }
    docs(text, lines);
}

/// The type of a declaration.
fn declare(model: &Model, declaration: &Declaration, text: &mut Text) {
    let name = &declaration.name;
    let comment = declaration_comment(declaration, &[]);
    docs_with_tag(text, comment, declaration.doc.deprecated);
    match &declaration.kind {
        Kind::Record { fields, rest } => record(model, name, fields, rest.as_ref(), text),
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

/// The interface of an object.
fn record(model: &Model, name: &str, fields: &[Field], rest: Option<&Shape>, text: &mut Text) {
    if fields.is_empty() && rest.is_none() {
        text.line(format!("export type {name} = {{ [key: string]: never }};"));
        return;
    }
    let lines = |t: &mut Text| {
        for field in fields {
            property(model, field, t);
        }
        if rest.is_some() {
            docs(t, vec!["All other properties.".to_owned()]);
            t.line("[key: string]: unknown;");
        }
    };
    text.enclose(format!("export interface {name} {{"), lines, "}");
}

fn property(model: &Model, field: &Field, text: &mut Text) {
    docs_with_tag(text, field_comment(field, &[]), field.doc.deprecated);
    let optional = if field.required { "" } else { "?" };
    let head = format!("{}{optional}:", key(&field.json));
    let alternatives = alternatives(model, &field.shape);
    let line = format!("{head} {};", alternatives.join(" | "));
    if alternatives.len() > 1 && text.width(&line) > WIDTH {
        text.line(format!("{head}\n  | {};", alternatives.join("\n  | ")));
    } else {
        text.line(line);
    }
}

/// The name of a property, in quotes if it is not an identifier.
fn key(name: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
    let is_name = name.chars().all(is_part) && !name.starts_with(|c: char| c.is_ascii_digit());
    if is_name && !name.is_empty() {
        name.to_owned()
    } else {
        quoted(name)
    }
}

/// The types of the values of a shape: a value has one of them.
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

/// The functions that read, write and make events.
fn functions(model: &Model, text: &mut Text) {
    text.gap();
    text.enclose(ROW, |t| parse(model, t), "}");
    text.gap();
    registered(model, text);
    text.gap();
    text.line(APPEND);
}

/// The lines that read an event out of a row.
fn parse(model: &Model, text: &mut Text) {
    text.line("switch (`${row.schema_version} ${row.type}`) {");
    for event in &model.events {
        text.block(|t| case(model, event, t));
    }
    if model.events.is_empty() {
        text.line("  default:\n    break;");
    }
    text.line("}");
    text.line(
        "return {
  ...envelope,
  kind: \"Unknown\",
  type: row.type,
  schema_version: row.schema_version,
  data: row.data,
  meta: row.meta,
};",
    );
}

/// The case of one event in the function that reads events.
fn case(model: &Model, event: &EventType, text: &mut Text) {
    let (name, version) = (&event.name, event.version);
    let members = |t: &mut Text| {
        t.line("...envelope,");
        t.line(format!("kind: {},", quoted(name)));
        t.line(format!("type: {},", quoted(&event.event_type)));
        t.line(format!("schema_version: {version},"));
        t.line(format!("data: row.data as {name},"));
        t.line(format!("meta: row.meta as {},", meta(model, event)));
    };
    let key = quoted(&format!("{version} {}", event.event_type));
    text.line(format!("case {key}:"));
    text.block(|t| {
        if !model.data_takes_null(event) {
            t.line("if (row.data === null) break;");
        }
        t.enclose("return {", members, "};");
    });
}

/// The type and version of each kind of event, for new events.
fn registered(model: &Model, text: &mut Text) {
    text.line("const registered: {");
    text.line("  [K in EventKind]: { type: string; schema_version: number };");
    let lines = |t: &mut Text| {
        for event in &model.events {
            let key = key(&event.name);
            let kind = format!("type: {}", quoted(&event.event_type));
            let version = format!("schema_version: {}", event.version);
            let line = format!("{key}: {{ {kind}, {version} }},");
            if t.width(&line) <= WIDTH {
                t.line(line);
            } else {
                t.line(format!("{key}: {{\n  {kind},\n  {version},\n}},"));
            }
        }
    };
    text.enclose("} = {", lines, "};");
}
