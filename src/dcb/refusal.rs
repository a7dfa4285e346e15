//! Refusals: what is wrong with events that a schema or an invariant refuses.

use super::query::JsonString;

/// The most refusals that one call reports.
pub const AT_MOST: usize = 1000;

/// One fault of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The number of the event in the call, from 0. `None`: the fault is not one of a single event.
    pub event: Option<usize>,
    /// What refuses it: a type, an invariant, or the schema of a command.
    pub source: String,
    /// A JSON pointer into the event, or the command.
    pub path: Option<String>,
    /// What is wrong.
    pub problem: String,
    /// Of an invariant: the key whose state does not hold.
    pub key: Option<String>,
    /// Of an invariant: what is reported of the state, as members of a JSON object.
    pub state: Option<String>,
}

impl Refusal {
    /// The refusal as a JSON object.
    pub fn to_json(&self) -> String {
        let text = |t: &Option<String>| match t {
            Some(text) => JsonString(text).to_string(),
            None => "null".to_owned(),
        };
        let mut out = format!(
            "{{\"event\": {}, \"source\": {}, \"path\": {}, \"problem\": {}",
            self.event
                .map_or("null".to_owned(), |n| (n + 1).to_string()),
            JsonString(&self.source),
            text(&self.path),
            JsonString(&self.problem),
        );
        if self.key.is_some() {
            out += &format!(", \"key\": {}", text(&self.key));
        }
        if let Some(state) = &self.state {
            out += &format!(", {state}");
        }
        out + "}"
    }
}

/// Refusals as a JSON array.
pub fn to_json(refusals: &[Refusal]) -> String {
    let all: Vec<String> = refusals.iter().map(Refusal::to_json).collect();
    format!("[{}]", all.join(", "))
}
