//! Inline projections: they run in the transaction of an append.
//!
//! The append locks the ids of documents before positions are allotted, together with its keys. So events are folded into
//! a document in the order of their positions, and no other transaction changes the document meanwhile.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use crate::dcb::error::{Error, Result, SqlState};
use crate::dcb::key::Namespace;
use crate::store::lock::plan::Plan;
use crate::store::pg::composite::RowType;
use crate::store::pg::rights;
use crate::store::row::event::{self, NewEvent};
use crate::store::session::definitions::{self, Cache, Table};
use crate::upcast::{Definitions, Upcasters};

use super::definition::{KIND, Projection, Work, running_inline};
use super::document::{IdSource, asked_ids};

/// How deep appends may be nested: a handler appends events, their handlers append events, and so on.
const DEPTH: usize = 16;

thread_local! {
    static RUNNING: Cache<Vec<Rc<Projection>>> = const { Cache::new(Table::Projections) };
    /// While projections run: what is still to be handled, with the events that handlers append meanwhile.
    static QUEUE: RefCell<Option<Queue>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(usize, Job)>,
    depth: usize,
}

/// The running inline projections, by the newest definitions that the session has accepted.
fn definitions() -> Result<Rc<Vec<Rc<Projection>>>> {
    RUNNING.with(|running| {
        running.get(|rows| Ok(running_inline(&rows)?.into_iter().map(Rc::new).collect()))
    })
}

/// The inline projections that an append has to run.
pub struct Due<'a> {
    partition: &'a str,
    events: &'a [NewEvent<'a>],
    jobs: Vec<Matched>,
}

/// A projection that matches events of an append, with the documents of each event, by its number in the append.
struct Matched {
    projection: Rc<Projection>,
    ids: BTreeMap<i64, Vec<String>>,
}

/// A projection that is to handle the events of an append, which are stored: those from the first position to the last.
struct Job {
    matched: Matched,
    first: i64,
    last: i64,
}

impl<'a> Due<'a> {
    /// The projections that match events which are about to be appended, by the names that these upcasters give them.
    ///
    /// # Errors
    /// Those of key functions.
    pub fn new(
        partition: &'a str,
        events: &'a [NewEvent<'a>],
        upcasters: &Rc<Definitions>,
    ) -> Result<Self> {
        let mut due = Self {
            partition,
            events,
            jobs: Vec::new(),
        };
        due.look(upcasters)?;
        Ok(due)
    }

    fn look(&mut self, upcasters: &Rc<Definitions>) -> Result<()> {
        self.jobs.clear();
        for projection in definitions()?.iter() {
            if projection.partition == self.partition {
                let matched = self.matched(projection, upcasters)?;
                self.jobs.extend(matched);
            }
        }
        Ok(())
    }

    /// Adds the locks of documents to those of an append.
    pub fn plan(&self, plan: &mut Plan) {
        for job in &self.jobs {
            for id in job.ids.values().flatten() {
                let name = format!("{}:{id}", job.projection.number);
                plan.own(event::effective(Namespace::Document, name.as_bytes()));
            }
        }
    }

    /// Looks again after the root is locked and changes of other sessions are accepted: nobody can create an inline
    /// projection now until the append ends.
    ///
    /// # Errors
    /// Those of key functions.
    pub fn look_again(
        &mut self,
        plan: &mut Plan,
        upcasters: &Rc<Definitions>,
        upcasters_changed: bool,
    ) -> Result<()> {
        if upcasters_changed || RUNNING.with(Cache::has_changed) {
            self.look(upcasters)?;
            self.plan(plan);
        }
        Ok(())
    }

    fn matched(
        &self,
        projection: &Rc<Projection>,
        upcasters: &Rc<Definitions>,
    ) -> Result<Option<Matched>> {
        let candidates = self.events.iter().enumerate();
        let chains = upcasters.chains();
        let candidate = |event: &'a NewEvent<'a>| {
            let name = chains.name_of(event.event_type, event.schema_version);
            event.candidate(name)
        };
        let mut numbers = candidates
            .filter(|(_, event)| projection.query.matches(&candidate(event)))
            .map(|(n, _)| n)
            .peekable();
        if numbers.peek().is_none() {
            return Ok(None);
        }
        let mut ids = BTreeMap::new();
        if let Work::Documents(documents) = &projection.work {
            match &documents.key {
                IdSource::Function(_) => ids = self.asked(projection, numbers, upcasters)?,
                key => {
                    for n in numbers {
                        let tags = self.events[n].tags.iter().copied();
                        ids.insert(
                            n as i64,
                            key.ids(self.events[n].stream, tags).unwrap_or_default(),
                        );
                    }
                }
            }
        }
        Ok(Some(Matched {
            projection: projection.clone(),
            ids,
        }))
    }

    /// Asks a key function about events that have no position yet.
    fn asked(
        &self,
        projection: &Projection,
        numbers: impl Iterator<Item = usize>,
        upcasters: &Rc<Definitions>,
    ) -> Result<BTreeMap<i64, Vec<String>>> {
        let Work::Documents(documents) = &projection.work else {
            return Ok(BTreeMap::new());
        };
        let IdSource::Function(key) = &documents.key else {
            return Ok(BTreeMap::new());
        };
        let function = key.function(KIND, &projection.name)?.prepare();
        let event_type = RowType::of(projection.event_type()?);
        let upcasters = Upcasters::new(upcasters);
        let context = projection.error_context("key");
        context.tell(|| {
            rights::for_functions(&projection.path, &projection.partition, || {
                numbers
                    .map(|n| {
                        let columns = self.events[n].columns(self.partition);
                        let mut columns = columns.read(&upcasters)?;
                        let event = event_type.make(&mut columns)?;
                        Ok((n as i64, asked_ids(&function, event, &projection.name)?))
                    })
                    .collect()
            })
        })
    }

    /// Runs the projections after the events are stored. In an append that a handler makes, it only puts them into the queue
    /// of the outer append: so each projection handles its events in the order of their positions.
    ///
    /// # Errors
    /// Those of the projections; 54000 where handlers append without end.
    pub fn run(self, first: i64, last: i64) -> Result<()> {
        if self.jobs.is_empty() {
            return Ok(());
        }
        let jobs = self.jobs.into_iter().map(|matched| Job {
            matched,
            first,
            last,
        });
        let nested = QUEUE.with_borrow_mut(|queue| match queue {
            Some(queue) => {
                let depth = queue.depth + 1;
                queue.waiting.extend(jobs.map(|job| (depth, job)));
                Some(depth)
            }
            None => {
                let waiting = jobs.map(|job| (0, job)).collect();
                *queue = Some(Queue { waiting, depth: 0 });
                None
            }
        });
        match nested {
            Some(depth) if depth > DEPTH => Err(Error::new(
                SqlState::LimitExceeded,
                format!("inline projections have appended events {DEPTH} times deep"),
            )
            .hint("Does a handler append events that the same projection handles?")),
            Some(_) => Ok(()),
            None => run_queue(),
        }
    }
}

/// Lets the inline projections of a partition handle a range of stored events. The caller has excluded appends to it.
///
/// # Errors
/// Those of the projections.
pub fn catch_up(partition: &str, after: i64, upto: i64) -> Result<()> {
    definitions::accept_changes();
    for projection in definitions()?.iter().filter(|p| p.partition == partition) {
        projection.handle_range(after, upto, &|_| None)?;
    }
    Ok(())
}

fn run_queue() -> Result<()> {
    /// Empties the queue, also after an error.
    struct Emptied;
    impl Drop for Emptied {
        fn drop(&mut self) {
            QUEUE.with(|q| q.try_borrow_mut().map(|mut q| *q = None).ok());
        }
    }
    let _emptied = Emptied;
    let next = || {
        QUEUE.with_borrow_mut(|queue| {
            let queue = queue.as_mut()?;
            let (depth, job) = queue.waiting.pop_front()?;
            queue.depth = depth;
            Some(job)
        })
    };
    while let Some(job) = next() {
        let known = |position: i64| job.matched.ids.get(&(position - job.first)).cloned();
        let projection = &job.matched.projection;
        projection.handle_range(job.first - 1, job.last, &known)?;
    }
    Ok(())
}
