//! Text arrays: reading the tags of a row in place, and making them.

use pgrx::pg_sys::{self, Datum};

use crate::dcb::error::{Error, Result, SqlState, invalid};

use super::fmgr;

#[cfg(feature = "in-process-tests")]
pub mod tests;

/// The elements of a one-dimensional text array, borrowed from the array's memory.
#[derive(Clone, Copy)]
pub struct TextArray<'a> {
    /// The elements one after the other, each with its header and padding.
    elements: &'a [u8],
    count: usize,
}

// Offsets in an array without its length word: dimensions, offset of the data (0: no marks of NULLs), element
// type, then for each dimension its length and lower bound.
const DIMENSIONS: usize = 0;
const DATA_OFFSET: usize = 4;
const FIRST_LENGTH: usize = 12;
const ONE_DIMENSION_DATA: usize = 20;

impl<'a> TextArray<'a> {
    /// Reads a `text[]` datum.
    ///
    /// # Errors
    /// 22023 where it has NULLs or several dimensions, with `prefix` before the message.
    pub fn from_datum(datum: Datum, prefix: &str) -> Result<Self> {
        let bytes: &[u8] = fmgr::varlena(datum);
        let word = |at: usize| {
            i32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        match word(DIMENSIONS) {
            0 => Ok(Self {
                elements: &[],
                count: 0,
            }),
            1 => {
                let count = word(FIRST_LENGTH) as usize;
                let rest = &bytes[ONE_DIMENSION_DATA..];
                let elements = match word(DATA_OFFSET) as usize {
                    0 => rest,
                    _ if has_nulls(rest, count) => {
                        return Err(Error::new(
                            SqlState::NullNotAllowed,
                            format!("{prefix}must not contain NULL"),
                        ));
                    }
                    // It counts the length word, too. A slice of an array that has NULLs elsewhere.
                    offset => &bytes[offset - 4..],
                };
                Ok(Self { elements, count })
            }
            _ => Err(invalid(format!("{prefix}must have one dimension"))),
        }
    }

    /// Its elements as bytes. The array's own start is 4 bytes before `elements` modulo alignment, so
    /// element headers lie at multiples of 4 of `elements`.
    pub fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.elements;
        (0..self.count).map(move |_| {
            let (head, len) = if rest[0] & 1 == 1 {
                (1, usize::from(rest[0] >> 1) - 1)
            } else {
                let word = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]);
                (4, (word >> 2) as usize - 4)
            };
            let element = &rest[head..head + len];
            rest = &rest[(head + len).next_multiple_of(4).min(rest.len())..];
            element
        })
    }

    /// Its elements as texts.
    ///
    /// # Errors
    /// 22P02 where one is not UTF-8.
    pub fn texts(self) -> Result<Vec<&'a str>> {
        self.iter().map(fmgr::utf8).collect()
    }
}

/// Whether an array's marks, one bit for each element that is not NULL, tell of any NULL.
fn has_nulls(marks: &[u8], count: usize) -> bool {
    (0..count).any(|n| marks[n / 8] & (1 << (n % 8)) == 0)
}

/// A `text[]` in the current memory context, in the form that PostgreSQL itself writes.
pub fn make<T: AsRef<str>>(texts: &[T]) -> Datum {
    let mut bytes = Vec::with_capacity(ONE_DIMENSION_DATA + texts.len() * 16);
    let put = |bytes: &mut Vec<u8>, word: i32| bytes.extend_from_slice(&word.to_ne_bytes());
    put(&mut bytes, i32::from(!texts.is_empty()));
    put(&mut bytes, 0);
    put(&mut bytes, pg_sys::TEXTOID.to_u32() as i32);
    if !texts.is_empty() {
        put(&mut bytes, texts.len() as i32);
        put(&mut bytes, 1);
    }
    for text in texts {
        let text = text.as_ref();
        put(&mut bytes, ((text.len() + 4) << 2) as i32);
        bytes.extend_from_slice(text.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    fmgr::make_varlena(&bytes)
}

/// A `bigint[]` datum's elements; of several dimensions one after the other.
///
/// # Errors
/// 22023 where it has NULLs.
pub fn bigints(datum: Datum) -> Result<Vec<i64>> {
    // SAFETY: the index's key column is declared bigint[]; deconstruct_array takes any number of
    // dimensions, and allocates in the current memory context.
    unsafe {
        let array = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
        let (mut elements, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
        pg_sys::deconstruct_array(
            array,
            pg_sys::INT8OID,
            8,
            true,
            pg_sys::TYPALIGN_DOUBLE as _,
            &mut elements,
            &mut nulls,
            &mut count,
        );
        let is_null = std::slice::from_raw_parts(nulls, count as usize);
        if is_null.iter().any(|n| *n) {
            return Err(invalid("keys must not contain NULL"));
        }
        let values = std::slice::from_raw_parts(elements, count as usize);
        Ok(values.iter().map(|d| d.value() as i64).collect())
    }
}

/// A `bigint[]` in the current memory context.
pub fn make_bigints(values: &[i64]) -> Datum {
    let mut datums: Vec<Datum> = values.iter().map(|v| Datum::from(*v)).collect();
    // SAFETY: the datums are passed by value; the array is allocated in the current memory context.
    unsafe {
        Datum::from(pg_sys::construct_array(
            datums.as_mut_ptr(),
            datums.len() as i32,
            pg_sys::INT8OID,
            8,
            true,
            pg_sys::TYPALIGN_DOUBLE as _,
        ))
    }
}

/// A `uuid[]` in the current memory context.
pub fn make_uuids(values: &[[u8; 16]]) -> Datum {
    let mut datums: Vec<Datum> = values.iter().map(|v| Datum::from(v.as_ptr())).collect();
    // SAFETY: a uuid is its 16 bytes, passed by reference to what `values` keeps during the call; the array is allocated
    // in the current memory context.
    unsafe {
        Datum::from(pg_sys::construct_array(
            datums.as_mut_ptr(),
            datums.len() as i32,
            pg_sys::UUIDOID,
            16,
            false,
            pg_sys::TYPALIGN_CHAR as _,
        ))
    }
}
