//! A reading: the events of a query up to its frontier, page by page.

use std::rc::Rc;

use crate::dcb::error::{Result, invalid};
use crate::dcb::query::{Criterion, Query};
use crate::store::Oid;
use crate::store::index::entry::Direction;
use crate::store::index::scan::{self, Range};
use crate::store::log::catalog;
use crate::store::log::partition::Access;
use crate::store::log::position::Counter;
use crate::store::memory::stat::{self, Counted};
use crate::store::pg::scratch::Scratch;
use crate::store::row::door::Event;
use crate::store::row::event::Row;
use crate::store::row::srf::{ROWS_AT_ONCE, Sink, Source};
use crate::store::scan::{Bounds, Scan, Told};
use crate::upcast::{self, Definitions, ReadBy, Sought, Upcast};

use super::frontier;
use super::partitions::{Merge, Partitions};
use super::view::{LAST, View};

/// Bytes of events that are handed out together: whoever collects a page of them has about so much in memory,
/// however large they are.
pub const PAGE_BYTES: usize = 4 << 20;

/// Events that are handed out together at most, however many keys they are found by.
const MOST_AT_ONCE: usize = 10_000;

/// What to read.
#[derive(Clone, Debug)]
pub struct Options {
    /// Exclusive.
    pub after: i64,
    /// Inclusive.
    pub upto: i64,
    /// At most so many events.
    pub max_count: i64,
    /// From the newest to the oldest.
    pub direction: Direction,
    /// Recorded then or later, in PostgreSQL's microseconds.
    pub recorded_from_us: Option<i64>,
    /// Recorded at the latest then.
    pub as_of_us: Option<i64>,
    /// Happened at the latest then.
    pub occurred_until_us: Option<i64>,
    /// Of a stream: the first and the last version, both inclusive.
    pub versions: Option<(i64, i64)>,
    /// Whether events of old versions are read as new ones.
    pub upcast: Upcast,
}

impl Options {
    /// Whether an event that matches is one to be returned.
    fn takes(&self, row: &Row) -> bool {
        let within = |(from, to)| (from..=to).contains(&row.stream_version().unwrap_or(0));
        self.recorded_from_us
            .is_none_or(|at| row.recorded_at_us() >= at)
            && self.as_of_us.is_none_or(|at| row.recorded_at_us() <= at)
            && self
                .occurred_until_us
                .is_none_or(|at| row.occurred_at_us() <= at)
            && self.versions.is_none_or(within)
    }

    /// Whether nothing that is to be returned can follow an event of the stream.
    fn is_behind(&self, row: &Row) -> bool {
        let version = row.stream_version().unwrap_or(0);
        self.versions
            .is_some_and(|(from, to)| match self.direction {
                Direction::Forward => version >= to,
                Direction::Backward => version <= from,
            })
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            after: 0,
            upto: LAST,
            max_count: i64::MAX,
            direction: Direction::Forward,
            recorded_from_us: None,
            as_of_us: None,
            occurred_until_us: None,
            versions: None,
            upcast: Upcast::Run,
        }
    }
}

/// A read under way. It holds nothing of PostgreSQL's between two batches.
pub struct Reading {
    sought: Sought,
    read_by: Rc<ReadBy>,
    options: Options,
    partitions: Partitions,
    view: View,
    /// Whether it is a user's read, which is counted.
    is_counted: bool,
    /// What it has looked at.
    looked_at: LookedAt,
    /// With what it can begin again.
    asked: Option<Asked>,
}

/// What was asked for, where a query asks for less.
struct Asked {
    options: Options,
    query: Query,
}

/// What a read has looked at.
#[derive(Default)]
struct LookedAt {
    entries: i64,
    rows: i64,
}

impl Reading {
    /// Starts to read: what will be returned is settled by now.
    ///
    /// # Errors
    /// 42501, 42704, 22023 for numbers out of range, N5706 after waiting for transactions in flight.
    pub fn start(query: Option<Query>, options: Options, partition: Option<&str>) -> Result<Self> {
        let numbers = [
            ("after", options.after),
            ("upto", options.upto),
            ("max_count", options.max_count),
        ];
        if let Some((name, _)) = numbers.iter().find(|(_, value)| *value < 0) {
            return Err(invalid(format!("{name} must not be negative")));
        }
        let store = catalog::store()?;
        let mut partitions = Partitions::find(store, partition, Access::Read)?;
        let query = query.unwrap_or_else(Query::everything);
        let (sought, read_by) = upcast::seek(query, options.upcast)?;
        let frontier = frontier::of(store, &mut partitions, &sought)?;
        let counter = Counter::of(store)?;
        stat::count(Counted::Reads, 1);
        Ok(Self {
            sought,
            read_by: Rc::new(read_by),
            options,
            partitions,
            view: View::with_own(&counter, frontier),
            is_counted: true,
            looked_at: LookedAt::default(),
            asked: None,
        })
    }

    /// Reads what is settled up to a frontier that is known already, without rows of the transaction's
    /// own.
    ///
    /// # Errors
    /// 42501, 42704.
    pub fn settled(
        query: Query,
        options: Options,
        partition: Option<&str>,
        frontier: i64,
    ) -> Result<Self> {
        let view = View {
            frontier,
            own_upto: frontier,
        };
        let (sought, read_by) = upcast::seek(query, options.upcast)?;
        Ok(Self {
            sought,
            read_by: Rc::new(read_by),
            options,
            partitions: Partitions::find(catalog::store()?, partition, Access::Read)?,
            view,
            is_counted: false,
            looked_at: LookedAt::default(),
            asked: None,
        })
    }

    /// Reads a range of positions in which nothing can change any more, whoever may read it.
    ///
    /// # Errors
    /// 42704.
    pub fn of_settled(query: Query, partition: &str, after: i64, upto: i64) -> Result<Self> {
        let options = Options {
            after,
            upto,
            ..Options::default()
        };
        // By what is known now, also where reads repeat: this belongs to an append, or to a projection.
        Self::of_settled_by(upcast::known()?, query, partition, options)
    }

    /// As [`Self::of_settled`], by upcasters of another moment.
    ///
    /// # Errors
    /// 42704.
    pub fn of_settled_by(
        definitions: Rc<Definitions>,
        query: Query,
        partition: &str,
        options: Options,
    ) -> Result<Self> {
        let read_by = ReadBy::by(Rc::clone(&definitions), &query);
        Ok(Self {
            sought: Sought::by(query, &definitions),
            read_by: Rc::new(read_by),
            options,
            partitions: Partitions::find(catalog::store()?, Some(partition), Access::Own)?,
            view: View::ALL,
            is_counted: false,
            looked_at: LookedAt::default(),
            asked: None,
        })
    }

    /// By which upcasters its events are handed out, for who keeps rows and reads them later.
    pub fn read_by(&self) -> Rc<ReadBy> {
        Rc::clone(&self.read_by)
    }

    /// The position as of which nothing that matches is missing.
    pub fn frontier(&self) -> i64 {
        self.view.frontier
    }

    /// The table of the one partition that is read, `None` where it may be several.
    pub fn only_partition(&self) -> Option<Oid> {
        Some(self.partitions.key()).filter(|key| *key != Oid::INVALID)
    }

    /// What stands for how events are read, upcast or not, as of what has been accepted of others'
    /// changes.
    pub fn generation(&self) -> i64 {
        self.read_by.generation()
    }

    /// What this reader sees.
    pub fn view(&self) -> View {
        self.view
    }

    /// Leaves out what comes before a position, in the reading's direction.
    pub fn begin_at(&mut self, position: i64) {
        match self.options.direction {
            Direction::Forward => self.options.after = position - 1,
            Direction::Backward => self.options.upto = position,
        }
    }

    /// Reads nothing more.
    pub fn end(&mut self) {
        self.options.max_count = 0;
    }

    /// Starts to read what is settled by now. It waits for nothing, not for the session's own appends
    /// either, so that a worker that appends is not stopped by transactions that do not end.
    ///
    /// # Errors
    /// 42501, 42704.
    pub fn start_settled(
        query: Option<Query>,
        options: Options,
        partition: Option<&str>,
    ) -> Result<Self> {
        let store = catalog::store()?;
        let partitions = Partitions::find(store, partition, Access::Read)?;
        stat::count(Counted::Reads, 1);
        let query = query.unwrap_or_else(Query::everything);
        let (sought, read_by) = upcast::seek(query, options.upcast)?;
        let frontier = partitions.current_frontier(&Counter::of(store)?, &sought);
        Ok(Self {
            sought,
            read_by: Rc::new(read_by),
            options,
            partitions,
            view: View {
                frontier,
                own_upto: frontier,
            },
            is_counted: true,
            looked_at: LookedAt::default(),
            asked: None,
        })
    }

    /// Makes sure that of all partitions none is left out.
    ///
    /// # Errors
    /// 42501.
    pub fn demand_all(&self) -> Result<()> {
        self.partitions.demand_all()
    }

    /// Reads all that is left.
    ///
    /// # Errors
    /// Those of `fill`.
    pub fn each(&mut self, mut sink: impl FnMut(&Event) -> Result<()>) -> Result<()> {
        while self.fill(usize::MAX, &mut sink)? {}
        Ok(())
    }

    /// Reads all that is left without upcasting: for what needs the rows, and hands none of them out.
    ///
    /// # Errors
    /// Those of reading.
    pub fn each_row(&mut self, mut sink: impl FnMut(&Row) -> Result<()>) -> Result<()> {
        while self.fill_rows(usize::MAX, &mut sink)? {}
        Ok(())
    }

    /// As `fill`, but nothing passes the door. It may be fewer than asked for though more follow, where they are large.
    ///
    /// # Errors
    /// Those of reading, and of the sink.
    pub fn fill_rows(&mut self, at_most: usize, sink: &mut Sink<Row>) -> Result<bool> {
        let mut bytes = 0;
        let upto = self.options.upto.min(self.view.upto());
        let mut left = self
            .options
            .max_count
            .min(i64::try_from(at_most).unwrap_or(i64::MAX));
        if left == 0 || self.options.after >= upto {
            return Ok(false);
        }
        let tables = self.partitions.open(catalog::store()?, &self.sought)?;
        let range = Range {
            after: self.options.after,
            upto,
        };
        let mut merge = Merge::new(&tables, &self.sought, range, self.options.direction)?;
        while let Some((entry, fetcher)) = merge.next_entry()? {
            self.looked_at.entries += 1;
            let matches = fetcher.fetch(entry, self.view.is_beyond(entry.position))
                && self.sought.matches(&fetcher.row)?;
            if !matches {
                continue;
            }
            self.looked_at.rows += 1;
            if self.options.takes(&fetcher.row) {
                // It keeps nothing of the row: the next one takes its place.
                sink(&fetcher.row)?;
                bytes += fetcher.row.bytes();
                stat::count(Counted::EventsRead, i64::from(self.is_counted));
                self.options.max_count -= 1;
                left -= 1;
            }
            if self.options.is_behind(&fetcher.row) {
                break;
            }
            match self.options.direction {
                Direction::Forward => self.options.after = entry.position,
                Direction::Backward => self.options.upto = entry.position - 1,
            }
            if left == 0 || bytes >= PAGE_BYTES {
                return Ok(self.options.max_count > 0);
            }
        }
        self.end();
        Ok(false)
    }
}

impl Scan for Reading {
    fn begin(&mut self, bounds: Bounds) {
        let asked = self.asked.get_or_insert_with(|| Asked {
            options: self.options.clone(),
            query: self.sought.asked().clone(),
        });
        let mut options = Options {
            after: asked.options.after.max(bounds.after),
            upto: asked.options.upto.min(bounds.upto),
            direction: bounds.direction.unwrap_or(asked.options.direction),
            ..asked.options.clone()
        };
        // Upcasters may give an event another type and other tags than those that are stored.
        if !self.read_by.door().may_upcast() {
            let mut query = Some(asked.query.clone());
            for by in &bounds.within {
                query = query.and_then(|query| query.within(by));
            }
            match query {
                Some(query) => self.sought = Sought::as_stored(query),
                None => options.max_count = 0,
            }
        }
        self.options = options;
    }

    fn told(&self) -> Told {
        let groups = self.sought.stored().criteria().iter().map(scan::key_groups);
        Told {
            frontier: self.view.frontier,
            keys: groups
                .map(|g| g.iter().map(Vec::len).sum::<usize>())
                .sum::<usize>() as i64,
            entries: self.looked_at.entries,
            rows: self.looked_at.rows,
        }
    }
}

impl Source for Reading {
    type Item = Event;

    /// Each batch begins with a descent for each key in each partition.
    fn at_once(&self) -> usize {
        let keys = |c: &Criterion| 1 + c.types.len() + c.any_tags.len();
        let criteria = self.sought.stored().criteria();
        let keys: usize = criteria.iter().map(keys).sum();
        ROWS_AT_ONCE
            .max(4 * self.partitions.count())
            .max(keys.min(MOST_AT_ONCE))
    }

    fn fill(&mut self, at_most: usize, sink: &mut Sink<Event>) -> Result<bool> {
        let read_by = self.read_by();
        let door = read_by.door();
        // Many events may be read before the caller gives memory back: a fold reads all at once.
        let work = door.may_upcast().then(Scratch::new);
        self.fill_rows(at_most, &mut |row| {
            let Some(work) = &work else {
                return sink(&*row.read(&door)?);
            };
            let event = work.run(|| row.read(&door))?;
            sink(&event)?;
            if event.is_upcast() {
                work.reset();
            }
            Ok(())
        })
    }
}
