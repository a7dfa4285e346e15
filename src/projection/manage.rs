//! Pausing, resuming and dropping projections, and resetting those of a partition that is emptied.

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::Datum;
use crate::store::log::catalog::{self, partition_to_administer};
use crate::store::log::partition::exclude_appends;
use crate::store::log::position::Counter;
use crate::store::pg::spi::{self, Type, text};
use crate::store::pg::{fmgr, names, rights};
use crate::store::session::definitions::as_extension_owner;

use super::definition::{Projection, Work, by_name, locked};
use super::status::Status;
use super::{rebuild, reset, run};

/// A projection that the caller may administer, locked until the end of the transaction. Appends to the partition of an
/// inline projection are excluded.
pub(super) fn to_administer(name: Option<&str>, function: &str) -> Result<Projection> {
    lock_to_administer(name, function, false)
}

/// Locks a projection that the caller may administer until the end of the transaction. Excludes appends to its partition
/// if it is inline, or if `becomes_inline` says that it is going to be.
///
/// The row is read twice: the root of the partition is locked before the row, and only the row names the partition.
pub(super) fn lock_to_administer(
    name: Option<&str>,
    function: &str,
    becomes_inline: bool,
) -> Result<Projection> {
    catalog::demand_writable(function)?;
    let found = by_name(name, false)?;
    let partition = partition_to_administer(Some(&found.partition))?;
    if found.is_inline || becomes_inline {
        exclude_appends(&partition)?;
    }
    locked(&found)
}

/// The last position that has been allotted.
pub(super) fn last_position() -> Result<i64> {
    Ok(Counter::of(catalog::store()?)?.next() - 1)
}

/// Lets an inline projection handle the events that it has missed, then sets it to running. The caller has excluded
/// appends to its partition.
pub(super) fn activate(name: &str) -> Result<()> {
    let projection = by_name(Some(name), true)?;
    let mut position = projection.position;
    loop {
        let last = last_position()?;
        if last <= position {
            break;
        }
        projection.handle_range(position, last, &|_| None)?;
        position = last;
    }
    set(name, Status::Running, position)
}

/// The names of a partition's projections.
///
/// # Errors
/// 55000 where the table is missing.
pub fn names_of(partition: &str) -> Result<Vec<String>> {
    let rows = as_extension_owner(|| {
        spi::run(
            "SELECT name FROM en57.projections WHERE partition = $1 ORDER BY number",
            &[text(partition)],
        )
    })?;
    let name = |row: &spi::Values| row[0].map_or(Ok(""), fmgr::text).map(str::to_owned);
    rows.iter().map(name).collect()
}

/// Resets the projections of a partition that is being emptied: they begin anew, without documents and dead letters. What
/// a handler has written stays, unless the projection has a truncate function.
///
/// # Errors
/// PostgreSQL's own where documents cannot be deleted.
pub fn begin_anew(partition: &str) -> Result<()> {
    for name in names_of(partition)? {
        let projection = by_name(Some(&name), true)?;
        // If somebody has dropped the table by hand, there are no documents to delete.
        match &projection.work {
            Work::Documents(documents) if rights::owner_of(documents.table).is_none() => {}
            _ => drop(reset::empty(&projection)?),
        }
        reset::forget(&projection, 0)?;
        set(&name, projection.status.after_restart(), 0)?;
        rebuild::restarted(&name, 0)?;
    }
    Ok(())
}

/// Sets the status and the position of a projection, and forgets its last error.
pub(super) fn set(name: &str, status: Status, position: i64) -> Result<()> {
    let parameters = [
        text(name),
        status.parameter(),
        (Type::Bigint, Some(Datum::from(position))),
    ];
    as_extension_owner(|| {
        spi::run(
            "UPDATE en57.projections SET status = $2, position = $3, failed_position = NULL,
                 last_error = NULL, updated_at = clock_timestamp() WHERE name = $1",
            &parameters,
        )
        .map(drop)
    })
}

/// Stops a projection: it handles nothing until it is resumed.
///
/// # Errors
/// 42501, 42704.
pub fn pause(name: Option<&str>) -> Result<()> {
    let projection = to_administer(name, "en57_pause()")?;
    if projection.status == Status::Paused {
        return Ok(());
    }
    let position = if projection.is_inline {
        last_position()?
    } else {
        projection.position
    };
    set(&projection.name, Status::Paused, position)
}

/// Lets a paused or failed projection go on. An inline projection first handles what it has missed. With `skip`, the
/// event at which it has failed becomes a dead letter.
///
/// # Errors
/// 42501, 42704; those of its functions.
pub fn resume(name: Option<&str>, skip: bool) -> Result<()> {
    let projection = to_administer(name, "en57_resume()")?;
    let mut position = projection.position;
    if skip {
        let Some(failed) = projection.failed_position else {
            return Err(Error::new(
                SqlState::NotInPrerequisiteState,
                format!("projection \"{}\" has no event to skip", projection.name),
            ));
        };
        run::put_aside_failed(&projection.name)?;
        position = failed;
    }
    match projection.status {
        Status::Running => Ok(()),
        Status::Paused | Status::Failed if projection.is_inline => activate(&projection.name),
        Status::Paused | Status::Failed => set(&projection.name, Status::Running, position),
    }
}

/// Drops a projection, and the table of its documents unless it is to be kept.
///
/// # Errors
/// 42501, 42704; PostgreSQL's own where the table cannot be dropped.
pub fn remove(name: Option<&str>, keep_table: bool) -> Result<()> {
    let projection = to_administer(name, "en57_drop_projection()")?;
    let parameter = text(&projection.name);
    rebuild::drop_of(&projection.name)?;
    as_extension_owner(|| {
        spi::run(
            "DELETE FROM en57.projection_dead_letters WHERE projection = $1",
            &[parameter],
        )?;
        spi::run("DELETE FROM en57.projections WHERE name = $1", &[parameter])
    })?;
    if let (Work::Documents(documents), false) = (&projection.work, keep_table)
        && let Some(table) = names::qualified_name(documents.table)
    {
        spi::command(&format!("DROP TABLE {table}"))?;
    }
    Ok(())
}
