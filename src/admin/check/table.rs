//! What is wrong with a partition's table as the catalogs have it: en57_status() says the same.

use crate::dcb::error::Result;
use crate::store::pg::fmgr;
use crate::store::pg::spi::{self, Type};
use crate::store::session::definitions::as_extension_owner;
use crate::store::{Datum, Oid};

use super::{Finding, Severity, Sink};

/// Columns are told of by whoever finds the table unusable.
const QUESTION: &str = r#"SELECT severity, object, problem, hint FROM en57.table_faults() WHERE "table" = $1 AND fact <> 'columns'"#;

/// Tells what there is.
///
/// # Errors
/// PostgreSQL's own, by unwinding.
pub(super) fn faults(table: Oid, sink: Sink) -> Result<()> {
    let table = Some(Datum::from(table));
    for row in as_extension_owner(|| spi::run(QUESTION, &[(Type::Oid, table)]))? {
        let text = |n: usize| row[n].map_or(Ok(""), |d: Datum| fmgr::text(d));
        sink(Finding {
            severity: match text(0)? {
                "error" => Severity::Error,
                _ => Severity::Warning,
            },
            object: text(1)?.to_owned(),
            problem: text(2)?.to_owned(),
            hint: text(3)?.to_owned(),
        })?;
    }
    Ok(())
}
