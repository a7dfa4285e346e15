//! Handing stored events to a projection.

use std::borrow::Cow;

use crate::dcb::error::Result;
use crate::dcb::query::Query;
use crate::read::Reading;
use crate::store::function::Whereabouts;
use crate::store::rows::Source;
use crate::store::scratch::Scratch;
use crate::store::tuple::{self, RowType};
use crate::store::{Datum, rights};
use crate::upcast::{self, Upcasters};

use super::definition::{KIND, Projection, Work};
use super::document::Key;

/// Events that are folded into documents together, where they are not large.
const DOCUMENT_EVENTS: usize = 10_000;

/// An event that is to be handled.
#[derive(Clone)]
pub struct Item {
    /// Its position.
    pub position: i64,
    /// When it was recorded.
    pub recorded_at_us: i64,
    /// The event as a value, as it is stored, in the memory context in which it was collected.
    pub event: Datum,
    /// Whether there is an upcaster of it, to be called when it is handled: its errors are those of handling.
    pub is_old: bool,
    /// The documents that it belongs to; `None`: a function must be asked.
    pub ids: Option<Vec<String>>,
}

/// The stored events that a projection is to handle, some at a time.
pub struct Events<'p> {
    projection: &'p Projection,
    reading: Reading,
    more: bool,
}

/// What is known already of the documents that events belong to, by position.
pub type KnownIds<'k> = &'k dyn Fn(i64) -> Option<Vec<String>>;

impl<'p> Events<'p> {
    /// The events of a range that match: all of them must be settled, or the transaction's own.
    ///
    /// # Errors
    /// 42704 where the partition is gone.
    pub fn new(projection: &'p Projection, after: i64, upto: i64) -> Result<Self> {
        Self::among(projection, projection.query.clone(), after, upto)
    }

    /// The same of a query that finds some of them.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn among(projection: &'p Projection, query: Query, after: i64, upto: i64) -> Result<Self> {
        let partition = &projection.partition;
        Ok(Self {
            projection,
            reading: Reading::of_settled(query, partition, after, upto)?.without_upcasters(),
            more: true,
        })
    }

    /// The next ones, at most so many, in the current memory context. None: there are no more.
    ///
    /// # Errors
    /// 42883 where a function is gone; those of reading.
    pub fn next(&mut self, at_most: usize, known: KnownIds) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        if !self.more {
            return Ok(items);
        }
        let event_type = RowType::of(self.projection.event_type()?);
        let key = match &self.projection.work {
            Work::Documents(documents) => Some(&documents.key),
            Work::Handler(_) => None,
        };
        let definitions = upcast::known()?;
        self.more = self.reading.fill(at_most, &mut |row| {
            let ids = match key {
                Some(Key::Function(_)) => known(row.position()),
                Some(key) => key.ids_of_row(row)?,
                None => None,
            };
            items.push(Item {
                position: row.position(),
                recorded_at_us: row.recorded_at_us(),
                event: event_type.make(&mut tuple::event_columns(row))?,
                is_old: definitions
                    .chains()
                    .of(row.event_type()?, row.schema_version())
                    .is_some(),
                ids,
            });
            Ok(())
        })?;
        Ok(items)
    }
}

impl Projection {
    /// What an error's CONTEXT says of a function of this projection.
    pub fn whereabouts(&self, role: &str) -> Whereabouts {
        let name = match &self.work {
            Work::Handler(handler) => &handler.name,
            Work::Documents(documents) => match &documents.key {
                Key::Function(key) if role == "key" => &key.name,
                _ => &documents.evolve.name,
            },
        };
        Whereabouts::new(&format!("{role} {name} of projection \"{}\"", self.name))
    }

    /// How many events are best handled together. Each document is written once for them, and its versions stay
    /// until the transaction ends: who looks for it passes over all of them.
    pub fn at_once(&self) -> usize {
        match &self.work {
            Work::Documents(_) => self.batch_size.max(DOCUMENT_EVENTS),
            Work::Handler(_) => self.batch_size,
        }
    }

    /// Handles events, which are in position order.
    ///
    /// # Errors
    /// 42883 where a function is gone; the functions' own, by unwinding.
    pub fn handle(&self, items: &[Item]) -> Result<()> {
        self.handle_new(&self.as_read(items)?)
    }

    /// The same events, as they have become.
    ///
    /// # Errors
    /// Those of upcasters.
    pub fn as_read<'i>(&self, items: &'i [Item]) -> Result<Cow<'i, [Item]>> {
        if !items.iter().any(|i| i.is_old) {
            return Ok(Cow::Borrowed(items));
        }
        let definitions = upcast::known()?;
        let (upcasters, event_type) = (
            Upcasters::new(&definitions),
            RowType::of(self.event_type()?),
        );
        let mut upcast = items.to_vec();
        for item in upcast.iter_mut().filter(|i| i.is_old) {
            let mut columns = upcasters.columns(tuple::columns(item.event)?)?;
            item.event = event_type.make(&mut columns)?;
        }
        Ok(Cow::Owned(upcast))
    }

    fn handle_new(&self, items: &[Item]) -> Result<()> {
        let handler = match &self.work {
            Work::Documents(documents) => {
                return rights::for_functions(&self.path, &self.partition, || {
                    let by_id = documents.by_id(self, items)?;
                    let at = self.whereabouts("evolve function");
                    at.tell(|| documents.fold(self, by_id, &at))
                });
            }
            Work::Handler(handler) => handler.function(KIND, &self.name)?,
        };
        let (at, scratch) = (self.whereabouts("handler"), Scratch::new());
        let callable = handler.prepare_handler();
        let takes_arrays = callable.takes_array();
        let group = if takes_arrays { self.batch_size } else { 1 };
        let event_type = self.event_type()?;
        at.tell(|| {
            rights::for_functions(&self.path, &self.partition, || {
                for items in items.chunks(group) {
                    pgrx::check_for_interrupts!();
                    at.at(items[0].position, items[items.len() - 1].position);
                    scratch.run(|| {
                        let mut events: Vec<Datum> = items.iter().map(|i| i.event).collect();
                        let argument = if takes_arrays {
                            tuple::array_of(event_type, &mut events)
                        } else {
                            events[0]
                        };
                        callable.call([Some(argument)]);
                    });
                    scratch.reset();
                }
            });
        });
        Ok(())
    }

    /// Handles all stored events of a range, so many at a time as the projection says.
    ///
    /// # Errors
    /// As [`Self::handle`].
    pub fn handle_range(&self, after: i64, upto: i64, known: KnownIds) -> Result<()> {
        let mut events = Events::new(self, after, upto)?;
        let scratch = Scratch::new();
        loop {
            let done = scratch.run(|| {
                let items = events.next(self.at_once(), known)?;
                if !items.is_empty() {
                    self.handle(&items)?;
                }
                Ok(items.is_empty())
            })?;
            scratch.reset();
            if done {
                return Ok(());
            }
        }
    }
}
