//! `en57_append` and `en57_lock`.

use crate::append::{self, Conflicts, Outcome, Request};
use crate::dcb::error::{Error, Result, SqlState};
use crate::sql_function;
use crate::store::fmgr::Args;
use crate::store::tuple::{self, RowType};
use crate::store::{Datum, json};

sql_function!(en57_append, |args: &Args| {
    let Some(document) = args.jsonb(0) else {
        return Err(Error::new(
            SqlState::NullNotAllowed,
            "events must not be NULL",
        ));
    };
    let fail_if = args.query(1)?;
    let raise = on_conflict(args.text(3)?)?;
    let events = append::parse::events(document)?;
    let mut found = Vec::new();
    let mut sink = |row: &_| {
        found.push(tuple::event_json(row)?);
        Ok(())
    };
    let mut conflicts = Conflicts {
        at_most: append::max_conflicts(),
        sink: &mut sink,
    };
    let request = Request {
        events: &events,
        fail_if: fail_if.as_slice(),
        partition: args.text(2)?,
        may_repeat: true,
    };
    let outcome = append::append(&request, &mut conflicts)?;
    found.reverse();
    let conflicts = format!("[{}]", found.join(", "));
    match outcome {
        Outcome::Appended { first, last } => result(args, c"appended", last, Some(first), None),
        Outcome::Repeated { first, last } => result(args, c"repeated", last, Some(first), None),
        Outcome::Conflict { position } if raise => Err(condition_failed(position, &conflicts)),
        Outcome::Conflict { position } => result(
            args,
            c"conflict",
            position,
            None,
            Some(json::parse(&conflicts, "")?),
        ),
    }
});

sql_function!(en57_lock, |args: &Args| {
    let Some(query) = args.query(0)? else {
        return Err(
            Error::new(SqlState::NullNotAllowed, "query must not be NULL")
                .hint("Write {} to lock against every event."),
        );
    };
    Ok(Some(Datum::from(append::lock_query(
        &query,
        args.text(1)?,
    )?)))
});

/// Whether a conflict is to be an error.
fn on_conflict(argument: Option<&str>) -> Result<bool> {
    match argument {
        None | Some("return") => Ok(false),
        Some("raise") => Ok(true),
        Some(_) => Err(Error::new(
            SqlState::InvalidParameter,
            "on_conflict must be 'return' or 'raise'",
        )),
    }
}

fn condition_failed(position: i64, conflicts: &str) -> Error {
    Error::new(SqlState::ConditionFailed, "append condition failed").detail(format!(
        "{{\"outcome\": \"conflict\", \"position\": {position}, \"conflicts\": {conflicts}}}"
    ))
}

fn result(
    args: &Args,
    outcome: &'static std::ffi::CStr,
    position: i64,
    first: Option<i64>,
    conflicts: Option<Datum>,
) -> Result<Option<Datum>> {
    let row_type = RowType::of_result(args)?;
    let label = tuple::enum_label(tuple::column_type(&row_type, 0), outcome);
    let first = first.map(Datum::from);
    let mut columns = [
        Some(label),
        Some(Datum::from(position)),
        first,
        None,
        conflicts,
    ];
    row_type.make(&mut columns).map(Some)
}
