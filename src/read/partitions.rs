//! Where a read looks: one partition, or all that the caller may read, merged in position order.

use std::collections::BinaryHeap;
use std::rc::Rc;

use crate::dcb::error::Result;
use crate::dcb::partition::ALL;
use crate::store::Oid;
use crate::store::index::entry::{Direction, Entry};
use crate::store::index::fetch::Fetcher;
use crate::store::index::scan::{Range, Scan};
use crate::store::log::catalog::{self, Store};
use crate::store::log::partition::{Access, Partition};
use crate::store::log::position::Counter;
use crate::store::row::table::Opened;
use crate::upcast::Sought;

use super::frontier;

/// The partitions of a read.
pub struct Partitions {
    access: Access,
    is_all: bool,
    list: Vec<Rc<Partition>>,
    /// One that the caller may not read, where all are meant.
    left_out: Option<Oid>,
    /// Whatever is at or below it is in one of the list, or will never be.
    floor: i64,
}

impl Partitions {
    /// The partition that an argument means, or all that the caller may read.
    ///
    /// # Errors
    /// 42501, 42704; 55006 where logical replication fills one.
    pub fn find(store: &'static Store, name: Option<&str>, access: Access) -> Result<Self> {
        let name = catalog::effective_name(name)?;
        let mut found = Self {
            access,
            is_all: name == ALL,
            list: Vec::new(),
            left_out: None,
            floor: i64::MAX,
        };
        if found.is_all {
            found.renew(store)?;
        } else {
            found.list.push(store.partition(Some(&name), access)?);
            found.refuse_replicas()?;
        }
        Ok(found)
    }

    /// Looks for all partitions again: there may be new ones.
    ///
    /// The order matters. A transaction that makes a partition may have appended to it, and while it is
    /// in flight others do not find the partition. Either it is seen in flight, with its bound in this partition, or
    /// it has ended by then, and the partition is found below.
    ///
    /// # Errors
    /// 42501 where the caller may read none; 55006 where logical replication fills one.
    pub fn renew(&mut self, store: &'static Store) -> Result<()> {
        if !self.is_all {
            return Ok(());
        }
        let counter = Counter::of(store)?;
        let next = counter.next();
        let appended_to = counter.partitions_in_flight(next);
        let all = store.all()?;
        self.list = store.readable(&all, self.access)?;
        let mut tables = all.iter().map(|(_, table)| *table);
        self.left_out = tables.find(|table| !self.access.is_allowed(*table));
        let unseen = appended_to
            .iter()
            .filter(|(table, _)| all.iter().all(|(_, seen)| seen != table));
        let bound = unseen.map(|(_, bound)| *bound).min();
        self.floor = bound.unwrap_or(next).min(next) - 1;
        self.refuse_replicas()
    }

    /// Makes sure that none is left out: where a position is stored for whoever comes next, all must be the same to all.
    ///
    /// # Errors
    /// 42501.
    pub fn demand_all(&self) -> Result<()> {
        self.left_out
            .map_or(Ok(true), |table| self.access.demand(table))
            .map(drop)
    }

    /// Whoever reads by right of ownership is refused as well: there is no frontier.
    fn refuse_replicas(&self) -> Result<()> {
        self.iter().try_for_each(Partition::refuse_replica)
    }

    /// The position as of which nothing that matches is missing in any of them, without waiting.
    pub fn current_frontier(&self, counter: &Counter, sought: &Sought) -> i64 {
        self.kept_frontier(counter, sought).0
    }

    /// As [`Self::current_frontier`], with the backend whose transaction keeps it there, if that is known.
    pub fn kept_frontier(&self, counter: &Counter, sought: &Sought) -> (i64, Option<usize>) {
        let frontiers = self.list.iter();
        let lowest = frontiers
            .map(|partition| frontier::kept(counter, partition, sought))
            .min_by_key(|(frontier, _)| *frontier);
        match lowest {
            Some(kept) if kept.0 <= self.floor => kept,
            _ => (self.floor, None),
        }
    }

    /// The partitions.
    pub fn iter(&self) -> impl Iterator<Item = &Partition> {
        self.list.iter().map(AsRef::as_ref)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// What frontiers are kept by: the one partition, or none for all.
    pub fn key(&self) -> Oid {
        match self.list.as_slice() {
            [only] if !self.is_all => only.oid,
            _ => Oid::INVALID,
        }
    }

    /// Opens them for a scan of a query. One that the transaction has dropped since is not there.
    ///
    /// # Errors
    /// 55000 where a table has become something else.
    pub fn open(&self, store: &'static Store, sought: &Sought) -> Result<Vec<Opened>> {
        let mut tables = Vec::with_capacity(self.list.len());
        for partition in &self.list {
            tables.extend(
                store
                    .again(partition)?
                    .map(|p| p.open_to_scan(sought.stored())),
            );
        }
        Ok(tables)
    }
}

/// The entries of a query in several tables, in position order.
pub struct Merge<'t> {
    members: Vec<(Scan<'t>, Fetcher<'t>)>,
    /// Where the members stand that have anything left; the one on top comes next.
    next: BinaryHeap<Standing>,
    /// The member whose entry was handed out last.
    current: Option<usize>,
    direction: Direction,
}

/// A member's next entry; the greatest comes first.
struct Standing {
    rank: i64,
    member: usize,
    entry: Entry,
}

impl<'t> Merge<'t> {
    /// Scans the tables for a query over a range of positions.
    ///
    /// # Errors
    /// 55000 where an index is missing; XX001 where one is damaged.
    pub fn new(
        tables: &'t [Opened],
        sought: &Sought,
        range: Range,
        direction: Direction,
    ) -> Result<Self> {
        let mut merge = Self {
            members: Vec::with_capacity(tables.len()),
            next: BinaryHeap::with_capacity(tables.len()),
            current: None,
            direction,
        };
        for (member, table) in tables.iter().enumerate() {
            let scan = Scan::new(table, sought.stored(), range, direction)?;
            merge.members.push((scan, Fetcher::new(table)));
            merge.advance(member)?;
        }
        Ok(merge)
    }

    fn advance(&mut self, member: usize) -> Result<()> {
        if let Some(entry) = self.members[member].0.next_entry()? {
            let rank = match self.direction {
                Direction::Forward => -entry.position,
                Direction::Backward => entry.position,
            };
            self.next.push(Standing {
                rank,
                member,
                entry,
            });
        }
        Ok(())
    }

    /// The next entry, with what fetches its row.
    ///
    /// # Errors
    /// XX001 where an index is damaged.
    pub fn next_entry(&mut self) -> Result<Option<(Entry, &mut Fetcher<'t>)>> {
        if let Some(last) = self.current.take() {
            self.advance(last)?;
            if self.next.peek().is_some_and(|top| top.member != last) {
                // One page is pinned, whatever the number of members.
                self.members[last].1.unpin();
            }
        }
        let Some(top) = self.next.pop() else {
            return Ok(None);
        };
        self.current = Some(top.member);
        Ok(Some((top.entry, &mut self.members[top.member].1)))
    }
}

impl PartialEq for Standing {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Standing {}

impl PartialOrd for Standing {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Standing {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.rank, other.member).cmp(&(other.rank, self.member))
    }
}
