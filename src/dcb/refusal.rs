//! What is wrong with events that are refused by what the store was told of them: their types' schemas, and invariants.

use super::query::JsonString;

/// How many are told of one call.
pub const AT_MOST: usize = 1000;

/// One thing that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The number of the event in the call, from 0; `None`: it is not about one event.
    pub event: Option<usize>,
    /// What says so: a type, an invariant, a command's schema.
    pub source: String,
    /// A JSON pointer into the event, or the command.
    pub path: Option<String>,
    /// What is wrong.
    pub problem: String,
    /// Of an invariant: the key whose state does not hold.
    pub key: Option<String>,
    /// Of an invariant: what is told of the state, as members of a JSON object.
    pub state: Option<String>,
}

impl Refusal {
    /// As a JSON object.
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

/// Several as a JSON array.
pub fn to_json(refusals: &[Refusal]) -> String {
    let all: Vec<String> = refusals.iter().map(Refusal::to_json).collect();
    format!("[{}]", all.join(", "))
}
