//! `en57_erase`.

use crate::admin::erase;
use crate::sql_function;
use crate::store::Datum;
use crate::store::pg::fmgr::Args;

sql_function!(en57_erase, |args: &Args| {
    let erased = erase::erase(args.query(0)?, args.text(1)?, args.text(2)?)?;
    Ok(Some(Datum::from(erased)))
});
