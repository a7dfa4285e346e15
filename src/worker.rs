//! The background worker of a database: it runs async projections when there are events for them, and notifies listeners
//! of new events.
//!
//! It does nothing that cannot be done by hand. It uses `projection`, `read`, `upcast`, `store` and `dcb`.
//!
//! It works in rounds. A survey, in a transaction of its own, finds the projections that have events to handle. Then each of
//! them handles one batch in a transaction of its own. So a slow projection makes the others wait for one batch, and the
//! failure of one does not concern the others. If there is nothing to do, the worker sleeps until something happens.
//!
//! **Invariant:** one transaction commits the effects of a projection and its new position, and holds the lock of its row.
//! Everything else that the worker remembers may be lost at any time.
//!
#![cfg_attr(doc, doc = include_str!("../docs/architecture/worker.md"))]

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::dcb::error::Result;
use crate::dcb::query::{JsonString, Query};
use crate::projection::{self, BatchOutcome, Standing, ToDo};
use crate::read;
use crate::read::partitions::Partitions;
use crate::store::Datum;
use crate::store::log::catalog;
use crate::store::log::partition::Access;
use crate::store::log::position::Counter;
use crate::store::log::version;
use crate::store::pg::guard::{Severity, log};
use crate::store::pg::spi::{self, Type};
use crate::store::pg::subtransaction::Failure;
use crate::store::pg::{fmgr, settings};
use crate::store::worker::launch;
use crate::store::worker::process::{self, Process};
use crate::upcast::Sought;

/// The versions of the extension's tables that this library works with: its own, and the previous one. `make freeze` adds
/// to them, and tests/upgrade tests each.
const SCHEMAS: &[&str] = &["0.1.0", env!("CARGO_PKG_VERSION")];
/// After this time the worker looks again for an extension that is missing, or has an unknown version.
const ABSENCE: Duration = Duration::from_secs(60);
/// The first pause after a failure, which each further failure doubles, and the longest pause.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// The first and the longest pause after a transient failure, or after a survey that fails. The seventh is one second.
const PAUSES_TRANSIENT: (Duration, Duration) = (Duration::from_micros(15_625), PAUSES.1);
/// Failures are logged if the pause is at least so long. Shorter ones come from a lock of another session, or from an
/// extension that is just being dropped or created.
const WORTH_TELLING: Duration = PAUSES.0;
/// The first and the longest pause for a projection that another session runs.
const PAUSES_TAKEN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// After so many attempts in a row a projection gets the status failed, unless the failure is transient.
const ATTEMPTS: u32 = 5;
/// How often a position is moved up over events that are not the projection's.
const MOVES: Duration = Duration::from_millis(100);
/// It is moved at once over so many positions: after a restart they would have to be looked at again.
const MOVES_OVER: i64 = 1000;
/// The shortest time between two notifications.
const NOTIFICATIONS: Duration = Duration::from_millis(10);

/// Called by PostgreSQL as the main function of the worker's process.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn en57_worker_main(database: Datum) {
    process::enter(database, |process| Worker::default().run(process));
}

/// Called by PostgreSQL at the server's start, where en57.databases names any.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn en57_launcher_main(_: Datum) {
    launch::launch();
}

/// What the worker remembers from round to round.
#[derive(Default)]
struct Worker {
    /// What it knows of the projections, by their numbers.
    known: HashMap<i64, Known>,
    /// The frontier of each partition that was last sent to listeners.
    told: HashMap<String, i64>,
    told_at: Option<Instant>,
    /// The unknown version of the extension's tables for which it has logged a warning.
    unknown_version: Option<String>,
    /// The number of changes of definitions that it has seen.
    changes: u64,
    /// The surveys that have failed in a row.
    trouble: Trouble,
}

/// What is remembered of a projection.
#[derive(Default)]
struct Known {
    position: i64,
    /// Up to this position there are no events for it.
    looked: i64,
    moved_at: Option<Instant>,
    trouble: Trouble,
    /// Transient failures in a row.
    transient: Trouble,
    /// How often in a row another session ran it.
    taken: Trouble,
}

impl Known {
    /// Until when the worker does not run it; `None`: it may run it now.
    fn rests_until(&self) -> Option<Instant> {
        let all = [&self.trouble, &self.transient, &self.taken];
        let resting = all.into_iter().filter(|t| t.is_resting());
        resting.filter_map(|t| t.until).max()
    }
}

/// Failures in a row.
#[derive(Default)]
struct Trouble {
    attempts: u32,
    /// It is not tried again before this time.
    until: Option<Instant>,
}

impl Trouble {
    /// Counts another failure; returns the pause.
    fn meet(&mut self, (first, longest): (Duration, Duration)) -> Duration {
        let pause = first.saturating_mul(1 << self.attempts.min(20));
        let pause = pause.min(longest);
        self.attempts = self.attempts.saturating_add(1);
        self.until = Some(Instant::now() + pause);
        pause
    }

    fn is_resting(&self) -> bool {
        self.until.is_some_and(|until| until > Instant::now())
    }
}

/// What a survey has found.
enum Survey {
    /// The extension is not installed.
    Absent,
    /// It has a version that this library does not know.
    Unknown(String),
    /// What there is to do.
    Found {
        standings: Vec<Standing>,
        /// Partitions whose frontier has moved.
        news: Vec<(String, i64)>,
    },
}

/// What follows a round.
enum Next {
    /// The next round.
    Round,
    /// Sleep, at most until this time.
    Sleep(Option<Instant>),
}

impl Worker {
    /// Runs rounds until the process ends.
    fn run(&mut self, process: &Process) -> Result<()> {
        loop {
            process.attend();
            // Noted before the survey, so that it does not sleep if something happens during the round.
            let moment = process.moment();
            if let Next::Sleep(until) = self.round(process)
                && !process.sleep(&moment, until)?
            {
                // It was woken at once. Often that is nothing that concerns it, so it does not look at each event.
                process.nap(1);
            }
        }
    }

    fn round(&mut self, process: &Process) -> Next {
        let changes = process.changes();
        if changes != self.changes {
            // Definitions have changed: perhaps the cause of a failure is removed.
            self.changes = changes;
            self.trouble = Trouble::default();
            for known in self.known.values_mut() {
                (known.trouble.until, known.transient.until) = (None, None);
            }
        }
        if self.trouble.is_resting() {
            return Next::Sleep(self.trouble.until);
        }
        let survey = process.transaction(None, || self.survey());
        let (standings, news) = match survey {
            Ok(Survey::Found { standings, news }) => (standings, news),
            Ok(survey) => return self.wait_for_the_extension(survey),
            Err(failure) => {
                let pause = self.trouble.meet(PAUSES_TRANSIENT);
                if pause >= WORTH_TELLING {
                    let message = format!("the worker of en57 tries again in {}", shown(pause));
                    log(Severity::Warning, &message, Some(&failure.in_words()), None);
                }
                return Next::Sleep(self.trouble.until);
            }
        };
        self.trouble = Trouble::default();
        self.unknown_version = None;
        let mut next = self.tell(process, news);
        self.move_up(process, &standings, &mut next);
        for standing in &standings {
            if matches!(standing.todo, ToDo::Due) {
                process.attend();
                self.run_batch(process, standing);
                next = Next::Round;
            }
        }
        next
    }

    fn survey(&mut self) -> Result<Survey> {
        match version::of_tables()? {
            None => return Ok(Survey::Absent),
            Some(version) if !SCHEMAS.contains(&version.as_str()) => {
                return Ok(Survey::Unknown(version));
            }
            Some(_) => {}
        }
        let known = &mut self.known;
        let standings = projection::survey(|number, position| {
            let known = known.entry(number).or_default();
            if known.position != position {
                // Another session has moved it.
                *known = Known {
                    position,
                    looked: position,
                    ..Known::default()
                };
            }
            known.rests_until().is_none().then_some(known.looked)
        })?;
        known.retain(|number, _| standings.iter().any(|s| s.number == *number));
        let news = self.news()?;
        Ok(Survey::Found { standings, news })
    }

    /// Sleeps, but not for long: CREATE EXTENSION wakes the worker, but ALTER EXTENSION UPDATE may not.
    fn wait_for_the_extension(&mut self, survey: Survey) -> Next {
        self.known.clear();
        self.told.clear();
        self.trouble = Trouble::default();
        if let Survey::Unknown(version) = survey
            && self.unknown_version.as_ref() != Some(&version)
        {
            let message = format!(
                "the worker of en57 does not know version {version} of the extension's tables"
            );
            let own = env!("CARGO_PKG_VERSION");
            let known = SCHEMAS.join(", ");
            let detail = format!("Its library has version {own}. It knows the tables of {known}.");
            let hint = "Run ALTER EXTENSION en57 UPDATE, or restart the worker with the library of that version.";
            log(Severity::Warning, &message, Some(&detail), Some(hint));
            self.unknown_version = Some(version);
        }
        Next::Sleep(Some(Instant::now() + ABSENCE))
    }

    /// Moves positions up over events that are not the projections'. Sets in `next` when something is to be done.
    fn move_up(&mut self, process: &Process, standings: &[Standing], next: &mut Next) {
        let mut moves = Vec::new();
        for standing in standings {
            let Some(known) = self.known.get_mut(&standing.number) else {
                continue;
            };
            let ToDo::NoneUpTo(upto) = standing.todo else {
                if matches!(standing.todo, ToDo::Unknown) {
                    next.no_later_than(known.rests_until().unwrap_or_else(Instant::now));
                }
                continue;
            };
            (known.trouble, known.transient, known.taken) = Default::default();
            known.looked = known.looked.max(upto);
            if known.looked <= standing.position {
                continue;
            }
            match known.moved_at.map(|at| at + MOVES) {
                Some(until)
                    if until > Instant::now() && known.looked - standing.position < MOVES_OVER =>
                {
                    next.no_later_than(until);
                }
                _ => moves.push((standing, known.looked)),
            }
        }
        if moves.is_empty() {
            return;
        }
        let moved = process.transaction(None, || projection::move_up(&moves));
        for (standing, upto) in moves {
            let Some(known) = self.known.get_mut(&standing.number) else {
                continue;
            };
            known.moved_at = Some(Instant::now());
            match &moved {
                Ok(()) => known.position = upto,
                Err(_) => next.no_later_than(Instant::now() + PAUSES.0),
            }
        }
        let failure = moved.err().filter(|f| !f.is_transient());
        warn("positions were not moved up", failure);
    }

    /// Runs one batch of one projection.
    fn run_batch(&mut self, process: &Process, standing: &Standing) {
        let Some(known) = self.known.get_mut(&standing.number) else {
            return;
        };
        let name = &standing.name;
        process.show(Some(&format!("en57 projection {name}")));
        match process.transaction(standing.role, || projection::run_batch(standing)) {
            Ok(BatchOutcome::At(position)) if position > standing.position => {
                *known = Known {
                    position,
                    looked: position,
                    moved_at: Some(Instant::now()),
                    ..Known::default()
                };
            }
            Ok(BatchOutcome::Failed(position, error)) => {
                let message = format!("projection \"{name}\" has failed at position {position}");
                log(Severity::Warning, &message, Some(&error), Some(RESUME));
            }
            // Nothing was done, so it is not tried again at once.
            Ok(BatchOutcome::At(_) | BatchOutcome::Taken | BatchOutcome::Changed) => {
                known.taken.meet(PAUSES_TAKEN);
            }
            Err(failure) => note_failure(process, standing, known, &failure),
        }
    }

    /// The partitions with new events for listeners, and their frontiers.
    fn news(&mut self) -> Result<Vec<(String, i64)>> {
        if settings::notify_channel().is_none() {
            self.told.clear();
            return Ok(Vec::new());
        }
        let store = catalog::store()?;
        let counter = Counter::of(store)?;
        let everything = Query::everything();
        let mut news = Vec::new();
        let all = store.all()?;
        self.told
            .retain(|name, _| all.iter().any(|(n, _)| n == name));
        for (name, _) in all {
            // It may have been dropped meanwhile.
            let Ok(partitions) = Partitions::find(store, Some(&name), Access::Own) else {
                continue;
            };
            let frontier =
                partitions.current_frontier(&counter, &Sought::as_stored(everything.clone()));
            // A frontier can be lower than before: positions begin at 1 again after the log was emptied.
            let told = self.told.get(&name).filter(|t| **t <= frontier);
            let told = told.copied().unwrap_or_default();
            // A frontier moves also with the events of other partitions.
            if read::is_anything_in(everything.clone(), &name, told, frontier)? {
                news.push((name, frontier));
            } else {
                self.told.insert(name, frontier);
            }
        }
        Ok(news)
    }

    /// Sends notifications, but not sooner after the last ones than [`NOTIFICATIONS`].
    fn tell(&mut self, process: &Process, news: Vec<(String, i64)>) -> Next {
        let Some(channel) = settings::notify_channel().filter(|_| !news.is_empty()) else {
            return Next::Sleep(None);
        };
        let due = self.told_at.map(|at| at + NOTIFICATIONS);
        if let Some(due) = due.filter(|due| *due > Instant::now()) {
            return Next::Sleep(Some(due));
        }
        self.told_at = Some(Instant::now());
        let told = process.transaction(None, || {
            let text = |t: &[u8]| (Type::Text, Some(fmgr::make_varlena(t)));
            for (partition, position) in &news {
                let payload = format!(
                    "{{\"partition\": {}, \"position\": {position}}}",
                    JsonString(partition)
                );
                let parameters = [text(channel.as_bytes()), text(payload.as_bytes())];
                spi::run("SELECT pg_catalog.pg_notify($1, $2)", &parameters)?;
            }
            Ok(())
        });
        match told {
            Ok(()) => {
                self.told.extend(news);
                Next::Sleep(None)
            }
            Err(failure) => {
                warn("notifications were not sent", Some(failure));
                // The next survey finds the same news again.
                let pause = Instant::now() + PAUSES.0;
                self.told_at = Some(pause);
                Next::Sleep(Some(pause + NOTIFICATIONS))
            }
        }
    }
}

impl Next {
    /// Makes the sleep end at this time, or sooner.
    fn no_later_than(&mut self, at: Instant) {
        if let Next::Sleep(until) = self {
            *until = Some(until.map_or(at, |u| u.min(at)));
        }
    }
}

const RESUME: &str = "See last_error in en57_projections, then call en57_resume().";

/// Notes that a batch has failed, though not because of one of its events. It is tried again later. After [`ATTEMPTS`] in
/// vain the projection gets the status failed, unless the failure is transient.
fn note_failure(process: &Process, standing: &Standing, known: &mut Known, failure: &Failure) {
    let name = &standing.name;
    let (trouble, pauses) = if failure.is_transient() {
        (&mut known.transient, PAUSES_TRANSIENT)
    } else {
        (&mut known.trouble, PAUSES)
    };
    let pause = trouble.meet(pauses);
    if pause < WORTH_TELLING {
        return;
    }
    let fails = !failure.is_transient() && trouble.attempts >= ATTEMPTS;
    let (message, hint) = if fails {
        (format!("projection \"{name}\" has failed"), Some(RESUME))
    } else {
        let message = format!("projection \"{name}\" is tried again in {}", shown(pause));
        (message, None)
    };
    log(Severity::Warning, &message, Some(&failure.in_words()), hint);
    let attempts = trouble.attempts;
    let noted = process.transaction(None, || {
        projection::note_trouble(standing, failure, attempts, fails)
    });
    warn("an error was not noted", noted.err());
}

fn warn(of: &str, failure: Option<Box<Failure>>) {
    if let Some(failure) = failure {
        let message = format!("worker of en57: {of}");
        log(Severity::Warning, &message, Some(&failure.in_words()), None);
    }
}

fn shown(pause: Duration) -> String {
    format!("{} s", pause.as_secs())
}
