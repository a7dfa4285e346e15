//! The background worker: started, stopped, and where it is.

use crate::sql_function;
use crate::store::Datum;
use crate::store::log::catalog;
use crate::store::pg::composite::RowType;
use crate::store::pg::fmgr::Args;
use crate::store::worker::process;

sql_function!(en57_worker_start, |args: &Args| {
    catalog::demand_writable("en57_worker_start()")?;
    let (pid, started) = process::start()?;
    RowType::of_result(args)?
        .make(&mut [Some(Datum::from(started)), Some(Datum::from(pid))])
        .map(Some)
});

sql_function!(en57_worker_stop, |_: &Args| {
    process::stop().map(|stopped| Some(Datum::from(stopped)))
});

sql_function!(en57_worker_pid, |_: &Args| {
    Ok(process::process()?.map(Datum::from))
});
