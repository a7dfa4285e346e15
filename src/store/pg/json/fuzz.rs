//! Binary documents whose bytes are changed at random: each is read or told of as damaged, no byte behind it is read, and what
//! is read of it is never more than what it holds.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::dcb::error::{Error, Result, SqlState};
use crate::dcb::schema::Schema;
use crate::store::pg::array::fuzz::fenced;
use crate::store::pg::fmgr;
use crate::store::pg::in_process::fence::Fence;
use crate::store::pg::in_process::fuzz::{Random, cases, change};
use crate::store::pg::in_process::tests;
use crate::store::pg::stack;

use super::{
    CONTAINER, HAS_OFFSET, IS_ARRAY, IS_OBJECT, IS_SCALAR, Jsonb, NULL, NUMERIC, Value, parse,
};

tests![
    documents,
    parts_that_overlap,
    checked_by_schemas,
    what_once_broke
];

/// Longer than any of the documents.
const ROOM: usize = 60_000;

/// Documents that PostgreSQL makes.
fn sound() -> Result<Vec<Vec<u8>>> {
    let long: Vec<String> = (0..100)
        .map(|n| format!("\"k{n}\": [{n}, \"{n}\"]"))
        .collect();
    let deep = format!("{}1{}", "{\"a\": [".repeat(200), "]}".repeat(200));
    let long = format!("{{{}}}", long.join(","));
    let sources = [
        "null",
        "1.5",
        "\"text\"",
        "[]",
        "{}",
        "[null, true, false, 1, \"a\", [2], {\"b\": 3}]",
        "{\"a\": null, \"b\": true, \"c\": -0.25, \"d\": \"x\", \"e\": [2, [3, [4]]], \"f\": {\"g\": 1e300}}",
        "{\"correlation_id\": \"7\", \"causation_id\": \"é\", \"serializer\": {\"data\": {\"k\": \"Symbol\"}}}",
        &long,
        &deep,
    ];
    let bytes = |source: &&str| Ok(fmgr::varlena(parse(source, "")?).to_vec());
    sources.iter().map(bytes).collect()
}

/// One of them, changed or not; and whether it was.
fn document(random: &mut Random, sound: &[Vec<u8>]) -> (Vec<u8>, bool) {
    let which = random.below(sound.len());
    let mut bytes = sound[which].clone();
    for _ in 0..random.below(5) {
        if random.below(3) == 0 && bytes.len() >= 8 {
            // A header, or what says of a part what it is and how long.
            let at = random.below((bytes.len() / 4).min(16)) * 4;
            let kind = random.one(&[
                0,
                NUMERIC,
                NULL,
                CONTAINER,
                7 << 28,
                IS_ARRAY,
                IS_OBJECT,
                IS_ARRAY | IS_SCALAR,
            ]);
            let offset = random.one(&[0, HAS_OFFSET]);
            let word = kind | offset | random.below(bytes.len() + 8) as u32;
            bytes[at..at + 4].copy_from_slice(&word.to_ne_bytes());
        } else {
            change(random, &mut bytes);
        }
    }
    bytes.truncate(ROOM - 4);
    let is_sound = bytes == sound[which];
    (bytes, is_sound)
}

/// Reads all there is, in every way that there is. How many values that were.
fn read(of: Jsonb, depth: usize) -> Result<usize> {
    stack::look();
    let mut values = 1;
    if of.is_object() {
        for pair in of.pairs() {
            let (key, value) = pair?;
            values += key.len() / 1000 + read_value(value, depth)?;
        }
        of.get("a")?;
        of.get("no such key")?;
    } else {
        for value in of.elements() {
            values += read_value(value?, depth)?;
        }
    }
    Ok(values)
}

fn read_value(value: Value, depth: usize) -> Result<usize> {
    value.kind();
    match value {
        Value::Container(inner) => {
            assert!(depth < ROOM / 4, "each part lies within its whole");
            read(inner, depth + 1)
        }
        Value::Number(bytes) => {
            value.as_i64();
            assert_eq!(value.document().len(), 8 + bytes.len());
            Ok(1)
        }
        scalar => {
            scalar.document();
            Ok(1)
        }
    }
}

fn read_all(bytes: &[u8], fence: &mut Fence, is_short: bool) -> Result<usize> {
    let datum = fenced(fence, bytes, is_short);
    match catch_unwind(AssertUnwindSafe(|| read(Jsonb::from_datum(datum), 0))) {
        Ok(outcome) => outcome,
        Err(payload) => match payload.downcast::<Error>() {
            Ok(error) => Err(*error),
            Err(payload) => resume_unwind(payload),
        },
    }
}

fn end(outcome: &Result<usize>) -> &'static str {
    match outcome.as_ref().map_err(|e| e.state) {
        Ok(_) => "read",
        Err(SqlState::DataCorrupted) => "damaged",
        Err(SqlState::InvalidText) => "not UTF-8",
        Err(state) => panic!("{state:?} is no answer to damage"),
    }
}

fn documents() -> Result<()> {
    let sound = sound()?;
    let mut fence = Fence::new(ROOM);
    cases("documents", |random| {
        let (bytes, is_sound) = document(random, &sound);
        let outcome = read_all(&bytes, &mut fence, random.below(2) == 0);
        assert!(outcome.is_ok() || !is_sound, "what is sound is read");
        if let Ok(values) = outcome {
            assert!(
                values <= 1 + bytes.len() / 4,
                "{values} values in {} bytes",
                bytes.len()
            );
        }
        Ok(end(&outcome))
    })
}

/// Each level holds the next one twice: at 50 levels nobody would come to the end.
fn parts_that_overlap() {
    let mut bytes = (IS_ARRAY | IS_SCALAR | 1).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&NULL.to_ne_bytes());
    for _ in 0..50 {
        let length = bytes.len() as u32;
        let words = [
            IS_ARRAY | 3,
            CONTAINER | length,
            NULL | HAS_OFFSET,
            CONTAINER | length,
        ];
        let header = words.map(u32::to_ne_bytes).concat();
        bytes.splice(0..0, header);
    }
    let outcome = read_all(&bytes, &mut Fence::new(ROOM), false);
    assert_eq!(end(&outcome), "damaged");
}

/// The validator of schemas reads documents with code of its own. It may end by a panic, which is an error for the client.
fn checked_by_schemas() -> Result<()> {
    let schema = Schema::compile(
        "{\"type\": [\"object\", \"array\"], \"properties\": {\"a\": {\"$ref\": \"#\"}, \"b\": {\"enum\": [1, true, \"x\"]},
          \"c\": {\"multipleOf\": 0.5}}, \"additionalProperties\": {\"anyOf\": [{\"pattern\": \"^a\"}, {\"minimum\": 0}, {\"$ref\": \"#\"}]},
          \"items\": {\"anyOf\": [{\"$ref\": \"#\"}, {\"maxLength\": 3}]}, \"uniqueItems\": true}",
        "json_schema",
        false,
    )?;
    let sound = sound()?;
    let mut fence = Fence::new(ROOM);
    cases("documents for schemas", |random| {
        let (bytes, is_sound) = document(random, &sound);
        let datum = fenced(&mut fence, &bytes, false);
        let faults = || schema.faults(fmgr::varlena(datum), 5, stack::look).len();
        match catch_unwind(AssertUnwindSafe(faults)) {
            Ok(0) => Ok("fit"),
            Ok(_) => Ok("do not fit"),
            Err(payload) if is_sound || !payload.is::<String>() && !payload.is::<&str>() => {
                resume_unwind(payload)
            }
            Err(_) => Ok("damaged"),
        }
    })
}

/// Forms that were met, and ended in an error that says nothing, or were read beyond their end.
fn what_once_broke() {
    let mut fence = Fence::new(ROOM);
    let one = IS_ARRAY | 1;
    for words in [
        &[][..],
        // Fewer parts than it says.
        &[IS_OBJECT | 0x0FFF_FFFF],
        &[IS_ARRAY | 2, NULL],
        // A part that is not there, one that is no container, and one of no kind.
        &[one, 9],
        &[one, CONTAINER],
        &[one, 6 << 28],
        // Numbers that say that they are longer, elsewhere, compressed, or shorter than their own header.
        &[one, NUMERIC | 8, 40 << 2, 0x8000],
        &[one, NUMERIC | 8, 0x1201, 0x8000],
        &[one, NUMERIC | 8, 8 << 2 | 2, 0x8000],
        &[one, NUMERIC | 4, 4 << 2],
        &[one, NUMERIC],
        // A part that ends before it begins.
        &[IS_ARRAY | 2, 4, HAS_OFFSET | 2, 0x6161_6161],
    ] {
        let bytes: Vec<u8> = words.iter().flat_map(|w: &u32| w.to_ne_bytes()).collect();
        let outcome = read_all(&bytes, &mut fence, false);
        assert_eq!(end(&outcome), "damaged", "{words:x?}");
    }
}
