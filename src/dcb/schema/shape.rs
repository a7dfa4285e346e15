//! How large and how entangled a schema is. Compiling and checking recurse along references, and take a time
//! and a stack that can grow without measure with a schema of a few kilobytes, so this is found out before,
//! without recursion.
//!
//! Whatever is an object counts as a schema, and a reference leads to all that it could mean: too much is
//! counted rather than too little.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value};

use super::super::limits;

/// Keywords whose value is a schema, or a list or an object of schemas, for the same place of a document.
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
    /// The number of an object, by its address.
    numbers: HashMap<usize, usize>,
    /// Objects by the last part of their ids, by their anchors, and those that are recursive anchors.
    by_id: HashMap<&'a str, Vec<usize>>,
    by_anchor: HashMap<&'a str, Vec<usize>>,
    recursive: Vec<usize>,
}

struct Object<'a> {
    value: &'a Value,
    members: &'a Map<String, Value>,
    /// The object with an id of its own that this one is part of; where that is itself, what it is inside of.
    resource: usize,
    parent: usize,
}

/// Refuses a schema that would take too long, or too much stack; says why.
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
            match value {
                Value::Array(items) => left.extend(items.iter().map(|item| (item, resource))),
                Value::Object(members) => {
                    let number = shape.objects.len();
                    if number == limits::SCHEMA_OBJECTS {
                        return Err(format!("It has more than {number} objects."));
                    }
                    unevaluated += usize::from(is_unevaluated(members));
                    if unevaluated > limits::SCHEMA_UNEVALUATED {
                        return Err(format!(
                            "It has unevaluatedProperties or unevaluatedItems at more than {} places.",
                            limits::SCHEMA_UNEVALUATED
                        ));
                    }
                    let resource = shape.add(value, members, number, resource);
                    left.extend(members.values().map(|member| (member, resource)));
                }
                _ => {}
            }
        }
        Ok(shape)
    }

    /// Takes an object in; returns what its members are part of.
    fn add(
        &mut self,
        value: &'a Value,
        members: &'a Map<String, Value>,
        number: usize,
        resource: usize,
    ) -> usize {
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

    /// Where the references of each object lead to.
    fn references(&self) -> Result<Vec<Vec<usize>>, String> {
        let mut count = 0;
        let mut all = Vec::with_capacity(self.objects.len());
        for object in &self.objects {
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
            count += targets.len();
            if count > limits::SCHEMA_WAYS {
                return Err(too_many_ways());
            }
            all.push(targets);
        }
        Ok(all)
    }

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

    /// How long the chains of schemas are that hold for the same place of a document, and how many there are.
    fn check_chains(&self, references: &[Vec<usize>]) -> Result<(), String> {
        let mut edges = Vec::with_capacity(self.objects.len());
        for (object, targets) in self.objects.iter().zip(references) {
            let mut to = targets.clone();
            for value in IN_PLACE.iter().filter_map(|key| object.members.get(*key)) {
                let number = |v: &Value| self.numbers.get(&std::ptr::from_ref(v).addr()).copied();
                to.extend(number(value));
                match value {
                    Value::Array(items) => to.extend(items.iter().filter_map(number)),
                    Value::Object(members) => to.extend(members.values().filter_map(number)),
                    _ => {}
                }
            }
            edges.push(to);
        }
        let (mut all, mut unevaluated) = (0, 0);
        let mut paths = Paths::new(&edges);
        for (number, object) in self.objects.iter().enumerate() {
            let (longest, most) = (limits::SCHEMA_CHAIN, limits::SCHEMA_WAYS_OF_ONE);
            let ways = paths.count(number, |_| 1, longest, most)?;
            all += ways;
            if is_unevaluated(object.members) {
                unevaluated += ways;
            }
            if all > limits::SCHEMA_WAYS || unevaluated > limits::SCHEMA_UNEVALUATED_WAYS {
                return Err(too_many_ways());
            }
        }
        Ok(())
    }

    /// In how many ways parts with ids of their own are reached: each is compiled once for each way.
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
                limits::SCHEMA_RESOURCE_WAYS,
            )
            .map(drop)
    }
}

/// Paths through a graph that come through no object twice.
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

    /// The weights of all paths' ends, summed up; refused where a path is too long or the sum too large.
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
                return Err(too_many_ways());
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

fn too_many_ways() -> String {
    "Its parts refer to each other in too many ways.".to_owned()
}

fn is_unevaluated(members: &Map<String, Value>) -> bool {
    members.contains_key("unevaluatedProperties") || members.contains_key("unevaluatedItems")
}

/// What is left of an id whatever it is resolved against.
fn last_part(id: &str) -> &str {
    id.rsplit(['/', ':']).next().unwrap_or(id)
}

/// Without percent encoding.
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
