//! What an append is asked for, and what it answers.

use crate::dcb::query::Query;
use crate::dcb::refusal::Refusal;
use crate::store::row::event::NewEvent;

use super::OnRefusal;

/// What is to be appended, and on which condition.
pub struct AppendRequest<'a> {
    /// At least one event. The versions that they expect are checked before `fail_if`. If both fail, the answer is
    /// about the version.
    pub events: &'a [NewEvent<'a>],
    /// The append fails if a stored event matches one of these queries. They are asked in order. The conflicts are
    /// those of the first query that any event matches.
    pub fail_if: &'a [Query],
    /// The partition's name, if it is not the session's.
    pub partition: Option<&'a str>,
    /// Whether stored events that are sent again are answered as the first time. Otherwise they are an error.
    pub may_repeat: bool,
    /// What to do if schemas or invariants refuse the events.
    pub on_refusal: OnRefusal,
}

impl AppendRequest<'_> {
    /// Whether the answer may tell of stored events: those that stand against the append.
    pub(super) fn is_conditional(&self) -> bool {
        let expects = |e: &NewEvent| e.expected_version.is_some();
        self.events.iter().any(expects) || !self.fail_if.is_empty()
    }

    /// Whether these events may be stored already.
    pub(super) fn may_be_stored(&self) -> bool {
        self.may_repeat && self.events.iter().any(|e| e.id.is_some())
    }
}

/// The result of an append.
#[derive(Debug)]
pub enum Outcome {
    /// The events are stored, from the first position to the last without a gap.
    Appended {
        /// The first event's position.
        first: i64,
        /// The last event's position.
        last: i64,
        /// The last event's version in its stream, if it has a stream.
        version: Option<i64>,
        /// The ids of all events, in order.
        ids: Vec<[u8; 16]>,
    },
    /// Exactly these events were stored before.
    Repeated {
        /// The first event's position.
        first: i64,
        /// The last event's position.
        last: i64,
        /// The last event's version in its stream, if it has a stream.
        version: Option<i64>,
        /// The ids of all events, in order.
        ids: Vec<[u8; 16]>,
    },
    /// Schemas or invariants have refused the events. Nothing was stored.
    Refused(Vec<Refusal>),
    /// Stored events stand against the append. Nothing was stored.
    Conflict {
        /// Which check failed.
        cause: Cause,
        /// The position of the newest event that stands against it; `None` if the stream has no event.
        position: Option<i64>,
        /// The version of the stream that is not as expected. If `fail_if` failed: the version of the last event's
        /// stream. 0 if the stream has no event.
        version: Option<i64>,
    },
}

impl Outcome {
    /// Which check failed, if one did.
    pub fn cause(&self) -> Option<Cause> {
        match self {
            Self::Conflict { cause, .. } => Some(*cause),
            _ => None,
        }
    }
}

/// Which check of an append failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// An event matches `fail_if`.
    Condition,
    /// A stream is not at the expected version. The number is that of the stream's first event in the append, from 0.
    Version(usize),
}
