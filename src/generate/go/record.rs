//! Go's structs for objects and unions, with the methods that some need.

use super::go::{NATIVE, aligned, docs, exported, shape_of};
use super::go_read::{reader, written};
use super::model::{Field, Model, Shape, Test, Variant};
use super::names::Names;
use super::text::{Text, comment, quoted};

/// How unions look at values.
pub const UNION: &str = r#"// jsonKind is the kind of a JSON value, and the properties of an object.
func jsonKind(data []byte) (string, map[string]json.RawMessage) {
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return "", nil
	}
	switch data[0] {
	case '{':
		var properties map[string]json.RawMessage
		if json.Unmarshal(data, &properties) != nil {
			return "", nil
		}
		return "object", properties
	case '[':
		return "array", nil
	case '"':
		return "string", nil
	case 't', 'f':
		return "boolean", nil
	case 'n':
		return "null", nil
	}
	return "number", nil
}

// isOneOf tells whether a JSON value is one of some strings.
func isOneOf(data json.RawMessage, values ...string) bool {
	var text string
	if json.Unmarshal(data, &text) != nil {
		return false
	}
	for _, value := range values {
		if text == value {
			return true
		}
	}
	return false
}

// hasAll tells whether all of some properties are there.
func hasAll(properties map[string]json.RawMessage, names ...string) bool {
	for _, name := range names {
		if _, ok := properties[name]; !ok {
			return false
		}
	}
	return true
}
"#;

/// A field as Go has it.
struct Member<'a> {
    field: &'a Field,
    name: String,
    kept: Kept,
}

/// How a struct has the value of a field.
#[derive(Clone, Copy)]
enum Kept {
    Value,
    /// Nil where it is left out.
    Pointer,
    /// Left out, null or a value.
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
    let name = &model.declarations[number].name;
    let mut names = Names::reserving(&["MarshalJSON", "UnmarshalJSON"]);
    let additional = rest.map(|_| names.take("Additional", "_"));
    let member = |field| Member {
        field,
        name: names.take(&exported(&field.json), "_"),
        kept: kept(model, number, field),
    };
    let members: Vec<Member> = fields.iter().map(member).collect();
    // Then the tags do to write it.
    let is_plain = rest.is_none()
        && members
            .iter()
            .all(|m| fits_tag(&m.field.json) && m.written(model).is_none());
    if members.is_empty() && rest.is_none() {
        text.line(format!("type {name} struct{{}}"));
        unmarshal(model, name, &members, None, text);
        return;
    }
    text.line(format!("type {name} struct {{"));
    text.block(|t| {
        // A comment ends a column.
        let mut lines = Vec::new();
        for member in &members {
            let comment = comment(&member.field.doc, Some(&member.field.shape), &NATIVE);
            if !comment.is_empty() {
                aligned(t, &std::mem::take(&mut lines));
                docs(t, &comment);
            }
            let omit = if member.field.required {
                ""
            } else {
                ",omitempty"
            };
            let mut line = vec![member.name.clone(), member.go_type(model)];
            if is_plain {
                line.push(format!("`json:\"{}{omit}\"`", member.field.json));
            }
            lines.push(line);
        }
        aligned(t, &lines);
        if let (Some(rest), Some(name)) = (rest, &additional) {
            docs(t, &["All other properties.".to_owned()]);
            t.line(format!("{name} map[string]{}", shape_of(model, rest)));
        }
    });
    text.line("}");
    let additional = additional.as_deref().zip(rest);
    if !is_plain {
        marshal(model, name, &members, additional, text);
    }
    unmarshal(model, name, &members, additional, text);
}

impl Member<'_> {
    fn go_type(&self, model: &Model) -> String {
        let shape = &self.field.shape;
        match self.kept {
            Kept::Value => shape_of(model, shape),
            Kept::Pointer => format!("*{}", shape_of(model, shape)),
            Kept::Nullable => format!("Nullable[{}]", shape_of(model, shape.not_null())),
        }
    }

    /// The function that reads it.
    fn reader(&self, model: &Model) -> String {
        let shape = &self.field.shape;
        match self.kept {
            Kept::Value => reader(model, shape),
            Kept::Pointer => format!("readPointer({})", reader(model, shape)),
            Kept::Nullable => format!("readPresent({})", reader(model, shape.not_null())),
        }
    }

    /// What is written for it, where that is not its value as it is.
    fn written(&self, model: &Model) -> Option<String> {
        match self.kept {
            Kept::Value => written(model, &self.field.shape, &format!("r.{}", self.name)),
            Kept::Pointer => written(model, &self.field.shape, &format!("*r.{}", self.name)),
            Kept::Nullable => None,
        }
    }
}

fn kept(model: &Model, number: usize, field: &Field) -> Kept {
    match &field.shape {
        // Its null is a value of its own, and its absence is no value.
        Shape::Any => Kept::Value,
        shape if !field.required && model.takes_null(shape) => Kept::Nullable,
        shape
            if !field.required
                || matches!(shape, Shape::Named(_)) && model.is_recursive(number, shape) =>
        {
            Kept::Pointer
        }
        _ => Kept::Value,
    }
}

/// Whether encoding/json takes the name from a tag.
fn fits_tag(name: &str) -> bool {
    let fits = |c: char| {
        c.is_alphanumeric() && !c.is_numeric()
            || c.is_ascii_digit()
            || "!#$%&()*+-./:;<=>?@[]^_{|}~ ".contains(c)
    };
    !name.is_empty() && name != "-" && name.chars().all(fits)
}

fn marshal(
    model: &Model,
    name: &str,
    members: &[Member],
    additional: Option<(&str, &Shape)>,
    text: &mut Text,
) {
    text.gap();
    text.line("// MarshalJSON writes all properties.");
    text.line(format!("func (r {name}) MarshalJSON() ([]byte, error) {{"));
    text.block(|t| {
        t.line("object := map[string]any{}");
        if let Some((additional, rest)) = additional {
            let value = written(model, rest, "value").unwrap_or_else(|| "value".to_owned());
            t.line(format!("for name, value := range r.{additional} {{"));
            t.block(|t| t.line(format!("object[name] = {value}")));
            t.line("}");
        }
        for member in members {
            let name = &member.name;
            let value = member.written(model).unwrap_or_else(|| format!("r.{name}"));
            let put = format!("object[{}] = {value}", quoted(&member.field.json));
            if member.field.required {
                t.line(put);
                continue;
            }
            t.line(match member.kept {
                Kept::Pointer => format!("if r.{name} != nil {{"),
                _ => format!("if len(r.{name}) > 0 {{"),
            });
            t.block(|t| t.line(put));
            t.line("}");
        }
        t.line("return json.Marshal(object)");
    });
    text.line("}");
}

fn unmarshal(
    model: &Model,
    name: &str,
    members: &[Member],
    additional: Option<(&str, &Shape)>,
    text: &mut Text,
) {
    text.gap();
    text.line("// UnmarshalJSON reads all properties.");
    text.line(format!(
        "func (r *{name}) UnmarshalJSON(data []byte) error {{"
    ));
    text.block(|t| {
        if members.is_empty() && additional.is_none() {
            t.line("_, err := readObject(data)\nreturn err");
            return;
        }
        t.line("object, err := readObject(data)");
        t.line("if err != nil {\n\treturn err\n}");
        t.line(format!("*r = {name}{{}}"));
        for member in members {
            let read = if member.field.required {
                "readRequired"
            } else {
                "readOptional"
            };
            let call = format!(
                "{read}(object, {}, &r.{}, {})",
                quoted(&member.field.json),
                member.name,
                member.reader(model)
            );
            t.line(format!("if err := {call}; err != nil {{\n\treturn err\n}}"));
        }
        let Some((additional, rest)) = additional else {
            t.line("return nil");
            return;
        };
        t.line(format!(
            "r.{additional} = make(map[string]{}, len(object))",
            shape_of(model, rest)
        ));
        t.line("for name := range object {");
        t.block(|t| {
            t.line(format!("var value {}", shape_of(model, rest)));
            let call = format!(
                "readOptional(object, name, &value, {})",
                reader(model, rest)
            );
            t.line(format!("if err := {call}; err != nil {{\n\treturn err\n}}"));
            t.line(format!("r.{additional}[name] = value"));
        });
        t.line("}\nreturn nil");
    });
    text.line("}");
}

/// The methods of a list or a map with a name.
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

/// The struct of a union: a pointer for each variant.
pub fn union(model: &Model, name: &str, variants: &[Variant], text: &mut Text) {
    let mut names = Names::reserving(&["MarshalJSON", "UnmarshalJSON"]);
    let fields: Vec<String> = variants.iter().map(|v| names.take(&v.name, "_")).collect();
    docs(
        text,
        &[format!("{name} is one of its fields: all others are nil.")],
    );
    text.line(format!("type {name} struct {{"));
    let line = |(field, variant): (&String, &Variant)| {
        vec![
            field.clone(),
            format!("*{}", shape_of(model, &variant.shape)),
        ]
    };
    let lines: Vec<_> = fields.iter().zip(variants).map(line).collect();
    text.block(|t| aligned(t, &lines));
    text.line("}");

    text.gap();
    text.line("// MarshalJSON writes the field that is not nil.");
    text.line(format!("func (u {name}) MarshalJSON() ([]byte, error) {{"));
    text.block(|t| {
        t.line("switch {");
        for (field, variant) in fields.iter().zip(variants) {
            let value = written(model, &variant.shape, &format!("*u.{field}"));
            let value = value.unwrap_or_else(|| format!("u.{field}"));
            t.line(format!("case u.{field} != nil:"));
            t.block(|t| t.line(format!("return json.Marshal({value})")));
        }
        t.line("}");
        t.line(format!(
            "return nil, fmt.Errorf(\"{name}: all fields are nil\")"
        ));
    });
    text.line("}");

    text.gap();
    text.line("// UnmarshalJSON reads what the value is.");
    text.line(format!(
        "func (u *{name}) UnmarshalJSON(data []byte) error {{"
    ));
    text.block(|t| {
        let looks_inside = variants.iter().any(|v| !matches!(v.test, Test::Kind(_)));
        let properties = if looks_inside { "properties" } else { "_" };
        t.line(format!("*u = {name}{{}}"));
        t.line(format!("kind, {properties} := jsonKind(data)"));
        t.line("switch {");
        for (field, variant) in fields.iter().zip(variants) {
            t.line(format!(
                "case {}:\n\treturn readPointer({})(data, &u.{field})",
                test(&variant.test),
                reader(model, &variant.shape)
            ));
        }
        t.line("}");
        t.line(format!(
            "return fmt.Errorf(\"{name}: not a value of it: %s\", kind)"
        ));
    });
    text.line("}");
}

fn test(test: &Test) -> String {
    let list = |values: &[String]| {
        let values: Vec<String> = values.iter().map(|v| quoted(v)).collect();
        values.join(", ")
    };
    match test {
        Test::Kind(kind) => {
            let kind = kind.name();
            format!("kind == {}", quoted(kind))
        }
        Test::Property(name, values) => {
            format!("isOneOf(properties[{}], {})", quoted(name), list(values))
        }
        Test::Has(names) => format!("hasAll(properties, {})", list(names)),
    }
}
