//! Trying definitions on given events, as if these were all that there are. Nothing is stored.

pub mod fold;
pub mod invariant;
pub mod projection;

use std::rc::Rc;

use crate::append::given_events::{self, GivenEvent};
use crate::dcb::error::{Result, required};
use crate::dcb::query::Query;
use crate::store::Datum;
use crate::store::log::catalog;
use crate::store::log::partition::Access;
use crate::store::pg::composite::RowType;
use crate::store::pg::json::Jsonb;
use crate::upcast::{self, Definitions, Upcasters};

/// GivenEvent events, in a partition.
pub struct Trial<'a> {
    events: Vec<GivenEvent<'a>>,
    partition: &'a str,
    definitions: Rc<Definitions>,
}

impl<'a> Trial<'a> {
    /// Those of a document, as if they were in a partition. The functions that they are tried on run with their owners'
    /// rights: they are not to tell of what the caller may not read.
    ///
    /// # Errors
    /// 22004, 22023; 42501 and 42704 of the partition.
    pub fn of(given: Option<Datum>, partition: &'a str) -> Result<Self> {
        let events = given_events::events(Jsonb::from_datum(required(given, "given")?))?;
        catalog::store()?.demand(partition, Access::Read)?;
        Ok(Self {
            events,
            partition,
            definitions: upcast::known()?,
        })
    }

    /// The partition.
    pub fn partition(&self) -> &str {
        self.partition
    }

    /// Hands those that match to `sink`, in the order of their positions, with what functions take of them.
    ///
    /// # Errors
    /// Those of upcasters and of `sink`.
    pub fn each(
        &self,
        query: &Query,
        event_type: &RowType,
        mut sink: impl FnMut(&GivenEvent, Datum) -> Result<()>,
    ) -> Result<()> {
        let upcasters = Upcasters::new(&self.definitions);
        for given in &self.events {
            let event = &given.event;
            let chains = self.definitions.chains();
            let name = chains.name_of(event.event_type, event.schema_version);
            if !query.matches(&event.candidate(name).at(given.position)) {
                continue;
            }
            pgrx::check_for_interrupts!();
            let mut columns = given.columns(self.partition).read(&upcasters)?;
            sink(given, event_type.make(&mut columns)?)?;
        }
        Ok(())
    }
}
