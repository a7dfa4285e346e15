//! What PostgreSQL calls: the key index's handler and expression, and the tables' triggers.

use crate::dcb::error::missing;
use crate::sql_function;
use crate::store::Datum;
use crate::store::log::{key_index, restore, triggers};
use crate::store::pg::array::{self, TextArray};
use crate::store::pg::fmgr::Args;
use crate::store::row::event::{self, meta_text};

sql_function!(en57_keys_handler, |_: &Args| Ok(Some(Datum::from(
    key_index::routine()
))));

sql_function!(en57_keys, |args: &Args| {
    let Some(event_type) = args.text(0)? else {
        return Ok(None);
    };
    let tags = args
        .datum(1)
        .map(|d| TextArray::from_datum(d, "tags "))
        .transpose()?;
    let meta = args.datum(3);
    let keys = event::keys(
        event_type,
        tags.into_iter().flat_map(TextArray::iter),
        args.text(2)?,
        meta_text(meta, "correlation_id")?.filter(|t| !t.is_empty()),
        meta_text(meta, "causation_id")?.filter(|t| !t.is_empty()),
    );
    Ok(Some(array::make_bigints(&keys)))
});

sql_function!(en57_missing, |args: &Args| {
    let (kind, name) = (args.text(0)?, args.text(1)?);
    Err(missing(kind.unwrap_or_default(), name.unwrap_or_default()))
});

sql_function!(en57_guard, |args: &Args| {
    triggers::guard(args)?;
    // A statement-level trigger's result is not looked at, but must not be NULL by `isnull`.
    Ok(Some(Datum::from(0)))
});

sql_function!(en57_before_restore, |args: &Args| {
    restore::before_restore(args)?;
    Ok(Some(Datum::from(0)))
});
