//! Which things an event belongs to: those of its tags that begin with a prefix, or its stream. Documents
//! and invariants group events so.

use crate::dcb::error::Result;
use crate::dcb::key::Namespace;
use crate::dcb::query::{Criterion, Query};
use crate::store::row::event::{self, Row};

/// What an event is grouped by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupKey {
    /// Its stream.
    Stream,
    /// Its tags that begin so; the rest is the id. That of the prefix itself is empty.
    Tag(String),
}

impl std::fmt::Display for GroupKey {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Stream => f.write_str("stream"),
            Self::Tag(prefix) => write!(f, "tag:{prefix}"),
        }
    }
}

impl GroupKey {
    /// `stream` or `tag:PREFIX`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("tag:") {
            Some(prefix) if !prefix.is_empty() => Some(Self::Tag(prefix.to_owned())),
            None if text == "stream" => Some(Self::Stream),
            _ => None,
        }
    }

    /// The ids of an event with this stream and these tags.
    pub fn ids<'t>(
        &self,
        stream: Option<&str>,
        tags: impl Iterator<Item = &'t str>,
    ) -> Vec<String> {
        match self {
            Self::Stream => stream.map(str::to_owned).into_iter().collect(),
            Self::Tag(prefix) => tags
                .filter_map(|t| t.strip_prefix(prefix.as_str()))
                .map(str::to_owned)
                .collect(),
        }
    }

    /// The ids of a stored event.
    ///
    /// # Errors
    /// Those of damaged rows.
    pub fn ids_of_row(&self, row: &Row) -> Result<Vec<String>> {
        Ok(self.ids(row.stream()?, row.tags()?.texts()?.into_iter()))
    }

    /// The key under which all events of an id stand, as it is indexed and locked.
    pub fn index_key(&self, id: &str) -> i64 {
        match self {
            Self::Stream => event::effective(Namespace::Stream, id.as_bytes()),
            Self::Tag(prefix) => {
                event::effective(Namespace::Tag, format!("{prefix}{id}").as_bytes())
            }
        }
    }

    /// The events of an id among those of a query; `None` where there can be none.
    pub fn events_of(&self, id: &str, query: &Query) -> Option<Query> {
        let narrowed = query.criteria().iter().filter_map(|criterion| {
            let mut criterion: Criterion = criterion.clone();
            match self {
                Self::Stream if criterion.stream.as_deref().is_some_and(|s| s != id) => {
                    return None;
                }
                Self::Stream
                    if criterion
                        .stream_prefix
                        .as_deref()
                        .is_some_and(|p| !id.starts_with(p)) =>
                {
                    return None;
                }
                Self::Stream => criterion.stream = Some(id.to_owned()),
                Self::Tag(prefix) => criterion.tags.push(format!("{prefix}{id}")),
            }
            Some(criterion)
        });
        let narrowed: Vec<Criterion> = narrowed.collect();
        (!narrowed.is_empty()).then(|| Query::new(narrowed))
    }
}
