//! Erasing: the rows of events lose what they say. The executor writes the new versions, so that whatever a DBA
//! has added to the table holds of them, too.

use pgrx::pg_sys::{Datum, Oid};

use crate::dcb::error::{Error, Result, SqlState};

use super::rights::SAFE_PATH;
use super::spi::{self, Type};
use super::triggers::{self, Doing};
use super::{array, ddl, rights};

/// Events that one statement erases.
const AT_ONCE: usize = 10_000;

/// What stays of meta: the ids by which events are found, as texts.
const LEFT_OF_META: &str = "nullif(jsonb_strip_nulls(jsonb_build_object(
    'correlation_id', CASE jsonb_typeof(meta->'correlation_id') WHEN 'string' THEN meta->'correlation_id' END,
    'causation_id', CASE jsonb_typeof(meta->'causation_id') WHEN 'string' THEN meta->'causation_id' END)), '{}')";

/// Lets the events at these positions have neither data nor meta, and returns the positions of those that had.
/// The caller keeps everybody from appending, and others from erasing.
///
/// # Errors
/// 55000 where a rule or a trigger has kept an event from being erased; PostgreSQL's own, by unwinding.
pub fn erase(table: Oid, positions: &[i64]) -> Result<Vec<i64>> {
    let owner = rights::owner_of(table).unwrap_or(rights::current_role());
    let name = ddl::in_schema(table);
    let of = format!(
        "position = ANY ($1) AND (data IS NOT NULL OR meta IS DISTINCT FROM {LEFT_OF_META})"
    );
    let update = format!(
        "UPDATE ONLY {name} SET data = NULL, meta = {LEFT_OF_META} WHERE {of} RETURNING position"
    );
    let left = format!("SELECT position FROM ONLY {name} WHERE {of} ORDER BY 1 LIMIT 1");
    let mut erased = Vec::new();
    for positions in positions.chunks(AT_ONCE) {
        pgrx::check_for_interrupts!();
        let parameters = [(Type::Bigints, Some(array::make_bigints(positions)))];
        let run = |sql: &str| {
            rights::as_role(owner, || {
                rights::with_path(SAFE_PATH, || spi::run(sql, &parameters))
            })
        };
        let rows = triggers::letting(Doing::Erase, table, || run(&update))?;
        erased.extend(rows.iter().filter_map(|row| row[0]).map(position));
        if let Some(position) = run(&left)?.first().and_then(|row| row[0]).map(position) {
            return Err(Error::new(
                SqlState::NotInPrerequisiteState,
                format!("the event at position {position} could not be erased"),
            )
            .hint(format!(
                "Has {name} a rule, a trigger or row-level security of your own?"
            )));
        }
    }
    erased.sort_unstable();
    Ok(erased)
}

fn position(value: Datum) -> i64 {
    value.value() as i64
}
