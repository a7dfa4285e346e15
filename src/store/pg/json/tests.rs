//! Binary documents: PostgreSQL makes them, and what is walked must be what it says of them; and some that it would not make.

use std::panic::catch_unwind;

use pgrx::pg_sys::{self, Datum};

use crate::dcb::error::{Result, SqlState};
use crate::store::pg::fmgr;
use crate::store::pg::in_process::tests;
use crate::store::pg::spi::{self, Type};
use crate::store::pg::subtransaction::in_subtransaction;

use super::{EMPTY_OBJECT, Jsonb, NULL_DOCUMENT, Value, concat, equal, parse, string_object, text};

tests![
    every_kind,
    numbers_behind_texts_of_every_length,
    long_arrays_and_objects,
    deep_nesting,
    keys_in_their_order,
    documents_of_values,
    constants,
    objects_of_texts,
    objects_as_one,
    equal_documents,
    whole_numbers,
    kinds_in_words,
    documents_as_tables_hold_them,
    texts_that_are_not_utf8,
    key_that_is_no_text,
    document_that_is_cut_off,
    text_that_is_no_document,
];

fn document(source: &str) -> Result<Jsonb<'static>> {
    Ok(Jsonb::from_datum(parse(source, "")?))
}

/// A document as PostgreSQL writes it, walked here; scalars are written by PostgreSQL.
fn written(of: Jsonb) -> Result<String> {
    if of.is_object() {
        let pairs: Result<Vec<String>> = of
            .pairs()
            .map(|pair| {
                let (key, value) = pair?;
                Ok(format!(
                    "{}: {}",
                    value_written(Value::String(key))?,
                    value_written(value)?
                ))
            })
            .collect();
        return Ok(format!("{{{}}}", pairs?.join(", ")));
    }
    let elements: Result<Vec<String>> = of.elements().map(|e| value_written(e?)).collect();
    let elements = elements?.join(", ");
    Ok(if of.is_array() {
        format!("[{elements}]")
    } else {
        elements
    })
}

fn value_written(value: Value) -> Result<String> {
    match value {
        Value::Container(inner) => written(inner),
        scalar => Ok(text(scalar.to_datum())?.to_owned()),
    }
}

/// Walks a document, and its parts as documents of their own.
fn compare(source: &str) -> Result<()> {
    let datum = parse(source, "")?;
    assert_eq!(written(Jsonb::from_datum(datum))?, text(datum)?, "{source}");
    Ok(())
}

fn every_kind() -> Result<()> {
    for source in [
        "null",
        "true",
        "false",
        "0",
        "-1",
        "1.50",
        "1e300",
        "-1e-300",
        "\"\"",
        "\"text\"",
        "\"\\u00e9\\u4e2d\\ud83d\\ude00 \\\" \\\\ \\n\"",
        "[]",
        "{}",
        "[[]]",
        "[{}]",
        "{\"\": {}}",
        "[null, true, false, 1, \"a\", [2], {\"b\": 3}]",
        "{\"a\": null, \"b\": true, \"c\": false, \"d\": 1, \"e\": \"x\", \"f\": [2], \"g\": {\"h\": 3}}",
        "[1, [2, [3, [4, [\"five\", {\"six\": [7]}]]]]]",
        "{\"a\": {\"b\": {\"c\": [{\"d\": {}}, []]}}}",
        "123456789012345678901234567890123456789012345678901234567890.000000000000001",
    ] {
        compare(source)?;
    }
    compare(&format!("\"{}\"", "long ".repeat(3000)))
}

/// Numbers and containers are aligned, texts are not: so they stand at different distances from what is before them.
fn numbers_behind_texts_of_every_length() -> Result<()> {
    for length in 0..9 {
        let filler = "x".repeat(length);
        compare(&format!(
            "[\"{filler}\", 12, \"{filler}\", [1], \"{filler}\", {{\"k\": 0.5}}]"
        ))?;
        compare(&format!(
            "{{\"{filler}\": 12, \"a{filler}\": \"{filler}\", \"bb{filler}\": [3]}}"
        ))?;
        compare(&format!(
            "[\"{filler}\", true, null, 99999, \"{filler}\", false]"
        ))?;
    }
    Ok(())
}

/// Of every 32nd value the offset is kept in place of the length.
fn long_arrays_and_objects() -> Result<()> {
    for count in [1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1000] {
        let elements: Vec<String> = (0..count)
            .map(|n| match n % 4 {
                0 => n.to_string(),
                1 => format!("\"{}\"", "t".repeat(n % 7)),
                2 => format!("[{n}]"),
                _ => "null".to_owned(),
            })
            .collect();
        compare(&format!("[{}]", elements.join(",")))?;
        let pairs: Vec<String> = elements
            .iter()
            .enumerate()
            .map(|(n, e)| format!("\"key{n}\": {e}"))
            .collect();
        let source = format!("{{{}}}", pairs.join(","));
        compare(&source)?;
        let object = document(&source)?;
        assert_eq!(object.count(), count);
        for (n, element) in elements.iter().enumerate() {
            let found = object.get(&format!("key{n}"))?;
            let found = found.map(value_written).transpose()?;
            assert_eq!(found.as_deref(), Some(text(parse(element, "")?)?));
        }
        assert!(object.get("key")?.is_none() && object.get("key1000")?.is_none());
    }
    Ok(())
}

fn deep_nesting() -> Result<()> {
    let depth = 400;
    compare(&format!("{}1{}", "[".repeat(depth), "]".repeat(depth)))?;
    compare(&format!(
        "{}1{}",
        "{\"k\": ".repeat(depth),
        "}".repeat(depth)
    ))
}

/// By length, then by bytes; of a key that is given twice the last value counts.
fn keys_in_their_order() -> Result<()> {
    let object = document("{\"bb\": 1, \"a\": 2, \"ab\": 3, \"\": 4, \"b\": 5, \"a\": 6}")?;
    let keys: Result<Vec<&str>> = object.pairs().map(|p| Ok(p?.0)).collect();
    assert_eq!(keys?, ["", "a", "b", "ab", "bb"]);
    let last = object.get("a")?.and_then(|v| v.as_i64());
    assert_eq!(last, Some(6));
    Ok(())
}

/// A part of a document as one of its own: equal to what PostgreSQL makes of its text.
fn documents_of_values() -> Result<()> {
    let whole = document("[null, true, false, 1.5, \"text\", [1, \"a\"], {\"k\": []}]")?;
    for value in whole.elements() {
        let value = value?;
        let datum = value.to_datum();
        assert!(equal(datum, parse(text(datum)?, "")?), "{}", text(datum)?);
        assert_eq!(written(Jsonb::from_datum(datum))?, value_written(value)?);
        assert_eq!(value.document().as_ref(), fmgr::varlena(datum));
    }
    Ok(())
}

fn constants() -> Result<()> {
    let [null, object] = [&NULL_DOCUMENT[..], &EMPTY_OBJECT].map(fmgr::make_varlena);
    assert!(equal(null, parse("null", "")?) && text(null)? == "null");
    assert!(equal(object, parse("{}", "")?) && text(object)? == "{}");
    let null = document("null")?;
    assert!(!null.is_array() && !null.is_object() && null.count() == 1);
    assert!(document("[]")?.is_array() && document("{}")?.is_object());
    Ok(())
}

fn objects_of_texts() -> Result<()> {
    for (pairs, source) in [
        (&[][..], "{}"),
        (&[("a", "")], "{\"a\": \"\"}"),
        (
            &[("a", "x"), ("b", "é"), ("aa", "\"\\")],
            "{\"a\": \"x\", \"b\": \"é\", \"aa\": \"\\\"\\\\\"}",
        ),
    ] {
        let made = string_object(pairs);
        let expected = parse(source, "")?;
        assert!(equal(made, expected), "{source}");
        assert_eq!(text(made)?, text(expected)?);
    }
    Ok(())
}

fn objects_as_one() -> Result<()> {
    let both = concat(
        parse("{\"a\": 1, \"b\": 2}", "")?,
        parse("{\"b\": [3], \"c\": 4}", "")?,
    )?;
    assert_eq!(text(both)?, "{\"a\": 1, \"b\": [3], \"c\": 4}");
    Ok(())
}

fn equal_documents() -> Result<()> {
    for (a, b, expected) in [
        ("1.0", "1.00", true),
        ("{\"a\": 1, \"b\": 2}", "{\"b\": 2, \"a\": 1}", true),
        ("[1, 2]", "[2, 1]", false),
        ("[1]", "1", false),
        ("null", "{}", false),
    ] {
        assert_eq!(equal(parse(a, "")?, parse(b, "")?), expected, "{a} and {b}");
    }
    Ok(())
}

fn whole_numbers() -> Result<()> {
    for (source, expected) in [
        ("0", Some(0)),
        ("-1", Some(-1)),
        ("1e3", Some(1000)),
        ("9223372036854775807", Some(i64::MAX)),
        ("-9223372036854775808", Some(i64::MIN)),
        ("9223372036854775808", None),
        ("1.5", None),
        ("\"1\"", None),
        ("true", None),
        ("[1]", None),
    ] {
        // Not first, so that it may stand at any distance.
        let array = document(&format!("[\"x\", {source}]"))?;
        let value = array.elements().nth(1).transpose()?;
        assert_eq!(value.and_then(|v| v.as_i64()), expected, "{source}");
    }
    Ok(())
}

fn kinds_in_words() -> Result<()> {
    let all = document("[null, true, 1, \"a\", [], {}]")?;
    let kinds: Result<Vec<&str>> = all.elements().map(|v| Ok(v?.kind())).collect();
    let expected = [
        "null",
        "a boolean",
        "a number",
        "a string",
        "an array",
        "an object",
    ];
    assert_eq!(kinds?, expected);
    Ok(())
}

/// With a header of one byte, compressed, and outside of the row, compressed or not.
fn documents_as_tables_hold_them() -> Result<()> {
    spi::command(
        "CREATE TABLE public.sample (n int, plain jsonb, wide jsonb);
         ALTER TABLE public.sample ALTER wide SET STORAGE EXTERNAL",
    )?;
    let small = "{\"a\": [1, 2.5, \"x\", null], \"b\": {\"c\": true}}".to_owned();
    let medium = format!("{{\"a\": \"{}\", \"b\": 12}}", "repeat ".repeat(700));
    let large = format!(
        "{{\"a\": \"{}\", \"b\": [12, {{}}]}}",
        "repeat ".repeat(90_000)
    );
    for (n, source) in (1..).zip([&small, &medium, &large]) {
        spi::run(
            "INSERT INTO public.sample VALUES ($1, $2::jsonb, $2::jsonb)",
            &[
                (Type::Bigint, Some(Datum::from(n as i64))),
                spi::text(source),
            ],
        )?;
    }
    let rows = spi::run("SELECT plain, wide FROM public.sample ORDER BY n", &[])?;
    let forms: Vec<[Form; 2]> = rows
        .iter()
        .map(|row| [0, 1].map(|n| row[n].map_or(Form::Plain, form)))
        .collect();
    assert_eq!(
        forms,
        [
            [Form::Short, Form::Short],
            [Form::Compressed, Form::External],
            [Form::External, Form::External],
        ]
    );
    for (row, source) in rows.iter().zip([&small, &medium, &large]) {
        for datum in row.iter().flatten() {
            let expected = text(parse(source, "")?)?;
            assert!(written(Jsonb::from_datum(*datum))? == expected);
            assert!(text(*datum)? == expected);
            assert!(equal(*datum, parse(source, "")?));
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq)]
enum Form {
    Plain,
    Short,
    Compressed,
    External,
}

fn form(datum: Datum) -> Form {
    // SAFETY: a varlena value, of which the header is read.
    unsafe {
        let header = datum.cast_mut_ptr::<pg_sys::varlena>();
        if pgrx::varatt_is_1b_e(header) {
            Form::External
        } else if pgrx::varatt_is_4b_c(header) {
            Form::Compressed
        } else if pgrx::varatt_is_1b(header) {
            Form::Short
        } else {
            Form::Plain
        }
    }
}

/// A document in which one byte is another one.
fn with_byte(source: &str, from: u8, to: u8) -> Result<Datum> {
    let bytes = fmgr::varlena(parse(source, "")?);
    let changed: Vec<u8> = bytes
        .iter()
        .map(|b| if *b == from { to } else { *b })
        .collect();
    Ok(fmgr::make_varlena(&changed))
}

fn texts_that_are_not_utf8() -> Result<()> {
    let array = Jsonb::from_datum(with_byte("[\"z\"]", b'z', 0xFF)?);
    let error = array.elements().next().and_then(Result::err);
    assert_eq!(error.map(|e| e.state), Some(SqlState::InvalidText));
    let object = Jsonb::from_datum(with_byte("{\"z\": 1}", b'z', 0xFF)?);
    assert!(object.pairs().next().is_some_and(|pair| pair.is_err()));
    assert!(object.get("a").is_err());
    Ok(())
}

/// Damage: the first of an object's texts, its key, is said to be null.
fn key_that_is_no_text() -> Result<()> {
    let bytes = fmgr::varlena(parse("{\"\": 1}", "")?);
    let mut changed = bytes.to_vec();
    changed[4..8].copy_from_slice(&super::NULL.to_ne_bytes());
    let object = Jsonb::from_datum(fmgr::make_varlena(&changed));
    let error = object.pairs().next().and_then(Result::err);
    let error = error.map(|e| (e.state, e.message));
    assert_eq!(
        error,
        Some((SqlState::DataCorrupted, "damaged jsonb value".to_owned()))
    );
    Ok(())
}

/// Damage: nothing beyond its last byte is read. It ends in an error or a panic, which is one for the client.
fn document_that_is_cut_off() -> Result<()> {
    let bytes = fmgr::varlena(parse(
        "{\"a\": [1, 2, \"three\"], \"b\": {\"c\": 4.5}}",
        "",
    )?);
    for length in 0..bytes.len() - 1 {
        let cut = Jsonb {
            bytes: &bytes[..length],
        };
        let outcome = catch_unwind(|| written(cut));
        assert!(
            !matches!(outcome, Ok(Ok(_))),
            "{length} of {} bytes",
            bytes.len()
        );
    }
    Ok(())
}

/// What PostgreSQL says is wrong with it is told with the place of the text before it.
fn text_that_is_no_document() -> Result<()> {
    let failed = in_subtransaction(|| parse("{\"a\": nothing}", "event 3: ").map(drop))?;
    let error = failed.err().and_then(|failure| failure.into_own().ok());
    let told = error.map(|e| (e.state, e.message));
    let message = "event 3: invalid input syntax for type json".to_owned();
    assert_eq!(told, Some((SqlState::InvalidText, message)));
    Ok(())
}
