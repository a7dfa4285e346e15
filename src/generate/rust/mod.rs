//! Rust: serde's structs and enums.

use crate::dcb::error::Result;

use super::model::{Declaration, Field, Format, Kind, Model, Shape, Variant};
use super::names::{Names, pascal, snake};
use super::rust_layout::{self, arm, begin, broken, call, implement, serde, typed, variant};
use super::rust_read::{helpers, is_nullable, is_present, takes_null};
use super::rust_union;
use super::text::{Text, comment, header};

/// Strict keywords, and those reserved.
const KEYWORDS: [&str; 49] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let",
    "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return",
    "static", "struct", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use",
    "virtual", "where", "while", "yield", "union",
];
/// Keywords that stay so with `r#`.
const NEVER: [&str; 3] = ["self", "super", "crate"];

/// The names that the file has, beside those of types, or means by theirs. Types get others.
pub const NAMES: &[&str] = &[
    "AppendOptions",
    "Box",
    "Clone",
    "Copy",
    "Debug",
    "Default",
    "Deserialize",
    "Deserializer",
    "Eq",
    "Err",
    "Error",
    "Event",
    "EventData",
    "None",
    "Ok",
    "Option",
    "PartialEq",
    "Recorded",
    "Result",
    "Self",
    "Serialize",
    "Serializer",
    "Some",
    "String",
    "Unknown",
    "Value",
    "Vec",
];
const DERIVE: &str = "#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]";

/// The model in Rust.
///
/// # Errors
/// 22023 where a module is named.
pub fn write(model: &Model, module: Option<&str>) -> Result<String> {
    super::no_module("Rust", module)?;
    let mut text = Text::new("    ");
    for line in header(model, "rust") {
        text.line(format!("// {line}").trim_end());
    }
    text.gap();
    text.line("use serde::{Deserialize, Serialize};");
    events(model, &mut text);
    append(model, &mut text);
    for (i, declaration) in model.declarations.iter().enumerate() {
        text.gap();
        let writer = Writer {
            model,
            container: i,
        };
        writer.declaration(declaration, &mut text);
    }
    for helper in helpers(model) {
        text.gap();
        text.line(helper);
    }
    Ok(text.finish())
}

fn docs(text: &mut Text, lines: &[String]) {
    for line in lines {
        text.line(format!("/// {line}").trim_end());
    }
}

const RECORDED: &str = "/// An event with the columns of `en57_event`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded<D, M> {
    pub position: i64,
    pub id: String,
    #[serde(rename = \"type\")]
    pub event_type: String,
    pub data: D,
    pub meta: Option<M>,
    pub tags: Vec<String>,
    pub stream: Option<String>,
    pub stream_version: Option<i64>,
    pub schema_version: i32,
    pub occurred_at: String,
    pub recorded_at: String,
    pub partition: String,
}";

fn events(model: &Model, text: &mut Text) {
    text.gap();
    text.line(
        "/// An event as en57 returns it, read from the JSON of `SELECT to_jsonb(e) FROM en57_read(..) AS e`.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::enum_variant_names, clippy::large_enum_variant)]
pub enum Event {",
    );
    text.block(|t| {
        for event in &model.events {
            let meta = &model.declarations[event.meta].name;
            docs(
                t,
                &[format!(
                    "`{}`, version {}.",
                    super::schema::clean(&event.event_type),
                    event.version
                )],
            );
            variant(t, &event.name, &format!("Recorded<{}, {meta}>", event.name));
        }
        t.line("/// An event of another type or version, or one whose data has been erased.");
        t.line("Unknown(Recorded<serde_json::Value, serde_json::Value>),");
    });
    text.line("}");
    text.gap();
    text.line(RECORDED);

    text.gap();
    text.line("impl<'de> Deserialize<'de> for Event {");
    text.block(|t| {
        t.line("fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {");
        t.block(|t| {
            t.line("let json = serde_json::Value::deserialize(deserializer)?;");
            for event in &model.events {
                let is_of = if takes_null(model, event.data) {
                    "is_of"
                } else {
                    "is_of_with_data"
                };
                let kind = format!("{:?}", event.event_type);
                let of = call(is_of, &["&json", &kind, &event.version.to_string()]);
                t.line(format!("if {of} {{"));
                let read = call("read", &["json", &format!("Self::{}", event.name)]);
                t.block(|t| t.line(format!("return {read};")));
                t.line("}");
            }
            t.line("read(json, Self::Unknown)");
        });
        t.line("}");
    });
    text.line("}");

    text.gap();
    text.line("impl Serialize for Event {");
    text.block(|t| {
        t.line(
            "fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {",
        );
        t.block(|t| {
            t.line("match self {");
            t.block(|t| {
                let names = model.events.iter().map(|e| e.name.as_str());
                for name in names.chain(["Unknown"]) {
                    arm(
                        t,
                        &format!("Self::{name}(event) =>"),
                        "event.serialize(serializer)",
                    );
                }
            });
            t.line("}");
        });
        t.line("}");
    });
    text.line("}");
}

const APPEND: &str = "/// What a new event can have beside its data.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AppendOptions<M> {
    pub tags: Vec<String>,
    #[serde(skip_serializing_if = \"Option::is_none\")]
    pub meta: Option<M>,
    #[serde(skip_serializing_if = \"Option::is_none\")]
    pub id: Option<String>,
    #[serde(skip_serializing_if = \"Option::is_none\")]
    pub occurred_at: Option<String>,
    #[serde(skip_serializing_if = \"Option::is_none\")]
    pub correlation_id: Option<String>,
    #[serde(skip_serializing_if = \"Option::is_none\")]
    pub causation_id: Option<String>,
    #[serde(skip_serializing_if = \"Option::is_none\")]
    pub trace_id: Option<String>,
}

impl<M> Default for AppendOptions<M> {
    fn default() -> Self {
        Self {
            tags: Vec::new(),
            meta: None,
            id: None,
            occurred_at: None,
            correlation_id: None,
            causation_id: None,
            trace_id: None,
        }
    }
}

/// The data of an event type.
pub trait EventData: Serialize {
    /// The type as it is registered.
    const TYPE: &'static str;
    /// Its version.
    const SCHEMA_VERSION: i32;
    /// What its metadata is.
    type Meta: Serialize;

    /// The event as `en57_append` takes it.
    fn to_append(
        &self,
        options: &AppendOptions<Self::Meta>,
    ) -> serde_json::Result<serde_json::Value> {
        let mut event = serde_json::to_value(options)?;
        event[\"type\"] = Self::TYPE.into();
        event[\"schema_version\"] = Self::SCHEMA_VERSION.into();
        event[\"data\"] = serde_json::to_value(self)?;
        Ok(event)
    }
}";

fn append(model: &Model, text: &mut Text) {
    text.gap();
    text.line(APPEND);
    for event in &model.events {
        text.gap();
        implement(text, "impl EventData for", &event.name);
        text.block(|t| {
            let constant = format!("const TYPE: &'static str = {:?};", event.event_type);
            broken(t, &constant);
            t.line(format!("const SCHEMA_VERSION: i32 = {};", event.version));
            t.line(format!(
                "type Meta = {};",
                model.declarations[event.meta].name
            ));
        });
        text.line("}");
    }
    for event in &model.events {
        if let Some(plain) = &event.plain_name {
            text.gap();
            docs(
                text,
                &[format!(
                    "The newest version of `{}`.",
                    super::schema::clean(&event.event_type)
                )],
            );
            broken(text, &format!("pub type {plain} = {};", event.name));
        }
    }
}

struct Writer<'a> {
    model: &'a Model,
    container: usize,
}

impl Writer<'_> {
    fn declaration(&self, declaration: &Declaration, text: &mut Text) {
        let alias = match &declaration.kind {
            Kind::Alias(shape) => Some(shape),
            _ => None,
        };
        docs(text, &comment(&declaration.doc, alias, &[]));
        let name = &declaration.name;
        match &declaration.kind {
            Kind::Record { fields, rest } => self.record(name, fields, rest.as_ref(), text),
            Kind::Enum(values) => strings(name, values, text),
            Kind::Union(variants) => self.union(name, variants, text),
            Kind::Alias(_) | Kind::Open => {
                let shape = alias.map_or_else(|| self.shape(&Shape::Any), |s| self.shape(s));
                text.line(format!("{DERIVE}\n#[serde(transparent)]"));
                text.line(format!("pub struct {name}(pub {shape});"));
            }
        }
    }

    fn record(&self, name: &str, fields: &[Field], rest: Option<&Shape>, text: &mut Text) {
        text.line(DERIVE);
        if fields.is_empty() && rest.is_none() {
            text.line(format!("pub struct {name} {{}}"));
            return;
        }
        begin(text, &format!("pub struct {name}"));
        text.block(|t| {
            let mut names = Names::reserving(&NEVER);
            let rest_name = rest.map(|_| names.take("additional", "_"));
            for field in fields {
                self.field(field, &names.take(&snake(&field.json), "_"), t);
            }
            if let (Some(rest), Some(name)) = (rest, rest_name) {
                docs(t, &["All other properties.".to_owned()]);
                t.line("#[serde(flatten)]");
                let shape = self.shape(&Shape::Map(Box::new(rest.clone())));
                typed(t, &format!("pub {name}:"), &shape);
            }
        });
        text.line("}");
    }

    fn field(&self, field: &Field, name: &str, text: &mut Text) {
        docs(text, &comment(&field.doc, Some(&field.shape), &[]));
        let mut attributes = Vec::new();
        if field.json != name {
            attributes.push(format!("rename = {:?}", field.json));
        }
        let mut shape = self.shape(&field.shape);
        if is_nullable(self.model, field) {
            attributes.push("deserialize_with = \"required\"".to_owned());
        }
        if !field.required {
            attributes.push("default".to_owned());
            if is_present(self.model, field) {
                attributes.push("deserialize_with = \"present\"".to_owned());
            }
            attributes.push("skip_serializing_if = \"Option::is_none\"".to_owned());
            shape = format!("Option<{shape}>");
        }
        serde(text, &attributes);
        let name = if KEYWORDS.contains(&name) {
            format!("r#{name}")
        } else {
            name.to_owned()
        };
        typed(text, &format!("pub {name}:"), &shape);
    }

    fn union(&self, name: &str, variants: &[Variant], text: &mut Text) {
        text.line(
            "#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[allow(clippy::enum_variant_names, clippy::large_enum_variant)]",
        );
        begin(text, &format!("pub enum {name}"));
        text.block(|t| {
            for (variant, name) in variants.iter().zip(rust_union::names(variants)) {
                docs(
                    t,
                    &comment(&super::model::Doc::default(), Some(&variant.shape), &[]),
                );
                rust_layout::variant(t, &name, &self.shape(&variant.shape));
            }
        });
        text.line("}");
        rust_union::deserialize(name, variants, text);
    }

    fn shape(&self, shape: &Shape) -> String {
        match shape {
            Shape::Any => "serde_json::Value".to_owned(),
            Shape::Null => "()".to_owned(),
            Shape::Boolean => "bool".to_owned(),
            Shape::Integer => "i64".to_owned(),
            Shape::Number => "f64".to_owned(),
            Shape::Literals(values) if values.iter().all(|v| v.is_boolean()) => "bool".to_owned(),
            Shape::Literals(_) => "i64".to_owned(),
            Shape::Text(
                Format::Plain | Format::DateTime | Format::Date | Format::Uuid | Format::Other(_),
            ) => "String".to_owned(),
            Shape::List(inner) => format!("Vec<{}>", self.apart(inner)),
            Shape::Map(inner) => {
                format!("std::collections::BTreeMap<String, {}>", self.apart(inner))
            }
            Shape::Nullable(inner) => format!("Option<{}>", self.shape(inner)),
            Shape::Named(n) => {
                let name = &self.model.declarations[*n].name;
                if self.model.is_recursive(self.container, shape) {
                    format!("Box<{name}>")
                } else {
                    name.clone()
                }
            }
        }
    }

    /// A shape that is on the heap anyway.
    fn apart(&self, shape: &Shape) -> String {
        match (shape, self.model.named(shape)) {
            (_, Some(declaration)) => declaration.name.clone(),
            (Shape::Nullable(inner), _) => format!("Option<{}>", self.apart(inner)),
            _ => self.shape(shape),
        }
    }
}

fn strings(name: &str, values: &[String], text: &mut Text) {
    text.line("#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]");
    text.line("#[allow(clippy::enum_variant_names)]");
    begin(text, &format!("pub enum {name}"));
    text.block(|t| {
        let mut names = Names::reserving(&["Self"]);
        for value in values {
            let name = names.take(&pascal(value), "");
            if name != *value {
                serde(t, &[format!("rename = {value:?}")]);
            }
            t.line(format!("{name},"));
        }
    });
    text.line("}");
}
