//! Many appends in one call: what a request is, and the locks of all of them.

use crate::dcb;
use crate::dcb::error::{Error, Result, SqlState, invalid, nearest, shown};
use crate::dcb::limits;
use crate::dcb::query::Query;
use crate::read::stream::Target;
use crate::store::lock::plan::Plan;
use crate::store::log::catalog;
use crate::store::log::partition::{Access, Partition};
use crate::store::pg::json::{self, Jsonb, Value};
use crate::store::row::event::NewEvent;

use super::demands::Demands;
use super::lock::{in_stored_names, plan_condition, plan_events};
use super::several::{self, Done};
use super::{AppendRequest, parse, send_to};

/// The keys of a request in the JSON of many appends.
const KEYS: [&str; 4] = ["events", "fail_if", "stream", "expected_version"];

/// One append of many.
pub struct Request<'a> {
    /// At least one.
    pub events: Vec<NewEvent<'a>>,
    /// The condition.
    pub fail_if: Option<Query>,
}

/// Reads an array of requests. One that is not valid is told as such: it is no reason to refuse the others.
///
/// # Errors
/// 22023 if it is no array, 54000 if it has too many elements.
pub fn requests(document: Jsonb<'_>) -> Result<Vec<Done<Request<'_>>>> {
    let elements = elements_of(document, "requests", "request")?;
    several::each(elements.len(), |n| request(elements[n]))
}

/// The elements of an array, all of which must be objects.
///
/// # Errors
/// 22023 if they are not, 54000 if there are too many.
pub fn elements_of<'a>(document: Jsonb<'a>, what: &str, one: &str) -> Result<Vec<Jsonb<'a>>> {
    if !document.is_array() {
        return Err(invalid(format!("{what} must be a JSON array of objects")));
    }
    if document.count() > limits::REQUESTS_PER_CALL {
        let message = format!("a call has at most {} {what}", limits::REQUESTS_PER_CALL);
        return Err(Error::new(SqlState::LimitExceeded, message));
    }
    let elements = document
        .elements()
        .enumerate()
        .map(|(i, element)| match element? {
            Value::Container(object) if object.is_object() => Ok(object),
            other => Err(invalid(format!(
                "{one} {}: must be an object, not {}",
                i + 1,
                other.kind()
            ))),
        });
    elements.collect()
}

fn request(object: Jsonb<'_>) -> Result<Request<'_>> {
    let (mut events, mut fail_if) = (None, None);
    let (mut stream, mut expected) = (None, None);
    for pair in object.pairs() {
        match pair? {
            (key, Value::Null) if KEYS.contains(&key) => {}
            ("events", Value::Container(document)) => events = Some(parse::events(document)?),
            ("events", other) => {
                return Err(invalid(format!(
                    "\"events\" must be a JSON object or an array of objects, not {}",
                    other.kind()
                )));
            }
            ("fail_if", value) => fail_if = Some(query(value)?),
            ("stream", value) => stream = Some(string(value, "stream")?),
            ("expected_version", value) => expected = Some(integer(value, "expected_version")?),
            (key, _) => return Err(unknown_key(key, &KEYS)),
        }
    }
    let Some(mut events) = events else {
        return Err(invalid("key \"events\" is missing"));
    };
    send_to(&mut events, Target::new(stream, expected)?)?;
    Ok(Request { events, fail_if })
}

fn query(value: Value) -> Result<Query> {
    let query = dcb::parse::query(json::text(value.to_datum())?)?;
    query.check_limits()?;
    Ok(query)
}

/// A string.
///
/// # Errors
/// 22023 where it is none.
pub fn string<'a>(value: Value<'a>, key: &str) -> Result<&'a str> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(invalid(format!(
            "\"{key}\" must be a string, not {}",
            other.kind()
        ))),
    }
}

/// An integer.
///
/// # Errors
/// 22023 where it is none.
pub fn integer(value: Value, key: &str) -> Result<i64> {
    match value {
        Value::Number(_) => value
            .as_i64()
            .ok_or_else(|| invalid(format!("\"{key}\" must be an integer"))),
        other => Err(invalid(format!(
            "\"{key}\" must be a number, not {}",
            other.kind()
        ))),
    }
}

/// A uuid.
///
/// # Errors
/// 22023 where it is no string, 22P02 where it is no uuid.
pub fn uuid(value: Value, key: &str) -> Result<[u8; 16]> {
    let text = string(value, key)?;
    uuid::Uuid::parse_str(text)
        .map(uuid::Uuid::into_bytes)
        .map_err(|_| {
            let message = format!("\"{key}\" is not a uuid: \"{}\"", shown(text));
            Error::new(SqlState::InvalidText, message)
        })
}

/// The error that a request has a key that is not known.
pub fn unknown_key(key: &str, known: &[&str]) -> Error {
    let error = invalid(format!("unknown key \"{}\"", shown(key)));
    match nearest(key, known) {
        Some(near) => error.hint(format!("Did you mean \"{near}\"?")),
        None => error.hint(format!("Known keys are {}.", known.join(", "))),
    }
}

/// Takes the locks of appends that follow in this transaction, all at once, so that they are taken in one order: two calls
/// with the same requests in another order do not wait for each other. The appends look again at what they need.
///
/// # Errors
/// 42501, 42704 as the partition demands.
pub fn lock_together(requests: &[AppendRequest], partition: Option<&str>) -> Result<()> {
    catalog::demand_writable("en57_append_many()")?;
    let store = catalog::store()?;
    let access = match requests.iter().any(AppendRequest::is_conditional) {
        true => Access::AppendIf,
        false => Access::Append,
    };
    let partition = store.partition(partition, access)?;
    // A request for which a function fails here fails again when it is its turn, and is told then.
    let plans = several::each(requests.len(), |n| plan_of(&requests[n], &partition))?;
    let mut plan = Plan::default();
    for one in plans.into_iter().flatten() {
        plan.join(one);
    }
    plan.acquire(partition.oid)
}

fn plan_of(request: &AppendRequest, partition: &Partition) -> Result<Plan> {
    let mut plan = Plan::default();
    let event = |n: usize| &request.events[n];
    let demands = Demands::new(&partition.name, request.events, &event)?;
    let streams = request.events.iter().filter_map(|e| e.stream);
    let keys = request.events.iter().flat_map(NewEvent::keys);
    plan_events(&mut plan, keys, streams, request.events);
    let fail_if = in_stored_names(request.fail_if, &demands.upcasters);
    let lists_streams = request.fail_if.iter().any(Query::lists_streams);
    let table = partition.open_to_append(lists_streams)?;
    plan_condition(&mut plan, partition, &table, &fail_if)?;
    demands.plan(&mut plan);
    Ok(plan)
}
