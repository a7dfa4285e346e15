//! The function behind `en57_generate`: it gets the registered types as jsonb.

use crate::dcb::error::{Result, null, required};
use crate::store::pg::fmgr::{self, Args};
use crate::store::pg::json;
use crate::{generate, sql_function};

sql_function!(en57_generate_text, |args: &Args| {
    let language = required(args.text(0)?, "language")?;
    let types = args.datum(1).ok_or_else(|| null("types"))?;
    let types = generate::registered(json::text(types)?)?;
    let check_interrupts = || {
        pgrx::check_for_interrupts!();
    };
    let module = args.text(2)?;
    let text: Result<String> = generate::generate(language, types, module, &check_interrupts);
    Ok(Some(fmgr::make_varlena(text?.as_bytes())))
});
