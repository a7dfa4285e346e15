//! The functions that the Ruby gem En57 calls.

use crate::append::{self, AppendRequest, Conflicts, OnRefusal, Outcome, fit, parse};
use crate::dcb::error::{Error, Result, SqlState, invalid};
use crate::dcb::parse as query_parse;
use crate::dcb::query::Query;
use crate::read::{Options, Reading};
use crate::sql_function;
use crate::store::Datum;
use crate::store::pg::composite::{self, RowType};
use crate::store::pg::fmgr::Args;
use crate::store::pg::json::{self, Jsonb, Value};
use crate::store::row::event::NewEvent;
use crate::store::row::{event_json, srf};

sql_function!(en57_gem_append_events, |args: &Args| {
    let row_type = RowType::of_result(args)?;
    let Some(array) = args.datum(0) else {
        return Err(Error::new(
            SqlState::NullNotAllowed,
            "new_events must not be NULL",
        ));
    };
    let events = events(array)?;
    if events.is_empty() {
        return row_type.make(&mut [None, None]).map(Some);
    }
    let criteria = condition(args.datum(1))?;
    let mut conflict = None;
    let mut sink = |row: &_| {
        conflict = Some(event_json::gem_json(row)?);
        Ok(())
    };
    let request = AppendRequest {
        events: &events,
        fail_if: &criteria,
        partition: None,
        may_repeat: false,
        on_refusal: OnRefusal::Raise,
    };
    let outcome = append::append(
        &request,
        &mut Conflicts {
            at_most: 1,
            sink: &mut sink,
        },
    )?;
    let (position, conflicts) = match outcome {
        Outcome::Appended { last, .. } | Outcome::Repeated { last, .. } => (Some(last), None),
        // So calls an older release, which looks at no answer: it would take a conflict for an append.
        // It asks for errors.
        Outcome::Refused(_) => (None, None),
        Outcome::Conflict { .. } if !args.is_in_from() => {
            return Err(
                Error::new(SqlState::RaiseException, "append_condition_violated")
                    .hint("Call the function in FROM to be given the event that is in the way."),
            );
        }
        Outcome::Conflict { position, .. } => (
            position,
            Some(json::parse(
                &format!("[{}]", conflict.unwrap_or_default()),
                "",
            )?),
        ),
    };
    row_type
        .make(&mut [position.map(Datum::from), conflicts])
        .map(Some)
});

sql_function!(en57_gem_read_events, |args: &Args| {
    srf::respond(args, &srf::GEM_EVENTS, || {
        let documents = args
            .datum(0)
            .map_or(Ok(Vec::new()), |d| composite::elements(d, "criterion"))?;
        let criteria = documents
            .into_iter()
            .map(criterion)
            .collect::<Result<Vec<_>>>()?;
        let query = criteria.into_iter().reduce(Query::union);
        let options = Options {
            after: args.i64(2).unwrap_or(0).max(0),
            max_count: args.i32(1).map_or(i64::MAX, i64::from),
            ..Options::default()
        };
        Reading::start(query, options, None)
    })
});

/// The gem's criterion; every event is `after` a number below 0.
fn criterion(document: Datum) -> Result<Query> {
    query_parse::gem_criterion(json::text(document)?)
}

/// The criteria of `{"fail_if_events_match": [criterion, ..]}`, in their order.
fn condition(document: Option<Datum>) -> Result<Vec<Query>> {
    let Some(document) = document.map(Jsonb::from_datum) else {
        return Ok(Vec::new());
    };
    if !document.is_object() {
        return Err(invalid("append_condition must be a JSON object"));
    }
    for pair in document.pairs() {
        if pair?.0 != "fail_if_events_match" {
            return Err(invalid("append_condition has an unknown key")
                .hint("The one key is \"fail_if_events_match\"."));
        }
    }
    let list = match document.get("fail_if_events_match")? {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Container(list)) if list.is_array() => list,
        Some(_) => {
            return Err(invalid(
                "\"fail_if_events_match\" must be an array of criteria",
            ));
        }
    };
    list.elements().map(|c| criterion(c?.to_datum())).collect()
}

/// `en57.event[]`: id, type, data, meta, tags.
fn events<'a>(array: Datum) -> Result<Vec<NewEvent<'a>>> {
    let ambient = parse::ambient_meta()?;
    let composites = composite::elements(array, "event")?;
    let mut events = Vec::with_capacity(composites.len());
    for (i, composite) in composites.into_iter().enumerate() {
        let columns = composite::columns(composite)?;
        let mut event = parse::from_columns(columns, i + 1, ambient)?;
        event.schema_version = fit::newest(event.event_type)?;
        events.push(event);
    }
    // The gem knows this as what its own tables' key would say.
    parse::refuse_repeated_ids(events.iter()).map_err(|mut error| {
        error.state = SqlState::UniqueViolation;
        error
    })?;
    Ok(events)
}
