//! What sql/subscriptions.sql calls.

use crate::dcb::error::{Error, Result, SqlState, required};
use crate::dcb::shard::{Key, Shard};
use crate::definition::name::{self, IfTaken, Taken};
use crate::read::Options;
use crate::sql_function;
use crate::store::Datum;
use crate::store::lock::subscription as subscription_lock;
use crate::store::pg::array::TextArray;
use crate::store::pg::clock;
use crate::store::pg::fmgr::{self, Args};
use crate::store::pg::xmin::XminRelease;
use crate::store::row::srf;
use crate::store::session::transaction;
use crate::subscription::{self, ShardReading};

/// An argument that the callers in SQL always give.
fn given<T>(value: Option<T>) -> Result<T> {
    value.ok_or_else(|| Error::new(SqlState::NullNotAllowed, "NULL is not allowed here"))
}

sql_function!(en57_settled, |args: &Args| {
    let frontier = subscription::settled(args.query(0)?, args.text(1)?)?;
    Ok(Some(Datum::from(frontier)))
});

sql_function!(en57_read_shard, |args: &Args| {
    srf::respond(args, &srf::EVENTS, || {
        let default = Options::default();
        let options = Options {
            after: given(args.i64(1))?.max(0),
            upto: args.i64(2).unwrap_or(default.upto),
            max_count: args.i64(3).unwrap_or(default.max_count),
            ..default
        };
        let shard = Shard::new(given(args.i32(4))?, given(args.i32(5))?)?;
        ShardReading::start(args.query(0)?, options, shard, args.text(6)?)
    })
});

sql_function!(en57_shard_of, |args: &Args| {
    let shards = Shard::new(0, given(args.i32(1))?)?;
    let shard = Key::parse(given(args.text(0)?)?)?.shard_of(shards);
    Ok(Some(Datum::from(shard)))
});

sql_function!(en57_lock_subscription, |args: &Args| {
    let (id, exclusive) = (given(args.i32(0))?, given(args.bool(1))?);
    let locked = subscription_lock::lock_subscription(id, exclusive, given(args.bool(2))?);
    Ok(Some(Datum::from(locked)))
});

sql_function!(en57_unlock_subscription, |args: &Args| {
    subscription_lock::unlock_subscription(given(args.i32(0))?);
    Ok(Some(Datum::from(0)))
});

sql_function!(en57_lock_shard, |args: &Args| {
    let (id, shard) = (given(args.i32(0))?, given(args.i32(1))?);
    let locked = subscription_lock::lock_shard(id, shard, given(args.bool(2))?);
    Ok(Some(Datum::from(locked)))
});

sql_function!(en57_note_polled, |args: &Args| {
    let (id, shard) = (given(args.i32(0))?, given(args.i32(1))?);
    subscription_lock::note_polled(id, shard, given(args.i64(2))?);
    Ok(Some(Datum::from(0)))
});

sql_function!(en57_polled, |args: &Args| {
    let (id, shard) = (given(args.i32(0))?, given(args.i32(1))?);
    Ok(subscription_lock::polled(id, shard).map(Datum::from))
});

sql_function!(en57_note_empty_handed, |args: &Args| {
    let (name, shard) = (given(args.text(0)?)?, given(args.i32(1))?);
    subscription_lock::note_empty_handed(name, shard, given(args.bool(2))?);
    Ok(Some(Datum::from(0)))
});

sql_function!(en57_is_empty_handed, |args: &Args| {
    let (Some(name), Some(shard)) = (args.text(0)?, args.i32(1)) else {
        return Ok(Some(Datum::from(false)));
    };
    let is_empty = subscription_lock::is_empty_handed(name, shard);
    Ok(Some(Datum::from(is_empty)))
});

sql_function!(en57_moved, |_: &Args| {
    transaction::wake_at_commit();
    Ok(Some(Datum::from(0)))
});

sql_function!(en57_wait_subscription, |args: &Args| {
    let timeout = required(args.datum(2), "timeout")?;
    let timeout_ms = clock::interval_ms(timeout)?;
    let (name, position) = (args.text(0)?, args.i64(1));
    let done = subscription::wait(name, position, timeout_ms, XminRelease::for_call(args))?;
    Ok(Some(Datum::from(done)))
});

sql_function!(en57_last_read, |_: &Args| {
    Ok(Some(Datum::from(subscription_lock::last_read())))
});

sql_function!(en57_complete_to, |_: &Args| {
    Ok(Some(Datum::from(subscription_lock::complete_to())))
});

sql_function!(en57_ticket, |_: &Args| {
    Ok(Some(Datum::from(subscription_lock::ticket()?)))
});

sql_function!(en57_redeem, |args: &Args| {
    Ok(Some(Datum::from(subscription_lock::redeem(given(
        args.i64(0),
    )?)?)))
});

sql_function!(en57_session, |_: &Args| {
    let name = subscription_lock::session();
    Ok(Some(fmgr::make_varlena(name.as_bytes())))
});

sql_function!(en57_is_to_change, |args: &Args| {
    let if_taken = IfTaken::said(args.bool(4), args.bool(5))?;
    let (kind, name) = (given(args.text(0)?)?, args.text(1)?.unwrap_or_default());
    let Some(differs_in) = args.datum(2) else {
        return Ok(None);
    };
    let is_elsewhere = given(args.bool(3))?;
    let changes = if_taken.changes(&Taken {
        title: &format!("{kind} \"{name}\""),
        differs_in: TextArray::from_datum(differs_in, "differs_in ")?.texts()?,
        is_replaceable: !is_elsewhere,
    })?;
    if changes && is_elsewhere {
        return Err(name::of_another_partition(kind, name));
    }
    Ok(Some(Datum::from(changes)))
});
