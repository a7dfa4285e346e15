//! What a run was, and what it amounts to, in a line that programs read.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::history::History;

/// What a run was asked to do.
#[derive(Default, Serialize, Deserialize)]
pub struct Run {
    pub seconds: u64,
    pub seed: u64,
    /// How many clients append.
    pub writers: u64,
    /// How many connections there are in all.
    pub connections: u64,
    pub commit: String,
}

impl Run {
    /// Says what begins, and how it is run again.
    pub fn begin(&self, folder: &Path) {
        println!(
            "history: {} seconds, {} clients, {} connections, seed {}; the logs are in {}",
            self.seconds,
            self.writers,
            self.connections,
            self.seed,
            folder.display()
        );
        println!("history: again: {}", self.again());
        let text = serde_json::to_string(self).expect("it is JSON");
        std::fs::write(folder.join("run.json"), text).expect("the folder can be written");
    }

    /// What a folder's run was.
    pub fn of(folder: &Path) -> Self {
        let text = std::fs::read_to_string(folder.join("run.json"));
        text.ok()
            .and_then(|t| serde_json::from_str(&t).ok())
            .unwrap_or_default()
    }

    fn again(&self) -> String {
        format!(
            "EN57_HISTORY_CLIENTS={} make history SECONDS={} SEED={}",
            self.writers, self.seconds, self.seed
        )
    }

    /// Says what to do with what was found.
    pub fn advise(&self, folder: &Path) {
        let folder = folder.display();
        println!("history: the logs are kept in {folder}");
        println!("history: the same choices once more: {}", self.again());
        println!("history: looks at the logs once more: tests/history/run.sh check {folder}");
        println!("history: the shortest log that shows it: tests/history/run.sh shrink {folder}");
    }

    /// The line.
    pub fn summary(&self, history: &History, violations: usize) -> Value {
        let deeds = |deeds: &[&str]| -> usize {
            let done = deeds.iter().filter_map(|d| history.deeds.get(*d));
            done.sum()
        };
        let errors = |state: &str, message: &str| -> usize {
            let all = history.errors.iter();
            let these = all.filter(|((s, m), _)| s == state && m.contains(message));
            these.map(|(_, n)| n).sum()
        };
        json!({
            "date": history.ending.date,
            "postgresql": history.ending.version,
            "commit": self.commit,
            "seconds": self.seconds,
            "seed": self.seed,
            "clients": self.writers,
            "connections": self.connections,
            "transactions": history.transactions.len(),
            "events": history.ending.events.len(),
            "kills": deeds(&["clients killed", "backends terminated"]),
            "cancels": deeds(&["statements cancelled"]),
            "crashes": deeds(&["backend killed, crash recovery", "immediate stop and start"]),
            "promotions": deeds(&["standby promoted"]),
            "dumps_restored": deeds(&["dump restored"]),
            "timeouts": {
                "statement": errors("57014", "statement timeout"),
                "lock": errors("55P03", ""),
                "idle": errors("25P03", ""),
            },
            "violations": violations,
        })
    }
}
