//! What `en57_generate` calls with the registered types.

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::pg::fmgr::{self, Args};
use crate::store::pg::json;
use crate::{generate, sql_function};

fn missing(what: &str) -> Error {
    Error::new(SqlState::NullNotAllowed, format!("{what} must not be NULL"))
}

sql_function!(en57_generate_text, |args: &Args| {
    let language = args.text(0)?.ok_or_else(|| missing("language"))?;
    let types = args.datum(1).ok_or_else(|| missing("types"))?;
    let types = generate::registered(json::text(types)?)?;
    let watch = || {
        pgrx::check_for_interrupts!();
    };
    let text: Result<String> = generate::generate(language, types, args.text(2)?, &watch);
    Ok(Some(fmgr::make_varlena(text?.as_bytes())))
});
