//! Names: makes identifiers that every language takes out of the names of event types and properties, and keeps them
//! unique.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Field, Shape};

/// The most characters of a name in PascalCase; a longer one loses its last words.
const NAME_CHARS: usize = 64;

/// The words of a text: runs of letters and digits, split where a small letter comes before a capital one.
pub fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut last = ' ';
    let chars: Vec<char> = text.chars().collect();
    for (i, &c) in chars.iter().enumerate() {
        let next_is_small = chars.get(i + 1).is_some_and(|n| n.is_lowercase());
        let starts = c.is_uppercase() && (!last.is_uppercase() || next_is_small);
        if (starts || !is_plain(c)) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if is_plain(c) {
            word.extend(c.to_lowercase().filter(|l| is_plain(*l)));
        } else if c.is_alphanumeric() {
            words.push(format!("u{:x}", c as u32));
        }
        last = c;
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Whether all five languages take the character in a name and do not change it: digits, and the common letters of Latin, Greek,
/// Cyrillic, Chinese, Japanese and Korean.
fn is_plain(c: char) -> bool {
    let is_letter = matches!(c,
        '\u{c0}'..='\u{131}' | '\u{134}'..='\u{13e}' | '\u{141}'..='\u{148}' | '\u{14a}'..='\u{17e}'
        | '\u{386}'..='\u{3ce}' | '\u{400}'..='\u{481}' | '\u{48a}'..='\u{52f}' | '\u{3041}'..='\u{3096}'
        | '\u{30a1}'..='\u{30fa}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}');
    c.is_ascii_alphanumeric() || is_letter && c.is_alphabetic()
}

/// A name in PascalCase, such as `OrderPlaced`. It begins with a capital letter, as Go and Ruby demand: with an X where
/// the text has no other.
pub fn pascal(text: &str) -> String {
    let mut name = String::new();
    for word in words(text) {
        if !name.is_empty() && name.chars().count() + word.chars().count() > NAME_CHARS {
            break;
        }
        let mut chars = word.chars();
        if let Some(first) = chars.next() {
            // Two numbers in a row stay apart: 1.1 and 11 differ.
            if first.is_ascii_digit() && name.ends_with(|c: char| c.is_ascii_digit()) {
                name.push('_');
            }
            name.extend(first.to_uppercase());
            name.push_str(chars.as_str());
        }
    }
    if !name.starts_with(char::is_uppercase) {
        name.insert(0, 'X');
    }
    name
}

/// A name in snake_case, such as `order_placed`. It begins with a letter: with an x where the text has no other.
pub fn snake(text: &str) -> String {
    let mut name = words(text).join("_");
    if !name.starts_with(char::is_alphabetic) {
        name.insert(0, 'x');
    }
    name
}

/// The names that are taken in a scope. Each is given out once: who asks for a taken name gets it with a number.
#[derive(Default)]
pub struct Names {
    taken: BTreeSet<String>,
    /// The last number that was given out, by the name before it.
    last: BTreeMap<String, u64>,
}

impl Names {
    /// A scope in which nobody gets the reserved names.
    pub fn reserving(reserved: &[&str]) -> Self {
        Self {
            taken: reserved.iter().map(|&name| name.to_owned()).collect(),
            last: BTreeMap::new(),
        }
    }

    /// Whether the name is still free.
    pub fn is_free(&self, name: &str) -> bool {
        !self.taken.contains(name)
    }

    /// Takes the name. If it is taken, the separator and the first number from 2 on that makes it unique follow it.
    pub fn take(&mut self, name: &str, separator: &str) -> String {
        let mut taken = name.to_owned();
        if !self.is_free(name) {
            let stem = format!("{name}{separator}");
            let mut number = self.last.get(&stem).copied().unwrap_or(1);
            while !self.is_free(&taken) {
                number += 1;
                taken = format!("{stem}{number}");
            }
            self.last.insert(stem, number);
        }
        self.taken.insert(taken.clone());
        taken
    }
}

/// The attributes of a class for a record, in a language that names them in snake_case.
pub struct Attributes<'a> {
    /// The known properties.
    pub fields: Vec<(&'a Field, String)>,
    /// The shape of all other properties' values, and the name of the attribute that holds them.
    pub rest: Option<(&'a Shape, String)>,
}

impl<'a> Attributes<'a> {
    /// Gives names to the properties of a record. A name that is reserved gets an underscore.
    pub fn of(fields: &'a [Field], rest: Option<&'a Shape>, reserved: &[&str]) -> Self {
        let mut names = Names::reserving(reserved);
        let rest = rest.map(|shape| (shape, names.take("additional", "_")));
        let mut named = |field: &'a Field| {
            let mut name = snake(&field.json);
            if reserved.contains(&name.as_str()) {
                name.push('_');
            }
            (field, names.take(&name, "_"))
        };
        let fields = fields.iter().map(&mut named).collect();
        Self { fields, rest }
    }

    /// Whether the class has no attributes.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.rest.is_none()
    }
}
