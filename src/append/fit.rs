//! Whether events fit: they must not be too large, their versions must be known, and their types' schemas must accept
//! them.

use crate::dcb::error::{Error, Result, SqlState, invalid};
use crate::dcb::query::JsonString;
use crate::store::pg::settings;
use crate::store::row::event::NewEvent;
use crate::{event_type, upcast};

/// Refuses events that are larger than `en57.max_event_size`, whose version is unknown, or, if `types` says so, that do
/// not fit their types.
///
/// # Errors
/// 54000, 22023, N5704.
pub fn demand<'e>(
    events: impl Iterator<Item = &'e NewEvent<'e>> + Clone,
    types: bool,
) -> Result<()> {
    for (i, event) in events.clone().enumerate() {
        demand_size(event, i + 1)?;
    }
    demand_versions(events.clone())?;
    if types {
        event_type::check(events)
    } else {
        Ok(())
    }
}

/// Refuses the n-th event, from 1, if it is larger than `en57.max_event_size`.
///
/// # Errors
/// 54000.
pub fn demand_size(event: &NewEvent, n: usize) -> Result<()> {
    let limit_kb = settings::max_event_size_kb();
    let bytes = event.bytes();
    if bytes <= limit_kb * 1024 {
        return Ok(());
    }
    let message = format!("event {n}: is larger than en57.max_event_size");
    Err(Error::new(SqlState::LimitExceeded, message)
        .detail(format!(
            "It has {bytes} bytes in PostgreSQL's binary form, the limit is {limit_kb} kB."
        ))
        .hint(
            "Keep large contents elsewhere and let the event name them, or raise en57.max_event_size.",
        ))
}

/// Refuses events whose version [`newest`] could not find.
///
/// # Errors
/// 22023.
pub fn demand_versions<'e>(events: impl Iterator<Item = &'e NewEvent<'e>>) -> Result<()> {
    let mut events = events.enumerate();
    let Some((i, event)) = events.find(|(_, e)| e.schema_version == NewEvent::UNTOLD) else {
        return Ok(());
    };
    let name = JsonString(event.event_type);
    Err(invalid(format!("event {}: key \"schema_version\" is missing", i + 1))
        .detail(format!(
            "Upcasters take events of type {name} at some versions, but none leads to it, and it is not registered."
        ))
        .hint("Name the version, or append events of the type that they become."))
}

/// The version of an event whose client names none, because he only knows the newest one. It is the newest version that
/// is registered, or that upcasters lead to. It is 1 if nothing is known of the type, and [`NewEvent::UNTOLD`] if
/// upcasters take the type, but none leads to it, and it is not registered.
///
/// # Errors
/// 55000 if a table of definitions is missing.
pub fn newest(name: &str) -> Result<i32> {
    let (upcasters, types) = (upcast::known()?, event_type::known()?);
    if upcasters.is_empty() && types.is_empty() {
        return Ok(1);
    }
    let current = upcasters.chains().current(name, types.newest(name));
    Ok(current.unwrap_or(NewEvent::UNTOLD))
}
