//! Conflicts: stored events that stand against an append. They are looked for when all locks are held, so nobody can
//! change the answer before the transaction ends.

use std::rc::Rc;

use crate::dcb::error::Result;
use crate::dcb::query::Query;
use crate::read::stream;
use crate::store::index::entry::Direction;
use crate::store::index::fetch::Fetcher;
use crate::store::index::scan::{Range, Scan};
use crate::store::pg::scratch::Scratch;
use crate::store::row::door::Event;
use crate::store::row::event::Row;
use crate::store::row::table::Opened;
use crate::upcast::{Definitions, Sought, Upcasters};

use super::streams::Wrong;

/// How a caller gets the conflicting events.
pub struct Conflicts<'a> {
    /// How many at most; the newest ones.
    pub at_most: usize,
    /// Gets them from the newest to the oldest.
    pub sink: &'a mut dyn FnMut(&Event) -> Result<()>,
}

impl Conflicts<'_> {
    /// Hands out the next older event. Only one at a time is in memory.
    fn add(&mut self, row: &Row, upcasters: &Upcasters, work: &Scratch) -> Result<()> {
        work.run(|| (self.sink)(&*row.read(upcasters)?))?;
        work.reset();
        Ok(())
    }

    /// Hands out the newest events of a stream that is not at the expected version.
    ///
    /// # Errors
    /// XX001 if the index is damaged; those of upcasters and of the sink.
    pub(super) fn of_stream(
        &mut self,
        table: &Opened,
        wrong: &Wrong,
        definitions: &Rc<Definitions>,
    ) -> Result<()> {
        let upcasters = Upcasters::new(definitions);
        let work = Scratch::new();
        let (target, at_most) = (wrong.target, self.at_most);
        let mut add = |row: &Row| self.add(row, &upcasters, &work);
        stream::newer(
            table,
            target.name,
            target.expected.known(),
            at_most,
            &mut add,
        )
    }

    /// Hands out the newest events that match a query, of those that are committed by now or the transaction's own.
    /// Returns the position of the newest one.
    ///
    /// # Errors
    /// XX001 if the index is damaged; those of upcasters and of the sink.
    pub(super) fn of_query(
        &mut self,
        table: &Opened,
        query: &Sought<&Query>,
        definitions: &Rc<Definitions>,
    ) -> Result<Option<i64>> {
        let range = Range {
            after: 0,
            upto: i64::MAX - 1,
        };
        let upcasters = Upcasters::new(definitions);
        let mut scan = Scan::new(table, query.stored(), range, Direction::Backward)?;
        let mut fetcher = Fetcher::new(table);
        let work = Scratch::new();
        let mut newest = None;
        let mut found = 0;
        while found < self.at_most {
            let Some(entry) = scan.next_entry()? else {
                break;
            };
            if fetcher.fetch(entry, false) && query.matches(&fetcher.row)? {
                newest.get_or_insert(entry.position);
                self.add(&fetcher.row, &upcasters, &work)?;
                found += 1;
            }
        }
        Ok(newest)
    }
}
