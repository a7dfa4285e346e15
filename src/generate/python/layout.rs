//! Comments and long lines as Python's formatters lay them out.

use crate::generate::text::{Text, quoted};

/// The longest line.
pub const WIDTH: usize = 88;

/// Adds two empty lines, as between classes.
pub fn two_gaps(text: &mut Text) {
    text.gap();
    text.line("");
}

/// Adds a comment.
pub fn docs<T: AsRef<str>>(text: &mut Text, lines: &[T]) {
    // Not "# ": tools read some comments after it, such as "# type: ".
    text.comment("#: ", lines);
}

/// Adds the documentation at the start of a class.
pub fn docstring(text: &mut Text, lines: &[String]) {
    // A quotation mark at the end of the text would close it one character too early.
    let close = |l: &str| {
        if l.ends_with('"') {
            format!("{l} ")
        } else {
            l.to_owned()
        }
    };
    let plain = |l: &String| l.replace('\\', "\\\\").replace("\"\"\"", "\" \" \"");
    let lines: Vec<String> = lines.iter().map(plain).collect();
    match lines.as_slice() {
        [] => return,
        [line] => text.line(format!("\"\"\"{}\"\"\"", close(line))),
        [first, rest @ ..] => {
            text.line(format!("\"\"\"{first}"));
            rest.iter().for_each(|l| text.line(l));
            text.line("\"\"\"");
        }
    }
    text.line("");
}

/// Another name for a type. The type is in quotes, because it may be defined later in the file.
pub fn alias(name: &str, what: &str) -> String {
    // Strings within it get the other kind of quotes, if nothing else in them needs an escape.
    let literal = |what: &str| {
        if what.contains(['\\', '\'']) {
            quoted(what)
        } else {
            format!("\"{}\"", what.replace('"', "'"))
        }
    };
    let line = format!("{name}: TypeAlias = {}", literal(what));
    if line.chars().count() <= WIDTH {
        return line;
    }
    let parts = what.split_inclusive(" | ").map(literal);
    let parts: Vec<String> = parts.collect();
    format!("{name}: TypeAlias = (\n    {}\n)", parts.join("\n    "))
}
