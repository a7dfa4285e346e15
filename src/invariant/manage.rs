//! Disabling, enabling and dropping invariants, and resetting those of a partition that is emptied.

use crate::dcb::error::{Result, required};
use crate::store::log::catalog::{self, partition_to_administer};
use crate::store::log::partition::exclude_appends;
use crate::store::pg::fmgr;
use crate::store::pg::spi::{Type, text};
use crate::store::{Datum, Oid};

use super::definition::{Invariant, by_name, run};
use super::history;

/// Locks an invariant that the caller may administer until the end of the transaction, and excludes appends to its partition.
/// Returns also the table of the partition.
pub(super) fn to_administer(name: Option<&str>, function: &str) -> Result<(Invariant, Oid)> {
    catalog::demand_writable(function)?;
    let found = by_name(name, false)?;
    let partition = partition_to_administer(Some(&found.partition))?;
    exclude_appends(&partition)?;
    Ok((by_name(name, true)?, partition.oid))
}

/// Drops an invariant.
///
/// # Errors
/// 42501, 42704.
pub fn remove(name: Option<&str>) -> Result<()> {
    let (invariant, _) = to_administer(name, "en57_drop_invariant()")?;
    forget_states(&invariant)?;
    let sql = "DELETE FROM en57.invariants WHERE name = $1";
    run(sql, &[text(&invariant.name)]).map(drop)
}

/// Disables an invariant: appends are not checked until it is enabled again.
///
/// # Errors
/// 42501, 42704.
pub fn disable(name: Option<&str>) -> Result<()> {
    let (invariant, _) = to_administer(name, "en57_disable_invariant()")?;
    set_enabled(&invariant, false)
}

/// Enables an invariant: appends are checked again. Its stored states are deleted.
///
/// # Errors
/// 42501, 42704; N5703 where stored events break it; those of its functions.
pub fn enable(name: Option<&str>, validate: Option<bool>) -> Result<()> {
    let (invariant, table) = to_administer(name, "en57_enable_invariant()")?;
    let validate = required(validate, "validate")?;
    forget_states(&invariant)?;
    set_enabled(&invariant, true)?;
    if validate {
        history::demand(&invariant, table)?;
    }
    Ok(())
}

/// Lets appends be checked by an invariant, or not.
pub(super) fn set_enabled(invariant: &Invariant, enabled: bool) -> Result<()> {
    let sql = if enabled {
        "UPDATE en57.invariants SET is_enabled = true WHERE name = $1 AND NOT is_enabled"
    } else {
        "UPDATE en57.invariants SET is_enabled = false WHERE name = $1 AND is_enabled"
    };
    run(sql, &[text(&invariant.name)]).map(drop)
}

/// Forgets the states of an invariant.
pub(super) fn forget_states(invariant: &Invariant) -> Result<()> {
    let number = (Type::Bigint, Some(Datum::from(invariant.number)));
    let sql = "DELETE FROM en57.invariant_states WHERE invariant = $1";
    run(sql, &[number]).map(drop)
}

/// Deletes the states of a partition's invariants, because the events are deleted of which they were made.
///
/// # Errors
/// 55000 where the table is missing.
pub fn begin_anew(partition: &str) -> Result<()> {
    let sql = "DELETE FROM en57.invariant_states WHERE invariant IN
                   (SELECT number FROM en57.invariants WHERE partition = $1)";
    run(sql, &[text(partition)]).map(drop)
}

/// The names of a partition's invariants.
///
/// # Errors
/// 55000 where the table is missing.
pub fn names_of(partition: &str) -> Result<Vec<String>> {
    let sql = "SELECT name FROM en57.invariants WHERE partition = $1 ORDER BY number";
    let rows = run(sql, &[text(partition)])?;
    let names = rows.iter().map(|row| row[0].map_or(Ok(""), fmgr::text));
    names.map(|name| name.map(str::to_owned)).collect()
}
