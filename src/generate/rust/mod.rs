//! Rust: structs and enums for serde.

mod event;
mod helpers;
mod layout;
mod union;

use super::language::{Language, Write};
use super::model::{Declaration, Doc, Field, Kind, Model, Shape, Variant, are_booleans};
use super::names::{Names, pascal, snake};
use super::text::{Text, comment, declaration_comment, field_comment, header};

use self::helpers::{helpers, is_nullable, is_present};
use self::layout::{begin, serde, typed};

/// Rust in the table of languages.
pub const LANGUAGE: Language = Language {
    name: "rust",
    write: Write::WithoutModule {
        title: "Rust",
        write,
    },
    reserved: RESERVED,
};

/// Keywords, and words that are reserved for later ones.
const KEYWORDS: [&str; 49] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let",
    "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return",
    "static", "struct", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use",
    "virtual", "where", "while", "yield", "union",
];
/// Keywords that are no names, even with `r#`.
const NEVER: [&str; 3] = ["self", "super", "crate"];

/// The names that the file defines beside those of types, or uses from the language. No type gets one.
const RESERVED: &[&str] = &[
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

/// The model as a module of Rust.
fn write(model: &Model) -> String {
    let mut text = Text::new("    ");
    text.comment("// ", header(model, "rust"));
    text.gap();
    text.line("use serde::{Deserialize, Serialize};");
    event::events(model, &mut text);
    event::append(model, &mut text);
    for (container, declaration) in model.declarations.iter().enumerate() {
        text.gap();
        let writer = Writer { model, container };
        writer.declaration(declaration, &mut text);
    }
    for helper in helpers(model) {
        text.gap();
        text.line(helper);
    }
    text.finish()
}

/// Adds a documentation comment.
fn docs<T: AsRef<str>>(text: &mut Text, lines: &[T]) {
    text.comment("/// ", lines);
}

/// Writes one declaration.
struct Writer<'a> {
    model: &'a Model,
    /// The number of the declaration.
    container: usize,
}

impl Writer<'_> {
    fn declaration(&self, declaration: &Declaration, text: &mut Text) {
        docs(text, &declaration_comment(declaration, &[]));
        let name = &declaration.name;
        match &declaration.kind {
            Kind::Record { fields, rest } => self.record(name, fields, rest.as_ref(), text),
            Kind::Enum(values) => strings(name, values, text),
            Kind::Union(variants) => self.union(name, variants, text),
            Kind::Alias(shape) => {
                text.line(format!("{DERIVE}\n#[serde(transparent)]"));
                text.line(format!("pub struct {name}(pub {});", self.shape(shape)));
            }
            Kind::Open => {}
        }
    }

    /// The struct of an object.
    fn record(&self, name: &str, fields: &[Field], rest: Option<&Shape>, text: &mut Text) {
        text.line(DERIVE);
        if fields.is_empty() && rest.is_none() {
            text.line(format!("pub struct {name} {{}}"));
            return;
        }
        begin(text, &format!("pub struct {name}"));
        text.block(|t| {
            let mut names = Names::reserving(&NEVER);
            let rest = rest.map(|shape| (shape, names.take("additional", "_")));
            for field in fields {
                self.field(field, &names.take(&snake(&field.json), "_"), t);
            }
            if let Some((shape, name)) = rest {
                docs(t, &["All other properties."]);
                t.line("#[serde(flatten)]");
                let map = self.shape(&Shape::Map(Box::new(shape.clone())));
                typed(t, &format!("pub {name}:"), &map);
            }
        });
        text.line("}");
    }

    fn field(&self, field: &Field, name: &str, text: &mut Text) {
        docs(text, &field_comment(field, &[]));
        serde(text, &self.attributes(field, name));
        let shape = self.shape(&field.shape);
        let shape = match field.required {
            true => shape,
            false => format!("Option<{shape}>"),
        };
        let raw = if KEYWORDS.contains(&name) { "r#" } else { "" };
        typed(text, &format!("pub {raw}{name}:"), &shape);
    }

    /// What serde is told about a field.
    fn attributes(&self, field: &Field, name: &str) -> Vec<String> {
        let mut attributes = Vec::new();
        if field.json != name {
            attributes.push(format!("rename = {:?}", field.json));
        }
        if is_nullable(self.model, field) {
            attributes.push("deserialize_with = \"required\"".to_owned());
        }
        if !field.required {
            attributes.push("default".to_owned());
            if is_present(self.model, field) {
                attributes.push("deserialize_with = \"present\"".to_owned());
            }
            attributes.push("skip_serializing_if = \"Option::is_none\"".to_owned());
        }
        attributes
    }

    /// The enum of a union.
    fn union(&self, name: &str, variants: &[Variant], text: &mut Text) {
        text.line(
            "#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[allow(clippy::enum_variant_names, clippy::large_enum_variant)]",
        );
        begin(text, &format!("pub enum {name}"));
        text.block(|t| {
            for (variant, name) in variants.iter().zip(union::names(variants)) {
                docs(t, &comment(&Doc::default(), Some(&variant.shape), &[]));
                layout::variant(t, &name, &self.shape(&variant.shape));
            }
        });
        text.line("}");
        union::deserialize(name, variants, text);
    }

    /// The type of the values of a shape.
    fn shape(&self, shape: &Shape) -> String {
        match shape {
            Shape::Any => "serde_json::Value".to_owned(),
            Shape::Null => "()".to_owned(),
            Shape::Boolean => "bool".to_owned(),
            Shape::Integer => "i64".to_owned(),
            Shape::Number => "f64".to_owned(),
            Shape::Literals(values) if are_booleans(values) => "bool".to_owned(),
            Shape::Literals(_) => "i64".to_owned(),
            Shape::Text(_) => "String".to_owned(),
            Shape::List(inner) => format!("Vec<{}>", self.on_heap(inner)),
            Shape::Map(inner) => {
                format!(
                    "std::collections::BTreeMap<String, {}>",
                    self.on_heap(inner)
                )
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

    /// The type of the values of a shape that are on the heap anyway.
    fn on_heap(&self, shape: &Shape) -> String {
        match (shape, self.model.named(shape)) {
            (_, Some(declaration)) => declaration.name.clone(),
            (Shape::Nullable(inner), _) => format!("Option<{}>", self.on_heap(inner)),
            _ => self.shape(shape),
        }
    }
}

/// An enum of strings.
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
