//! Calling upcasters, and checking what they return: an event must stay the same event.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::dcb::error::{Error, Result, SqlState};
use crate::dcb::upcast::Chain;
use crate::store::Datum;
use crate::store::call::function::{Callable, ErrorContext};
use crate::store::pg::array::TextArray;
use crate::store::pg::composite::{self, RowType};
use crate::store::pg::json::Jsonb;
use crate::store::pg::scratch::Scratch;
use crate::store::pg::{fmgr, rights};
use crate::store::row::door::{Columns, Door};
use crate::store::row::event::{COLUMN_NAMES, Column, meta_text};

use super::definitions::{Definitions, Step};

/// Upcasters that are ready to be called. They live as long as the memory context in which they were made. What their
/// functions return or allocate is in the memory context of the call.
pub struct Upcasters<'d> {
    definitions: &'d Rc<Definitions>,
    prepared: RefCell<HashMap<usize, Rc<Prepared<'d>>>>,
    /// The memory in which functions are prepared; `None` if there are none.
    memory: Option<Scratch>,
}

struct Prepared<'d> {
    step: &'d Step,
    callable: Callable<'d>,
    event_type: RowType,
    at: ErrorContext,
}

impl<'d> Upcasters<'d> {
    /// Each function is prepared when it is first needed.
    pub fn new(definitions: &'d Rc<Definitions>) -> Self {
        Self {
            definitions,
            prepared: RefCell::default(),
            memory: (!definitions.is_empty()).then(Scratch::new),
        }
    }

    fn through(&self, chain: &Chain, mut columns: Columns) -> Result<Columns> {
        for n in &chain.steps {
            columns = self.prepared(*n)?.call(columns)?;
        }
        Ok(columns)
    }

    fn prepared(&self, n: usize) -> Result<Rc<Prepared<'d>>> {
        if let Some(prepared) = self.prepared.borrow().get(&n) {
            return Ok(Rc::clone(prepared));
        }
        let definitions: &'d Definitions = self.definitions;
        let step = definitions.step(n);
        let function = step.function()?;
        let prepare = || function.prepare();
        let prepared = Rc::new(Prepared {
            step,
            callable: self
                .memory
                .as_ref()
                .map_or_else(prepare, |m| m.run(prepare)),
            event_type: RowType::of(function.arguments[0]),
            at: ErrorContext::new(&step.title()),
        });
        self.prepared.borrow_mut().insert(n, Rc::clone(&prepared));
        Ok(prepared)
    }
}

impl Door for Upcasters<'_> {
    #[inline]
    fn is_old(&self, name: &str, version: i32) -> bool {
        self.definitions.chains().of(name, version).is_some()
    }

    /// # Errors
    /// 42883 if a function is gone; 22004, 22023 if it changes what it must not; those of the function, by unwinding.
    fn pass(&self, columns: Columns) -> Result<Columns> {
        let name = columns[Column::Type as usize].map_or(Ok(""), fmgr::text)?;
        match self.definitions.chains().of(name, version(&columns)) {
            Some(chain) => self.through(chain, columns),
            None => Ok(columns),
        }
    }
}

impl Prepared<'_> {
    fn call(&self, mut before: Columns) -> Result<Columns> {
        let position = before[0].map_or(0, |d| d.value() as i64);
        let event = self.event_type.make(&mut before)?;
        self.at.at(position, position);
        let answer = self.at.tell(|| {
            rights::for_functions(&self.step.path, "", || {
                self.callable.call_read_only([Some(event)])
            })
        });
        let Some(answer) = answer else {
            return Err(self
                .refused(SqlState::NullNotAllowed, position, "returned NULL")
                .hint("An event can be changed when it is read, not left out."));
        };
        let mut after: Columns = composite::columns(answer)?;
        if let Some(column) = changed(&before, &after)? {
            let what = format!("must not change {column}");
            return Err(self
                .refused(SqlState::InvalidParameter, position, &what)
                .hint(
                    "It may change data and meta, but not correlation_id and causation_id in meta.",
                ));
        }
        let Step { from, to, .. } = self.step;
        let name = after[Column::Type as usize].map(fmgr::text).transpose()?;
        let number = version(&after);
        if ![&*from.name, &*to.name].map(Some).contains(&name)
            || ![from.version, to.version].contains(&number)
        {
            let what = "returned another type or version than it is registered for";
            return Err(self
                .refused(SqlState::InvalidParameter, position, what)
                .hint(format!(
                    "It is registered to return {to}; it may leave both as they are."
                )));
        }
        after[Column::Type as usize] = Some(fmgr::make_varlena(to.name.as_bytes()));
        after[Column::SchemaVersion as usize] = Some(Datum::from(to.version));
        Ok(after)
    }

    /// The error of an event that the function has not treated as it must. New events have position 0.
    fn refused(&self, state: SqlState, position: i64, what: &str) -> Error {
        let error = Error::new(state, format!("{} {what}", self.step.title()));
        match position {
            0 => error,
            _ => error.detail(format!("The event is at position {position}.")),
        }
    }
}

fn version(columns: &Columns) -> i32 {
    columns[Column::SchemaVersion as usize].map_or(0, |d| d.value() as i32)
}

/// The name of something that was changed and must not change.
fn changed(before: &Columns, after: &Columns) -> Result<Option<String>> {
    for column in [
        Column::Position,
        Column::Id,
        Column::Tags,
        Column::Stream,
        Column::StreamVersion,
        Column::OccurredAt,
        Column::RecordedAt,
        Column::Partition,
    ] {
        if !is_same(column, before[column as usize], after[column as usize])? {
            let name = COLUMN_NAMES[column as usize].to_string_lossy();
            return Ok(Some(name.into_owned()));
        }
    }
    let meta = |columns: &Columns| columns[Column::Meta as usize];
    if meta(after).is_some_and(|m| !Jsonb::from_datum(m).is_object()) {
        return Ok(Some("meta into anything but an object".into()));
    }
    for key in ["correlation_id", "causation_id"] {
        if meta_text(meta(before), key)? != meta_text(meta(after), key)? {
            return Ok(Some(key.into()));
        }
    }
    Ok(None)
}

fn is_same(column: Column, before: Option<Datum>, after: Option<Datum>) -> Result<bool> {
    let (Some(before), Some(after)) = (before, after) else {
        return Ok(before.is_none() && after.is_none());
    };
    Ok(match column {
        Column::Id => fmgr::uuid(before) == fmgr::uuid(after),
        Column::Stream | Column::Partition => fmgr::varlena(before) == fmgr::varlena(after),
        Column::Tags => {
            let texts = |d| TextArray::from_datum(d, "tags ")?.texts();
            // An array with NULLs or with several dimensions is not readable, and not one that en57 has made.
            texts(after).is_ok_and(|after: Vec<&str>| texts(before).is_ok_and(|b| b == after))
        }
        _ => before.value() == after.value(),
    })
}
