//! Rust's unions. serde would try one variant after the other and take the first that does not fail: what is told apart
//! by the model is read as that, and fails there.

use super::model::{Test, Variant};
use super::names::Names;
use super::rust_layout::{CALL_WIDTH, call, implement};
use super::text::Text;

pub const IS_ONE_OF: &str = "/// Whether a property is one of some strings.
fn is_one_of(json: &serde_json::Value, name: &str, values: &[&str]) -> bool {
    json[name]
        .as_str()
        .is_some_and(|text| values.contains(&text))
}";

pub const HAS_ALL: &str = "/// Whether all of some properties are there.
fn has_all(json: &serde_json::Value, names: &[&str]) -> bool {
    names.iter().all(|name| json.get(name).is_some())
}";

pub const NONE_OF: &str = "/// The error that a value is nothing of a union.
fn none_of<T, E: serde::de::Error>(name: &str) -> Result<T, E> {
    Err(E::custom(format!(\"not a value of {name}\")))
}";

/// The names of the variants.
pub fn names(variants: &[Variant]) -> Vec<String> {
    let mut names = Names::reserving(&["Self"]);
    variants.iter().map(|v| names.take(&v.name, "")).collect()
}

/// Reads the variant of a union that a value is.
pub fn deserialize(name: &str, variants: &[Variant], text: &mut Text) {
    text.gap();
    implement(text, "impl<'de> Deserialize<'de> for", name);
    text.block(|t| {
        t.line("fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {");
        t.block(|t| {
            t.line("let json = serde_json::Value::deserialize(deserializer)?;");
            for (i, (variant, name)) in variants.iter().zip(names(variants)).enumerate() {
                let start = if i == 0 { "if" } else { "} else if" };
                t.line(format!("{start} {} {{", test(&variant.test)));
                t.block(|t| t.line(call("read", &["json", &format!("Self::{name}")])));
            }
            t.line("} else {");
            t.block(|t| t.line(call("none_of", &[&format!("{name:?}")])));
            t.line("}");
        });
        t.line("}");
    });
    text.line("}");
}

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
        Test::Kind(kind) => {
            let kind = kind.name();
            format!("json.is_{kind}()")
        }
        Test::Property(name, values) => {
            call("is_one_of", &["&json", &format!("{name:?}"), &list(values)])
        }
        Test::Has(names) => call("has_all", &["&json", &list(names)]),
    }
}
