//! Ruby: frozen objects with readers, for 3.0 and later, in one module.

use crate::dcb::error::Result;

use super::model::{Declaration, EventType, Field, Format, JsonKind, Kind, Model, Shape, Test};
use super::names::{Names, snake};
use super::text::{Text, comment, header, quoted};

/// Keywords, and methods that an object cannot do without.
const RESERVED: [&str; 66] = [
    "__id__", "__send__", "alias", "and", "as_json", "begin", "break", "case", "class", "clone",
    "deconstruct_keys", "def", "defined", "do", "dup", "else", "elsif", "end", "ensure", "false",
    "for", "freeze", "frozen", "hash", "if", "in", "initialize", "inspect", "instance_of",
    "instance_variable_get", "instance_variables", "is_a", "itself", "method", "methods", "module",
    "next", "nil", "not", "object_id", "or", "public_send", "raise", "redo", "rescue",
    "respond_to", "retry", "return", "self", "send", "super", "tap", "then", "to_h", "to_json",
    "to_s", "true", "undef", "unless", "until", "when", "while", "yield", "json", "binding",
    "display",
];
/// The formats that have a class.
const NATIVE: [Format; 3] = [Format::Plain, Format::DateTime, Format::Date];

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
                docs(t, &[format!("The newest version of {}.", super::schema::clean(&event.event_type))]);
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

fn docs(text: &mut Text, lines: &[String]) {
    for line in lines {
        text.line(format!("# {line}").trim_end());
    }
}

/// A string in quotes that stands for itself.
fn literal(value: &str) -> String {
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
    when Time then value.iso8601(9).sub(/\.(\d*?)0+(?=[Z+-])/) { Regexp.last_match(1).empty? ? "" : ".#{Regexp.last_match(1)}" }
    when Date then value.iso8601
    else value
    end
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

  def self.append(type, schema_version, data, tags, meta, id, occurred_at)
    json = { "type" => type, "schema_version" => schema_version, "data" => Record.dump(data), "tags" => tags.to_a }
    json["meta"] = Record.dump(meta) unless meta.nil?
    json["id"] = id unless id.nil?
    json["occurred_at"] = Record.dump(occurred_at) unless occurred_at.nil?
    json
  end
  private_class_method :append

  private

  def time(value)
    value.is_a?(Time) ? value : Time.iso8601(value)
  end
end"#;

const UNKNOWN: &str = r#"# An event of another type or version, or one whose data has been erased.
class UnknownEvent < Event
end"#;

fn event(model: &Model, event: &EventType, text: &mut Text) {
    let EventType { event_type, version, name, data, meta, .. } = event;
    docs(text, &[format!("{}, version {version}.", super::schema::clean(event_type))]);
    text.line(format!("class {name}Event < Event"));
    text.block(|t| {
        t.line(format!("TYPE = {}\nSCHEMA_VERSION = {version}\n", literal(event_type)));
        t.line("# The event in a row.\ndef self.from_row(row)");
        let data = decode(model, &Shape::Named(*data), "row.fetch(\"data\")");
        let meta = decode(model, &Shape::Nullable(Box::new(Shape::Named(*meta))), "row.fetch(\"meta\")");
        t.line(format!("  new(row, {data}, {meta})"));
        t.line("end\n\n# The new event for en57_append.");
        t.line("def self.to_append(data, tags: [], meta: nil, id: nil, occurred_at: nil)");
        t.line("  append(TYPE, SCHEMA_VERSION, data, tags, meta, id, occurred_at)\nend");
    });
    text.line("end");
}

fn parse(model: &Model, text: &mut Text) {
    text.line("# The event in a row of to_jsonb(e), or in its JSON text.");
    text.line("def self.parse(row)");
    text.block(|t| {
        t.line("row = JSON.parse(row) if row.is_a?(String)");
        t.line("row = row.transform_keys(&:to_s)");
        if !model.events.is_empty() {
            t.line("has_data = !row.fetch(\"data\").nil?");
            t.line("kind = [row.fetch(\"type\"), Integer(row.fetch(\"schema_version\"))]");
        }
        for event in &model.events {
            let guard = if model.takes_null(&Shape::Named(event.data)) { "" } else { " && has_data" };
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
                    let constant = if constant.starts_with(char::is_uppercase) { constant } else { format!("X{constant}") };
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
            text.line(format!("module {name}\n  def self.from_json(json)\n    case json"));
            text.block(|t| {
                t.block(|t| {
                    for variant in variants {
                        t.line(format!("when {} then {}", test(&variant.test), decode(model, &variant.shape, "json")));
                    }
                    t.line(format!("else raise ArgumentError, \"not a {name}: #{{json.inspect}}\""));
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

fn record(model: &Model, name: &str, fields: &[Field], rest: Option<&Shape>, text: &mut Text) {
    let mut names = Names::reserving(&RESERVED);
    let rest = rest.map(|shape| (shape, names.take("additional", "_")));
    let mut name_of = |field: &Field| {
        let name = snake(&field.json);
        let name = if RESERVED.contains(&name.as_str()) { format!("{name}_") } else { name };
        names.take(&name, "_")
    };
    let fields: Vec<(&Field, String)> = fields.iter().map(|f| (f, name_of(f))).collect();
    let absent = |field: &Field| if model.takes_null(&field.shape) { "ABSENT" } else { "nil" };
    text.line(format!("class {name} < Record"));
    text.block(|t| {
        for (field, name) in &fields {
            docs(t, &described(model, field));
            t.line(format!("attr_reader :{name}"));
        }
        if let Some((_, name)) = &rest {
            t.line(format!("# All other properties.\nattr_reader :{name}"));
        }
        if fields.is_empty() && rest.is_none() {
            t.line("def self.from_json(_json)\n  new\nend\n\ndef as_json\n  {}\nend");
            return;
        }
        t.gap();
        let parameter = |(field, name): &(&Field, String)| match field.required {
            true => format!("{name}:"),
            false => format!("{name}: {}", absent(field)),
        };
        let mut parameters: Vec<String> = fields.iter().map(parameter).collect();
        parameters.extend(rest.iter().map(|(_, name)| format!("{name}: {{}}")));
        // A keyword's value is not read as a word of the language.
        t.line(format!("def initialize({})", parameters.join(", ")));
        for name in fields.iter().map(|(_, name)| name).chain(rest.iter().map(|(_, name)| name)) {
            t.line(format!("  @{name} = {name}"));
        }
        t.line("  freeze\nend\n");
        t.line("def self.from_json(json)\n  new(");
        t.block(|t| {
            let mut lines: Vec<String> = fields.iter().map(|(field, name)| {
                let key = literal(&field.json);
                let fetched = format!("json.fetch({key})");
                match (decode(model, &field.shape, &fetched), field.required) {
                    (value, true) => format!("  {name}: {value}"),
                    (value, false) if value == fetched => format!("  {name}: json.fetch({key}, {})", absent(field)),
                    (value, false) => format!("  {name}: json.key?({key}) ? {value} : {}", absent(field)),
                }
            }).collect();
            if let Some((shape, name)) = &rest {
                let keys: Vec<String> = fields.iter().map(|(f, _)| literal(&f.json)).collect();
                let others = format!("json.except({})", keys.join(", "));
                lines.push(format!("  {name}: {}", decode(model, &Shape::Map(Box::new((*shape).clone())), &others)));
            }
            t.line(lines.join(",\n"));
        });
        t.line("  )\nend\n\ndef as_json");
        t.block(|t| {
            let start = rest.as_ref().map_or("{}".to_owned(), |(_, name)| format!("Record.dump(@{name})"));
            t.line(format!("json = {start}"));
            for (field, name) in &fields {
                let put = format!("json[{}] = Record.dump(@{name})", literal(&field.json));
                t.line(match (field.required, absent(field)) {
                    (true, _) => put,
                    (false, "nil") => format!("{put} unless @{name}.nil?"),
                    (false, _) => format!("{put} unless @{name}.equal?(ABSENT)"),
                });
            }
            t.line("json");
        });
        t.line("end");
    });
    text.line("end");
}

/// The comment on an attribute, with its type, which Ruby has no other place for.
fn described(model: &Model, field: &Field) -> Vec<String> {
    let mut lines = comment(&field.doc, Some(&field.shape), &NATIVE);
    let optional = if field.required { "" } else { "?" };
    lines.push(format!("@return [{}]{optional}", described_type(model, &field.shape)));
    lines
}

fn described_type(model: &Model, shape: &Shape) -> String {
    match shape {
        Shape::Any => "Object".to_owned(),
        Shape::Null => "nil".to_owned(),
        Shape::Boolean => "Boolean".to_owned(),
        Shape::Integer => "Integer".to_owned(),
        Shape::Number => "Numeric".to_owned(),
        Shape::Text(Format::DateTime) => "Time".to_owned(),
        Shape::Text(Format::Date) => "Date".to_owned(),
        Shape::Text(_) => "String".to_owned(),
        Shape::Literals(values) => {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            values.join(", ")
        }
        Shape::List(inner) => format!("Array<{}>", described_type(model, inner)),
        Shape::Map(inner) => format!("Hash{{String => {}}}", described_type(model, inner)),
        Shape::Nullable(inner) => format!("{}, nil", described_type(model, inner)),
        Shape::Named(n) => match &model.declarations[*n].kind {
            Kind::Enum(values) => {
                let values: Vec<String> = values.iter().map(|v| literal(v)).collect();
                values.join(", ")
            }
            Kind::Union(variants) => {
                let shapes = variants.iter().map(|v| match v.shape {
                    Shape::Named(n) => model.declarations[n].name.clone(),
                    _ => described_type(model, &v.shape),
                });
                shapes.collect::<Vec<_>>().join(", ")
            }
            _ => model.declarations[*n].name.clone(),
        },
    }
}

/// The value that a JSON value stands for.
fn decode(model: &Model, shape: &Shape, json: &str) -> String {
    match shape {
        Shape::Text(Format::DateTime) => format!("Time.iso8601({json})"),
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
            Declaration { kind: Kind::Enum(_), .. } => json.to_owned(),
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
            format!("->(value) {{ value.is_a?(Hash) && {}.include?(value[{}]) }}", list(values), literal(name))
        }
        Test::Has(names) => {
            format!("->(value) {{ value.is_a?(Hash) && {}.all? {{ |name| value.key?(name) }} }}", list(names))
        }
    }
}
