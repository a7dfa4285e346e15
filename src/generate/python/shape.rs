//! Python's types of values, and the expressions that read and write them.

use crate::generate::model::{Format, JsonKind, Kind, Shape, Test, are_booleans};
use crate::generate::text::{quoted, quoted_list};

use super::Writer;

impl Writer<'_> {
    /// The expression for the JSON value of a value or None.
    pub fn encode_nullable(&self, shape: &Shape, value: &str) -> String {
        match self.encode(shape, value) {
            same if same == value => same,
            other => format!("None if {value} is None else {other}"),
        }
    }

    /// The class of the values of a shape, to tell apart those that differ from their JSON values.
    pub fn class(&self, shape: &Shape) -> String {
        match shape {
            Shape::List(_) => "list".to_owned(),
            Shape::Map(_) => "dict".to_owned(),
            Shape::Text(_) => self.annotation(shape),
            Shape::Named(n) => self.model.declarations[*n].name.clone(),
            _ => "object".to_owned(),
        }
    }

    /// The type of the values of a shape.
    pub fn annotation(&self, shape: &Shape) -> String {
        match shape {
            Shape::Any => "object".to_owned(),
            Shape::Null => "None".to_owned(),
            Shape::Boolean => "bool".to_owned(),
            Shape::Integer => "int".to_owned(),
            Shape::Number => "float".to_owned(),
            Shape::Text(Format::DateTime) => "_dt.datetime".to_owned(),
            Shape::Text(Format::Date) => "_dt.date".to_owned(),
            Shape::Text(Format::Uuid) => "_uuid.UUID".to_owned(),
            Shape::Text(_) => "str".to_owned(),
            Shape::Literals(values) => {
                let values = values.iter().map(|v| match v.as_bool() {
                    Some(true) => "True".to_owned(),
                    Some(false) => "False".to_owned(),
                    None => v.to_string(),
                });
                format!("Literal[{}]", values.collect::<Vec<_>>().join(", "))
            }
            Shape::List(inner) => format!("list[{}]", self.annotation(inner)),
            Shape::Map(inner) => format!("dict[str, {}]", self.annotation(inner)),
            Shape::Nullable(inner) => format!("{} | None", self.annotation(inner)),
            Shape::Named(n) => match &self.model.declarations[*n].kind {
                Kind::Enum(values) if values.len() == 1 => {
                    format!("Literal[{}]", quoted(&values[0]))
                }
                _ => self.model.declarations[*n].name.clone(),
            },
        }
    }

    /// The expression for the value of a JSON value.
    pub fn decode(&self, shape: &Shape, json: &str) -> String {
        match shape {
            Shape::Any => json.to_owned(),
            Shape::Null => format!("_null({json})"),
            Shape::Boolean => format!("_boolean({json})"),
            Shape::Integer => format!("_integer({json})"),
            Shape::Number => format!("_number({json})"),
            Shape::Text(Format::DateTime) => format!("_time({json})"),
            Shape::Text(Format::Date) => format!("_date({json})"),
            Shape::Text(Format::Uuid) => format!("_id({json})"),
            Shape::Text(_) => format!("_text({json})"),
            Shape::Literals(values) => {
                let check = if are_booleans(values) {
                    "_boolean"
                } else {
                    "_integer"
                };
                format!("cast({}, {check}({json}))", self.annotation(shape))
            }
            Shape::List(inner) if **inner == Shape::Any => format!("_list({json})"),
            Shape::Map(inner) if **inner == Shape::Any => format!("_object({json})"),
            Shape::List(inner) => format!("_items({json}, {})", self.parser(inner)),
            Shape::Map(inner) => format!("_values({json}, {})", self.parser(inner)),
            Shape::Nullable(inner) => format!("_nullable({json}, {})", self.parser(inner)),
            Shape::Named(n) => match &self.model.declarations[*n].kind {
                Kind::Record { .. } => {
                    format!("{}.from_json({json})", self.model.declarations[*n].name)
                }
                Kind::Enum(_) => format!("cast({}, _text({json}))", self.annotation(shape)),
                _ => format!("_parse_{}({json})", self.functions[n]),
            },
        }
    }

    /// The function that makes a value from a JSON value.
    pub fn parser(&self, shape: &Shape) -> String {
        if *shape == Shape::Any {
            return "_any".to_owned();
        }
        let body = self.decode(shape, "item");
        match body.strip_suffix("(item)") {
            Some(function) if !function.contains(['(', ' ', '[', '{']) => function.to_owned(),
            _ => format!("lambda item: {body}"),
        }
    }

    /// The expression for the JSON value of a value.
    pub fn encode(&self, shape: &Shape, value: &str) -> String {
        match shape {
            Shape::Text(Format::DateTime) => format!("_time_json({value})"),
            Shape::Text(Format::Date) => format!("{value}.isoformat()"),
            Shape::Text(Format::Uuid) => format!("str({value})"),
            Shape::List(inner) => match self.encode(inner, "item").as_str() {
                "item" => value.to_owned(),
                item => format!("[{item} for item in {value}]"),
            },
            Shape::Map(inner) => match self.encode(inner, "item").as_str() {
                "item" => value.to_owned(),
                item => format!("{{key: {item} for key, item in {value}.items()}}"),
            },
            Shape::Nullable(inner) => self.encode_nullable(inner, value),
            Shape::Named(n) => match &self.model.declarations[*n].kind {
                Kind::Record { .. } => format!("{value}.to_json()"),
                Kind::Enum(_) => value.to_owned(),
                _ => format!("_dump_{}({value})", self.functions[n]),
            },
            _ => value.to_owned(),
        }
    }
}

/// The condition under which a JSON value is a variant.
pub fn test(test: &Test) -> String {
    let list = |values: &[String]| format!("({},)", quoted_list(values));
    match test {
        Test::Kind(JsonKind::Boolean) => "isinstance(json, bool)".to_owned(),
        Test::Kind(JsonKind::Number) => "isinstance(json, (int, float))".to_owned(),
        Test::Kind(JsonKind::String) => "isinstance(json, str)".to_owned(),
        Test::Kind(JsonKind::Array) => "isinstance(json, list)".to_owned(),
        Test::Kind(JsonKind::Object) => "isinstance(json, dict)".to_owned(),
        Test::Property(name, values) => {
            format!(
                "isinstance(json, dict) and json.get({}) in {}",
                quoted(name),
                list(values)
            )
        }
        Test::Has(names) => {
            format!(
                "isinstance(json, dict) and all(name in json for name in {})",
                list(names)
            )
        }
    }
}
