//! What a reader sees.

use crate::dcb::error::Result;
use crate::dcb::query::Query;
use crate::store::log::catalog;
use crate::store::log::partition::Access;
use crate::store::log::position::Counter;
use crate::upcast::Sought;

use super::frontier;
use super::partitions::Partitions;

/// The largest position there can be.
pub const LAST: i64 = i64::MAX - 1;

/// Up to where a reader sees what.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// All that is committed, up to here.
    pub(crate) frontier: i64,
    /// The transaction's own, up to here.
    pub(crate) own_upto: i64,
}

impl View {
    /// All that is committed by now, and the transaction's own: for those who hold the keys' locks.
    pub const ALL: Self = Self {
        frontier: LAST,
        own_upto: LAST,
    };

    /// What is committed up to a frontier, and the transaction's own.
    pub(crate) fn with_own(counter: &Counter, frontier: i64) -> Self {
        let own_upto = match counter.has_own() {
            true => counter.next() - 1,
            false => frontier,
        };
        Self { frontier, own_upto }
    }

    /// What a reader of a partition sees now, who does not wait for the session's own appends.
    ///
    /// # Errors
    /// 42501, 42704.
    pub fn now(partition: &str) -> Result<Self> {
        let store = catalog::store()?;
        let partitions = Partitions::find(store, Some(partition), Access::Read)?;
        let counter = Counter::of(store)?;
        let everything = Sought::as_stored(Query::everything());
        let frontier = frontier::now(&counter, &partitions, &everything);
        Ok(Self::with_own(&counter, frontier))
    }

    /// The last position at which there can be anything to see.
    pub fn upto(&self) -> i64 {
        self.frontier.max(self.own_upto)
    }

    /// Whether only the transaction's own event can be seen at a position.
    pub fn is_beyond(&self, position: i64) -> bool {
        position > self.frontier
    }
}
