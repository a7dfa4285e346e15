//! Declarations while they are made, and unions: which shapes one value can have, and which tests tell them apart.
//!
//! Unions are settled after all schemas have been read, because a schema may refer to one that is still being read.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::dcb::error::{Error, Result, SqlState};

use super::model::{
    Declaration, Doc, Field, Format, JsonKind, Kind, Shape, Test, Variant, are_booleans,
};
use super::names::{Names, pascal};

/// How many declarations may be made while unions are settled.
const DECLARATIONS: usize = 2_000;

/// The declarations so far. Their names are those that they ask for: they are not unique yet.
#[derive(Default)]
pub struct Draft {
    /// The declarations.
    pub declarations: Vec<Declaration>,
    /// The alternatives of each union.
    alternatives: BTreeMap<usize, Vec<Shape>>,
    /// Unions a value of which may have several of their shapes at once.
    overlapping: BTreeSet<usize>,
    /// Records that no test tells apart, and the record that was made in place of them.
    joined: BTreeMap<BTreeSet<usize>, usize>,
    /// Unions that were made while others were settled, by the text of their shapes: settling them may ask for them again.
    made: BTreeMap<String, Shape>,
}

/// The shapes that a value can have, without unions and aliases.
#[derive(Default)]
struct Atoms {
    shapes: Vec<Shape>,
    null: bool,
    any: bool,
    /// Whether a value may have several of the shapes at once.
    overlap: bool,
}

impl Draft {
    /// Adds a declaration whose kind is not known yet. Returns its number.
    pub fn open(&mut self, name: &str, doc: Doc) -> usize {
        self.declarations.push(Declaration {
            name: name.to_owned(),
            doc,
            kind: Kind::Open,
        });
        self.declarations.len() - 1
    }

    /// Sets the kind of a declaration.
    pub fn close(&mut self, number: usize, kind: Kind) {
        self.declarations[number].kind = kind;
    }

    /// Adds a union: a value has exactly one of the shapes.
    pub fn union(&mut self, name: &str, doc: Doc, shapes: Vec<Shape>) -> Shape {
        let number = self.open(name, doc);
        self.alternatives.insert(number, shapes);
        Shape::Named(number)
    }

    /// Adds a union a value of which may have several of the shapes. Its objects are told apart only by a property.
    pub fn overlapping(&mut self, name: &str, doc: Doc, shapes: Vec<Shape>) -> Shape {
        self.overlapping.insert(self.declarations.len());
        self.union(name, doc, shapes)
    }

    /// Adds such an overlapping union, or returns the one that was made of the same shapes.
    fn union_once(&mut self, name: &str, doc: Doc, shapes: Vec<Shape>) -> Shape {
        let key = format!("{shapes:?}");
        if let Some(known) = self.made.get(&key) {
            return known.clone();
        }
        let union = self.overlapping(name, doc, shapes);
        self.made.insert(key, union.clone());
        union
    }

    /// Sets the kinds of all unions.
    ///
    /// # Errors
    /// 54000 where they make too many declarations.
    pub fn settle(&mut self, check_interrupts: &dyn Fn()) -> Result<()> {
        let limit = self.declarations.len() + DECLARATIONS;
        // Settling a union may make others, whose numbers are greater.
        let mut from = 0;
        while let Some((&number, _)) = self.alternatives.range(from..).next() {
            check_interrupts();
            let kind = self.settled(number);
            self.close(number, kind);
            from = number + 1;
            if self.declarations.len() > limit {
                return Err(too_many_alternatives());
            }
        }
        Ok(())
    }

    /// The kind of a union.
    fn settled(&mut self, number: usize) -> Kind {
        let atoms = self.atoms(&Shape::Named(number));
        if atoms.any || atoms.shapes.is_empty() && !atoms.null {
            return Kind::Alias(Shape::Any);
        }
        let name = self.declarations[number].name.clone();
        let mut variants = self.variants(&name, &atoms);
        let one = match variants.len() {
            0 => Shape::Null,
            1 => variants.remove(0).0,
            _ => {
                let kind = Kind::Union(self.named(&name, variants));
                if !atoms.null {
                    return kind;
                }
                let doc = self.declarations[number].doc.clone();
                self.declare(&name, doc, kind)
            }
        };
        Kind::Alias(if atoms.null { one.nullable() } else { one })
    }

    /// The variants of a union with the tests that tell them apart: numbers and strings before objects, whose tests look
    /// inside.
    fn variants(&mut self, name: &str, atoms: &Atoms) -> Vec<(Shape, Test)> {
        let kinds: BTreeSet<JsonKind> = atoms.shapes.iter().map(|s| self.json_kind(s)).collect();
        let mut variants = Vec::new();
        for kind in kinds {
            let of_kind = |s: &&Shape| self.json_kind(s) == kind;
            let alike: Vec<Shape> = atoms.shapes.iter().filter(of_kind).cloned().collect();
            match kind {
                JsonKind::Object => variants.extend(self.objects(name, alike, atoms.overlap)),
                kind => {
                    let shape = self.one_of(kind, name, alike);
                    variants.push((shape, Test::Kind(kind)));
                }
            }
        }
        variants
    }

    /// Adds a declaration of this kind.
    fn declare(&mut self, name: &str, doc: Doc, kind: Kind) -> Shape {
        let number = self.open(name, doc);
        self.close(number, kind);
        Shape::Named(number)
    }

    /// The shapes that a value of a shape can have, without unions and aliases.
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
                Shape::Named(n) if seen.insert(*n) => {
                    let kind = &self.declarations[*n].kind;
                    match (self.alternatives.get(n), kind) {
                        (Some(shapes), _) => open.extend(shapes.iter().rev()),
                        (_, Kind::Alias(inner)) => open.push(inner),
                        _ => atoms.shapes.push(shape.clone()),
                    }
                    atoms.overlap |= self.overlapping.contains(n);
                }
                Shape::Named(_) => {}
                other if atoms.shapes.contains(other) => {}
                other => atoms.shapes.push(other.clone()),
            }
        }
        atoms
    }

    /// The kind in JSON of the values of a shape.
    fn json_kind(&self, shape: &Shape) -> JsonKind {
        match shape {
            Shape::Boolean => JsonKind::Boolean,
            Shape::Integer | Shape::Number => JsonKind::Number,
            Shape::Literals(values) if are_booleans(values) => JsonKind::Boolean,
            Shape::Literals(_) => JsonKind::Number,
            Shape::Text(_) => JsonKind::String,
            Shape::List(_) => JsonKind::Array,
            Shape::Named(n) if matches!(self.declarations[*n].kind, Kind::Enum(_)) => {
                JsonKind::String
            }
            _ => JsonKind::Object,
        }
    }

    /// One shape for all of several shapes of one kind.
    fn one_of(&mut self, kind: JsonKind, name: &str, mut shapes: Vec<Shape>) -> Shape {
        if shapes.len() == 1 {
            return shapes.remove(0);
        }
        match kind {
            JsonKind::Boolean => Shape::Boolean,
            JsonKind::Number => one_number(&shapes),
            JsonKind::String => match self.strings(&shapes) {
                Some(values) => self.declare(name, Doc::default(), Kind::Enum(values)),
                None => Shape::Text(Format::Plain),
            },
            JsonKind::Array => Shape::List(self.one_inner(name, shapes)),
            JsonKind::Object => Shape::Map(self.one_inner(name, shapes)),
        }
    }

    /// One shape for the elements of lists or the values of maps.
    fn one_inner(&mut self, name: &str, shapes: Vec<Shape>) -> Box<Shape> {
        let inner = |shape| match shape {
            Shape::List(inner) | Shape::Map(inner) => *inner,
            _ => Shape::Any,
        };
        let inners = shapes.into_iter().map(inner).collect();
        Box::new(self.union_once(&format!("{name}Item"), Doc::default(), inners))
    }

    /// The strings that the shapes allow, if each shape is an enum.
    fn strings(&self, shapes: &[Shape]) -> Option<Vec<String>> {
        let (mut strings, mut seen) = (Vec::new(), HashSet::new());
        for shape in shapes {
            let atoms = self.atoms(shape);
            if atoms.any || atoms.null {
                return None;
            }
            for atom in &atoms.shapes {
                let new = self.enum_values(atom)?.iter().filter(|v| seen.insert(*v));
                strings.extend(new.cloned());
            }
        }
        Some(strings)
    }

    /// The values of an enum; `None`: the shape is none.
    fn enum_values(&self, shape: &Shape) -> Option<&Vec<String>> {
        match shape {
            Shape::Named(n) => match &self.declarations[*n].kind {
                Kind::Enum(values) => Some(values),
                _ => None,
            },
            _ => None,
        }
    }

    /// Shapes of objects with the tests that tell them apart. If none does, they become one record with the properties of
    /// all.
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

    /// The fields of a record, sorted by name.
    fn fields(&self, record: usize) -> &[Field] {
        match &self.declarations[record].kind {
            Kind::Record { fields, .. } => fields,
            _ => &[],
        }
    }

    /// Tests by a property that every record requires and whose strings differ from record to record.
    fn by_property(&self, records: &[usize]) -> Option<Vec<(usize, Test)>> {
        let first = self.fields(*records.first()?);
        first.iter().find_map(|property| {
            let mut seen = BTreeSet::new();
            let mut tests = Vec::new();
            for &record in records {
                let fields = self.fields(record);
                let found = fields.binary_search_by(|f| f.json.cmp(&property.json));
                let field = fields.get(found.ok()?).filter(|f| f.required)?;
                let values = self.strings(std::slice::from_ref(&field.shape))?;
                if !values.iter().all(|v| seen.insert(v.clone())) {
                    return None;
                }
                tests.push((record, Test::Property(property.json.clone(), values)));
            }
            Some(tests)
        })
    }

    /// Tests by required properties that no other record has. One record may have none: it is tested last.
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

    /// The record that stands for several that no test tells apart.
    fn join(&mut self, name: &str, records: &[usize]) -> usize {
        // A record that was joined before stands for those that it was made of.
        let origin = |record: &usize| {
            let made = self.joined.iter().find(|(_, number)| *number == record);
            made.map_or(BTreeSet::from([*record]), |(key, _)| key.clone())
        };
        let key: BTreeSet<usize> = records.iter().flat_map(origin).collect();
        if let Some(known) = self.joined.get(&key) {
            return *known;
        }
        let number = self.open(name, Doc::default());
        self.joined.insert(key.clone(), number);
        let kind = self.joined_kind(name, &key);
        self.close(number, kind);
        number
    }

    /// A record with the properties of several records. It requires those that all of them require.
    fn joined_kind(&mut self, name: &str, records: &BTreeSet<usize>) -> Kind {
        let mut fields: BTreeMap<String, Vec<Field>> = BTreeMap::new();
        let mut has_rest = false;
        for &record in records {
            if let Kind::Record { fields: own, rest } = &self.declarations[record].kind {
                for field in own {
                    let of_name = fields.entry(field.json.clone()).or_default();
                    of_name.push(field.clone());
                }
                has_rest |= rest.is_some();
            }
        }
        let joined = fields.into_values().map(|of_name| Field {
            required: of_name.len() == records.len() && of_name.iter().all(|f| f.required),
            ..self.joined_field(name, of_name)
        });
        Kind::Record {
            fields: joined.collect(),
            // A property that only some of the records hold may have any value.
            rest: has_rest.then_some(Shape::Any),
        }
    }

    /// One field for those of several records that have the same name. It has the first one's documentation.
    fn joined_field(&mut self, record: &str, mut fields: Vec<Field>) -> Field {
        let shapes: Vec<Shape> = fields.iter().map(|f| f.shape.clone()).collect();
        let mut first = fields.remove(0);
        if shapes.iter().any(|s| *s != first.shape) {
            let path = format!("{record}{}", pascal(&first.json));
            first.shape = self.union_once(&path, first.doc.clone(), shapes);
        }
        first
    }

    /// Gives names to the variants of a union.
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

fn too_many_alternatives() -> Error {
    Error::new(
        SqlState::LimitExceeded,
        "schemas have too many alternatives",
    )
    .detail("Alternatives that nothing tells apart make too many types.")
}

/// One shape for all of several shapes of numbers.
fn one_number(shapes: &[Shape]) -> Shape {
    let mut literals = Vec::new();
    for shape in shapes {
        match shape {
            Shape::Literals(values) => literals.extend(values.iter().cloned()),
            Shape::Integer if !shapes.contains(&Shape::Number) => return Shape::Integer,
            _ => return Shape::Number,
        }
    }
    literals.sort_by_key(|v| v.as_i64());
    literals.dedup();
    Shape::Literals(literals)
}

/// A type's name without the words at its start that the union's name has, too.
fn short(name: &str, union: &str) -> String {
    let shared = name.char_indices().zip(union.chars());
    let end = shared
        .take_while(|((_, a), b)| a == b)
        .map(|((i, _), _)| i)
        .last();
    let end = end.map_or(0, |last| last + 1);
    // Only whole words are removed.
    let is_start = |i: &usize| name[*i..].starts_with(char::is_uppercase);
    let start = (0..=end)
        .rev()
        .filter(|i| name.is_char_boundary(*i))
        .find(is_start);
    pascal(&name[start.unwrap_or(0)..])
}
