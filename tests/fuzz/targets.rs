//! What is given the bytes, and what must hold then. An answer is a kind: what is told of an error, or the size of a result.

use super::dcb::error::Error;
use super::dcb::schema::Schema;
use super::dcb::{codec, parse, partition};
use super::generate;
use en57_tests::QUERY_KEYS;

/// A parser.
pub struct Target {
    pub name: &'static str,
    /// The kind of the answer, or what is wrong with it.
    pub run: fn(&[u8]) -> Result<String, String>,
    pub words: &'static [&'static str],
}

const SCHEMA: &[&str] = &[
    "type",
    "object",
    "array",
    "string",
    "integer",
    "number",
    "properties",
    "required",
    "items",
    "prefixItems",
    "$ref",
    "#",
    "#/$defs/a",
    "$defs",
    "definitions",
    "$id",
    "$schema",
    "http://json-schema.org/draft-07/schema#",
    "pattern",
    "(a+)+$",
    "\\p{L}",
    "anyOf",
    "oneOf",
    "allOf",
    "not",
    "if",
    "then",
    "else",
    "enum",
    "const",
    "minimum",
    "maximum",
    "multipleOf",
    "maxLength",
    "format",
    "date-time",
    "additionalProperties",
    "patternProperties",
    "propertyNames",
    "unevaluatedProperties",
    "dependentSchemas",
    "$dynamicRef",
    "$anchor",
    "uniqueItems",
    "contains",
    "title",
    "description",
    "default",
];
const TYPES: &[&str] = &[
    "type",
    "schema_version",
    "data",
    "meta",
    "*",
    "self",
    "class",
    "end",
    "$ref",
    "properties",
    "enum",
    "anyOf",
];

pub const TARGETS: [Target; 6] = [
    Target {
        name: "query",
        run: query,
        words: &QUERY_KEYS,
    },
    Target {
        name: "stored_query",
        run: stored_query,
        words: &[],
    },
    Target {
        name: "criterion",
        run: criterion,
        words: &QUERY_KEYS,
    },
    Target {
        name: "schema",
        run: schema,
        words: SCHEMA,
    },
    Target {
        name: "types",
        run: types,
        words: TYPES,
    },
    Target {
        name: "partition",
        run: named,
        words: &[],
    },
];

/// The message without what it quotes, so that each kind of error is one.
fn kind(error: &Error) -> String {
    let text: String = format!("{error:?}")
        .chars()
        .filter(|c| c.is_ascii_lowercase() || *c == ' ')
        .collect();
    text.chars().take(60).collect()
}

fn size(n: usize) -> String {
    format!("ok {}", n.next_power_of_two())
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// What is read is written, and read again as the same; so is its stored form.
fn query(bytes: &[u8]) -> Result<String, String> {
    match parse::query(&text(bytes)) {
        Err(error) => Ok(kind(&error)),
        Ok(query) => {
            let written = query.to_string();
            let again = parse::query(&written)
                .map_err(|e| format!("{written} is not read again: {e:?}"))?;
            if again != query || again.to_string() != written {
                return Err(format!("{written} is read as {again}"));
            }
            let stored =
                codec::decode(&codec::encode(&query)).map_err(|e| format!("{written}: {e:?}"))?;
            if stored != query {
                return Err(format!("{written} is stored as {stored}"));
            }
            Ok(size(written.len()))
        }
    }
}

/// A damaged stored form is told of, or is another query, which can be written.
fn stored_query(bytes: &[u8]) -> Result<String, String> {
    // The corpus holds texts of queries: their stored form is what is changed.
    let (change, text) = bytes.split_at(bytes.len().min(4));
    let mut stored = match parse::query(&self::text(text)) {
        Ok(query) => codec::encode(&query),
        Err(_) => text.to_vec(),
    };
    if let [at, to, cut, _] = *change
        && !stored.is_empty()
    {
        let n = stored.len();
        stored[at as usize % n] = to;
        stored.truncate(n.saturating_sub(usize::from(cut) % 3));
    }
    match codec::decode(&stored) {
        Err(error) => Ok(kind(&error)),
        Ok(query) => Ok(size(query.to_string().len())),
    }
}

fn criterion(bytes: &[u8]) -> Result<String, String> {
    match parse::gem_criterion(&text(bytes)) {
        Err(error) => Ok(kind(&error)),
        Ok(query) => Ok(size(query.to_string().len())),
    }
}

fn schema(bytes: &[u8]) -> Result<String, String> {
    let text = text(bytes);
    let misspelt = Schema::misspelt(&text, 5).len();
    if misspelt > 5 {
        return Err(format!("{misspelt} misspelt words"));
    }
    match Schema::compile(&text, "json_schema", bytes.len().is_multiple_of(2)) {
        Err(error) => Ok(kind(&error)),
        Ok(_) => Ok(format!("{} {misspelt}", size(bytes.len()))),
    }
}

/// The same text each time, in each language.
fn types(bytes: &[u8]) -> Result<String, String> {
    let text = text(bytes);
    let mut kinds = String::new();
    for language in ["typescript", "python", "ruby", "go", "rust"] {
        let once = || {
            generate::registered(&text)
                .and_then(|types| generate::generate(language, types, None, &|| ()))
        };
        match (once(), once()) {
            (Ok(first), Ok(second)) if first != second => {
                return Err(format!("{language}: another text the second time"));
            }
            (Ok(first), _) if first.contains('\0') => {
                return Err(format!("{language}: NUL in the text"));
            }
            (Ok(first), _) => kinds += &size(first.len()),
            (Err(error), _) => kinds += &kind(&error),
        }
    }
    Ok(kinds)
}

fn named(bytes: &[u8]) -> Result<String, String> {
    let name = text(bytes);
    let tables = partition::tables(&name);
    for table in &tables {
        if table.len() > 63
            || table
                .chars()
                .any(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
        {
            return Err(format!("{table:?} is no plain name"));
        }
    }
    match partition::check_name(&name) {
        Err(error) => Ok(kind(&error)),
        Ok(()) => Ok(format!("ok {}", tables.len())),
    }
}
