//! As what a transaction holds a key, and which of these exclude each other.

/// What a transaction does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Mode {
    /// Written only: writers do not exclude writers.
    Written = WRITTEN,
    /// Checked only: checkers do not exclude checkers, but writers.
    Checked = CHECKED,
    /// Checked and written: excludes all, itself included.
    CheckedAndWritten = WRITTEN | CHECKED,
}

/// The bit of what is written.
pub(super) const WRITTEN: u32 = 1;
/// The bit of what is checked.
pub(super) const CHECKED: u32 = 2;

impl Mode {
    /// What a key is held as that is held for both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if self == other {
            self
        } else {
            Self::CheckedAndWritten
        }
    }

    /// Whether who holds a key so keeps all out whom the other mode would.
    pub fn covers(self, other: Self) -> bool {
        self.and(other) == self
    }

    /// Whether events may be written under a key that is held so.
    pub fn writes(self) -> bool {
        self != Self::Checked
    }

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Checked => "checked",
            Self::CheckedAndWritten => "checked and written",
        }
    }
}
