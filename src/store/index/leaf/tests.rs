//! Entries put into leaves, read again, and the whole index checked after it.

use pgrx::pg_sys::{self, ItemPointerData};

use crate::dcb::error::Result;
use crate::store::index::check;
use crate::store::index::entry::{Direction, Entry, Tree};
use crate::store::index::page::image::{Image, entry, whole_pivot};
use crate::store::index::page::sample::{Sample, at, two_leaves};
use crate::store::pg::in_process::fuzz::Random;
use crate::store::pg::in_process::tests;
use crate::store::pg::spi;
use crate::store::pg::subtransaction::in_subtransaction;

use super::{New, Tuple, bytes_of_tuple, insert, insert_all};

const INCOMPLETE_SPLIT: u16 = 1 << 7;

tests![
    tuples_are_those_of_nbtree,
    keys_in_batches_of_every_size,
    keys_in_no_order,
    positions_at_the_end,
    positions_between_others,
    ids,
    one_visit_per_leaf,
    what_is_left_to_nbtree,
    split_that_is_completed_first,
    position_that_is_there,
    position_that_is_there_twice,
    position_of_a_deleted_row,
];

fn row(n: u64) -> ItemPointerData {
    let number = n * 3 + 1;
    let (block, offset) = ((number >> 8) as u32, (number & 0xFF) as u16 + 1);
    ItemPointerData {
        ip_blkid: pg_sys::BlockIdData {
            bi_hi: (block >> 16) as u16,
            bi_lo: block as u16,
        },
        ip_posid: offset,
    }
}

fn put(sample: &Sample, entries: &[New]) {
    // SAFETY: the index is open; what describes it is allocated in the current memory context.
    let info = unsafe { pg_sys::BuildIndexInfo(sample.index.relation()) };
    let (index, table) = (sample.index.relation(), sample.table.relation());
    insert_all(index, table, info, sample.tree, entries);
}

/// What was put must be all that is there, in both directions, and the index sound.
fn check(sample: &Sample, entries: &[New]) -> Result<()> {
    let mut expected: Vec<Entry> = entries.iter().map(|new| new.at).collect();
    expected.sort_unstable();
    assert!(sample.entries(Direction::Forward)? == expected, "forward");
    expected.reverse();
    assert!(sample.entries(Direction::Backward)? == expected, "backward");
    let trouble = check::walk(&sample.reader()).err();
    assert_eq!(trouble.map(|t| (t.block, t.problem)), None);
    assert!(sample.is_all_free(), "a page is still pinned or locked");
    Ok(())
}

/// The image of an entry is the one that nbtree reads and writes.
fn tuples_are_those_of_nbtree() {
    for (tree, new) in [
        (Tree::Keys, New::of_key(-5, 9, row(70_000))),
        (Tree::Positions, New::of_position(9, row(1))),
        (Tree::Ids, New::of_id(&[0x80; 16], row(2))),
    ] {
        let tuple = Tuple::of(tree, &new);
        // SAFETY: a tuple is plain bytes, as many as said at the least.
        let bytes = unsafe {
            std::slice::from_raw_parts((&raw const tuple).cast::<u8>(), bytes_of_tuple(tree))
        };
        assert_eq!(bytes, entry(tree, new.at), "{tree:?}");
    }
}

/// From one entry to more than fit on a page, in ascending order, with splits in between.
fn keys_in_batches_of_every_size() -> Result<()> {
    let sample = Sample::with_duplicates(Tree::Keys, false)?;
    let mut all = Vec::new();
    for (round, size) in (0..).zip([1, 2, 3, 50, 111, 112, 113, 290, 291, 292, 1000, 3000]) {
        let batch: Vec<New> = (0..size)
            .map(|n| {
                New::of_key(
                    (n * 7919 % 97) as i64 - 48,
                    round * 10_000 + n as i64,
                    row(n),
                )
            })
            .collect();
        let mut sorted = batch;
        sorted.sort_by_key(|new| new.at);
        put(&sample, &sorted);
        all.extend(sorted);
        check(&sample, &all)?;
    }
    Ok(())
}

/// The order is what makes it fast. It is exact without, too.
fn keys_in_no_order() -> Result<()> {
    let sample = Sample::with_duplicates(Tree::Keys, false)?;
    let mut random = Random::new(3);
    let all: Vec<New> = (0..4000)
        .map(|n| New::of_key(random.next() as i64, random.next() as i64 >> 1, row(n)))
        .collect();
    for batch in all.chunks(37) {
        put(&sample, batch);
    }
    check(&sample, &all)
}

fn positions_at_the_end() -> Result<()> {
    let sample = Sample::new(Tree::Positions)?;
    let all: Vec<New> = (1..=3000)
        .map(|n| New::of_position(n, row(n as u64)))
        .collect();
    let mut rest = &all[..];
    for size in [1, 1, 1, 5, 200, 1, 400, 1000].into_iter().cycle() {
        let (batch, more) = rest.split_at(size.min(rest.len()));
        put(&sample, batch);
        rest = more;
        if rest.is_empty() {
            break;
        }
    }
    check(&sample, &all)
}

fn positions_between_others() -> Result<()> {
    let sample = Sample::new(Tree::Positions)?;
    let of = |n: i64| New::of_position(n, row(n as u64));
    let odd: Vec<New> = (0..1500).map(|n| of(2 * n + 1)).collect();
    let even: Vec<New> = (0..1500).map(|n| of(2 * n)).collect();
    put(&sample, &odd);
    put(&sample, &even);
    check(&sample, &[odd, even].concat())
}

fn ids() -> Result<()> {
    let sample = Sample::new(Tree::Ids)?;
    let mut random = Random::new(9);
    let all: Vec<New> = (0..3000)
        .map(|n| {
            let id = u128::from(random.next()) << 64 | u128::from(random.next());
            New::of_id(&id.to_be_bytes(), row(n))
        })
        .chain([
            New::of_id(&[0; 16], row(1)),
            New::of_id(&[0xFF; 16], row(2)),
        ])
        .collect();
    for batch in all.chunks(100) {
        let mut batch = batch.to_vec();
        batch.sort_by_key(|new| new.at);
        put(&sample, &batch);
    }
    check(&sample, &all)
}

/// Puts entries on the leaf of the first one, and says how many went there: none where they are nbtree's.
pub(in crate::store) fn count(sample: &Sample, entries: &[New]) -> usize {
    // SAFETY: the index is open and locked for writing.
    unsafe {
        let index = sample.index.relation();
        pg_sys::ffi::pg_guard_ffi_boundary(|| insert(index, sample.tree, entries))
    }
}

/// All that belong to one leaf and fit on it go there at once; those beyond its high key do not.
fn one_visit_per_leaf() -> Result<()> {
    let sample = Sample::new(Tree::Positions)?;
    sample.write(&two_leaves(&[], &[]));
    let of = |n: i64| New::of_position(n, row(n as u64));
    let entries: Vec<New> = (1..=8).map(of).collect();
    assert_eq!(count(&sample, &entries), 4, "those below 5");
    assert_eq!(count(&sample, &entries[4..]), 4);
    check(&sample, &entries)?;
    // Between others in a unique index one at a time, since each needs a look at its neighbours.
    sample.write(&two_leaves(&[entry(Tree::Positions, of(4).at)], &[]));
    assert_eq!(count(&sample, &entries[..3]), 1);
    let many: Vec<New> = (10..600).map(of).collect();
    assert_eq!(
        count(&sample, &many),
        (8192 - 24 - 16) / 20,
        "as many as fit"
    );
    assert_eq!(
        count(&sample, &many[407..]),
        0,
        "a full leaf is nbtree's to split"
    );
    Ok(())
}

fn what_is_left_to_nbtree() -> Result<()> {
    let sample = Sample::new(Tree::Positions)?;
    let new = |n: i64| New::of_position(n, row(n as u64));
    assert_eq!(count(&sample, &[]), 0);
    assert_eq!(count(&sample, &[new(1)]), 0, "the first page");
    let there = [
        entry(Tree::Positions, new(6).at),
        entry(Tree::Positions, new(8).at),
    ];
    let pages = two_leaves(&[], &there);
    sample.write(&pages);
    for (n, expected) in [(6, 0), (8, 0), (7, 1), (9, 1), (7, 0), (9, 0)] {
        assert_eq!(count(&sample, &[new(n)]), expected, "position {n}");
    }
    assert_eq!(
        count(&sample, &[new(11), new(11)]),
        1,
        "the second one is there by then"
    );
    assert_eq!(count(&sample, &[new(13), new(12)]), 1, "not in order");
    Image::leaf().with_header(2, 4, 8).write(&sample.index, 1);
    assert_eq!(count(&sample, &[new(1)]), 0, "a damaged page");
    Ok(())
}

/// nbtree completes the split of a leaf before it inserts there.
fn split_that_is_completed_first() -> Result<()> {
    let sample = Sample::new(Tree::Positions)?;
    let new = |n: i64| New::of_position(n, row(n as u64));
    let mut pages = two_leaves(&[], &[]);
    pages[2] = Image::leaf()
        .between(1, 4)
        .and_flags(INCOMPLETE_SPLIT)
        .with_all([
            whole_pivot(Tree::Positions, at(8), 0),
            entry(Tree::Positions, new(6).at),
        ]);
    pages.push(
        Image::leaf()
            .between(2, 0)
            .with(&entry(Tree::Positions, new(9).at)),
    );
    sample.write(&pages);
    assert_eq!(count(&sample, &[new(7)]), 0);
    put(&sample, &[new(7)]);
    check(&sample, &[new(6), new(7), new(9)])?;
    assert_eq!(count(&sample, &[new(5)]), 1, "the split is complete");
    Ok(())
}

/// A sample in which a row has position 5, and others are around it.
fn with_rows() -> Result<Sample> {
    let sample = Sample::new(Tree::Positions)?;
    spi::command("INSERT INTO public.sample (position) SELECT generate_series(1, 9)")?;
    Ok(sample)
}

/// What a failed insert says.
fn refused(sample: &Sample, entries: &[New]) -> Result<Option<String>> {
    let outcome = in_subtransaction(|| {
        put(sample, entries);
        Ok(())
    })?;
    Ok(outcome.err().map(|failure| failure.state))
}

/// The row of a position, which is alive: nbtree forgives an entry for a dead row.
fn row_of(sample: &Sample, position: i64) -> Result<ItemPointerData> {
    let entries = sample.entries(Direction::Forward)?;
    let entry = entries.iter().find(|e| e.position == position);
    Ok(ItemPointerData {
        ip_blkid: pg_sys::BlockIdData { bi_hi: 0, bi_lo: 0 },
        ip_posid: entry.map_or(0, |e| e.tid as u16),
    })
}

fn position_that_is_there() -> Result<()> {
    let sample = with_rows()?;
    let other = row_of(&sample, 3)?;
    for position in [1, 5, 9] {
        let again = New::of_position(position, other);
        let state = refused(&sample, &[again])?;
        assert_eq!(state.as_deref(), Some("23505"), "position {position}");
    }
    Ok(())
}

fn position_that_is_there_twice() -> Result<()> {
    let sample = with_rows()?;
    let rows = [row_of(&sample, 3)?, row_of(&sample, 4)?];
    let twice = rows.map(|row| New::of_position(20, row));
    assert_eq!(refused(&sample, &twice)?.as_deref(), Some("23505"));
    Ok(())
}

/// Its entry may still stand there: nbtree looks whether its row is alive.
fn position_of_a_deleted_row() -> Result<()> {
    let sample = with_rows()?;
    spi::command("DELETE FROM public.sample WHERE position = 5")?;
    let again = New::of_position(5, row(50));
    assert_eq!(count(&sample, &[again]), 0);
    put(&sample, &[again]);
    let entries = sample.entries(Direction::Forward)?;
    let fives: Vec<&Entry> = entries.iter().filter(|e| e.position == 5).collect();
    assert_eq!(fives.len(), 2);
    assert!(fives.contains(&&Entry { ..again.at }));
    Ok(())
}
