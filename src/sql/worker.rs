//! The background worker: started, stopped, and where it is.

use crate::sql_function;
use crate::store::fmgr::Args;
use crate::store::tuple::RowType;
use crate::store::{Datum, catalog, worker};

sql_function!(en57_worker_start, |args: &Args| {
    catalog::demand_writable("en57_worker_start()")?;
    let (pid, started) = worker::start()?;
    RowType::of_result(args)?
        .make(&mut [Some(Datum::from(started)), Some(Datum::from(pid))])
        .map(Some)
});

sql_function!(en57_worker_stop, |_: &Args| {
    worker::stop().map(|stopped| Some(Datum::from(stopped)))
});

sql_function!(en57_worker_pid, |_: &Args| {
    Ok(worker::process()?.map(Datum::from))
});
