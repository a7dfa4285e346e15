//! Lines as rustfmt would lay them out.

use crate::generate::text::Text;

/// The longest line.
pub const WIDTH: usize = 100;
/// The longest arguments of a call, or elements of an array, that rustfmt leaves on one line.
pub const CALL_WIDTH: usize = 60;

/// A call. Long arguments stand on lines of their own.
pub fn call(function: &str, arguments: &[&str]) -> String {
    let line = arguments.join(", ");
    if line.chars().count() <= CALL_WIDTH {
        return format!("{function}({line})");
    }
    let lines = arguments.join(",\n").replace('\n', "\n    ");
    format!("{function}(\n    {lines},\n)")
}

/// Adds an arm of a match, on one line if it fits.
pub fn arm(text: &mut Text, pattern: &str, body: &str) {
    let line = format!("{pattern} {body},");
    if text.width(&line) <= WIDTH {
        text.line(line);
    } else {
        text.line(format!("{pattern} {{\n    {body}\n}}"));
    }
}

/// Adds a variant of an enum that holds one value, on as many lines as it needs.
pub fn variant(text: &mut Text, name: &str, inner: &str) {
    let line = format!("{name}({inner}),");
    if text.width(&line) <= WIDTH {
        text.line(line);
    } else {
        let inner = vertical(inner, WIDTH - text.width("    ,")).replace('\n', "\n    ");
        text.line(format!("{name}(\n    {inner},\n),"));
    }
}

/// A type. If it is wider than this, its arguments stand on lines of their own.
fn vertical(of: &str, width: usize) -> String {
    let parts = of.strip_suffix('>').and_then(|of| of.split_once('<'));
    let Some((generic, arguments)) = parts.filter(|_| of.chars().count() > width) else {
        return of.to_owned();
    };
    let mut depth = 0;
    let arguments = arguments.split(|c| {
        depth += i32::from(c == '<') - i32::from(c == '>');
        depth == 0 && c == ','
    });
    let argument = |a: &str| vertical(a.trim(), width.saturating_sub(4)).replace('\n', "\n    ");
    let arguments: Vec<String> = arguments.map(argument).collect();
    format!("{generic}<\n    {},\n>", arguments.join(",\n    "))
}

/// Adds a field, on as many lines as it needs.
pub fn typed(text: &mut Text, name: &str, of: &str) {
    if text.width(&format!("{name} {of},")) <= WIDTH {
        text.line(format!("{name} {of},"));
    } else if text.width(&format!("    {of},")) <= WIDTH {
        text.line(format!("{name}\n    {of},"));
    } else {
        text.line(format!("{name} {},", vertical(of, WIDTH - text.width(","))));
    }
}

/// Adds the attribute that tells serde about a field or a variant.
pub fn serde(text: &mut Text, attributes: &[String]) {
    let list = attributes.join(", ");
    let is_long = attributes.len() > 1 && list.chars().count() > 70;
    if is_long || text.width(&list) + 10 > WIDTH {
        text.line(format!("#[serde(\n    {}\n)]", attributes.join(",\n    ")));
    } else if !attributes.is_empty() {
        text.line(format!("#[serde({list})]"));
    }
}

/// Adds the line before a block, and its brace on the same line if that fits.
pub fn begin(text: &mut Text, what: &str) {
    let gap = if text.width(what) + 2 <= WIDTH {
        " "
    } else {
        "\n"
    };
    text.line(format!("{what}{gap}{{"));
}

/// Adds the head of an implementation, on one line if it fits.
pub fn implement(text: &mut Text, what: &str, name: &str) {
    let line = format!("{what} {name} {{");
    if text.width(&line) <= WIDTH {
        text.line(line);
    } else {
        let (head, _) = what.rsplit_once(' ').unwrap_or_default();
        text.line(format!("{head}\n    for {name}\n{{"));
    }
}

/// Adds a line. If it is too long and that helps, it is broken after its equals sign.
pub fn broken(text: &mut Text, line: &str) {
    let second = line.split_once("= ").map_or("", |(_, second)| second);
    if text.width(line) > WIDTH && text.width(second) + 4 <= WIDTH {
        text.line(line.replacen("= ", "=\n    ", 1));
    } else {
        text.line(line);
    }
}
