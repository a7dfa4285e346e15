//! A pass over the key index from key to key: how many entries stand under each, and between which positions. No row is
//! looked at.
//!
//! Keys with few entries are read page by page, as they lie beside each other. Of one with many the first entries are
//! counted, and how many the rest are is told from pages here and there.

use crate::dcb::error::Result;

use super::btree::{Bound, Direction, Entry, Reader};
use super::table::Opened;

/// So many entries of a key are counted.
const COUNTED: i64 = 10_000;

/// From so many places of the rest it is told how many there are.
const SAMPLES: i64 = 64;

/// A key, and what stands under it.
pub struct Found {
    /// The first entry; its key is that of all.
    pub first: Entry,
    /// The last one that was seen; the last of all unless there are more than were counted.
    pub last: Entry,
    /// How many there are.
    pub entries: i64,
    /// Whether that is estimated.
    pub is_estimate: bool,
}

/// A pass under way. It holds nothing of the index's between two keys.
pub struct Survey<'t> {
    tree: Reader<'t>,
    /// No greater positions.
    upto: i64,
    page: Vec<Entry>,
    next: usize,
    /// Where the entries beyond `page` begin; `None` at the end.
    rest: Option<Bound>,
}

impl<'t> Survey<'t> {
    /// From the first key on, up to a position.
    ///
    /// # Errors
    /// 55000 where the key index is missing.
    pub fn new(table: &'t Opened, upto: i64) -> Result<Self> {
        Ok(Self {
            tree: Reader::keys(table)?,
            upto,
            page: Vec::new(),
            next: 0,
            rest: Some(Bound::MIN),
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
            self.rest = self.tree.page(from, Bound::MAX, forward, &mut self.page)?;
        }
        Ok(Some(self.page[self.next]))
    }

    /// The next key under which anything stands.
    ///
    /// # Errors
    /// XX001 where the index is damaged.
    pub fn next_key(&mut self) -> Result<Option<Found>> {
        while let Some(entry) = self.current()? {
            if entry.position > self.upto {
                self.next += 1;
                continue;
            }
            let mut found = Found {
                first: entry,
                last: entry,
                entries: 1,
                is_estimate: false,
            };
            while let Some(entry) = self.current()?.filter(|e| e.key == found.first.key) {
                self.next += 1;
                if entry.position > self.upto {
                    continue;
                }
                // An erased event has an entry for each place that it has been in, until vacuum comes.
                found.entries += i64::from(entry.position != found.last.position);
                found.last = entry;
                if found.entries >= COUNTED {
                    self.leave(&mut found)?;
                    break;
                }
            }
            return Ok(Some(found));
        }
        Ok(None)
    }

    /// Goes on to the next key, and estimates what is left of this one.
    fn leave(&mut self, found: &mut Found) -> Result<()> {
        self.page.clear();
        self.next = 0;
        self.rest = Some(Bound::last(found.first.key, i64::MAX));
        let after = found.last.position;
        let mut last = Vec::new();
        let (from, to) = (
            Bound::last(found.first.key, self.upto),
            Bound::first(found.first.key, after + 1),
        );
        self.tree.page(from, to, Direction::Backward, &mut last)?;
        let Some(last) = last.first().copied() else {
            return Ok(());
        };
        found.last = last;
        found.is_estimate = true;
        let span = last.position - after;
        let mut entries = 0.0;
        for n in 0..SAMPLES {
            let at =
                |n: i64| after + (i128::from(span) * i128::from(n) / i128::from(SAMPLES)) as i64;
            entries += self.between(found.first.key, at(n) + 1, at(n + 1))?;
        }
        found.entries += entries as i64;
        Ok(())
    }

    /// About how many entries a key has between two positions: as dense as on the first page.
    fn between(&self, key: i64, from: i64, to: i64) -> Result<f64> {
        let mut entries = Vec::new();
        let (first, last) = (Bound::first(key, from), Bound::last(key, to));
        let forward = Direction::Forward;
        let rest = self.tree.page(first, last, forward, &mut entries)?;
        let seen = entries.len() as f64;
        Ok(match (rest, entries.last()) {
            (Some(_), Some(end)) => {
                seen * (to - from + 1) as f64 / (end.position - from + 1) as f64
            }
            _ => seen,
        })
    }
}
