//! From a JSON Schema to shapes. What a schema allows, its shape holds; where a shape could not tell, it is any JSON.
//!
//! It is narrower in one way, that of people who write schemas: what is declared is meant. Where properties are told of and
//! no type, it is an object; where elements are, an array; and a property that only some alternatives, or a condition,
//! tell of is as they say wherever it is.
//!
//! Assertions that no type expresses (lengths, ranges, patterns, `not`) are left to the check at the append.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use crate::dcb::error::{Error, Result, SqlState};
use crate::dcb::limits::SCHEMA_CHAIN;

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
    /// Told now and then; does not come back where the work is to end.
    watch: &'a dyn Fn(),
}

/// The shape of a schema, whose named parts begin with the name.
///
/// # Errors
/// 54000 for a schema that becomes too large.
pub fn read(root: &Value, name: &str, draft: &mut Draft, watch: &dyn Fn()) -> Result<Shape> {
    let apart = set_apart(root);
    let mut reader = Reader {
        root: apart.as_ref().unwrap_or(root),
        name,
        draft,
        known: HashMap::new(),
        budget: BUDGET,
        depth: 0,
        watch,
    };
    reader.shape(&json!({"$ref": "#"}), name)
}

/// What a schema says to people. `default` is told, not applied: data is what was stored.
pub fn doc(schema: &Value) -> Doc {
    schema.as_object().map(told).unwrap_or_default()
}

fn told(schema: &Map<String, Value>) -> Doc {
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

impl<'a> Reader<'a> {
    /// One schema looked at.
    ///
    /// # Errors
    /// 54000 when there were too many.
    pub fn spend(&mut self) -> Result<()> {
        (self.watch)();
        self.budget = self.budget.saturating_sub(1);
        if self.budget > 0 {
            return Ok(());
        }
        Err(Error::new(
            SqlState::LimitExceeded,
            format!("schema of {} is too large", self.name),
        )
        .detail(format!(
            "It has more than {BUDGET} parts; those that references and allOf repeat are counted again."
        )))
    }

    /// The error for schemas that take from each other without end.
    pub fn too_deep(&self) -> Error {
        Error::new(
            SqlState::LimitExceeded,
            format!("schema of {} is nested too deeply", self.name),
        )
        .detail(format!(
            "Its parts may take from each other by $ref and allOf {SCHEMA_CHAIN} times."
        ))
    }

    /// The schema that a local reference means.
    pub fn resolve(&self, reference: &str) -> Option<&'a Value> {
        self.root.pointer(&decode(reference.strip_prefix('#')?))
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
        let shape = match keys.get("$ref").and_then(Value::as_str) {
            Some(reference) if merge::is_empty(keys, &["$ref"]) => self.reference(reference, path),
            None if !keys.contains_key("allOf") => self.merged(schema, path),
            _ => match self.known(&schema.to_string()) {
                Ok(known) => Ok(known),
                Err(key) => self.once(key, schema, path),
            },
        };
        self.depth -= 1;
        shape
    }

    /// The shape of what a reference leads to. One that leads to nothing but another one is followed.
    fn reference(&mut self, reference: &str, path: &str) -> Result<Shape> {
        let mut reference = reference;
        let mut name = path.to_owned();
        let mut seen = HashSet::new();
        loop {
            let key = match self.known(reference) {
                Ok(known) => return Ok(known),
                Err(key) => key,
            };
            let Some(target) = self.resolve(reference) else {
                return Ok(Shape::Any); // of another document
            };
            let last = decode(reference.rsplit(['/', '#']).next().unwrap_or_default());
            name = match last.as_str() {
                "" => self.name.to_owned(),
                last if name == self.name && reference == format!("#/{last}") => name,
                last => format!("{}{}", self.name, super::names::pascal(last)),
            };
            match target.get("$ref") {
                Some(Value::String(next)) if is_only_reference(target) => {
                    self.spend()?;
                    if !seen.insert(next) {
                        return Ok(Shape::Any); // of nothing but each other
                    }
                    reference = next;
                }
                _ => return self.once(key, target, &name),
            }
        }
    }

    /// The shape that has been made of this before, or the key for it.
    fn known(&self, key: &str) -> std::result::Result<Shape, String> {
        let known = self.known.get(key).map(|slot| Shape::Named(*slot));
        known.ok_or_else(|| key.to_owned())
    }

    /// The shape of a schema that may hold itself: the second time it is known.
    fn once(&mut self, key: String, schema: &Value, path: &str) -> Result<Shape> {
        let slot = self.draft.open(path, doc(schema));
        self.known.insert(key, slot);
        let shape = self.merged(schema, path)?;
        self.draft.close(slot, Kind::Alias(shape));
        Ok(Shape::Named(slot))
    }

    /// The shape of a schema with all that it takes from others.
    fn merged(&mut self, schema: &Value, path: &str) -> Result<Shape> {
        let schema = merge::merge(self, schema)?;
        let schema = &schema;
        for key in ["oneOf", "anyOf"] {
            if let Some(Value::Array(alternatives)) = schema.get(key)
                && !alternatives.iter().all(merge::only_asserts)
            {
                return self.alternatives(schema, key, alternatives, path);
            }
        }
        if let Some(constant) = schema.get("const") {
            return Ok(self.values(std::slice::from_ref(constant), schema, path));
        }
        if let Some(Value::Array(values)) = schema.get("enum") {
            return Ok(self.values(values, schema, path));
        }
        match merge::types(schema).as_slice() {
            [] => Ok(Shape::Any),
            [one] => self.of_type(one, schema, path),
            several => {
                let shapes = several.iter().map(|t| self.of_type(t, schema, path));
                let shapes = shapes.collect::<Result<_>>()?;
                Ok(self.draft.union(path, told(schema), shapes))
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
        Ok(match key {
            "oneOf" => self.draft.union(path, told(schema), shapes),
            _ => self.draft.overlapping(path, told(schema), shapes),
        })
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
        let (mut strings, mut seen) = (Vec::new(), HashSet::new());
        let mut booleans = Vec::new();
        let mut integers = Vec::new();
        for value in values {
            match value {
                Value::String(s) if seen.insert(s) => strings.push(s.clone()),
                Value::String(_) => {}
                Value::Bool(_) => booleans.push(value.clone()),
                Value::Number(n) if n.is_i64() => integers.push(value.clone()),
                Value::Number(_) => shapes.push(Shape::Number),
                Value::Null => shapes.push(Shape::Null),
                Value::Array(_) => shapes.push(Shape::List(Box::new(Shape::Any))),
                Value::Object(_) => shapes.push(Shape::Map(Box::new(Shape::Any))),
            }
        }
        let doc = told(schema);
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
        Ok(self.draft.overlapping(&path, Doc::default(), shapes))
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
        let slot = self.draft.open(path, told(schema));
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

/// Whether it is a `$ref` and nothing else.
fn is_only_reference(schema: &Value) -> bool {
    let keys = schema.as_object();
    keys.is_some_and(|keys| merge::is_empty(keys, &["$ref"]))
}

/// The schema with references that mean nothing where it holds parts with an `$id` of their own: pointers count from there.
fn set_apart(root: &Value) -> Option<Value> {
    let draft = root.get("$schema").and_then(Value::as_str);
    let is_old = draft.is_some_and(|draft| draft.contains("draft-04"));
    let id = if is_old { "id" } else { "$id" };
    let mut apart = root.clone();
    let mut found = false;
    let members = apart.as_object_mut().into_iter().flatten();
    for (_, member) in members {
        found |= cut(member, id, false);
    }
    found.then_some(apart)
}

fn cut(schema: &mut Value, id: &str, is_apart: bool) -> bool {
    match schema {
        Value::Object(keys) => {
            let own = keys.get(id).and_then(Value::as_str);
            let is_apart = is_apart || own.is_some_and(|own| !own.starts_with('#'));
            let mut found = is_apart;
            for (key, value) in keys.iter_mut() {
                match value {
                    Value::String(reference) if is_apart && key == "$ref" => reference.clear(),
                    value => found |= cut(value, id, is_apart),
                }
            }
            found
        }
        Value::Array(items) => {
            let mut found = false;
            for item in items {
                found |= cut(item, id, is_apart);
            }
            found
        }
        _ => false,
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
