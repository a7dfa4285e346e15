//! Measures a schema before it is compiled: how large it is, and how its parts refer to each other.
//!
//! Compiling and checking recurse along references. A schema of a few kilobytes can take endless time and stack there, so
//! it is measured first, without recursion. The measure is never too small: every object counts as a schema, and a
//! reference leads to every object that it could mean.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value};

use super::super::limits;

/// Keywords whose value is a schema, or a list or an object of schemas, for the same value of a document.
const IN_PLACE: [&str; 9] = [
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentSchemas",
    "dependencies",
];
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// The objects of a schema.
struct Shape<'a> {
    objects: Vec<Object<'a>>,
    /// The numbers of objects, by their addresses.
    numbers: HashMap<usize, usize>,
    /// Objects by the last part of their ids.
    by_id: HashMap<&'a str, Vec<usize>>,
    /// Objects by their anchors.
    by_anchor: HashMap<&'a str, Vec<usize>>,
    /// Objects that are recursive anchors.
    recursive: Vec<usize>,
}

struct Object<'a> {
    value: &'a Value,
    members: &'a Map<String, Value>,
    /// The nearest object with an id: this one, or one around it.
    resource: usize,
    /// The nearest object with an id around this one.
    parent: usize,
}

/// Checks a schema. The error says why it would take too long or too much stack.
pub fn check(schema: &Value) -> Result<(), String> {
    let shape = Shape::of(schema)?;
    let references = shape.references()?;
    shape.check_chains(&references)?;
    shape.check_resources(&references)
}

/// The regular expressions of a schema, each once.
pub fn patterns(schema: &Value) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let mut left = vec![schema];
    while let Some(value) = left.pop() {
        match value {
            Value::Array(items) => left.extend(items),
            Value::Object(members) => {
                found.extend(members.get("pattern").and_then(Value::as_str));
                let keys = members.get("patternProperties").and_then(Value::as_object);
                found.extend(keys.into_iter().flat_map(Map::keys).map(String::as_str));
                left.extend(members.values());
            }
            _ => {}
        }
    }
    found
}

impl<'a> Shape<'a> {
    fn of(schema: &'a Value) -> Result<Self, String> {
        let mut shape = Self {
            objects: Vec::new(),
            numbers: HashMap::new(),
            by_id: HashMap::new(),
            by_anchor: HashMap::new(),
            recursive: Vec::new(),
        };
        let mut unevaluated = 0;
        let mut left = vec![(schema, 0)];
        while let Some((value, resource)) = left.pop() {
            if let Value::Array(items) = value {
                left.extend(items.iter().map(|item| (item, resource)));
            }
            if let Value::Object(members) = value {
                unevaluated += usize::from(is_unevaluated(members));
                let resource = shape.add(value, members, resource);
                shape.check_size(unevaluated)?;
                left.extend(members.values().map(|member| (member, resource)));
            }
        }
        Ok(shape)
    }

    fn check_size(&self, unevaluated: usize) -> Result<(), String> {
        if self.objects.len() > limits::SCHEMA_OBJECTS {
            return Err(format!(
                "It has more than {} objects.",
                limits::SCHEMA_OBJECTS
            ));
        }
        if unevaluated > limits::SCHEMA_UNEVALUATED {
            return Err(format!(
                "It has unevaluatedProperties or unevaluatedItems at more than {} places.",
                limits::SCHEMA_UNEVALUATED
            ));
        }
        Ok(())
    }

    /// Adds an object. Returns the nearest object with an id around its members.
    fn add(&mut self, value: &'a Value, members: &'a Map<String, Value>, resource: usize) -> usize {
        let number = self.objects.len();
        self.numbers
            .insert(std::ptr::from_ref(value).addr(), number);
        let text = |key| members.get(key).and_then(Value::as_str);
        for key in ["$anchor", "$dynamicAnchor"] {
            if let Some(anchor) = text(key) {
                self.by_anchor.entry(anchor).or_default().push(number);
            }
        }
        if members.get("$recursiveAnchor") == Some(&Value::Bool(true)) {
            self.recursive.push(number);
        }
        let mut within = resource;
        for id in ["$id", "id"].into_iter().filter_map(text) {
            let (base, fragment) = id.split_once('#').unwrap_or((id, ""));
            if !fragment.is_empty() {
                self.by_anchor.entry(fragment).or_default().push(number);
            }
            if !base.is_empty() {
                self.by_id.entry(last_part(base)).or_default().push(number);
                within = number;
            }
        }
        self.objects.push(Object {
            value,
            members,
            resource: within,
            parent: resource,
        });
        within
    }

    /// For each object, the objects that its references lead to.
    fn references(&self) -> Result<Vec<Vec<usize>>, String> {
        let mut count = 0;
        let mut all = Vec::with_capacity(self.objects.len());
        for object in &self.objects {
            let targets = self.targets(object);
            count += targets.len();
            if count > limits::SCHEMA_CHAINS {
                return Err(too_many_chains());
            }
            all.push(targets);
        }
        Ok(all)
    }

    /// The objects that the references of one object lead to.
    fn targets(&self, object: &Object) -> Vec<usize> {
        let mut targets = Vec::new();
        for key in REFERENCES {
            if let Some(reference) = object.members.get(key).and_then(Value::as_str) {
                self.find(object, reference, &mut targets);
                if key == "$recursiveRef" {
                    targets.extend(&self.recursive);
                }
            }
        }
        targets.sort_unstable();
        targets.dedup();
        targets
    }

    /// Adds the objects that a reference could mean.
    fn find(&self, from: &Object, reference: &str, found: &mut Vec<usize>) {
        let (base, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let own = [from.resource, 0];
        let roots = match base {
            "" => &own[..],
            _ => self
                .by_id
                .get(last_part(base))
                .map_or(&[][..], Vec::as_slice),
        };
        if fragment.is_empty() {
            found.extend(roots);
        } else if fragment.starts_with('/') {
            let pointer = decoded(fragment);
            for root in roots {
                let target = self.objects[*root].value.pointer(&pointer);
                let number = target.and_then(|t| self.numbers.get(&std::ptr::from_ref(t).addr()));
                found.extend(number);
            }
        } else {
            found.extend(
                self.by_anchor
                    .get(decoded(fragment).as_str())
                    .into_iter()
                    .flatten(),
            );
        }
    }

    /// Checks how long the chains of schemas are that hold for the same value of a document, and how many there are.
    fn check_chains(&self, references: &[Vec<usize>]) -> Result<(), String> {
        let all = self.objects.iter().zip(references);
        let edges = all.map(|(object, targets)| [targets.clone(), self.in_place(object)].concat());
        let edges: Vec<Vec<usize>> = edges.collect();
        let (mut all, mut unevaluated) = (0, 0);
        let mut paths = Paths::new(&edges);
        for (number, object) in self.objects.iter().enumerate() {
            let (longest, most) = (limits::SCHEMA_CHAIN, limits::SCHEMA_CHAINS_OF_ONE);
            let chains = paths.count(number, |_| 1, longest, most)?;
            all += chains;
            if is_unevaluated(object.members) {
                unevaluated += chains;
            }
            if all > limits::SCHEMA_CHAINS || unevaluated > limits::SCHEMA_UNEVALUATED_CHAINS {
                return Err(too_many_chains());
            }
        }
        Ok(())
    }

    /// The schemas in an object that hold for the same value of a document as the object.
    fn in_place(&self, object: &Object) -> Vec<usize> {
        let number = |v: &Value| self.numbers.get(&std::ptr::from_ref(v).addr()).copied();
        let mut found = Vec::new();
        for value in IN_PLACE.iter().filter_map(|key| object.members.get(*key)) {
            found.extend(number(value));
            match value {
                Value::Array(items) => found.extend(items.iter().filter_map(number)),
                Value::Object(members) => found.extend(members.values().filter_map(number)),
                _ => {}
            }
        }
        found
    }

    /// Checks how many objects the parts with ids have, once for each path that leads to a part: it is compiled once for
    /// each.
    fn check_resources(&self, references: &[Vec<usize>]) -> Result<(), String> {
        let mut edges = vec![BTreeSet::new(); self.objects.len()];
        let mut sizes = vec![0; self.objects.len()];
        for (object, targets) in self.objects.iter().zip(references) {
            sizes[object.resource] += 1;
            let within = targets.iter().map(|target| self.objects[*target].resource);
            edges[object.resource].extend(within);
            edges[object.parent].insert(object.resource);
        }
        let edges: Vec<Vec<usize>> = edges.into_iter().map(Vec::from_iter).collect();
        if edges.is_empty() {
            return Ok(());
        }
        Paths::new(&edges)
            .count(
                0,
                |number| sizes[number],
                usize::MAX,
                limits::SCHEMA_RESOURCE_OBJECTS,
            )
            .map(drop)
    }
}

/// Paths through a graph that visit no object twice.
struct Paths<'a> {
    edges: &'a [Vec<usize>],
    on_path: Vec<bool>,
}

impl<'a> Paths<'a> {
    fn new(edges: &'a [Vec<usize>]) -> Self {
        Self {
            edges,
            on_path: vec![false; edges.len()],
        }
    }

    /// The sum of the weights at the ends of all paths. An error if a path is too long or the sum is too large.
    fn count(
        &mut self,
        start: usize,
        weight: impl Fn(usize) -> usize,
        longest: usize,
        most: usize,
    ) -> Result<usize, String> {
        let mut sum = weight(start);
        let mut path = vec![(start, 0)];
        self.on_path[start] = true;
        while let Some((object, next)) = path.last_mut() {
            let Some(&to) = self.edges[*object].get(*next) else {
                self.on_path[*object] = false;
                path.pop();
                continue;
            };
            *next += 1;
            sum += 1;
            if !self.on_path[to] {
                sum += weight(to);
                self.on_path[to] = true;
                path.push((to, 0));
            }
            if sum > most {
                return Err(too_many_chains());
            }
            if path.len() > longest {
                return Err(format!(
                    "More than {longest} of its parts refer to each other in a chain, without going down into the document."
                ));
            }
        }
        Ok(sum)
    }
}

fn too_many_chains() -> String {
    "Its parts refer to each other in too many ways.".to_owned()
}

fn is_unevaluated(members: &Map<String, Value>) -> bool {
    members.contains_key("unevaluatedProperties") || members.contains_key("unevaluatedItems")
}

/// The last part of an id. It stays the same, whatever the id is resolved against.
fn last_part(id: &str) -> &str {
    id.rsplit(['/', ':']).next().unwrap_or(id)
}

/// Decodes the percent encoding in a fragment.
fn decoded(fragment: &str) -> String {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut left = fragment.as_bytes();
    while let [first, rest @ ..] = left {
        let escaped = (*first == b'%').then(|| rest.get(..2)).flatten();
        let escaped = escaped.and_then(|hex| std::str::from_utf8(hex).ok());
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                left = &rest[2..];
            }
            None => {
                bytes.push(*first);
                left = rest;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
