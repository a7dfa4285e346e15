//! Go's structs for unions: a pointer for each variant, of which one is not nil.

use crate::generate::model::{Model, Test, Variant};
use crate::generate::names::Names;
use crate::generate::text::{Text, quoted, quoted_list};

use super::layout::{aligned, docs};
use super::shape::{reader, shape_of, written};

/// The struct of a union.
pub fn union<'a>(model: &Model, name: &str, variants: &'a [Variant], text: &mut Text) {
    let mut names = Names::reserving(&["MarshalJSON", "UnmarshalJSON"]);
    let mut named = |variant: &'a Variant| (names.take(&variant.name, "_"), variant);
    let members: Vec<(String, &Variant)> = variants.iter().map(&mut named).collect();
    docs(
        text,
        &[format!("{name} is one of its fields: all others are nil.")],
    );
    let line = |(member, variant): &(String, &Variant)| {
        vec![
            member.clone(),
            format!("*{}", shape_of(model, &variant.shape)),
        ]
    };
    let lines: Vec<_> = members.iter().map(line).collect();
    text.enclose(
        format!("type {name} struct {{"),
        |t| aligned(t, &lines),
        "}",
    );
    marshal(model, name, &members, text);
    unmarshal(model, name, &members, text);
}

fn marshal(model: &Model, name: &str, members: &[(String, &Variant)], text: &mut Text) {
    text.gap();
    text.line("// MarshalJSON writes the field that is not nil.");
    let lines = |t: &mut Text| {
        t.line("switch {");
        for (member, variant) in members {
            let value = written(model, &variant.shape, &format!("*u.{member}"));
            let value = value.unwrap_or_else(|| format!("u.{member}"));
            t.line(format!("case u.{member} != nil:"));
            t.block(|t| t.line(format!("return json.Marshal({value})")));
        }
        t.line("}");
        t.line(format!(
            "return nil, fmt.Errorf(\"{name}: all fields are nil\")"
        ));
    };
    let head = format!("func (u {name}) MarshalJSON() ([]byte, error) {{");
    text.enclose(head, lines, "}");
}

fn unmarshal(model: &Model, name: &str, members: &[(String, &Variant)], text: &mut Text) {
    text.gap();
    text.line("// UnmarshalJSON reads what the value is.");
    let looks_inside = |(_, v): &(String, &Variant)| !matches!(v.test, Test::Kind(_));
    let looks_inside = members.iter().any(looks_inside);
    let properties = if looks_inside { "properties" } else { "_" };
    let lines = |t: &mut Text| {
        t.line(format!("*u = {name}{{}}"));
        t.line(format!("kind, {properties} := jsonKind(data)"));
        t.line("switch {");
        for (member, variant) in members {
            t.line(format!(
                "case {}:\n\treturn readPointer({})(data, &u.{member})",
                test(&variant.test),
                reader(model, &variant.shape)
            ));
        }
        t.line("}");
        t.line(format!(
            "return fmt.Errorf(\"{name}: not a value of it: %s\", kind)"
        ));
    };
    let head = format!("func (u *{name}) UnmarshalJSON(data []byte) error {{");
    text.enclose(head, lines, "}");
}

/// The condition under which a value is a variant.
fn test(test: &Test) -> String {
    match test {
        Test::Kind(kind) => format!("kind == {}", quoted(kind.name())),
        Test::Property(name, values) => {
            format!(
                "isOneOf(properties[{}], {})",
                quoted(name),
                quoted_list(values)
            )
        }
        Test::Has(names) => format!("hasAll(properties, {})", quoted_list(names)),
    }
}
