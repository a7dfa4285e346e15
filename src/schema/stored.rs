//! Which stored events would not fit: what somebody wants to know before a schema is changed.

use std::rc::Rc;

use crate::dcb::error::Result;
use crate::dcb::query::{Criterion, Query};
use crate::dcb::schema::told;
use crate::read::{Options, Reading};
use crate::store::Datum;
use crate::store::event::{Column, Row};
use crate::store::fmgr;
use crate::store::json::Jsonb;
use crate::upcast::Upcast;

use super::registry::{Kept, Registered};
use super::{checked, known, missing};

/// What is to be checked.
pub struct Wanted<'a> {
    /// The type, as it is stored.
    pub name: Option<&'a str>,
    /// The version; none: all.
    pub version: Option<i32>,
    /// A schema of data, and one of meta, in place of the registered ones.
    pub schemas: [Option<Datum>; 2],
    /// The partition's name.
    pub partition: Option<&'a str>,
    /// How many misfits are told.
    pub max_count: i64,
}

/// An event that does not fit.
pub struct Misfit {
    /// Its position.
    pub position: i64,
    /// Its partition.
    pub partition: String,
    /// Its version.
    pub version: i32,
    /// All that is wrong with it.
    pub faults: String,
}

/// Hands stored events to `sink` that would be refused if they were appended now.
///
/// # Errors
/// 22004, 22023; 42704 where a type is not registered; those of reading.
pub fn check_stored(wanted: &Wanted, mut sink: impl FnMut(Misfit) -> Result<()>) -> Result<()> {
    let (name, _) = checked(wanted.name, wanted.version)?;
    let known = known()?;
    let given = wanted.schemas.iter().any(Option::is_some).then(|| {
        let kept = |n: usize, argument| {
            let schema = wanted.schemas[n];
            schema.map(|s| Rc::new(Kept::new(s, argument)))
        };
        Registered {
            data: kept(0, "json_schema"),
            meta: kept(1, "meta_schema"),
        }
    });
    if given.is_none() && known.versions(name).is_empty() {
        return Err(missing(name, &known));
    }
    let query = Query::new(vec![Criterion {
        types: vec![name.to_owned()],
        ..Criterion::default()
    }]);
    let options = Options {
        upcast: Upcast::No,
        ..Options::default()
    };
    let mut left = wanted.max_count;
    let mut reading = Reading::start(Some(query), options, wanted.partition)?;
    let mut fill = |row: &Row| {
        let version = row.schema_version();
        if wanted.version.is_some_and(|v| v != version) {
            return Ok(());
        }
        let document = |column| row.get(column).map(|d| Jsonb::from_datum(d).document());
        let faults = match given.as_ref().or_else(|| known.get(name, version)) {
            Some(registered) => {
                let (data, meta) = (document(Column::Data), document(Column::Meta));
                told(&known.faults(registered, data, meta)?)
            }
            None => "This version is not registered.".to_owned(),
        };
        if faults.is_empty() || left == 0 {
            return Ok(());
        }
        left -= 1;
        let partition = row.get(Column::Partition).map_or(Ok(""), fmgr::text)?;
        sink(Misfit {
            position: row.position(),
            partition: partition.to_owned(),
            version,
            faults,
        })
    };
    reading.each(&mut fill)
}
