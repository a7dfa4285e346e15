//! What a refused append tells of the events that stand against it: the newest ones whole, as long as there is
//! room, the others without data and metadata.

use crate::dcb::error::Result;
use crate::dcb::limits;
use crate::store::row::door::Event;
use crate::store::row::event_json;

/// Conflicting events as JSON.
pub struct ConflictReport {
    /// From the newest to the oldest.
    events: Vec<String>,
    /// Bytes that whole events may still take, and then those without their contents.
    left: [usize; 2],
    is_truncated: bool,
}

impl ConflictReport {
    /// Nothing yet. In an error there is less room than in an answer: it goes into the server's log as well.
    pub fn new(in_error: bool) -> Self {
        let bytes = if in_error {
            limits::CONFLICTS_BYTES_OF_ERROR
        } else {
            limits::CONFLICTS_BYTES
        };
        Self {
            events: Vec::new(),
            left: [bytes; 2],
            is_truncated: false,
        }
    }

    /// Adds the next older event.
    ///
    /// # Errors
    /// Those of damaged rows.
    pub fn add(&mut self, row: &Event) -> Result<()> {
        // What is too large is not even read.
        if !self.is_truncated && row.bytes() <= self.left[0] {
            let event = event_json::event_json(row)?;
            if self.takes(0, &event) {
                self.events.push(event);
                return Ok(());
            }
        }
        self.is_truncated = true;
        let event = event_json::truncated_json(row)?;
        // The newest one is told, however many tags it has. The last that is told says that this is not all.
        if self.events.is_empty() || self.takes(1, &event) {
            self.events.push(event);
        }
        Ok(())
    }

    fn takes(&mut self, of: usize, event: &str) -> bool {
        let left = self.left[of].checked_sub(event.len());
        // What comes after one that does not fit is older, and left out as well.
        self.left[of] = left.unwrap_or(0);
        left.is_some()
    }

    /// A JSON array, in position order.
    pub fn into_json(mut self) -> String {
        self.events.reverse();
        format!("[{}]", self.events.join(", "))
    }
}
