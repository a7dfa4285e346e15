//! Ruby's types of values, which are written in comments, and the expressions that read them.

use crate::generate::model::{Format, JsonKind, Kind, Model, Shape, Test};
use crate::generate::text::quoted;

/// A string literal that does not interpolate.
pub fn literal(value: &str) -> String {
    quoted(value).replace('#', "\\#")
}

/// String literals with commas between them.
pub fn literals<'a>(values: impl IntoIterator<Item = &'a String>) -> String {
    let values: Vec<String> = values.into_iter().map(|v| literal(v)).collect();
    values.join(", ")
}

/// The expression for the value of a JSON value.
pub fn decode(model: &Model, shape: &Shape, json: &str) -> String {
    match shape {
        Shape::Text(Format::DateTime) => format!("Record.time({json})"),
        Shape::Text(Format::Date) => format!("Date.iso8601({json})"),
        Shape::List(inner) => match decode(model, inner, "item").as_str() {
            "item" => json.to_owned(),
            item => format!("{json}.map {{ |item| {item} }}"),
        },
        Shape::Map(inner) => match decode(model, inner, "item").as_str() {
            "item" => json.to_owned(),
            item => format!("{json}.transform_values {{ |item| {item} }}"),
        },
        Shape::Nullable(inner) => match decode(model, inner, "item").as_str() {
            "item" => json.to_owned(),
            item => format!("{json}&.then {{ |item| {item} }}"),
        },
        Shape::Named(n) => match &model.declarations[*n].kind {
            Kind::Enum(_) => json.to_owned(),
            _ => format!("{}.from_json({json})", model.declarations[*n].name),
        },
        _ => json.to_owned(),
    }
}

/// The pattern of a `case` that matches a variant.
pub fn test(test: &Test) -> String {
    let list = |values: &[String]| format!("[{}]", literals(values));
    match test {
        Test::Kind(JsonKind::Boolean) => "true, false".to_owned(),
        Test::Kind(JsonKind::Number) => "Numeric".to_owned(),
        Test::Kind(JsonKind::String) => "String".to_owned(),
        Test::Kind(JsonKind::Array) => "Array".to_owned(),
        Test::Kind(JsonKind::Object) => "Hash".to_owned(),
        Test::Property(name, values) => {
            format!(
                "->(value) {{ value.is_a?(Hash) && {}.include?(value[{}]) }}",
                list(values),
                literal(name)
            )
        }
        Test::Has(names) => {
            format!(
                "->(value) {{ value.is_a?(Hash) && {}.all? {{ |name| value.key?(name) }} }}",
                list(names)
            )
        }
    }
}

/// The type of the values of a shape, as a comment tells it.
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
            Kind::Enum(values) => literals(values),
            _ => model.declarations[*n].name.clone(),
        },
    }
}
