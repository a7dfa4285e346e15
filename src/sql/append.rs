//! `en57_append` and `en57_lock`.

use std::ffi::CStr;

use crate::append::{
    self, AppendRequest, Cause, ConflictReport, Conflicts, OnRefusal, Outcome, parse,
};
use crate::dcb::error::{Error, Result, SqlState, invalid, required};
use crate::dcb::query::JsonString;
use crate::dcb::refusal::{self, Refusal};
use crate::read::stream::Target;
use crate::sql_function;
use crate::store::Datum;
use crate::store::log::catalog;
use crate::store::log::partition::Access;
use crate::store::pg::composite::{self, RowType};
use crate::store::pg::fmgr::{self, Args};
use crate::store::pg::{array, json, names};
use crate::store::row::event::NewEvent;
use crate::store::row::srf;

sql_function!(en57_append, |args: &Args| {
    let Some(document) = args.jsonb(0) else {
        return Err(Error::new(
            SqlState::NullNotAllowed,
            "events must not be NULL",
        ));
    };
    let fail_if = args.query(1)?;
    let target = Target::new(args.text(2)?, args.i64(3))?;
    let raise = on_conflict(args.text(5)?)?;
    let mut events = parse::events(document)?;
    append::send_to(&mut events, target)?;
    let mut told = ConflictReport::new(raise);
    let mut sink = |row: &_| told.add(row);
    let mut conflicts = Conflicts {
        at_most: append::max_conflicts(),
        sink: &mut sink,
    };
    let request = AppendRequest {
        events: &events,
        fail_if: fail_if.as_slice(),
        partition: args.text(4)?,
        may_repeat: true,
        on_refusal: OnRefusal::said(args.text(6)?)?,
    };
    let outcome = append::append(&request, &mut conflicts)?;
    let answer = Answer::new(outcome, told.into_json());
    match answer.cause {
        Some(cause) if raise => Err(answer.as_error(cause, &events, args.text(4)?)?),
        _ => answer.as_row(args),
    }
});

sql_function!(en57_validate, |args: &Args| {
    let document = required(args.jsonb(0), "events")?;
    let target = Target::new(args.text(1)?, None)?;
    let partition = args.text(2)?;
    srf::respond_at_once(args, |put: srf::Put<4>| {
        for refusal in append::validate(document, target, partition)? {
            let text = |t: &str| Some(fmgr::make_varlena(t.as_bytes()));
            put([
                refusal.event.map(|n| Datum::from(n as i32 + 1)),
                text(&refusal.source),
                refusal.path.as_deref().and_then(text),
                text(&refusal.problem),
            ])?;
        }
        Ok(())
    })
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
pub(super) fn on_conflict(argument: Option<&str>) -> Result<bool> {
    match argument {
        None | Some("return") => Ok(false),
        Some("raise") => Ok(true),
        Some(_) => Err(invalid("on_conflict must be 'return' or 'raise'")),
    }
}

/// What is wrong with the stream of an event, the first one there.
fn wrong_version(event: &NewEvent, answer: &Answer) -> String {
    let expected = match event.expected_version {
        Some(-1) => "to exist".to_owned(),
        version => version.unwrap_or_default().to_string(),
    };
    format!(
        "wrong version of stream {}: expected {expected}, actual {}",
        JsonString(event.stream.unwrap_or_default()),
        answer.version.unwrap_or_default(),
    )
}

/// The columns of `en57_append_result`.
pub(super) struct Answer {
    outcome: &'static CStr,
    /// Of a conflict: which check has failed.
    cause: Option<Cause>,
    position: Option<i64>,
    first: Option<i64>,
    version: Option<i64>,
    /// Of a conflict: the events, as JSON.
    conflicts: Option<String>,
    /// Of stored events, in order.
    ids: Option<Vec<[u8; 16]>>,
    /// Of a refusal: what is wrong, as JSON.
    faults: Option<String>,
}

impl Answer {
    /// Nothing was to be appended, as of a position.
    pub(super) fn nothing(position: i64) -> Self {
        Self {
            outcome: c"nothing",
            cause: None,
            position: Some(position),
            first: None,
            version: None,
            conflicts: None,
            ids: None,
            faults: None,
        }
    }

    /// Schemas or invariants have refused the events.
    fn refused(refusals: &[Refusal]) -> Self {
        Self {
            outcome: c"refused",
            cause: None,
            position: None,
            first: None,
            version: None,
            conflicts: None,
            ids: None,
            faults: Some(refusal::to_json(refusals)),
        }
    }

    /// An answer; `found` are the conflicts as a JSON array.
    pub(super) fn new(outcome: Outcome, found: String) -> Self {
        let cause = outcome.cause();
        let stored = |outcome, first, last, version, ids| Self {
            outcome,
            cause,
            position: Some(last),
            first: Some(first),
            version,
            conflicts: None,
            ids: Some(ids),
            faults: None,
        };
        let conflict = |position, version| Self {
            outcome: c"conflict",
            cause,
            position,
            first: None,
            version,
            conflicts: Some(found),
            ids: None,
            faults: None,
        };
        match outcome {
            Outcome::Appended {
                first,
                last,
                version,
                ids,
            } => stored(c"appended", first, last, version, ids),
            Outcome::Repeated {
                first,
                last,
                version,
                ids,
            } => stored(c"repeated", first, last, version, ids),
            Outcome::Conflict {
                position, version, ..
            } => conflict(position, version),
            Outcome::Refused(refusals) => Self::refused(&refusals),
        }
    }

    /// It as a row of the function's result type.
    pub(super) fn as_row(&self, args: &Args) -> Result<Option<Datum>> {
        self.to_datum(&RowType::of_result(args)?).map(Some)
    }

    /// It as a value of this type, `en57_append_result`.
    pub(super) fn to_datum(&self, row_type: &RowType) -> Result<Datum> {
        let label = composite::enum_label(composite::column_type(row_type, 0), self.outcome);
        let [conflicts, faults] =
            [&self.conflicts, &self.faults].map(|t| t.as_deref().map(|t| json::parse(t, "")));
        let mut columns = [
            Some(label),
            self.position.map(Datum::from),
            self.first.map(Datum::from),
            self.version.map(Datum::from),
            conflicts.transpose()?,
            self.ids.as_deref().map(array::make_uuids),
            faults.transpose()?,
        ];
        row_type.make(&mut columns)
    }

    /// Whether the events are stored, now or before; or there was nothing to append.
    pub(super) fn is_good(&self) -> bool {
        self.conflicts.is_none() && self.faults.is_none()
    }

    /// It with what has failed, if it is a conflict.
    pub(super) fn conflict(&self) -> Option<(&Self, Cause)> {
        Some((self, self.cause?))
    }

    /// How many bytes its conflicts take.
    pub(super) fn conflicts_bytes(&self) -> usize {
        self.conflicts.as_ref().map_or(0, String::len)
    }

    /// A conflict as an error, which says in fields of its own what does not hold, and of which table.
    pub(super) fn as_error(
        &self,
        cause: Cause,
        events: &[NewEvent],
        partition: Option<&str>,
    ) -> Result<Error> {
        let number = |n: Option<i64>| n.map_or("null".to_owned(), |n| n.to_string());
        let (state, message, rule, stream) = match cause {
            Cause::Condition => {
                let message = "append condition failed".to_owned();
                (SqlState::ConditionFailed, message, "fail_if", String::new())
            }
            Cause::Version(n) => {
                let name = JsonString(events[n].stream.unwrap_or_default());
                let message = wrong_version(&events[n], self);
                let stream = format!(", \"stream\": {name}");
                (SqlState::WrongVersion, message, "expected_version", stream)
            }
        };
        let partition = catalog::effective_name(partition)?;
        let table = catalog::store()?.demand(&partition, Access::Append)?;
        let (schema, name) = names::names_of(table);
        let detail = format!(
            "{{\"outcome\": \"conflict\", \"position\": {}{stream}, \"stream_version\": {}, \"conflicts\": {}}}",
            number(self.position),
            number(self.version),
            self.conflicts.as_deref().unwrap_or("[]"),
        );
        Ok(Error::new(state, message)
            .detail(detail)
            .table(schema, name)
            .constraint(rule))
    }
}
