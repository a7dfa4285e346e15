//! Go's structs for objects, with the methods that read and write them.

use crate::generate::model::{Field, Model, Shape};
use crate::generate::names::Names;
use crate::generate::text::{Text, field_comment, quoted};

use super::NATIVE;
use super::layout::{aligned, docs};
use super::names::exported;
use super::shape::{reader, shape_of, written};

/// A struct while it is written.
struct Struct<'a> {
    model: &'a Model,
    name: &'a str,
    members: Vec<Member<'a>>,
    /// The member that holds all other properties, and the shape of their values.
    additional: Option<(String, &'a Shape)>,
}

/// The member of a struct that holds a known property.
struct Member<'a> {
    field: &'a Field,
    name: String,
    holder: Holder,
}

/// How a member holds a value.
#[derive(Clone, Copy)]
enum Holder {
    /// As the value itself.
    Value,
    /// As a pointer, which is nil where the property is left out.
    Pointer,
    /// As a `Nullable`, which tells apart left out, null and a value.
    Nullable,
}

/// The struct of an object.
pub fn record(
    model: &Model,
    number: usize,
    fields: &[Field],
    rest: Option<&Shape>,
    text: &mut Text,
) {
    let mut names = Names::reserving(&["MarshalJSON", "UnmarshalJSON"]);
    let additional = rest.map(|shape| (names.take("Additional", "_"), shape));
    let member = |field| Member {
        field,
        name: names.take(&exported(&field.json), "_"),
        holder: holder(model, number, field),
    };
    let of = Struct {
        model,
        name: &model.declarations[number].name,
        members: fields.iter().map(member).collect(),
        additional,
    };
    of.declare(text);
    if !of.is_written_by_tags() {
        of.marshal(text);
    }
    of.unmarshal(text);
}

impl Struct<'_> {
    fn is_empty(&self) -> bool {
        self.members.is_empty() && self.additional.is_none()
    }

    /// Whether tags are enough to write it.
    fn is_written_by_tags(&self) -> bool {
        let fits = |m: &Member| fits_tag(&m.field.json) && m.written(self.model).is_none();
        self.additional.is_none() && self.members.iter().all(fits)
    }

    fn declare(&self, text: &mut Text) {
        let name = self.name;
        if self.is_empty() {
            text.line(format!("type {name} struct{{}}"));
            return;
        }
        text.enclose(format!("type {name} struct {{"), |t| self.members(t), "}");
    }

    fn members(&self, text: &mut Text) {
        let has_tags = self.is_written_by_tags();
        // Columns end at a comment.
        let mut lines = Vec::new();
        for member in &self.members {
            let comment = field_comment(member.field, &NATIVE);
            if !comment.is_empty() {
                aligned(text, &std::mem::take(&mut lines));
                docs(text, &comment);
            }
            let mut line = vec![member.name.clone(), member.go_type(self.model)];
            line.extend(has_tags.then(|| member.tag()));
            lines.push(line);
        }
        aligned(text, &lines);
        if let Some((name, shape)) = &self.additional {
            docs(text, &["All other properties."]);
            let of = shape_of(self.model, shape);
            text.line(format!("{name} map[string]{of}"));
        }
    }

    fn marshal(&self, text: &mut Text) {
        text.gap();
        text.line("// MarshalJSON writes all properties.");
        let lines = |t: &mut Text| {
            t.line("object := map[string]any{}");
            if let Some((additional, shape)) = &self.additional {
                let value = written(self.model, shape, "value");
                let value = value.unwrap_or_else(|| "value".to_owned());
                let head = format!("for name, value := range r.{additional} {{");
                t.enclose(head, |t| t.line(format!("object[name] = {value}")), "}");
            }
            for member in &self.members {
                member.put(self.model, t);
            }
            t.line("return json.Marshal(object)");
        };
        let head = format!("func (r {}) MarshalJSON() ([]byte, error) {{", self.name);
        text.enclose(head, lines, "}");
    }

    fn unmarshal(&self, text: &mut Text) {
        text.gap();
        text.line("// UnmarshalJSON reads all properties.");
        let lines = |t: &mut Text| {
            if self.is_empty() {
                t.line("_, err := readObject(data)\nreturn err");
                return;
            }
            t.line("object, err := readObject(data)");
            t.line("if err != nil {\n\treturn err\n}");
            t.line(format!("*r = {}{{}}", self.name));
            for member in &self.members {
                t.line(returning_error(&member.get(self.model)));
            }
            if let Some((name, shape)) = &self.additional {
                get_additional(self.model, name, shape, t);
            }
            t.line("return nil");
        };
        let head = format!(
            "func (r *{}) UnmarshalJSON(data []byte) error {{",
            self.name
        );
        text.enclose(head, lines, "}");
    }
}

/// The lines that read all other properties into a member. The known ones are no longer in the object.
fn get_additional(model: &Model, member: &str, shape: &Shape, text: &mut Text) {
    let of = shape_of(model, shape);
    text.line(format!("r.{member} = make(map[string]{of}, len(object))"));
    let lines = |t: &mut Text| {
        t.line(format!("var value {of}"));
        let reader = reader(model, shape);
        let call = format!("readOptional(object, name, &value, {reader})");
        t.line(returning_error(&call));
        t.line(format!("r.{member}[name] = value"));
    };
    text.enclose("for name := range object {", lines, "}");
}

/// A call, after which an error is returned.
fn returning_error(call: &str) -> String {
    format!("if err := {call}; err != nil {{\n\treturn err\n}}")
}

impl Member<'_> {
    fn go_type(&self, model: &Model) -> String {
        let shape = &self.field.shape;
        match self.holder {
            Holder::Value => shape_of(model, shape),
            Holder::Pointer => format!("*{}", shape_of(model, shape)),
            Holder::Nullable => format!("Nullable[{}]", shape_of(model, shape.not_null())),
        }
    }

    fn tag(&self) -> String {
        let is_optional = !self.field.required;
        let omit = if is_optional { ",omitempty" } else { "" };
        format!("`json:\"{}{omit}\"`", self.field.json)
    }

    /// The function that reads it.
    fn reader(&self, model: &Model) -> String {
        let shape = &self.field.shape;
        match self.holder {
            Holder::Value => reader(model, shape),
            Holder::Pointer => format!("readPointer({})", reader(model, shape)),
            Holder::Nullable => format!("readPresent({})", reader(model, shape.not_null())),
        }
    }

    /// The expression that is written in place of it, if it is not the value.
    fn written(&self, model: &Model) -> Option<String> {
        match self.holder {
            Holder::Value => written(model, &self.field.shape, &format!("r.{}", self.name)),
            Holder::Pointer => written(model, &self.field.shape, &format!("*r.{}", self.name)),
            Holder::Nullable => None,
        }
    }

    /// The call that reads it from an object.
    fn get(&self, model: &Model) -> String {
        let is_required = self.field.required;
        let read = if is_required {
            "readRequired"
        } else {
            "readOptional"
        };
        let (key, name) = (quoted(&self.field.json), &self.name);
        format!("{read}(object, {key}, &r.{name}, {})", self.reader(model))
    }

    /// The lines that put it into an object.
    fn put(&self, model: &Model, text: &mut Text) {
        let name = &self.name;
        let value = self.written(model).unwrap_or_else(|| format!("r.{name}"));
        let put = format!("object[{}] = {value}", quoted(&self.field.json));
        let condition = match self.holder {
            _ if self.field.required => return text.line(put),
            Holder::Pointer => format!("if r.{name} != nil {{"),
            _ => format!("if len(r.{name}) > 0 {{"),
        };
        text.enclose(condition, |t| t.line(put), "}");
    }
}

/// How a member of a struct must hold the value of a field.
fn holder(model: &Model, number: usize, field: &Field) -> Holder {
    let shape = &field.shape;
    let must_point = || matches!(shape, Shape::Named(_)) && model.is_recursive(number, shape);
    match shape {
        // As raw JSON, null is a value, and the empty text is none.
        Shape::Any => Holder::Value,
        _ if !field.required && model.takes_null(shape) => Holder::Nullable,
        _ if !field.required || must_point() => Holder::Pointer,
        _ => Holder::Value,
    }
}

/// Whether encoding/json takes this name from a tag.
fn fits_tag(name: &str) -> bool {
    let fits = |c: char| {
        c.is_alphanumeric() && !c.is_numeric()
            || c.is_ascii_digit()
            || "!#$%&()*+-./:;<=>?@[]^_{|}~ ".contains(c)
    };
    !name.is_empty() && name != "-" && name.chars().all(fits)
}

/// The type of a list or a map, with the methods that read and write it.
pub fn container(model: &Model, name: &str, shape: &Shape, text: &mut Text) {
    let inner = shape_of(model, shape);
    text.line(format!("type {name} {inner}"));
    if let Some(value) = written(model, shape, &format!("{inner}(v)")) {
        text.gap();
        text.line("// MarshalJSON writes all items.");
        text.line(format!("func (v {name}) MarshalJSON() ([]byte, error) {{"));
        text.block(|t| t.line(format!("return json.Marshal({value})")));
        text.line("}");
    }
    text.gap();
    text.line("// UnmarshalJSON reads all items.");
    text.line(format!(
        "func (v *{name}) UnmarshalJSON(data []byte) error {{"
    ));
    let read = reader(model, shape);
    text.line(format!("\treturn {read}(data, (*{inner})(v))\n}}"));
}
