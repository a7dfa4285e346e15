//! From a JSON Schema to shapes. What a schema allows, its shape holds; where a shape could not tell, it is any JSON.
//!
//! Assertions that no type expresses (lengths, ranges, patterns, `not`) are left to the check at the append.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::dcb::error::{Error, Result, SqlState};

use super::merge;
use super::model::{Doc, Field, Format, Kind, Shape};
use super::unite::Draft;

/// Schemas looked at for one event type; who has more has one that doubles itself.
const BUDGET: usize = 20_000;
/// Schemas in schemas, references followed.
const DEPTH: usize = 64;

/// Reads one schema.
pub struct Reader<'a> {
    root: &'a Value,
    /// The name of the root's type.
    name: &'a str,
    draft: &'a mut Draft,
    /// What references and merged schemas have become, by their text.
    known: HashMap<String, usize>,
    budget: usize,
    depth: usize,
}

/// The shape of a schema, whose named parts begin with the name.
///
/// # Errors
/// 54000 for a schema that becomes too large.
pub fn read(root: &Value, name: &str, draft: &mut Draft) -> Result<Shape> {
    let mut reader = Reader {
        root,
        name,
        draft,
        known: HashMap::new(),
        budget: BUDGET,
        depth: 0,
    };
    reader.shape(&json!({"$ref": "#"}), name)
}

/// What a schema says to people. `default` is told, not applied: data is what was stored.
pub fn doc(schema: &Value) -> Doc {
    let text = |key: &str| schema.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut lines: Vec<String> = [text("title"), text("description")]
        .iter()
        .flat_map(|t| t.lines())
        .map(clean)
        .skip_while(String::is_empty)
        .collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    if let Some(default) = schema.get("default") {
        lines.push(clean(&format!("Default: {default}.")));
    }
    let deprecated = schema.get("deprecated") == Some(&Value::Bool(true));
    Doc { lines, deprecated }
}

/// A line without what could end a comment of one line, or hide what follows.
pub fn clean(line: &str) -> String {
    let line: String = line
        .chars()
        .map(|c| if hides(c) { ' ' } else { c })
        .collect();
    line.trim_end().to_owned()
}

/// Whether a character ends a line somewhere, is a byte order mark, or moves what follows out of sight.
pub fn hides(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

impl Reader<'_> {
    /// One schema looked at.
    ///
    /// # Errors
    /// 54000 when there were too many.
    pub fn spend(&mut self) -> Result<()> {
        self.budget = self.budget.saturating_sub(1);
        if self.budget > 0 {
            return Ok(());
        }
        Err(Error::new(
            SqlState::LimitExceeded,
            format!("schema of {} is too large", self.name),
        )
        .detail("Its references and allOf make too many types of it."))
    }

    /// The schema that a local reference means.
    pub fn resolve(&self, reference: &str) -> Option<Value> {
        let pointer = decode(reference.strip_prefix('#')?);
        self.root.pointer(&pointer).cloned()
    }

    fn shape(&mut self, schema: &Value, path: &str) -> Result<Shape> {
        self.spend()?;
        let Value::Object(keys) = schema else {
            return Ok(Shape::Any); // true; and nothing fits false
        };
        if self.depth == DEPTH {
            return Ok(Shape::Any);
        }
        self.depth += 1;
        let reference = keys.get("$ref").and_then(Value::as_str);
        let shape = match reference {
            Some(reference) if merge::is_empty(keys, &["$ref"]) => self.reference(reference, path),
            _ if reference.is_some() || keys.contains_key("allOf") => {
                self.once(&schema.to_string(), schema, path)
            }
            _ => self.merged(schema, path),
        };
        self.depth -= 1;
        shape
    }

    fn reference(&mut self, reference: &str, path: &str) -> Result<Shape> {
        let Some(target) = self.resolve(reference) else {
            return Ok(Shape::Any); // of another document
        };
        let last = decode(reference.rsplit(['/', '#']).next().unwrap_or_default());
        let name = match last.as_str() {
            "" => self.name.to_owned(),
            last if path == self.name && reference == format!("#/{last}") => path.to_owned(),
            last => format!("{}{}", self.name, super::names::pascal(last)),
        };
        self.once(reference, &target, &name)
    }

    /// The shape of a schema that may hold itself: the second time it is a name.
    fn once(&mut self, key: &str, schema: &Value, path: &str) -> Result<Shape> {
        if let Some(known) = self.known.get(key) {
            return Ok(Shape::Named(*known));
        }
        let slot = self.draft.open(path, doc(schema));
        self.known.insert(key.to_owned(), slot);
        let shape = self.merged(schema, path)?;
        self.draft.close(slot, Kind::Alias(shape));
        Ok(Shape::Named(slot))
    }

    /// The shape of a schema with all that it takes from others.
    fn merged(&mut self, schema: &Value, path: &str) -> Result<Shape> {
        if let Some(Value::String(reference)) = schema.get("$ref")
            && schema
                .as_object()
                .is_some_and(|keys| merge::is_empty(keys, &["$ref"]))
        {
            return self.reference(reference, path);
        }
        let schema = merge::merge(self, schema, &mut Vec::new())?;
        for key in ["oneOf", "anyOf"] {
            if let Some(Value::Array(alternatives)) = schema.get(key)
                && !alternatives.iter().all(merge::only_asserts)
            {
                return self.alternatives(&schema, key, alternatives, path);
            }
        }
        if let Some(constant) = schema.get("const") {
            return Ok(self.values(std::slice::from_ref(constant), &schema, path));
        }
        if let Some(Value::Array(values)) = schema.get("enum") {
            return Ok(self.values(values, &schema, path));
        }
        match merge::types(&schema).as_slice() {
            [] => Ok(Shape::Any),
            [one] => self.of_type(one, &schema, path),
            several => {
                let shapes = several.iter().map(|t| self.of_type(t, &schema, path));
                let shapes = shapes.collect::<Result<_>>()?;
                Ok(self
                    .draft
                    .union(path, doc(&Value::Object(schema.clone())), shapes))
            }
        }
    }

    fn alternatives(
        &mut self,
        schema: &Map<String, Value>,
        key: &str,
        alternatives: &[Value],
        path: &str,
    ) -> Result<Shape> {
        let mut base = schema.clone();
        base.remove(key);
        merge::remove_annotations(&mut base);
        let alone = base.keys().all(|k| k == "type");
        let mut shapes = Vec::new();
        for (i, alternative) in alternatives.iter().enumerate() {
            let path = format!("{path}{}", self.hint(alternative, i));
            shapes.push(if alone {
                self.shape(alternative, &path)?
            } else {
                self.shape(&json!({"allOf": [base.clone(), alternative]}), &path)?
            });
        }
        Ok(self
            .draft
            .union(path, doc(&Value::Object(schema.clone())), shapes))
    }

    /// What an alternative can be called: a constant of its own, its title, its number.
    fn hint(&self, alternative: &Value, i: usize) -> String {
        let properties = alternative.get("properties").and_then(Value::as_object);
        let constant = properties.into_iter().flat_map(Map::values);
        let constant = constant.filter_map(|p| p.get("const")?.as_str()).next();
        let title = alternative.get("title").and_then(Value::as_str);
        match constant.or(title) {
            Some(text) => super::names::pascal(text),
            None => format!("Option{}", i + 1),
        }
    }

    fn values(&mut self, values: &[Value], schema: &Map<String, Value>, path: &str) -> Shape {
        let mut shapes = Vec::new();
        let mut strings = Vec::new();
        let mut booleans = Vec::new();
        let mut integers = Vec::new();
        for value in values {
            match value {
                Value::String(s) if !strings.contains(s) => strings.push(s.clone()),
                Value::String(_) => {}
                Value::Bool(_) => booleans.push(value.clone()),
                Value::Number(n) if n.is_i64() => integers.push(value.clone()),
                Value::Number(_) => shapes.push(Shape::Number),
                Value::Null => shapes.push(Shape::Null),
                Value::Array(_) => shapes.push(Shape::List(Box::new(Shape::Any))),
                Value::Object(_) => shapes.push(Shape::Map(Box::new(Shape::Any))),
            }
        }
        let doc = doc(&Value::Object(schema.clone()));
        if !strings.is_empty() {
            let slot = self.draft.open(path, doc.clone());
            self.draft.close(slot, Kind::Enum(strings));
            shapes.push(Shape::Named(slot));
        }
        for mut literals in [booleans, integers] {
            literals.sort_by_key(|v| (v.as_bool(), v.as_i64()));
            literals.dedup();
            if !literals.is_empty() {
                shapes.push(Shape::Literals(literals));
            }
        }
        match shapes.len() {
            0 => Shape::Any,
            1 => shapes.remove(0),
            _ => self.draft.union(path, doc, shapes),
        }
    }

    fn of_type(&mut self, name: &str, schema: &Map<String, Value>, path: &str) -> Result<Shape> {
        Ok(match name {
            "null" => Shape::Null,
            "boolean" => Shape::Boolean,
            "integer" => Shape::Integer,
            "number" => Shape::Number,
            "string" => Shape::Text(format(schema)),
            "array" => Shape::List(Box::new(self.elements(schema, path)?)),
            "object" => self.object(schema, path)?,
            _ => Shape::Any,
        })
    }

    /// The shape of an array's elements. A tuple that may go on with anything is an array of anything.
    fn elements(&mut self, schema: &Map<String, Value>, path: &str) -> Result<Shape> {
        let (first, others) = match (schema.get("prefixItems"), schema.get("items")) {
            (Some(Value::Array(first)), others) => (first.as_slice(), others),
            (_, Some(Value::Array(first))) => (first.as_slice(), schema.get("additionalItems")),
            (_, others) => (&[][..], others),
        };
        let path = format!("{path}Item");
        let end = schema.get("maxItems").and_then(Value::as_u64);
        let ends = end.is_some_and(|n| n <= first.len() as u64)
            || schema.get("unevaluatedItems") == Some(&Value::Bool(false));
        let others = match others {
            Some(Value::Bool(false)) => None,
            None if ends && !first.is_empty() => None,
            others => Some(others.unwrap_or(&Value::Bool(true))),
        };
        if first.is_empty() {
            return others.map_or(Ok(Shape::Any), |o| self.shape(o, &path));
        }
        let mut shapes = Vec::new();
        for (i, element) in first.iter().enumerate() {
            shapes.push(self.shape(element, &format!("{path}{}", i + 1))?);
        }
        if let Some(others) = others {
            shapes.push(self.shape(others, &format!("{path}More"))?);
        }
        Ok(self.draft.union(&path, Doc::default(), shapes))
    }

    fn object(&mut self, schema: &Map<String, Value>, path: &str) -> Result<Shape> {
        let object = merge::Object::of(self, schema)?;
        let rest = match &object.rest {
            Some(rest) => Some(self.shape(rest, &format!("{path}Value"))?),
            None => None,
        };
        if object.properties.is_empty() && !object.is_closed {
            return Ok(Shape::Map(Box::new(rest.unwrap_or(Shape::Any))));
        }
        let mut fields = Vec::new();
        for (json, (schema, required)) in object.properties {
            let path = format!("{path}{}", super::names::pascal(&json));
            let shape = self.shape(&schema, &path)?;
            fields.push(Field {
                doc: doc(&schema),
                json,
                shape,
                required,
            });
        }
        let slot = self.draft.open(path, doc(&Value::Object(schema.clone())));
        self.draft.close(slot, Kind::Record { fields, rest });
        Ok(Shape::Named(slot))
    }
}

fn format(schema: &Map<String, Value>) -> Format {
    match schema.get("format").and_then(Value::as_str) {
        None => Format::Plain,
        Some("date-time") => Format::DateTime,
        Some("date") => Format::Date,
        Some("uuid") => Format::Uuid,
        Some(other) => Format::Other(clean(other)),
    }
}

/// A fragment of a URI without its percent encoding.
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut ahead = rest.clone();
        let digits = [ahead.next(), ahead.next()].map(|d| char::from(d?).to_digit(16));
        match digits {
            [Some(high), Some(low)] if byte == b'%' => {
                bytes.push((high * 16 + low) as u8);
                rest = ahead;
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
