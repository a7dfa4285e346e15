//! The streams that an append writes to: their expected versions and their actual ones.

use std::collections::HashMap;

use crate::dcb::error::{Error, Result, invalid};
use crate::read::stream::{self, Expected, Target};
use crate::store::row::event::NewEvent;
use crate::store::row::table::Opened;

/// The streams of an append, and each event's number in its stream. Without streams nothing is allocated.
pub(super) struct Streams<'a> {
    /// In the order of their first events.
    all: Vec<Written<'a>>,
    /// Of each event: its stream's number in `all`, and how many events of the append come before it there.
    of_events: Vec<Option<(usize, i64)>>,
}

struct Written<'a> {
    target: Target<'a>,
    /// The number of its first event in the append.
    first: usize,
    /// How many events of the append go to it.
    count: i64,
    /// Its version before the append, once it was looked up; 0 before.
    head: i64,
}

/// A stream that is not at the expected version.
pub(super) struct Wrong<'a> {
    /// The stream, and the version that was expected.
    pub target: Target<'a>,
    /// The number of its first event in the append.
    pub event: usize,
    /// Its actual version.
    pub version: i64,
    /// The position of its last event.
    pub position: Option<i64>,
}

impl<'a> Streams<'a> {
    /// The streams that the events name.
    ///
    /// # Errors
    /// 22023 if an event that is not the first of its stream has an expected version.
    pub fn of(events: &[NewEvent<'a>]) -> Result<Self> {
        let has_no_stream = |e: &NewEvent| e.expected_version.is_some() && e.stream.is_none();
        if let Some(n) = events.iter().position(has_no_stream) {
            let message = format!("event {}: \"expected_version\" needs a stream", n + 1);
            return Err(invalid(message).hint("Name the stream that the event goes to."));
        }
        let (mut all, mut of_events): (Vec<Written>, Vec<_>) = Default::default();
        if events.iter().all(|e| e.stream.is_none()) {
            return Ok(Self { all, of_events });
        }
        of_events.reserve(events.len());
        let mut known = HashMap::new();
        for (n, event) in events.iter().enumerate() {
            let Some(name) = event.stream else {
                of_events.push(None);
                continue;
            };
            let at = *known.entry(name).or_insert(all.len());
            if at == all.len() {
                let expected = Expected::new(event.expected_version)?;
                all.push(Written {
                    target: Target { name, expected },
                    first: n,
                    count: 0,
                    head: 0,
                });
            } else if event.expected_version.is_some() {
                return Err(is_not_first(n, all[at].first));
            }
            of_events.push(Some((at, all[at].count)));
            all[at].count += 1;
        }
        Ok(Self { all, of_events })
    }

    /// Whether an event goes to a stream.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The names of the streams.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.all.iter().map(|s| s.target.name)
    }

    /// Looks up the versions of all streams; their keys are locked. Returns the first stream that is not at its
    /// expected version.
    ///
    /// # Errors
    /// XX001 if the index is damaged.
    pub fn look_up(&mut self, table: &Opened) -> Result<Option<Wrong<'a>>> {
        let mut wrong = None;
        for written in &mut self.all {
            let (version, position) = stream::head(table, written.target.name)?;
            if !written.target.expected.holds(version) {
                wrong.get_or_insert(Wrong {
                    target: written.target,
                    event: written.first,
                    version,
                    position,
                });
            }
            written.head = version;
        }
        Ok(wrong)
    }

    /// The version that the last event's stream has before the append.
    pub fn version_before(&self) -> Option<i64> {
        let (at, _) = self.of_events.last().copied().flatten()?;
        Some(self.all[at].head)
    }

    /// The n-th event's stream, and its version there.
    pub fn of_event(&self, n: usize) -> Option<(&'a str, i64)> {
        let (at, before) = self.of_events.get(n).copied().flatten()?;
        let written = &self.all[at];
        Some((written.target.name, written.head + 1 + before))
    }
}

/// An event has an expected version, though another one is the first of its stream.
fn is_not_first(n: usize, first: usize) -> Error {
    invalid(format!(
        "event {}: \"expected_version\" is allowed for a stream's first event in the call only",
        n + 1
    ))
    .hint(format!(
        "Event {} is the first one: its version is checked, and the others follow it.",
        first + 1
    ))
}

/// Checks what the events say of their streams, without looking at any stream.
///
/// # Errors
/// 22023 if an event that is not the first of its stream has an expected version.
pub fn demand(events: &[NewEvent]) -> Result<()> {
    Streams::of(events).map(drop)
}

/// Sends the events that name no stream to `target`. The first event of this stream expects its version.
///
/// # Errors
/// 22023 if a version is expected and no event goes to the stream, or if it is expected twice.
pub fn send_to<'a>(events: &mut [NewEvent<'a>], target: Option<Target<'a>>) -> Result<()> {
    let Some(Target { name, expected }) = target else {
        return Ok(());
    };
    for event in events.iter_mut() {
        event.stream.get_or_insert(name);
    }
    if expected == Expected::Any {
        return Ok(());
    }
    let mut there = events.iter_mut().enumerate();
    let Some((n, first)) = there.find(|(_, e)| e.stream == Some(name)) else {
        return Err(invalid("expected_version is that of a stream to which no event goes")
            .hint("Each event has a \"stream\" of its own: let the first one for each stream have its \"expected_version\"."));
    };
    if first.expected_version.is_some() {
        return Err(invalid(format!(
            "event {}: \"expected_version\" is given beside the argument expected_version",
            n + 1
        ))
        .hint("Both are about the same stream: give one of them."));
    }
    first.expected_version = expected.said();
    Ok(())
}
