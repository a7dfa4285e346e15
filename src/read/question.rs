//! Questions with one answer: how many events match, which is the last one, where one of an id is.

use crate::dcb::error::Result;
use crate::dcb::query::Query;
use crate::store::index::entry::Direction;
use crate::store::index::fetch::Fetcher;
use crate::store::index::lookup;
use crate::store::log::catalog;
use crate::store::log::partition::Access;
use crate::store::memory::stat::{self, Counted};
use crate::store::row::door::Event;
use crate::store::row::event::Row;
use crate::upcast::{self, Sought, Upcasters};

use super::partitions::Partitions;
use super::{Options, Reading, frontier};

/// How many events match.
///
/// # Errors
/// As [`Reading`].
pub fn count(query: Option<Query>, partition: Option<&str>) -> Result<i64> {
    let mut n = 0;
    Reading::start(query, Options::default(), partition)?.each_row(|_| {
        n += 1;
        Ok(())
    })?;
    Ok(n)
}

/// The newest event alone.
fn newest(query: Option<Query>, partition: Option<&str>) -> Result<Reading> {
    let options = Options {
        max_count: 1,
        direction: Direction::Backward,
        ..Options::default()
    };
    Reading::start(query, options, partition)
}

/// Hands the newest event that matches to `sink`.
///
/// # Errors
/// As [`Reading`].
pub fn last(
    query: Option<Query>,
    partition: Option<&str>,
    sink: impl FnMut(&Event) -> Result<()>,
) -> Result<()> {
    newest(query, partition)?.each(sink)
}

/// Whether any event matches.
///
/// # Errors
/// As [`Reading`].
pub fn exists(query: Option<Query>, partition: Option<&str>) -> Result<bool> {
    let mut found = false;
    newest(query, partition)?.each_row(|_| {
        found = true;
        Ok(())
    })?;
    Ok(found)
}

/// Hands the event with an id to `sink`, if it is there and settled, or the transaction's own.
///
/// # Errors
/// As [`Reading`].
pub fn by_id(
    id: &[u8; 16],
    partition: Option<&str>,
    mut sink: impl FnMut(&Event) -> Result<()>,
) -> Result<()> {
    row_by_id(id, partition, |row| {
        let definitions = upcast::for_readers()?;
        let upcasters = Upcasters::new(&definitions);
        sink(&*row.read(&upcasters)?)
    })
}

/// Finds the event of an id without upcasting: for what needs the row, and does not hand it out.
///
/// # Errors
/// As [`Reading`].
pub fn row_by_id(
    id: &[u8; 16],
    partition: Option<&str>,
    mut sink: impl FnMut(&Row) -> Result<()>,
) -> Result<()> {
    let table = catalog::store()?
        .partition(partition, Access::Read)?
        .open_to_read();
    stat::count(Counted::Reads, 1);
    if let Some(entry) = lookup::find_id(&table, id)? {
        let mut fetcher = Fetcher::new(&table);
        if fetcher.fetch(entry, false) {
            sink(&fetcher.row)?;
            stat::count(Counted::EventsRead, 1);
        }
    }
    Ok(())
}

/// Whether any event of a partition matches in a range of settled positions, whoever may read it.
///
/// # Errors
/// 42704.
pub fn is_anything_in(query: Query, partition: &str, after: i64, upto: i64) -> Result<bool> {
    let mut found = false;
    if after < upto {
        Reading::of_settled(query, partition, after, upto)?.fill_rows(1, &mut |_| {
            found = true;
            Ok(())
        })?;
    }
    Ok(found)
}

/// The query's frontier: the position to use as `after`.
///
/// # Errors
/// As [`frontier`].
pub fn head(query: Option<Query>, partition: Option<&str>) -> Result<i64> {
    let store = catalog::store()?;
    let mut partitions = Partitions::find(store, partition, Access::Watch)?;
    let sought = Sought::now(query.unwrap_or_else(Query::everything))?;
    frontier::of(store, &mut partitions, &sought)
}
