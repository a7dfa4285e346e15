//! Comments and columns as gofmt would lay them out.

use crate::generate::text::Text;

/// A comment that gofmt does not change: gofmt indents lists and code, and rewrites headings and links.
pub fn docs<T: AsRef<str>>(text: &mut Text, lines: &[T]) {
    let mut out: Vec<String> = Vec::new();
    for line in lines {
        let line = plain(line.as_ref());
        let follows_text = out.last().is_some_and(|last| !last.is_empty());
        if !line.is_empty() || follows_text {
            out.push(line);
        }
    }
    if out.last().is_some_and(String::is_empty) {
        out.pop();
    }
    text.comment("// ", out);
}

/// A line that gofmt does not take for a list, code, a heading or a link.
fn plain(line: &str) -> String {
    let mut line = line
        .trim()
        .trim_start_matches('#')
        .trim_start()
        .replace("]:", "] :");
    for quote in ["''", "``"] {
        line = line.replace(quote, "\"");
    }
    let after_number = line.trim_start_matches(|c: char| c.is_ascii_digit());
    if after_number.len() < line.len() && after_number.starts_with(['.', ')']) {
        let number = &line[..line.len() - after_number.len()];
        line = format!("({number}) {}", after_number[1..].trim_start());
    }
    match line.strip_prefix(['-', '*', '+', '•']) {
        Some(item) => format!("– {}", item.trim_start()),
        None => line,
    }
}

/// Adds lines of cells in columns.
pub fn aligned(text: &mut Text, lines: &[Vec<String>]) {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|l| l.get(column));
        cells.map(|c| c.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for line in lines {
        let mut out = String::new();
        for (i, cell) in line.iter().enumerate() {
            out.push_str(cell);
            if i + 1 < line.len() {
                out.push_str(&" ".repeat(widths[i] - cell.chars().count() + 1));
            }
        }
        text.line(out);
    }
}
