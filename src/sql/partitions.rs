//! Partitions: `en57_create_partition` and its relatives, `en57_truncate`, `en57_grant`, `en57_revoke`.

use crate::admin::partitions;
use crate::dcb::error::{Error, Result, SqlState};
use crate::sql_function;
use crate::store::Datum;
use crate::store::pg::fmgr::{self, Args};

use super::DONE;

fn required<'a>(args: &'a Args, n: usize, called: &str) -> Result<&'a str> {
    args.text(n)?.ok_or_else(|| {
        Error::new(
            SqlState::NullNotAllowed,
            format!("{called} must not be NULL"),
        )
    })
}

sql_function!(en57_create_partition, |args: &Args| {
    let table = partitions::create(required(args, 0, "name")?, args.bool(1))?;
    Ok(Some(Datum::from(table)))
});

sql_function!(en57_drop_partition, |args: &Args| {
    partitions::drop(required(args, 0, "name")?)?;
    DONE
});

sql_function!(en57_detach_partition, |args: &Args| {
    let table = partitions::detach(required(args, 0, "name")?)?;
    Ok(Some(Datum::from(table)))
});

sql_function!(en57_truncate, |args: &Args| {
    let Some(restart) = args.bool(1) else {
        return Err(Error::new(
            SqlState::NullNotAllowed,
            "restart must not be NULL",
        ));
    };
    partitions::truncate(required(args, 0, "partition")?, restart)?;
    DONE
});

sql_function!(en57_partition_of, |args: &Args| {
    let Some(table) = args.oid(0) else {
        return Ok(None);
    };
    let name = partitions::name_of(table)?;
    Ok(name.map(|n| fmgr::make_varlena(n.as_bytes())))
});

type Change = fn(crate::store::Oid, &str, Option<&str>, crate::store::Oid) -> Result<()>;

fn change_rights(args: &Args, change: Change) -> Result<Option<Datum>> {
    let Some(role) = args.oid(0) else {
        return Err(Error::new(
            SqlState::NullNotAllowed,
            "role must not be NULL",
        ));
    };
    let what = required(args, 1, "what")?;
    change(role, what, args.text(2)?, args.function())?;
    DONE
}

sql_function!(en57_grant, |args: &Args| change_rights(
    args,
    partitions::grant
));

sql_function!(en57_revoke, |args: &Args| change_rights(
    args,
    partitions::revoke
));
