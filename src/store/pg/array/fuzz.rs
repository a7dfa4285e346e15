//! Arrays whose bytes are changed at random, or made of random numbers: each is read or refused, and no byte behind it is read.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use pgrx::pg_sys::Datum;

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::pg::fmgr;
use crate::store::pg::in_process::fence::Fence;
use crate::store::pg::in_process::fuzz::{Random, cases, change};
use crate::store::pg::in_process::tests;
use crate::store::pg::spi;

use super::{TextArray, bigints};

tests![texts, numbers, what_once_broke];

/// Longer than any of the arrays.
const ROOM: usize = 60_000;

/// A varlena at the end of a fence, with a header of one byte where that is possible and wanted.
pub(in crate::store) fn fenced(fence: &mut Fence, bytes: &[u8], is_short: bool) -> Datum {
    let mut whole = if is_short && bytes.len() < 126 {
        vec![(bytes.len() as u8 + 1) << 1 | 1]
    } else {
        (((bytes.len() + 4) << 2) as u32).to_ne_bytes().to_vec()
    };
    whole.extend_from_slice(bytes);
    Datum::from(fence.put(&whole))
}

/// The bytes of arrays that PostgreSQL makes, without their length word.
fn sound(expressions: &[&str]) -> Result<Vec<Vec<u8>>> {
    let bytes = |expression: &&str| {
        let rows = spi::run(&format!("SELECT {expression}"), &[])?;
        let value = rows[0][0].ok_or_else(|| Error::new(SqlState::Internal, "it is NULL"))?;
        Ok(fmgr::varlena(value).to_vec())
    };
    expressions.iter().map(bytes).collect()
}

/// A header of any form, and elements of any lengths.
fn made(random: &mut Random, element_type: u32) -> Vec<u8> {
    let dimensions = random.one(&[0, 1, 1, 1, 1, 2, 3, 6, 7, u32::MAX, 1 << 31]);
    let has_marks = random.below(3) == 0;
    let mut bytes = Vec::new();
    let put = |bytes: &mut Vec<u8>, word: u32| bytes.extend_from_slice(&word.to_ne_bytes());
    put(&mut bytes, dimensions);
    put(&mut bytes, 0);
    put(&mut bytes, element_type);
    let lengths = dimensions.min(7) as usize;
    for _ in 0..lengths {
        let length = random.below(9) as u32;
        put(
            &mut bytes,
            if random.below(8) == 0 {
                random.word()
            } else {
                length
            },
        );
    }
    for _ in 0..lengths {
        put(&mut bytes, random.word());
    }
    if has_marks {
        let marks = random.one(&[0, 1, 2, 4, 8]);
        bytes.extend((0..marks).map(|_| random.one(&[0xFF, 0xFF, 0xFF, 0x7F, 0])));
        bytes.resize((bytes.len() + 4).next_multiple_of(8) - 4, 0);
        let offset = bytes.len() as u32 + 4;
        let offset = if random.below(4) == 0 {
            random.word()
        } else {
            offset
        };
        bytes[4..8].copy_from_slice(&offset.to_ne_bytes());
    }
    for _ in 0..random.below(9) {
        let length = random.below(20);
        match random.below(8) {
            // A header of one byte, one that says that the value is elsewhere, a compressed one, any one.
            0 | 1 => bytes.push((length as u8 + 1) << 1 | 1),
            2 => bytes.push(1),
            3 => put(&mut bytes, ((length as u32 + 4) << 2) | 2),
            4 => put(&mut bytes, random.word()),
            _ => put(&mut bytes, (length as u32 + 4) << 2),
        }
        bytes.extend((0..length).map(|_| b'a' + random.below(26) as u8));
        if random.below(8) > 0 {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
    }
    bytes
}

/// One of the arrays, changed or not, or one that is made; and which of them it is, where it was not changed.
fn array(random: &mut Random, sound: &[Vec<u8>], element_type: u32) -> (Vec<u8>, Option<usize>) {
    let which = random.below(sound.len());
    let (mut bytes, changes) = match random.below(4) {
        0 => (made(random, element_type), random.below(2)),
        _ => (sound[which].clone(), random.below(5)),
    };
    (0..changes).for_each(|_| change(random, &mut bytes));
    bytes.truncate(ROOM - 4);
    let is_sound = bytes == sound[which];
    (bytes, is_sound.then_some(which))
}

/// Runs what may end by unwinding with an error.
fn ended<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => result,
        Err(payload) => match payload.downcast::<Error>() {
            Ok(error) => Err(*error),
            Err(payload) => resume_unwind(payload),
        },
    }
}

fn texts_of(datum: Datum) -> Result<Vec<String>> {
    let array = TextArray::from_datum(datum, "tags ")?;
    let bytes: Result<Vec<Vec<u8>>> = ended(|| Ok(array.iter().map(<[u8]>::to_vec).collect()));
    let texts = array.texts();
    // Both ways to read them are of one mind, but for what is no text.
    match (&bytes, &texts) {
        (Ok(bytes), Ok(texts)) => assert!(
            bytes
                .iter()
                .map(Vec::as_slice)
                .eq(texts.iter().map(|t| t.as_bytes()))
        ),
        (Ok(_), Err(error)) => assert_eq!(error.state, SqlState::InvalidText),
        (Err(error), Err(_)) => assert_eq!(error.state, SqlState::DataCorrupted),
        (Err(error), Ok(_)) => panic!("{}", error.message),
    }
    Ok(texts?.into_iter().map(str::to_owned).collect())
}

fn end<T>(outcome: &Result<T>) -> &'static str {
    match outcome.as_ref().map_err(|e| e.state) {
        Ok(_) => "read",
        Err(SqlState::DataCorrupted) => "damaged",
        Err(SqlState::NullNotAllowed) => "with NULLs",
        Err(SqlState::InvalidParameter) => "refused",
        Err(SqlState::InvalidText) => "not UTF-8",
        Err(state) => panic!("{state:?} is no answer to damage"),
    }
}

fn texts() -> Result<()> {
    let sound = sound(&[
        "'{}'::text[]",
        "ARRAY['a']",
        "ARRAY['', 'é', 'course:1', 'student:22']",
        "'[-7:-5]={a,bb,ccc}'::text[]",
        "(ARRAY['a', 'bb', NULL])[1:2]",
        "ARRAY['a', NULL, 'ccc']",
        "ARRAY[['a', 'b'], ['c', 'd']]",
        "ARRAY[[[[[['a'], ['b']]]]]]",
        "ARRAY(SELECT repeat('x', n) FROM generate_series(0, 100) n)",
        "(ARRAY(SELECT CASE n WHEN 100 THEN NULL ELSE n::text END FROM generate_series(1, 100) n))[1:99]",
        "ARRAY[repeat('long', 5000), 'short']",
    ])?;
    let mut fence = Fence::new(ROOM);
    let mut expected = Vec::new();
    for bytes in &sound {
        expected.push(texts_of(fenced(&mut fence, bytes, false)));
    }
    assert_eq!(expected.iter().filter(|e| e.is_ok()).count(), 8);
    cases("text arrays", |random| {
        let (bytes, which) = array(random, &sound, 25);
        let outcome = texts_of(fenced(&mut fence, &bytes, random.below(2) == 0));
        if let Some(which) = which {
            assert_eq!(outcome, expected[which], "what is sound is read as it is");
        }
        if let Ok(texts) = &outcome {
            let all: usize = texts.iter().map(String::len).sum();
            assert!(all <= bytes.len(), "no element lies where another one does");
        }
        Ok(end(&outcome))
    })
}

fn numbers() -> Result<()> {
    let sound = sound(&[
        "'{}'::bigint[]",
        "ARRAY[57]::bigint[]",
        "ARRAY[1, -2, 9223372036854775807]::bigint[]",
        "'[0:2]={1,2,3}'::bigint[]",
        "(ARRAY[1, 2, NULL]::bigint[])[1:2]",
        "ARRAY[1, NULL]::bigint[]",
        "ARRAY[[1, 2], [3, 4]]::bigint[]",
        "ARRAY[[[[[[1], [2]]]]]]::bigint[]",
        "ARRAY(SELECT n FROM generate_series(1::bigint, 500) n)",
    ])?;
    let mut fence = Fence::new(ROOM);
    let mut expected = Vec::new();
    for bytes in &sound {
        expected.push(bigints(fenced(&mut fence, bytes, false)));
    }
    assert_eq!(expected.iter().filter(|e| e.is_ok()).count(), 8);
    cases("bigint arrays", |random| {
        let (bytes, which) = array(random, &sound, 20);
        let outcome = bigints(fenced(&mut fence, &bytes, random.below(2) == 0));
        if let Some(which) = which {
            assert_eq!(outcome, expected[which], "what is sound is read as it is");
        }
        if let Ok(numbers) = &outcome {
            assert!(numbers.len() * 8 <= bytes.len());
        }
        Ok(end(&outcome))
    })
}

/// Forms that were met, and ended in an error that says nothing, or were read beyond their end.
fn what_once_broke() {
    let array = |words: &[u32], rest: &[u8]| {
        let mut bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        bytes.extend_from_slice(rest);
        bytes
    };
    let mut fence = Fence::new(ROOM);
    let damaged = "damaged";
    for (bytes, as_texts, as_numbers) in [
        // Cut off.
        (array(&[], &[]), damaged, damaged),
        (array(&[1, 0, 25], &[]), damaged, damaged),
        (array(&[1, 0, 25, 3, 1], &[]), damaged, damaged),
        // More dimensions than there are, and fewer than none.
        (array(&[7, 0, 25, 1, 1, 1, 1], &[]), damaged, damaged),
        (array(&[u32::MAX, 0, 25, 1, 1], &[]), damaged, damaged),
        // A negative length, and one of which the product is beyond all numbers.
        (array(&[1, 0, 25, u32::MAX, 1], &[]), damaged, damaged),
        (
            array(
                &[
                    6,
                    0,
                    20,
                    1 << 30,
                    1 << 30,
                    1 << 30,
                    9,
                    9,
                    9,
                    1,
                    1,
                    1,
                    1,
                    1,
                    1,
                ],
                &[],
            ),
            "refused",
            damaged,
        ),
        // Marks of NULLs that are not there, and elements before the array.
        (array(&[1, 32, 25, 800, 1], &[0xFF; 8]), damaged, damaged),
        (array(&[1, 3, 25, 1, 1], &[0xFF; 8]), damaged, damaged),
        (
            array(&[1, u32::MAX, 25, 1, 1], &[0xFF; 8]),
            damaged,
            damaged,
        ),
        // An element elsewhere, a compressed one, and those that are shorter than their header.
        (array(&[1, 0, 25, 1, 1], &[1, 18, 0, 0]), damaged, damaged),
        (
            array(&[1, 0, 25, 1, 1, 6 << 2 | 2], b"ab"),
            damaged,
            damaged,
        ),
        (array(&[1, 0, 25, 1, 1, 0], &[]), damaged, damaged),
        (array(&[1, 0, 25, 1, 1, 3 << 2], b"ab"), damaged, damaged),
        // An element that is longer than the array.
        (array(&[1, 0, 25, 1, 1, 9 << 2], b"abc"), damaged, damaged),
        (array(&[1, 0, 25, 1, 1], &[0xFF, b'a']), damaged, damaged),
    ] {
        for is_short in [false, true] {
            let datum = fenced(&mut fence, &bytes, is_short);
            assert_eq!(end(&texts_of(datum)), as_texts, "{bytes:?}");
            assert_eq!(end(&bigints(datum)), as_numbers, "{bytes:?}");
        }
    }
}
