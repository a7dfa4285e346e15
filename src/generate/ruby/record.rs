//! Ruby's classes for objects, with the methods that read and write them.

use crate::generate::model::{Field, Model, Shape};
use crate::generate::names::Attributes;
use crate::generate::text::{Text, field_comment};

use super::shape::{decode, described_type, literal, literals};
use super::{NATIVE, docs};

/// Keywords, and the methods that every object needs.
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

/// A class while it is written.
struct Class<'a> {
    model: &'a Model,
    attributes: Attributes<'a>,
}

/// The class of an object.
pub fn record(model: &Model, name: &str, fields: &[Field], rest: Option<&Shape>, text: &mut Text) {
    let attributes = Attributes::of(fields, rest, &RESERVED);
    let class = Class { model, attributes };
    text.enclose(format!("class {name} < Record"), |t| class.body(t), "end");
}

impl Class<'_> {
    fn body(&self, text: &mut Text) {
        if self.attributes.is_empty() {
            text.line("def self.from_json(_json)\n  new\nend\n\ndef as_json\n  {}\nend");
            return;
        }
        self.readers(text);
        text.gap();
        self.define_initialize(text);
        text.gap();
        self.define_from_json(text);
        text.gap();
        self.define_as_json(text);
    }

    /// The names of all attributes.
    fn names(&self) -> impl Iterator<Item = &String> {
        let fields = self.attributes.fields.iter().map(|(_, name)| name);
        fields.chain(self.attributes.rest.iter().map(|(_, name)| name))
    }

    /// What an attribute is where its property is left out.
    fn absent(&self, field: &Field) -> &'static str {
        match self.model.takes_null(&field.shape) {
            true => "ABSENT",
            false => "nil",
        }
    }

    fn readers(&self, text: &mut Text) {
        for (field, name) in &self.attributes.fields {
            docs(text, &described(self.model, field));
            text.line(format!("attr_reader :{name}"));
        }
        if let Some((_, name)) = &self.attributes.rest {
            text.line(format!("# All other properties.\nattr_reader :{name}"));
        }
    }

    fn define_initialize(&self, text: &mut Text) {
        let parameter = |(field, name): &(&Field, String)| match field.required {
            true => format!("{name}:"),
            false => format!("{name}: {}", self.absent(field)),
        };
        let mut parameters: Vec<String> = self.attributes.fields.iter().map(parameter).collect();
        let rest = self.attributes.rest.iter();
        parameters.extend(rest.map(|(_, name)| format!("{name}: {{}}")));
        let lines = |t: &mut Text| {
            t.lines(self.names().map(|name| format!("@{name} = {name}")));
            t.line("freeze");
        };
        let head = format!("def initialize({})", parameters.join(", "));
        text.enclose(head, lines, "end");
    }

    fn define_from_json(&self, text: &mut Text) {
        let fields = self.attributes.fields.iter();
        let mut arguments: Vec<String> = fields
            .map(|(field, name)| format!("    {name}: {}", self.get(field)))
            .collect();
        if let Some((shape, name)) = &self.attributes.rest {
            let keys = literals(self.attributes.fields.iter().map(|(f, _)| &f.json));
            let map = Shape::Map(Box::new((*shape).clone()));
            let value = decode(self.model, &map, &format!("json.except({keys})"));
            arguments.push(format!("    {name}: {value}"));
        }
        text.line("def self.from_json(json)\n  new(");
        text.line(arguments.join(",\n"));
        text.line("  )\nend");
    }

    /// The expression for the value of a field.
    fn get(&self, field: &Field) -> String {
        let key = literal(&field.json);
        let fetched = format!("json.fetch({key})");
        let value = decode(self.model, &field.shape, &fetched);
        let absent = self.absent(field);
        match field.required {
            true => value,
            false if value == fetched => format!("json.fetch({key}, {absent})"),
            false => format!("json.key?({key}) ? {value} : {absent}"),
        }
    }

    fn define_as_json(&self, text: &mut Text) {
        let start = match &self.attributes.rest {
            Some((_, name)) => format!("Record.dump(@{name})"),
            None => "{}".to_owned(),
        };
        let lines = |t: &mut Text| {
            t.line(format!("json = {start}"));
            for (field, name) in &self.attributes.fields {
                let put = format!("json[{}] = Record.dump(@{name})", literal(&field.json));
                t.line(match (field.required, self.absent(field)) {
                    (true, _) => put,
                    (false, "nil") => format!("{put} unless @{name}.nil?"),
                    (false, absent) => format!("{put} unless @{name}.equal?({absent})"),
                });
            }
            t.line("json");
        };
        text.enclose("def as_json", lines, "end");
    }
}

/// The comment on an attribute. It tells the type, which Ruby has no other place for.
fn described(model: &Model, field: &Field) -> Vec<String> {
    let mut lines = field_comment(field, &NATIVE);
    let optional = if field.required { "" } else { "?" };
    let of = described_type(model, &field.shape);
    lines.push(format!("@return [{of}]{optional}"));
    lines
}
