//! Deciders: lock, read, fold, decide and append in one call.
//!
//! It decides on nothing that it has not locked. It uses `trial`, `append`, `fold`, `event_type`, `read`, `store` and
//! `dcb`.
//!
//! A command locks what its decision reads before it reads it, as checked and written, until the transaction ends.
//! Whoever could change it has ended, so its events are seen, or waits. So no command has to be retried, and the append
//! needs no condition.
//!
//! The decider's query function says what is locked and read. So query, fold and decision must come from one version of
//! the decider. If it was replaced while a command waited for its locks, the command begins again.
//!
//! See docs/architecture/folds.md.

use std::rc::Rc;

use uuid::Uuid;

use crate::append::several::{self, Done};
use crate::append::{self, AppendRequest, Conflicts, OnRefusal, Outcome, fit, many, parse};
use crate::dcb::error::{Error, Result, SqlState, invalid, required};
use crate::dcb::query::Query;
use crate::dcb::{codec, schema};
use crate::fold::definition::{self, Decider, Definition};
use crate::fold::snapshot::Snapshots;
use crate::fold::{Folded, Run, Until};
use crate::read::Reading;
use crate::read::stream::{self, Target};
use crate::store::Datum;
use crate::store::log::catalog;
use crate::store::pg::json::{self, Jsonb, Value};
use crate::store::pg::{fmgr, rights, stack};
use crate::store::row::event::NewEvent;
use crate::trial::{self, Trial};

/// How many faults of a command an error lists.
const FAULTS_LISTED: usize = 10;

/// What became of a command.
pub enum Decided {
    /// Its events were appended, now or when the command was sent before.
    Stored(Outcome),
    /// There was nothing to append. The decision was made as of this position.
    Nothing(i64),
}

/// Where a decision's events go.
#[derive(Clone, Copy)]
pub struct Destination<'a> {
    /// The partition's name, if it is not the session's.
    pub partition: Option<&'a str>,
    /// The stream of the events that name none.
    pub target: Option<Target<'a>>,
    /// What to do if schemas or invariants refuse the events.
    pub on_refusal: OnRefusal,
}

/// A command, and the decider that decides on it.
struct Case {
    definition: Rc<Definition>,
    command: Datum,
    partition: String,
    query: Query,
}

/// Decides on a command and appends the events. A command with an id that was sent before is answered as the first
/// time.
///
/// # Errors
/// 42501, 42704; N5704 if the command does not fit its schema; those of the functions, unchanged; those of
/// appending.
pub fn decide(
    name: Option<&str>,
    command: Option<Datum>,
    destination: Destination,
    id: Option<[u8; 16]>,
    conflicts: &mut Conflicts,
) -> Result<Decided> {
    catalog::demand_writable("en57_decide()")?;
    let partition = catalog::effective_name(destination.partition)?;
    loop {
        pgrx::check_for_interrupts!();
        let definition = callable(name)?;
        let command = required(command, "command")?;
        // Before anything is checked: the answer does not depend on the present decider.
        if let Some(outcome) = sent_before(id, &partition)? {
            return Ok(Decided::Stored(outcome));
        }
        let case = match Case::new(definition, command, partition.clone()) {
            Err(error) if destination.on_refusal == OnRefusal::Return => {
                return Ok(Decided::Stored(Outcome::Refused(error.into_refusals()?)));
            }
            case => case?,
        };
        // `None`: the decider was replaced meanwhile, perhaps by the transaction that this one has waited for.
        if let Some(decided) = case.decide(id, destination, conflicts)? {
            return Ok(decided);
        }
    }
}

/// One command of many.
#[derive(Clone, Copy)]
pub struct Command<'a> {
    /// The command itself.
    pub command: Datum,
    /// Its id.
    pub id: Option<[u8; 16]>,
    /// The stream of the events that name none.
    pub target: Option<Target<'a>>,
}

/// The keys of a command in the JSON of many.
const KEYS: [&str; 4] = ["command", "command_id", "stream", "expected_version"];

/// Reads an array of commands. One that is not valid is told as such: it is no reason to refuse the others.
///
/// # Errors
/// 22023 if it is no array, 54000 if it has too many elements.
pub fn commands(document: Jsonb<'_>) -> Result<Vec<Done<Command<'_>>>> {
    let elements = many::elements_of(document, "commands", "command")?;
    several::each(elements.len(), |n| {
        let (mut command, mut id, mut stream, mut expected) = (None, None, None, None);
        for pair in elements[n].pairs() {
            match pair? {
                ("command", value) => command = Some(value.to_datum()),
                (key, Value::Null) if KEYS.contains(&key) => {}
                ("command_id", value) => id = Some(many::uuid(value, "command_id")?),
                ("stream", value) => stream = Some(many::string(value, "stream")?),
                ("expected_version", value) => {
                    expected = Some(many::integer(value, "expected_version")?);
                }
                (key, _) => return Err(many::unknown_key(key, &KEYS)),
            }
        }
        Ok(Command {
            command: command.ok_or_else(|| invalid("key \"command\" is missing"))?,
            id,
            target: Target::new(stream, expected)?,
        })
    })
}

/// Takes the locks of commands that are decided next in this transaction, all at once, so that they are taken in one order.
/// Their decisions look again at what they need.
///
/// # Errors
/// 42501, 42704.
pub fn lock_together(
    name: Option<&str>,
    commands: &[Command],
    partition: Option<&str>,
) -> Result<()> {
    catalog::demand_writable("en57_decide_many()")?;
    let partition = catalog::effective_name(partition)?;
    callable(name)?;
    // A command for which a function fails here fails again when it is its turn, and is told then.
    let queries = several::each(commands.len(), |n| {
        let Command {
            command, target, ..
        } = commands[n];
        let case = Case::new(callable(name)?, command, partition.clone())?;
        Ok(case.locked(target))
    })?;
    let queries: Vec<Query> = queries.into_iter().flatten().collect();
    if !queries.is_empty() {
        append::lock_queries(&queries, Some(&partition))?;
    }
    Ok(())
}

/// The id of the n-th event of a command, from 1.
fn id_of(command: [u8; 16], n: usize) -> [u8; 16] {
    Uuid::new_v5(&Uuid::from_bytes(command), n.to_string().as_bytes()).into_bytes()
}

/// The outcome of a command with this id, if it has stored events.
fn sent_before(id: Option<[u8; 16]>, partition: &str) -> Result<Option<Outcome>> {
    match id {
        Some(id) => append::stored_as(Some(partition), |n| id_of(id, n)),
        None => Ok(None),
    }
}

/// The events that would be appended if the given ones were all that is stored, as an array. Nothing is stored.
///
/// # Errors
/// As [`decide`]; 22023 if a given event is not valid.
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

/// A decider whose function the caller may execute.
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

    /// What it locks: the stream together with the query, so that all locks are taken in order.
    fn locked(&self, target: Option<Target>) -> Query {
        match target {
            Some(target) => self.query.clone().union(stream::query_of(target.name)),
            None => self.query.clone(),
        }
    }

    /// Decides and appends. If the decider has been replaced, nothing is stored, and the answer is `None`. The locks
    /// stay.
    fn decide(
        &self,
        id: Option<[u8; 16]>,
        destination: Destination,
        conflicts: &mut Conflicts,
    ) -> Result<Option<Decided>> {
        let partition = self.partition.as_str();
        let position = append::lock_query(&self.locked(destination.target), Some(partition))?;
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
        let events = self.events(document, destination.target, id)?;
        self.append(&events, id, destination.on_refusal, conflicts)
    }

    /// The events of a decision, with their streams, and with ids if the command has one.
    fn events<'a>(
        &self,
        document: Datum,
        target: Option<Target<'a>>,
        id: Option<[u8; 16]>,
    ) -> Result<Vec<NewEvent<'a>>> {
        let mut events = self.parsed(document)?;
        append::send_to(&mut events, target)?;
        let Some(id) = id else {
            return Ok(events);
        };
        for (n, event) in (1..).zip(&mut events) {
            if event.id.replace(id_of(id, n)).is_some() {
                return Err(invalid(format!("event {n}: must not have an id"))
                    .detail("The command has one, from which those of its events are made."));
            }
        }
        Ok(events)
    }

    /// Appends the events of the decision. If the decider has been replaced, nothing is stored, and the answer is
    /// `None`.
    fn append(
        &self,
        events: &[NewEvent],
        id: Option<[u8; 16]>,
        on_refusal: OnRefusal,
        conflicts: &mut Conflicts,
    ) -> Result<Option<Decided>> {
        let partition = self.partition.as_str();
        let request = AppendRequest {
            events,
            fail_if: &[],
            partition: Some(partition),
            may_repeat: true,
            on_refusal,
        };
        let outcome = match append::append_while(&request, conflicts, &|| self.is_current()) {
            // The same command was sent twice, and its two decisions read different events. So their locks let both
            // decide, and the other one was faster.
            Err(error) if error.state == SqlState::UniqueViolation => {
                Some(sent_before(id, partition)?.ok_or(error)?)
            }
            outcome => outcome?,
        };
        Ok(outcome.map(Decided::Stored))
    }

    /// Whether the decider and its functions are still those that the query came from.
    fn is_current(&self) -> Result<bool> {
        let now = definition::by_name(Some(&self.definition.name), "decider")?;
        Ok(Rc::ptr_eq(&now, &self.definition) || now.is_same_version_as(&self.definition))
    }

    /// The state of the query's events. Their keys are locked, and no event up to `settled` is missing.
    fn state(&self, settled: i64) -> Result<Option<Datum>> {
        let evolve = self.definition.function(&self.definition.evolve)?;
        let mut uses_snapshots = true;
        loop {
            let reading =
                Reading::of_settled(self.query.clone(), &self.partition, 0, i64::MAX - 1)?;
            let snapshots = uses_snapshots
                .then(|| Snapshots::of(&self.definition, evolve, &reading, &self.query))
                .flatten();
            let run = Run {
                definition: &self.definition,
                evolve,
                partition: &self.partition,
                reading,
                snapshots,
                settled,
            };
            if let Folded::State(state) = run.fold(&mut Until::now())? {
                return Ok(state);
            }
            uses_snapshots = false;
        }
    }

    /// The events that the decider's function returns, as a document; `None`: it appends nothing.
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

    /// The events that a decision's document names.
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
    let faults = schema.faults(fmgr::varlena(command), FAULTS_LISTED, stack::look);
    if faults.is_empty() {
        return Ok(());
    }
    let faults: Vec<_> = faults.into_iter().map(|f| ("command", f)).collect();
    let told = schema::told(&faults);
    let source = format!("command of decider \"{}\"", definition.name);
    // Refusals have paths into the command.
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
