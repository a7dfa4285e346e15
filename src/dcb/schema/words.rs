//! The words of JSON Schemas. The standard lets unknown ones through, so one that is misspelt checks nothing.

use serde_json::{Map, Value};

use super::super::error::nearest;

/// Keywords whose value is a schema, or a list of schemas.
const OF_SCHEMAS: [&str; 16] = [
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "oneOf",
    "prefixItems",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Keywords whose value is an object of schemas under names of the author's.
const OF_NAMED_SCHEMAS: [&str; 6] = [
    "$defs",
    "definitions",
    "dependencies",
    "dependentSchemas",
    "patternProperties",
    "properties",
];
/// All others of the drafts, and those of OpenAPI, which many generators write.
const OTHERS: [&str; 52] = [
    "$anchor",
    "$comment",
    "$dynamicAnchor",
    "$dynamicRef",
    "$id",
    "$recursiveAnchor",
    "$recursiveRef",
    "$ref",
    "$schema",
    "$vocabulary",
    "const",
    "contentEncoding",
    "contentMediaType",
    "default",
    "dependentRequired",
    "deprecated",
    "description",
    "discriminator",
    "enum",
    "example",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "externalDocs",
    "format",
    "id",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "name",
    "nullable",
    "pattern",
    "readOnly",
    "required",
    "title",
    "type",
    "uniqueItems",
    "writeOnly",
    "xml",
    "unit",
    "label",
    "note",
    "notes",
    "order",
];
/// Shorter keywords are like many words that are none.
const LEAST_LETTERS: usize = 4;

/// A word that no draft knows, and that is nearly one that they know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misspelt {
    /// A JSON pointer to the schema that has it.
    pub pointer: String,
    /// The word.
    pub word: String,
    /// What may be meant.
    pub meant: &'static str,
}

/// The misspelt words of a schema, at most so many, in no order that means anything. It does not recurse.
pub fn misspelt(schema: &Value, at_most: usize) -> Vec<Misspelt> {
    let mut found = Vec::new();
    let mut left = vec![(String::new(), schema)];
    while let Some((pointer, value)) = left.pop() {
        let Value::Object(members) = value else {
            continue;
        };
        for (word, value) in members {
            if found.len() == at_most {
                return found;
            }
            let at = || format!("{pointer}/{}", escaped(word));
            if OF_SCHEMAS.contains(&word.as_str()) {
                match value {
                    Value::Array(list) => {
                        let items = list.iter().enumerate();
                        left.extend(items.map(|(i, item)| (format!("{}/{i}", at()), item)));
                    }
                    _ => left.push((at(), value)),
                }
            } else if OF_NAMED_SCHEMAS.contains(&word.as_str()) {
                let named = value.as_object().into_iter().flat_map(Map::iter);
                left.extend(
                    named.map(|(name, item)| (format!("{}/{}", at(), escaped(name)), item)),
                );
            } else if let Some(meant) = meant_by(word) {
                let (pointer, word) = (pointer.clone(), word.clone());
                found.push(Misspelt {
                    pointer,
                    word,
                    meant,
                });
            }
        }
    }
    found
}

/// The keyword that a word is nearly.
fn meant_by(word: &str) -> Option<&'static str> {
    if OTHERS.contains(&word) || word.starts_with("x-") || word.starts_with("x_") {
        return None;
    }
    let known = OF_SCHEMAS.iter().chain(&OF_NAMED_SCHEMAS).chain(&OTHERS);
    let known: Vec<&str> = known.copied().collect();
    nearest(word, &known).filter(|meant| meant.chars().count() >= LEAST_LETTERS)
}

/// A name as a JSON pointer has it.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
