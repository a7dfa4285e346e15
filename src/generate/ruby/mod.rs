//! Ruby: frozen objects with readers, for 3.0 and later, in one module.

use crate::dcb::error::Result;

use super::model::{Declaration, EventType, Format, JsonKind, Kind, Model, Shape, Test};
use super::names::{Names, snake};
use super::ruby_record::{described_type, record};
use super::text::{Text, comment, header, quoted};

/// The formats that have a class.
pub const NATIVE: [Format; 3] = [Format::Plain, Format::DateTime, Format::Date];

/// What Ruby reads in comments, wherever they stand.
const MAGIC: [&str; 5] = [
    "coding",
    "encoding",
    "frozen_string_literal",
    "shareable_constant_value",
    "warn_indent",
];

/// The names that the file has in its module, beside those of types, or means by theirs. Types get others.
pub const NAMES: &[&str] = &[
    "ArgumentError",
    "Array",
    "Date",
    "Event",
    "Hash",
    "Integer",
    "JSON",
    "Numeric",
    "Object",
    "Record",
    "Regexp",
    "String",
    "Time",
    "UnknownEvent",
];

/// The model in Ruby.
///
/// # Errors
/// 22023 for a module that is no constant.
pub fn write(model: &Model, module: Option<&str>) -> Result<String> {
    let is_constant = |name: &str| {
        name.split("::").all(|part| {
            part.starts_with(|c: char| c.is_ascii_uppercase())
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        })
    };
    let module = super::module_or(module, "Events", is_constant)?;
    let mut text = Text::new("  ");
    text.line("# frozen_string_literal: true\n");
    docs(&mut text, &header(model, "ruby"));
    text.gap();
    text.line("require \"date\"\nrequire \"json\"\nrequire \"time\"");
    text.gap();
    // The modules around it need not be there.
    let parts: Vec<&str> = module.split("::").collect();
    for (i, _) in parts.iter().enumerate().skip(1) {
        let name = parts[..i].join("::");
        text.line(format!("module {name}; end"));
    }
    text.line(format!("module {module}"));
    text.block(|t| {
        t.line(BASE);
        for declaration in &model.declarations {
            t.gap();
            declare(model, declaration, t);
        }
        for event in &model.events {
            if let Some(plain) = &event.plain_name {
                t.gap();
                docs(
                    t,
                    &[format!(
                        "The newest version of {}.",
                        super::schema::clean(&event.event_type)
                    )],
                );
                t.line(format!("{plain} = {}", event.name));
            }
        }
        t.gap();
        t.line(EVENT);
        for event in &model.events {
            t.gap();
            self::event(model, event, t);
        }
        t.gap();
        t.line(UNKNOWN);
        t.gap();
        parse(model, t);
    });
    text.line("end");
    Ok(text.finish())
}

/// A comment, but for Ruby.
pub fn docs(text: &mut Text, lines: &[String]) {
    for line in lines {
        let line = line.replace("-*-", "- * -");
        let name = line.split(':').next().unwrap_or_default().trim();
        let is_magic = MAGIC.contains(&name.to_lowercase().replace('-', "_").as_str());
        let line = if is_magic { format!("- {line}") } else { line };
        text.line(format!("# {line}").trim_end());
    }
}

/// A string in quotes that stands for itself.
pub fn literal(value: &str) -> String {
    quoted(value).replace('#', "\\#")
}

const BASE: &str = r#"# What is left out, where nil is a value.
ABSENT = Object.new.freeze

# An object with attributes that do not change.
class Record
  # The JSON value that a value is written as.
  def self.dump(value)
    case value
    when Record then value.as_json
    when Array then value.map { |item| dump(item) }
    when Hash then value.transform_values { |item| dump(item) }
    when Time then value.instance_variable_get(:@text) || value.iso8601(9).sub(/(\.\d*?)0*(?=[Z+-])/) { Regexp.last_match(1).delete_suffix(".") }
    when Date then value.iso8601
    else value
    end
  end

  # The time in a JSON string. A leap second, or one that is finer than nanoseconds, is written as it was read.
  def self.time(json)
    time = Time.iso8601(json)
    time.instance_variable_set(:@text, json) if json[17, 2] == "60" || json.match?(/\.\d{9,}[1-9]/)
    time
  end

  def to_h
    instance_variables.to_h { |name| [name.to_s.delete_prefix("@").to_sym, instance_variable_get(name)] }
  end

  def deconstruct_keys(_keys)
    to_h
  end

  def ==(other)
    other.class == self.class && other.to_h == to_h
  end
  alias eql? ==

  def hash
    [self.class, to_h].hash
  end

  def to_json(*args)
    as_json.to_json(*args)
  end
end"#;

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

fn event(model: &Model, event: &EventType, text: &mut Text) {
    let EventType {
        event_type,
        version,
        name,
        data,
        meta,
        ..
    } = event;
    docs(
        text,
        &[format!(
            "{}, version {version}.",
            super::schema::clean(event_type)
        )],
    );
    text.line(format!("class {name}Event < Event"));
    text.block(|t| {
        t.line(format!(
            "TYPE = {}\nSCHEMA_VERSION = {version}\n",
            literal(event_type)
        ));
        t.line("# The event in a row.\ndef self.from_row(row)");
        let data = decode(model, &Shape::Named(*data), "row.fetch(\"data\")");
        let meta = decode(
            model,
            &Shape::Nullable(Box::new(Shape::Named(*meta))),
            "row.fetch(\"meta\")",
        );
        t.line(format!("  new(row, {data}, {meta})"));
        t.line("end");
    });
    text.line("end");
}

fn parse(model: &Model, text: &mut Text) {
    text.line("# The event in a row of to_jsonb(e), or in its JSON text.");
    text.line("def self.parse(row)");
    text.block(|t| {
        t.line("row = JSON.parse(row) if row.is_a?(String)");
        t.line("row = row.transform_keys(&:to_s)");
        let takes_null = |event: &EventType| model.takes_null(&Shape::Named(event.data));
        if !model.events.iter().all(takes_null) {
            t.line("has_data = !row.fetch(\"data\").nil?");
        }
        if !model.events.is_empty() {
            t.line("kind = [row.fetch(\"type\"), Integer(row.fetch(\"schema_version\"))]");
        }
        for event in &model.events {
            let guard = if takes_null(event) {
                ""
            } else {
                " && has_data"
            };
            t.line(format!(
                "return {}Event.from_row(row) if kind == [{}, {}]{guard}",
                event.name,
                literal(&event.event_type),
                event.version
            ));
        }
        t.gap();
        t.line("UnknownEvent.new(row, row.fetch(\"data\"), row.fetch(\"meta\"))");
    });
    text.line("end");
}

fn declare(model: &Model, declaration: &Declaration, text: &mut Text) {
    let name = &declaration.name;
    let of_alias = match &declaration.kind {
        Kind::Alias(shape) => Some(shape),
        _ => None,
    };
    docs(text, &comment(&declaration.doc, of_alias, &NATIVE));
    match &declaration.kind {
        Kind::Record { fields, rest } => record(model, name, fields, rest.as_ref(), text),
        Kind::Enum(values) => {
            text.line(format!("module {name}"));
            text.block(|t| {
                let mut names = Names::reserving(&["ALL", "BEGIN", "END"]);
                let mut all = Vec::new();
                for value in values {
                    let constant = snake(value).to_uppercase();
                    let constant = if constant.starts_with(char::is_uppercase) {
                        constant
                    } else {
                        format!("X{constant}")
                    };
                    all.push(names.take(&constant, "_"));
                }
                for (constant, value) in all.iter().zip(values) {
                    t.line(format!("{constant} = {}", literal(value)));
                }
                t.line(format!("ALL = [{}].freeze", all.join(", ")));
            });
            text.line("end");
        }
        Kind::Union(variants) => {
            let types = variants.iter().map(|v| described_type(model, &v.shape));
            let types: Vec<String> = types.collect();
            docs(text, &[format!("One of: {}.", types.join(", "))]);
            text.line(format!(
                "module {name}\n  def self.from_json(json)\n    case json"
            ));
            text.block(|t| {
                t.block(|t| {
                    for variant in variants {
                        t.line(format!(
                            "when {} then {}",
                            test(&variant.test),
                            decode(model, &variant.shape, "json")
                        ));
                    }
                    t.line(format!(
                        "else raise ArgumentError, \"not a {name}: #{{json.inspect}}\""
                    ));
                    t.line("end");
                });
            });
            text.line("  end\nend");
        }
        Kind::Alias(shape) => {
            text.line(format!("module {name}\n  def self.from_json(json)"));
            text.line(format!("    {}\n  end\nend", decode(model, shape, "json")));
        }
        Kind::Open => {}
    }
}

/// The value that a JSON value stands for.
pub fn decode(model: &Model, shape: &Shape, json: &str) -> String {
    match shape {
        Shape::Text(Format::DateTime) => format!("Record.time({json})"),
        Shape::Text(Format::Date) => format!("Date.iso8601({json})"),
        Shape::List(inner) => match decode(model, inner, "item").as_str() {
            "item" => json.to_owned(),
            item => format!("{json}.map {{ |item| {item} }}"),
        },
        Shape::Map(inner) => match decode(model, inner, "item").as_str() {
            "item" => json.to_owned(),
            item => format!("{json}.transform_values {{ |item| {item} }}"),
        },
        Shape::Nullable(inner) => match decode(model, inner, "item").as_str() {
            "item" => json.to_owned(),
            item => format!("{json}&.then {{ |item| {item} }}"),
        },
        Shape::Named(n) => match &model.declarations[*n] {
            Declaration {
                kind: Kind::Enum(_),
                ..
            } => json.to_owned(),
            declaration => format!("{}.from_json({json})", declaration.name),
        },
        _ => json.to_owned(),
    }
}

fn test(test: &Test) -> String {
    let list = |values: &[String]| {
        let values: Vec<String> = values.iter().map(|v| literal(v)).collect();
        format!("[{}]", values.join(", "))
    };
    match test {
        Test::Kind(JsonKind::Boolean) => "true, false".to_owned(),
        Test::Kind(JsonKind::Number) => "Numeric".to_owned(),
        Test::Kind(JsonKind::String) => "String".to_owned(),
        Test::Kind(JsonKind::Array) => "Array".to_owned(),
        Test::Kind(JsonKind::Object) => "Hash".to_owned(),
        Test::Property(name, values) => {
            format!(
                "->(value) {{ value.is_a?(Hash) && {}.include?(value[{}]) }}",
                list(values),
                literal(name)
            )
        }
        Test::Has(names) => {
            format!(
                "->(value) {{ value.is_a?(Hash) && {}.all? {{ |name| value.key?(name) }} }}",
                list(names)
            )
        }
    }
}
