//! From registered types to a model: names are given out, and only what is used stays.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::dcb::error::Result;

use super::graph::components;
use super::model::{Declaration, EventType, Kind, Model, Shape, mentioned};
use super::names::{Names, pascal};
use super::schema;
use super::unite::Draft;
use super::{Registered, go, python, ruby, rust, typescript};

/// Names that mean something to who reads a language, beside those that its generated files have; types get others.
const RESERVED: &[&str] = &[
    "Array", "BigInt", "Boolean", "Box", "Class", "Error", "Events", "Float", "Hash", "Integer",
    "Json", "Map", "Module", "NilClass", "Null", "Number", "Object", "Record", "String", "Struct",
    "Symbol", "Unknown",
];

/// All names that no type gets. They are the same in all languages, so that a type has one name.
fn reserved() -> Vec<&'static str> {
    let of_languages = [
        RESERVED,
        go::NAMES,
        python::NAMES,
        ruby::NAMES,
        rust::NAMES,
        typescript::NAMES,
    ];
    of_languages.concat()
}

/// The model of some types.
///
/// # Errors
/// 54000 for a schema that becomes too large.
pub fn model(mut registered: Vec<Registered>, watch: &dyn Fn()) -> Result<Model> {
    registered.sort_by(|a, b| (&a.event_type, a.version).cmp(&(&b.event_type, b.version)));
    let mut names = Names::reserving(&reserved());
    names.take("Meta", "");
    let for_all = registered.iter().find(|r| r.event_type == "*");
    let for_all = for_all.and_then(|r| r.meta.clone());
    registered.retain(|r| r.event_type != "*");

    let mut draft = Draft::default();
    let mut roots = vec![root(for_all.as_ref(), "Meta", true, &mut draft, watch)?];
    let mut events = Vec::new();
    for of_type in registered.chunk_by(|a, b| a.event_type == b.event_type) {
        let base = base_name(of_type, &mut names);
        for one in of_type {
            let name = format!("{base}V{}", one.version);
            roots.push(root(one.data.as_ref(), &name, false, &mut draft, watch)?);
            let data = roots.len() - 1;
            let meta = match &one.meta {
                None => 0,
                Some(own) => {
                    let own = together(for_all.as_ref(), own);
                    let name = format!("{name}Meta");
                    roots.push(root(Some(&own), &name, true, &mut draft, watch)?);
                    roots.len() - 1
                }
            };
            events.push(EventType {
                event_type: one.event_type.clone(),
                version: one.version,
                plain_name: None,
                name,
                data,
                meta,
            });
        }
        if let Some(newest) = events.last_mut() {
            newest.plain_name = Some(base);
        }
    }
    draft.settle(watch)?;
    let (mut declarations, places) = finish(draft.declarations, &roots, &mut names);
    keep_all(places[0], &mut declarations);
    for event in &mut events {
        event.data = places[event.data];
        event.meta = places[event.meta];
        keep_all(event.meta, &mut declarations);
    }
    Ok(Model {
        events,
        declarations,
    })
}

/// Metadata keeps all its properties: en57 itself adds some that no schema speaks of, like `correlation_id`.
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

/// A name that is free with all that is made of it. Types that come to the same name are numbered in their order.
fn base_name(versions: &[Registered], names: &mut Names) -> String {
    let wanted = pascal(&versions[0].event_type);
    let family = |base: &str| {
        let ends = ["", "Event", "Meta"];
        let mut family: Vec<String> = ends.map(|end| format!("{base}{end}")).to_vec();
        for one in versions {
            family.extend(ends.map(|end| format!("{base}V{}{end}", one.version)));
            // Go's function, in the same scope.
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

/// The declaration of what one schema is about. Metadata is an object, whether its schema says so or not.
fn root(
    schema: Option<&Value>,
    name: &str,
    is_meta: bool,
    draft: &mut Draft,
    watch: &dyn Fn(),
) -> Result<usize> {
    let mut shape = match schema {
        Some(schema) => schema::read(schema, name, draft, watch)?,
        None => Shape::Any,
    };
    if is_meta && shape == Shape::Any {
        shape = Shape::Map(Box::new(Shape::Any));
    }
    let slot = draft.open(name, schema.map(schema::doc).unwrap_or_default());
    draft.close(slot, Kind::Alias(shape));
    Ok(slot)
}

/// A schema of metadata, with the one that holds for all events. References stay within their own.
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

/// The schema as a part of another one: what its references mean is there now.
fn part(schema: &Value, to: &str) -> Value {
    let mut schema = schema.clone();
    if let Value::Object(keys) = &mut schema {
        keys.remove("$id");
    }
    moved(&schema, to)
}

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

/// Sees through other names, leaves what nobody mentions, and gives out names; with the places of the roots.
fn finish(
    mut all: Vec<Declaration>,
    roots: &[usize],
    names: &mut Names,
) -> (Vec<Declaration>, Vec<usize>) {
    let kept = recursive_aliases(&all);
    let simplified = all.iter().map(|d| {
        let mut kind = d.kind.clone();
        for shape in kind.shapes_mut() {
            *shape = simplify(shape, &all, &kept);
        }
        kind
    });
    let simplified: Vec<Kind> = simplified.collect();
    for (declaration, kind) in all.iter_mut().zip(simplified) {
        declaration.kind = kind;
    }
    // A root that only names another declaration, which wishes for the same name, is that one.
    let mut places = Vec::new();
    let mut is_root = BTreeSet::new();
    for &slot in roots {
        let target = match &all[slot].kind {
            Kind::Alias(Shape::Named(n)) if all[*n].name == all[slot].name => *n,
            _ => slot,
        };
        is_root.insert(target);
        places.push(target);
    }

    let mut order: Vec<usize> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut open: Vec<usize> = places.iter().rev().copied().collect();
    while let Some(n) = open.pop() {
        if !seen.insert(n) {
            continue;
        }
        order.push(n);
        let mut next = Vec::new();
        all[n]
            .kind
            .shapes()
            .iter()
            .for_each(|s| mentioned(s, &mut next));
        open.extend(next.iter().rev());
    }
    let new: BTreeMap<usize, usize> = order.iter().enumerate().map(|(i, n)| (*n, i)).collect();
    let declarations = order.iter().map(|n| {
        let old = &mut all[*n];
        let mut kind = std::mem::replace(&mut old.kind, Kind::Open);
        kind.shapes_mut()
            .into_iter()
            .for_each(|s| renumber(s, &new));
        let name = std::mem::take(&mut old.name);
        let name = if is_root.contains(n) {
            name
        } else {
            names.take(&name, "")
        };
        let doc = std::mem::take(&mut old.doc);
        Declaration { name, doc, kind }
    });
    let declarations = declarations.collect();
    let places = places.iter().map(|n| new[n]).collect();
    (declarations, places)
}

/// The other names that stand in what they name: they stay names.
fn recursive_aliases(all: &[Declaration]) -> BTreeSet<usize> {
    let edges = all.iter().map(|declaration| {
        let mut found = Vec::new();
        if let Kind::Alias(shape) = &declaration.kind {
            mentioned(shape, &mut found);
        }
        found
    });
    let edges: Vec<Vec<usize>> = edges.collect();
    let circles = components(&edges).into_iter();
    let circles = circles.filter(|c| c.len() > 1 || edges[c[0]].contains(&c[0]));
    circles.flatten().collect()
}

fn simplify(shape: &Shape, all: &[Declaration], kept: &BTreeSet<usize>) -> Shape {
    let inner = |shape: &Shape| Box::new(simplify(shape, all, kept));
    match shape {
        Shape::Nullable(shape) => inner(shape).nullable(),
        Shape::List(shape) => Shape::List(inner(shape)),
        Shape::Map(shape) => Shape::Map(inner(shape)),
        Shape::Named(n) => match &all[*n].kind {
            // One that is nothing but itself.
            Kind::Alias(shape) if kept.contains(n) && is_hollow(shape, all) => Shape::Any,
            Kind::Alias(shape) if !kept.contains(n) => simplify(shape, all, kept),
            _ => shape.clone(),
        },
        other => other.clone(),
    }
}

/// Whether names lead to names without end.
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

fn renumber(shape: &mut Shape, new: &BTreeMap<usize, usize>) {
    match shape {
        Shape::Named(n) => *n = new[n],
        Shape::Nullable(shape) | Shape::List(shape) | Shape::Map(shape) => renumber(shape, new),
        _ => {}
    }
}
