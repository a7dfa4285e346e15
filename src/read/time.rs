//! The position of a time: where to begin, for who wants what was recorded then or later.
//!
//! Positions are the order, and times need not grow with them: appends that run at once look at the clock in any order,
//! and clocks can be set back. So the search begins a little before the time, and goes on event by event.

use crate::dcb::error::Result;
use crate::dcb::query::Query;
use crate::store::log::catalog;

use super::view::View;
use super::{Options, Reading};

/// How far times may be out of order, in microseconds: no event may have been recorded by so much later than one that
/// stands behind it.
const DISORDER_US: i64 = 10_000_000;

/// How many events are looked at together behind the position that the search has found.
const AT_ONCE: usize = 256;

/// A partition, or all, as it was settled when the search began.
struct Settled<'a> {
    partition: Option<&'a str>,
    frontier: i64,
}

impl<'a> Settled<'a> {
    fn now(partition: Option<&'a str>) -> Result<Self> {
        let view = View::now(&catalog::effective_name(partition)?)?;
        Ok(Self {
            partition,
            frontier: view.frontier,
        })
    }

    fn read(&self, after: i64, upto: i64) -> Result<Reading> {
        let options = Options {
            after,
            upto,
            ..Options::default()
        };
        Reading::settled(Query::everything(), options, self.partition, self.frontier)
    }

    /// A position before all that was recorded at a time or later: 0, or that of an event which was recorded earlier by
    /// more than times are out of order. Each step halves what is left of the positions.
    fn before(&self, at_us: i64) -> Result<i64> {
        let early = at_us.saturating_sub(DISORDER_US);
        // The event at `low` was recorded before, the first one beyond `high` was not.
        let (mut low, mut high) = (0, self.frontier);
        while low < high {
            let middle = low + (high - low) / 2;
            let mut next = None;
            self.read(middle, high)?.fill_rows(1, &mut |row| {
                next = Some((row.position(), row.recorded_at_us()));
                Ok(())
            })?;
            match next {
                Some((position, recorded_us)) if recorded_us < early => low = position,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// The first event behind a position that was recorded at a time or later.
    fn first(&self, after: i64, at_us: i64) -> Result<Option<i64>> {
        let mut reading = self.read(after, self.frontier)?;
        let mut found = None;
        let mut more = true;
        while more && found.is_none() {
            more = reading.fill_rows(AT_ONCE, &mut |row| {
                if found.is_none() && row.recorded_at_us() >= at_us {
                    found = Some(row.position());
                }
                Ok(())
            })?;
        }
        Ok(found)
    }
}

/// A position before all events of a partition, or of all, that were recorded at a time or later.
///
/// # Errors
/// 42501, 42704; 55000 where an index is missing.
pub fn before(at_us: i64, partition: Option<&str>) -> Result<i64> {
    Settled::now(partition)?.before(at_us)
}

/// The position behind which the first event stands that was recorded at a time or later; where there is none, up to
/// where all is settled.
///
/// # Errors
/// As [`before`].
pub fn position_at(at_us: i64, partition: Option<&str>) -> Result<i64> {
    let settled = Settled::now(partition)?;
    let low = settled.before(at_us)?;
    let first = settled.first(low, at_us)?;
    Ok(first.map_or(settled.frontier, |position| position - 1))
}
