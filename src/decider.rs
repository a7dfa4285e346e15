//! Deciders: lock, read, fold, decide and append in one call.
//!
//! What the decision reads is locked before it is read, as checked and written, until the transaction ends: who
//! could change it has ended and is seen, or waits. So nothing has to be tried again, and no condition need be
//! checked: the locks imply it.
//!
//! What is locked is what the decider's query function says, so query, fold and decision must be of one make. A
//! command may wait for its locks, and the decider be replaced meanwhile: then it begins again.
//!
//! See docs/architecture/folds.md.

use std::rc::Rc;

use uuid::Uuid;

use crate::append::{self, AppendRequest, Conflicts, OnRefusal, Outcome, fit, parse};
use crate::dcb::error::{Error, Result, SqlState, required};
use crate::dcb::query::Query;
use crate::dcb::{codec, schema};
use crate::fold::definition::{self, Decider, Definition};
use crate::fold::snapshot::Snapshots;
use crate::fold::{self, Until};
use crate::read::Reading;
use crate::read::stream::{self, Target};
use crate::store::Datum;
use crate::store::log::catalog;
use crate::store::pg::json::{self, Jsonb};
use crate::store::pg::{fmgr, rights, stack};
use crate::store::row::event::NewEvent;
use crate::trial::{self, Trial};

/// How many faults of a command are told.
const FAULTS: usize = 10;

/// What became of a command.
pub enum Decided {
    /// Its events were appended, now or when it was sent before.
    Stored(Outcome),
    /// There was nothing to append, as of this position.
    Nothing(i64),
}

/// Where a decision's events go.
#[derive(Clone, Copy)]
pub struct Destination<'a> {
    /// The partition's name, where it is not the session's.
    pub partition: Option<&'a str>,
    /// The stream of those that name none.
    pub target: Option<Target<'a>>,
    /// What is to become of what schemas or invariants refuse.
    pub on_refusal: OnRefusal,
}

/// A command, with who decides on it.
struct Case {
    definition: Rc<Definition>,
    command: Datum,
    partition: String,
    query: Query,
}

/// Decides on a command and appends the events. With an id, a command that was sent before is answered as the
/// first time.
///
/// # Errors
/// 42501, 42704; N5704 where the command does not fit its schema; those of the functions, unchanged; those of
/// appending.
pub fn decide(
    name: Option<&str>,
    command: Option<Datum>,
    place: Destination,
    id: Option<[u8; 16]>,
    conflicts: &mut Conflicts,
) -> Result<Decided> {
    catalog::demand_writable("en57_decide()")?;
    let partition = catalog::effective_name(place.partition)?;
    loop {
        pgrx::check_for_interrupts!();
        let definition = callable(name)?;
        let command = required(command, "command")?;
        // Whatever a command must be, or is decided on, by now.
        if let Some(outcome) = sent_before(id, &partition)? {
            return Ok(Decided::Stored(outcome));
        }
        let case = match Case::new(definition, command, partition.clone()) {
            Err(error) if place.on_refusal == OnRefusal::Return => {
                return Ok(Decided::Stored(Outcome::Refused(error.into_refusals()?)));
            }
            case => case?,
        };
        // Who was waited for may have replaced the decider, or somebody else meanwhile.
        if let Some(decided) = case.decide(id, place, conflicts)? {
            return Ok(decided);
        }
    }
}

/// The id of the n-th event of a command.
fn id_of(command: [u8; 16], n: usize) -> [u8; 16] {
    Uuid::new_v5(&Uuid::from_bytes(command), n.to_string().as_bytes()).into_bytes()
}

/// What became of a command with this id before, if it has stored anything.
fn sent_before(id: Option<[u8; 16]>, partition: &str) -> Result<Option<Outcome>> {
    match id {
        Some(id) => append::stored_as(Some(partition), |n| id_of(id, n)),
        None => Ok(None),
    }
}

/// The events that would be appended if those given were all that there are: an array. Nothing is stored.
///
/// # Errors
/// As [`decide`]; 22023 where a given event is none.
pub fn try_on(name: Option<&str>, given: Option<Datum>, command: Option<Datum>) -> Result<Datum> {
    let partition = catalog::effective_name(None)?;
    let trial = Trial::of(given, &partition)?;
    let command = required(command, "command")?;
    let case = Case::new(callable(name)?, command, partition.clone())?;
    let state = trial::fold::of_given(&case.definition, &case.query, &trial)?;
    let Some(document) = case.decided(state)? else {
        return json::parse("[]", "");
    };
    let events = case.parsed(document)?;
    append::demand_streams(&events)?;
    fit::demand(events.iter(), true)?;
    if Jsonb::from_datum(document).is_array() {
        return Ok(document);
    }
    json::parse(&format!("[{}]", json::text(document)?), "")
}

/// A decider that the caller may have decide.
fn callable(name: Option<&str>) -> Result<Rc<Definition>> {
    let definition = definition::by_name(name, "decider")?;
    let Some(decider) = &definition.decider else {
        return Err(definition::missing(name, "decider"));
    };
    definition.function(&decider.decide)?.demand_execute()?;
    Ok(definition)
}

impl Case {
    fn new(definition: Rc<Definition>, command: Datum, partition: String) -> Result<Self> {
        let Some(decider) = &definition.decider else {
            return Err(definition::missing(Some(&definition.name), "decider"));
        };
        check_command(&definition, decider, command)?;
        let query = query_of(&definition, decider, command, &partition)?;
        Ok(Self {
            definition,
            command,
            partition,
            query,
        })
    }

    /// Decides and appends; `None`, and nothing is stored, where the decider is another one by now. The locks stay.
    fn decide(
        &self,
        id: Option<[u8; 16]>,
        Destination {
            target, on_refusal, ..
        }: Destination,
        conflicts: &mut Conflicts,
    ) -> Result<Option<Decided>> {
        let partition = self.partition.as_str();
        // The stream as well: known by now, it is locked in order.
        let locked = match target {
            Some(target) => self.query.clone().union(stream::query_of(target.name)),
            None => self.query.clone(),
        };
        let position = append::lock_query(&locked, Some(partition))?;
        if !self.is_current()? {
            return Ok(None);
        }
        if let Some(outcome) = sent_before(id, partition)? {
            return Ok(Some(Decided::Stored(outcome)));
        }
        let state = self.state(position)?;
        if !self.is_current()? {
            return Ok(None);
        }
        let Some(document) = self.decided(state)? else {
            return Ok(self.is_current()?.then_some(Decided::Nothing(position)));
        };
        let mut events = self.parsed(document)?;
        append::send_to(&mut events, target)?;
        if let Some(id) = id {
            for (n, event) in (1..).zip(&mut events) {
                if event.id.replace(id_of(id, n)).is_some() {
                    return Err(Error::new(
                        SqlState::InvalidParameter,
                        format!("event {n}: must not have an id"),
                    )
                    .detail("The command has one, from which those of its events are made."));
                }
            }
        }
        let request = AppendRequest {
            events: &events,
            fail_if: &[],
            partition: Some(partition),
            may_repeat: true,
            on_refusal,
        };
        let outcome = match append::append_while(&request, conflicts, &|| self.is_current()) {
            // One with this id that depends on other events was faster: the locks let both decide.
            Err(error) if error.state == SqlState::UniqueViolation => {
                Some(sent_before(id, partition)?.ok_or(error)?)
            }
            outcome => outcome?,
        };
        Ok(outcome.map(Decided::Stored))
    }

    /// Whether the decider, and its functions, are still those that the query came from.
    fn is_current(&self) -> Result<bool> {
        let now = definition::by_name(Some(&self.definition.name), "decider")?;
        Ok(Rc::ptr_eq(&now, &self.definition) || now.is_of_one_make_with(&self.definition))
    }

    /// The state of the query's events, whose keys are locked; all up to `settled` are settled.
    fn state(&self, settled: i64) -> Result<Option<Datum>> {
        let evolve = self.definition.function(&self.definition.evolve)?;
        let mut may_resume = true;
        loop {
            let reading =
                Reading::of_settled(self.query.clone(), &self.partition, 0, i64::MAX - 1)?;
            let snapshots = may_resume
                .then(|| Snapshots::of(&self.definition, evolve, &reading, &self.query))
                .flatten();
            if let Some(state) = fold::resume(
                &self.definition,
                evolve,
                &self.partition,
                reading,
                snapshots,
                settled,
                &mut Until::now(),
            )? {
                return Ok(state);
            }
            may_resume = false;
        }
    }

    /// What the decision is: a document; `None`: nothing is to be appended.
    fn decided(&self, state: Option<Datum>) -> Result<Option<Datum>> {
        let definition = &self.definition;
        let Some(decider) = &definition.decider else {
            return Ok(None);
        };
        let function = definition.function(&decider.decide)?;
        let at = definition.error_context("decide function", &decider.decide);
        let answer = at.tell(|| {
            rights::for_functions(&definition.path, &self.partition, || {
                function.prepare().call([Some(self.command), state])
            })
        });
        let is_empty = |d: &Datum| {
            let document = Jsonb::from_datum(*d);
            document.is_array() && document.count() == 0
        };
        Ok(answer.filter(|d| !is_empty(d)))
    }

    /// The events that a decision names.
    fn parsed<'a>(&self, document: Datum) -> Result<Vec<NewEvent<'a>>> {
        parse::events(Jsonb::from_datum(document)).map_err(|error| match error.detail {
            None => error.detail(format!(
                "It comes from the decide function of decider \"{}\".",
                self.definition.name
            )),
            Some(_) => error,
        })
    }
}

fn check_command(definition: &Definition, decider: &Decider, command: Datum) -> Result<()> {
    let Some(schema) = decider.schema()? else {
        return Ok(());
    };
    let faults = schema.faults(fmgr::varlena(command), FAULTS, stack::look);
    if faults.is_empty() {
        return Ok(());
    }
    let faults: Vec<_> = faults.into_iter().map(|f| ("command", f)).collect();
    let told = schema::told(&faults);
    let source = format!("command of decider \"{}\"", definition.name);
    // A path is one into the command.
    let faults = faults.into_iter().map(|(_, f)| ("", f)).collect();
    Err(Error::new(
        SqlState::DoesNotFit,
        format!(
            "command does not fit the schema of decider \"{}\"",
            definition.name
        ),
    )
    .detail(told)
    .refusals(crate::event_type::refusals(None, &source, faults)))
}

fn query_of(
    definition: &Definition,
    decider: &Decider,
    command: Datum,
    partition: &str,
) -> Result<Query> {
    let function = definition.function(&decider.query)?;
    let at = definition.error_context("query function", &decider.query);
    let answer = at.tell(|| {
        rights::for_functions(&definition.path, partition, || {
            function.prepare().call([Some(command)])
        })
    });
    let Some(query) = answer else {
        return Err(Error::new(
            SqlState::NullNotAllowed,
            format!(
                "the query function of decider \"{}\" has returned NULL",
                definition.name
            ),
        )
        .hint("Let it return {} for every event."));
    };
    codec::decode(fmgr::varlena(query))
}
