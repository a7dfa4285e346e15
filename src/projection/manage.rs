//! Pausing, resuming and dropping projections, and what partitions ask of theirs.

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::Datum;
use crate::store::log::catalog::{self, partition_to_administer};
use crate::store::log::partition::exclude_appends;
use crate::store::log::position::Counter;
use crate::store::pg::spi::{self, Type};
use crate::store::pg::{fmgr, names, rights};
use crate::store::session::definitions::as_extension_owner;

use super::definition::{Projection, Work, by_name};
use super::{rebuild, reset, run};

/// A projection that the caller may administer, kept from others until the end of the transaction. Where it
/// is inline, no append to its partition is under way.
pub(super) fn to_administer(name: Option<&str>, function: &str) -> Result<Projection> {
    kept_from_others(name, function, false)
}

/// The same of one that may become inline.
pub(super) fn kept_from_others(
    name: Option<&str>,
    function: &str,
    inline: bool,
) -> Result<Projection> {
    catalog::demand_writable(function)?;
    let found = by_name(name, false)?;
    let place = partition_to_administer(Some(&found.partition))?;
    if found.is_inline || inline {
        exclude_appends(&place)?;
    }
    by_name(name, true)
}

/// The last position that has been allotted.
pub(super) fn last_position() -> Result<i64> {
    Ok(Counter::of(catalog::store()?)?.next() - 1)
}

/// Lets an inline projection handle what it has missed, then run. No append to its partition is under way.
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
    set(name, "running", position)
}

/// The names of a partition's projections.
///
/// # Errors
/// 55000 where the table is missing.
pub fn names_of(partition: &str) -> Result<Vec<String>> {
    let partition = Some(fmgr::make_varlena(partition.as_bytes()));
    let rows = as_extension_owner(|| {
        spi::run(
            "SELECT name FROM en57.projections WHERE partition = $1 ORDER BY number",
            &[(Type::Text, partition)],
        )
    })?;
    let name = |row: &spi::Values| row[0].map_or(Ok(""), fmgr::text).map(str::to_owned);
    rows.iter().map(name).collect()
}

/// A partition is being emptied: its projections begin anew, without documents and dead letters. What
/// handlers have written elsewhere is theirs, unless they have a truncate function.
///
/// # Errors
/// PostgreSQL's own where documents cannot be deleted.
pub fn begin_anew(partition: &str) -> Result<()> {
    for name in names_of(partition)? {
        let projection = by_name(Some(&name), true)?;
        // One whose table was dropped by hand has no documents.
        match &projection.work {
            Work::Documents(documents) if rights::owner_of(documents.table).is_none() => {}
            _ => drop(reset::empty(&projection)?),
        }
        reset::forget(&projection, 0)?;
        let paused = projection.status == "paused";
        set(&name, if paused { "paused" } else { "running" }, 0)?;
        rebuild::restarted(&name, 0)?;
    }
    Ok(())
}

pub(super) fn set(name: &str, status: &str, position: i64) -> Result<()> {
    let text = |t: &str| (Type::Text, Some(fmgr::make_varlena(t.as_bytes())));
    let parameters = [
        text(name),
        text(status),
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
    if projection.status == "paused" {
        return Ok(());
    }
    let position = if projection.is_inline {
        last_position()?
    } else {
        projection.position
    };
    set(&projection.name, "paused", position)
}

/// Lets a paused or failed projection go on; an inline one handles what it has missed first.
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
    match projection.status.as_str() {
        "running" => Ok(()),
        _ if projection.is_inline => activate(&projection.name),
        _ => set(&projection.name, "running", position),
    }
}

/// Drops a projection, and the table of its documents unless it is to be kept.
///
/// # Errors
/// 42501, 42704; PostgreSQL's own where the table cannot be dropped.
pub fn remove(name: Option<&str>, keep_table: bool) -> Result<()> {
    let projection = to_administer(name, "en57_drop_projection()")?;
    let parameter = (
        Type::Text,
        Some(fmgr::make_varlena(projection.name.as_bytes())),
    );
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
