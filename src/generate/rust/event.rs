//! Rust's enum of events, and the trait of new events.

use crate::generate::model::Model;
use crate::generate::text::{Text, type_name};

use super::docs;
use super::layout::{arm, broken, call, implement, variant};

const RECORDED: &str = "/// An event with the columns of `en57_event`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded<D, M> {
    pub position: i64,
    pub id: String,
    #[serde(rename = \"type\")]
    pub event_type: String,
    pub data: D,
    pub meta: Option<M>,
    pub tags: Vec<String>,
    pub stream: Option<String>,
    pub stream_version: Option<i64>,
    pub schema_version: i32,
    pub occurred_at: String,
    pub recorded_at: String,
    pub partition: String,
}";

/// The head of the function by which serde reads a value.
pub const DESERIALIZE: &str =
    "fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {";

/// The head of the function by which serde writes a value.
const SERIALIZE: &str =
    "fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {";

/// The events that are read.
pub fn events(model: &Model, text: &mut Text) {
    text.gap();
    declare(model, text);
    text.gap();
    text.line(RECORDED);
    text.gap();
    text.enclose(
        "impl<'de> Deserialize<'de> for Event {",
        |t| t.enclose(DESERIALIZE, |t| deserialize(model, t), "}"),
        "}",
    );
    text.gap();
    text.enclose(
        "impl Serialize for Event {",
        |t| t.enclose(SERIALIZE, |t| serialize(model, t), "}"),
        "}",
    );
}

/// The enum with a variant for each event.
fn declare(model: &Model, text: &mut Text) {
    text.line(
        "/// An event as en57 returns it, read from the JSON of `SELECT to_jsonb(e) FROM en57_read(..) AS e`.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::enum_variant_names, clippy::large_enum_variant)]",
    );
    let variants = |t: &mut Text| {
        for event in &model.events {
            let (name, version) = (&event.name, event.version);
            let meta = model.meta_name(event);
            docs(t, &[format!("`{}`, version {version}.", type_name(event))]);
            variant(t, name, &format!("Recorded<{name}, {meta}>"));
        }
        t.line("/// An event of another type or version, or one whose data has been erased.");
        t.line("Unknown(Recorded<serde_json::Value, serde_json::Value>),");
    };
    text.enclose("pub enum Event {", variants, "}");
}

/// The lines that read an event.
fn deserialize(model: &Model, text: &mut Text) {
    text.line("let json = serde_json::Value::deserialize(deserializer)?;");
    for event in &model.events {
        let is_of = match model.data_takes_null(event) {
            true => "is_of",
            false => "is_of_with_data",
        };
        let kind = format!("{:?}", event.event_type);
        let of = call(is_of, &["&json", &kind, &event.version.to_string()]);
        let read = call("read", &["json", &format!("Self::{}", event.name)]);
        let lines = |t: &mut Text| t.line(format!("return {read};"));
        text.enclose(format!("if {of} {{"), lines, "}");
    }
    text.line("read(json, Self::Unknown)");
}

/// The lines that write an event.
fn serialize(model: &Model, text: &mut Text) {
    let names = model.events.iter().map(|e| e.name.as_str());
    let arms = |t: &mut Text| {
        for name in names.chain(["Unknown"]) {
            let pattern = format!("Self::{name}(event) =>");
            arm(t, &pattern, "event.serialize(serializer)");
        }
    };
    text.enclose("match self {", arms, "}");
}

const APPEND: &str = "/// What a new event can have beside its data.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AppendOptions<M> {
    pub tags: Vec<String>,
    #[serde(skip_serializing_if = \"Option::is_none\")]
    pub meta: Option<M>,
    #[serde(skip_serializing_if = \"Option::is_none\")]
    pub id: Option<String>,
    #[serde(skip_serializing_if = \"Option::is_none\")]
    pub occurred_at: Option<String>,
    #[serde(skip_serializing_if = \"Option::is_none\")]
    pub correlation_id: Option<String>,
    #[serde(skip_serializing_if = \"Option::is_none\")]
    pub causation_id: Option<String>,
    #[serde(skip_serializing_if = \"Option::is_none\")]
    pub trace_id: Option<String>,
}

impl<M> Default for AppendOptions<M> {
    fn default() -> Self {
        Self {
            tags: Vec::new(),
            meta: None,
            id: None,
            occurred_at: None,
            correlation_id: None,
            causation_id: None,
            trace_id: None,
        }
    }
}

/// The data of an event type.
pub trait EventData: Serialize {
    /// The type as it is registered.
    const TYPE: &'static str;
    /// Its version.
    const SCHEMA_VERSION: i32;
    /// What its metadata is.
    type Meta: Serialize;

    /// The event as `en57_append` takes it.
    fn to_append(
        &self,
        options: &AppendOptions<Self::Meta>,
    ) -> serde_json::Result<serde_json::Value> {
        let mut event = serde_json::to_value(options)?;
        event[\"type\"] = Self::TYPE.into();
        event[\"schema_version\"] = Self::SCHEMA_VERSION.into();
        event[\"data\"] = serde_json::to_value(self)?;
        Ok(event)
    }
}";

/// What makes new events, and the names of the newest versions.
pub fn append(model: &Model, text: &mut Text) {
    text.gap();
    text.line(APPEND);
    for event in &model.events {
        text.gap();
        implement(text, "impl EventData for", &event.name);
        text.block(|t| {
            let constant = format!("const TYPE: &'static str = {:?};", event.event_type);
            broken(t, &constant);
            t.line(format!("const SCHEMA_VERSION: i32 = {};", event.version));
            t.line(format!("type Meta = {};", model.meta_name(event)));
        });
        text.line("}");
    }
    for (event, plain) in model.newest() {
        text.gap();
        docs(
            text,
            &[format!("The newest version of `{}`.", type_name(event))],
        );
        broken(text, &format!("pub type {plain} = {};", event.name));
    }
}
