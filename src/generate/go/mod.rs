//! Go: structs with tags, and methods where a tag is not enough.

mod event;
mod helpers;
mod layout;
mod names;
mod record;
mod shape;
mod union;

use super::language::{Language, Write};
use super::model::{Declaration, Format, Kind, Model};
use super::names::Names;
use super::text::{Text, declaration_comment, header, quoted, type_name};

use self::layout::{aligned, docs};
use self::shape::{is_defined, shape_of};

/// Go in the table of languages.
pub const LANGUAGE: Language = Language {
    name: "go",
    write: Write::InModule {
        default: "events",
        is_name: names::is_package,
        write,
    },
    reserved: names::RESERVED,
};

/// The formats that Go has a type for.
const NATIVE: [Format; 2] = [Format::Plain, Format::DateTime];

/// The model as a package of Go.
fn write(model: &Model, package: &str) -> String {
    let body = body(model);
    let helpers = helpers::helpers(model, &body);
    head(model, package, &helpers) + &body + &helpers
}

/// The comment at the top, the package's name and the imports.
fn head(model: &Model, package: &str, helpers: &str) -> String {
    let mut text = Text::new("\t");
    text.comment("// ", header(model, "go"));
    text.gap();
    text.line(format!("package {package}"));
    text.gap();
    // An unused import is an error. Only the helpers tell: in the body, a name with a dot may be part of a comment.
    let uses = |import: &str| {
        let name = format!("{import}.");
        let mut after = helpers.split(&name).skip(1);
        after.any(|text| text.starts_with(|c: char| c.is_ascii_uppercase()))
    };
    let imports = [
        ("bytes", uses("bytes")),
        ("encoding/json", true),
        ("fmt", helpers::has_unions(model) || uses("fmt")),
        ("strings", uses("strings")),
        ("time", true),
    ];
    let used = imports.iter().filter(|(_, is_used)| *is_used);
    let lines = used.map(|(import, _)| format!("\"{import}\""));
    text.enclose("import (", |t| t.lines(lines), ")");
    text.gap();
    text.finish()
}

/// Events, new events, and the types that they are made of.
fn body(model: &Model) -> String {
    let mut text = Text::new("\t");
    event::events(model, &mut text);
    event::append(model, &mut text);
    let mut names = names::taken(model);
    for (number, declaration) in model.declarations.iter().enumerate() {
        text.gap();
        declare(model, number, declaration, &mut names, &mut text);
    }
    for (event, plain) in model.newest() {
        text.gap();
        let name = type_name(event);
        text.line(format!("// {plain} is the newest version of {name}."));
        text.line(format!("type {plain} = {}", event.name));
    }
    text.finish()
}

/// The type of a declaration.
fn declare(
    model: &Model,
    number: usize,
    declaration: &Declaration,
    names: &mut Names,
    text: &mut Text,
) {
    let name = &declaration.name;
    docs(text, &declaration_comment(declaration, &NATIVE));
    match &declaration.kind {
        Kind::Record { fields, rest } => {
            record::record(model, number, fields, rest.as_ref(), text);
        }
        Kind::Enum(values) => constants(name, values, names, text),
        Kind::Union(variants) => union::union(model, name, variants, text),
        Kind::Alias(shape) if is_defined(shape) => record::container(model, name, shape, text),
        Kind::Alias(shape) => text.line(format!("type {name} = {}", shape_of(model, shape))),
        Kind::Open => {}
    }
}

/// A type of strings, and a constant for each of its values.
fn constants(name: &str, values: &[String], names: &mut Names, text: &mut Text) {
    text.line(format!("type {name} string"));
    text.gap();
    text.line(format!("// The values of {name}."));
    let line = |value: &String| {
        let constant = names.take(&format!("{name}{}", names::exported(value)), "_");
        vec![constant, format!("{name} = {}", quoted(value))]
    };
    let lines: Vec<_> = values.iter().map(line).collect();
    text.enclose("const (", |t| aligned(t, &lines), ")");
}
