//! `en57_read_stream`, `en57_stream`, `en57_streams` and `en57_trace`.

use crate::dcb::error::{Error, Result, SqlState};
use crate::read::stream::{self, Listing, Window};
use crate::read::trace::Trace;
use crate::read::{Reading, estimate};
use crate::store::index::entry::Direction;
use crate::store::index::scan::Range;
use crate::store::pg::composite::{self, RowType};
use crate::store::pg::fmgr::{self, Args};
use crate::store::row::event::Column;
use crate::store::row::{event_tuple, srf};
use crate::store::scan::Estimate;
use crate::{scanned_function, sql_function};

scanned_function!(
    /// `en57_read_stream`
    READ_STREAM,
    en57_read_stream,
    start,
    c"Stream",
    &[1, 2],
    &[Column::StreamVersion, Column::Position],
    Estimate {
        needed: &[0, 5],
        counted: &[1, 2, 3],
        narrowing: &[],
        count: |args| {
            let query = stream::query_of(args.text(0).ok()??);
            let all = Range {
                after: 0,
                upto: i64::MAX,
            };
            let events = estimate::events(Some(query), all, args.text(5).ok()?).ok()?;
            let from = args.i64(1).unwrap_or(1).max(1);
            let window = args.i64(2).map(|to| to.saturating_sub(from - 1).max(0));
            let left = (events - (from - 1) as f64).max(0.0);
            Some(estimate::at_most(estimate::at_most(left, window), args.i64(3)))
        },
    }
);

fn start(args: &Args) -> Result<Reading> {
    let Some(name) = args.text(0)? else {
        let message = "stream must not be NULL";
        return Err(Error::new(SqlState::NullNotAllowed, message));
    };
    let window = Window {
        from: args.i64(1).unwrap_or(Window::ALL.from),
        to: args.i64(2).unwrap_or(Window::ALL.to),
        max_count: args.i64(3).unwrap_or(Window::ALL.max_count),
        direction: match args.bool(4) {
            Some(true) => Direction::Backward,
            _ => Direction::Forward,
        },
    };
    stream::read(name, window, args.text(5)?)
}

sql_function!(en57_stream, |args: &Args| {
    let Some(name) = args.text(0)? else {
        return Ok(None);
    };
    let row_type = RowType::of_result(args)?;
    let info = stream::info(name, args.text(1)?)?;
    info.map(|info| row_type.make(&mut event_tuple::stream_columns(&info)))
        .transpose()
});

sql_function!(en57_streams, |args: &Args| {
    srf::respond(args, &srf::STREAMS, || {
        Listing::start(args.text(0)?, args.text(1)?, args.i64(2), args.text(3)?)
    })
});

sql_function!(en57_trace, |args: &Args| {
    srf::respond(args, &srf::TRACE, || {
        let event_type = composite::column_type(&RowType::of_result(args)?, 2);
        Trace::start(args.datum(0).map(fmgr::uuid), args.text(1)?, event_type)
    })
});
