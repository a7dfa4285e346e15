//! The stored form of a query: what a value of type `en57_query` holds on disk and in memory.
//!
//! It is one byte for the format, then the criteria. Numbers are little-endian, and each text follows its length. Reading
//! it is several times as fast as parsing JSON, which matters for a condition that is checked at every append.
//!
//! **Invariant:** equal queries have equal bytes. A [`Query`] is canonical, and a query that the first format can hold is
//! always written in the first format, also by newer libraries. So stored values and indexes stay valid.

use super::error::{Error, Result, SqlState};
use super::query::{Criterion, Query};

/// The format without `any_tags` and `stream_prefix`.
const FIRST: u8 = 1;
/// The format with `any_tags` and `stream_prefix`.
const SECOND: u8 = 2;

/// Writes the stored form.
pub fn encode(query: &Query) -> Vec<u8> {
    let is_first = |c: &Criterion| c.any_tags.is_empty() && c.stream_prefix.is_none();
    let version = match query.criteria().iter().all(is_first) {
        true => FIRST,
        false => SECOND,
    };
    let mut out = vec![version];
    put_len(&mut out, query.criteria().len());
    for c in query.criteria() {
        out.extend_from_slice(&c.after.unwrap_or(0).to_le_bytes());
        for names in [&c.types, &c.tags] {
            put_names(&mut out, names);
        }
        for text in [&c.stream, &c.correlation_id, &c.causation_id] {
            // No text of a query is empty, so an empty one means that it is absent.
            put_text(&mut out, text.as_deref().unwrap_or(""));
        }
        if version == SECOND {
            put_names(&mut out, &c.any_tags);
            put_text(&mut out, c.stream_prefix.as_deref().unwrap_or(""));
        }
    }
    out
}

fn put_len(out: &mut Vec<u8>, n: usize) {
    out.extend_from_slice(&(n as u32).to_le_bytes());
}

fn put_names(out: &mut Vec<u8>, names: &[String]) {
    put_len(out, names.len());
    names.iter().for_each(|s| put_text(out, s));
}

fn put_text(out: &mut Vec<u8>, s: &str) {
    put_len(out, s.len());
    out.extend_from_slice(s.as_bytes());
}

/// Reads the stored form.
///
/// # Errors
/// XX001 where the bytes are no stored form; 0A000 where a newer version wrote them.
pub fn decode(bytes: &[u8]) -> Result<Query> {
    let mut input = Input(bytes);
    let version = input.take(1)?[0];
    if version != FIRST && version != SECOND {
        return Err(Error::new(
            SqlState::NotSupported,
            format!(
                "en57_query value of format {version}, this library reads up to format {SECOND}"
            ),
        ));
    }
    let n = input.len()?;
    let mut criteria = Vec::with_capacity(n.min(1024));
    for _ in 0..n {
        let after = i64::from_le_bytes(input.array()?);
        let mut criterion = Criterion {
            types: input.names()?,
            tags: input.names()?,
            stream: input.text()?,
            correlation_id: input.text()?,
            causation_id: input.text()?,
            after: Some(after).filter(|&a| a > 0),
            ..Criterion::default()
        };
        if version == SECOND {
            criterion.any_tags = input.names()?;
            criterion.stream_prefix = input.text()?;
        }
        criteria.push(criterion);
    }
    if input.0.is_empty() {
        Ok(Query::new(criteria))
    } else {
        Err(damaged())
    }
}

/// The bytes that are left to be read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n).ok_or_else(damaged)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| damaged())
    }

    fn len(&mut self) -> Result<usize> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn string(&mut self) -> Result<String> {
        let n = self.len()?;
        let text = std::str::from_utf8(self.take(n)?).map_err(|_| damaged())?;
        Ok(text.to_owned())
    }

    fn text(&mut self) -> Result<Option<String>> {
        Ok(Some(self.string()?).filter(|s| !s.is_empty()))
    }

    fn names(&mut self) -> Result<Vec<String>> {
        let n = self.len()?;
        let mut names = Vec::with_capacity(n.min(1024));
        for _ in 0..n {
            names.push(self.string()?);
        }
        Ok(names)
    }
}

fn damaged() -> Error {
    Error::new(SqlState::DataCorrupted, "damaged value of type en57_query")
}
