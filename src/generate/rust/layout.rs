//! Lines as rustfmt has them.

use super::text::Text;

/// The longest line.
pub const WIDTH: usize = 100;
/// rustfmt breaks the arguments of a call, and the elements of an array, beyond.
pub const CALL_WIDTH: usize = 60;

/// A call, its arguments below each other if they are long.
pub fn call(function: &str, arguments: &[&str]) -> String {
    let line = arguments.join(", ");
    if line.chars().count() <= CALL_WIDTH {
        return format!("{function}({line})");
    }
    let lines = arguments.join(",\n").replace('\n', "\n    ");
    format!("{function}(\n    {lines},\n)")
}

/// An arm of a match, on one line if it fits.
pub fn arm(text: &mut Text, pattern: &str, body: &str) {
    let line = format!("{pattern} {body},");
    if text.width(&line) <= WIDTH {
        text.line(line);
    } else {
        text.line(format!("{pattern} {{\n    {body}\n}}"));
    }
}

/// A variant of an enum that holds one value, on as many lines as rustfmt makes of it.
pub fn variant(text: &mut Text, name: &str, inner: &str) {
    let line = format!("{name}({inner}),");
    if text.width(&line) <= WIDTH {
        text.line(line);
    } else {
        let inner = vertical(inner, WIDTH - text.width("    ,")).replace('\n', "\n    ");
        text.line(format!("{name}(\n    {inner},\n),"));
    }
}

/// A type whose arguments stand below each other, if it has not the width for one line.
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

/// A field, on as many lines as rustfmt makes of it.
pub fn typed(text: &mut Text, name: &str, of: &str) {
    if text.width(&format!("{name} {of},")) <= WIDTH {
        text.line(format!("{name} {of},"));
    } else if text.width(&format!("    {of},")) <= WIDTH {
        text.line(format!("{name}\n    {of},"));
    } else {
        text.line(format!("{name} {},", vertical(of, WIDTH - text.width(","))));
    }
}

/// What serde is told about a field or a variant.
pub fn serde(text: &mut Text, attributes: &[String]) {
    let list = attributes.join(", ");
    let is_long = attributes.len() > 1 && list.chars().count() > 70;
    if is_long || text.width(&list) + 10 > WIDTH {
        text.line(format!("#[serde(\n    {}\n)]", attributes.join(",\n    ")));
    } else if !attributes.is_empty() {
        text.line(format!("#[serde({list})]"));
    }
}

/// What begins a block, which rustfmt puts into the next line if it must.
pub fn begin(text: &mut Text, what: &str) {
    let gap = if text.width(what) + 2 <= WIDTH {
        " "
    } else {
        "\n"
    };
    text.line(format!("{what}{gap}{{"));
}

/// The first line of an implementation, or its first lines.
pub fn implement(text: &mut Text, what: &str, name: &str) {
    let line = format!("{what} {name} {{");
    if text.width(&line) <= WIDTH {
        text.line(line);
    } else {
        let (head, _) = what.rsplit_once(' ').unwrap_or_default();
        text.line(format!("{head}\n    for {name}\n{{"));
    }
}

/// A line that is broken after its equals sign if it is too long, and if that helps.
pub fn broken(text: &mut Text, line: &str) {
    let second = line.split_once("= ").map_or("", |(_, second)| second);
    if text.width(line) > WIDTH && text.width(second) + 4 <= WIDTH {
        text.line(line.replacen("= ", "=\n    ", 1));
    } else {
        text.line(line);
    }
}
