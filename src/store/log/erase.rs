//! Erasing: the rows of events lose what they say. The executor writes the new versions, so that whatever a DBA
//! has added to the table holds of them, too.

use pgrx::pg_sys::{self, Datum, Oid};

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::pg::array;
use crate::store::pg::rights::{self, SAFE_PATH};
use crate::store::pg::spi::{self, Type};
use crate::store::row::table::Opened;
use crate::store::row::trigger::Firing;

use super::ddl;
use super::triggers::{self, Doing};

/// Events that one statement erases.
const AT_ONCE: usize = 10_000;

/// What stays of meta: the ids by which events are found, as texts.
const LEFT_OF_META: &str = "nullif(jsonb_strip_nulls(jsonb_build_object(
    'correlation_id', CASE jsonb_typeof(meta->'correlation_id') WHEN 'string' THEN meta->'correlation_id' END,
    'causation_id', CASE jsonb_typeof(meta->'causation_id') WHEN 'string' THEN meta->'causation_id' END)), '{}')";

/// Lets the events at these positions have neither data nor meta. The caller keeps everybody from appending, and
/// others from erasing.
///
/// # Errors
/// 0A000 where a trigger of somebody's would fire; 55000 where row-level security has kept an event from being erased;
/// PostgreSQL's own, by unwinding.
pub fn erase(table: Oid, positions: &[i64]) -> Result<()> {
    Opened::table(table, pg_sys::RowExclusiveLock).refuse_triggers(Firing::Update)?;
    let owner = rights::owner_of(table).unwrap_or(rights::current_role());
    let name = ddl::in_schema(table);
    let update = format!(
        "UPDATE ONLY {name} SET data = NULL, meta = {LEFT_OF_META} WHERE position = ANY ($1) RETURNING position"
    );
    let mut erased = Vec::new();
    for positions in positions.chunks(AT_ONCE) {
        pgrx::check_for_interrupts!();
        let parameters = [(Type::Bigints, Some(array::make_bigints(positions)))];
        let run = || rights::with_path(SAFE_PATH, || spi::run(&update, &parameters));
        let rows = triggers::letting(Doing::Erase, table, || {
            rights::as_role_restricted(owner, run)
        })?;
        erased.extend(rows.iter().filter_map(|row| row[0]).map(position));
    }
    erased.sort_unstable();
    // Row-level security may have left some out.
    let left = positions.iter().find(|p| erased.binary_search(p).is_err());
    if let Some(position) = left {
        return Err(Error::new(
            SqlState::NotInPrerequisiteState,
            format!("the event at position {position} could not be erased"),
        )
        .hint(format!("Has {name} row-level security of your own?")));
    }
    Ok(())
}

fn position(value: Datum) -> i64 {
    value.value() as i64
}
