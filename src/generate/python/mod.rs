//! Python: frozen dataclasses that read and write JSON, for 3.11 and later, without packages of others.

use std::collections::BTreeMap;

use crate::dcb::error::Result;

use super::model::{Declaration, Field, Format, Kind, Model, Shape, Variant};
use super::names::{Names, snake};
use super::python_read::helpers;
use super::python_shape::test;
use super::text::{Text, comment, header, quoted};

/// Keywords, what the class body needs as it is, and the methods.
const RESERVED: [&str; 47] = [
    "and",
    "as",
    "assert",
    "async",
    "await",
    "bool",
    "break",
    "class",
    "classmethod",
    "cls",
    "continue",
    "def",
    "del",
    "dict",
    "elif",
    "else",
    "except",
    "finally",
    "float",
    "for",
    "from",
    "from_json",
    "global",
    "if",
    "import",
    "in",
    "int",
    "is",
    "lambda",
    "list",
    "nonlocal",
    "not",
    "object",
    "or",
    "pass",
    "raise",
    "return",
    "self",
    "staticmethod",
    "str",
    "to_json",
    "try",
    "while",
    "with",
    "yield",
    "json",
    "field",
];
/// The names that the file has, beside those of types, or means by theirs. Types get others.
pub const NAMES: &[&str] = &[
    "Absent",
    "Any",
    "Callable",
    "Envelope",
    "Event",
    "False",
    "Literal",
    "Mapping",
    "None",
    "Sequence",
    "SupportsIndex",
    "True",
    "TypeAlias",
    "TypeVar",
    "TypedDict",
    "UnknownEvent",
    "ValueError",
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
    let declared = model.declarations.iter().enumerate();
    for (_, declaration) in declared.filter(|(i, _)| !model.is_inlined(*i)) {
        writer.declaration(declaration, &mut body);
    }
    for event in &model.events {
        if let Some(plain) = &event.plain_name {
            body.gap();
            docs(
                &mut body,
                &[format!(
                    "The newest version of {}.",
                    super::schema::clean(&event.event_type)
                )],
            );
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
    text.line("from typing import (\n    Any,\n    Literal,\n    SupportsIndex,\n    TypeAlias,\n    TypedDict,\n    TypeVar,\n    cast,\n)\n");
    text.line("_T = TypeVar(\"_T\")");
    if body.contains("Absent") {
        two_gaps(&mut text);
        text.line(ABSENT);
    }
    let mut out = text.finish() + &body;
    out.push_str(&helpers(&out));
    Ok(out)
}

const ABSENT: &str = r#"class Absent(_enum.Enum):
    """What is left out, where None is a value."""

    ABSENT = "absent""#;

/// Two empty lines, as between classes.
pub fn two_gaps(text: &mut Text) {
    text.gap();
    text.line("");
}

fn docs(text: &mut Text, lines: &[String]) {
    // Not "# ", which begins a comment with a meaning for tools, such as "# type: ".
    for line in lines {
        text.line(format!("#: {line}").trim_end());
    }
}

/// The text at the start of a class.
pub fn docstring(text: &mut Text, lines: &[String]) {
    // A quotation mark at its end would end the text too early.
    let close = |l: &str| {
        if l.ends_with('"') {
            format!("{l} ")
        } else {
            l.to_owned()
        }
    };
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

/// Writes one model.
pub struct Writer<'a> {
    /// The model.
    pub model: &'a Model,
    /// The snake_case names of declarations.
    pub functions: BTreeMap<usize, String>,
}

impl Writer<'_> {
    fn declaration(&self, declaration: &Declaration, text: &mut Text) {
        let name = &declaration.name;
        match &declaration.kind {
            Kind::Record { fields, rest } => {
                two_gaps(text);
                self.record(declaration, fields, rest.as_ref(), text);
            }
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
                            text.line(format!(
                                "{name}: TypeAlias = Literal[\n    {},\n]",
                                values.join(",\n    ")
                            ));
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

    fn record(
        &self,
        declaration: &Declaration,
        fields: &[Field],
        rest: Option<&Shape>,
        text: &mut Text,
    ) {
        let mut names = Names::reserving(&RESERVED);
        let rest = rest.map(|shape| (shape, names.take("additional", "_")));
        let mut name_of = |field: &Field| {
            let name = snake(&field.json);
            let name = if RESERVED.contains(&name.as_str()) {
                format!("{name}_")
            } else {
                name
            };
            names.take(&name, "_")
        };
        let fields: Vec<(&Field, String)> = fields.iter().map(|f| (f, name_of(f))).collect();
        text.line(format!(
            "@dataclass(frozen=True, kw_only=True)\nclass {}:",
            declaration.name
        ));
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
                t.line(format!(
                    "{name}: dict[str, {}] = field(default_factory=dict)",
                    self.annotation(shape)
                ));
            }
            t.gap();
            self.reader(&declaration.name, &fields, rest.as_ref(), t);
            t.gap();
            self.writer(&fields, rest.as_ref(), t);
        });
    }

    fn reader(
        &self,
        name: &str,
        fields: &[(&Field, String)],
        rest: Option<&(&Shape, String)>,
        text: &mut Text,
    ) {
        text.line(format!(
            "@staticmethod\ndef from_json(json: object) -> {name}:"
        ));
        text.block(|t| {
            t.line(if fields.is_empty() && rest.is_none() {
                "_object(json)"
            } else {
                "value = _object(json)"
            });
            if fields.is_empty() && rest.is_none() {
                t.line(format!("return {name}()"));
                return;
            }
            t.line(format!("return {name}("));
            t.block(|t| {
                for (field, name) in fields {
                    let key = quoted(&field.json);
                    let how = match (field.required, self.model.takes_null(&field.shape)) {
                        (true, _) => "_required",
                        (false, true) => "_maybe",
                        (false, false) => "_optional",
                    };
                    let parser = self.parser(&field.shape);
                    t.line(format!("{name}={how}(value, {key}, {parser}),"));
                }
                if let Some((shape, name)) = rest {
                    t.line(format!(
                        "{name}={{\n    key: _named(key, item, {})\n    for key, item in value.items()",
                        self.parser(shape)
                    ));
                    if !fields.is_empty() {
                        let keys: Vec<String> =
                            fields.iter().map(|(f, _)| quoted(&f.json)).collect();
                        t.line(format!("    if key not in ({},)", keys.join(", ")));
                    }
                    t.line("},");
                }
            });
            t.line(")");
        });
    }

    fn writer(
        &self,
        fields: &[(&Field, String)],
        rest: Option<&(&Shape, String)>,
        text: &mut Text,
    ) {
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
                let absent = if self.model.takes_null(&field.shape) {
                    "Absent.ABSENT"
                } else {
                    "None"
                };
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
                match shape {
                    // A call of what is declared to return None has no value.
                    Shape::Null => text.line("    _null(json)\n    return None"),
                    _ => text.line(format!("    return {}", self.decode(shape, "json"))),
                }
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
                t.line(format!(
                    "    return {}",
                    self.decode(&variant.shape, "json")
                ));
            }
            t.line(format!("raise ValueError(f\"not a {name}: {{json!r}}\")"));
        });
        two_gaps(text);
        text.line(format!("def _dump_{function}(value: {name}) -> object:"));
        text.block(|t| {
            for variant in variants {
                let value = self.encode(&variant.shape, "value");
                if value != "value" {
                    t.line(format!(
                        "if isinstance(value, {}):",
                        self.class(&variant.shape)
                    ));
                    t.line(format!("    return {value}"));
                }
            }
            t.line("return value");
        });
    }
}

/// Another name; in quotes, since what it names may come later.
pub fn alias(name: &str, what: &str) -> String {
    // Strings in it have quotes of the other kind, if that is all they need.
    let literal = |what: &str| {
        if what.contains(['\\', '\'']) {
            quoted(what)
        } else {
            format!("\"{}\"", what.replace('"', "'"))
        }
    };
    let line = format!("{name}: TypeAlias = {}", literal(what));
    if line.chars().count() <= WIDTH {
        return line;
    }
    let parts = what.split_inclusive(" | ").map(literal);
    let parts: Vec<String> = parts.collect();
    format!("{name}: TypeAlias = (\n    {}\n)", parts.join("\n    "))
}
