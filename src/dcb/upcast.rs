//! Upcasting, as far as no function is called: which type and version becomes which, and which stored names a query for
//! the new names must find.
//!
//! A step leads from one form to the next; a chain is all steps that a stored event takes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::error::{Result, invalid, shown};
use super::query::{Criterion, JsonString, Query};

/// A form of events: a type at one of its versions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Form {
    /// The type.
    pub name: String,
    /// The version of its schema.
    pub version: i32,
}

impl Form {
    /// The form of this type at this version.
    pub fn new(name: &str, version: i32) -> Self {
        Self {
            name: name.to_owned(),
            version,
        }
    }
}

impl std::fmt::Display for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = shown(&self.name);
        write!(f, "type {} version {}", JsonString(&name), self.version)
    }
}

/// What becomes of events of one form.
#[derive(Debug, PartialEq, Eq)]
pub struct Chain {
    /// The numbers of the steps, in the order in which they are taken.
    pub steps: Vec<usize>,
    /// The form after the last step.
    pub last: Form,
}

/// All chains of a set of steps.
#[derive(Debug, Default)]
pub struct Chains {
    steps: Vec<(Form, Form)>,
    by_name: HashMap<String, Vec<(i32, Chain)>>,
    /// For each name that readers see, the other names under which its events may be stored.
    stored_as: HashMap<String, BTreeSet<String>>,
    /// The bits of all names in `by_name`. Most other names have another bit, so they need no lookup.
    marks: u64,
}

/// The bit of a name.
fn mark(name: &str) -> u64 {
    let last = name.as_bytes().last().copied().unwrap_or_default();
    1 << ((name.len() + usize::from(last)) % 64)
}

impl Chains {
    /// Follows all steps to their ends. A form has at most one step.
    ///
    /// # Errors
    /// 22023 where they go in a circle.
    pub fn new(steps: Vec<(Form, Form)>) -> Result<Self> {
        let next: BTreeMap<&Form, (usize, &Form)> = steps
            .iter()
            .enumerate()
            .map(|(n, (from, to))| (from, (n, to)))
            .collect();
        let mut chains = Self::default();
        for (from, _) in &steps {
            let (mut taken, mut at) = (Vec::new(), from);
            while let Some((n, to)) = next.get(at) {
                if taken.len() >= steps.len() {
                    return Err(invalid("upcasters would go in a circle")
                        .detail(format!("From {from} they come to it again.")));
                }
                taken.push(*n);
                at = to;
            }
            if at.name != from.name {
                let names = chains.stored_as.entry(at.name.clone()).or_default();
                names.insert(from.name.clone());
            }
            let chain = Chain {
                steps: taken,
                last: at.clone(),
            };
            chains.marks |= mark(&from.name);
            let of_name = chains.by_name.entry(from.name.clone()).or_default();
            of_name.push((from.version, chain));
        }
        chains.steps = steps;
        Ok(chains)
    }

    /// The chain of a stored form. `None`: events of it stay as they are.
    #[inline]
    pub fn of(&self, name: &str, version: i32) -> Option<&Chain> {
        if self.marks & mark(name) == 0 {
            return None;
        }
        let versions = self.by_name.get(name)?;
        versions.iter().find(|(v, _)| *v == version).map(|(_, c)| c)
    }

    /// The name that readers see.
    pub fn name_of<'a>(&'a self, name: &'a str, version: i32) -> &'a str {
        self.of(name, version).map_or(name, |c| &c.last.name)
    }

    /// Whether events that match the query may have been upcast. They have not if it names types and none of them takes
    /// part in a step.
    pub fn concern(&self, query: &Query) -> bool {
        let knows = |t: &String| self.by_name.contains_key(t) || self.stored_as.contains_key(t);
        let criteria = query.criteria();
        let any = |c: &Criterion| c.types.is_empty() || c.types.iter().any(knows);
        !self.steps.is_empty() && (criteria.is_empty() || criteria.iter().any(any))
    }

    /// Whether a step changes the name of a type.
    pub fn renames(&self) -> bool {
        !self.stored_as.is_empty()
    }

    /// Whether these chains change names in another way than the other chains.
    pub fn renames_unlike(&self, other: &Self) -> bool {
        let names = |chains: &Self| -> BTreeSet<(Form, String)> {
            let all = chains.steps.iter();
            let all = all.map(|(f, _)| (f.clone(), chains.name_of(&f.name, f.version).to_owned()));
            all.filter(|(form, name)| form.name != *name).collect()
        };
        names(self) != names(other)
    }

    /// The query that finds all events that may match, by the names under which they are stored. What it finds must still
    /// be compared with the names that readers see. `None`: it is the query itself.
    pub fn as_stored(&self, query: &Query) -> Option<Query> {
        let is_renamed = |t: &String| self.stored_as.contains_key(t);
        if !query
            .criteria()
            .iter()
            .flat_map(|c| &c.types)
            .any(is_renamed)
        {
            return None;
        }
        let criteria = query.criteria().iter().map(|c| {
            let older = c
                .types
                .iter()
                .filter_map(|t| self.stored_as.get(t))
                .flatten();
            Criterion {
                types: c.types.iter().chain(older).cloned().collect(),
                ..c.clone()
            }
        });
        Some(Query::new(criteria.collect()))
    }

    /// The version of new events of a type: the newest one that is registered or that a step leads to, or 1 if nothing is
    /// known of the type. `None`: steps lead from the type, and nothing tells its current version.
    pub fn current(&self, name: &str, registered: Option<i32>) -> Option<i32> {
        let led_to = self.steps.iter().map(|(_, to)| to);
        let versions = led_to.filter(|f| f.name == name).map(|f| f.version);
        let is_taken = self.marks & mark(name) != 0 && self.by_name.contains_key(name);
        let newest = versions.chain(registered).max();
        newest.or((!is_taken).then_some(1))
    }

    /// The newest version of a type in the steps and in `registered`.
    fn newest(&self, name: &str, registered: &[Form]) -> i32 {
        let told = self.steps.iter().flat_map(|(from, to)| [from, to]);
        let versions = told.chain(registered).filter(|f| f.name == name);
        versions.map(|f| f.version).max().unwrap_or(0)
    }

    /// The steps whose chains end before the newest version of their type.
    fn incomplete(&self, registered: &[Form]) -> BTreeMap<&Form, (&Form, i32)> {
        let all = self.steps.iter().filter_map(|(from, _)| {
            let last = &self.of(&from.name, from.version)?.last;
            let newest = self.newest(&last.name, registered);
            (last.version < newest).then_some((from, (last, newest)))
        });
        all.collect()
    }

    /// Checks the change from the chains `before` to these: a chain that led to the newest version must still lead there, and
    /// the chain of the form `added` must lead there.
    ///
    /// # Errors
    /// 22023, with the step that is missing.
    pub fn check_against(
        &self,
        before: &Self,
        added: Option<&Form>,
        registered: &[Form],
    ) -> Result<()> {
        let known = before.incomplete(registered);
        let new = self.incomplete(registered).into_iter();
        let mut new = new.filter(|(from, _)| Some(*from) == added || !known.contains_key(from));
        new.next().map_or(Ok(()), |(from, (last, newest))| {
            Err(invalid("an upcaster would be missing")
                .detail(format!(
                    "Events of {from} would become {last}, while version {newest} is known."
                ))
                .hint(format!("First register the upcaster of {last}.")))
        })
    }
}
