//! How large an event may be.

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::event::NewEvent;
use crate::store::settings;

/// Refuses events that are larger than `en57.max_event_size`.
///
/// # Errors
/// 54000.
pub fn demand<'e>(events: impl Iterator<Item = &'e NewEvent<'e>>) -> Result<()> {
    let limit_kb = settings::max_event_size_kb();
    for (i, event) in events.enumerate() {
        let bytes = event.bytes();
        if bytes > limit_kb * 1024 {
            let message = format!("event {}: is larger than en57.max_event_size", i + 1);
            return Err(Error::new(SqlState::LimitExceeded, message)
                .detail(format!(
                    "It has {bytes} bytes in PostgreSQL's binary form, the limit is {limit_kb} kB."
                ))
                .hint("Keep large contents elsewhere and let the event name them, or raise en57.max_event_size."));
        }
    }
    Ok(())
}
