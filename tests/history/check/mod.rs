//! What is proved from the logs and the ending alone. Nothing here knows how the store keeps its guarantees.

mod conditions;
mod consumers;
mod folds;
mod followers;
mod stored;
mod streams;

use crate::history::History;

/// A guarantee, and where it was broken.
pub struct Rule {
    /// The guarantee, in the README's words.
    pub name: &'static str,
    /// How many things were looked at. A rule that has looked at nothing shows nothing.
    pub seen: usize,
    pub violations: Vec<String>,
}

impl Rule {
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            seen: 0,
            violations: Vec::new(),
        }
    }

    /// Looks at one more thing: if it is not so, `say` says what is wrong.
    pub fn expect(&mut self, holds: bool, say: impl FnOnce() -> String) {
        self.seen += 1;
        if !holds {
            self.violations.push(say());
        }
    }
}

/// All rules.
pub fn all(history: &History) -> Vec<Rule> {
    let mut rules = stored::rules(history);
    rules.extend(conditions::rules(history));
    rules.extend(streams::rules(history));
    rules.extend(followers::rules(history));
    rules.extend(consumers::rules(history));
    rules.extend(folds::rules(history));
    let mut check = Rule::new("en57_check finds nothing");
    check.expect(history.ending.faults.is_empty(), || {
        history.ending.faults.join("; ")
    });
    rules.push(check);
    rules
}
