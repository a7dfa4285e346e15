//! Scans: the entries of a query in position order, found on the index alone.
//!
//! One key is one range. A criterion of several keys is a leapfrog intersection of their ranges; types, and tags of
//! which one suffices, are unions of ranges that take part in it as one each. A query is a merge of its criteria. Both
//! directions; memory does not grow with the result.

use crate::dcb::error::Result;
use crate::dcb::key::Namespace;
use crate::dcb::query::{Criterion, Query};
use crate::store::row::event;
use crate::store::row::table::{IndexRole, Opened};

use super::entry::{Direction, Entry};
use super::lookup;
use super::reader::Reader;
use super::union::Union;

/// The positions that a scan covers: `after` exclusive, `upto` inclusive.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// Nothing at or below it.
    pub after: i64,
    /// Nothing beyond it.
    pub upto: i64,
}

/// One range of an index in position order.
pub(in crate::store) struct KeyScan<'t> {
    tree: Reader<'t>,
    key: i64,
    range: Range,
    direction: Direction,
    page: Vec<Entry>,
    next: usize,
    /// Where the entries beyond `page` begin; `None` at the end.
    rest: Option<Entry>,
}

impl<'t> KeyScan<'t> {
    fn new(tree: Reader<'t>, key: i64, range: Range, direction: Direction) -> Self {
        let rest = (range.after < range.upto).then(|| match direction {
            Direction::Forward => Entry::first(key, range.after + 1),
            Direction::Backward => Entry::last(key, range.upto),
        });
        Self {
            tree,
            key,
            range,
            direction,
            page: Vec::new(),
            next: 0,
            rest,
        }
    }

    /// The entry it stands at.
    #[inline]
    pub(in crate::store) fn current(&mut self) -> Result<Option<Entry>> {
        match self.page.get(self.next) {
            Some(entry) => Ok(Some(*entry)),
            None => self.next_page(),
        }
    }

    fn next_page(&mut self) -> Result<Option<Entry>> {
        while self.next >= self.page.len() {
            let Some(from) = self.rest else {
                return Ok(None);
            };
            let to = match self.direction {
                Direction::Forward => Entry::last(self.key, self.range.upto),
                Direction::Backward => Entry::first(self.key, self.range.after + 1),
            };
            pgrx::check_for_interrupts!();
            self.page.clear();
            self.next = 0;
            self.rest = self.tree.page(from, to, self.direction, &mut self.page)?;
        }
        Ok(Some(self.page[self.next]))
    }

    /// Goes on to the first entry at or beyond a position, in the scan's direction.
    #[inline]
    pub(in crate::store) fn seek(&mut self, position: i64) -> Result<Option<Entry>> {
        // Mostly it is one of the next few: two lists of like density take turns.
        const NEAR: usize = 6;
        let left = self.page.get(self.next..).unwrap_or_default();
        for (i, entry) in left.iter().take(NEAR).enumerate() {
            if !self.is_before(entry, position) {
                self.next += i;
                return Ok(Some(*entry));
            }
        }
        self.seek_far(position)
    }

    fn is_before(&self, entry: &Entry, position: i64) -> bool {
        match self.direction {
            Direction::Forward => entry.position < position,
            Direction::Backward => entry.position > position,
        }
    }

    /// Within the page that was read where it reaches so far, by a new descent otherwise.
    fn seek_far(&mut self, position: i64) -> Result<Option<Entry>> {
        let left = self.page.get(self.next..).unwrap_or_default();
        if left.last().is_some_and(|l| !self.is_before(l, position)) {
            // Gallop: it is rather near than far.
            let mut step = 1;
            while step < left.len() && self.is_before(&left[step], position) {
                step *= 2;
            }
            let from = step / 2;
            let among = &left[from..left.len().min(step + 1)];
            self.next += from + among.partition_point(|e| self.is_before(e, position));
        } else {
            self.next = self.page.len();
            self.rest = match self.direction {
                Direction::Forward => self.rest.map(|r| r.max(Entry::first(self.key, position))),
                Direction::Backward => self.rest.map(|r| r.min(Entry::last(self.key, position))),
            };
        }
        self.current()
    }

    fn advance(&mut self) {
        self.next += 1;
    }

    /// Goes beyond the entries of one row, if it stands there; returns where it stands then.
    pub(in crate::store) fn pass(&mut self, entry: Entry) -> Result<Option<Entry>> {
        loop {
            match self.current()? {
                Some(e) if (e.position, e.tid) == (entry.position, entry.tid) => self.advance(),
                beyond => return Ok(beyond),
            }
        }
    }

    /// Beyond so many entries, without looking at their rows.
    fn skip(&mut self, mut n: usize) -> Result<()> {
        while n > 0 && self.current()?.is_some() {
            let step = n.min(self.page.len() - self.next);
            self.next += step;
            n -= step;
        }
        Ok(())
    }
}

/// The entries under a stream's key: candidates for its events, as of [`Scan`].
pub struct StreamScan<'t>(KeyScan<'t>);

impl<'t> StreamScan<'t> {
    /// A scan of a stream over a range of positions.
    ///
    /// # Errors
    /// 55000 where the key index is missing.
    pub fn new(
        table: &'t Opened,
        stream: &str,
        range: Range,
        direction: Direction,
    ) -> Result<Self> {
        let key = event::effective(Namespace::Stream, stream.as_bytes());
        Self::under(table, key, range, direction)
    }

    /// A scan of what stands under any key.
    ///
    /// # Errors
    /// 55000 where the key index is missing.
    pub fn under(table: &'t Opened, key: i64, range: Range, direction: Direction) -> Result<Self> {
        let tree = Reader::keys(table)?;
        Ok(Self(KeyScan::new(tree, key, range, direction)))
    }

    /// The next entry.
    ///
    /// # Errors
    /// XX001 where the index is damaged.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        let entry = self.0.current()?;
        self.0.advance();
        Ok(entry)
    }

    /// Leaves out so many entries.
    ///
    /// # Errors
    /// XX001 where the index is damaged.
    pub fn skip(&mut self, n: usize) -> Result<()> {
        self.0.skip(n)
    }
}

fn first_of(direction: Direction, best: Option<Entry>, entry: Entry) -> Entry {
    let order = |e: &Entry| (e.position, e.tid);
    match (best, direction) {
        (None, _) => entry,
        (Some(b), Direction::Forward) => std::cmp::min_by_key(b, entry, order),
        (Some(b), Direction::Backward) => std::cmp::max_by_key(b, entry, order),
    }
}

/// The entries that are in every one of several ranges.
struct Intersection<'t> {
    /// At least one. The first one leads: its entries say where the rows are.
    members: Vec<Union<'t>>,
}

impl Intersection<'_> {
    fn current(&mut self) -> Result<Option<Entry>> {
        let Some((leader, others)) = self.members.split_first_mut() else {
            return Ok(None);
        };
        let Some(mut candidate) = leader.current()? else {
            return Ok(None);
        };
        // How many of the others, in a row, stand at the candidate.
        let mut agreed = 0;
        let mut next = 0;
        while agreed < others.len() {
            let Some(found) = others[next].seek(candidate.position)? else {
                return Ok(None);
            };
            if found.position == candidate.position {
                agreed += 1;
            } else {
                let Some(beyond) = leader.seek(found.position)? else {
                    return Ok(None);
                };
                // The one that led beyond agrees, if the leader stands there too.
                agreed = usize::from(beyond.position == found.position);
                candidate = beyond;
            }
            next = (next + 1) % others.len();
        }
        Ok(Some(candidate))
    }

    fn pass(&mut self, entry: Entry) -> Result<()> {
        self.members[0].pass(entry)
    }
}

/// The entries of a query, candidates for its events: a hash collision can put a row among them that
/// does not match, so the row decides.
pub struct Scan<'t> {
    criteria: Vec<Intersection<'t>>,
    direction: Direction,
}

impl<'t> Scan<'t> {
    /// A scan of a query over a range of positions.
    ///
    /// # Errors
    /// 55000 where an index is missing.
    pub fn new(
        table: &'t Opened,
        query: &Query,
        range: Range,
        direction: Direction,
    ) -> Result<Self> {
        let criteria = query.criteria().iter();
        let criteria = criteria
            .map(|c| intersection(table, c, range, direction))
            .collect::<Result<_>>()?;
        Ok(Self {
            criteria,
            direction,
        })
    }

    /// The next entry. Entries of one row come once.
    ///
    /// # Errors
    /// XX001 where an index is damaged.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        if let [only] = self.criteria.as_mut_slice() {
            let entry = only.current()?;
            if let Some(entry) = entry {
                only.pass(entry)?;
            }
            return Ok(entry);
        }
        let mut best = None;
        for criterion in &mut self.criteria {
            if let Some(entry) = criterion.current()? {
                best = Some(first_of(self.direction, best, entry));
            }
        }
        let Some(entry) = best else { return Ok(None) };
        for criterion in &mut self.criteria {
            let here = criterion.current()?;
            if here.is_some_and(|e| (e.position, e.tid) == (entry.position, entry.tid)) {
                criterion.pass(entry)?;
            }
        }
        Ok(Some(entry))
    }
}

fn intersection<'t>(
    table: &'t Opened,
    criterion: &Criterion,
    range: Range,
    direction: Direction,
) -> Result<Intersection<'t>> {
    let range = Range {
        after: range.after.max(criterion.after.unwrap_or(0)),
        ..range
    };
    let mut groups = key_groups(criterion);
    if let Some(prefix) = criterion.lone_prefix() {
        groups.extend(streams_under(table, prefix, range)?);
    }
    let union = |members| Union::new(members, direction);
    if groups.is_empty() {
        let all = KeyScan::new(Reader::positions(table)?, 0, range, direction);
        return Ok(Intersection {
            members: vec![union(vec![all])],
        });
    }
    let tree = Reader::keys(table)?;
    let scan = |key| KeyScan::new(tree, key, range, direction);
    let members = groups.into_iter();
    let members = members.map(|group| union(group.into_iter().map(scan).collect()));
    Ok(Intersection {
        members: members.collect(),
    })
}

/// The keys of the streams whose names begin with a prefix, where looking under them is less work than looking at each
/// event of the range. Their first events are there before others of theirs can be.
fn streams_under(table: &Opened, prefix: &str, range: Range) -> Result<Option<Vec<i64>>> {
    /// So many events are looked at in the time that it takes to look under a key.
    const EVENTS_PER_KEY: i64 = 16;
    /// Of more streams than this the next event is as well looked for among all events.
    const STREAMS_AT_MOST: i64 = 64;
    let has_list = table.indexes(IndexRole::Stream).next();
    if !has_list.is_some_and(|list| list.state().0) {
        return Ok(None);
    }
    let events = range.upto.saturating_sub(range.after);
    let at_most = STREAMS_AT_MOST.min(events / EVENTS_PER_KEY);
    let mut keys = Vec::new();
    let mut are_all = true;
    lookup::streams(table, lookup::From::At(prefix), |name| {
        let is_one = name.starts_with(prefix);
        if is_one {
            are_all = (keys.len() as i64) < at_most;
            keys.push(event::effective(Namespace::Stream, name.as_bytes()));
        }
        Ok(is_one && are_all)
    })?;
    keys.sort_unstable();
    keys.dedup();
    Ok(are_all.then_some(keys))
}

/// Groups of keys: every event of the criterion stands under one key of each, at least. The tags first, then what
/// has a single value, then alternatives.
pub fn key_groups(criterion: &Criterion) -> Vec<Vec<i64>> {
    let mut groups: Vec<Vec<i64>> = required_keys(criterion)
        .into_iter()
        .map(|k| vec![k])
        .collect();
    let alternatives = [any_tag_keys(criterion), type_keys(criterion)];
    groups.extend(alternatives.into_iter().filter(|keys| !keys.is_empty()));
    groups
}

/// The keys that every event of the criterion stands under.
pub fn required_keys(criterion: &Criterion) -> Vec<i64> {
    let mut keys: Vec<i64> = criterion
        .tags
        .iter()
        .map(|t| event::effective(Namespace::Tag, t.as_bytes()))
        .collect();
    let named = [
        (Namespace::Stream, &criterion.stream),
        (Namespace::Correlation, &criterion.correlation_id),
        (Namespace::Causation, &criterion.causation_id),
    ];
    keys.extend(
        named
            .iter()
            .filter_map(|(n, text)| text.as_deref().map(|t| event::effective(*n, t.as_bytes()))),
    );
    keys.dedup();
    keys
}

/// The keys of its types; none where any type will do.
pub fn type_keys(criterion: &Criterion) -> Vec<i64> {
    keys_of(Namespace::Type, &criterion.types)
}

/// The keys of the tags of which one suffices.
pub fn any_tag_keys(criterion: &Criterion) -> Vec<i64> {
    keys_of(Namespace::Tag, &criterion.any_tags)
}

fn keys_of(namespace: Namespace, texts: &[String]) -> Vec<i64> {
    let keys = texts.iter();
    let mut keys: Vec<i64> = keys
        .map(|t| event::effective(namespace, t.as_bytes()))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// About how many entries stand under a key between two positions; of all events, if there is no key. By the first page of
/// them and the last one: in between they are taken to be as dense as there, but no more than fit into the index.
///
/// # Errors
/// 55000 where an index is missing; XX001 where one is damaged.
pub fn about(table: &Opened, key: Option<i64>, range: Range) -> Result<f64> {
    let (tree, key) = match key {
        Some(key) => (Reader::keys(table)?, key),
        None => (Reader::positions(table)?, 0),
    };
    if range.after >= range.upto {
        return Ok(0.0);
    }
    let ends = [
        Entry::first(key, range.after + 1),
        Entry::last(key, range.upto),
    ];
    let (mut first, mut last) = (Vec::new(), Vec::new());
    let rest = tree.page(ends[0], ends[1], Direction::Forward, &mut first)?;
    if rest.is_some() {
        tree.page(ends[1], ends[0], Direction::Backward, &mut last)?;
    }
    let (Some(begin), Some(left)) = (first.first(), first.last()) else {
        return Ok(0.0);
    };
    last.retain(|entry| entry.position > left.position);
    let seen = (first.len() + last.len()) as f64;
    let (Some(end), Some(right)) = (last.first(), last.last()) else {
        return Ok(seen);
    };
    let looked_at = (left.position - begin.position) + (end.position - right.position) + 2;
    let between = (right.position - left.position - 1) as f64;
    let dense = seen + between * (seen / looked_at as f64).min(1.0);
    // But for the first page, and the root.
    let pages = tree.pages().saturating_sub(2).max(1);
    let fit = f64::from(pages) * first.len().max(last.len()) as f64;
    Ok(dense.min(fit).max(seen))
}

/// How many entries a key has after a position, near the end of the log, as far as one page tells:
/// enough to see which of several keys is the rarest.
///
/// # Errors
/// XX001 where the index is damaged.
pub fn frequency(table: &Opened, key: i64, after: i64) -> Result<usize> {
    let mut entries = Vec::new();
    Reader::keys(table)?.page(
        Entry::last(key, i64::MAX),
        Entry::first(key, after),
        Direction::Backward,
        &mut entries,
    )?;
    Ok(entries.len())
}
