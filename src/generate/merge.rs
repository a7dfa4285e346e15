//! A schema with all that it takes from others: `$ref` and `allOf` are gone from it.

use std::collections::{BTreeMap, HashSet, VecDeque};

use serde_json::{Map, Value, json};

use crate::dcb::error::Result;
use crate::dcb::limits::SCHEMA_CHAIN;

use super::schema::Reader;

/// Keys that say nothing about what is allowed.
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
/// Schemas that hold under conditions: what they know of properties is taken as optional.
const ALSO: &str = "en57:also";
/// The same of further sets of alternatives, beside two that make types.
const FURTHER: &str = "en57:further";

/// Whether nothing but these keys and annotations is there.
pub fn is_empty(schema: &Map<String, Value>, but: &[&str]) -> bool {
    let counts = |k: &&String| !ANNOTATIONS.contains(&k.as_str()) && !but.contains(&k.as_str());
    !schema.keys().any(|k| counts(&k))
}

/// Leaves what restricts.
pub fn remove_annotations(schema: &mut Map<String, Value>) {
    schema.retain(|k, _| !ANNOTATIONS.contains(&k.as_str()));
}

/// Whether an alternative tells of no property, as `{"required": ["a"]}`: it makes no type of its own.
pub fn only_asserts(alternative: &Value) -> bool {
    alternative
        .as_object()
        .is_none_or(|keys| is_empty(keys, &["required", "minProperties", "maxProperties"]))
}

/// The schema and all that it takes from others, as one.
///
/// # Errors
/// 54000 for one that becomes too large or takes from others too often.
pub fn merge(reader: &mut Reader<'_>, schema: &Value) -> Result<Map<String, Value>> {
    within(reader, schema, &mut Vec::new(), 0)
}

fn within(
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
    let mut whole = Map::new();
    let mut also: Vec<Value> = Vec::new();
    for (key, value) in own {
        match (key.as_str(), value) {
            ("allOf" | "$ref" | "$defs" | "definitions" | "if", _) => {}
            ("then" | "else", value) => also.push(value.clone()),
            ("dependentSchemas", Value::Object(parts)) => also.extend(parts.values().cloned()),
            _ => _ = whole.insert(key.clone(), value.clone()),
        }
    }
    if !also.is_empty() {
        let also = (ALSO.to_owned(), Value::Array(also));
        combine(&mut whole, Map::from_iter([also]));
    }

    if let Some(reference) = own.get("$ref").and_then(Value::as_str)
        && !references.iter().any(|r| r == reference)
        && let Some(target) = reader.resolve(reference)
    {
        references.push(reference.to_owned());
        let part = within(reader, target, references, depth + 1)?;
        references.pop();
        combine(&mut whole, part);
    }
    let parts = own.get("allOf").and_then(Value::as_array);
    for part in parts.into_iter().flatten() {
        let part = within(reader, part, references, depth + 1)?;
        combine(&mut whole, part);
    }
    Ok(whole)
}

/// Adds to a merged schema what another one says.
fn combine(whole: &mut Map<String, Value>, part: Map<String, Value>) {
    for (key, theirs) in part {
        let Some(ours) = whole.get_mut(&key) else {
            whole.insert(key, theirs);
            continue;
        };
        match (key.as_str(), &mut *ours, theirs) {
            ("properties" | "patternProperties", Value::Object(ours), Value::Object(theirs)) => {
                for (name, schema) in theirs {
                    match ours.get_mut(&name) {
                        Some(own) => both(own, schema),
                        None => _ = ours.insert(name, schema),
                    }
                }
            }
            ("required" | ALSO | FURTHER, Value::Array(ours), Value::Array(theirs)) => {
                ours.extend(theirs)
            }
            ("additionalProperties" | "items", ours, theirs) => both(ours, theirs),
            ("enum", Value::Array(ours), Value::Array(theirs)) => {
                let theirs: HashSet<String> = theirs.iter().map(Value::to_string).collect();
                ours.retain(|v| theirs.contains(&v.to_string()));
            }
            ("type", ours, theirs) => {
                let theirs = names(&theirs);
                let fits = |t: &String| {
                    theirs.contains(t) || t == "integer" && theirs.contains(&"number".into())
                };
                let narrowed =
                    names(ours).contains(&"number".into()) && theirs.contains(&"integer".into());
                let mut kept: Vec<String> = names(ours).into_iter().filter(fits).collect();
                kept.extend(narrowed.then(|| "integer".into()));
                *ours = json!(kept);
            }
            // A second set of alternatives finds the other key; of more, the properties are kept.
            ("anyOf" | "oneOf", _, theirs) => {
                let other = if key == "anyOf" { "oneOf" } else { "anyOf" };
                if !whole.contains_key(other) {
                    whole.insert(other.to_owned(), theirs);
                } else if let Value::Array(theirs) = theirs {
                    let further = (FURTHER.to_owned(), Value::Array(theirs));
                    combine(whole, Map::from_iter([further]));
                }
            }
            _ => {}
        }
    }
}

/// What fits two schemas.
fn both(ours: &mut Value, theirs: Value) {
    if *ours == theirs || theirs == Value::Bool(true) || *ours == Value::Bool(false) {
        return;
    }
    *ours = match ours {
        Value::Bool(true) => theirs,
        _ if theirs == Value::Bool(false) => theirs,
        _ => {
            let mut parts = conjuncts(ours.take());
            for part in conjuncts(theirs) {
                if !parts.contains(&part) {
                    parts.push(part);
                }
            }
            json!({"allOf": parts})
        }
    };
}

/// The parts of an allOf that has nothing else, so that the same parts are the same schema however often they meet.
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

fn names(types: &Value) -> Vec<String> {
    let name = |t: &Value| t.as_str().map(str::to_owned);
    match types {
        Value::Array(names) => names.iter().filter_map(name).collect(),
        one => name(one).into_iter().collect(),
    }
}

/// The types that a merged schema allows; where it does not say, objects or arrays if it speaks of their parts.
pub fn types(schema: &Map<String, Value>) -> Vec<String> {
    if let Some(types) = schema.get("type") {
        let mut names = names(types);
        names.sort();
        names.dedup();
        return names;
    }
    const SPEAKING: [(&str, &[&str]); 2] = [
        (
            "object",
            &[
                "properties",
                "required",
                "additionalProperties",
                "patternProperties",
                ALSO,
            ],
        ),
        ("array", &["items", "prefixItems"]),
    ];
    let spoken = |keys: &[&str]| keys.iter().any(|k| schema.contains_key(*k));
    let found = SPEAKING.iter().filter(|(_, keys)| spoken(keys));
    found.map(|(name, _)| (*name).to_owned()).collect()
}

fn of(schema: &Map<String, Value>, key: &str) -> Map<String, Value> {
    match schema.get(key) {
        Some(Value::Object(found)) => found.clone(),
        _ => Map::new(),
    }
}

/// What is said of properties under conditions: all that each may be.
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
    let mut open = VecDeque::from(parts(schema, &[ALSO, FURTHER]));
    while let Some(part) = open.pop_front() {
        if !seen.insert(part.to_string()) {
            continue;
        }
        let part = merge(reader, &part)?;
        open.extend(parts(&part, &[ALSO, FURTHER, "oneOf", "anyOf"]));
        for (name, schema) in of(&part, "properties") {
            let schemas = found.entry(name).or_default();
            // That it is not to be there says nothing of what it is elsewhere.
            if !schemas.contains(&schema) && schema != Value::Bool(false) {
                schemas.push(schema);
            }
        }
    }
    found.retain(|_, schemas| !schemas.is_empty());
    Ok(found)
}

/// What a merged schema says of objects.
pub struct Object {
    /// The properties, and whether each must be there.
    pub properties: BTreeMap<String, (Value, bool)>,
    /// The schema of all others, where it says that there may be others.
    pub rest: Option<Value>,
    /// Whether there are no others.
    pub is_closed: bool,
}

impl Object {
    /// Reads it.
    ///
    /// # Errors
    /// 54000 for a schema that becomes too large.
    pub fn of(reader: &mut Reader<'_>, schema: &Map<String, Value>) -> Result<Self> {
        let mut known = of(schema, "properties");
        for (name, mut schemas) in conditional(reader, schema)? {
            let schema = match schemas.len() {
                1 => schemas.remove(0),
                _ => json!({"anyOf": schemas}),
            };
            known.entry(name).or_insert(schema);
        }
        let required = schema.get("required").and_then(Value::as_array);
        let required = required.into_iter().flatten().filter_map(Value::as_str);
        let required: HashSet<&str> = required.collect();
        for name in &required {
            known.entry(*name).or_insert(Value::Bool(true));
        }
        // What nothing fits is never there.
        known.retain(|_, schema| *schema != Value::Bool(false));

        let others = schema.get("additionalProperties");
        let patterns = of(schema, "patternProperties");
        let mut rest: Vec<Value> = patterns.into_iter().map(|(_, v)| v).collect();
        // What no pattern matches may be anything, if it is not said otherwise.
        let unsaid = (!rest.is_empty() && others.is_none()).then_some(Value::Bool(true));
        rest.extend(others.filter(|o| **o != Value::Bool(false)).cloned());
        rest.extend(unsaid);
        let rest = match rest.len() {
            0 => None,
            1 => Some(rest.remove(0)),
            _ => Some(json!({"anyOf": rest})),
        };
        let with = |(name, schema): (String, Value)| {
            let is_required = required.contains(name.as_str());
            (name, (schema, is_required))
        };
        Ok(Self {
            is_closed: others == Some(&Value::Bool(false)) && rest.is_none(),
            properties: known.into_iter().map(with).collect(),
            rest,
        })
    }
}
