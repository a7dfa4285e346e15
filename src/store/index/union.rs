//! Ranges of entries as one: those of any of several keys, in position order. A heap says which range is next, so that
//! thousands of tags cost each event little more than ten.

use std::collections::BinaryHeap;

use crate::dcb::error::Result;

use super::entry::{Direction, Entry};
use super::scan::KeyScan;

/// The entries of any of several ranges; one of a row that is in several of them comes once for each, and
/// [`Union::pass`] goes beyond them all.
pub(in crate::store) struct Union<'t> {
    members: Vec<KeyScan<'t>>,
    direction: Direction,
    /// Where the members stand that have anything left, the next one on top. Unused where there is but one member.
    order: BinaryHeap<Standing>,
    has_begun: bool,
}

/// A member's entry; the greatest comes next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Standing {
    /// Position and tid of the row.
    rank: (i64, i64),
    member: usize,
}

impl<'t> Union<'t> {
    /// The union of ranges that all go in one direction.
    pub fn new(members: Vec<KeyScan<'t>>, direction: Direction) -> Self {
        Self {
            members,
            direction,
            order: BinaryHeap::new(),
            has_begun: false,
        }
    }

    fn rank(&self, entry: Entry) -> (i64, i64) {
        // Block and offset take 48 bits.
        let tid = entry.tid as i64;
        match self.direction {
            Direction::Forward => (-entry.position, -tid),
            Direction::Backward => (entry.position, tid),
        }
    }

    fn is_before(&self, standing: Standing, position: i64) -> bool {
        match self.direction {
            Direction::Forward => -standing.rank.0 < position,
            Direction::Backward => standing.rank.0 > position,
        }
    }

    fn put(&mut self, member: usize, entry: Option<Entry>) {
        if let Some(entry) = entry {
            let rank = self.rank(entry);
            self.order.push(Standing { rank, member });
        }
    }

    fn begin(&mut self) -> Result<()> {
        if self.has_begun {
            return Ok(());
        }
        self.has_begun = true;
        for member in 0..self.members.len() {
            let entry = self.members[member].current()?;
            self.put(member, entry);
        }
        Ok(())
    }

    /// The entry that is next.
    #[inline]
    pub fn current(&mut self) -> Result<Option<Entry>> {
        if let [only] = self.members.as_mut_slice() {
            return only.current();
        }
        self.begin()?;
        match self.order.peek() {
            Some(next) => self.members[next.member].current(),
            None => Ok(None),
        }
    }

    /// Goes on to the first entry at or beyond a position, in the direction.
    #[inline]
    pub fn seek(&mut self, position: i64) -> Result<Option<Entry>> {
        if let [only] = self.members.as_mut_slice() {
            return only.seek(position);
        }
        self.begin()?;
        while let Some(next) = self.order.peek().copied()
            && self.is_before(next, position)
        {
            self.order.pop();
            let entry = self.members[next.member].seek(position)?;
            self.put(next.member, entry);
        }
        self.current()
    }

    /// Beyond one entry: a row that stands under several of the keys is there once.
    pub fn pass(&mut self, entry: Entry) -> Result<()> {
        if let [only] = self.members.as_mut_slice() {
            return only.pass(entry).map(drop);
        }
        self.begin()?;
        let rank = self.rank(entry);
        while let Some(next) = self.order.peek().copied()
            && next.rank == rank
        {
            self.order.pop();
            let beyond = self.members[next.member].pass(entry)?;
            self.put(next.member, beyond);
        }
        Ok(())
    }
}
