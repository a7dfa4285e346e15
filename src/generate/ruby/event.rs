//! Ruby's classes of events, and what reads them.

use crate::generate::model::{EventType, Model, Shape};
use crate::generate::text::{Text, type_name};

use super::docs;
use super::shape::{decode, literal};

const EVENT: &str = r#"# What all events have.
class Event < Record
  attr_reader :position, :id, :type, :data, :meta, :tags, :stream, :stream_version, :schema_version,
              :occurred_at, :recorded_at, :partition

  def initialize(row, data, meta)
    @position = Integer(row.fetch("position"))
    @id = row.fetch("id")
    @type = row.fetch("type")
    @data = data
    @meta = meta
    @tags = row.fetch("tags")
    @stream = row.fetch("stream")
    @stream_version = row.fetch("stream_version")&.then { |version| Integer(version) }
    @schema_version = Integer(row.fetch("schema_version"))
    @occurred_at = time(row.fetch("occurred_at"))
    @recorded_at = time(row.fetch("recorded_at"))
    @partition = row.fetch("partition")
    freeze
  end

  def as_json
    to_h.to_h { |name, value| [name.to_s, Record.dump(value)] }
  end

  # The new event for en57_append.
  def self.to_append(data, tags: [], meta: nil, id: nil, occurred_at: nil,
                     correlation_id: nil, causation_id: nil, trace_id: nil)
    options = { meta: meta, id: id, occurred_at: occurred_at,
                correlation_id: correlation_id, causation_id: causation_id, trace_id: trace_id }
    json = { "type" => self::TYPE, "schema_version" => self::SCHEMA_VERSION, "data" => Record.dump(data) }
    json["tags"] = tags.to_a
    options.compact.each { |key, value| json[key.to_s] = Record.dump(value) }
    json
  end

  private

  def time(value)
    value.is_a?(Time) ? value : Record.time(value)
  end
end"#;

const UNKNOWN: &str = r#"# An event of another type or version, or one whose data has been erased.
class UnknownEvent < Event
  private_class_method :to_append
end"#;

/// The class that all events extend, and the classes of all events.
pub fn events(model: &Model, text: &mut Text) {
    text.line(EVENT);
    for event in &model.events {
        text.gap();
        self::event(model, event, text);
    }
    text.gap();
    text.line(UNKNOWN);
}

/// The class of one event.
fn event(model: &Model, event: &EventType, text: &mut Text) {
    let (name, version) = (&event.name, event.version);
    let data = Shape::Named(event.data);
    let data = decode(model, &data, "row.fetch(\"data\")");
    let meta = Shape::Named(event.meta).nullable();
    let meta = decode(model, &meta, "row.fetch(\"meta\")");
    docs(text, &[format!("{}, version {version}.", type_name(event))]);
    let lines = |t: &mut Text| {
        t.line(format!("TYPE = {}", literal(&event.event_type)));
        t.line(format!("SCHEMA_VERSION = {version}\n"));
        t.line("# The event in a row.\ndef self.from_row(row)");
        t.line(format!("  new(row, {data}, {meta})\nend"));
    };
    text.enclose(format!("class {name}Event < Event"), lines, "end");
}

/// The function that reads an event.
pub fn parse(model: &Model, text: &mut Text) {
    text.line("# The event in a row of to_jsonb(e), or in its JSON text.");
    let lines = |t: &mut Text| {
        t.line("row = JSON.parse(row) if row.is_a?(String)");
        t.line("row = row.transform_keys(&:to_s)");
        if !model.events.iter().all(|e| model.data_takes_null(e)) {
            t.line("has_data = !row.fetch(\"data\").nil?");
        }
        if !model.events.is_empty() {
            t.line("kind = [row.fetch(\"type\"), Integer(row.fetch(\"schema_version\"))]");
        }
        t.lines(model.events.iter().map(|event| parse_one(model, event)));
        t.gap();
        t.line("UnknownEvent.new(row, row.fetch(\"data\"), row.fetch(\"meta\"))");
    };
    text.enclose("def self.parse(row)", lines, "end");
}

/// The line in the function that reads events for one of them.
fn parse_one(model: &Model, event: &EventType) -> String {
    let needs_data = !model.data_takes_null(event);
    let guard = if needs_data { " && has_data" } else { "" };
    let (name, version) = (&event.name, event.version);
    let kind = literal(&event.event_type);
    format!("return {name}Event.from_row(row) if kind == [{kind}, {version}]{guard}")
}
