//! Applying stored events to a projection: calling its handler, or folding them into its documents.

use std::ops::Deref;
use std::rc::Rc;

use crate::dcb::error::Result;
use crate::dcb::query::Query;
use crate::read::Reading;
use crate::store::Datum;
use crate::store::call::function::ErrorContext;
use crate::store::pg::composite::{self, RowType};
use crate::store::pg::rights;
use crate::store::pg::scratch::Scratch;
use crate::store::row::door::EventCopy;
use crate::upcast::ReadBy;

use super::definition::{KIND, Projection, Work};
use super::document::IdSource;

/// How many events are folded into documents together at least.
const DOCUMENT_EVENTS: usize = 10_000;

/// A stored event that is to be handled.
pub struct Item {
    /// Its position.
    pub position: i64,
    /// When it was recorded.
    pub recorded_at_us: i64,
    /// The event as it is stored. It is upcast when it is handled, so an error of an upcaster is an error of handling it.
    event: EventCopy,
    /// The documents that it belongs to; `None`: only the key function knows.
    pub ids: Option<Vec<String>>,
}

/// An event that is upcast: functions can be called with it.
pub struct Ready<'i> {
    item: &'i Item,
    /// As a value, in the memory context in which it was read.
    pub event: Datum,
}

impl Deref for Ready<'_> {
    type Target = Item;

    fn deref(&self) -> &Item {
        self.item
    }
}

/// The stored events that a projection is to handle, some at a time.
pub struct Events<'p> {
    projection: &'p Projection,
    reading: Reading,
    more: bool,
}

/// Gives the documents of an event by its position, if the key function was asked before.
pub type KnownIds<'k> = &'k dyn Fn(i64) -> Option<Vec<String>>;

impl<'p> Events<'p> {
    /// The events of a range that match. All of them must be settled, or the transaction's own.
    ///
    /// # Errors
    /// 42704 where the partition is gone.
    pub fn new(projection: &'p Projection, after: i64, upto: i64) -> Result<Self> {
        Self::among(projection, projection.query.clone(), after, upto)
    }

    /// The events of a range that match another query, which is part of the projection's.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn among(projection: &'p Projection, query: Query, after: i64, upto: i64) -> Result<Self> {
        let partition = &projection.partition;
        Ok(Self {
            projection,
            reading: Reading::of_settled(query, partition, after, upto)?,
            more: true,
        })
    }

    /// The next events, `at_most` so many, in the current memory context. Empty at the end.
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
        let read_by = self.reading.read_by();
        let door = read_by.door();
        self.more = self.reading.fill_rows(at_most, &mut |row| {
            let ids = match key {
                Some(IdSource::Function(_)) => known(row.position()),
                Some(key) => key.ids_of_row(row)?,
                None => None,
            };
            items.push(Item {
                position: row.position(),
                recorded_at_us: row.recorded_at_us(),
                event: EventCopy::new(row, &event_type, &door)?,
                ids,
            });
            Ok(())
        })?;
        Ok(items)
    }

    /// The upcasters by which these events were found, and by which they are read.
    pub fn read_by(&self) -> Rc<ReadBy> {
        self.reading.read_by()
    }
}

impl Projection {
    /// What an error's CONTEXT says of a function of this projection.
    pub fn error_context(&self, role: &str) -> ErrorContext {
        let name = match &self.work {
            Work::Handler(handler) => &handler.name,
            Work::Documents(documents) => match &documents.key {
                IdSource::Function(key) if role == "key" => &key.name,
                _ => &documents.evolve.name,
            },
        };
        ErrorContext::new(&format!("{role} {name} of projection \"{}\"", self.name))
    }

    /// How many events are handled together. A document is written once for all of them. Each write leaves an old version of
    /// the row until the transaction ends, and slows down the next look at the document: so many events are taken at once.
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
    pub fn handle(&self, items: &[Item], read_by: &ReadBy) -> Result<()> {
        let mut ready = Vec::with_capacity(items.len());
        self.read(items, read_by, &mut ready)?;
        self.handle_ready(&ready)
    }

    /// Upcasts events and adds them to `ready`, up to one that fails.
    ///
    /// # Errors
    /// Those of upcasters.
    pub fn read<'i>(
        &self,
        items: &'i [Item],
        read_by: &ReadBy,
        ready: &mut Vec<Ready<'i>>,
    ) -> Result<()> {
        let (door, event_type) = (read_by.door(), RowType::of(self.event_type()?));
        for item in items {
            let event = item.event.read(&event_type, &door)?;
            ready.push(Ready { item, event });
        }
        Ok(())
    }

    fn handle_ready(&self, items: &[Ready]) -> Result<()> {
        let handler = match &self.work {
            Work::Documents(documents) => {
                return rights::for_functions(&self.path, &self.partition, || {
                    let by_id = documents.by_id(self, items)?;
                    let context = self.error_context("evolve function");
                    context.tell(|| documents.fold(self, by_id, &context))
                });
            }
            Work::Handler(handler) => handler.function(KIND, &self.name)?,
        };
        let (context, scratch) = (self.error_context("handler"), Scratch::new());
        let callable = handler.prepare_handler();
        let takes_arrays = callable.takes_array();
        let group = if takes_arrays { self.batch_size } else { 1 };
        let event_type = self.event_type()?;
        context.tell(|| {
            rights::for_functions(&self.path, &self.partition, || {
                for items in items.chunks(group) {
                    pgrx::check_for_interrupts!();
                    context.at(items[0].position, items[items.len() - 1].position);
                    scratch.run(|| {
                        let mut events: Vec<Datum> = items.iter().map(|i| i.event).collect();
                        let argument = if takes_arrays {
                            composite::array_of(event_type, &mut events)
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

    /// Handles all stored events of a range, [`Self::at_once`] at a time.
    ///
    /// # Errors
    /// As [`Self::handle`].
    pub fn handle_range(&self, after: i64, upto: i64, known: KnownIds) -> Result<()> {
        let mut events = Events::new(self, after, upto)?;
        let read_by = events.read_by();
        let scratch = Scratch::new();
        loop {
            let done = scratch.run(|| {
                let items = events.next(self.at_once(), known)?;
                if !items.is_empty() {
                    self.handle(&items, &read_by)?;
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
