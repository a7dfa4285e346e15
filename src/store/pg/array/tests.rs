//! Arrays in every form that PostgreSQL gives them.

use pgrx::pg_sys::{self, Datum};

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::pg::in_process::tests;
use crate::store::pg::spi;
use crate::store::pg::subtransaction::in_subtransaction;

use super::{TextArray, bigints, make, make_bigints, make_uuids};

tests![
    every_lower_bound,
    texts_of_every_length,
    no_elements,
    nulls,
    nulls_that_are_no_longer_there,
    several_dimensions,
    arrays_as_tables_hold_them,
    arrays_of_variables,
    texts_that_are_not_utf8,
    arrays_that_are_made,
    numbers_of_every_lower_bound,
    numbers_with_nulls,
    numbers_in_several_dimensions,
    numbers_as_tables_hold_them,
    numbers_and_ids_that_are_made,
];

/// The value of an expression.
fn value(expression: &str) -> Result<Datum> {
    let rows = spi::run(&format!("SELECT {expression}"), &[])?;
    rows[0][0].ok_or_else(|| Error::new(SqlState::Internal, "it is NULL"))
}

fn texts(expression: &str) -> Result<Vec<&'static str>> {
    TextArray::from_datum(value(expression)?, "tags ")?.texts()
}

/// Why an array is not taken.
fn refusal(expression: &str) -> Result<Option<(SqlState, String)>> {
    let datum = value(expression)?;
    let refused = TextArray::from_datum(datum, "tags ").err();
    Ok(refused.map(|e| (e.state, e.message)))
}

fn every_lower_bound() -> Result<()> {
    for bound in ["-2147483648", "-7", "0", "1", "2", "2147483644"] {
        let upper = bound.parse::<i64>().unwrap_or_default() + 2;
        let expression = format!("'[{bound}:{upper}]={{a,bb,ccc}}'::text[]");
        assert_eq!(texts(&expression)?, ["a", "bb", "ccc"], "from {bound}");
    }
    assert_eq!(texts("(ARRAY['a', 'b', 'c'])[2:3]")?, ["b", "c"]);
    Ok(())
}

/// Elements are aligned, so what is between them differs.
fn texts_of_every_length() -> Result<()> {
    let found = texts("ARRAY(SELECT repeat('x', n) FROM generate_series(0, 300) n)")?;
    assert_eq!(found.len(), 301);
    assert!(found.iter().enumerate().all(|(n, t)| *t == "x".repeat(n)));
    assert_eq!(
        texts("ARRAY['', 'é', '中', '😀', '']")?,
        ["", "é", "中", "😀", ""]
    );
    let long = texts("ARRAY[repeat('long', 100000), 'short']")?;
    assert_eq!((long[0].len(), long[1]), (400_000, "short"));
    Ok(())
}

fn no_elements() -> Result<()> {
    for expression in [
        "'{}'::text[]",
        "(ARRAY['a'])[2:1]",
        "ARRAY(SELECT ''::text WHERE false)",
        "'{{},{}}'::text[]",
    ] {
        // The last one is an error from PostgreSQL 17 on.
        if let Ok(found) = in_subtransaction(|| texts(expression))? {
            assert!(found.is_empty(), "{expression}");
        }
    }
    Ok(())
}

fn nulls() -> Result<()> {
    let expected = Some((
        SqlState::NullNotAllowed,
        "tags must not contain NULL".to_owned(),
    ));
    for expression in [
        "ARRAY[NULL]::text[]",
        "ARRAY['a', NULL]",
        "ARRAY[NULL, 'a']",
        "'[-1:1]={a,NULL,c}'::text[]",
        "ARRAY(SELECT CASE n WHEN 77 THEN NULL ELSE 'x' END FROM generate_series(1, 100) n)",
    ] {
        assert_eq!(refusal(expression)?, expected, "{expression}");
    }
    assert_eq!(texts("'{null_}'::text[]")?, ["null_"]);
    assert_eq!(texts("'{\"NULL\"}'::text[]")?, ["NULL"]);
    Ok(())
}

/// A slice keeps room for the marks of NULLs of the whole array, also where it has none.
fn nulls_that_are_no_longer_there() -> Result<()> {
    assert_eq!(texts("(ARRAY['a', 'bb', NULL])[1:2]")?, ["a", "bb"]);
    let many = "(ARRAY(SELECT CASE n WHEN 100 THEN NULL ELSE n::text END FROM generate_series(1, 100) n))[1:99]";
    let found = texts(many)?;
    assert!(found.len() == 99 && found[98] == "99");
    assert!(refusal("(ARRAY['a', NULL, 'b'])[2:3]")?.is_some());
    Ok(())
}

fn several_dimensions() -> Result<()> {
    let expected = Some((
        SqlState::InvalidParameter,
        "tags must have one dimension".to_owned(),
    ));
    for expression in [
        "'{{a,b},{c,d}}'::text[]",
        "'{{a}}'::text[]",
        "'{{{a}}}'::text[]",
        "ARRAY[ARRAY['a', NULL]]",
    ] {
        assert_eq!(refusal(expression)?, expected, "{expression}");
    }
    Ok(())
}

/// With a header of one byte, compressed, and outside of the row.
fn arrays_as_tables_hold_them() -> Result<()> {
    spi::command(
        "CREATE TABLE public.sample (n int, tags text[], wide text[]);
         ALTER TABLE public.sample ALTER wide SET STORAGE EXTERNAL;
         INSERT INTO public.sample
             SELECT n, a, a FROM generate_series(0, 5) n,
                 LATERAL (SELECT ARRAY(SELECT 'tag:' || i FROM generate_series(1, n * n * 400 + 3) i) a) _;
         INSERT INTO public.sample VALUES (6, '[0:1]={a,b}', '{}')",
    )?;
    for row in spi::run("SELECT n, tags, wide FROM public.sample ORDER BY n", &[])? {
        let n = row[0].map_or(0, |d| d.value());
        for datum in row[1..].iter().flatten() {
            let found = TextArray::from_datum(*datum, "")?.texts()?;
            if n == 6 {
                assert!(found.is_empty() || found == ["a", "b"]);
                continue;
            }
            assert_eq!(found.len(), n * n * 400 + 3);
            assert!(
                found
                    .iter()
                    .enumerate()
                    .all(|(i, t)| *t == format!("tag:{}", i + 1))
            );
        }
    }
    Ok(())
}

/// PL/pgSQL keeps arrays in a form of their own while it works on them.
fn arrays_of_variables() -> Result<()> {
    let flat = value("'[5:7]={a,bb,ccc}'::text[]")?;
    // SAFETY: an array; its other form lives in the current memory context.
    let expanded =
        unsafe { pg_sys::expand_array(flat, pg_sys::CurrentMemoryContext, std::ptr::null_mut()) };
    let found = TextArray::from_datum(expanded, "")?.texts()?;
    assert_eq!(found, ["a", "bb", "ccc"]);
    let numbers = value("'[5:6]={7,8}'::bigint[]")?;
    // SAFETY: as above.
    let expanded = unsafe {
        pg_sys::expand_array(numbers, pg_sys::CurrentMemoryContext, std::ptr::null_mut())
    };
    assert_eq!(bigints(expanded)?, [7, 8]);
    Ok(())
}

fn texts_that_are_not_utf8() -> Result<()> {
    let bytes: Vec<u8> = crate::store::pg::fmgr::varlena(value("ARRAY['ok', 'z']")?)
        .iter()
        .map(|b| if *b == b'z' { 0xFF } else { *b })
        .collect();
    let array = TextArray::from_datum(crate::store::pg::fmgr::make_varlena(&bytes), "")?;
    assert_eq!(array.iter().collect::<Vec<_>>(), [&b"ok"[..], &[0xFF]]);
    assert_eq!(
        array.texts().err().map(|e| e.state),
        Some(SqlState::InvalidText)
    );
    Ok(())
}

/// What is made here is byte for byte what PostgreSQL makes.
fn arrays_that_are_made() -> Result<()> {
    for (made, expression) in [
        (make::<&str>(&[]), "'{}'::text[]"),
        (make(&["a"]), "ARRAY['a']"),
        (
            make(&["", "bb", "ccc", "dddd", "eeeee"]),
            "ARRAY['', 'bb', 'ccc', 'dddd', 'eeeee']",
        ),
    ] {
        let expected = crate::store::pg::fmgr::varlena(value(expression)?);
        assert_eq!(
            crate::store::pg::fmgr::varlena(made),
            expected,
            "{expression}"
        );
    }
    Ok(())
}

fn numbers_of_every_lower_bound() -> Result<()> {
    for bound in [-2_147_483_648_i64, -1, 0, 1, 2_147_483_644] {
        let upper = bound + 2;
        let expression =
            format!("'[{bound}:{upper}]={{-9223372036854775808,0,9223372036854775807}}'::bigint[]");
        assert_eq!(
            bigints(value(&expression)?)?,
            [i64::MIN, 0, i64::MAX],
            "from {bound}"
        );
    }
    assert_eq!(bigints(value("'{}'::bigint[]")?)?, [0; 0]);
    Ok(())
}

fn numbers_with_nulls() -> Result<()> {
    for expression in ["ARRAY[NULL]::bigint[]", "'{1,NULL,3}'::bigint[]"] {
        let refused = bigints(value(expression)?)
            .err()
            .map(|e| (e.state, e.message));
        let expected = (
            SqlState::InvalidParameter,
            "keys must not contain NULL".to_owned(),
        );
        assert_eq!(refused, Some(expected), "{expression}");
    }
    assert_eq!(bigints(value("('{1,2,NULL}'::bigint[])[1:2]")?)?, [1, 2]);
    Ok(())
}

fn numbers_in_several_dimensions() -> Result<()> {
    assert_eq!(bigints(value("'{{1,2},{3,4}}'::bigint[]")?)?, [1, 2, 3, 4]);
    Ok(())
}

fn numbers_as_tables_hold_them() -> Result<()> {
    spi::command(
        "CREATE TABLE public.sample (n int, keys bigint[]);
         INSERT INTO public.sample
             SELECT n, ARRAY(SELECT i FROM generate_series(1, n * n * 500) i) FROM generate_series(0, 5) n",
    )?;
    for row in spi::run("SELECT n, keys FROM public.sample", &[])? {
        let n = row[0].map_or(0, |d| d.value()) as i64;
        let keys = row[1].map_or(Ok(Vec::new()), bigints)?;
        assert!(keys.into_iter().eq(1..=n * n * 500), "{n}");
    }
    Ok(())
}

fn numbers_and_ids_that_are_made() -> Result<()> {
    for numbers in [&[][..], &[7], &[i64::MIN, 0, i64::MAX]] {
        assert_eq!(bigints(make_bigints(numbers))?, numbers);
    }
    let ids = make_uuids(&[[0; 16], [0xFF; 16]]);
    let expected = value(
        "'{00000000-0000-0000-0000-000000000000,ffffffff-ffff-ffff-ffff-ffffffffffff}'::uuid[]",
    )?;
    let [made, expected] = [ids, expected].map(crate::store::pg::fmgr::varlena);
    assert_eq!(made, expected);
    Ok(())
}
