//! Folds: `en57_fold`, `en57_state`, and what belongs to them.

use crate::dcb::error::required;
use crate::definition::name::IfTaken;
use crate::fold::{self, Range, Until, evolve};
use crate::sql_function;
use crate::store::pg::composite::{self, RowType};
use crate::store::pg::fmgr::Args;
use crate::store::{Datum, Oid};
use crate::trial;

use super::DONE;

sql_function!(en57_fold, |args: &Args| {
    let function = required(args.text(1)?, "evolve")?;
    let initial = args.datum(2);
    let evolve = evolve::check(function, composite::event_type(args)?, initial.is_some())?;
    let range = Range {
        query: args.query(0)?,
        upto: args.i64(3),
        until: Until::of(args.i64(4), args.i64(6)),
        partition: args.text(5)?,
    };
    let state = fold::fold(range, &evolve, initial)?;
    RowType::of_result(args)?
        .make(&mut [state.state, Some(Datum::from(state.position))])
        .map(Some)
});

sql_function!(en57_state, |args: &Args| {
    let until = Until::of(args.i64(3), args.i64(4));
    let state = fold::state(args.text(0)?, args.query(1)?, until, args.text(2)?)?;
    let mut columns = [
        state.state,
        Some(Datum::from(state.position)),
        state.stream_version.map(Datum::from),
    ];
    RowType::of_result(args)?.make(&mut columns).map(Some)
});

sql_function!(en57_create_fold, |args: &Args| {
    fold::create(&fold::NewFold {
        name: args.text(0)?,
        evolve: args.text(1)?,
        initial: args.datum(2),
        snapshot_every: args.i32(3),
        decider: None,
        if_taken: IfTaken::said(args.bool(5), args.bool(4))?,
        event_type: composite::event_type(args)?,
        query_type: Oid::INVALID,
    })?;
    DONE
});

sql_function!(en57_drop_fold, |args: &Args| {
    fold::remove(args.text(0)?, "fold")?;
    DONE
});

sql_function!(en57_drop_snapshots, |args: &Args| {
    Ok(Some(Datum::from(fold::drop_snapshots(args.text(0)?)?)))
});

sql_function!(en57_try_fold, |args: &Args| {
    trial::fold::try_on(args.text(0)?, args.datum(1), args.query(2)?)
});
