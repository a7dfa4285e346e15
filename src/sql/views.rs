//! What views call.

use crate::admin::views;
use crate::read::stream::Listing;
use crate::sql_function;
use crate::store::Datum;
use crate::store::pg::array;
use crate::store::pg::fmgr::Args;
use crate::store::row::srf;

sql_function!(en57_is_readable, |args: &Args| {
    let readable = args.text(0)?.map(views::is_readable).transpose()?;
    Ok(Some(Datum::from(readable.unwrap_or(false))))
});

sql_function!(en57_head_now, |args: &Args| {
    let Some(partition) = args.text(1)? else {
        return Ok(None);
    };
    let head = views::head(args.query(0)?, partition)?;
    Ok(head.map(Datum::from))
});

sql_function!(en57_bytes_now, |args: &Args| {
    let bytes = args.oid(0).map(views::bytes).transpose()?.flatten();
    Ok(bytes.map(Datum::from))
});

sql_function!(en57_pending, |args: &Args| {
    srf::respond_at_once(args, |put| {
        let (Some(query), Some(partition), Some(positions)) =
            (args.query(0)?, args.text(1)?, args.datum(2))
        else {
            return Ok(());
        };
        let positions = array::bigints(positions)?;
        let pending = views::pending(&query, partition, &positions)?;
        for shard in 0..positions.len() {
            let of_shard = pending.as_ref().map(|(head, lags)| (*head, lags[shard]));
            put([
                Some(Datum::from(shard as i32)),
                of_shard.map(|(head, _)| Datum::from(head)),
                of_shard.map(|(_, lag)| Datum::from(lag)),
            ])?;
        }
        Ok(())
    })
});

sql_function!(en57_streams_now, |args: &Args| {
    srf::respond(args, &srf::STREAMS, Listing::now)
});
