//! Queries: unions of criteria over events, and what it means that an event matches.

use std::fmt::{self, Write};

use super::error::{Error, Result, SqlState};
use super::limits;

/// One criterion: an event matches if it satisfies every part that is given. The empty criterion matches every event.
///
/// **Invariant:** `types`, `tags` and `any_tags` are sorted and free of duplicates; `after` is positive if given;
/// `any_tags` is empty or has at least two tags, none of which is in `tags`; `stream_prefix` is absent if `stream` begins
/// with it. The order of the members decides how criteria are sorted, and so what stored queries look like: a new member
/// must be the last.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Criterion {
    /// Alternatives: the event's type is one of them. Empty: any type.
    pub types: Vec<String>,
    /// All of them are among the event's tags.
    pub tags: Vec<String>,
    /// The event's stream.
    pub stream: Option<String>,
    /// The event's correlation id.
    pub correlation_id: Option<String>,
    /// The event's causation id.
    pub causation_id: Option<String>,
    /// The event's position is greater.
    pub after: Option<i64>,
    /// Alternatives: one of them at least is among the event's tags. Empty: no restriction.
    pub any_tags: Vec<String>,
    /// The event's stream begins with this.
    pub stream_prefix: Option<String>,
}

/// A union of criteria. It is never empty, and it is sorted and free of duplicates, so that equal queries have equal texts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Query {
    criteria: Vec<Criterion>,
}

/// What matching reads of an event.
pub trait Matchable {
    /// Its position; 0 if it has none yet.
    fn position(&self) -> i64;
    /// Its type.
    fn event_type(&self) -> &str;
    /// Whether this tag is among its tags.
    fn has_tag(&self, tag: &str) -> bool;
    /// Whether one of these tags, which are sorted, is among its tags.
    fn has_any_tag(&self, sorted: &[String]) -> bool {
        sorted.iter().any(|tag| self.has_tag(tag))
    }
    /// Its stream, if it is in one.
    fn stream(&self) -> Option<&str>;
    /// Its correlation id.
    fn correlation_id(&self) -> Option<&str>;
    /// Its causation id.
    fn causation_id(&self) -> Option<&str>;
}

impl Criterion {
    /// Brings the criterion into the form that the invariant demands.
    pub fn normalize(&mut self) {
        self.types.sort_unstable();
        self.types.dedup();
        self.tags.sort_unstable();
        self.tags.dedup();
        self.any_tags.sort_unstable();
        self.any_tags.dedup();
        if self
            .any_tags
            .iter()
            .any(|t| self.tags.binary_search(t).is_ok())
        {
            self.any_tags.clear();
        }
        if self.any_tags.len() == 1 {
            self.tags.append(&mut self.any_tags);
            self.tags.sort_unstable();
        }
        let stream = self.stream.as_deref();
        let restricts = |prefix: &String| !stream.is_some_and(|s| s.starts_with(prefix.as_str()));
        self.stream_prefix = self.stream_prefix.take().filter(restricts);
        self.after = self.after.filter(|&a| a > 0);
    }

    /// Whether it has a part that is indexed, by which its events are found and locked.
    pub fn has_keys(&self) -> bool {
        !(self.types.is_empty() && self.tags.is_empty() && self.any_tags.is_empty())
            || self.stream.is_some()
            || self.correlation_id.is_some()
            || self.causation_id.is_some()
    }

    /// Whether only a position restricts it, if anything.
    pub fn is_everything(&self) -> bool {
        !self.has_keys() && self.stream_prefix.is_none()
    }

    /// The prefix of streams, if no other part is indexed.
    pub fn lone_prefix(&self) -> Option<&str> {
        let prefix = self.stream_prefix.as_deref();
        prefix.filter(|_| !self.has_keys())
    }

    fn within(&self, by: &Self) -> Option<Self> {
        let mut both = self.clone();
        if !by.types.is_empty() {
            let is_left = |t: &&String| self.types.is_empty() || self.has_type(t);
            both.types = by.types.iter().filter(is_left).cloned().collect();
            if both.types.is_empty() {
                return None;
            }
        }
        both.tags.extend(by.tags.iter().cloned());
        match (&self.stream, &by.stream) {
            (Some(own), Some(other)) if own != other => return None,
            (None, Some(other)) => both.stream = Some(other.clone()),
            _ => {}
        }
        Some(both)
    }

    fn has_type(&self, event_type: &str) -> bool {
        let found = self.types.binary_search_by(|t| t.as_str().cmp(event_type));
        found.is_ok()
    }

    /// Whether the event satisfies every part.
    pub fn matches(&self, event: &impl Matchable) -> bool {
        let equal = |wanted: &Option<String>, is: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| is == Some(wanted))
        };
        let begins = |prefix| event.stream().is_some_and(|s| s.starts_with(prefix));
        self.after.is_none_or(|after| event.position() > after)
            && (self.types.is_empty() || self.has_type(event.event_type()))
            && self.tags.iter().all(|t| event.has_tag(t))
            && (self.any_tags.is_empty() || event.has_any_tag(&self.any_tags))
            && equal(&self.stream, event.stream())
            && self.stream_prefix.as_deref().is_none_or(begins)
            && equal(&self.correlation_id, event.correlation_id())
            && equal(&self.causation_id, event.causation_id())
    }
}

impl Query {
    /// A query of these criteria; with none of them it matches every event.
    pub fn new(mut criteria: Vec<Criterion>) -> Self {
        criteria.iter_mut().for_each(Criterion::normalize);
        if criteria.is_empty() {
            criteria.push(Criterion::default());
        }
        criteria.sort_unstable();
        criteria.dedup();
        Self { criteria }
    }

    /// The query that every event matches.
    pub fn everything() -> Self {
        Self::new(Vec::new())
    }

    /// Checks the limits, which a query may exceed that was not parsed but put together.
    ///
    /// # Errors
    /// 54000 where it exceeds one.
    pub fn check_limits(&self) -> Result<()> {
        let too_large = |what| {
            Err(Error::new(
                SqlState::LimitExceeded,
                format!("a query has at most {what}"),
            ))
        };
        if self.criteria.len() > limits::CRITERIA_PER_QUERY {
            return too_large(format!("{} criteria", limits::CRITERIA_PER_QUERY));
        }
        let longest = self
            .criteria
            .iter()
            .map(|c| c.types.len().max(c.tags.len()).max(c.any_tags.len()))
            .max();
        if longest > Some(limits::NAMES_PER_CRITERION) {
            return too_large(format!(
                "{} types or tags in a criterion",
                limits::NAMES_PER_CRITERION
            ));
        }
        Ok(())
    }

    /// Its criteria, of which there is at least one.
    pub fn criteria(&self) -> &[Criterion] {
        &self.criteria
    }

    /// The union of two queries.
    pub fn union(mut self, other: Self) -> Self {
        self.criteria.extend(other.criteria);
        Self::new(self.criteria)
    }

    /// The query for those of its events that also have one of the types of `by`, if it has any, all of its tags, and its stream,
    /// if it has one. `None` if no event can match.
    pub fn within(&self, by: &Criterion) -> Option<Self> {
        let criteria = self.criteria.iter().filter_map(|c| c.within(by));
        let criteria: Vec<Criterion> = criteria.collect();
        (!criteria.is_empty()).then(|| Self::new(criteria))
    }

    /// Whether the events of some criterion are found by a prefix of streams alone.
    pub fn lists_streams(&self) -> bool {
        self.criteria.iter().any(|c| c.lone_prefix().is_some())
    }

    /// Whether some criterion is restricted only by a position, if by anything.
    pub fn is_everything(&self) -> bool {
        self.criteria.iter().any(Criterion::is_everything)
    }

    /// Whether the event satisfies a criterion.
    pub fn matches(&self, event: &impl Matchable) -> bool {
        self.criteria.iter().any(|c| c.matches(event))
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.criteria.as_slice() {
            [one] => one.fmt(f),
            many => {
                f.write_char('[')?;
                for (i, criterion) in many.iter().enumerate() {
                    f.write_str(if i == 0 { "" } else { ", " })?;
                    criterion.fmt(f)?;
                }
                f.write_char(']')
            }
        }
    }
}

impl fmt::Display for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut member = |f: &mut fmt::Formatter<'_>, name: &str, value: &dyn fmt::Display| {
            write!(f, "{separator}\"{name}\": {value}")?;
            separator = ", ";
            Ok(())
        };
        f.write_char('{')?;
        for (name, names) in [
            ("types", &self.types),
            ("tags", &self.tags),
            ("any_tags", &self.any_tags),
        ] {
            if !names.is_empty() {
                member(f, name, &JsonArray(names))?;
            }
        }
        for (name, text) in [
            ("stream", &self.stream),
            ("stream_prefix", &self.stream_prefix),
            ("correlation_id", &self.correlation_id),
            ("causation_id", &self.causation_id),
        ] {
            if let Some(text) = text {
                member(f, name, &JsonString(text))?;
            }
        }
        if let Some(after) = self.after {
            member(f, "after", &after)?;
        }
        f.write_char('}')
    }
}

/// A text as a JSON string, escaped as PostgreSQL escapes its JSON output.
pub struct JsonString<'a>(pub &'a str);

impl fmt::Display for JsonString<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                '\u{8}' => f.write_str("\\b")?,
                '\u{c}' => f.write_str("\\f")?,
                c if c < ' ' => write!(f, "\\u{:04x}", c as u32)?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// Texts as a JSON array of strings.
struct JsonArray<'a>(&'a [String]);

impl fmt::Display for JsonArray<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('[')?;
        for (i, text) in self.0.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { ", " })?;
            JsonString(text).fmt(f)?;
        }
        f.write_char(']')
    }
}
