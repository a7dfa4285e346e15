//! What the store and the server say of themselves.

use super::Rule;
use crate::history::History;

pub const RULES: [super::Named; 3] = [
    ("en57_check finds nothing", checked),
    (
        "no process of the server has crashed but those that were killed",
        crashed,
    ),
    (
        "every page at the end has the checksum that it must have",
        pages,
    ),
];

fn checked(history: &History, rule: &mut Rule) {
    rule.expect(history.ending.faults.is_empty(), || {
        history.ending.faults.join("; ")
    });
}

fn crashed(history: &History, rule: &mut Rule) {
    rule.expect(history.ending.crashed.is_empty(), || {
        history.ending.crashed.join("; ")
    });
}

fn pages(history: &History, rule: &mut Rule) {
    rule.expect(history.ending.wrong_pages.is_empty(), || {
        history.ending.wrong_pages.join("; ")
    });
    rule.expect(history.ending.pages > 0, || {
        "pg_checksums has looked at no page".into()
    });
}
