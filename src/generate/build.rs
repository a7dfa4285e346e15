//! Builds a model from the registered types: reads their schemas, gives out names, and leaves only what is used.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::dcb::error::Result;

use super::graph::components;
use super::model::{Declaration, EventType, Kind, Model, Shape, mentioned};
use super::names::{Names, pascal};
use super::unite::Draft;
use super::{Registered, language, schema};

/// Names that mean something to readers of a language, beside those that its generated files contain. No type gets one.
const RESERVED: &[&str] = &[
    "Array", "BigInt", "Boolean", "Box", "Class", "Error", "Events", "Float", "Hash", "Integer",
    "Json", "Map", "Module", "NilClass", "Null", "Number", "Object", "Record", "String", "Struct",
    "Symbol", "Unknown",
];

/// The model of the registered types.
///
/// # Errors
/// 54000 for a schema that becomes too large.
pub fn model(mut registered: Vec<Registered>, check_interrupts: &dyn Fn()) -> Result<Model> {
    registered.sort_by(|a, b| (&a.event_type, a.version).cmp(&(&b.event_type, b.version)));
    let for_all = registered.iter().find(|r| r.event_type == "*");
    let for_all = for_all.and_then(|r| r.meta.clone());
    registered.retain(|r| r.event_type != "*");

    let mut names = Names::reserving(&[RESERVED, &language::reserved()].concat());
    names.take("Meta", "");
    let mut roots = Roots::new(for_all, check_interrupts)?;
    let mut events = Vec::new();
    for of_type in registered.chunk_by(|a, b| a.event_type == b.event_type) {
        let base = base_name(of_type, &mut names);
        for version in of_type {
            events.push(roots.event(version, &base)?);
        }
        if let Some(newest) = events.last_mut() {
            newest.plain_name = Some(base);
        }
    }
    roots.draft.settle(check_interrupts)?;

    let (mut declarations, roots) = finish(roots.draft.declarations, &roots.numbers, &mut names);
    keep_all(roots[0], &mut declarations);
    for event in &mut events {
        event.data = roots[event.data];
        event.meta = roots[event.meta];
        keep_all(event.meta, &mut declarations);
    }
    Ok(Model {
        events,
        declarations,
    })
}

/// The declarations of data and metadata while schemas are read. An event refers to them by their index here, until the
/// final numbers are known.
struct Roots<'a> {
    draft: Draft,
    /// The numbers of the declarations. The first one is the metadata that holds for all events.
    numbers: Vec<usize>,
    for_all: Option<Value>,
    check_interrupts: &'a dyn Fn(),
}

impl<'a> Roots<'a> {
    /// With the metadata that holds for all events.
    fn new(for_all: Option<Value>, check_interrupts: &'a dyn Fn()) -> Result<Self> {
        let mut roots = Self {
            draft: Draft::default(),
            numbers: Vec::new(),
            for_all,
            check_interrupts,
        };
        roots.meta(roots.for_all.clone().as_ref(), "Meta")?;
        Ok(roots)
    }

    /// Reads the schemas of one version of a type.
    fn event(&mut self, version: &Registered, base: &str) -> Result<EventType> {
        let name = format!("{base}V{}", version.version);
        let shape = self.read(version.data.as_ref(), &name)?;
        let data = self.declare(shape, version.data.as_ref(), &name);
        let meta = match &version.meta {
            None => 0,
            Some(own) => {
                let own = together(self.for_all.as_ref(), own);
                self.meta(Some(&own), &format!("{name}Meta"))?
            }
        };
        Ok(EventType {
            event_type: version.event_type.clone(),
            version: version.version,
            plain_name: None,
            name,
            data,
            meta,
        })
    }

    /// Reads a schema of metadata, which is an object, whether the schema says so or not.
    fn meta(&mut self, schema: Option<&Value>, name: &str) -> Result<usize> {
        let shape = match self.read(schema, name)? {
            Shape::Any => Shape::Map(Box::new(Shape::Any)),
            shape => shape,
        };
        Ok(self.declare(shape, schema, name))
    }

    fn read(&mut self, schema: Option<&Value>, name: &str) -> Result<Shape> {
        match schema {
            Some(schema) => schema::read(schema, name, &mut self.draft, self.check_interrupts),
            None => Ok(Shape::Any),
        }
    }

    fn declare(&mut self, shape: Shape, schema: Option<&Value>, name: &str) -> usize {
        let doc = schema.map(schema::doc).unwrap_or_default();
        let number = self.draft.open(name, doc);
        self.draft.close(number, Kind::Alias(shape));
        self.numbers.push(number);
        self.numbers.len() - 1
    }
}

/// Makes metadata hold all its properties: en57 itself adds some that no schema describes, such as `correlation_id`.
fn keep_all(meta: usize, declarations: &mut [Declaration]) {
    let inner = match &mut declarations[meta].kind {
        Kind::Record { rest, .. } => {
            rest.get_or_insert(Shape::Any);
            return;
        }
        Kind::Union(variants) => variants.iter().map(|v| v.shape.clone()).collect(),
        Kind::Alias(shape) => vec![shape.not_null().clone()],
        _ => return,
    };
    for shape in inner {
        if let Shape::Named(n) = shape
            && n != meta
        {
            keep_all(n, declarations);
        }
    }
}

/// A name for a type that is free, with all names that are made from it. Types that want the same name are numbered.
fn base_name(versions: &[Registered], names: &mut Names) -> String {
    let wanted = pascal(&versions[0].event_type);
    let family = |base: &str| {
        let ends = ["", "Event", "Meta"];
        let mut family: Vec<String> = ends.map(|end| format!("{base}{end}")).to_vec();
        for one in versions {
            family.extend(ends.map(|end| format!("{base}V{}{end}", one.version)));
            // Go has a function of this name in the same scope.
            family.push(format!("ToAppend{base}V{}", one.version));
        }
        family
    };
    let numbered = (2_u64..).map(|i| format!("{wanted}{i}"));
    let free = |base: &String| family(base).iter().all(|n| names.is_free(n));
    let base = std::iter::once(wanted.clone()).chain(numbered).find(free);
    let base = base.unwrap_or(wanted);
    for name in family(&base) {
        names.take(&name, "");
    }
    base
}

/// The schema of metadata that must fit both schemas. References in each of them stay within it.
fn together(for_all: Option<&Value>, own: &Value) -> Value {
    let Some(for_all) = for_all else {
        return own.clone();
    };
    json!({
        "description": own.get("description").cloned().unwrap_or_default(),
        "allOf": [{"$ref": "#/$defs/all"}, {"$ref": "#/$defs/own"}],
        "$defs": {"all": part(for_all, "#/$defs/all"), "own": part(own, "#/$defs/own")},
    })
}

/// A schema as a part of another one, at the given pointer: its references lead there.
fn part(schema: &Value, to: &str) -> Value {
    let mut schema = schema.clone();
    if let Value::Object(keys) = &mut schema {
        keys.remove("$id");
    }
    moved(&schema, to)
}

/// A schema whose references lead to the given pointer.
fn moved(schema: &Value, to: &str) -> Value {
    let member = |(key, value): (&String, &Value)| {
        let value = match value.as_str().and_then(|v| v.strip_prefix('#')) {
            Some(rest) if key == "$ref" => json!(format!("{to}{rest}")),
            _ => moved(value, to),
        };
        (key.clone(), value)
    };
    match schema {
        Value::Object(keys) => Value::Object(keys.iter().map(member).collect::<Map<_, _>>()),
        Value::Array(elements) => elements.iter().map(|e| moved(e, to)).collect(),
        other => other.clone(),
    }
}

/// Replaces aliases by what they name, drops declarations that nobody mentions, and gives out names. Returns the
/// declarations, and the new numbers of the roots.
fn finish(
    mut all: Vec<Declaration>,
    roots: &[usize],
    names: &mut Names,
) -> (Vec<Declaration>, Vec<usize>) {
    simplify_all(&mut all);
    let roots: Vec<usize> = roots.iter().map(|root| see_through(*root, &all)).collect();
    let is_root: BTreeSet<usize> = roots.iter().copied().collect();
    let order = reachable(&roots, &all);
    let numbers = order.iter().enumerate().map(|(new, old)| (*old, new));
    let numbers: BTreeMap<usize, usize> = numbers.collect();
    let declarations = order.iter().map(|number| {
        let old = &mut all[*number];
        let mut kind = std::mem::replace(&mut old.kind, Kind::Open);
        for shape in kind.shapes_mut() {
            renumber(shape, &numbers);
        }
        let mut name = std::mem::take(&mut old.name);
        if !is_root.contains(number) {
            name = names.take(&name, "");
        }
        let doc = std::mem::take(&mut old.doc);
        Declaration { name, doc, kind }
    });
    let declarations = declarations.collect();
    (declarations, roots.iter().map(|n| numbers[n]).collect())
}

/// Replaces aliases by what they name, in all declarations.
fn simplify_all(all: &mut [Declaration]) {
    let recursive = recursive_aliases(all);
    let simplified = all.iter().map(|declaration| {
        let mut kind = declaration.kind.clone();
        for shape in kind.shapes_mut() {
            *shape = simplify(shape, all, &recursive);
        }
        kind
    });
    let simplified: Vec<Kind> = simplified.collect();
    for (declaration, kind) in all.iter_mut().zip(simplified) {
        declaration.kind = kind;
    }
}

/// The declaration that a root names, if that one wants the same name; otherwise the root.
fn see_through(root: usize, all: &[Declaration]) -> usize {
    match &all[root].kind {
        Kind::Alias(Shape::Named(n)) if all[*n].name == all[root].name => *n,
        _ => root,
    }
}

/// The declarations that the roots lead to, each before those that it mentions first.
fn reachable(roots: &[usize], all: &[Declaration]) -> Vec<usize> {
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    let mut open: Vec<usize> = roots.iter().rev().copied().collect();
    while let Some(number) = open.pop() {
        if seen.insert(number) {
            order.push(number);
            let shapes = all[number].kind.shapes();
            open.extend(shapes.into_iter().rev().filter_map(mentioned));
        }
    }
    order
}

/// The aliases that mention themselves, directly or by others: they must stay.
fn recursive_aliases(all: &[Declaration]) -> BTreeSet<usize> {
    let edges = all.iter().map(|declaration| match &declaration.kind {
        Kind::Alias(shape) => mentioned(shape).into_iter().collect(),
        _ => Vec::new(),
    });
    let edges: Vec<Vec<usize>> = edges.collect();
    let circles = components(&edges).into_iter();
    let circles = circles.filter(|c| c.len() > 1 || edges[c[0]].contains(&c[0]));
    circles.flatten().collect()
}

fn simplify(shape: &Shape, all: &[Declaration], recursive: &BTreeSet<usize>) -> Shape {
    let inner = |shape: &Shape| Box::new(simplify(shape, all, recursive));
    match shape {
        Shape::Nullable(shape) => inner(shape).nullable(),
        Shape::List(shape) => Shape::List(inner(shape)),
        Shape::Map(shape) => Shape::Map(inner(shape)),
        Shape::Named(n) => match &all[*n].kind {
            Kind::Alias(shape) if recursive.contains(n) && is_hollow(shape, all) => Shape::Any,
            Kind::Alias(shape) if !recursive.contains(n) => simplify(shape, all, recursive),
            _ => shape.clone(),
        },
        other => other.clone(),
    }
}

/// Whether an alias leads only to aliases, without end.
fn is_hollow(shape: &Shape, all: &[Declaration]) -> bool {
    let mut shape = shape;
    let mut seen = BTreeSet::new();
    loop {
        shape = match shape {
            Shape::Nullable(inner) => inner,
            Shape::Named(n) if !seen.insert(n) => return true,
            Shape::Named(n) => match &all[*n].kind {
                Kind::Alias(inner) => inner,
                _ => return false,
            },
            _ => return false,
        };
    }
}

/// Replaces the number of a declaration in a shape by its new number.
fn renumber(shape: &mut Shape, new: &BTreeMap<usize, usize>) {
    match shape {
        Shape::Named(n) => *n = new[n],
        Shape::Nullable(shape) | Shape::List(shape) | Shape::Map(shape) => renumber(shape, new),
        _ => {}
    }
}
