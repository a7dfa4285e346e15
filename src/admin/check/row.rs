//! One row: what it says, and whether it has its entries.

use crate::dcb::error::Result;
use crate::dcb::key::Namespace;
use crate::store::index::entry::{Direction, Entry};
use crate::store::index::fetch::{Fetcher, Spot};
use crate::store::index::lookup::{self, From};
use crate::store::row::event::{self, Column, Row};
use crate::store::row::table::IndexRole;

use super::{Check, Problem, REINDEX, RESTORE, Ready, has_entry, id_of, reader};

impl Check<'_, '_> {
    /// Checks what a row says, and that it has its entries.
    pub(super) fn check_row(&self, row: &Row, tid: u64, ready: Ready, out: &mut Vec<Problem>) {
        let position = row.position();
        let mut wrong = |object: String, problem: String, hint| {
            let problem = format!("event at position {position}: {problem}");
            out.push((object, problem, hint));
        };
        let said = [
            Ok(odd_position(row)),
            odd_tags(row),
            self.odd_version(row, ready),
        ];
        for problem in said {
            match problem {
                Ok(None) => {}
                Ok(Some(problem)) => wrong(self.table_name(), problem, RESTORE),
                Err(error) => wrong(self.table_name(), error.message, RESTORE),
            }
        }
        let asked = [
            (IndexRole::Keys, self.lacks_keys(row, tid, ready)),
            (IndexRole::Position, self.lacks_position(row, tid, ready)),
            (IndexRole::Id, self.lacks_id(row, tid, ready)),
            (IndexRole::Stream, self.lacks_stream(row, ready)),
        ];
        for (role, problem) in asked {
            let name = || self.table.index(role).map_or(String::new(), |i| i.name());
            match problem {
                Ok(None) => {}
                Ok(Some(problem)) => wrong(format!("index en57.{}", name()), problem, REINDEX),
                Err(error) => wrong(format!("index en57.{}", name()), error.message, REINDEX),
            }
        }
    }

    /// Which of its entries in the key index a row lacks, in words.
    fn lacks_keys(&self, row: &Row, tid: u64, ready: Ready) -> Result<Option<String>> {
        if !ready.keys {
            return Ok(None);
        }
        let index = reader(&self.table, IndexRole::Keys)?;
        let (keys, position) = (row.keys()?, row.position());
        let mut missing = 0;
        for key in keys.iter().copied() {
            let entry = Entry { key, position, tid };
            missing += usize::from(!has_entry(&index, entry)?);
        }
        let problem = || format!("{missing} of its {} entries are missing", keys.len());
        Ok((missing > 0).then(problem))
    }

    fn lacks_position(&self, row: &Row, tid: u64, ready: Ready) -> Result<Option<String>> {
        if !ready.positions {
            return Ok(None);
        }
        let index = reader(&self.table, IndexRole::Position)?;
        let (key, position) = (0, row.position());
        let is_there = has_entry(&index, Entry { key, position, tid })?;
        Ok((!is_there).then(|| "its entry is missing".into()))
    }

    fn lacks_id(&self, row: &Row, tid: u64, ready: Ready) -> Result<Option<String>> {
        if !ready.ids {
            return Ok(None);
        }
        let from = Entry::of_id(&id_of(row));
        let to = Entry {
            tid: u64::MAX,
            ..from
        };
        let index = reader(&self.table, IndexRole::Id)?;
        let mut entries = Vec::new();
        index.page(from, to, Direction::Forward, &mut entries)?;
        if !entries.contains(&Entry { tid, ..from }) {
            return Ok(Some("its entry is missing".into()));
        }
        let mut fetcher = Fetcher::new(&self.table);
        for entry in entries.iter().filter(|e| e.tid != tid) {
            if fetcher.look(entry.tid) == Spot::Row && id_of(&fetcher.row) == id_of(row) {
                let theirs = fetcher.row.position();
                return Ok(Some(format!(
                    "the event at position {theirs} has its id, too"
                )));
            }
        }
        Ok(None)
    }

    /// Whether a stream whose first event this is is missing from the list of streams, in words.
    fn lacks_stream(&self, row: &Row, ready: Ready) -> Result<Option<String>> {
        let Some(stream) = row.stream()?.filter(|_| row.stream_version() == Some(1)) else {
            return Ok(None);
        };
        if !ready.streams {
            return Ok(None);
        }
        let mut is_there = false;
        lookup::streams(&self.table, From::At(stream), |found| {
            is_there = found == stream;
            Ok(false)
        })?;
        Ok((!is_there).then(|| "its entry is missing".into()))
    }

    /// Whether a row's version is not the one after that of its stream's event before it, in words.
    fn odd_version(&self, row: &Row, ready: Ready) -> Result<Option<String>> {
        let (stream, version) = match (row.stream()?, row.stream_version()) {
            (None, None) => return Ok(None),
            (Some(stream), Some(version)) => (stream, version),
            _ => return Ok(Some("it has only one of stream and version".into())),
        };
        if !ready.keys {
            return Ok(None);
        }
        let next = self.last_version(stream, row.position())? + 1;
        let problem = || format!("it has version {version} of its stream, where {next} comes next");
        Ok((version != next).then(problem))
    }

    /// The version of a stream's last event before a position, 0 if there is none.
    fn last_version(&self, stream: &str, position: i64) -> Result<i64> {
        let index = reader(&self.table, IndexRole::Keys)?;
        let key = event::effective(Namespace::Stream, stream.as_bytes());
        let to = Entry::first(key, 1);
        let mut fetcher = Fetcher::new(&self.table);
        let mut entries = Vec::new();
        let mut from = Some(Entry::last(key, position - 1));
        while let Some(start) = from {
            entries.clear();
            from = index.page(start, to, Direction::Backward, &mut entries)?;
            for entry in &entries {
                if fetcher.fetch(*entry, false) && fetcher.row.stream()? == Some(stream) {
                    return Ok(fetcher.row.stream_version().unwrap_or(0));
                }
            }
        }
        Ok(0)
    }
}

/// Whether a row's position and frontier cannot be, in words.
fn odd_position(row: &Row) -> Option<String> {
    let position = row.position();
    let stable = row.get(Column::Stable).map(|d| d.value() as i64);
    if position < 1 {
        return Some("positions begin at 1".into());
    }
    match stable {
        None => Some("it has no frontier (column stable)".into()),
        Some(s) if s < 0 || s >= position => {
            Some(format!("its frontier (column stable) is {s}, not below it"))
        }
        Some(_) => None,
    }
}

fn odd_tags(row: &Row) -> Result<Option<String>> {
    let is_sorted = row.tags()?.texts()?.is_sorted_by(|a, b| a < b);
    Ok((!is_sorted).then(|| "its tags are not sorted and distinct".into()))
}
