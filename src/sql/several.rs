//! `en57_append_many` and `en57_decide_many`.

use crate::append::many::{self, Request};
use crate::append::several::{self, Done};
use crate::append::{self, AppendRequest, ConflictReport, Conflicts, OnRefusal};
use crate::dcb::error::{Error, Result, required};
use crate::dcb::limits;
use crate::dcb::query::JsonString;
use crate::decider::{self, Command, Decided, Destination};
use crate::sql_function;
use crate::store::Datum;
use crate::store::pg::composite::{self, RowType};
use crate::store::pg::fmgr::Args;
use crate::store::pg::json;
use crate::store::pg::scratch::Scratch;
use crate::store::pg::subtransaction::Failure;
use crate::store::row::srf;

use super::append::{Answer, on_conflict};

sql_function!(en57_append_many, |args: &Args| {
    let document = required(args.jsonb(0), "requests")?;
    let partition = args.text(1)?;
    let raise = on_conflict(args.text(2)?)?;
    let all_or_nothing = args.bool(3).unwrap_or(false);
    let (numbers, requests, invalid) = apart(many::requests(document)?);
    let to_append = |n: usize| AppendRequest {
        events: &requests[n].events,
        fail_if: requests[n].fail_if.as_slice(),
        partition,
        may_repeat: true,
        on_refusal: OnRefusal::Return,
    };
    let all: Vec<AppendRequest> = (0..requests.len()).map(to_append).collect();
    many::lock_together(&all, partition)?;
    let mut room = Room::new(raise);
    let answers = answers(all_or_nothing, &numbers, invalid, |n| {
        let mut report = room.report();
        let mut conflicts = Conflicts {
            at_most: append::max_conflicts(),
            sink: &mut |row| report.add(row),
        };
        let outcome = append::append(&all[n], &mut conflicts)?;
        Ok(room.answer(outcome, report))
    })?;
    if raise {
        refuse_conflicts(&answers, &numbers, &requests, partition)?;
    }
    respond(args, &answers)
});

sql_function!(en57_decide_many, |args: &Args| {
    let name = args.text(0)?;
    let document = required(args.jsonb(1), "commands")?;
    let partition = args.text(2)?;
    let all_or_nothing = args.bool(3).unwrap_or(false);
    let (numbers, commands, invalid) = apart(decider::commands(document)?);
    decider::lock_together(name, &commands, partition)?;
    let mut room = Room::new(false);
    let answers = answers(all_or_nothing, &numbers, invalid, |n| {
        let Command {
            command,
            id,
            target,
        } = commands[n];
        let destination = Destination {
            partition,
            target,
            on_refusal: OnRefusal::Return,
        };
        let mut report = room.report();
        let mut conflicts = Conflicts {
            at_most: append::max_conflicts(),
            sink: &mut |row| report.add(row),
        };
        match decider::decide(name, Some(command), destination, id, &mut conflicts)? {
            Decided::Stored(outcome) => Ok(room.answer(outcome, report)),
            Decided::Nothing(position) => Ok(Answer::nothing(position)),
        }
    })?;
    respond(args, &answers)
});

/// The answers with the requests' numbers, from 0, in order.
type Answers = Vec<(usize, Done<Answer>)>;

/// Those that are valid with their numbers, and why the others are not.
fn apart<T>(read: Vec<Done<T>>) -> (Vec<usize>, Vec<T>, Vec<(usize, Failure)>) {
    let (mut numbers, mut valid, mut invalid) = (Vec::new(), Vec::new(), Vec::new());
    for (n, one) in read.into_iter().enumerate() {
        match one {
            Ok(one) => {
                numbers.push(n);
                valid.push(one);
            }
            Err(failure) => invalid.push((n, failure)),
        }
    }
    (numbers, valid, invalid)
}

/// Does `one` for each valid request. If all are to be stored or none, the answer is all of them, or the first one that is
/// not stored.
fn answers(
    all_or_nothing: bool,
    numbers: &[usize],
    invalid: Vec<(usize, Failure)>,
    mut one: impl FnMut(usize) -> Result<Answer>,
) -> Result<Answers> {
    let work = Scratch::new();
    let one = |n: usize| {
        work.reset();
        work.run(|| one(n))
    };
    let mut refused = invalid.into_iter().map(|(n, failure)| (n, Err(failure)));
    if all_or_nothing && let Some(first) = refused.next() {
        return Ok(vec![first]);
    }
    let done = match all_or_nothing {
        false => several::each(numbers.len(), one)?,
        true => match several::all_or_none(numbers.len(), one, Answer::is_good)? {
            Ok(all) => all.into_iter().map(Ok).collect(),
            Err((n, first)) => return Ok(vec![(numbers[n], first)]),
        },
    };
    let mut answers: Answers = numbers.iter().copied().zip(done).chain(refused).collect();
    answers.sort_by_key(|(n, _)| *n);
    Ok(answers)
}

/// How many bytes the conflicts of a call may still take.
struct Room(usize);

impl Room {
    fn new(in_error: bool) -> Self {
        Self(match in_error {
            true => limits::CONFLICTS_BYTES_OF_ERROR,
            false => limits::CONFLICTS_BYTES,
        })
    }

    fn report(&self) -> ConflictReport {
        ConflictReport::within(self.0)
    }

    fn answer(&mut self, outcome: append::Outcome, report: ConflictReport) -> Answer {
        let answer = Answer::new(outcome, report.into_json());
        self.0 = self.0.saturating_sub(answer.conflicts_bytes());
        answer
    }
}

/// Raises the first conflict as an error.
fn refuse_conflicts(
    answers: &Answers,
    numbers: &[usize],
    requests: &[Request],
    partition: Option<&str>,
) -> Result<()> {
    for (n, answer) in answers {
        let Some((answer, cause)) = answer.as_ref().ok().and_then(Answer::conflict) else {
            continue;
        };
        let at = numbers.iter().position(|number| number == n);
        let events = at.map_or(&[][..], |at| &requests[at].events);
        let error = answer.as_error(cause, events, partition)?;
        return Err(Error {
            message: format!("request {}: {}", n + 1, error.message),
            ..error
        });
    }
    Ok(())
}

/// The answers as rows: number, result, error.
fn respond(args: &Args, answers: &Answers) -> Result<Option<Datum>> {
    let row_type = RowType::of_result(args)?;
    let result_type = RowType::of(composite::column_type(&row_type, 1));
    let work = Scratch::new();
    srf::respond_at_once(args, |put: srf::Put<3>| {
        for (n, answer) in answers {
            work.reset();
            work.run(|| {
                let number = Some(Datum::from(*n as i32 + 1));
                put(match answer {
                    Ok(answer) => [number, Some(answer.to_datum(&result_type)?), None],
                    Err(failure) => [number, None, Some(as_json(failure)?)],
                })
            })?;
        }
        Ok(())
    })
}

/// An error as JSON.
fn as_json(failure: &Failure) -> Result<Datum> {
    let text = |t: &Option<String>| match t {
        Some(text) => JsonString(text).to_string(),
        None => "null".to_owned(),
    };
    json::parse(
        &format!(
            "{{\"sqlstate\": \"{}\", \"message\": {}, \"detail\": {}, \"hint\": {}, \"context\": {}}}",
            failure.state,
            JsonString(&failure.message),
            text(&failure.detail),
            text(&failure.hint),
            text(&failure.context),
        ),
        "",
    )
}
