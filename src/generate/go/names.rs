//! Names in Go.

use crate::generate::model::Model;
use crate::generate::names::{Names, pascal, words};

const KEYWORDS: [&str; 25] = [
    "break",
    "case",
    "chan",
    "const",
    "continue",
    "default",
    "defer",
    "else",
    "fallthrough",
    "for",
    "func",
    "go",
    "goto",
    "if",
    "import",
    "interface",
    "map",
    "package",
    "range",
    "return",
    "select",
    "struct",
    "switch",
    "type",
    "var",
];
/// Words that Go writes in capital letters.
const INITIALISMS: [&str; 16] = [
    "api", "cpu", "css", "dns", "html", "http", "https", "id", "ip", "json", "sql", "uri", "url",
    "utf8", "uuid", "xml",
];

/// The names that the file defines at its top level beside those of types, or uses from the language. No type gets one.
pub const RESERVED: &[&str] = &[
    "AppendEvent",
    "AppendOptions",
    "Envelope",
    "Event",
    "Nullable",
    "NullableOf",
    "ParseEvent",
    "UnknownEvent",
];

/// Whether a package can have this name.
pub fn is_package(name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(is_part)
        && !KEYWORDS.contains(&name)
}

/// All names at the top level of the file, so that constants get others.
pub fn taken(model: &Model) -> Names {
    let mut names = Names::reserving(RESERVED);
    for event in &model.events {
        names.take(&event.name, "");
        names.take(&format!("{}Event", event.name), "");
        names.take(&format!("ToAppend{}", event.name), "");
        if let Some(plain) = &event.plain_name {
            names.take(plain, "");
        }
    }
    for declaration in &model.declarations {
        if names.is_free(&declaration.name) {
            names.take(&declaration.name, "");
        }
    }
    names
}

/// The exported name of a field or a constant.
pub fn exported(text: &str) -> String {
    let mut name = String::new();
    for word in words(text) {
        let word = exported_word(&word, name.is_empty());
        // Two numbers in a row stay apart: 1.1 and 11 differ.
        if ends_with_digit(&name) && starts_with_digit(&word) {
            name.push('_');
        }
        name.push_str(&word);
    }
    if name.is_empty() {
        name.push('X');
    }
    name
}

/// A word of an exported name. Only the first one must begin with a letter.
fn exported_word(word: &str, is_first: bool) -> String {
    if INITIALISMS.contains(&word) {
        return word.to_uppercase();
    }
    let name = pascal(word);
    match name.strip_prefix('X') {
        Some(number) if !is_first && starts_with_digit(number) => number.to_owned(),
        _ => name,
    }
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

fn ends_with_digit(text: &str) -> bool {
    text.ends_with(|c: char| c.is_ascii_digit())
}
