//! Ruby's classes for objects.

use super::model::{Field, Format, Kind, Model, Shape};
use super::names::{Names, snake};
use super::ruby::{NATIVE, decode, docs, literal};
use super::text::{Text, comment};

/// Keywords, and methods that an object cannot do without.
const RESERVED: [&str; 66] = [
    "__id__",
    "__send__",
    "alias",
    "and",
    "as_json",
    "begin",
    "break",
    "case",
    "class",
    "clone",
    "deconstruct_keys",
    "def",
    "defined",
    "do",
    "dup",
    "else",
    "elsif",
    "end",
    "ensure",
    "false",
    "for",
    "freeze",
    "frozen",
    "hash",
    "if",
    "in",
    "initialize",
    "inspect",
    "instance_of",
    "instance_variable_get",
    "instance_variables",
    "is_a",
    "itself",
    "method",
    "methods",
    "module",
    "next",
    "nil",
    "not",
    "object_id",
    "or",
    "public_send",
    "raise",
    "redo",
    "rescue",
    "respond_to",
    "retry",
    "return",
    "self",
    "send",
    "super",
    "tap",
    "then",
    "to_h",
    "to_json",
    "to_s",
    "true",
    "undef",
    "unless",
    "until",
    "when",
    "while",
    "yield",
    "json",
    "binding",
    "display",
];

/// The class of an object.
pub fn record(model: &Model, name: &str, fields: &[Field], rest: Option<&Shape>, text: &mut Text) {
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
    let absent = |field: &Field| {
        if model.takes_null(&field.shape) {
            "ABSENT"
        } else {
            "nil"
        }
    };
    text.line(format!("class {name} < Record"));
    text.block(|t| {
        for (field, name) in &fields {
            docs(t, &described(model, field));
            t.line(format!("attr_reader :{name}"));
        }
        if let Some((_, name)) = &rest {
            t.line(format!("# All other properties.\nattr_reader :{name}"));
        }
        if fields.is_empty() && rest.is_none() {
            t.line("def self.from_json(_json)\n  new\nend\n\ndef as_json\n  {}\nend");
            return;
        }
        t.gap();
        let parameter = |(field, name): &(&Field, String)| match field.required {
            true => format!("{name}:"),
            false => format!("{name}: {}", absent(field)),
        };
        let mut parameters: Vec<String> = fields.iter().map(parameter).collect();
        parameters.extend(rest.iter().map(|(_, name)| format!("{name}: {{}}")));
        // A keyword's value is not read as a word of the language.
        t.line(format!("def initialize({})", parameters.join(", ")));
        for name in fields
            .iter()
            .map(|(_, name)| name)
            .chain(rest.iter().map(|(_, name)| name))
        {
            t.line(format!("  @{name} = {name}"));
        }
        t.line("  freeze\nend\n");
        t.line("def self.from_json(json)\n  new(");
        t.block(|t| {
            let mut lines: Vec<String> = fields
                .iter()
                .map(|(field, name)| {
                    let key = literal(&field.json);
                    let fetched = format!("json.fetch({key})");
                    match (decode(model, &field.shape, &fetched), field.required) {
                        (value, true) => format!("  {name}: {value}"),
                        (value, false) if value == fetched => {
                            format!("  {name}: json.fetch({key}, {})", absent(field))
                        }
                        (value, false) => {
                            format!("  {name}: json.key?({key}) ? {value} : {}", absent(field))
                        }
                    }
                })
                .collect();
            if let Some((shape, name)) = &rest {
                let keys: Vec<String> = fields.iter().map(|(f, _)| literal(&f.json)).collect();
                let others = format!("json.except({})", keys.join(", "));
                lines.push(format!(
                    "  {name}: {}",
                    decode(model, &Shape::Map(Box::new((*shape).clone())), &others)
                ));
            }
            t.line(lines.join(",\n"));
        });
        t.line("  )\nend\n\ndef as_json");
        t.block(|t| {
            let start = rest
                .as_ref()
                .map_or("{}".to_owned(), |(_, name)| format!("Record.dump(@{name})"));
            t.line(format!("json = {start}"));
            for (field, name) in &fields {
                let put = format!("json[{}] = Record.dump(@{name})", literal(&field.json));
                t.line(match (field.required, absent(field)) {
                    (true, _) => put,
                    (false, "nil") => format!("{put} unless @{name}.nil?"),
                    (false, _) => format!("{put} unless @{name}.equal?(ABSENT)"),
                });
            }
            t.line("json");
        });
        t.line("end");
    });
    text.line("end");
}

/// The comment on an attribute, with its type, which Ruby has no other place for.
fn described(model: &Model, field: &Field) -> Vec<String> {
    let mut lines = comment(&field.doc, Some(&field.shape), &NATIVE);
    let optional = if field.required { "" } else { "?" };
    lines.push(format!(
        "@return [{}]{optional}",
        described_type(model, &field.shape)
    ));
    lines
}

/// The type of a value in a comment.
pub fn described_type(model: &Model, shape: &Shape) -> String {
    match shape {
        Shape::Any => "Object".to_owned(),
        Shape::Null => "nil".to_owned(),
        Shape::Boolean => "Boolean".to_owned(),
        Shape::Integer => "Integer".to_owned(),
        Shape::Number => "Numeric".to_owned(),
        Shape::Text(Format::DateTime) => "Time".to_owned(),
        Shape::Text(Format::Date) => "Date".to_owned(),
        Shape::Text(_) => "String".to_owned(),
        Shape::Literals(values) => {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            values.join(", ")
        }
        Shape::List(inner) => format!("Array<{}>", described_type(model, inner)),
        Shape::Map(inner) => format!("Hash{{String => {}}}", described_type(model, inner)),
        Shape::Nullable(inner) => format!("{}, nil", described_type(model, inner)),
        Shape::Named(n) => match &model.declarations[*n].kind {
            Kind::Enum(values) => {
                let values: Vec<String> = values.iter().map(|v| literal(v)).collect();
                values.join(", ")
            }
            _ => model.declarations[*n].name.clone(),
        },
    }
}
