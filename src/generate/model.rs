//! What the languages have in common: named types, and what values are made of. Texts are made from this alone.

use std::collections::BTreeSet;

use serde_json::Value;

/// The types of one generated file.
#[derive(Debug)]
pub struct Model {
    /// By type and version.
    pub events: Vec<EventType>,
    /// The types that data and metadata are made of; [`Shape::Named`] is an index.
    pub declarations: Vec<Declaration>,
}

/// One version of a registered event type.
#[derive(Debug)]
pub struct EventType {
    /// The type as it is registered.
    pub event_type: String,
    /// Its version.
    pub version: i64,
    /// The name of its data's type, `OrderPlacedV1`.
    pub name: String,
    /// `OrderPlaced`, if this is the newest version.
    pub plain_name: Option<String>,
    /// The declaration of its data.
    pub data: usize,
    /// The declaration of its metadata.
    pub meta: usize,
}

/// A type with a name.
#[derive(Debug)]
pub struct Declaration {
    /// In PascalCase, unique.
    pub name: String,
    /// What is said about it.
    pub doc: Doc,
    /// What it is.
    pub kind: Kind,
}

/// What a schema says to people.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Doc {
    /// `title` and `description`, lines.
    pub lines: Vec<String>,
    /// It is not to be used any more.
    pub deprecated: bool,
}

/// What a named type is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// An object with known properties, by name; `rest` is what its other properties are, where they are kept.
    Record {
        /// Its properties.
        fields: Vec<Field>,
        /// The shape of the values of all others.
        rest: Option<Shape>,
    },
    /// One of some strings.
    Enum(Vec<String>),
    /// One of some shapes; the first whose test holds.
    Union(Vec<Variant>),
    /// Another name for a shape.
    Alias(Shape),
    /// Not known yet: only while a model is made.
    Open,
}

/// A property of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name in JSON.
    pub json: String,
    /// What its value is.
    pub shape: Shape,
    /// Whether it must be there.
    pub required: bool,
    /// What is said about it.
    pub doc: Doc,
}

/// One shape of a union.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Its name in the union, in PascalCase.
    pub name: String,
    /// What it is; never nullable, any or a union.
    pub shape: Shape,
    /// How it is told from those after it.
    pub test: Test,
}

/// How a value of a union is told from others.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// By its kind in JSON.
    Kind(JsonKind),
    /// It is an object with this property, which is one of these strings.
    Property(String, Vec<String>),
    /// It is an object that has all of these properties.
    Has(Vec<String>),
}

/// The kinds of JSON values, but null.
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
    /// As JSON Schema calls it.
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

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Any JSON value, null too.
    Any,
    /// Nothing but null.
    Null,
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// A string.
    Text(Format),
    /// One of some booleans or whole numbers, all of one kind.
    Literals(Vec<Value>),
    /// An array.
    List(Box<Shape>),
    /// An object whose properties are alike.
    Map(Box<Shape>),
    /// That, or null. Never of `Any`, `Null` or itself.
    Nullable(Box<Shape>),
    /// A declaration.
    Named(usize),
}

/// Formats of strings.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// Any.
    Plain,
    /// RFC 3339's date and time.
    DateTime,
    /// RFC 3339's date.
    Date,
    /// A uuid.
    Uuid,
    /// What no language here has a type for: it is named in comments.
    Other(String),
}

impl Shape {
    /// That, or null.
    pub fn nullable(self) -> Self {
        match self {
            Self::Any | Self::Null | Self::Nullable(_) => self,
            other => Self::Nullable(Box::new(other)),
        }
    }

    /// Without null, where it may be null.
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

    /// Whether it is a constant inside of something, which languages with literals write in its place.
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

    /// Whether a value of `shape` inside one of `container` would make that infinitely large, unless it is put apart.
    pub fn is_recursive(&self, container: usize, shape: &Shape) -> bool {
        let mut seen = BTreeSet::new();
        let mut open = Vec::new();
        inline(shape, &mut open);
        while let Some(n) = open.pop() {
            if n == container {
                return true;
            }
            if seen.insert(n) {
                match &self.declarations[n].kind {
                    Kind::Record { fields, .. } => {
                        fields.iter().for_each(|f| inline(&f.shape, &mut open));
                    }
                    Kind::Union(variants) => {
                        variants.iter().for_each(|v| inline(&v.shape, &mut open));
                    }
                    Kind::Alias(shape) => inline(shape, &mut open),
                    Kind::Enum(_) | Kind::Open => {}
                }
            }
        }
        false
    }
}

/// The declarations that a value of the shape holds without a heap allocation in between.
fn inline(shape: &Shape, found: &mut Vec<usize>) {
    match shape {
        Shape::Named(n) => found.push(*n),
        Shape::Nullable(inner) => inline(inner, found),
        _ => {}
    }
}

/// The declarations that a shape names, at any depth.
pub fn mentioned(shape: &Shape, found: &mut Vec<usize>) {
    match shape {
        Shape::Named(n) => found.push(*n),
        Shape::Nullable(inner) | Shape::List(inner) | Shape::Map(inner) => mentioned(inner, found),
        _ => {}
    }
}

impl Kind {
    /// All shapes in it.
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
}
