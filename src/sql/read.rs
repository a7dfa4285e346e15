//! `en57_read` and its relatives, and `en57_wait`.

use crate::dcb::error::{Error, Result, SqlState};
use crate::read::context::{self, Part};
use crate::read::inventory::{self, Inventory, Wanted};
use crate::read::{self, Options, Reading, estimate, time, wait};
use crate::store::Datum;
use crate::store::index::entry::Direction;
use crate::store::index::scan::Range;
use crate::store::pg::clock;
use crate::store::pg::composite::{self, RowType};
use crate::store::pg::fmgr::{self, Args};
use crate::store::pg::xmin::XminRelease;
use crate::store::row::door::Event;
use crate::store::row::event::Column;
use crate::store::row::{event_tuple, srf};
use crate::store::scan::{self, Estimate};
use crate::upcast::Upcast;
use crate::{scanned_function, sql_function};

scanned_function!(
    /// `en57_read`
    READ,
    en57_read,
    start,
    c"Query",
    &[],
    &[Column::Position],
    Estimate {
        needed: &[0, 8],
        counted: &[1, 2, 3],
        narrowing: &[5, 6, 7],
        count: |args| {
            let default = Options::default();
            let range = Range {
                after: args.i64(1).unwrap_or(default.after),
                upto: args.i64(2).unwrap_or(default.upto),
            };
            let events = estimate::events(args.query(0).ok()?, range, args.text(8).ok()?);
            Some(estimate::at_most(events.ok()?, args.i64(3)))
        },
    }
);

fn start(args: &Args) -> Result<Reading> {
    let default = Options::default();
    let (recorded_from_us, partition) = (args.i64(7), args.text(8)?);
    let from = recorded_from_us.map(|at| time::before(at, partition));
    let after = args.i64(1).unwrap_or(default.after);
    let options = Options {
        // A number below 0 is refused all the same.
        after: from.transpose()?.map_or(after, |from| match after {
            0.. => after.max(from),
            _ => after,
        }),
        upto: args.i64(2).unwrap_or(default.upto),
        max_count: args.i64(3).unwrap_or(default.max_count),
        direction: match args.bool(4) {
            Some(true) => Direction::Backward,
            _ => Direction::Forward,
        },
        as_of_us: args.i64(5),
        occurred_until_us: args.i64(6),
        recorded_from_us,
        upcast: match args.bool(9) {
            Some(false) => Upcast::No,
            _ => Upcast::Run,
        },
        ..default
    };
    Reading::start(args.query(0)?, options, partition)
}

sql_function!(en57_read_rows, |args: &Args| Ok(scan::rows(args)));

sql_function!(en57_context, |args: &Args| {
    let row_type = RowType::of_result(args)?;
    let element = composite::element_type(composite::column_type(&row_type, 1));
    let event_type = RowType::of(element);
    let mut events = Vec::new();
    let part = Part {
        after: args.i64(2).unwrap_or(0),
        max_count: args.i64(3),
    };
    let position = context::context(args.query(0)?, part, args.text(1)?, &mut |event| {
        events.push(event_type.make(&mut event_tuple::event_columns(event))?);
        Ok(())
    })?;
    let position = Some(Datum::from(position));
    row_type
        .make(&mut [position, Some(composite::array_of(element, &mut events))])
        .map(Some)
});

/// The one event that a function returns, as a value of its result type.
fn one(
    args: &Args,
    find: impl FnOnce(&mut dyn FnMut(&Event) -> Result<()>) -> Result<()>,
) -> Result<Option<Datum>> {
    let row_type = RowType::of_result(args)?;
    let mut found = None;
    find(&mut |row| {
        found = Some(row_type.make(&mut event_tuple::event_columns(row))?);
        Ok(())
    })?;
    Ok(found)
}

sql_function!(en57_last, |args: &Args| {
    let query = args.query(0)?;
    one(args, |sink| read::last(query, args.text(1)?, sink))
});

sql_function!(en57_get, |args: &Args| {
    let Some(id) = args.datum(0).map(fmgr::uuid) else {
        return Ok(None);
    };
    one(args, |sink| read::by_id(&id, args.text(1)?, sink))
});

sql_function!(en57_exists, |args: &Args| {
    let found = read::exists(args.query(0)?, args.text(1)?)?;
    Ok(Some(Datum::from(found)))
});

sql_function!(en57_count, |args: &Args| {
    Ok(Some(Datum::from(read::count(
        args.query(0)?,
        args.text(1)?,
    )?)))
});

sql_function!(en57_position_at, |args: &Args| {
    let Some(at_us) = args.i64(0) else {
        return Ok(None);
    };
    Ok(Some(Datum::from(time::position_at(at_us, args.text(1)?)?)))
});

/// Names with what is known of their events.
fn inventory(args: &Args, names: &Inventory) -> Result<Option<Datum>> {
    srf::respond_at_once(args, |put| {
        names.iter().try_for_each(|(name, events)| {
            put([
                Some(fmgr::make_varlena(name.as_bytes())),
                Some(Datum::from(events.count)),
                Some(Datum::from(events.first.0)),
                Some(Datum::from(events.last.0)),
                Some(Datum::from(events.first.1)),
                Some(Datum::from(events.last.1)),
            ])
        })
    })
}

sql_function!(en57_types, |args: &Args| {
    inventory(args, &inventory::types(args.text(0)?)?)
});

sql_function!(en57_tags, |args: &Args| {
    let wanted = Wanted {
        prefix: args.text(0)?.unwrap_or_default(),
        after: args.text(1)?,
        max_count: args.i64(2),
    };
    inventory(args, &inventory::tags(&wanted, args.text(3)?)?)
});

sql_function!(en57_head, |args: &Args| {
    Ok(Some(Datum::from(read::head(
        args.query(0)?,
        args.text(1)?,
    )?)))
});

sql_function!(en57_wait, |args: &Args| {
    let (Some(after), Some(timeout)) = (args.i64(0), args.datum(1)) else {
        return Err(Error::new(
            SqlState::NullNotAllowed,
            "after and timeout must not be NULL",
        ));
    };
    let (timeout_ms, query) = (clock::interval_ms(timeout)?, args.query(2)?);
    let frontier = wait::wait(
        after,
        timeout_ms,
        query.as_ref(),
        args.text(3)?,
        XminRelease::for_call(args),
    )?;
    Ok(Some(Datum::from(frontier)))
});
