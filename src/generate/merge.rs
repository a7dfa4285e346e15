//! Merges a schema with all schemas that it takes in by `$ref` and `allOf`, so that neither is left.

use std::collections::{BTreeMap, HashSet, VecDeque};

use serde_json::{Map, Value, json};

use crate::dcb::error::Result;
use crate::dcb::limits::SCHEMA_CHAIN;

use super::schema::Reader;

/// Keys that do not change what a type allows.
const ANNOTATIONS: [&str; 17] = [
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "$anchor",
    "definitions",
    "title",
    "description",
    "default",
    "deprecated",
    "examples",
    "readOnly",
    "writeOnly",
    "discriminator",
    "unevaluatedProperties",
    "unevaluatedItems",
    "not",
];
/// A key of ours for schemas that hold under conditions: their properties are taken as optional.
const CONDITIONAL: &str = "en57:also";
/// A key of ours for further lists of alternatives. Two of them, `anyOf` and `oneOf`, make types; of the others only the
/// properties are taken, as optional.
const FURTHER: &str = "en57:further";

/// Whether a schema has only annotations and the given keys.
pub fn has_only(schema: &Map<String, Value>, given: &[&str]) -> bool {
    let is_known = |k: &str| ANNOTATIONS.contains(&k) || given.contains(&k);
    schema.keys().all(|k| is_known(k))
}

/// Removes the keys that do not change what is allowed.
pub fn remove_annotations(schema: &mut Map<String, Value>) {
    schema.retain(|k, _| !ANNOTATIONS.contains(&k.as_str()));
}

/// Whether an alternative describes no property, such as `{"required": ["a"]}`: then it makes no type of its own.
pub fn only_asserts(alternative: &Value) -> bool {
    alternative
        .as_object()
        .is_none_or(|keys| has_only(keys, &["required", "minProperties", "maxProperties"]))
}

/// A schema and all that it takes in, as one.
///
/// # Errors
/// 54000 for a schema that becomes too large or takes in too many others.
pub fn merge(reader: &mut Reader<'_>, schema: &Value) -> Result<Map<String, Value>> {
    merged(reader, schema, &mut Vec::new(), 0)
}

/// [`merge`] within the references that have been followed so far.
fn merged(
    reader: &mut Reader<'_>,
    schema: &Value,
    references: &mut Vec<String>,
    depth: usize,
) -> Result<Map<String, Value>> {
    reader.spend()?;
    if depth > SCHEMA_CHAIN {
        return Err(reader.too_deep());
    }
    let Value::Object(own) = schema else {
        return Ok(Map::new());
    };
    let mut whole = own_keys(own);
    if let Some(reference) = own.get("$ref").and_then(Value::as_str)
        && !references.iter().any(|r| r == reference)
        && let Some(target) = reader.resolve(reference)
    {
        references.push(reference.to_owned());
        let part = merged(reader, target, references, depth + 1)?;
        references.pop();
        combine(&mut whole, part);
    }
    let parts = own.get("allOf").and_then(Value::as_array);
    for part in parts.into_iter().flatten() {
        let part = merged(reader, part, references, depth + 1)?;
        combine(&mut whole, part);
    }
    Ok(whole)
}

/// The keys of a schema itself; what holds under conditions is put together under [`CONDITIONAL`].
fn own_keys(schema: &Map<String, Value>) -> Map<String, Value> {
    let mut keys = Map::new();
    let mut conditional: Vec<Value> = Vec::new();
    for (key, value) in schema {
        match (key.as_str(), value) {
            ("allOf" | "$ref" | "$defs" | "definitions" | "if", _) => {}
            ("then" | "else", value) => conditional.push(value.clone()),
            ("dependentSchemas", Value::Object(parts)) => {
                conditional.extend(parts.values().cloned());
            }
            _ => _ = keys.insert(key.clone(), value.clone()),
        }
    }
    if !conditional.is_empty() {
        let conditional = (CONDITIONAL.to_owned(), Value::Array(conditional));
        combine(&mut keys, Map::from_iter([conditional]));
    }
    keys
}

/// Adds the keys of another schema to a merged one.
fn combine(whole: &mut Map<String, Value>, part: Map<String, Value>) {
    for (key, theirs) in part {
        match whole.get_mut(&key) {
            Some(_) if key == "anyOf" || key == "oneOf" => add_alternatives(whole, &key, theirs),
            Some(ours) => restrict(ours, &key, theirs),
            None => _ = whole.insert(key, theirs),
        }
    }
}

/// Restricts the value of a key in a merged schema by that in another schema.
fn restrict(ours: &mut Value, key: &str, theirs: Value) {
    match (key, &mut *ours, theirs) {
        ("properties" | "patternProperties", Value::Object(ours), Value::Object(theirs)) => {
            for (name, schema) in theirs {
                match ours.get_mut(&name) {
                    Some(own) => both(own, schema),
                    None => _ = ours.insert(name, schema),
                }
            }
        }
        ("required" | CONDITIONAL | FURTHER, Value::Array(ours), Value::Array(theirs)) => {
            ours.extend(theirs);
        }
        ("additionalProperties" | "items", ours, theirs) => both(ours, theirs),
        ("enum", Value::Array(ours), Value::Array(theirs)) => {
            let theirs: HashSet<String> = theirs.iter().map(Value::to_string).collect();
            ours.retain(|v| theirs.contains(&v.to_string()));
        }
        ("type", ours, theirs) => *ours = json!(common_types(&names(ours), &names(&theirs))),
        _ => {}
    }
}

/// The types that both lists allow. A whole number is a number.
fn common_types(ours: &[String], theirs: &[String]) -> Vec<String> {
    let has = |types: &[String], name: &str| types.iter().any(|t| t == name);
    let allow = |t: &&String| has(theirs, t) || *t == "integer" && has(theirs, "number");
    let mut common: Vec<String> = ours.iter().filter(allow).cloned().collect();
    if has(ours, "number") && has(theirs, "integer") {
        common.push("integer".to_owned());
    }
    common
}

/// Adds a second list of alternatives under a key: under the other key if that is free, otherwise as a further list.
fn add_alternatives(whole: &mut Map<String, Value>, key: &str, alternatives: Value) {
    let other = if key == "anyOf" { "oneOf" } else { "anyOf" };
    if !whole.contains_key(other) {
        whole.insert(other.to_owned(), alternatives);
    } else if alternatives.is_array() {
        combine(whole, Map::from_iter([(FURTHER.to_owned(), alternatives)]));
    }
}

/// Replaces a schema by one that allows what both allow.
fn both(ours: &mut Value, theirs: Value) {
    if *ours == theirs || theirs == Value::Bool(true) || *ours == Value::Bool(false) {
        return;
    }
    if *ours == Value::Bool(true) || theirs == Value::Bool(false) {
        *ours = theirs;
        return;
    }
    let mut parts = conjuncts(ours.take());
    for part in conjuncts(theirs) {
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    *ours = json!({"allOf": parts});
}

/// The parts of a schema that is only an `allOf`; otherwise the schema itself. So parts that meet again are found.
fn conjuncts(schema: Value) -> Vec<Value> {
    match schema {
        Value::Object(mut keys) if keys.len() == 1 && keys.contains_key("allOf") => {
            match keys.remove("allOf") {
                Some(Value::Array(parts)) => parts,
                _ => Vec::new(),
            }
        }
        other => vec![other],
    }
}

/// The names in the value of `type`.
fn names(types: &Value) -> Vec<String> {
    let name = |t: &Value| t.as_str().map(str::to_owned);
    match types {
        Value::Array(names) => names.iter().filter_map(name).collect(),
        one => name(one).into_iter().collect(),
    }
}

/// The types that a merged schema allows. Where it does not name them, objects or arrays if it describes their parts.
pub fn types(schema: &Map<String, Value>) -> Vec<String> {
    if let Some(types) = schema.get("type") {
        let mut names = names(types);
        names.sort();
        names.dedup();
        return names;
    }
    const DESCRIBED_BY: [(&str, &[&str]); 2] = [
        (
            "object",
            &[
                "properties",
                "required",
                "additionalProperties",
                "patternProperties",
                CONDITIONAL,
            ],
        ),
        ("array", &["items", "prefixItems"]),
    ];
    let describes = |keys: &[&str]| keys.iter().any(|k| schema.contains_key(*k));
    let found = DESCRIBED_BY.iter().filter(|(_, keys)| describes(keys));
    found.map(|(name, _)| (*name).to_owned()).collect()
}

/// The value of a key, which is an object.
fn object_of(schema: &Map<String, Value>, key: &str) -> Map<String, Value> {
    match schema.get(key) {
        Some(Value::Object(found)) => found.clone(),
        _ => Map::new(),
    }
}

/// The properties that are described under conditions, with all schemas for each.
fn conditional(
    reader: &mut Reader<'_>,
    schema: &Map<String, Value>,
) -> Result<BTreeMap<String, Vec<Value>>> {
    let parts = |schema: &Map<String, Value>, keys: &[&str]| {
        let parts = keys.iter().filter_map(|key| schema.get(*key)?.as_array());
        parts.flatten().cloned().collect::<Vec<_>>()
    };
    let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut seen = HashSet::new();
    let mut open = VecDeque::from(parts(schema, &[CONDITIONAL, FURTHER]));
    while let Some(part) = open.pop_front() {
        if !seen.insert(part.to_string()) {
            continue;
        }
        let part = merge(reader, &part)?;
        open.extend(parts(&part, &[CONDITIONAL, FURTHER, "oneOf", "anyOf"]));
        for (name, schema) in object_of(&part, "properties") {
            let schemas = found.entry(name).or_default();
            // That it must not be there under one condition tells nothing about others.
            if !schemas.contains(&schema) && schema != Value::Bool(false) {
                schemas.push(schema);
            }
        }
    }
    found.retain(|_, schemas| !schemas.is_empty());
    Ok(found)
}

/// What a merged schema tells about objects.
pub struct Object {
    /// The schema of each property, and whether every object has it.
    pub properties: BTreeMap<String, (Value, bool)>,
    /// The schema of all other properties, if it is given.
    pub rest: Option<Value>,
    /// Whether there are no other properties.
    pub is_closed: bool,
}

impl Object {
    /// Reads it from a merged schema.
    ///
    /// # Errors
    /// 54000 for a schema that becomes too large.
    pub fn of(reader: &mut Reader<'_>, schema: &Map<String, Value>) -> Result<Self> {
        let required = schema.get("required").and_then(Value::as_array);
        let required = required.into_iter().flatten().filter_map(Value::as_str);
        let required: HashSet<&str> = required.collect();
        let mut known = object_of(schema, "properties");
        for (name, schemas) in conditional(reader, schema)? {
            known.entry(name).or_insert_with(|| any_of(schemas));
        }
        for name in &required {
            known.entry(*name).or_insert(Value::Bool(true));
        }
        // No object has a property that allows nothing.
        known.retain(|_, schema| *schema != Value::Bool(false));

        let rest = others(schema);
        let with = |(name, schema): (String, Value)| {
            let is_required = required.contains(name.as_str());
            (name, (schema, is_required))
        };
        Ok(Self {
            is_closed: rest.is_empty()
                && schema.get("additionalProperties") == Some(&Value::Bool(false)),
            properties: known.into_iter().map(with).collect(),
            rest: (!rest.is_empty()).then(|| any_of(rest)),
        })
    }
}

/// The schemas of the properties that have no name in the schema.
fn others(schema: &Map<String, Value>) -> Vec<Value> {
    let others = schema.get("additionalProperties");
    let patterns = object_of(schema, "patternProperties");
    let mut found: Vec<Value> = patterns.into_iter().map(|(_, v)| v).collect();
    match others {
        // A property that no pattern matches may be anything, if nothing else is said.
        None if !found.is_empty() => found.push(Value::Bool(true)),
        Some(others) if *others != Value::Bool(false) => found.push(others.clone()),
        _ => {}
    }
    found
}

/// A schema that allows what one of these allows.
fn any_of(mut schemas: Vec<Value>) -> Value {
    match schemas.len() {
        1 => schemas.remove(0),
        _ => json!({ "anyOf": schemas }),
    }
}
