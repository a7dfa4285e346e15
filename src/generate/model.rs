//! What the languages have in common: named types, and the shapes of values. The languages write this down and read
//! nothing else.

use std::collections::BTreeSet;

use serde_json::Value;

/// The types of one generated file.
#[derive(Debug)]
pub struct Model {
    /// The event types, sorted by name and version.
    pub events: Vec<EventType>,
    /// The types that data and metadata are made of. A declaration's number is its index here.
    pub declarations: Vec<Declaration>,
}

/// One version of a registered event type.
#[derive(Debug)]
pub struct EventType {
    /// The registered name of the type.
    pub event_type: String,
    /// The version of its schema.
    pub version: i64,
    /// The name of the declaration of its data, such as `OrderPlacedV1`.
    pub name: String,
    /// The name without a version, such as `OrderPlaced`, if this is the newest version.
    pub plain_name: Option<String>,
    /// The number of the declaration of its data.
    pub data: usize,
    /// The number of the declaration of its metadata.
    pub meta: usize,
}

/// A type with a name.
#[derive(Debug)]
pub struct Declaration {
    /// Its name, in PascalCase, unique.
    pub name: String,
    /// Its documentation.
    pub doc: Doc,
    /// Which type it is.
    pub kind: Kind,
}

/// The documentation in a schema.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Doc {
    /// The lines of `title` and `description`.
    pub lines: Vec<String>,
    /// Whether it must not be used any more.
    pub deprecated: bool,
}

/// What a named type is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// An object with known properties.
    Record {
        /// The known properties, sorted by name.
        fields: Vec<Field>,
        /// The shape of the values of all other properties. `None`: the type does not hold others.
        rest: Option<Shape>,
    },
    /// One of some strings.
    Enum(Vec<String>),
    /// One of several shapes: the first whose test holds.
    Union(Vec<Variant>),
    /// Another name for a shape.
    Alias(Shape),
    /// Not known yet. This occurs only while a model is built.
    Open,
}

/// A property of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name in JSON.
    pub json: String,
    /// The shape of its value.
    pub shape: Shape,
    /// Whether every object has it.
    pub required: bool,
    /// Its documentation.
    pub doc: Doc,
}

/// One shape of a union.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Its name in the union, in PascalCase.
    pub name: String,
    /// Its shape. It is never nullable, any or a union.
    pub shape: Shape,
    /// The test that tells it from the variants after it.
    pub test: Test,
}

/// A test that tells one variant of a union from others.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// The value has this kind in JSON.
    Kind(JsonKind),
    /// The value is an object with this property, whose value is one of these strings.
    Property(String, Vec<String>),
    /// The value is an object that has all of these properties.
    Has(Vec<String>),
}

/// The kinds of JSON values other than null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum JsonKind {
    Boolean,
    Number,
    String,
    Array,
    Object,
}

impl JsonKind {
    /// Its name in JSON Schema.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

/// The shape of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Any JSON value, including null.
    Any,
    /// Only null.
    Null,
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// A string.
    Text(Format),
    /// One of several constants: either all are booleans or all are whole numbers.
    Literals(Vec<Value>),
    /// An array.
    List(Box<Shape>),
    /// An object whose values all have this shape.
    Map(Box<Shape>),
    /// The inner shape or null. The inner shape is never `Any`, `Null` or `Nullable`.
    Nullable(Box<Shape>),
    /// The declaration with this number.
    Named(usize),
}

/// Formats of strings.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// Any string.
    Plain,
    /// A date and time of RFC 3339.
    DateTime,
    /// A date of RFC 3339.
    Date,
    /// A UUID.
    Uuid,
    /// A format that no language here has a type for. Comments tell its name.
    Other(String),
}

impl Format {
    /// Its name in JSON Schema. `None`: any string.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Plain => None,
            Self::DateTime => Some("date-time"),
            Self::Date => Some("date"),
            Self::Uuid => Some("uuid"),
            Self::Other(name) => Some(name),
        }
    }
}

/// Whether constants of [`Shape::Literals`] are booleans; otherwise they are whole numbers.
pub fn are_booleans(values: &[Value]) -> bool {
    values.iter().all(Value::is_boolean)
}

impl Shape {
    /// This shape or null.
    pub fn nullable(self) -> Self {
        match self {
            Self::Any | Self::Null | Self::Nullable(_) => self,
            other => Self::Nullable(Box::new(other)),
        }
    }

    /// This shape without null.
    pub fn not_null(&self) -> &Self {
        match self {
            Self::Nullable(inner) => inner,
            other => other,
        }
    }
}

impl Model {
    /// The declaration that a shape names.
    pub fn named(&self, shape: &Shape) -> Option<&Declaration> {
        match shape {
            Shape::Named(n) => self.declarations.get(*n),
            _ => None,
        }
    }

    /// The newest version of each event type, and its name without a version.
    pub fn newest(&self) -> impl Iterator<Item = (&EventType, &str)> {
        let events = self.events.iter();
        events.filter_map(|event| Some((event, event.plain_name.as_deref()?)))
    }

    /// The name of the type of an event's metadata.
    pub fn meta_name(&self, event: &EventType) -> &str {
        &self.declarations[event.meta].name
    }

    /// Whether null is a value of an event's data: otherwise null means that the data has been erased.
    pub fn data_takes_null(&self, event: &EventType) -> bool {
        self.takes_null(&Shape::Named(event.data))
    }

    /// Whether a declaration is one constant that is not an event's data. Languages with literal types write the
    /// constant wherever it occurs, and do not declare it.
    pub fn is_inlined(&self, number: usize) -> bool {
        let is_constant =
            matches!(&self.declarations[number].kind, Kind::Enum(values) if values.len() == 1);
        is_constant && !self.events.iter().any(|e| e.data == number)
    }

    /// Whether null is a value of the shape.
    pub fn takes_null(&self, shape: &Shape) -> bool {
        match shape {
            Shape::Any | Shape::Null | Shape::Nullable(_) => true,
            Shape::Named(n) => {
                matches!(&self.declarations[*n].kind, Kind::Alias(inner) if self.takes_null(inner))
            }
            _ => false,
        }
    }

    /// Whether a value of the shape, held directly in one of the container, would make that infinitely large. Then it
    /// must be allocated on its own.
    pub fn is_recursive(&self, container: usize, shape: &Shape) -> bool {
        let mut seen = BTreeSet::new();
        let mut open: Vec<usize> = held_directly(shape).into_iter().collect();
        while let Some(number) = open.pop() {
            if number == container {
                return true;
            }
            if seen.insert(number) {
                let shapes = self.declarations[number].kind.shapes_held_directly();
                open.extend(shapes.into_iter().filter_map(held_directly));
            }
        }
        false
    }
}

/// The declaration that a value of the shape holds without a heap allocation in between.
fn held_directly(shape: &Shape) -> Option<usize> {
    match shape {
        Shape::Named(n) => Some(*n),
        Shape::Nullable(inner) => held_directly(inner),
        _ => None,
    }
}

/// The declaration that a shape mentions, at any depth.
pub fn mentioned(shape: &Shape) -> Option<usize> {
    match shape {
        Shape::Named(n) => Some(*n),
        Shape::Nullable(inner) | Shape::List(inner) | Shape::Map(inner) => mentioned(inner),
        _ => None,
    }
}

impl Kind {
    /// All shapes in it, to be changed.
    pub fn shapes_mut(&mut self) -> Vec<&mut Shape> {
        match self {
            Self::Record { fields, rest } => fields
                .iter_mut()
                .map(|f| &mut f.shape)
                .chain(rest)
                .collect(),
            Self::Union(variants) => variants.iter_mut().map(|v| &mut v.shape).collect(),
            Self::Alias(shape) => vec![shape],
            Self::Enum(_) | Self::Open => Vec::new(),
        }
    }

    /// All shapes in it.
    pub fn shapes(&self) -> Vec<&Shape> {
        match self {
            Self::Record { fields, rest } => fields.iter().map(|f| &f.shape).chain(rest).collect(),
            Self::Union(variants) => variants.iter().map(|v| &v.shape).collect(),
            Self::Alias(shape) => vec![shape],
            Self::Enum(_) | Self::Open => Vec::new(),
        }
    }

    /// The shapes of the values that one of this kind holds itself: all but the other properties of a record, which
    /// are in a map.
    fn shapes_held_directly(&self) -> Vec<&Shape> {
        match self {
            Self::Record { fields, .. } => fields.iter().map(|f| &f.shape).collect(),
            other => other.shapes(),
        }
    }
}
