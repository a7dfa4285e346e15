//! A pass over the key index from key to key: how many positions stand under each, from which one to which. No row is
//! looked at.

use crate::dcb::error::Result;
use crate::store::row::table::Opened;

use super::entry::{Direction, Entry};
use super::reader::Reader;

/// A key, and what stands under it.
pub struct Found {
    /// The first entry; its key is that of all.
    pub first: Entry,
    /// The last one.
    pub last: Entry,
    /// How many positions they have that count.
    pub positions: i64,
}

/// A pass under way. It holds nothing of the index's between two keys.
pub struct Survey<'t> {
    tree: Reader<'t>,
    page: Vec<Entry>,
    next: usize,
    /// Where the entries beyond `page` begin; `None` at the end.
    rest: Option<Entry>,
}

impl<'t> Survey<'t> {
    /// From the first key on.
    ///
    /// # Errors
    /// 55000 where the key index is missing.
    pub fn new(table: &'t Opened) -> Result<Self> {
        Ok(Self {
            tree: Reader::keys(table)?,
            page: Vec::new(),
            next: 0,
            rest: Some(Entry::MIN),
        })
    }

    fn current(&mut self) -> Result<Option<Entry>> {
        while self.next >= self.page.len() {
            let Some(from) = self.rest else {
                return Ok(None);
            };
            pgrx::check_for_interrupts!();
            self.page.clear();
            self.next = 0;
            let forward = Direction::Forward;
            self.rest = self.tree.page(from, Entry::MAX, forward, &mut self.page)?;
        }
        Ok(Some(self.page[self.next]))
    }

    /// The next key under which anything stands that counts.
    ///
    /// # Errors
    /// XX001 where the index is damaged.
    pub fn next_key(&mut self, mut counts: impl FnMut(Entry) -> bool) -> Result<Option<Found>> {
        while let Some(entry) = self.current()? {
            if !counts(entry) {
                self.next += 1;
                continue;
            }
            let mut found = Found {
                first: entry,
                last: entry,
                positions: 1,
            };
            while let Some(entry) = self.current()?.filter(|e| e.key == found.first.key) {
                self.next += 1;
                // An erased event has an entry for each tid that it has been in, until vacuum comes.
                if entry.position != found.last.position && counts(entry) {
                    found.positions += 1;
                    found.last = entry;
                }
            }
            return Ok(Some(found));
        }
        Ok(None)
    }
}
