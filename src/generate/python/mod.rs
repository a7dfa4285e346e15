//! Python: frozen dataclasses that read and write JSON, for Python 3.11 and later, without packages of others.

mod event;
mod helpers;
mod layout;
mod record;
mod shape;

use std::collections::BTreeMap;

use super::language::{Language, Write};
use super::model::{Declaration, Format, Kind, Model, Shape, Variant};
use super::names::{Names, snake};
use super::text::{Text, declaration_comment, header, quoted, type_name};

use self::helpers::helpers;
use self::layout::{WIDTH, alias, docs, two_gaps};
use self::shape::test;

/// Python in the table of languages.
pub const LANGUAGE: Language = Language {
    name: "python",
    write: Write::WithoutModule {
        title: "Python",
        write,
    },
    reserved: RESERVED,
};

/// The names that the file defines beside those of types, or uses from the language. No type gets one.
const RESERVED: &[&str] = &[
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
/// The formats that Python has a type for.
const NATIVE: [Format; 4] = [Format::Plain, Format::DateTime, Format::Date, Format::Uuid];

/// The model as a module of Python.
fn write(model: &Model) -> String {
    let body = Writer::of(model).body();
    let mut out = head(model, &body) + &body;
    out.push_str(&helpers(&out));
    out
}

/// The comment at the top and the imports that the body needs.
fn head(model: &Model, body: &str) -> String {
    let has_absent = body.contains("Absent");
    let has_field = body.contains(" = field(");
    let mut text = Text::new("    ");
    text.comment("# ", header(model, "python"));
    text.gap();
    text.line("from __future__ import annotations\n");
    text.line("import datetime as _dt");
    if has_absent {
        text.line("import enum as _enum");
    }
    text.line("import uuid as _uuid");
    text.line("from collections.abc import Callable, Mapping, Sequence");
    let field = if has_field { ", field" } else { "" };
    text.line(format!("from dataclasses import dataclass{field}"));
    text.line(TYPING);
    text.line("_T = TypeVar(\"_T\")");
    if has_absent {
        two_gaps(&mut text);
        text.line(ABSENT);
    }
    text.finish()
}

const TYPING: &str = "from typing import (
    Any,
    Literal,
    SupportsIndex,
    TypeAlias,
    TypedDict,
    TypeVar,
    cast,
)
";

const ABSENT: &str = r#"class Absent(_enum.Enum):
    """What is left out, where None is a value."""

    ABSENT = "absent""#;

/// Writes a model.
struct Writer<'a> {
    model: &'a Model,
    /// The names of declarations in snake_case, for their functions.
    functions: BTreeMap<usize, String>,
}

impl<'a> Writer<'a> {
    fn of(model: &'a Model) -> Self {
        let mut names = Names::reserving(&["parse_event"]);
        let declarations = model.declarations.iter().enumerate();
        let named = declarations.map(|(number, d)| (number, names.take(&snake(&d.name), "_")));
        let functions = named.collect();
        Self { model, functions }
    }

    /// Types, events, and the functions that read and write them.
    fn body(&self) -> String {
        let model = self.model;
        let mut text = Text::new("    ");
        for (number, declaration) in model.declarations.iter().enumerate() {
            if !model.is_inlined(number) {
                self.declaration(declaration, &mut text);
            }
        }
        for (event, plain) in model.newest() {
            text.gap();
            let newest = format!("The newest version of {}.", type_name(event));
            docs(&mut text, &[newest]);
            text.line(format!("{plain}: TypeAlias = {}", event.name));
        }
        self.events(&mut text);
        for (number, declaration) in model.declarations.iter().enumerate() {
            self.functions(number, declaration, &mut text);
        }
        text.finish()
    }

    /// The type of a declaration.
    fn declaration(&self, declaration: &Declaration, text: &mut Text) {
        let name = &declaration.name;
        if let Kind::Record { fields, rest } = &declaration.kind {
            two_gaps(text);
            self.record(declaration, fields, rest.as_ref(), text);
            return;
        }
        text.gap();
        docs(text, &declaration_comment(declaration, &NATIVE));
        match &declaration.kind {
            Kind::Enum(values) => literals(name, values, text),
            Kind::Union(variants) => {
                let shapes = variants.iter().map(|v| self.annotation(&v.shape));
                let shapes: Vec<String> = shapes.collect();
                text.line(alias(name, &shapes.join(" | ")));
            }
            Kind::Alias(shape) => text.line(alias(name, &self.annotation(shape))),
            Kind::Record { .. } | Kind::Open => {}
        }
    }

    /// The functions that read and write a type that is not a class.
    fn functions(&self, number: usize, declaration: &Declaration, text: &mut Text) {
        let (name, function) = (&declaration.name, &self.functions[&number]);
        match &declaration.kind {
            Kind::Union(variants) => self.union(name, function, variants, text),
            Kind::Alias(shape) => {
                two_gaps(text);
                text.line(format!("def _parse_{function}(json: object) -> {name}:"));
                match shape {
                    // mypy refuses to return the value of a function that returns None.
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

    /// The functions that read and write a union.
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

/// A type of strings.
fn literals(name: &str, values: &[String], text: &mut Text) {
    let values: Vec<String> = values.iter().map(|v| quoted(v)).collect();
    let line = format!("{name}: TypeAlias = Literal[{}]", values.join(", "));
    if text.width(&line) <= WIDTH {
        text.line(line);
    } else {
        let values = values.join(",\n    ");
        text.line(format!("{name}: TypeAlias = Literal[\n    {values},\n]"));
    }
}
