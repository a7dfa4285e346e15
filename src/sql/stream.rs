//! `en57_read_stream`, `en57_stream`, `en57_streams` and `en57_trace`.

use crate::dcb::error::{Error, SqlState};
use crate::read::stream::{self, Listing, Window};
use crate::read::trace::Trace;
use crate::sql_function;
use crate::store::index::entry::Direction;
use crate::store::pg::composite::{self, RowType};
use crate::store::pg::fmgr::{self, Args};
use crate::store::row::{event_tuple, srf};

sql_function!(en57_read_stream, |args: &Args| {
    srf::respond(args, &srf::EVENTS, || {
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
    })
});

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
