//! The type `en57_query`: input, output, constructor, operators, casts.

use crate::dcb::error::{Error, Result, SqlState, invalid};
use crate::dcb::query::{Criterion, Query};
use crate::dcb::{codec, limits, parse};
use crate::sql_function;
use crate::store::Datum;
use crate::store::pg::array::TextArray;
use crate::store::pg::fmgr::{self, Args};
use crate::store::pg::json;
use crate::store::row::event_tuple;

fn stored(query: &Query) -> Result<Option<Datum>> {
    query.check_limits()?;
    let bytes = codec::encode(query);
    if bytes.len() > limits::QUERY_BYTES {
        return Err(Error::new(SqlState::LimitExceeded, "query is too large"));
    }
    Ok(Some(fmgr::make_varlena(&bytes)))
}

fn required(args: &Args, n: usize) -> Result<Query> {
    args.query(n)?
        .ok_or_else(|| Error::new(SqlState::NullNotAllowed, "query must not be NULL"))
}

sql_function!(en57_query_in, |args: &Args| {
    stored(&parse::query(args.cstring(0)?.unwrap_or_default())?)
});

sql_function!(en57_query_out, |args: &Args| {
    Ok(Some(fmgr::make_cstring(&required(args, 0)?.to_string())))
});

sql_function!(en57_query_recv, |args: &Args| {
    stored(&parse::query(fmgr::message_text(args)?)?)
});

sql_function!(en57_query_send, |args: &Args| {
    Ok(Some(fmgr::make_varlena(
        required(args, 0)?.to_string().as_bytes(),
    )))
});

sql_function!(en57_query_from_jsonb, |args: &Args| {
    args.datum(0).map_or(Ok(None), |document| {
        stored(&parse::query(json::text(document)?)?)
    })
});

sql_function!(en57_query_to_jsonb, |args: &Args| {
    json::parse(&required(args, 0)?.to_string(), "").map(Some)
});

sql_function!(en57_query_make, |args: &Args| {
    let names = |n: usize, key: &str, max_bytes: usize| -> Result<Vec<String>> {
        let Some(datum) = args.datum(n) else {
            return Ok(Vec::new());
        };
        let texts = TextArray::from_datum(datum, &format!("\"{key}\" "))?.texts()?;
        if texts.is_empty() {
            return Err(
                invalid(format!("\"{key}\" must not be empty")).hint(format!(
                    "Leave \"{key}\" out where it is not to restrict the query."
                )),
            );
        }
        let check = |(i, t): (usize, &&str)| {
            parse::checked(t, max_bytes, &format!("\"{key}\", element {}", i + 1))
                .map(str::to_owned)
        };
        texts.iter().enumerate().map(check).collect()
    };
    let after = args.i64(2);
    if after.is_some_and(|a| a < 0) {
        return Err(invalid("after must not be negative"));
    }
    let text = |n: usize, key: &str| -> Result<Option<String>> {
        let text = args.text(n)?;
        let text = text.map(|s| parse::checked(s, limits::TEXT_BYTES, &format!("\"{key}\"")));
        Ok(text.transpose()?.map(str::to_owned))
    };
    stored(&Query::new(vec![Criterion {
        types: names(0, "types", limits::TYPE_BYTES)?,
        tags: names(1, "tags", limits::TEXT_BYTES)?,
        stream: text(3, "stream")?,
        after,
        any_tags: names(4, "any_tags", limits::TEXT_BYTES)?,
        stream_prefix: text(5, "stream_prefix")?,
        ..Criterion::default()
    }]))
});

sql_function!(en57_query_union, |args: &Args| {
    stored(&required(args, 0)?.union(required(args, 1)?))
});

fn compare(args: &Args) -> std::cmp::Ordering {
    args.datum(0)
        .map(fmgr::varlena)
        .cmp(&args.datum(1).map(fmgr::varlena))
}

fn boolean(value: bool) -> Result<Option<Datum>> {
    Ok(Some(Datum::from(value)))
}

sql_function!(en57_query_eq, |args: &Args| boolean(compare(args).is_eq()));
sql_function!(en57_query_ne, |args: &Args| boolean(compare(args).is_ne()));
sql_function!(en57_query_lt, |args: &Args| boolean(compare(args).is_lt()));
sql_function!(en57_query_le, |args: &Args| boolean(compare(args).is_le()));
sql_function!(en57_query_gt, |args: &Args| boolean(compare(args).is_gt()));
sql_function!(en57_query_ge, |args: &Args| boolean(compare(args).is_ge()));
sql_function!(en57_query_cmp, |args: &Args| Ok(Some(Datum::from(
    compare(args) as i32
))));
sql_function!(en57_query_hash, |args: &Args| {
    let hash = args
        .datum(0)
        .map_or(0, |d| xxhash_rust::xxh3::xxh3_64(fmgr::varlena(d)));
    Ok(Some(Datum::from(hash as u32 as i32)))
});
sql_function!(en57_query_hash_extended, |args: &Args| {
    let seed = args.i64(1).unwrap_or(0) as u64;
    let hash = args.datum(0).map_or(0, |d| {
        xxhash_rust::xxh3::xxh3_64_with_seed(fmgr::varlena(d), seed)
    });
    Ok(Some(Datum::from(hash as i64)))
});

sql_function!(en57_matches, |args: &Args| {
    let query = required(args, 0)?;
    let Some(event) = args.datum(1) else {
        return Ok(None);
    };
    let event = event_tuple::event_value(event)?;
    boolean(query.matches(&event))
});
