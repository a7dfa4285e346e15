//! What `en57_check` finds in a log that is filled here.

use serde_json::{Value, json};

use super::session::Session;

/// The key index of the log.
pub const KEYS: &str = "en57.events_default_keys";

/// What it says, a line a finding.
pub fn findings(session: &mut Session) -> Vec<String> {
    let sql = "SELECT concat_ws(': ', severity, object, problem), hint FROM en57_check()";
    let rows = session.rows(sql, &[]);
    assert!(
        rows.iter()
            .all(|r| r.get::<_, String>(1).ends_with(['.', ')']))
    );
    rows.iter().map(|r| r.get(0)).collect()
}

pub fn event(n: usize) -> Value {
    json!({"type": format!("y{}", n % 3), "tags": [format!("tag:{n:05}"), format!("t:{}", n % 10)],
        "correlation_id": format!("c:{}", n % 7)})
}

/// Appends `n` events, all of them different.
pub fn fill(session: &mut Session, n: usize) {
    let events: Vec<Value> = (1..=n).map(event).collect();
    session.append(&json!(events), None);
}
