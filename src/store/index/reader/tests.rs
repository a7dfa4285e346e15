//! The reader of nbtree's pages: beside what SQL says of indexes that nbtree has made, and on pages that it would not make.

use crate::dcb::error::{Result, SqlState};
use crate::store::index::page::image::{DELETED, HALF_DEAD, Image, entry, posting, tid};
use crate::store::index::page::sample::{Sample, at, two_leaves};
use crate::store::pg::in_process::tests;
use crate::store::pg::spi;

use crate::store::index::entry::{Direction, Entry, Tree};

tests![
    bounds_and_their_neighbours,
    posting_lists_of_nbtree,
    keys_of_nbtree,
    ids_of_nbtree,
    parts_of_an_index,
    leaf_that_is_emptied,
    deleted_leaf_on_the_way,
    pages_that_are_empty,
    damaged_leaf,
    damaged_posting_list,
    damaged_pointer,
];

/// Before a place is the greatest one that is smaller, across rows, positions and keys.
fn bounds_and_their_neighbours() {
    let place = |key, position, tid| Entry { key, position, tid };
    assert_eq!(place(1, 2, 3).before(), place(1, 2, 2));
    assert_eq!(place(1, 2, 0).before(), place(1, 1, u64::MAX));
    assert_eq!(place(1, i64::MIN, 0).before(), place(0, i64::MAX, u64::MAX));
    assert!(
        Entry::MIN.before() >= Entry::MIN,
        "there is nothing before the first place"
    );
    assert!(place(1, 2, 0) == Entry::first(1, 2) && Entry::first(1, 2) < Entry::last(1, 2));
    assert!(
        Entry::last(1, 2) < Entry::first(1, 3)
            && Entry::last(1, i64::MAX) < Entry::first(2, i64::MIN)
    );
}

/// What SQL says of the sample's rows in an order: two numbers, and the row's place.
fn rows(columns: &str) -> Result<Vec<Entry>> {
    let all = spi::run(
        &format!(
            "SELECT {columns}, (ctid::text::point)[0]::bigint AS block, (ctid::text::point)[1]::bigint AS line
             FROM public.sample ORDER BY 1, 2, 3, 4"
        ),
        &[],
    )?;
    let number = |datum: Option<pgrx::pg_sys::Datum>| datum.map_or(0, |d| d.value() as i64);
    Ok(all
        .into_iter()
        .map(|row| Entry {
            key: number(row[0]),
            position: number(row[1]),
            tid: tid(number(row[2]) as u32, number(row[3]) as u16),
        })
        .collect())
}

/// Both directions must give what SQL gives.
fn compare(sample: &Sample, mut expected: Vec<Entry>) -> Result<()> {
    assert!(sample.index.pages() > 4, "the index has several leaves");
    assert!(sample.entries(Direction::Forward)? == expected, "forward");
    expected.reverse();
    assert!(sample.entries(Direction::Backward)? == expected, "backward");
    assert!(sample.is_all_free());
    Ok(())
}

/// Thousands of rows of one position: posting lists, and pages that are parted by a row's place.
fn posting_lists_of_nbtree() -> Result<()> {
    let sample = Sample::with_duplicates(Tree::Positions, true)?;
    spi::command(
        "INSERT INTO public.sample (position) SELECT n % 7 FROM generate_series(1, 30000) n;
         INSERT INTO public.sample (position) SELECT n FROM generate_series(-500, 500) n",
    )?;
    compare(&sample, rows("0::bigint, position")?)?;
    let middle = Entry {
        tid: tid(40, 3),
        ..at(3)
    };
    let mut some = Vec::new();
    sample
        .reader()
        .page(middle, Entry::last(0, 3), Direction::Forward, &mut some)?;
    assert!(
        some.first()
            .is_some_and(|first| *first >= middle && first.position == 3)
    );
    Ok(())
}

fn keys_of_nbtree() -> Result<()> {
    let sample = Sample::with_duplicates(Tree::Keys, false)?;
    spi::command(
        "INSERT INTO public.sample (key, position)
             SELECT (n % 5 - 2) * 4611686018427387903, n % 3 FROM generate_series(1, 20000) n;
         INSERT INTO public.sample (key, position) VALUES
             (-9223372036854775808, -9223372036854775808), (9223372036854775807, 9223372036854775807)",
    )?;
    compare(&sample, rows("key, position")?)
}

fn ids_of_nbtree() -> Result<()> {
    let sample = Sample::with_duplicates(Tree::Ids, true)?;
    spi::command(
        "INSERT INTO public.sample (id) SELECT md5((n % 3000)::text)::uuid FROM generate_series(1, 20000) n;
         INSERT INTO public.sample (id) VALUES
             ('00000000-0000-0000-0000-000000000000'), ('ffffffff-ffff-ffff-ffff-ffffffffffff')",
    )?;
    let half = |n: i32| {
        // The number of the same order: the half's bits, with the first one turned round.
        format!(
            "('x' || substr(replace(id::text, '-', ''), {n}, 16))::bit(64)::bigint # (1::bigint << 63)"
        )
    };
    compare(&sample, rows(&format!("{}, {}", half(1), half(17)))?)
}

/// Every part of an index, from each entry to the end and from each entry back to the start, over page after page.
fn parts_of_an_index() -> Result<()> {
    let sample = Sample::with_duplicates(Tree::Positions, true)?;
    spi::command(
        "INSERT INTO public.sample (position) SELECT n / 3 FROM generate_series(1, 5000) n",
    )?;
    let all = rows("0::bigint, position")?;
    for i in (0..all.len()).step_by(97) {
        let (mut out, mut next) = (Vec::new(), Some(all[i]));
        while let Some(from) = next {
            next = sample
                .reader()
                .page(from, Entry::MAX, Direction::Forward, &mut out)?;
        }
        assert!(out == all[i..], "from {:?}", all[i]);
        let (mut out, mut next) = (Vec::new(), Some(all[i]));
        while let Some(from) = next {
            next = sample
                .reader()
                .page(from, Entry::MIN, Direction::Backward, &mut out)?;
        }
        out.reverse();
        assert!(out == all[..=i], "back from {:?}", all[i]);
    }
    Ok(())
}

/// The next leaf is looked at where one has nothing of what is asked for.
fn leaf_that_is_emptied() -> Result<()> {
    let sample = Sample::new(Tree::Positions)?;
    let last = Entry { tid: 9, ..at(7) };
    sample.write(&two_leaves(&[], &[entry(Tree::Positions, last)]));
    assert_eq!(sample.entries(Direction::Forward)?, [last]);
    let first = Entry { tid: 9, ..at(3) };
    sample.write(&two_leaves(&[entry(Tree::Positions, first)], &[]));
    assert_eq!(sample.entries(Direction::Backward)?, [first]);
    Ok(())
}

/// A leaf that is deleted, or about to be, has nothing, whatever stands on it; its neighbours are read.
fn deleted_leaf_on_the_way() -> Result<()> {
    let sample = Sample::new(Tree::Positions)?;
    let last = Entry { tid: 9, ..at(7) };
    for flag in [HALF_DEAD, DELETED] {
        let lost = entry(Tree::Positions, Entry { tid: 9, ..at(3) });
        let mut pages = two_leaves(&[lost], &[entry(Tree::Positions, last)]);
        pages[1] = pages[1].clone().and_flags(flag);
        sample.write(&pages);
        assert_eq!(sample.entries(Direction::Forward)?, [last]);
        assert_eq!(sample.entries(Direction::Backward)?, [last]);
    }
    Ok(())
}

fn pages_that_are_empty() -> Result<()> {
    let sample = Sample::new(Tree::Positions)?;
    assert_eq!(sample.entries(Direction::Forward)?, []);
    sample.write(&two_leaves(&[], &[]));
    assert_eq!(sample.entries(Direction::Forward)?, []);
    assert_eq!(sample.entries(Direction::Backward)?, []);
    Ok(())
}

/// Every reading of this index must end with an error that names the page.
fn demand_error(sample: &Sample, block: u32) {
    for direction in [Direction::Forward, Direction::Backward] {
        let error = sample.entries(direction).expect_err("the page is damaged");
        assert_eq!(error.state, SqlState::DataCorrupted);
        let message = format!("unexpected page {block} in index \"sample_index\"");
        assert_eq!(error.message, message);
        assert_eq!(error.hint.as_deref(), Some("Please REINDEX it."));
        assert!(sample.is_all_free(), "a page is still pinned or locked");
    }
}

fn damaged_leaf() -> Result<()> {
    let sample = Sample::new(Tree::Positions)?;
    let whole = two_leaves(
        &[entry(Tree::Positions, at(3))],
        &[entry(Tree::Positions, at(6))],
    );
    let damaged = |page: &Image| {
        [
            page.clone().with_header(0, 0, 0),
            page.clone().with_header(20, 8176, 8176),
            page.clone().with_header(8000, 100, 8176),
            page.clone().with_header(24, 8190, 8176),
            page.clone().with_header(24, 24, 8192),
            page.clone().with_header(u16::MAX, u16::MAX, u16::MAX),
            page.clone().with_flags(0), // of an inner page
        ]
    };
    for (block, forms) in [(1, 7), (2, 7), (3, 6)] {
        for page in &damaged(&whole[block])[..forms] {
            sample.write(&whole);
            page.write(&sample.index, block as u32);
            demand_error(&sample, block as u32);
        }
    }
    Ok(())
}

/// A list that says it has more rows than fit on the page, or is elsewhere.
fn damaged_posting_list() -> Result<()> {
    let sample = Sample::with_duplicates(Tree::Positions, true)?;
    let list = posting(Tree::Positions, at(6), &[1, 2, 3]);
    let whole = Image::leaf().with(&list);
    let start = whole.start_of(1);
    let damaged = [
        whole.clone().put_u16(start + 4, 0x2FFF), // 4,095 rows
        whole.clone().put_u16(start + 2, 9000),   // a list beyond the page
        whole.clone().put_u32(start, u32::MAX),
    ];
    for page in damaged {
        sample.write(&[Image::meta(1, 0), page]);
        demand_error(&sample, 1);
    }
    Ok(())
}

/// A pointer that leads to the page's end, or beyond it.
fn damaged_pointer() -> Result<()> {
    let sample = Sample::new(Tree::Positions)?;
    let whole = two_leaves(&[], &[entry(Tree::Positions, at(6))]);
    for offset in [8184_u32, 8191, 0x7FFF] {
        let pointer = offset | 1 << 15 | 16 << 17;
        for block in [1, 2, 3] {
            sample.write(&whole);
            let page = whole[block].clone();
            let n = if block == 3 { 2 } else { 1 };
            page.put_u32(Image::pointer(n), pointer)
                .write(&sample.index, block as u32);
            let outcome = sample.entries(Direction::Forward);
            let error = outcome.expect_err("the pointer leads beyond the page");
            assert_eq!(
                error.state,
                SqlState::DataCorrupted,
                "page {block}, {offset}"
            );
        }
    }
    Ok(())
}
