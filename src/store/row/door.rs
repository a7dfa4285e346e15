//! The door by which events reach functions and clients.
//!
//! What is stored is a [`Row`]; what waits in memory to be handed out is [`Unread`], or [`EventCopy`]. None of them can be
//! handed out: whatever makes a value, a result row or JSON of an event takes an [`Event`], or gets its columns from
//! [`Unread::read`] or [`EventCopy::read`]. All three ways need a [`Door`], which says what an event has become. Doors are made by
//! `upcast` alone (`.ci/ranks` looks), so no reader can forget to upcast.

use std::ops::Deref;

use pgrx::pg_sys::Datum;

use crate::dcb::error::Result;
use crate::store::pg::composite::{self, RowType};
use crate::store::pg::fmgr;

use super::event::{Column, EVENT_COLUMNS, Row};

/// The columns of an event, NULL as `None`.
pub type Columns = [Option<Datum>; EVENT_COLUMNS];

/// Says what events have become for their readers.
pub trait Door {
    /// Whether events that are stored with this type and version have become others.
    fn is_old(&self, name: &str, version: i32) -> bool;

    /// What such an event has become.
    ///
    /// # Errors
    /// Those of upcasters.
    fn pass(&self, columns: Columns) -> Result<Columns>;
}

/// An event as a reader may have it. It is a row, too, whose columns are what upcasters have made of them.
#[repr(transparent)]
pub struct Event(Row);

impl Event {
    fn of(row: &Row) -> &Self {
        // SAFETY: an `Event` is nothing but a `Row`, and transparent.
        unsafe { &*std::ptr::from_ref(row).cast() }
    }
}

impl Deref for Event {
    type Target = Row;

    fn deref(&self) -> &Row {
        &self.0
    }
}

/// An event that has passed the door.
pub enum Passed<'r> {
    /// It is as it is stored.
    AsStored(&'r Row),
    /// What upcasters have made of it.
    Upcast(Event),
}

impl Passed<'_> {
    /// Whether upcasters have made it.
    pub fn is_upcast(&self) -> bool {
        matches!(self, Self::Upcast(_))
    }
}

impl Deref for Passed<'_> {
    type Target = Event;

    fn deref(&self) -> &Event {
        match self {
            Self::AsStored(row) => Event::of(row),
            Self::Upcast(event) => event,
        }
    }
}

impl Row {
    /// The event that a reader may have of it. What upcasters make is in the current memory context.
    ///
    /// # Errors
    /// Those of damaged rows, and of upcasters.
    #[inline]
    pub fn read(&self, door: &impl Door) -> Result<Passed<'_>> {
        if !door.is_old(self.event_type()?, self.schema_version()) {
            return Ok(Passed::AsStored(self));
        }
        let columns = door.pass(self.columns())?;
        Ok(Passed::Upcast(Event(self.upcast(&columns))))
    }
}

/// The columns of an event that is not stored yet, or in no log. It has a type and a version that may be old.
pub struct Unread(Columns);

impl Unread {
    /// Of columns that somebody in the store has made.
    pub(in crate::store) fn new(columns: Columns) -> Self {
        Self(columns)
    }

    /// Lets a column that is NULL have a value.
    pub fn complete(&mut self, column: Column, value: Datum) {
        self.0[column as usize].get_or_insert(value);
    }

    /// The columns that a reader may have.
    ///
    /// # Errors
    /// Those of upcasters.
    pub fn read(self, door: &impl Door) -> Result<Columns> {
        let name = self.0[Column::Type as usize].map_or(Ok(""), fmgr::text)?;
        let version = self.0[Column::SchemaVersion as usize].map_or(0, |d| d.value() as i32);
        if door.is_old(name, version) {
            return door.pass(self.0);
        }
        Ok(self.0)
    }
}

/// A copy of a stored event, as a value. It passes the door when it is handed out, so that an upcaster's error is one of
/// handling it.
pub struct EventCopy {
    value: Datum,
    is_old: bool,
}

impl EventCopy {
    /// A copy in the current memory context; `door` is the one by which it is going to be read.
    ///
    /// # Errors
    /// 55000 where the row type was altered; those of damaged rows.
    pub fn new(row: &Row, row_type: &RowType, door: &impl Door) -> Result<Self> {
        Ok(Self {
            value: row_type.make(&mut row.columns())?,
            is_old: door.is_old(row.event_type()?, row.schema_version()),
        })
    }

    /// The value that a reader may have. What upcasters make is in the current memory context.
    ///
    /// # Errors
    /// Those of upcasters.
    pub fn read(&self, row_type: &RowType, door: &impl Door) -> Result<Datum> {
        if !self.is_old {
            return Ok(self.value);
        }
        row_type.make(&mut door.pass(composite::columns(self.value)?)?)
    }
}
