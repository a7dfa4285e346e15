//! The conflicts that an append reports, as JSON: the newest events whole, as long as there is room, older ones without
//! data and metadata.

use crate::dcb::error::Result;
use crate::dcb::limits;
use crate::store::row::door::Event;
use crate::store::row::event_json;

/// Conflicting events as JSON.
pub struct ConflictReport {
    /// From the newest to the oldest.
    events: Vec<String>,
    /// How many bytes whole events may still take.
    whole_left: usize,
    /// How many bytes events without data and metadata may still take.
    truncated_left: usize,
    is_truncated: bool,
}

impl ConflictReport {
    /// An empty report. An error has less room than an answer, because errors are also written to the server's log.
    pub fn new(in_error: bool) -> Self {
        Self::within(if in_error {
            limits::CONFLICTS_BYTES_OF_ERROR
        } else {
            limits::CONFLICTS_BYTES
        })
    }

    /// An empty report that has so much room.
    pub fn within(bytes: usize) -> Self {
        Self {
            events: Vec::new(),
            whole_left: bytes,
            truncated_left: bytes,
            is_truncated: false,
        }
    }

    /// Adds the next older event.
    ///
    /// # Errors
    /// Those of damaged rows.
    pub fn add(&mut self, row: &Event) -> Result<()> {
        // The contents of a large event are not even read.
        if !self.is_truncated && row.bytes() <= self.whole_left {
            let event = event_json::event_json(row)?;
            if takes(&mut self.whole_left, &event) {
                self.events.push(event);
                return Ok(());
            }
        }
        self.is_truncated = true;
        let event = event_json::truncated_json(row)?;
        // The newest event is always reported, however large its tags are.
        if self.events.is_empty() || takes(&mut self.truncated_left, &event) {
            self.events.push(event);
        }
        Ok(())
    }

    /// The events as a JSON array, in position order.
    pub fn into_json(mut self) -> String {
        self.events.reverse();
        format!("[{}]", self.events.join(", "))
    }
}

/// Whether an event fits into what is left. If it does not, older ones are left out as well.
fn takes(left: &mut usize, event: &str) -> bool {
    let rest = left.checked_sub(event.len());
    *left = rest.unwrap_or(0);
    rest.is_some()
}
