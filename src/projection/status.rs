//! The states of projections and rebuilds, and the words that tables and arguments have for them.

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::Datum;
use crate::store::pg::spi::{Type, text};

/// `mode`: whether a projection runs in the append's transaction. The first word stands for `true`.
pub const MODES: [&str; 2] = ["inline", "async"];
/// `on_error`: whether a projection stops before an event that fails. The first word stands for `true`.
pub const ON_ERROR: [&str; 2] = ["stop", "skip"];

/// The word that stands for `true`, or the one that stands for `false`.
pub fn word(is_first: bool, words: [&'static str; 2]) -> &'static str {
    words[usize::from(!is_first)]
}

/// Whether a projection handles events: `status` of `en57.projections`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It handles events.
    Running,
    /// It handles none until somebody resumes it.
    Paused,
    /// It handles none, because of an error, until somebody resumes it.
    Failed,
}

impl Status {
    const ALL: [Self; 3] = [Self::Running, Self::Paused, Self::Failed];

    /// The word in the table.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Failed => "failed",
        }
    }

    /// As a parameter of a statement.
    pub fn parameter(self) -> (Type, Option<Datum>) {
        text(self.word())
    }

    /// Reads the word of the table.
    ///
    /// # Errors
    /// XX001 where there is no such status.
    pub fn parse(word: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|s| s.word() == word);
        found.ok_or_else(|| unknown("status of a projection", word))
    }

    /// What a projection is after it has begun anew: one that is paused stays paused, and any other runs.
    pub fn after_restart(self) -> Self {
        match self {
            Self::Paused => Self::Paused,
            Self::Running | Self::Failed => Self::Running,
        }
    }
}

/// What a rebuild does: `phase` of `en57.rebuilds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It folds events into its own documents.
    Building,
    /// Few events are left: the next step gives the documents to the live table.
    Swapping,
    /// It has stopped because of an error, until somebody calls en57_rebuild() again.
    Failed,
    /// Somebody has ended it. The row stays for the sessions that still work on it.
    Cancelled,
}

impl Phase {
    const ALL: [Self; 4] = [
        Self::Building,
        Self::Swapping,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The word in the table.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Swapping => "swapping",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// As a parameter of a statement.
    pub fn parameter(self) -> (Type, Option<Datum>) {
        text(self.word())
    }

    /// Reads the word of the table.
    ///
    /// # Errors
    /// XX001 where there is no such phase.
    pub fn parse(word: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|p| p.word() == word);
        found.ok_or_else(|| unknown("phase of a rebuild", word))
    }
}

fn unknown(what: &str, word: &str) -> Error {
    Error::new(
        SqlState::DataCorrupted,
        format!("unknown {what}: \"{word}\""),
    )
}
