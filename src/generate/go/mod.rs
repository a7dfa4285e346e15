//! Go: structs with tags, and methods where a tag does not do.

use crate::dcb::error::Result;

use super::go_read::{helpers, is_defined, reader};
use super::go_record;
use super::model::{Declaration, EventType, Format, Kind, Model, Shape};
use super::names::{Names, pascal, words};
use super::text::{Text, comment, header, quoted};

const KEYWORDS: [&str; 25] = [
    "break",
    "case",
    "chan",
    "const",
    "continue",
    "default",
    "defer",
    "else",
    "fallthrough",
    "for",
    "func",
    "go",
    "goto",
    "if",
    "import",
    "interface",
    "map",
    "package",
    "range",
    "return",
    "select",
    "struct",
    "switch",
    "type",
    "var",
];
/// Words that Go writes in capitals.
const INITIALISMS: [&str; 16] = [
    "api", "cpu", "css", "dns", "html", "http", "https", "id", "ip", "json", "sql", "uri", "url",
    "utf8", "uuid", "xml",
];
/// The formats that have a type.
pub const NATIVE: [Format; 2] = [Format::Plain, Format::DateTime];

/// The model in Go.
///
/// # Errors
/// 22023 for a module that is no name of a package.
pub fn write(model: &Model, module: Option<&str>) -> Result<String> {
    let is_package = |name: &str| {
        let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(is_part)
            && !KEYWORDS.contains(&name)
    };
    let package = super::module_or(module, "events", is_package)?;
    let mut body = Text::new("\t");
    events(model, &mut body);
    append(model, &mut body);
    let mut names = taken(model);
    for (i, declaration) in model.declarations.iter().enumerate() {
        body.gap();
        declare(model, i, declaration, &mut names, &mut body);
    }
    for event in &model.events {
        if let Some(plain) = &event.plain_name {
            body.gap();
            body.line(format!(
                "// {plain} is the newest version of {}.",
                super::schema::clean(&event.event_type)
            ));
            body.line(format!("type {plain} = {}", event.name));
        }
    }
    let body = body.finish();
    let is_union = |d: &Declaration| matches!(d.kind, Kind::Union(_));
    let has_unions = model.declarations.iter().any(is_union);
    let mut helpers = helpers(&body);
    if has_unions {
        helpers.insert_str(0, &format!("\n{}", go_record::UNION));
    }

    let mut text = Text::new("\t");
    for line in header(model, "go") {
        text.line(format!("// {line}").trim_end());
    }
    text.gap();
    text.line(format!("package {package}"));
    text.gap();
    text.line("import (");
    // A package that is not used is an error. In the body, a name with a dot may be part of a comment.
    let uses = |import: &str| {
        let name = format!("{import}.");
        let mut after = helpers.split(&name).skip(1);
        after.any(|text| text.starts_with(|c: char| c.is_ascii_uppercase()))
    };
    for (import, is_used) in [
        ("bytes", uses("bytes")),
        ("encoding/json", true),
        ("fmt", has_unions || uses("fmt")),
        ("strings", uses("strings")),
        ("time", true),
    ] {
        if is_used {
            text.line(format!("\t\"{import}\""));
        }
    }
    text.line(")");
    text.gap();
    Ok(text.finish() + &body + &helpers)
}

/// The names that the file has at its top, beside those of types, or means by theirs. Types get others.
pub const NAMES: &[&str] = &[
    "AppendEvent",
    "AppendOptions",
    "Envelope",
    "Event",
    "Nullable",
    "NullableOf",
    "ParseEvent",
    "UnknownEvent",
];

/// All names at the top of the file.
fn taken(model: &Model) -> Names {
    let mut names = Names::reserving(NAMES);
    for event in &model.events {
        names.take(&event.name, "");
        names.take(&format!("{}Event", event.name), "");
        names.take(&format!("ToAppend{}", event.name), "");
        if let Some(plain) = &event.plain_name {
            names.take(plain, "");
        }
    }
    for declaration in &model.declarations {
        if names.is_free(&declaration.name) {
            names.take(&declaration.name, "");
        }
    }
    names
}

/// The name of a field: in capitals where Go wants them.
pub fn exported(text: &str) -> String {
    let mut name = String::new();
    for word in words(text) {
        if INITIALISMS.contains(&word.as_str()) {
            name.push_str(&word.to_uppercase());
        } else {
            let word = pascal(&word);
            let word = if name.is_empty() {
                word.as_str()
            } else {
                word.strip_prefix('X')
                    .filter(|w| w.starts_with(|c: char| c.is_ascii_digit()))
                    .unwrap_or(&word)
            };
            let joins = name.ends_with(|c: char| c.is_ascii_digit())
                && word.starts_with(|c: char| c.is_ascii_digit());
            name.push_str(if joins { "_" } else { "" });
            name.push_str(word);
        }
    }
    if name.is_empty() {
        "X".to_owned()
    } else {
        name
    }
}

/// A comment that gofmt leaves as it is: it would indent what looks like a list or code, and rewrite headings and links.
pub fn docs(text: &mut Text, lines: &[String]) {
    let mut was_empty = true;
    let mut out: Vec<String> = Vec::new();
    for line in lines {
        let mut line = line
            .trim()
            .trim_start_matches('#')
            .trim_start()
            .replace("]:", "] :");
        for quote in ["''", "``"] {
            line = line.replace(quote, "\"");
        }
        let number = line.trim_start_matches(|c: char| c.is_ascii_digit());
        if number.len() < line.len() && number.starts_with(['.', ')']) {
            line = format!(
                "({}) {}",
                &line[..line.len() - number.len()],
                number[1..].trim_start()
            );
        }
        if let Some(item) = line.strip_prefix(['-', '*', '+', '•']) {
            line = format!("– {}", item.trim_start());
        }
        if !(line.is_empty() && was_empty) {
            was_empty = line.is_empty();
            out.push(line);
        }
    }
    if was_empty {
        out.pop();
    }
    for line in out {
        text.line(format!("// {line}").trim_end());
    }
}

const ENVELOPE: &str = r#"// Event is an event as en57 returns it: a pointer to one of the structs whose names end with Event.
type Event interface {
	// Recorded is what all events have.
	Recorded() *Envelope
}

// Envelope is what all events have.
type Envelope struct {
	Position      int64     `json:"position"`
	ID            string    `json:"id"`
	Type          string    `json:"type"`
	Tags          []string  `json:"tags"`
	Stream        *string   `json:"stream"`
	StreamVersion *int64    `json:"stream_version"`
	SchemaVersion int       `json:"schema_version"`
	OccurredAt    time.Time `json:"occurred_at"`
	RecordedAt    time.Time `json:"recorded_at"`
	Partition     string    `json:"partition"`
}

// Recorded is what all events have.
func (e *Envelope) Recorded() *Envelope {
	return e
}"#;

const PARSE: &str = r#"// UnknownEvent is an event of another type or version, or one whose data has been erased.
type UnknownEvent struct {
	Envelope

	Data json.RawMessage `json:"data"`
	Meta json.RawMessage `json:"meta"`
}

// ParseEvent reads the event in the JSON of SELECT to_jsonb(e) FROM en57_read(..) AS e.
func ParseEvent(data []byte) (Event, error) {
	row := &UnknownEvent{}
	if err := json.Unmarshal(data, row); err != nil {
		return nil, err
	}"#;

fn events(model: &Model, text: &mut Text) {
    text.line(ENVELOPE);
    for event in &model.events {
        let name = &event.name;
        text.gap();
        docs(
            text,
            &[format!(
                "{name}Event is {}, version {}.",
                super::schema::clean(&event.event_type),
                event.version
            )],
        );
        text.line(format!("type {name}Event struct {{\n\tEnvelope\n"));
        text.block(|t| {
            let data = vec![
                "Data".to_owned(),
                name.clone(),
                "`json:\"data\"`".to_owned(),
            ];
            let meta = format!("*{}", model.declarations[event.meta].name);
            let meta = vec!["Meta".to_owned(), meta, "`json:\"meta\"`".to_owned()];
            aligned(t, &[data, meta]);
        });
        text.line("}");
    }
    text.gap();
    text.line(PARSE);
    text.block(|t| {
        let takes_null = |event: &EventType| model.takes_null(&Shape::Named(event.data));
        if !model.events.iter().all(takes_null) {
            t.line("hasData := len(row.Data) > 0 && string(row.Data) != \"null\"");
        }
        if !model.events.is_empty() {
            t.line("switch {");
            for event in &model.events {
                let guard = if takes_null(event) { "" } else { " && hasData" };
                let (kind, version) = (quoted(&event.event_type), event.version);
                t.line(format!(
                    "case row.Type == {kind} && row.SchemaVersion == {version}{guard}:"
                ));
                t.block(|t| {
                    let data = reader(model, &Shape::Named(event.data));
                    let meta = reader(model, &Shape::Named(event.meta));
                    t.line(format!(
                        "event := &{}Event{{Envelope: row.Envelope}}",
                        event.name
                    ));
                    let call = format!("readEvent(row, &event.Data, {data}, &event.Meta, {meta})");
                    t.line(format!(
                        "if err := {call}; err != nil {{\n\treturn nil, err\n}}"
                    ));
                    t.line("return event, nil");
                });
            }
            t.line("}");
        }
        t.line("return row, nil");
    });
    text.line("}");
}

const APPEND: &str = r#"// AppendOptions is what a new event can have beside its data.
type AppendOptions[M any] struct {
	Tags          []string   `json:"tags,omitempty"`
	Meta          *M         `json:"meta,omitempty"`
	ID            string     `json:"id,omitempty"`
	OccurredAt    *time.Time `json:"occurred_at,omitempty"`
	CorrelationID string     `json:"correlation_id,omitempty"`
	CausationID   string     `json:"causation_id,omitempty"`
	TraceID       string     `json:"trace_id,omitempty"`
}

// AppendEvent is a new event, whose JSON en57_append takes.
type AppendEvent[D, M any] struct {
	Type          string `json:"type"`
	SchemaVersion int    `json:"schema_version"`
	Data          D      `json:"data"`
	AppendOptions[M]
}"#;

fn append(model: &Model, text: &mut Text) {
    text.gap();
    text.line(APPEND);
    for EventType {
        event_type,
        version,
        name,
        meta,
        ..
    } in &model.events
    {
        let meta = &model.declarations[*meta].name;
        text.gap();
        docs(
            text,
            &[format!("ToAppend{name} is a new event for en57_append.")],
        );
        text.line(format!(
            "func ToAppend{name}(data {name}, options AppendOptions[{meta}]) AppendEvent[{name}, {meta}] {{
\treturn AppendEvent[{name}, {meta}]{{{}, {version}, data, options}}\n}}",
            quoted(event_type)
        ));
    }
}

/// Lines of cells, in columns as gofmt has them.
pub fn aligned(text: &mut Text, lines: &[Vec<String>]) {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|l| l.get(column));
        cells.map(|c| c.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for line in lines {
        let mut out = String::new();
        for (i, cell) in line.iter().enumerate() {
            out.push_str(cell);
            if i + 1 < line.len() {
                out.push_str(&" ".repeat(widths[i] - cell.chars().count() + 1));
            }
        }
        text.line(out);
    }
}

fn declare(
    model: &Model,
    number: usize,
    declaration: &Declaration,
    names: &mut Names,
    text: &mut Text,
) {
    let name = &declaration.name;
    let of_alias = match &declaration.kind {
        Kind::Alias(shape) => Some(shape),
        _ => None,
    };
    docs(text, &comment(&declaration.doc, of_alias, &NATIVE));
    match &declaration.kind {
        Kind::Record { fields, rest } => {
            go_record::record(model, number, fields, rest.as_ref(), text);
        }
        Kind::Enum(values) => {
            text.line(format!("type {name} string"));
            text.gap();
            text.line(format!("// The values of {name}."));
            text.line("const (");
            let line = |value: &String| {
                let constant = names.take(&format!("{name}{}", exported(value)), "_");
                vec![constant, format!("{name} = {}", quoted(value))]
            };
            let lines: Vec<_> = values.iter().map(line).collect();
            text.block(|t| aligned(t, &lines));
            text.line(")");
        }
        Kind::Union(variants) => go_record::union(model, name, variants, text),
        Kind::Alias(shape) if is_defined(shape) => go_record::container(model, name, shape, text),
        Kind::Alias(shape) => text.line(format!("type {name} = {}", shape_of(model, shape))),
        Kind::Open => {}
    }
}

/// The type of a value that must be there.
pub fn shape_of(model: &Model, shape: &Shape) -> String {
    match shape {
        Shape::Any => "json.RawMessage".to_owned(),
        Shape::Null => "*struct{}".to_owned(),
        Shape::Boolean => "bool".to_owned(),
        Shape::Integer => "int64".to_owned(),
        Shape::Number => "float64".to_owned(),
        Shape::Literals(values) if values.iter().all(|v| v.is_boolean()) => "bool".to_owned(),
        Shape::Literals(_) => "int64".to_owned(),
        Shape::Text(Format::DateTime) => "time.Time".to_owned(),
        Shape::Text(_) => "string".to_owned(),
        Shape::List(inner) => format!("[]{}", shape_of(model, inner)),
        Shape::Map(inner) => format!("map[string]{}", shape_of(model, inner)),
        Shape::Nullable(inner) => match shape_of(model, inner) {
            // These have a null of their own.
            own if matches!(**inner, Shape::List(_) | Shape::Map(_)) => own,
            other => format!("*{other}"),
        },
        Shape::Named(n) => match &model.declarations[*n].kind {
            // Go has no other names for types that hold themselves.
            Kind::Alias(inner) if !is_defined(inner) => shape_of(model, inner),
            _ => model.declarations[*n].name.clone(),
        },
    }
}
