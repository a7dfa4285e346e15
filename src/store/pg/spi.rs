//! Statements of en57's own, run through PostgreSQL's server programming interface.
//!
//! They look at what is committed by now, whatever the isolation level, as the append condition does: who
//! runs them holds a lock that keeps others from changing the answer, or asks for the newest state anyway.

use std::cell::RefCell;
use std::collections::HashMap;

use pgrx::pg_sys::{self, Datum, Oid};

use crate::dcb::error::{Error, Result, SqlState};

use super::{fmgr, guard};

/// The type of a parameter.
#[derive(Clone, Copy, Debug)]
pub enum Type {
    /// `text`
    Text,
    /// `boolean`
    Boolean,
    /// `bigint`
    Bigint,
    /// `jsonb`
    Jsonb,
    /// `regclass`, or any other oid
    Oid,
    /// `timestamptz`
    Time,
    /// `text[]`
    Texts,
    /// `bigint[]`
    Bigints,
    /// `jsonb[]`
    Jsonbs,
    /// `timestamptz[]`
    Times,
}

impl Type {
    fn oid(self) -> Oid {
        match self {
            Self::Text => pg_sys::TEXTOID,
            Self::Boolean => pg_sys::BOOLOID,
            Self::Bigint => pg_sys::INT8OID,
            Self::Jsonb => pg_sys::JSONBOID,
            Self::Oid => pg_sys::OIDOID,
            Self::Time => pg_sys::TIMESTAMPTZOID,
            Self::Texts => pg_sys::TEXTARRAYOID,
            Self::Bigints => pg_sys::INT8ARRAYOID,
            Self::Jsonbs => pg_sys::JSONBARRAYOID,
            Self::Times => pg_sys::TIMESTAMPTZARRAYOID,
        }
    }
}

/// A text as a parameter, in the current memory context.
pub fn text(value: &str) -> (Type, Option<Datum>) {
    (Type::Text, Some(fmgr::make_varlena(value.as_bytes())))
}

/// A row of a result; its values live in the memory context in which the statement was run.
pub type Values = Vec<Option<Datum>>;

thread_local! {
    /// The plans of the session, by statement. They are never freed: there are few different texts.
    static PLANS: RefCell<HashMap<String, pg_sys::SPIPlanPtr>> = RefCell::default();
}

/// Runs a statement with the caller's rights and returns all rows. It is planned once a session; names in
/// it must be qualified, operators too, unless it is run with a safe search path.
///
/// # Errors
/// PostgreSQL's own, by unwinding.
pub fn run(sql: &str, parameters: &[(Type, Option<Datum>)]) -> Result<Vec<Values>> {
    let mut values: Vec<Datum> = parameters
        .iter()
        .map(|(_, p)| p.unwrap_or(Datum::from(0)))
        .collect();
    let nulls: Vec<_> = parameters
        .iter()
        .map(|(_, p)| if p.is_some() { b' ' } else { b'n' } as std::ffi::c_char)
        .collect();
    // SAFETY: connect and finish are paired; an error in between leaves the connection to the abort of the
    // (sub)transaction. Values and nulls are as many as the plan has parameters.
    unsafe {
        demand(pg_sys::SPI_connect(), "SPI_connect")?;
        let code = pg_sys::SPI_execute_snapshot(
            plan(sql, parameters)?,
            values.as_mut_ptr(),
            nulls.as_ptr(),
            pg_sys::GetLatestSnapshot(),
            std::ptr::null_mut(),
            false,
            true,
            0,
        );
        demand(code, "SPI_execute_snapshot")?;
        let rows = rows();
        demand(pg_sys::SPI_finish(), "SPI_finish")?;
        Ok(rows)
    }
}

/// Runs a command once, with the caller's rights.
///
/// # Errors
/// PostgreSQL's own, by unwinding.
pub fn command(sql: &str) -> Result<()> {
    let sql = guard::text(sql);
    // SAFETY: as above.
    unsafe {
        demand(pg_sys::SPI_connect(), "SPI_connect")?;
        demand(pg_sys::SPI_execute(sql.as_ptr(), false, 0), "SPI_execute")?;
        demand(pg_sys::SPI_finish(), "SPI_finish")
    }
}

/// The plan of a statement. Called while connected.
unsafe fn plan(sql: &str, parameters: &[(Type, Option<Datum>)]) -> Result<pg_sys::SPIPlanPtr> {
    if let Some(known) = PLANS.with_borrow(|plans| plans.get(sql).copied()) {
        return Ok(known);
    }
    let text = guard::text(sql);
    let mut types: Vec<Oid> = parameters.iter().map(|(t, _)| t.oid()).collect();
    // SAFETY: as many types as said; the plan is kept beyond the connection.
    let plan = unsafe {
        let plan = pg_sys::SPI_prepare(text.as_ptr(), types.len() as i32, types.as_mut_ptr());
        if plan.is_null() {
            return Err(failed("SPI_prepare"));
        }
        demand(pg_sys::SPI_keepplan(plan), "SPI_keepplan")?;
        plan
    };
    PLANS.with_borrow_mut(|plans| plans.insert(sql.to_owned(), plan));
    Ok(plan)
}

/// The rows of the statement that has just run, transferred to the memory context outside.
unsafe fn rows() -> Vec<Values> {
    // SAFETY: the table of results is null or valid until SPI_finish; values are copied out of it.
    unsafe {
        let table = pg_sys::SPI_tuptable;
        if table.is_null() {
            return Vec::new();
        }
        let descriptor = (*table).tupdesc;
        let columns = (*descriptor).natts;
        let row = |tuple| {
            let value = |n| {
                let mut null = false;
                let value = pg_sys::SPI_getbinval(tuple, descriptor, n, &mut null);
                if null {
                    return None;
                }
                let (mut length, mut by_value) = (0, false);
                let of = pg_sys::SPI_gettypeid(descriptor, n);
                pg_sys::get_typlenbyval(of, &mut length, &mut by_value);
                Some(pg_sys::SPI_datumTransfer(
                    value,
                    by_value,
                    i32::from(length),
                ))
            };
            (1..=columns).map(value).collect()
        };
        let count = (*table).numvals as usize;
        (0..count).map(|i| row(*(*table).vals.add(i))).collect()
    }
}

fn demand(code: i32, call: &str) -> Result<()> {
    if code < 0 {
        return Err(failed(call));
    }
    Ok(())
}

fn failed(call: &str) -> Error {
    Error::new(SqlState::Internal, format!("{call} failed"))
}
