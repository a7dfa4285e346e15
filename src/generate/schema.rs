//! Reads a JSON Schema into shapes. A shape holds every value that its schema allows; where no shape can, it is any JSON.
//!
//! There is one exception, in favour of how people write schemas: what they describe is meant. A schema that describes
//! properties and gives no type is an object; one that describes elements is an array; and a property that only some
//! alternatives or a condition describe has that description wherever it occurs.
//!
//! No type expresses lengths, ranges, patterns or `not`. The check at the append is left to find those.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use crate::dcb::error::{Error, Result, SqlState};
use crate::dcb::limits::SCHEMA_CHAIN;

use super::merge;
use super::model::{Doc, Field, Format, Kind, Shape};
use super::names::pascal;
use super::text::clean;
use super::unite::Draft;

/// How many schemas are read for one event type. Only a schema that repeats its own parts has more.
const BUDGET: usize = 20_000;
/// How deep schemas may be within schemas, including those that references lead to.
const DEPTH: usize = 64;

/// Reads one schema.
pub struct Reader<'a> {
    root: &'a Value,
    /// The name of the type that is read.
    name: &'a str,
    draft: &'a mut Draft,
    /// The declarations of references and merged schemas that have been read, by the text of these.
    known: HashMap<String, usize>,
    /// How many more schemas may be read.
    budget: usize,
    depth: usize,
    /// Called again and again. It does not return where the work must end.
    check_interrupts: &'a dyn Fn(),
}

/// Reads the shape of a schema. The names of its declarations begin with the given name.
///
/// # Errors
/// 54000 for a schema that becomes too large.
pub fn read(
    root: &Value,
    name: &str,
    draft: &mut Draft,
    check_interrupts: &dyn Fn(),
) -> Result<Shape> {
    let cut = without_foreign_references(root);
    let mut reader = Reader {
        root: cut.as_ref().unwrap_or(root),
        name,
        draft,
        known: HashMap::new(),
        budget: BUDGET,
        depth: 0,
        check_interrupts,
    };
    reader.shape(&json!({"$ref": "#"}), name)
}

/// The documentation in a schema. It tells the `default`, which is never applied: data stays as it was stored.
pub fn doc(schema: &Value) -> Doc {
    schema.as_object().map(doc_of).unwrap_or_default()
}

fn doc_of(schema: &Map<String, Value>) -> Doc {
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

impl<'a> Reader<'a> {
    /// Counts one schema that is read.
    ///
    /// # Errors
    /// 54000 where there are too many.
    pub fn spend(&mut self) -> Result<()> {
        (self.check_interrupts)();
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

    /// The error for schemas that take in each other without end.
    pub fn too_deep(&self) -> Error {
        Error::new(
            SqlState::LimitExceeded,
            format!("schema of {} is nested too deeply", self.name),
        )
        .detail(format!(
            "Its parts may take from each other by $ref and allOf {SCHEMA_CHAIN} times."
        ))
    }

    /// The schema that a reference within the document leads to.
    pub fn resolve(&self, reference: &str) -> Option<&'a Value> {
        self.root.pointer(&decode(reference.strip_prefix('#')?))
    }

    /// Reads the shape of a schema. `path` is the name that its declaration will ask for.
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
            Some(reference) if merge::has_only(keys, &["$ref"]) => self.reference(reference, path),
            None if !keys.contains_key("allOf") => self.merged(schema, path),
            _ => match self.known(&schema.to_string()) {
                Ok(known) => Ok(known),
                Err(key) => self.once(key, schema, path),
            },
        };
        self.depth -= 1;
        shape
    }

    /// Reads the shape of what a reference leads to. If that is only another reference, this one is followed.
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
                return Ok(Shape::Any); // it leads to another document
            };
            name = self.name_of_target(reference, name);
            let Some(next) = only_reference(target) else {
                return self.once(key, target, &name);
            };
            self.spend()?;
            if !seen.insert(next) {
                return Ok(Shape::Any); // references lead only to each other
            }
            reference = next;
        }
    }

    /// The name for what a reference leads to: made of the last part of the reference, if there is one.
    fn name_of_target(&self, reference: &str, name: String) -> String {
        let last = decode(reference.rsplit(['/', '#']).next().unwrap_or_default());
        match last.as_str() {
            "" => self.name.to_owned(),
            last if last == self.name && reference == format!("#/{last}") => name,
            last => format!("{}{}", self.name, pascal(last)),
        }
    }

    /// The shape that this key stands for, if it has been read; otherwise the key for it.
    fn known(&self, key: &str) -> std::result::Result<Shape, String> {
        let known = self.known.get(key).map(|number| Shape::Named(*number));
        known.ok_or_else(|| key.to_owned())
    }

    /// Reads the shape of a schema that may contain itself: within it, the key is known.
    fn once(&mut self, key: String, schema: &Value, path: &str) -> Result<Shape> {
        let number = self.draft.open(path, doc(schema));
        self.known.insert(key, number);
        let shape = self.merged(schema, path)?;
        self.draft.close(number, Kind::Alias(shape));
        Ok(Shape::Named(number))
    }

    /// Reads the shape of a schema with all that it takes in.
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
                Ok(self.draft.union(path, doc_of(schema), shapes))
            }
        }
    }

    /// Reads `oneOf` or `anyOf`, each alternative together with the keys beside it.
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
            "oneOf" => self.draft.union(path, doc_of(schema), shapes),
            _ => self.draft.overlapping(path, doc_of(schema), shapes),
        })
    }

    /// The end of an alternative's name: from a constant in it, its title or its number.
    fn hint(&self, alternative: &Value, i: usize) -> String {
        let properties = alternative.get("properties").and_then(Value::as_object);
        let constant = properties.into_iter().flat_map(Map::values);
        let constant = constant.filter_map(|p| p.get("const")?.as_str()).next();
        let title = alternative.get("title").and_then(Value::as_str);
        match constant.or(title) {
            Some(text) => pascal(text),
            None => format!("Option{}", i + 1),
        }
    }

    /// The shape of constants. Strings become an enum; booleans and whole numbers become literals.
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
        let doc = doc_of(schema);
        if !strings.is_empty() {
            let number = self.draft.open(path, doc.clone());
            self.draft.close(number, Kind::Enum(strings));
            shapes.push(Shape::Named(number));
        }
        shapes.extend([booleans, integers].into_iter().filter_map(literals));
        match shapes.len() {
            0 => Shape::Any,
            1 => shapes.remove(0),
            _ => self.draft.union(path, doc, shapes),
        }
    }

    /// Reads the shape of a schema for one of its types.
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

    /// Reads the shape of an array's elements. In a tuple it is the union of all elements' shapes.
    fn elements(&mut self, schema: &Map<String, Value>, path: &str) -> Result<Shape> {
        let path = format!("{path}Item");
        let (first, others) = elements_of(schema);
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

    /// Reads the shape of an object: a map, if it has no known properties.
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
            let path = format!("{path}{}", pascal(&json));
            let shape = self.shape(&schema, &path)?;
            fields.push(Field {
                doc: doc(&schema),
                json,
                shape,
                required,
            });
        }
        let number = self.draft.open(path, doc_of(schema));
        self.draft.close(number, Kind::Record { fields, rest });
        Ok(Shape::Named(number))
    }
}

/// The shape of constants that are all booleans or all whole numbers; `None` where there are none.
fn literals(mut values: Vec<Value>) -> Option<Shape> {
    values.sort_by_key(|v| (v.as_bool(), v.as_i64()));
    values.dedup();
    (!values.is_empty()).then_some(Shape::Literals(values))
}

/// The schemas of an array's first elements, and that of all further ones. `None`: there are no further ones.
fn elements_of(schema: &Map<String, Value>) -> (&[Value], Option<&Value>) {
    let (first, others) = match (schema.get("prefixItems"), schema.get("items")) {
        (Some(Value::Array(first)), others) => (first.as_slice(), others),
        (_, Some(Value::Array(first))) => (first.as_slice(), schema.get("additionalItems")),
        (_, others) => (&[][..], others),
    };
    let most = schema.get("maxItems").and_then(Value::as_u64);
    let ends = most.is_some_and(|n| n <= first.len() as u64)
        || schema.get("unevaluatedItems") == Some(&Value::Bool(false));
    let others = match others {
        Some(Value::Bool(false)) => None,
        None if ends && !first.is_empty() => None,
        others => Some(others.unwrap_or(&Value::Bool(true))),
    };
    (first, others)
}

/// The format of a string.
fn format(schema: &Map<String, Value>) -> Format {
    match schema.get("format").and_then(Value::as_str) {
        None => Format::Plain,
        Some("date-time") => Format::DateTime,
        Some("date") => Format::Date,
        Some("uuid") => Format::Uuid,
        Some(other) => Format::Other(clean(other)),
    }
}

/// The reference of a schema that is a `$ref` and nothing else.
fn only_reference(schema: &Value) -> Option<&String> {
    let keys = schema.as_object()?;
    match keys.get("$ref") {
        Some(Value::String(reference)) if merge::has_only(keys, &["$ref"]) => Some(reference),
        _ => None,
    }
}

/// The schema with its references removed from parts that have an `$id`: pointers there count from the part, and the
/// generator would resolve them from the root. `None`: there are no such parts.
fn without_foreign_references(root: &Value) -> Option<Value> {
    let draft = root.get("$schema").and_then(Value::as_str);
    let is_old = draft.is_some_and(|draft| draft.contains("draft-04"));
    let id = if is_old { "id" } else { "$id" };
    let mut schema = root.clone();
    let mut found = false;
    let members = schema.as_object_mut().into_iter().flatten();
    for (_, member) in members {
        found |= remove_references(member, id, false);
    }
    found.then_some(schema)
}

/// Empties the references in a part that has an id; `is_foreign`: the part is within one that has. Returns whether there
/// is any.
fn remove_references(schema: &mut Value, id: &str, is_foreign: bool) -> bool {
    match schema {
        Value::Object(keys) => {
            let own = keys.get(id).and_then(Value::as_str);
            let is_foreign = is_foreign || own.is_some_and(|own| !own.starts_with('#'));
            if is_foreign && let Some(Value::String(reference)) = keys.get_mut("$ref") {
                reference.clear();
            }
            let mut found = is_foreign;
            for (_, member) in keys {
                found |= remove_references(member, id, is_foreign);
            }
            found
        }
        Value::Array(items) => {
            let mut found = false;
            for item in items {
                found |= remove_references(item, id, is_foreign);
            }
            found
        }
        _ => false,
    }
}

/// Decodes the percent encoding in a fragment of a URI.
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
