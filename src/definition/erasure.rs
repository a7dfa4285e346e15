//! What definitions know of erasures: how many there were, and that something cannot be made without what was erased.

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::pg::spi::{self, text};
use crate::store::pg::subtransaction::Failure;
use crate::store::session::definitions::as_extension_owner;

/// How many erasures there were in a partition.
///
/// # Errors
/// 55000 where the table is missing.
pub fn count(partition: &str) -> Result<usize> {
    let sql = "SELECT count(*) FROM en57.erasures WHERE partition = $1";
    let rows = as_extension_owner(|| spi::run(sql, &[text(partition)]))?;
    let count = rows.first().and_then(|row| row[0]);
    Ok(count.map_or(0, |d| d.value()))
}

/// Something cannot be made without what was to be erased.
///
/// # Errors
/// Always: 55000, or the failure itself where it is none of the events' making.
pub fn cannot_do_without<T>(what: impl Into<String>, failure: Failure) -> Result<T> {
    if failure.is_transient() {
        return failure.raise();
    }
    let mut detail = format!("{}: {}.", failure.state, failure.message);
    if let Some(context) = failure.context.or(failure.detail) {
        detail.push('\n');
        detail.push_str(&context);
    }
    Err(Error::new(SqlState::NotInPrerequisiteState, what)
        .detail(detail)
        .hint("Nothing was erased. Let the function take events whose data and meta are NULL."))
}
