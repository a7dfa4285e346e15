//! Types while they are made, and unions: which shapes one value can have, and how they are told apart.
//!
//! Alternatives are looked at when all of them are known, because a schema may refer to what is still being read.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::dcb::error::{Error, Result, SqlState};

use super::model::{Declaration, Doc, Field, Format, JsonKind, Kind, Shape, Test, Variant};
use super::names::{Names, pascal};

/// Declarations that may come about while unions are settled.
const DECLARATIONS: usize = 2_000;

/// The declarations so far. Their names are those that they wish for.
#[derive(Default)]
pub struct Draft {
    /// The declarations.
    pub declarations: Vec<Declaration>,
    /// The shapes that a union was made of.
    alternatives: BTreeMap<usize, Vec<Shape>>,
    /// Unions whose values may have several of their shapes at once.
    overlapping: BTreeSet<usize>,
    /// Records that could not be told apart, and the one that stands for them.
    joined: BTreeMap<BTreeSet<usize>, usize>,
    /// Unions that came about while others were settled, by their shapes: they may come to themselves again.
    made: BTreeMap<String, Shape>,
}

/// The shapes that a value can have.
#[derive(Default)]
struct Atoms {
    shapes: Vec<Shape>,
    null: bool,
    any: bool,
    /// Whether a value may have several of them.
    overlap: bool,
}

impl Draft {
    /// A declaration whose kind is told later.
    pub fn open(&mut self, name: &str, doc: Doc) -> usize {
        self.declarations.push(Declaration {
            name: name.to_owned(),
            doc,
            kind: Kind::Open,
        });
        self.declarations.len() - 1
    }

    /// Tells the kind.
    pub fn close(&mut self, slot: usize, kind: Kind) {
        self.declarations[slot].kind = kind;
    }

    /// A value that has exactly one of the shapes.
    pub fn union(&mut self, name: &str, doc: Doc, shapes: Vec<Shape>) -> Shape {
        let slot = self.open(name, doc);
        self.alternatives.insert(slot, shapes);
        Shape::Named(slot)
    }

    /// A value that has one of the shapes, or several: only what cannot be two at once tells objects apart.
    pub fn overlapping(&mut self, name: &str, doc: Doc, shapes: Vec<Shape>) -> Shape {
        self.overlapping.insert(self.declarations.len());
        self.union(name, doc, shapes)
    }

    /// The same, once for the same shapes.
    fn union_once(&mut self, name: &str, doc: Doc, shapes: Vec<Shape>) -> Shape {
        let key = format!("{shapes:?}");
        if let Some(known) = self.made.get(&key) {
            return known.clone();
        }
        let union = self.overlapping(name, doc, shapes);
        self.made.insert(key, union.clone());
        union
    }

    /// Tells the kinds of all unions.
    ///
    /// # Errors
    /// 54000 where they make too many others.
    pub fn settle(&mut self, watch: &dyn Fn()) -> Result<()> {
        let limit = self.declarations.len() + DECLARATIONS;
        // Settling one may make others.
        let mut from = 0;
        while let Some(slot) = self
            .alternatives
            .range(from..)
            .map(|(slot, _)| *slot)
            .next()
        {
            watch();
            let kind = self.settled(slot);
            self.close(slot, kind);
            from = slot + 1;
            if self.declarations.len() > limit {
                return Err(Error::new(
                    SqlState::LimitExceeded,
                    "schemas have too many alternatives",
                )
                .detail("Alternatives that nothing tells apart make too many types."));
            }
        }
        Ok(())
    }

    fn settled(&mut self, slot: usize) -> Kind {
        let atoms = self.atoms(&Shape::Named(slot));
        if atoms.any || atoms.shapes.is_empty() && !atoms.null {
            return Kind::Alias(Shape::Any);
        }
        let name = self.declarations[slot].name.clone();
        let mut variants = Vec::new();
        for kind in order(self, &atoms.shapes) {
            let of_kind = |s: &&Shape| self.json_kind(s) == kind;
            let alike: Vec<Shape> = atoms.shapes.iter().filter(of_kind).cloned().collect();
            match kind {
                JsonKind::Object => variants.extend(self.objects(&name, alike, atoms.overlap)),
                kind => {
                    let shape = self.one_of(kind, &name, alike);
                    variants.push((shape, Test::Kind(kind)));
                }
            }
        }
        let one = match variants.len() {
            0 => Shape::Null,
            1 => variants.remove(0).0,
            _ => {
                let kind = Kind::Union(self.named(&name, variants));
                if !atoms.null {
                    return kind;
                }
                let doc = self.declarations[slot].doc.clone();
                let inner = self.open(&name, doc);
                self.close(inner, kind);
                Shape::Named(inner)
            }
        };
        Kind::Alias(if atoms.null { one.nullable() } else { one })
    }

    /// What a value of the shape can be, unions and other names seen through.
    fn atoms(&self, shape: &Shape) -> Atoms {
        let mut atoms = Atoms::default();
        let mut seen = BTreeSet::new();
        let mut open = vec![shape];
        while let Some(shape) = open.pop() {
            match shape {
                Shape::Any => atoms.any = true,
                Shape::Null => atoms.null = true,
                Shape::Nullable(inner) => {
                    atoms.null = true;
                    open.push(inner);
                }
                Shape::Named(n) if !seen.insert(*n) => {}
                Shape::Named(n) => match (self.alternatives.get(n), &self.declarations[*n].kind) {
                    (Some(shapes), _) => {
                        atoms.overlap |= self.overlapping.contains(n);
                        open.extend(shapes.iter().rev());
                    }
                    (_, Kind::Alias(inner)) => open.push(inner),
                    _ => atoms.shapes.push(shape.clone()),
                },
                other if atoms.shapes.contains(other) => {}
                other => atoms.shapes.push(other.clone()),
            }
        }
        atoms
    }

    fn json_kind(&self, shape: &Shape) -> JsonKind {
        match shape {
            Shape::Boolean => JsonKind::Boolean,
            Shape::Integer | Shape::Number => JsonKind::Number,
            Shape::Literals(values) if values.iter().all(|v| v.is_boolean()) => JsonKind::Boolean,
            Shape::Literals(_) => JsonKind::Number,
            Shape::Text(_) => JsonKind::String,
            Shape::List(_) => JsonKind::Array,
            Shape::Named(n) if matches!(self.declarations[*n].kind, Kind::Enum(_)) => {
                JsonKind::String
            }
            _ => JsonKind::Object,
        }
    }

    /// One shape for several of one kind.
    fn one_of(&mut self, kind: JsonKind, name: &str, mut shapes: Vec<Shape>) -> Shape {
        if shapes.len() == 1 {
            return shapes.remove(0);
        }
        match kind {
            JsonKind::Boolean => Shape::Boolean,
            JsonKind::Number => {
                let mut literals = Vec::new();
                for shape in &shapes {
                    match shape {
                        Shape::Literals(values) => literals.extend(values.iter().cloned()),
                        Shape::Integer => return Shape::Integer.max_of(&shapes),
                        _ => return Shape::Number,
                    }
                }
                literals.sort_by_key(|v| v.as_i64());
                literals.dedup();
                Shape::Literals(literals)
            }
            JsonKind::String => match self.strings(&shapes) {
                Some(values) => {
                    let slot = self.open(name, Doc::default());
                    self.close(slot, Kind::Enum(values));
                    Shape::Named(slot)
                }
                None => Shape::Text(Format::Plain),
            },
            JsonKind::Array | JsonKind::Object => {
                let inner = |shape| match shape {
                    Shape::List(inner) | Shape::Map(inner) => *inner,
                    _ => Shape::Any,
                };
                let path = format!("{name}Item");
                let inners = shapes.into_iter().map(inner).collect();
                let inner = Box::new(self.union_once(&path, Doc::default(), inners));
                match kind {
                    JsonKind::Array => Shape::List(inner),
                    _ => Shape::Map(inner),
                }
            }
        }
    }

    /// The strings that the shapes allow, if there are only some.
    fn strings(&self, shapes: &[Shape]) -> Option<Vec<String>> {
        let (mut strings, mut seen) = (Vec::new(), HashSet::new());
        for shape in shapes {
            let atoms = self.atoms(shape);
            if atoms.any || atoms.null {
                return None;
            }
            for atom in atoms.shapes {
                let Shape::Named(n) = atom else { return None };
                let Kind::Enum(values) = &self.declarations[n].kind else {
                    return None;
                };
                for value in values {
                    if seen.insert(value) {
                        strings.push(value.clone());
                    }
                }
            }
        }
        Some(strings)
    }

    /// Objects, and how they are told apart. Those that cannot be are one object with the properties of all.
    fn objects(&mut self, name: &str, shapes: Vec<Shape>, overlap: bool) -> Vec<(Shape, Test)> {
        let is_object = Test::Kind(JsonKind::Object);
        if shapes.len() == 1 {
            return shapes.into_iter().map(|s| (s, is_object.clone())).collect();
        }
        let number = |shape: &Shape| match shape {
            Shape::Named(n) => Some(*n),
            _ => None,
        };
        let records: Option<Vec<usize>> = shapes.iter().map(number).collect();
        let Some(records) = records else {
            return vec![(self.one_of(JsonKind::Object, name, shapes), is_object)];
        };
        let tests = self
            .by_property(&records)
            .or_else(|| (!overlap).then(|| self.by_presence(&records))?);
        match tests {
            Some(tests) => tests
                .into_iter()
                .map(|(n, test)| (Shape::Named(n), test))
                .collect(),
            None => vec![(Shape::Named(self.join(name, &records)), is_object)],
        }
    }

    fn fields(&self, record: usize) -> &[Field] {
        match &self.declarations[record].kind {
            Kind::Record { fields, .. } => fields,
            _ => &[],
        }
    }

    /// A property that each must have, as a string that tells which it is.
    fn by_property(&self, records: &[usize]) -> Option<Vec<(usize, Test)>> {
        let first = self.fields(*records.first()?);
        first.iter().find_map(|property| {
            let mut seen = BTreeSet::new();
            let mut tests = Vec::new();
            for &record in records {
                let fields = self.fields(record); // in the order of their names
                let place = fields.binary_search_by(|f| f.json.cmp(&property.json));
                let field = fields.get(place.ok()?).filter(|f| f.required)?;
                let values = self.strings(std::slice::from_ref(&field.shape))?;
                if !values.iter().all(|v| seen.insert(v.clone())) {
                    return None;
                }
                tests.push((record, Test::Property(property.json.clone(), values)));
            }
            Some(tests)
        })
    }

    /// Properties that each must have and that no other has; one, the last, may have none.
    fn by_presence(&self, records: &[usize]) -> Option<Vec<(usize, Test)>> {
        let mut owners: HashMap<&str, usize> = HashMap::new();
        for field in records.iter().flat_map(|r| self.fields(*r)) {
            *owners.entry(&field.json).or_default() += 1;
        }
        let is_elsewhere = |f: &&Field| owners[f.json.as_str()] > 1;
        let mut tests = Vec::new();
        let mut last = None;
        for &record in records {
            let required = self.fields(record).iter().filter(|f| f.required);
            if required.clone().any(|f| !is_elsewhere(&f)) {
                let names = required.map(|f| f.json.clone()).collect();
                tests.push((record, Test::Has(names)));
            } else if last
                .replace((record, Test::Kind(JsonKind::Object)))
                .is_some()
            {
                return None;
            }
        }
        tests.extend(last);
        Some(tests)
    }

    fn join(&mut self, name: &str, records: &[usize]) -> usize {
        // One that was joined already stands for those that it was made of.
        let origin = |record: &usize| {
            let made = self.joined.iter().find(|(_, slot)| *slot == record);
            made.map_or(BTreeSet::from([*record]), |(key, _)| key.clone())
        };
        let key: BTreeSet<usize> = records.iter().flat_map(origin).collect();
        if let Some(known) = self.joined.get(&key) {
            return *known;
        }
        let records: Vec<usize> = key.iter().copied().collect();
        let slot = self.open(name, Doc::default());
        self.joined.insert(key, slot);
        let mut fields: BTreeMap<String, Vec<Field>> = BTreeMap::new();
        let mut rests = Vec::new();
        for &record in &records {
            if let Kind::Record { fields: own, rest } = &self.declarations[record].kind {
                for field in own {
                    fields
                        .entry(field.json.clone())
                        .or_default()
                        .push(field.clone());
                }
                rests.extend(rest.clone());
            }
        }
        let fields = fields.into_values().map(|mut of_name| {
            let required = of_name.len() == records.len() && of_name.iter().all(|f| f.required);
            let shapes: Vec<Shape> = of_name.iter().map(|f| f.shape.clone()).collect();
            let first = of_name.remove(0);
            let shape = if shapes.iter().all(|s| *s == first.shape) {
                first.shape
            } else {
                let path = format!("{name}{}", pascal(&first.json));
                self.union_once(&path, first.doc.clone(), shapes)
            };
            Field {
                shape,
                required,
                ..first
            }
        });
        let fields = fields.collect();
        // What some do not keep may be anything.
        let rest = (!rests.is_empty()).then_some(Shape::Any);
        self.close(slot, Kind::Record { fields, rest });
        slot
    }

    /// Variants with names of their own.
    fn named(&self, union: &str, variants: Vec<(Shape, Test)>) -> Vec<Variant> {
        let mut names = Names::reserving(&["Self"]);
        let variants = variants.into_iter().map(|(shape, test)| {
            let name = match (&test, &shape) {
                (Test::Property(_, values), _) if values.len() == 1 => pascal(&values[0]),
                (_, Shape::Named(n)) => short(&self.declarations[*n].name, union),
                (_, Shape::Map(_)) => "Map".to_owned(),
                (Test::Kind(kind), _) => format!("{kind:?}"),
                _ => "Object".to_owned(),
            };
            let name = names.take(&name, "");
            Variant { name, shape, test }
        });
        variants.collect()
    }
}

/// The kinds that are there, in the order of their first; numbers and strings before objects, which need more looks.
fn order(draft: &Draft, shapes: &[Shape]) -> Vec<JsonKind> {
    let kinds: BTreeSet<JsonKind> = shapes.iter().map(|s| draft.json_kind(s)).collect();
    kinds.into_iter().collect()
}

/// A type's name without what it shares with the union's.
fn short(name: &str, union: &str) -> String {
    let shared = name.char_indices().zip(union.chars());
    let end = shared
        .take_while(|((_, a), b)| a == b)
        .map(|((i, _), _)| i)
        .last();
    let end = end.map_or(0, |last| last + 1);
    // Only whole words go.
    let is_start = |i: &usize| name[*i..].starts_with(char::is_uppercase);
    let start = (0..=end)
        .rev()
        .filter(|i| name.is_char_boundary(*i))
        .find(is_start);
    pascal(&name[start.unwrap_or(0)..])
}

impl Shape {
    /// Integer, but Number where one of the shapes is one.
    fn max_of(self, shapes: &[Shape]) -> Shape {
        if shapes.contains(&Shape::Number) {
            return Shape::Number;
        }
        self
    }
}
