//! What the store and the server say of themselves.

use super::Rule;
use crate::history::History;

pub const RULES: [super::Named; 2] = [
    ("en57_check finds nothing", checked),
    (
        "no process of the server has crashed but those that were killed",
        crashed,
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
