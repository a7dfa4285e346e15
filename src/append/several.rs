//! Doing several things in one call, each of which can fail without the others: many appends, many commands.
//!
//! A subtransaction for each would be dear: one that writes needs a transaction id of its own, and a transaction with more
//! than 64 of them slows down everybody's snapshots. So all are tried together in one. Only if one of them fails, those
//! before it are done once more, without it, and the others after it. So functions of users may be called more than once
//! for what is stored once.

use std::cell::Cell;
use std::ops::Range;

use crate::dcb::error::Result;
use crate::store::pg::subtransaction::{Failure, Then, in_subtransaction, in_subtransaction_then};

/// What became of one of them: its result, or why it failed.
pub type Done<T> = std::result::Result<T, Failure>;

/// What became of several of which all are to be done or none: all results, or the first one that was not good, with its
/// number.
pub type AllOrNone<T> = std::result::Result<Vec<T>, (usize, Done<T>)>;

/// Does `one` for each number below `n`, in their order. What fails leaves nothing behind.
///
/// # Errors
/// What concerns the whole call: somebody has cancelled it, a deadlock, a lack of memory, an internal error.
pub fn each<T>(n: usize, mut one: impl FnMut(usize) -> Result<T>) -> Result<Vec<Done<T>>> {
    let mut done: Vec<Done<T>> = Vec::with_capacity(n);
    let mut end = n;
    while done.len() < n {
        let start = done.len();
        match together(start..end, &mut one)? {
            Ok(values) => {
                done.extend(values.into_iter().map(Ok));
                end = n;
            }
            Err((at, failure)) if at == start => {
                done.push(Err(failure));
                end = n;
            }
            // What was done before it is undone with it.
            Err((at, _)) => end = at,
        }
    }
    Ok(done)
}

/// Does `one` for all of a range in one subtransaction, or tells which one has failed.
fn together<T>(
    range: Range<usize>,
    one: &mut impl FnMut(usize) -> Result<T>,
) -> Result<std::result::Result<Vec<T>, (usize, Failure)>> {
    let at = Cell::new(range.start);
    let outcome = in_subtransaction(|| {
        let doing = range.map(|n| {
            at.set(n);
            pgrx::check_for_interrupts!();
            one(n)
        });
        doing.collect()
    })?;
    match outcome {
        Ok(values) => Ok(Ok(values)),
        Err(failure) if concerns_all(&failure) => failure.raise(),
        Err(failure) => Ok(Err((at.get(), failure))),
    }
}

/// Does `one` for each number below `n`, until one of them fails or has no result that is `good`. Then nothing is left of
/// any, and the answer is that one with its number. Otherwise the answer is all results.
///
/// # Errors
/// As [`each`].
pub fn all_or_none<T>(
    n: usize,
    mut one: impl FnMut(usize) -> Result<T>,
    good: impl Fn(&T) -> bool,
) -> Result<AllOrNone<T>> {
    let at = Cell::new(0);
    let outcome = in_subtransaction_then(|| {
        let mut values = Vec::with_capacity(n);
        for n in 0..n {
            at.set(n);
            pgrx::check_for_interrupts!();
            let value = one(n)?;
            if !good(&value) {
                return Ok((Err((n, Ok(value))), Then::Undo));
            }
            values.push(value);
        }
        Ok((Ok(values), Then::Keep))
    })?;
    match outcome {
        Ok(outcome) => Ok(outcome),
        Err(failure) if concerns_all(&failure) => failure.raise(),
        Err(failure) => Ok(Err((at.get(), Err(failure)))),
    }
}

/// Whether no other request could fare better: the caller must send all of them again, or somebody must look at the server.
fn concerns_all(failure: &Failure) -> bool {
    failure.is_transient() || failure.state.starts_with("XX")
}
