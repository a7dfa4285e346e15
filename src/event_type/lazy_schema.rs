//! A schema that is compiled when it is first needed.

use std::cell::OnceCell;

use crate::dcb::error::Result;
use crate::dcb::query::JsonString;
use crate::dcb::schema::{self, Schema};
use crate::store::Datum;
use crate::store::pg::guard::{self, Severity};
use crate::store::pg::{fmgr, json, settings, stack};

/// How many misspelt keywords are reported.
const MISSPELT_LISTED: usize = 5;

/// A schema, compiled when it is first needed.
pub struct LazySchema {
    source: Vec<u8>,
    argument: &'static str,
    /// Without checks of formats, and with these checks.
    compiled: [OnceCell<Schema>; 2],
}

impl LazySchema {
    /// A schema given as jsonb; `argument` names it in errors.
    pub fn new(schema: Datum, argument: &'static str) -> Self {
        Self {
            source: fmgr::varlena(schema).to_vec(),
            argument,
            compiled: [OnceCell::new(), OnceCell::new()],
        }
    }

    /// Its jsonb without its length word.
    pub fn source(&self) -> &[u8] {
        &self.source
    }

    /// The compiled schema. The setting `en57.check_formats` says whether it checks formats.
    ///
    /// # Errors
    /// 22023 if it is no schema; those of the setting.
    pub fn schema(&self) -> Result<&Schema> {
        let formats = settings::check_formats()?;
        let compiled = &self.compiled[usize::from(formats)];
        if let Some(schema) = compiled.get() {
            return Ok(schema);
        }
        let schema = compile(fmgr::make_varlena(&self.source), self.argument, formats)?;
        Ok(compiled.get_or_init(|| schema))
    }
}

/// Refuses a document that is no schema, before it is stored. A NOTICE reports words that are nearly keywords.
///
/// # Errors
/// Those of [`Schema::compile`]; 53200.
pub fn demand(schema: Datum, argument: &str) -> Result<()> {
    compile(schema, argument, true)?;
    for found in Schema::misspelt(json::text(schema)?, MISSPELT_LISTED) {
        let at = match found.pointer.as_str() {
            "" => String::new(),
            pointer => format!(" at {pointer}"),
        };
        let message = format!(
            "{argument} has the unknown keyword {}{at}",
            JsonString(&found.word)
        );
        let hint = format!("Did you mean {}?", JsonString(found.meant));
        let detail = "What JSON Schema does not know checks nothing.";
        guard::log(Severity::Notice, &message, Some(detail), Some(&hint));
    }
    Ok(())
}

/// Compiles on a stack of its own, because the compiler does not check the depth of the stack.
fn compile(schema: Datum, argument: &str, formats: bool) -> Result<Schema> {
    let text = json::text(schema)?;
    let compiled = || Schema::compile(text, argument, formats);
    stack::with_own(schema::STACK_BYTES, compiled)?
}
