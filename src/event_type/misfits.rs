//! Misfits: stored events that would be refused if they were appended now. A user looks for them before he changes a
//! schema.

use std::rc::Rc;

use crate::dcb::error::{Result, nearest};
use crate::dcb::query::{Criterion, JsonString, Query};
use crate::dcb::schema::told;
use crate::definition::name::ALL_TYPES;
use crate::read::{Options, Reading};
use crate::store::Datum;
use crate::store::pg::fmgr;
use crate::store::pg::guard::{self, Severity};
use crate::store::pg::json::Jsonb;
use crate::store::row::event::{Column, Row};
use crate::upcast::Upcast;

use super::registry::{Registered, Registry};
use super::{LazySchema, checked, known, missing, no_data_of_all};

/// Which events are checked, and against what.
pub struct Wanted<'a> {
    /// The type, as it is stored.
    pub name: Option<&'a str>,
    /// The version; `None`: all.
    pub version: Option<i32>,
    /// A schema of data, and one of meta. They replace the registered ones.
    pub schemas: [Option<Datum>; 2],
    /// The partition's name.
    pub partition: Option<&'a str>,
    /// How many misfits are returned.
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
    /// Everything that is wrong with it.
    pub faults: String,
}

/// Hands the stored events to `sink` that would be refused if they were appended now.
///
/// # Errors
/// 22004, 22023; 42704 if the type is not registered and no schema is given; those of reading.
pub fn check_stored(wanted: &Wanted, mut sink: impl FnMut(Misfit) -> Result<()>) -> Result<()> {
    let (name, _) = checked(wanted.name, wanted.version)?;
    let known = known()?;
    let given = given(wanted)?;
    let schemas = Schemas::new(name, &known, given.as_ref())?;
    let query = (name != ALL_TYPES).then(|| {
        Query::new(vec![Criterion {
            types: vec![name.to_owned()],
            ..Criterion::default()
        }])
    });
    let options = Options {
        upcast: Upcast::No,
        ..Options::default()
    };
    let version = wanted.version.filter(|_| name != ALL_TYPES);
    let (mut left, mut any) = (wanted.max_count, false);
    let mut reading = Reading::start(query, options, wanted.partition)?;
    let mut fill = |row: &Row| {
        any = true;
        if left == 0 || version.is_some_and(|v| v != row.schema_version()) {
            return Ok(());
        }
        let faults = schemas.faults(row)?;
        if faults.is_empty() {
            return Ok(());
        }
        left -= 1;
        let partition = row.get(Column::Partition).map_or(Ok(""), fmgr::text)?;
        sink(Misfit {
            position: row.position(),
            partition: partition.to_owned(),
            version: row.schema_version(),
            faults,
        })
    };
    reading.each_row(&mut fill)?;
    if !any && name != ALL_TYPES && known.versions(name).is_empty() {
        let message = format!(
            "there is no event of type {}, and it is not registered",
            JsonString(name)
        );
        let near =
            nearest(name, &known.names()).map(|n| format!("Did you mean {}?", JsonString(n)));
        guard::log(Severity::Notice, &message, None, near.as_deref());
    }
    Ok(())
}

/// The given schemas. They are compiled at once, so that an error in one is found even if no event is stored.
fn given(wanted: &Wanted) -> Result<Option<Registered>> {
    let schema = |n: usize, argument| {
        let Some(schema) = wanted.schemas[n] else {
            return Ok(None);
        };
        let lazy = LazySchema::new(schema, argument);
        lazy.schema()?;
        Ok(Some(Rc::new(lazy)))
    };
    let data = schema(0, "json_schema")?;
    let meta = schema(1, "meta_schema")?;
    let any = data.is_some() || meta.is_some();
    Ok(any.then_some(Registered { data, meta }))
}

/// The schemas that stored events are checked against.
enum Schemas<'a> {
    /// A type's registered versions.
    Registered(&'a Registry, &'a str),
    /// Schemas that are given for a type.
    Given(&'a Registry, &'a Registered),
    /// A schema of meta for all types.
    All(&'a Registered),
}

impl<'a> Schemas<'a> {
    fn new(name: &'a str, known: &'a Registry, given: Option<&'a Registered>) -> Result<Self> {
        if name == ALL_TYPES {
            let all = given.unwrap_or_else(|| known.of_all());
            return match all {
                Registered { data: Some(_), .. } => Err(no_data_of_all()),
                Registered { meta: None, .. } => Err(missing(name, known)),
                _ => Ok(Self::All(all)),
            };
        }
        match given {
            Some(given) => Ok(Self::Given(known, given)),
            None if known.versions(name).is_empty() => Err(missing(name, known)),
            None => Ok(Self::Registered(known, name)),
        }
    }

    fn faults(&self, row: &Row) -> Result<String> {
        let document = |column| row.get(column).map(|d| Jsonb::from_datum(d).document());
        let (data, meta) = (document(Column::Data), document(Column::Meta));
        let faults = match self {
            Self::All(all) => Registered::default().faults(&all.meta, data, meta)?,
            Self::Given(known, given) => known.faults(given, data, meta)?,
            Self::Registered(known, name) => match known.get(name, row.schema_version()) {
                Some(registered) => known.faults(registered, data, meta)?,
                None => return Ok("This version is not registered.".to_owned()),
            },
        };
        Ok(told(&faults))
    }
}
