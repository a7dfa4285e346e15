//! `en57_import` and what the SQL of the other imports calls.

use crate::append::import::{self, Import, Recorded};
use crate::dcb::error::{Error, Result, SqlState};
use crate::sql_function;
use crate::store::Datum;
use crate::store::pg::fmgr::Args;

sql_function!(en57_import, |args: &Args| {
    let Some(document) = args.jsonb(0) else {
        return Err(missing());
    };
    run(args, import::from_json(document)?)
});

sql_function!(en57_import_rows, |args: &Args| {
    let Some(array) = args.datum(0) else {
        return Err(missing());
    };
    let (keep_positions, check_types) = flags(args);
    let stored = import::import_rows(array, args.text(1)?, keep_positions, check_types)?;
    Ok(Some(Datum::from(stored)))
});

/// `keep_positions` and `check_types`.
fn flags(args: &Args) -> (bool, bool) {
    (args.bool(2).unwrap_or(false), args.bool(3).unwrap_or(true))
}

fn run(args: &Args, events: Vec<Recorded>) -> Result<Option<Datum>> {
    let (keep_positions, check_types) = flags(args);
    let stored = import::import(&Import {
        events,
        partition: args.text(1)?,
        keep_positions,
        check_types,
    })?;
    Ok(Some(Datum::from(stored)))
}

fn missing() -> Error {
    Error::new(SqlState::NullNotAllowed, "events must not be NULL")
}
