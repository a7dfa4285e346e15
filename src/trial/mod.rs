//! Trying definitions on given events: as if these were all events of the log.
//!
//! It stores nothing, and shows nothing that the caller may not read. It uses `append`, `projection`, `invariant`,
//! `fold`, `upcast`, `store` and `dcb`.

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

/// Given events, as if they were stored in a partition.
pub struct Trial<'a> {
    events: Vec<GivenEvent<'a>>,
    partition: &'a str,
    definitions: Rc<Definitions>,
}

impl<'a> Trial<'a> {
    /// The events of a document, as if they were stored in a partition. The caller must have the right to read it: the
    /// functions run with the rights of their owners, and may show what is stored there.
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

    /// Hands the events that match to `sink`, in the order of their positions, each with the row that functions take.
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
