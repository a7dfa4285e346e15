//! The functions that a Rust file calls to read values.

use crate::generate::model::{Field, Kind, Model, Test, Variant};

use super::union;

/// The functions that the rest of the file needs.
pub fn helpers(model: &Model) -> Vec<&'static str> {
    let any_field = |is: fn(&Model, &Field) -> bool| {
        model.declarations.iter().any(|d| match &d.kind {
            Kind::Record { fields, .. } => fields.iter().any(|f| is(model, f)),
            _ => false,
        })
    };
    let any_variant = |is: fn(&Variant) -> bool| {
        model
            .declarations
            .iter()
            .any(|d| matches!(&d.kind, Kind::Union(variants) if variants.iter().any(is)))
    };
    let any_event = |nullable: bool| {
        let mut events = model.events.iter();
        events.any(|e| model.data_takes_null(e) == nullable)
    };
    let needed = [
        (any_event(true) || any_event(false), IS_OF),
        (any_event(false), IS_OF_WITH_DATA),
        (any_field(is_present), PRESENT),
        (any_field(is_nullable), REQUIRED),
        (true, READ),
        (
            any_variant(|v| matches!(v.test, Test::Property(..))),
            union::IS_ONE_OF,
        ),
        (
            any_variant(|v| matches!(v.test, Test::Has(_))),
            union::HAS_ALL,
        ),
        (any_variant(|_| true), union::NONE_OF),
    ];
    let needed = needed.into_iter().filter(|(is_needed, _)| *is_needed);
    needed.map(|(_, helper)| helper).collect()
}

const IS_OF: &str = "/// Whether a row is of a type and a version.
fn is_of(row: &serde_json::Value, event_type: &str, version: i64) -> bool {
    row[\"type\"] == event_type && row[\"schema_version\"] == version
}";

const IS_OF_WITH_DATA: &str = "/// Whether it has data, too.
fn is_of_with_data(row: &serde_json::Value, event_type: &str, version: i64) -> bool {
    is_of(row, event_type, version) && !row[\"data\"].is_null()
}";

const PRESENT: &str = "/// What is there is not left out, even if it is null.
fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}";

/// Whether a field may be left out, null or a value.
pub fn is_present(model: &Model, field: &Field) -> bool {
    !field.required && model.takes_null(&field.shape)
}

const REQUIRED: &str = "/// What is not there is not null.
fn required<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer)
}";

/// Whether a field is null or a value. serde would read a missing one as null.
pub fn is_nullable(model: &Model, field: &Field) -> bool {
    field.required && model.takes_null(&field.shape)
}

const READ: &str = "/// What a JSON value is read as.
fn read<T, U, E>(json: serde_json::Value, variant: fn(T) -> U) -> Result<U, E>
where
    T: serde::de::DeserializeOwned,
    E: serde::de::Error,
{
    serde_json::from_value(json).map(variant).map_err(E::custom)
}";
