//! Event types: which are registered, and whether events fit the JSON Schemas of their types.
//!
//! It changes no event, and refuses new ones only: what is stored stays readable, whatever its type demands by now. It
//! uses `read`, `upcast`, `definition`, `store` and `dcb`.
//!
#![cfg_attr(doc, doc = include_str!("../../docs/architecture/event-types.md"))]

mod lazy_schema;
mod misfits;
mod registry;

pub use lazy_schema::{LazySchema, demand};
pub use misfits::{Wanted, check_stored};
pub use registry::{Registry, forms, has_changed, known, refusals};

use crate::dcb::error::{Error, Result, SqlState, invalid, nearest, where_to_look};
use crate::dcb::limits;
use crate::dcb::query::JsonString;
use crate::dcb::refusal::{AT_MOST, Refusal};
use crate::dcb::upcast::Form;
use crate::definition::name::{self, ALL_TYPES, IfTaken, Taken};
use crate::store::Datum;
use crate::store::log::catalog;
use crate::store::pg::settings;
use crate::store::pg::spi::{self, Type, text};
use crate::store::row::event::NewEvent;
use crate::store::session::definitions::as_extension_owner;

/// Checks new events against their types.
///
/// # Errors
/// N5704 for the first event that does not fit, with everything that is wrong with it.
pub fn check<'a>(events: impl Iterator<Item = &'a NewEvent<'a>>) -> Result<()> {
    let (known, strict) = (known()?, settings::strict_types()?);
    if known.is_empty() && !strict {
        return Ok(());
    }
    for (i, event) in events.enumerate() {
        known.check(event, i + 1, strict)?;
    }
    Ok(())
}

/// Everything that is wrong with new events by their types, at most [`AT_MOST`] refusals.
///
/// # Errors
/// Those of schemas that cannot be used.
pub fn misfits<'a>(events: impl Iterator<Item = &'a NewEvent<'a>>) -> Result<Vec<Refusal>> {
    let (known, strict) = (known()?, settings::strict_types()?);
    let mut found = Vec::new();
    for (i, event) in events.enumerate() {
        if let Err(error) = known.check(event, i + 1, strict) {
            found.extend(error.into_refusals()?);
        }
        if found.len() >= AT_MOST {
            found.truncate(AT_MOST);
            break;
        }
    }
    Ok(found)
}

/// A type and a version, if `en57.event_types` may have them.
fn checked(name: Option<&str>, version: Option<i32>) -> Result<(&str, i32)> {
    let Some(name) = name else {
        return Err(Error::new(
            SqlState::NullNotAllowed,
            "type must not be NULL",
        ));
    };
    if name.is_empty() {
        return Err(invalid("type must not be an empty string"));
    }
    if name.len() > limits::TYPE_BYTES {
        return Err(Error::new(
            SqlState::LimitExceeded,
            format!("type is longer than {} bytes", limits::TYPE_BYTES),
        ));
    }
    match (name, version) {
        (ALL_TYPES, None | Some(0)) => Ok((name, 0)),
        (ALL_TYPES, _) => Err(invalid("schema_version of type * must be 0")
            .hint("Leave it out: * stands for all types.")),
        (_, None) => Ok((name, 1)),
        (_, Some(version)) if version >= 1 => Ok((name, version)),
        _ => Err(invalid("schema_version must be 1 or greater")),
    }
}

/// Registers a version of a type, or changes its two schemas.
///
/// # Errors
/// 22004, 22023, 54000 if an argument is not allowed.
pub fn register(
    name: Option<&str>,
    version: Option<i32>,
    [data_schema, meta_schema]: [Option<Datum>; 2],
    if_taken: IfTaken,
) -> Result<()> {
    catalog::demand_writable("en57_register_type()")?;
    let (name, version) = checked(name, version)?;
    if name == ALL_TYPES && data_schema.is_some() {
        return Err(no_data_of_all());
    }
    if name == ALL_TYPES && meta_schema.is_none() {
        return Err(Error::new(
            SqlState::NullNotAllowed,
            "meta_schema of type * must not be NULL",
        ));
    }
    for (schema, argument) in [(data_schema, "json_schema"), (meta_schema, "meta_schema")] {
        if let Some(schema) = schema {
            demand(schema, argument)?;
        }
    }
    let number = (Type::Bigint, Some(Datum::from(i64::from(version))));
    name::reserve("type", &format!("{version}:{name}"));
    let found = as_extension_owner(|| {
        spi::run(
            "SELECT data_schema IS NOT DISTINCT FROM $3, meta_schema IS NOT DISTINCT FROM $4 FROM en57.event_types
             WHERE type = $1 AND schema_version = $2",
            &[text(name), number, (Type::Jsonb, data_schema), (Type::Jsonb, meta_schema)],
        )
    })?;
    if let Some(old) = found.first() {
        let is_alike = |n: usize| old[n].is_some_and(|d| d.value() & 0xFF != 0);
        let taken = Taken {
            title: &Form::new(name, version).to_string(),
            differs_in: name::unlike(&[("json_schema", is_alike(0)), ("meta_schema", is_alike(1))]),
            is_replaceable: false,
        };
        if !if_taken.changes(&taken)? {
            return Ok(());
        }
    }
    as_extension_owner(|| {
        spi::run(
            "INSERT INTO en57.event_types AS t (type, schema_version, data_schema, meta_schema)
             VALUES ($1, $2::integer, $3, $4)
             ON CONFLICT (type, schema_version) DO UPDATE
                 SET data_schema = excluded.data_schema, meta_schema = excluded.meta_schema, registered_at = now()
                 WHERE (t.data_schema, t.meta_schema) IS DISTINCT FROM (excluded.data_schema, excluded.meta_schema)",
            &[
                text(name),
                number,
                (Type::Jsonb, data_schema),
                (Type::Jsonb, meta_schema),
            ],
        )
        .map(drop)
    })
}

/// Unregisters a version of a type, or all its versions. Returns how many.
///
/// # Errors
/// 22004, 22023; 42704 if there is none.
pub fn unregister(name: Option<&str>, version: Option<i32>) -> Result<i64> {
    catalog::demand_writable("en57_unregister_type()")?;
    let (name, _) = checked(name, version)?;
    let version = version.map(|v| Datum::from(i64::from(v)));
    let gone = as_extension_owner(|| {
        spi::run(
            "DELETE FROM en57.event_types WHERE type = $1 AND ($2 IS NULL OR schema_version = $2) RETURNING 1",
            &[text(name), (Type::Bigint, version)],
        )
    })?;
    if gone.is_empty() {
        return Err(missing(name, &*known()?));
    }
    Ok(gone.len() as i64)
}

fn no_data_of_all() -> Error {
    invalid("json_schema of type * must be NULL")
        .hint("For all types there is a schema of meta, the fourth argument.")
}

/// The error where a type, or this version of it, is not registered.
fn missing(name: &str, known: &Registry) -> Error {
    let message = match known.versions(name).as_str() {
        "" => format!("type {} does not exist", JsonString(name)),
        _ => format!("this version of type {} does not exist", JsonString(name)),
    };
    let look = where_to_look("type");
    let near = nearest(name, &known.names()).filter(|near| *near != name && name != ALL_TYPES);
    Error::new(SqlState::UndefinedObject, message).hint(match near {
        Some(near) => format!("Did you mean {}? {look}", JsonString(near)),
        None => look,
    })
}
