//! Streams: events of one name, numbered from 1 without gaps. Who appends to a stream holds its key alone
//! (see `append`), so the newest row under the key is the stream's head.
//!
//! Rows under a key are in the order of their versions. Beside them the key index can have entries that are
//! no events of the stream: of rolled-back appends, and of other streams whose names share the key. So the
//! n-th entry of a stream has at most version n, and rows are looked at before they count.

use crate::dcb::error::{Error, Result, SqlState, invalid};
use crate::dcb::limits;
use crate::dcb::query::{Criterion, Query};
use crate::store::index::entry::Direction;
use crate::store::index::fetch::Fetcher;
use crate::store::index::lookup::{self, From};
use crate::store::index::scan::{Range, StreamScan};
use crate::store::log::catalog;
use crate::store::log::partition::Access;
use crate::store::pg::nowait::{demand_unlocked, nowait};
use crate::store::row::event::Row;
use crate::store::row::event_tuple::StreamInfo;
use crate::store::row::srf::{Sink, Source};
use crate::store::row::table::Opened;

use super::{Options, Reading, View};

/// Streams whose names are taken from the index at once.
const NAMES_AT_ONCE: usize = 256;

/// Where an append goes, and what must hold there.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// The stream's name.
    pub name: &'a str,
    /// Its version before the append.
    pub expected: Expected,
}

/// What a stream's version must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Anything; the stream need not exist.
    Any,
    /// The stream must exist.
    Exists,
    /// This one; 0 is that of a stream that does not exist.
    Exactly(i64),
}

impl<'a> Target<'a> {
    /// The target that a caller names: `None` any version, -1 that the stream exists, n its version.
    ///
    /// # Errors
    /// 22023 for what no stream can have, 54000 for a name that is too long.
    pub fn new(name: Option<&'a str>, expected: Option<i64>) -> Result<Option<Self>> {
        let Some(name) = name else {
            return match expected {
                None => Ok(None),
                Some(_) => Err(invalid("expected_version needs a stream")
                    .hint("Name the stream that the events go to.")),
            };
        };
        let expected = Expected::new(expected)?;
        let name = checked_name(name)?;
        Ok(Some(Self { name, expected }))
    }
}

impl Expected {
    /// What a caller says: `None` any version, -1 that the stream exists, n its version.
    ///
    /// # Errors
    /// 22023 for what no stream can have.
    pub fn new(expected: Option<i64>) -> Result<Self> {
        match expected {
            None => Ok(Self::Any),
            Some(-1) => Ok(Self::Exists),
            Some(version) if version >= 0 => Ok(Self::Exactly(version)),
            Some(_) => Err(invalid("expected_version must be -1 or greater").hint(
                "0 expects that the stream does not exist, -1 that it exists, NULL nothing.",
            )),
        }
    }

    /// What a caller would say for it.
    pub fn said(self) -> Option<i64> {
        match self {
            Self::Any => None,
            Self::Exists => Some(-1),
            Self::Exactly(version) => Some(version),
        }
    }

    /// Whether it holds for a stream of this version.
    pub fn holds(self, version: i64) -> bool {
        match self {
            Self::Any => true,
            Self::Exists => version > 0,
            Self::Exactly(expected) => version == expected,
        }
    }

    /// The version whose followers a caller does not know.
    pub fn known(self) -> i64 {
        match self {
            Self::Any | Self::Exists => i64::MAX,
            Self::Exactly(expected) => expected,
        }
    }
}

/// A name as the column takes it.
///
/// # Errors
/// 22023 where it is empty, 54000 where it is too long.
pub fn checked_name(name: &str) -> Result<&str> {
    if name.is_empty() {
        return Err(invalid("stream must not be an empty string"));
    }
    if name.len() > limits::TEXT_BYTES {
        return Err(Error::new(
            SqlState::LimitExceeded,
            format!("stream is longer than {} bytes", limits::TEXT_BYTES),
        ));
    }
    Ok(name)
}

/// The stream's name of the n-th event of a call, from 1, if it can be one.
///
/// # Errors
/// As [`checked_name`], with the number of the event.
pub fn checked_of(name: &str, n: usize) -> Result<&str> {
    checked_name(name).map_err(|e| Error {
        message: format!("event {n}: {}", e.message),
        ..e
    })
}

/// The events of a stream.
pub fn query_of(name: &str) -> Query {
    Query::new(vec![Criterion {
        stream: Some(name.to_owned()),
        ..Criterion::default()
    }])
}

/// The rows of a stream that a reader may see, one after the other.
pub struct Walk<'t> {
    name: &'t str,
    entries: StreamScan<'t>,
    fetcher: Fetcher<'t>,
    view: View,
}

impl<'t> Walk<'t> {
    /// From the first or the last row on.
    ///
    /// # Errors
    /// 55000 where the key index is missing.
    pub fn new(table: &'t Opened, name: &'t str, view: View, direction: Direction) -> Result<Self> {
        let range = Range {
            after: 0,
            upto: view.upto(),
        };
        Ok(Self {
            name,
            entries: StreamScan::new(table, name, range, direction)?,
            fetcher: Fetcher::new(table),
            view,
        })
    }

    /// The next row with its version.
    ///
    /// # Errors
    /// XX001 where the index is damaged.
    pub fn next_row(&mut self) -> Result<Option<(i64, &Row)>> {
        while let Some(entry) = self.entries.next_entry()? {
            let own_only = self.view.is_beyond(entry.position);
            if self.fetcher.fetch(entry, own_only)
                && self.fetcher.row.stream()? == Some(self.name)
                && let Some(version) = self.fetcher.row.stream_version()
            {
                return Ok(Some((version, &self.fetcher.row)));
            }
        }
        Ok(None)
    }
}

/// The last event's version and position, of all that is committed or the transaction's own; version 0
/// where there is none. One probe of the key index, however long the stream. Exact for who holds the key.
///
/// # Errors
/// XX001 where the index is damaged.
pub fn head(table: &Opened, name: &str) -> Result<(i64, Option<i64>)> {
    let mut walk = Walk::new(table, name, View::ALL, Direction::Backward)?;
    let last = walk.next_row()?;
    Ok(last.map_or((0, None), |(version, row)| (version, Some(row.position()))))
}

/// Hands the events beyond a version to `sink`, from the newest on, at most so many. As [`head`].
///
/// # Errors
/// As [`head`], and those of the sink.
pub fn newer(
    table: &Opened,
    name: &str,
    version: i64,
    at_most: usize,
    sink: &mut dyn FnMut(&Row) -> Result<()>,
) -> Result<()> {
    let mut walk = Walk::new(table, name, View::ALL, Direction::Backward)?;
    for _ in 0..at_most {
        match walk.next_row()? {
            Some((v, row)) if v > version => sink(row)?,
            _ => break,
        }
    }
    Ok(())
}

/// Which part of a stream to read.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// The first version, inclusive.
    pub from: i64,
    /// The last one, inclusive.
    pub to: i64,
    /// At most so many events.
    pub max_count: i64,
    /// From the newest to the oldest.
    pub direction: Direction,
}

/// Starts to read a part of a stream: what will be returned is settled by now.
///
/// # Errors
/// As [`Reading::start`]; 22023 for versions that are negative, or no name of a stream.
pub fn read(name: &str, window: Window, partition: Option<&str>) -> Result<Reading> {
    for (what, version) in [("from_version", window.from), ("to_version", window.to)] {
        if version < 0 {
            return Err(invalid(format!("{what} must not be negative")));
        }
    }
    let options = Options {
        max_count: window.max_count,
        direction: window.direction,
        versions: Some((window.from, window.to)),
        ..Options::default()
    };
    let name = checked_name(name)?;
    // Versions are those of one partition.
    let partition = catalog::store()?.partition(partition, Access::Read)?;
    let mut reading = Reading::start(Some(query_of(name)), options, Some(&partition.name))?;
    let starts_within = match window.direction {
        Direction::Forward => window.from > 1,
        Direction::Backward => window.to < i64::MAX,
    };
    if starts_within {
        let table = partition.open_to_read();
        match start_of(&table, name, window, reading.view())? {
            Start::Nothing => reading.end(),
            Start::Anywhere => {}
            Start::At(position) => reading.begin_at(position),
        }
    }
    Ok(reading)
}

/// Where to begin to read a part of a stream.
enum Start {
    /// The stream has nothing of it.
    Nothing,
    /// At its end.
    Anywhere,
    /// At this position.
    At(i64),
}

fn start_of(table: &Opened, name: &str, window: Window, view: View) -> Result<Start> {
    let end = |direction| -> Result<Option<i64>> {
        let mut walk = Walk::new(table, name, view, direction)?;
        Ok(walk.next_row()?.map(|(version, _)| version))
    };
    let (Some(oldest), Some(newest)) = (end(Direction::Forward)?, end(Direction::Backward)?) else {
        return Ok(Start::Nothing);
    };
    if window.from > newest.min(window.to) || window.to < oldest {
        return Ok(Start::Nothing);
    }
    let wanted = match window.direction {
        Direction::Forward => window.from,
        Direction::Backward => window.to,
    };
    if wanted < oldest || wanted > newest {
        return Ok(Start::Anywhere);
    }
    // From the nearer end: entries that cannot have come to the version yet need no look at their rows.
    let (direction, distance) = if wanted - oldest <= newest - wanted {
        (Direction::Forward, wanted - oldest)
    } else {
        (Direction::Backward, newest - wanted)
    };
    let mut walk = Walk::new(table, name, view, direction)?;
    walk.entries
        .skip(usize::try_from(distance).unwrap_or(usize::MAX))?;
    while let Some((version, row)) = walk.next_row()? {
        let before = match direction {
            Direction::Forward => version < wanted,
            Direction::Backward => version > wanted,
        };
        if version == wanted {
            return Ok(Start::At(row.position()));
        }
        if !before {
            break;
        }
    }
    // The reader sees the stream with a hole: own events after others' that its moment does not include.
    Ok(Start::Anywhere)
}

/// A stream as it is settled now, or `None` where there is none.
///
/// # Errors
/// As [`Reading::start`], and for what is no name of a stream.
pub fn info(name: &str, partition: Option<&str>) -> Result<Option<StreamInfo>> {
    let reading = read(name, Window::ALL, partition)?;
    let partition = catalog::store()?.partition(partition, Access::Read)?;
    let table = partition.open_to_read();
    about(&table, name, reading.view())
}

impl Window {
    /// The whole stream.
    pub const ALL: Self = Self {
        from: 0,
        to: i64::MAX,
        max_count: i64::MAX,
        direction: Direction::Forward,
    };
}

fn about(table: &Opened, name: &str, view: View) -> Result<Option<StreamInfo>> {
    let end = |direction| -> Result<Option<(i64, (i64, i64))>> {
        let mut walk = Walk::new(table, name, view, direction)?;
        let row = walk.next_row()?;
        Ok(row.map(|(version, row)| (version, (row.position(), row.recorded_at_us()))))
    };
    let (Some((_, first)), Some((version, last))) =
        (end(Direction::Forward)?, end(Direction::Backward)?)
    else {
        return Ok(None);
    };
    Ok(Some(StreamInfo {
        name: name.to_owned(),
        version,
        first,
        last,
    }))
}

/// A list of streams under way, in the order of their names' bytes.
pub struct Listing {
    prefix: String,
    /// The last name that was looked at.
    after: Option<String>,
    left: i64,
    view: View,
    partition: String,
}

impl Listing {
    /// Starts to list the streams whose names begin with `prefix` and follow `after`: those that are
    /// settled by now, in the state that is settled by now.
    ///
    /// # Errors
    /// As [`Reading::start`].
    pub fn start(
        prefix: Option<&str>,
        after: Option<&str>,
        max_count: Option<i64>,
        partition: Option<&str>,
    ) -> Result<Self> {
        let options = Options {
            max_count: max_count.unwrap_or(i64::MAX),
            ..Options::default()
        };
        let left = options.max_count;
        let partition = catalog::store()?.partition(partition, Access::Read)?;
        Ok(Self {
            prefix: prefix.unwrap_or_default().to_owned(),
            after: after.map(str::to_owned),
            left,
            view: Reading::start(None, options, Some(&partition.name))?.view(),
            partition: partition.name.clone(),
        })
    }

    /// All streams of the session's partition as they stand, without waiting for anybody.
    ///
    /// # Errors
    /// 42501, 42704; 55P03 where somebody else keeps its table locked.
    pub fn now() -> Result<Self> {
        let store = catalog::store()?;
        let partition = catalog::effective_name(None)?;
        demand_unlocked(store.demand(&partition, Access::Read)?)?;
        nowait(|| {
            // What this locks stays locked for the rest.
            store
                .partition(Some(&partition), Access::Read)?
                .open_to_list()?;
            Ok(Self {
                prefix: String::new(),
                after: None,
                left: i64::MAX,
                view: View::now(&partition)?,
                partition: partition.clone(),
            })
        })
    }

    /// Names from where the listing is, at most so many, with whether more may follow.
    fn names(&mut self, table: &Opened, at_most: usize) -> Result<(Vec<String>, bool)> {
        let mut names = Vec::new();
        let mut more = true;
        let from = match &self.after {
            Some(after) if *after >= self.prefix => From::Beyond(after),
            _ => From::At(&self.prefix),
        };
        lookup::streams(table, from, |name| {
            more = name.starts_with(&self.prefix);
            if more {
                names.push(name.to_owned());
            }
            Ok(more && names.len() < at_most)
        })?;
        self.after = names.last().cloned().or(self.after.take());
        more &= names.len() == at_most;
        Ok((names, more))
    }
}

impl Source for Listing {
    type Item = StreamInfo;

    fn fill(&mut self, at_most: usize, sink: &mut Sink<StreamInfo>) -> Result<bool> {
        let store = catalog::store()?;
        let partition = store.partition(Some(&self.partition), Access::Read)?;
        let table = partition.open_to_list()?;
        let mut given = 0;
        while given < at_most && self.left > 0 {
            let wanted = usize::try_from(self.left).unwrap_or(usize::MAX);
            let room = NAMES_AT_ONCE.min(at_most - given).min(wanted);
            let (names, more) = self.names(&table, room)?;
            for name in &names {
                if let Some(info) = about(&table, name, self.view)? {
                    sink(&info)?;
                    self.left -= 1;
                    given += 1;
                }
            }
            if !more {
                return Ok(false);
            }
        }
        Ok(self.left > 0)
    }
}
