//! Rebuilding: `en57_rebuild` and what belongs to it.

use crate::dcb::error::Result;
use crate::projection::rebuild::{self, RebuildRequest, SwapMethod};
use crate::sql_function;
use crate::store::Datum;
use crate::store::call::procedure::Call;
use crate::store::pg::composite;
use crate::store::pg::fmgr::Args;

use super::DONE;

sql_function!(en57_rebuild, |args: &Args| -> Result<Option<Datum>> {
    let request = RebuildRequest {
        name: args.text(0)?,
        evolve: args.text(1)?,
        initial: args.datum(2),
        key: args.text(3)?,
        key_function: args.text(4)?,
        method: SwapMethod::parse(args.text(5)?)?,
        query: args.query(6)?,
        mode: args.text(7)?,
        event_type: composite::event_type(args)?,
    };
    rebuild::rebuild(&request, &Call::of(args))?;
    DONE
});

sql_function!(en57_cancel_rebuild, |args: &Args| {
    let cancelled = rebuild::cancel(args.text(0)?)?;
    Ok(Some(Datum::from(cancelled)))
});
