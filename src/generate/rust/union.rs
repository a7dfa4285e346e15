//! Rust's enums for unions. serde would try the variants in turn and take the first that can be read. The generated code
//! tests first which variant a value is, and reads only that one: so errors tell what is wrong in it.

use crate::generate::model::{Test, Variant};
use crate::generate::names::Names;
use crate::generate::text::Text;

use super::event::DESERIALIZE;
use super::layout::{CALL_WIDTH, call, implement};

/// A function for tests by a property.
pub const IS_ONE_OF: &str = "/// Whether a property is one of some strings.
fn is_one_of(json: &serde_json::Value, name: &str, values: &[&str]) -> bool {
    json[name]
        .as_str()
        .is_some_and(|text| values.contains(&text))
}";

/// A function for tests by the presence of properties.
pub const HAS_ALL: &str = "/// Whether all of some properties are there.
fn has_all(json: &serde_json::Value, names: &[&str]) -> bool {
    names.iter().all(|name| json.get(name).is_some())
}";

/// A function for values that are no variant.
pub const NONE_OF: &str = "/// The error that a value is nothing of a union.
fn none_of<T, E: serde::de::Error>(name: &str) -> Result<T, E> {
    Err(E::custom(format!(\"not a value of {name}\")))
}";

/// The names of the variants.
pub fn names(variants: &[Variant]) -> Vec<String> {
    let mut names = Names::reserving(&["Self"]);
    variants.iter().map(|v| names.take(&v.name, "")).collect()
}

/// The implementation that reads a union.
pub fn deserialize(name: &str, variants: &[Variant], text: &mut Text) {
    text.gap();
    implement(text, "impl<'de> Deserialize<'de> for", name);
    text.block(|t| t.enclose(DESERIALIZE, |t| read_variant(name, variants, t), "}"));
    text.line("}");
}

/// The lines that read the variant that a value is.
fn read_variant(name: &str, variants: &[Variant], text: &mut Text) {
    text.line("let json = serde_json::Value::deserialize(deserializer)?;");
    let mut start = "if";
    for (variant, name) in variants.iter().zip(names(variants)) {
        text.line(format!("{start} {} {{", test(&variant.test)));
        text.block(|t| t.line(call("read", &["json", &format!("Self::{name}")])));
        start = "} else if";
    }
    let none = |t: &mut Text| t.line(call("none_of", &[&format!("{name:?}")]));
    text.enclose("} else {", none, "}");
}

/// The condition under which a value is a variant.
fn test(test: &Test) -> String {
    let list = |values: &[String]| {
        let values: Vec<String> = values.iter().map(|v| format!("{v:?}")).collect();
        let line = values.join(", ");
        if line.chars().count() + 2 <= CALL_WIDTH {
            format!("&[{line}]")
        } else {
            format!("&[\n    {},\n]", values.join(",\n    "))
        }
    };
    match test {
        Test::Kind(kind) => format!("json.is_{}()", kind.name()),
        Test::Property(name, values) => {
            call("is_one_of", &["&json", &format!("{name:?}"), &list(values)])
        }
        Test::Has(names) => call("has_all", &["&json", &list(names)]),
    }
}
