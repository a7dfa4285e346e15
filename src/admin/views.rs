//! What views and the status show of the log: as it stands, without waiting for anybody. What somebody else keeps
//! locked, or the caller may not see, is not shown.

use crate::dcb::error::{Error, Result, SqlState};
use crate::dcb::partition::ALL;
use crate::dcb::query::Query;
use crate::dcb::shard::Shard;
use crate::read::{Options, Reading};
use crate::store::Oid;
use crate::store::log::catalog;
use crate::store::log::partition::{Access, is_row_security_in_force};
use crate::store::pg::nowait::{self, demand_unlocked, nowait};
use crate::store::row::event::Row;
use crate::subscription;

/// Events are counted up to this number for each shard.
pub const COUNTED: i64 = 1000;

/// `None` in place of what the caller may not see, what is not there, and what somebody else keeps locked; also on
/// a standby, where logical replication fills the table, and where that is not what en57 made, which `en57_check` tells.
fn shown<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Error {
            state:
                SqlState::InsufficientPrivilege
                | SqlState::UndefinedObject
                | SqlState::NotSupported
                | SqlState::NotInPrerequisiteState
                | SqlState::ObjectInUse
                | SqlState::LockNotAvailable,
            ..
        }) => Ok(None),
        Err(other) => Err(other),
    }
}

/// Whether the caller may read the events of a partition, and so know what is done with them. Nothing is locked.
///
/// # Errors
/// 55000 where the tables are missing.
pub fn is_readable(partition: &str) -> Result<bool> {
    if partition == ALL {
        let all = catalog::store()?.all()?;
        return Ok(all.iter().any(|(_, table)| is_open(*table)));
    }
    let table = shown(catalog::store()?.demand(partition, Access::Read))?;
    Ok(table.is_some_and(is_open))
}

fn is_open(table: Oid) -> bool {
    Access::Read.is_allowed(table) && !is_row_security_in_force(table)
}

/// Looks at a partition, or all.
fn look<T>(partition: &str, body: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
    shown((|| {
        // At once where the table is locked. An index, or the table of another partition, takes a millisecond.
        if partition != ALL {
            demand_unlocked(catalog::store()?.demand(partition, Access::Read)?)?;
        }
        nowait(body)
    })())
}

/// The frontier of a query as it stands.
///
/// # Errors
/// None that says what `shown` leaves out.
pub fn head(query: Option<Query>, partition: &str) -> Result<Option<i64>> {
    look(partition, || subscription::settled(query, Some(partition)))
}

/// The frontier of a query, and for each shard how many events are behind its position, up to [`COUNTED`].
///
/// With several shards it looks at [`COUNTED`] events for each, whosesoever they are, and then on until every shard
/// has one or there are no more: so 0 is always right, and a number below the limit nearly always.
///
/// # Errors
/// As [`head`].
pub fn pending(
    query: &Query,
    partition: &str,
    positions: &[i64],
) -> Result<Option<(i64, Vec<i64>)>> {
    look(partition, || {
        let head = subscription::settled(Some(query.clone()), Some(partition))?;
        let mut pending = vec![0; positions.len()];
        let after = positions.iter().copied().min().unwrap_or(head);
        if after >= head {
            return Ok((head, pending));
        }
        let shards = Shard::new(0, positions.len() as i32)?;
        let options = Options {
            after,
            ..Options::default()
        };
        let mut reading = Reading::settled(query.clone(), options, Some(partition), head)?;
        let mut left = COUNTED * positions.len() as i64;
        loop {
            let more = reading.fill_rows(COUNTED as usize, &mut |row| {
                let shard = shard_of(row, shards)?;
                if row.position() > positions[shard] && pending[shard] < COUNTED {
                    pending[shard] += 1;
                }
                left -= 1;
                Ok(())
            })?;
            let mut open = pending.iter().zip(positions).filter(|(_, at)| **at < head);
            let is_known = match left > 0 {
                true => open.all(|(n, _)| *n >= COUNTED),
                false => open.all(|(n, _)| *n > 0),
            };
            if !more || is_known {
                return Ok((head, pending));
            }
        }
    })
}

fn shard_of(row: &Row, shards: Shard) -> Result<usize> {
    if shards.is_all() {
        return Ok(0);
    }
    Ok(subscription::key(row)?.shard_of(shards) as usize)
}

/// What a table takes on disk, with its indexes.
///
/// # Errors
/// As [`head`].
pub fn bytes(table: Oid) -> Result<Option<i64>> {
    Ok(shown(nowait::bytes_of(table))?.flatten())
}
