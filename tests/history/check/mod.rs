//! What is proved from the logs and the ending alone. Nothing here knows how the store keeps its guarantees.

mod altered;
mod conditions;
mod consumers;
mod dumps;
mod folds;
mod followers;
mod imports;
mod locks;
mod reads;
mod refusals;
mod server;
mod stored;
mod streams;
mod window;

use crate::history::History;

/// A guarantee, and where it was broken.
pub struct Rule {
    /// The guarantee, in the README's words.
    pub name: &'static str,
    /// How many things were looked at. A rule that has looked at nothing shows nothing.
    pub seen: usize,
    pub violations: Vec<String>,
}

/// A rule before it has looked at anything.
pub type Named = (&'static str, fn(&History, &mut Rule));

impl Rule {
    /// Looks at one more thing: if it is not so, `say` says what is wrong.
    pub fn expect(&mut self, holds: bool, say: impl FnOnce() -> String) {
        self.seen += 1;
        if !holds {
            self.violations.push(say());
        }
    }
}

/// All rules.
pub fn rules() -> Vec<Named> {
    [
        &stored::RULES[..],
        &conditions::RULES,
        &refusals::RULES,
        &imports::RULES,
        &locks::RULES,
        &streams::RULES,
        &followers::RULES,
        &reads::RULES,
        &consumers::RULES,
        &altered::RULES,
        &folds::RULES,
        &dumps::RULES,
        &server::RULES,
    ]
    .concat()
}

/// Lets a rule look at a history.
pub fn look((name, rule): Named, history: &History) -> Rule {
    let mut seen = Rule {
        name,
        seen: 0,
        violations: Vec::new(),
    };
    rule(history, &mut seen);
    seen
}
