//! Go's types of values, and the expressions that read and write them.

use crate::generate::model::{Format, Kind, Model, Shape, are_booleans};

/// The type of the values of a shape.
pub fn shape_of(model: &Model, shape: &Shape) -> String {
    match shape {
        Shape::Any => "json.RawMessage".to_owned(),
        Shape::Null => "*struct{}".to_owned(),
        Shape::Boolean => "bool".to_owned(),
        Shape::Integer => "int64".to_owned(),
        Shape::Number => "float64".to_owned(),
        Shape::Literals(values) if are_booleans(values) => "bool".to_owned(),
        Shape::Literals(_) => "int64".to_owned(),
        Shape::Text(Format::DateTime) => "time.Time".to_owned(),
        Shape::Text(_) => "string".to_owned(),
        Shape::List(inner) => format!("[]{}", shape_of(model, inner)),
        Shape::Map(inner) => format!("map[string]{}", shape_of(model, inner)),
        Shape::Nullable(inner) => match shape_of(model, inner) {
            // A list or a map can be nil.
            own if matches!(**inner, Shape::List(_) | Shape::Map(_)) => own,
            other => format!("*{other}"),
        },
        Shape::Named(n) => match &model.declarations[*n].kind {
            // An alias in Go cannot mention itself: such a list or map is a defined type.
            Kind::Alias(inner) if !is_defined(inner) => shape_of(model, inner),
            _ => model.declarations[*n].name.clone(),
        },
    }
}

/// Whether an alias of this shape is a defined type with methods in Go: a list or a map.
pub fn is_defined(shape: &Shape) -> bool {
    matches!(shape.not_null(), Shape::List(_) | Shape::Map(_))
}

/// The function that reads a value of the shape.
pub fn reader(model: &Model, shape: &Shape) -> String {
    match shape {
        Shape::Any => "readAny[json.RawMessage]".to_owned(),
        Shape::Null => "readNull".to_owned(),
        Shape::Text(Format::DateTime) => "readTime".to_owned(),
        Shape::List(inner) => format!("readList({})", reader(model, inner)),
        Shape::Map(inner) => format!("readMap({})", reader(model, inner)),
        Shape::Nullable(inner) => match **inner {
            Shape::List(_) | Shape::Map(_) => format!("readOrNil({})", reader(model, inner)),
            _ => format!("readNullable({})", reader(model, inner)),
        },
        Shape::Named(n) => match &model.declarations[*n].kind {
            Kind::Alias(inner) if !is_defined(inner) => reader(model, inner),
            Kind::Alias(Shape::Nullable(_)) => format!("readAny[{}]", shape_of(model, shape)),
            _ => format!("readValue[{}]", shape_of(model, shape)),
        },
        _ => format!("readValue[{}]", shape_of(model, shape)),
    }
}

/// The expression that is written in place of a value, if it is not the value: a list or a map that is nil is written as
/// an empty one, not as null.
pub fn written(model: &Model, shape: &Shape, value: &str) -> Option<String> {
    let items = |kind: &str, inner: &Shape| {
        let item = written(model, inner, "item")?;
        let of = shape_of(model, inner);
        // gofmt keeps a function on several lines as it is.
        let item = item.replace('\n', "\n\t");
        Some(format!(
            "write{kind}({value}, func(item {of}) any {{\n\treturn {item}\n}})"
        ))
    };
    let or_empty = |kind: &str, inner: &Shape| {
        let items = items(kind, inner).unwrap_or_else(|| value.to_owned());
        Some(format!("orEmpty{kind}({items})"))
    };
    match shape {
        Shape::List(inner) => or_empty("List", inner),
        Shape::Map(inner) => or_empty("Map", inner),
        Shape::Nullable(inner) => match &**inner {
            Shape::List(inner) => items("List", inner),
            Shape::Map(inner) => items("Map", inner),
            _ => None,
        },
        _ => None,
    }
}
