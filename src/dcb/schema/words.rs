//! The keywords of JSON Schemas. The standard ignores unknown words, so a misspelt keyword checks nothing.

use serde_json::Value;

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
/// Keywords whose value is an object of schemas, under names that the author chooses.
const OF_NAMED_SCHEMAS: [&str; 6] = [
    "$defs",
    "definitions",
    "dependencies",
    "dependentSchemas",
    "patternProperties",
    "properties",
];
/// All other keywords of the drafts, and those of OpenAPI and of common generators.
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
/// The fewest letters of a keyword that a word is compared with: shorter ones are like many other words.
const LEAST_LETTERS: usize = 4;

/// A word that no draft knows and that is like one that they know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misspelt {
    /// A JSON pointer to the schema that contains the word.
    pub pointer: String,
    /// The word.
    pub word: String,
    /// The keyword that is probably meant.
    pub meant: &'static str,
}

/// The misspelt words of a schema, at most `at_most` of them, in any order. It does not recurse.
pub fn misspelt(schema: &Value, at_most: usize) -> Vec<Misspelt> {
    let mut found = Vec::new();
    let mut left = vec![(String::new(), schema)];
    while let Some((pointer, value)) = left.pop() {
        for (word, value) in value.as_object().into_iter().flatten() {
            if found.len() == at_most {
                return found;
            }
            match schemas_of(&pointer, word, value) {
                Some(schemas) => left.extend(schemas),
                None => found.extend(meant_by(word).map(|meant| Misspelt {
                    pointer: pointer.clone(),
                    word: word.clone(),
                    meant,
                })),
            }
        }
    }
    found
}

/// The schemas in the value of a keyword, with their pointers. `None`: the word is not a keyword that contains schemas.
fn schemas_of<'a>(pointer: &str, word: &str, value: &'a Value) -> Option<Vec<(String, &'a Value)>> {
    let at = || format!("{pointer}/{}", escaped(word));
    if OF_SCHEMAS.contains(&word) {
        return Some(match value {
            Value::Array(list) => {
                let items = list.iter().enumerate();
                items
                    .map(|(i, item)| (format!("{}/{i}", at()), item))
                    .collect()
            }
            _ => vec![(at(), value)],
        });
    }
    if OF_NAMED_SCHEMAS.contains(&word) {
        let named = value.as_object().into_iter().flatten();
        let named = named.map(|(name, item)| (format!("{}/{}", at(), escaped(name)), item));
        return Some(named.collect());
    }
    None
}

/// The keyword that is probably meant by a word. `None`: the word is a keyword, or like none.
fn meant_by(word: &str) -> Option<&'static str> {
    if OTHERS.contains(&word) || word.starts_with("x-") || word.starts_with("x_") {
        return None;
    }
    let known = OF_SCHEMAS.iter().chain(&OF_NAMED_SCHEMAS).chain(&OTHERS);
    let known: Vec<&str> = known.copied().collect();
    nearest(word, &known).filter(|meant| meant.chars().count() >= LEAST_LETTERS)
}

/// A name as a JSON pointer contains it.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
