//! JSONB in its binary form: walked in place, and made, with no round trip through text.

use std::ffi::CStr;

use pgrx::pg_sys::{self, Datum};

use crate::dcb::error::{Error, Result, SqlState};

use super::{fmgr, guard};

#[cfg(feature = "in-process-tests")]
pub mod fuzz;
#[cfg(feature = "in-process-tests")]
pub mod tests;

const IS_ARRAY: u32 = 0x4000_0000;
const IS_OBJECT: u32 = 0x2000_0000;
const IS_SCALAR: u32 = 0x1000_0000;
const COUNT_MASK: u32 = 0x0FFF_FFFF;
const HAS_OFFSET: u32 = 0x8000_0000;
const KIND_MASK: u32 = 0x7000_0000;
const LENGTH_MASK: u32 = 0x0FFF_FFFF;
const STRING: u32 = 0x0000_0000;
const NUMERIC: u32 = 0x1000_0000;
const FALSE: u32 = 0x2000_0000;
const TRUE: u32 = 0x3000_0000;
const NULL: u32 = 0x4000_0000;
const CONTAINER: u32 = 0x5000_0000;

/// The document null, from its first container on.
pub const NULL_DOCUMENT: [u8; 8] = {
    let header = (IS_ARRAY | IS_SCALAR | 1).to_ne_bytes();
    let entry = NULL.to_ne_bytes();
    [
        header[0], header[1], header[2], header[3], entry[0], entry[1], entry[2], entry[3],
    ]
};
/// The document {}, in the same way.
pub const EMPTY_OBJECT: [u8; 4] = IS_OBJECT.to_ne_bytes();

/// A container: the array or object at the root of a document or inside one.
#[derive(Clone, Copy)]
pub struct Jsonb<'a> {
    /// From the container's header on; may be longer than the container.
    bytes: &'a [u8],
}

/// A value inside a container.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// JSON null.
    Null,
    /// true or false.
    Bool(bool),
    /// A number: PostgreSQL's numeric, a whole varlena value.
    Number(&'a [u8]),
    /// A string.
    String(&'a str),
    /// An array or an object.
    Container(Jsonb<'a>),
}

impl<'a> Jsonb<'a> {
    /// The document of a `jsonb` datum, detoasted where need be.
    pub fn from_datum(datum: Datum) -> Self {
        Self {
            bytes: fmgr::varlena(datum),
        }
    }

    /// Its bytes, from its header on, as PostgreSQL has them.
    pub fn document(self) -> &'a [u8] {
        self.bytes
    }

    /// A number of its header. What is too short to have it is damaged, and no document.
    fn word(&self, n: usize) -> u32 {
        let word = self.bytes.get(n * 4..).and_then(|rest| rest.first_chunk());
        word.map_or_else(|| guard::unwind(damaged()), |w| u32::from_ne_bytes(*w))
    }

    /// How many elements, or pairs, it has.
    pub fn count(&self) -> usize {
        (self.word(0) & COUNT_MASK) as usize
    }

    /// Whether it is an object.
    pub fn is_object(&self) -> bool {
        self.word(0) & IS_OBJECT != 0
    }

    /// Whether it is an array (a scalar document is stored as an array of one; that is none).
    pub fn is_array(&self) -> bool {
        self.word(0) & (IS_ARRAY | IS_SCALAR) == IS_ARRAY
    }

    /// The values of an array in order, or an object's keys followed by its values. In a damaged document, too, they lie one
    /// behind the other: parts that overlap could hold each other so often that nobody comes to the end.
    fn children(self, count: usize) -> impl Iterator<Item = Result<Value<'a>>> {
        let base = 4 + count * 4;
        if base > self.bytes.len() {
            guard::unwind(damaged());
        }
        let values = &self.bytes[base..];
        let mut offset = 0;
        (0..count).map(move |i| {
            let entry = self.word(1 + i);
            let length = (entry & LENGTH_MASK) as usize;
            let start = offset;
            let end = if entry & HAS_OFFSET != 0 {
                length
            } else {
                start + length
            };
            offset = end.max(start);
            let aligned = start.next_multiple_of(4);
            let part = |from: usize| values.get(from..end).ok_or_else(damaged);
            if end < start {
                return Err(damaged());
            }
            Ok(match entry & KIND_MASK {
                STRING => Value::String(fmgr::utf8(part(start)?)?),
                NUMERIC => Value::Number(number(part(aligned)?)?),
                FALSE => Value::Bool(false),
                TRUE => Value::Bool(true),
                NULL => Value::Null,
                CONTAINER => {
                    let bytes = part(aligned)?;
                    if bytes.len() < 4 {
                        return Err(damaged());
                    }
                    Value::Container(Jsonb { bytes })
                }
                _ => return Err(damaged()),
            })
        })
    }

    /// An array's elements, or a scalar document's one.
    pub fn elements(self) -> impl Iterator<Item = Result<Value<'a>>> {
        self.children(self.count())
    }

    /// An object's pairs, in PostgreSQL's order of keys.
    pub fn pairs(self) -> impl Iterator<Item = Result<(&'a str, Value<'a>)>> {
        let n = self.count();
        let values = self.children(2 * n).skip(n);
        self.children(n * 2)
            .take(n)
            .zip(values)
            .map(|(key, value)| match key? {
                Value::String(key) => Ok((key, value?)),
                _ => Err(damaged()),
            })
    }

    /// The value of an object's key.
    ///
    /// # Errors
    /// 22P02 where a text is not UTF-8.
    pub fn get(self, key: &str) -> Result<Option<Value<'a>>> {
        for pair in self.pairs() {
            let (k, value) = pair?;
            if k == key {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }
}

impl<'a> Value<'a> {
    /// Its kind with the article, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Container(c) if c.is_object() => "an object",
            Self::Container(_) => "an array",
        }
    }

    /// A number as an integer, `None` where it is none that fits.
    pub fn as_i64(&self) -> Option<i64> {
        let Self::Number(bytes) = self else {
            return None;
        };
        let datum = copied(bytes);
        // SAFETY: the bytes are a numeric varlena, copied so as to be aligned.
        let text = unsafe {
            let raw = pgrx::direct_function_call_as_datum(pg_sys::numeric_out, &[Some(datum)])?;
            CStr::from_ptr(raw.cast_mut_ptr())
        };
        text.to_str().ok()?.parse().ok()
    }

    /// The bytes of the value as a document of its own, from its first container on.
    pub fn document(self) -> std::borrow::Cow<'a, [u8]> {
        match self {
            Self::Container(c) => c.bytes.into(),
            scalar => fmgr::varlena::<'a>(scalar.to_datum()).into(),
        }
    }

    /// The value as a document of its own, in the current memory context.
    pub fn to_datum(self) -> Datum {
        let scalar = |entry: u32, payload: &[u8]| {
            let mut bytes = Vec::with_capacity(8 + payload.len());
            bytes.extend_from_slice(&(IS_ARRAY | IS_SCALAR | 1).to_ne_bytes());
            bytes.extend_from_slice(&(entry | payload.len() as u32).to_ne_bytes());
            bytes.extend_from_slice(payload);
            fmgr::make_varlena(&bytes)
        };
        match self {
            Self::Null => scalar(NULL, &[]),
            Self::Bool(b) => scalar(if b { TRUE } else { FALSE }, &[]),
            Self::Number(bytes) => scalar(NUMERIC, bytes),
            Self::String(s) => scalar(STRING, s.as_bytes()),
            Self::Container(c) => fmgr::make_varlena(c.bytes),
        }
    }
}

/// What a document of a damaged row ends with.
fn damaged() -> Error {
    Error::new(SqlState::DataCorrupted, "damaged jsonb value")
}

/// A numeric, as long as it says: PostgreSQL believes that when it reads one. Nothing is compressed or elsewhere.
fn number(bytes: &[u8]) -> Result<&[u8]> {
    let (head, end) = match bytes {
        [first, ..] if first & 1 == 1 => (1, usize::from(first >> 1)),
        [first, second, third, fourth, ..] if first & 3 == 0 => {
            let word = u32::from_ne_bytes([*first, *second, *third, *fourth]);
            (4, (word >> 2) as usize)
        }
        _ => return Err(damaged()),
    };
    // Its own header has two bytes where the highest bit is set, otherwise four.
    let is_whole = match bytes.get(head..) {
        Some([_, high, rest @ ..]) => high & 0x80 != 0 || rest.len() >= 2,
        _ => false,
    };
    if is_whole && end == bytes.len() {
        Ok(bytes)
    } else {
        Err(damaged())
    }
}

fn copied(bytes: &[u8]) -> Datum {
    // SAFETY: palloc gives as many aligned, writable bytes.
    unsafe {
        let out: *mut u8 = pg_sys::palloc(bytes.len()).cast();
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), out, bytes.len());
        Datum::from(out)
    }
}

/// An object of strings. Keys must be given in PostgreSQL's order: by length, then by bytes.
pub fn string_object(pairs: &[(&str, &str)]) -> Datum {
    let mut bytes = Vec::with_capacity(64);
    bytes.extend_from_slice(&(IS_OBJECT | pairs.len() as u32).to_ne_bytes());
    let texts = || pairs.iter().map(|p| p.0).chain(pairs.iter().map(|p| p.1));
    texts().for_each(|t| bytes.extend_from_slice(&(STRING | t.len() as u32).to_ne_bytes()));
    texts().for_each(|t| bytes.extend_from_slice(t.as_bytes()));
    fmgr::make_varlena(&bytes)
}

/// Two objects as one; of a key that both have, the second one's value.
///
/// # Errors
/// XX000 never, unless PostgreSQL's own function returns NULL.
pub fn concat(a: Datum, b: Datum) -> Result<Datum> {
    // SAFETY: both are jsonb datums; the result is allocated in the current memory context.
    unsafe { pgrx::direct_function_call_as_datum(pg_sys::jsonb_concat, &[Some(a), Some(b)]) }
        .ok_or_else(|| Error::new(SqlState::Internal, "jsonb_concat returned NULL"))
}

/// Whether two documents are equal, as `=` has it.
pub fn equal(a: Datum, b: Datum) -> bool {
    // SAFETY: both are jsonb datums; detoasting copies them to aligned memory.
    unsafe {
        let a = pg_sys::pg_detoast_datum(a.cast_mut_ptr()).cast::<pg_sys::Jsonb>();
        let b = pg_sys::pg_detoast_datum(b.cast_mut_ptr()).cast::<pg_sys::Jsonb>();
        pg_sys::compareJsonbContainers(&raw mut (*a).root, &raw mut (*b).root) == 0
    }
}

/// The document's text.
///
/// # Errors
/// 22P02 where it is not UTF-8.
pub fn text<'a>(datum: Datum) -> Result<&'a str> {
    // SAFETY: a jsonb datum; the text is allocated in the current memory context and NUL-terminated.
    unsafe {
        let doc = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast::<pg_sys::Jsonb>();
        let size = (*doc.cast::<u32>() >> 2) as i32;
        let raw = pg_sys::JsonbToCString(std::ptr::null_mut(), &raw mut (*doc).root, size);
        fmgr::utf8(CStr::from_ptr(raw).to_bytes())
    }
}

/// Parses a text as jsonb, in the current memory context.
///
/// # Errors
/// 22P02 with `prefix` before the message.
pub fn parse(source: &str, prefix: &str) -> Result<Datum> {
    let source = guard::text(source);
    guard::retold(SqlState::InvalidText, prefix, || {
        let argument = Datum::from(source.as_ptr());
        // SAFETY: jsonb_in takes a cstring.
        unsafe { pgrx::direct_function_call_as_datum(pg_sys::jsonb_in, &[Some(argument)]) }
    })?
    .ok_or_else(|| Error::new(SqlState::InvalidText, format!("{prefix}invalid JSON")))
}
