//! Python's classes for objects, with the methods that read and write them.

use crate::generate::model::{Declaration, Field, Shape};
use crate::generate::names::Attributes;
use crate::generate::text::{Text, declaration_comment, field_comment, quoted, quoted_list};

use super::layout::{docs, docstring};
use super::{NATIVE, Writer};

/// Keywords, the methods, and the names that the body of a class uses.
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

impl Writer<'_> {
    /// The class of an object.
    pub fn record(
        &self,
        declaration: &Declaration,
        fields: &[Field],
        rest: Option<&Shape>,
        text: &mut Text,
    ) {
        let attributes = Attributes::of(fields, rest, &RESERVED);
        text.line("@dataclass(frozen=True, kw_only=True)");
        text.line(format!("class {}:", declaration.name));
        text.block(|t| {
            docstring(t, &declaration_comment(declaration, &NATIVE));
            self.attributes(&attributes, t);
            t.gap();
            self.define_from_json(&declaration.name, &attributes, t);
            t.gap();
            self.define_to_json(&attributes, t);
        });
    }

    fn attributes(&self, attributes: &Attributes, text: &mut Text) {
        for (field, name) in &attributes.fields {
            docs(text, &field_comment(field, &NATIVE));
            let of = self.annotation(&field.shape);
            text.line(match (field.required, &field.shape) {
                (true, _) => format!("{name}: {of}"),
                (false, Shape::Any) => format!("{name}: object = Absent.ABSENT"),
                (false, shape) if self.model.takes_null(shape) => {
                    format!("{name}: {of} | Absent = Absent.ABSENT")
                }
                _ => format!("{name}: {of} | None = None"),
            });
        }
        if let Some((shape, name)) = &attributes.rest {
            docs(text, &["All other properties."]);
            let of = self.annotation(shape);
            text.line(format!(
                "{name}: dict[str, {of}] = field(default_factory=dict)"
            ));
        }
    }

    /// The method that reads an object.
    fn define_from_json(&self, name: &str, attributes: &Attributes, text: &mut Text) {
        text.line(format!(
            "@staticmethod\ndef from_json(json: object) -> {name}:"
        ));
        let arguments = |t: &mut Text| {
            for (field, name) in &attributes.fields {
                t.line(format!("{name}={},", self.get(field)));
            }
            if let Some((shape, name)) = &attributes.rest {
                t.line(format!(
                    "{name}={{\n    key: _named(key, item, {})",
                    self.parser(shape)
                ));
                t.line("    for key, item in value.items()");
                let keys = quoted_list(attributes.fields.iter().map(|(f, _)| &f.json));
                if !keys.is_empty() {
                    t.line(format!("    if key not in ({keys},)"));
                }
                t.line("},");
            }
        };
        text.block(|t| {
            if attributes.is_empty() {
                t.line(format!("_object(json)\nreturn {name}()"));
            } else {
                t.line("value = _object(json)");
                t.enclose(format!("return {name}("), arguments, ")");
            }
        });
    }

    /// The expression for the value of a field.
    fn get(&self, field: &Field) -> String {
        let read = match (field.required, self.model.takes_null(&field.shape)) {
            (true, _) => "_required",
            (false, true) => "_maybe",
            (false, false) => "_optional",
        };
        let (key, parser) = (quoted(&field.json), self.parser(&field.shape));
        format!("{read}(value, {key}, {parser})")
    }

    /// The method that writes an object.
    fn define_to_json(&self, attributes: &Attributes, text: &mut Text) {
        let fields = attributes.fields.iter();
        let (required, optional): (Vec<_>, Vec<_>) = fields.partition(|(f, _)| f.required);
        let members = |t: &mut Text| {
            if let Some((shape, name)) = &attributes.rest {
                let map = Shape::Map(Box::new((*shape).clone()));
                t.line(format!("**{},", self.encode(&map, &format!("self.{name}"))));
            }
            for (field, name) in &required {
                let value = self.encode(&field.shape, &format!("self.{name}"));
                t.line(format!("{}: {value},", quoted(&field.json)));
            }
        };
        text.line("def to_json(self) -> dict[str, object]:");
        text.block(|t| {
            if required.is_empty() && attributes.rest.is_none() {
                t.line("json: dict[str, object] = {}");
            } else {
                t.enclose("json: dict[str, object] = {", members, "}");
            }
            for (field, name) in &optional {
                let takes_null = self.model.takes_null(&field.shape);
                let absent = if takes_null { "Absent.ABSENT" } else { "None" };
                let value = self.encode(&field.shape, &format!("self.{name}"));
                t.line(format!("if self.{name} is not {absent}:"));
                t.line(format!("    json[{}] = {value}", quoted(&field.json)));
            }
            t.line("return json");
        });
    }
}
