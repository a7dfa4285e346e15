//! Ruby: frozen objects with readers, for Ruby 3.0 and later, in one module.

mod event;
mod record;
mod shape;

use super::language::{Language, Write};
use super::model::{Declaration, Format, Kind, Model, Variant};
use super::names::{Names, snake};
use super::text::{Text, declaration_comment, header, type_name};

use self::record::record;
use self::shape::{decode, described_type, literal, test};

/// Ruby in the table of languages.
pub const LANGUAGE: Language = Language {
    name: "ruby",
    write: Write::InModule {
        default: "Events",
        is_name: is_constant,
        write,
    },
    reserved: RESERVED,
};

/// The formats that Ruby has a class for.
const NATIVE: [Format; 3] = [Format::Plain, Format::DateTime, Format::Date];

/// Words at the start of a comment that change how Ruby reads the file.
const MAGIC: [&str; 5] = [
    "coding",
    "encoding",
    "frozen_string_literal",
    "shareable_constant_value",
    "warn_indent",
];

/// The names that the file defines in its module beside those of types, or uses from the language. No type gets one.
const RESERVED: &[&str] = &[
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

/// Whether a module can have this name.
fn is_constant(name: &str) -> bool {
    name.split("::").all(|part| {
        part.starts_with(|c: char| c.is_ascii_uppercase())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

/// The model as a module of Ruby.
fn write(model: &Model, module: &str) -> String {
    let mut text = Text::new("  ");
    text.line("# frozen_string_literal: true\n");
    docs(&mut text, &header(model, "ruby"));
    text.gap();
    text.line("require \"date\"\nrequire \"json\"\nrequire \"time\"");
    text.gap();
    // Ruby cannot open a module within one that does not exist.
    for (end, _) in module.match_indices("::") {
        text.line(format!("module {}; end", &module[..end]));
    }
    text.enclose(format!("module {module}"), |t| body(model, t), "end");
    text.finish()
}

/// Types, events, and what reads them.
fn body(model: &Model, text: &mut Text) {
    text.line(BASE);
    for declaration in &model.declarations {
        text.gap();
        declare(model, declaration, text);
    }
    for (event, plain) in model.newest() {
        text.gap();
        docs(
            text,
            &[format!("The newest version of {}.", type_name(event))],
        );
        text.line(format!("{plain} = {}", event.name));
    }
    text.gap();
    event::events(model, text);
    text.gap();
    event::parse(model, text);
}

/// Adds a comment that Ruby does not read.
fn docs(text: &mut Text, lines: &[String]) {
    let plain = lines.iter().map(|line| {
        let line = line.replace("-*-", "- * -");
        let word = line.split(':').next().unwrap_or_default().trim();
        let word = word.to_lowercase().replace('-', "_");
        match MAGIC.contains(&word.as_str()) {
            true => format!("- {line}"),
            false => line,
        }
    });
    text.comment("# ", plain);
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

/// The class or module of a declaration.
fn declare(model: &Model, declaration: &Declaration, text: &mut Text) {
    let name = &declaration.name;
    docs(text, &declaration_comment(declaration, &NATIVE));
    match &declaration.kind {
        Kind::Record { fields, rest } => record(model, name, fields, rest.as_ref(), text),
        Kind::Enum(values) => constants(name, values, text),
        Kind::Union(variants) => union(model, name, variants, text),
        Kind::Alias(shape) => {
            let value = decode(model, shape, "json");
            text.line(format!("module {name}\n  def self.from_json(json)"));
            text.line(format!("    {value}\n  end\nend"));
        }
        Kind::Open => {}
    }
}

/// A module with a constant for each of some strings.
fn constants(name: &str, values: &[String], text: &mut Text) {
    let mut names = Names::reserving(&["ALL", "BEGIN", "END"]);
    let constant = |value: &String| {
        let mut constant = snake(value).to_uppercase();
        if !constant.starts_with(char::is_uppercase) {
            constant.insert(0, 'X');
        }
        names.take(&constant, "_")
    };
    let constants: Vec<String> = values.iter().map(constant).collect();
    let lines = |t: &mut Text| {
        for (constant, value) in constants.iter().zip(values) {
            t.line(format!("{constant} = {}", literal(value)));
        }
        t.line(format!("ALL = [{}].freeze", constants.join(", ")));
    };
    text.enclose(format!("module {name}"), lines, "end");
}

/// A module with a function that reads one of several shapes.
fn union(model: &Model, name: &str, variants: &[Variant], text: &mut Text) {
    let types = variants.iter().map(|v| described_type(model, &v.shape));
    let types: Vec<String> = types.collect();
    docs(text, &[format!("One of: {}.", types.join(", "))]);
    text.line(format!("module {name}\n  def self.from_json(json)"));
    text.line("    case json");
    for variant in variants {
        let value = decode(model, &variant.shape, "json");
        text.line(format!("    when {} then {value}", test(&variant.test)));
    }
    text.line(format!(
        "    else raise ArgumentError, \"not a {name}: #{{json.inspect}}\""
    ));
    text.line("    end\n  end\nend");
}
