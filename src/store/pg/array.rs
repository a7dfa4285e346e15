//! Text arrays: reading the tags of a row in place, and making them.

use pgrx::pg_sys::{self, Datum};

use crate::dcb::error::{Error, Result, SqlState, invalid};

use super::{fmgr, guard};

#[cfg(feature = "in-process-tests")]
pub mod fuzz;
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
// type, then for each dimension its length, and for each its lower bound.
const DIMENSIONS: usize = 0;
const DATA_OFFSET: usize = 4;
const FIRST_LENGTH: usize = 12;
const ONE_DIMENSION_DATA: usize = 20;
/// MAXDIM.
const MOST_DIMENSIONS: i32 = 6;

/// What an array of a damaged row, or one that was made by hand, ends with: nothing of it is read that is not its own.
fn damaged() -> Error {
    Error::new(SqlState::DataCorrupted, "damaged array")
}

/// A number of an array's header.
fn word(bytes: &[u8], at: usize) -> Result<i32> {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    word.map(|w| i32::from_ne_bytes(*w)).ok_or_else(damaged)
}

/// Whether any element is NULL, and where the elements begin, behind marks of NULLs if there are any; `plain` is where they
/// begin without.
fn data(bytes: &[u8], count: usize, plain: usize, marks: usize) -> Result<(bool, &[u8])> {
    let offset = word(bytes, DATA_OFFSET)?;
    if offset == 0 {
        return bytes.get(plain..).map(|d| (false, d)).ok_or_else(damaged);
    }
    let marks = bytes
        .get(marks..)
        .and_then(|rest| rest.get(..count.div_ceil(8)))
        .ok_or_else(damaged)?;
    let has_nulls = (0..count).any(|n| marks[n / 8] & (1 << (n % 8)) == 0);
    // It counts the length word, too. A slice of an array that has NULLs elsewhere may have marks without any.
    let data = usize::try_from(offset)
        .ok()
        .and_then(|offset| bytes.get(offset.checked_sub(4)?..));
    data.map(|d| (has_nulls, d)).ok_or_else(damaged)
}

impl<'a> TextArray<'a> {
    /// Reads a `text[]` datum.
    ///
    /// # Errors
    /// 22023 where it has several dimensions, 22004 where it has NULLs, with `prefix` before the message; XX001 where it is
    /// damaged.
    pub fn from_datum(datum: Datum, prefix: &str) -> Result<Self> {
        let bytes: &[u8] = fmgr::varlena(datum);
        match word(bytes, DIMENSIONS)? {
            0 => Ok(Self {
                elements: &[],
                count: 0,
            }),
            1 => {
                let count = usize::try_from(word(bytes, FIRST_LENGTH)?).map_err(|_| damaged())?;
                let (has_nulls, elements) =
                    data(bytes, count, ONE_DIMENSION_DATA, ONE_DIMENSION_DATA)?;
                if has_nulls {
                    return Err(Error::new(
                        SqlState::NullNotAllowed,
                        format!("{prefix}must not contain NULL"),
                    ));
                }
                Ok(Self { elements, count })
            }
            2..=MOST_DIMENSIONS => Err(invalid(format!("{prefix}must have one dimension"))),
            _ => Err(damaged()),
        }
    }

    /// Its elements as bytes.
    ///
    /// # Panics
    /// With an error, XX001, where the array is damaged.
    pub fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        self.checked()
            .map(|element| element.unwrap_or_else(|| guard::unwind(damaged())))
    }

    /// The array's own start is 4 bytes before `elements` modulo alignment, so element headers lie at multiples of 4 of
    /// `elements`. `None` is a damaged one; nothing follows it.
    fn checked(self) -> impl Iterator<Item = Option<&'a [u8]>> {
        let (mut rest, mut left) = (self.elements, self.count);
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let element = element(rest);
            match element {
                Some((_, end)) => rest = rest.get(end.next_multiple_of(4)..).unwrap_or_default(),
                None => left = 0,
            }
            Some(element.map(|(bytes, _)| bytes))
        })
    }

    /// Its elements as texts.
    ///
    /// # Errors
    /// 22P02 where one is not UTF-8, XX001 where the array is damaged.
    pub fn texts(self) -> Result<Vec<&'a str>> {
        self.checked()
            .map(|element| fmgr::utf8(element.ok_or_else(damaged)?))
            .collect()
    }
}

/// The element at the start, and where it ends. In an array PostgreSQL keeps none compressed or elsewhere.
#[inline]
fn element(rest: &[u8]) -> Option<(&[u8], usize)> {
    let first = *rest.first()?;
    let (head, end) = if first & 1 == 1 {
        (1, usize::from(first >> 1))
    } else if first & 2 == 0 {
        (4, (u32::from_ne_bytes(*rest.first_chunk()?) >> 2) as usize)
    } else {
        return None;
    };
    Some((rest.get(head..end)?, end))
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
/// 22023 where it has NULLs, XX001 where it is damaged.
pub fn bigints(datum: Datum) -> Result<Vec<i64>> {
    let bytes: &[u8] = fmgr::varlena(datum);
    let dimensions = word(bytes, DIMENSIONS)?;
    if !(0..=MOST_DIMENSIONS).contains(&dimensions) {
        return Err(damaged());
    }
    if dimensions == 0 {
        return Ok(Vec::new());
    }
    let dimensions = dimensions as usize;
    let count = (0..dimensions).try_fold(1usize, |product, n| {
        let length = usize::try_from(word(bytes, FIRST_LENGTH + 4 * n)?).ok();
        let product = length.and_then(|length| product.checked_mul(length));
        product.ok_or_else(damaged)
    })?;
    let marks = FIRST_LENGTH + 8 * dimensions;
    // The elements are aligned, and the length word counts there.
    let plain = (4 + marks).next_multiple_of(8) - 4;
    let (has_nulls, elements) = data(bytes, count, plain, marks)?;
    if has_nulls {
        return Err(invalid("keys must not contain NULL"));
    }
    let elements = elements
        .as_chunks::<8>()
        .0
        .get(..count)
        .ok_or_else(damaged)?;
    Ok(elements.iter().map(|e| i64::from_ne_bytes(*e)).collect())
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
