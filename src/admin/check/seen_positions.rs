//! Which positions were met.

/// Positions that were met, a bit each: a window of them, so that memory is bounded. Positions have few
/// gaps, so one window does for all but the largest logs.
pub(super) struct SeenPositions {
    first: i64,
    bits: Vec<u64>,
    /// The smallest position that was met beyond the window.
    pub(super) beyond: Option<i64>,
}

impl SeenPositions {
    /// 32 MB.
    const WORDS: usize = 4 * 1024 * 1024;

    /// Those from a position on.
    pub(super) fn from(first: i64) -> Self {
        Self {
            first,
            bits: vec![0; Self::WORDS],
            beyond: None,
        }
    }

    /// Whether a position is met again.
    pub(super) fn is_second(&mut self, position: i64) -> bool {
        let Some(n) = position.checked_sub(self.first).filter(|n| *n >= 0) else {
            return false;
        };
        let Some(word) = self.bits.get_mut(n as usize / 64) else {
            self.beyond = Some(self.beyond.map_or(position, |b| b.min(position)));
            return false;
        };
        let bit = 1 << (n % 64);
        let known = *word & bit != 0;
        *word |= bit;
        known
    }
}
