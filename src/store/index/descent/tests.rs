//! Descents over pages that are made on purpose.

use pgrx::pg_sys;

use crate::dcb::error::Result;
use crate::store::index::entry::{Entry, Tree};
use crate::store::index::page::image::{
    DELETED, HALF_DEAD, Image, entry, first_pivot, pivot, whole_pivot,
};
use crate::store::index::page::sample::{Sample, at, two_leaves};
use crate::store::pg::in_process::tests;
use crate::store::pg::subtransaction::in_subtransaction;

use super::{Descent, Lock, descend, guess, remember};

const INCOMPLETE_SPLIT: u16 = 1 << 7;

tests![
    tree_without_pages,
    one_leaf,
    two_levels,
    right_past_an_incomplete_split,
    right_past_pages_that_were_deleted,
    right_past_an_inner_page,
    bound_of_a_pivot_with_a_row,
    nothing_right_of_a_deleted_page,
    page_of_another_level,
    inner_page_without_child,
    page_without_high_key,
    empty_page_of_the_file,
    child_beyond_the_end,
    links_to_no_page,
    circle_of_siblings,
    circle_of_deleted_pages,
    circle_of_children,
    metapage_that_is_none,
    root_that_nbtree_remembers,
    root_that_was_split,
    guess_of_the_last_leaf,
    guess_that_does_not_hold,
];

/// How a descent ended, after its leaf was released.
#[derive(Debug, PartialEq)]
enum Ended {
    Empty,
    Damaged(u32),
    Leaf(u32, Entry, Option<Entry>),
}

fn ended(found: Descent) -> Ended {
    match found {
        Descent::Empty => Ended::Empty,
        Descent::Damaged(block) => Ended::Damaged(block),
        Descent::Leaf {
            block,
            buffer,
            low,
            high,
        } => {
            // SAFETY: a leaf comes pinned and locked.
            unsafe { pg_sys::UnlockReleaseBuffer(buffer) };
            Ended::Leaf(block, low, high)
        }
    }
}

/// Descends, for reading and for writing: both must end the same way, and leave nothing behind.
fn descended(sample: &Sample, target: Entry) -> Ended {
    let [reads, writes] = [Lock::Share, Lock::Exclusive].map(|lock| {
        let index = sample.index.relation();
        // SAFETY: the index is open and locked for writing.
        let found = unsafe {
            pg_sys::ffi::pg_guard_ffi_boundary(|| descend(index, sample.tree, target, lock))
        };
        let ended = ended(found);
        assert!(sample.is_all_free(), "a page is still pinned or locked");
        ended
    });
    assert_eq!(reads, writes);
    reads
}

fn positions(pages: &[Image]) -> Result<Sample> {
    let sample = Sample::new(Tree::Positions)?;
    sample.write(pages);
    Ok(sample)
}

fn tree_without_pages() -> Result<()> {
    let sample = Sample::new(Tree::Positions)?;
    assert_eq!(sample.index.pages(), 1);
    assert_eq!(descended(&sample, at(1)), Ended::Empty);
    Ok(())
}

fn one_leaf() -> Result<()> {
    let sample = positions(&[Image::meta(1, 0), Image::leaf()])?;
    for target in [Entry::MIN, at(1), Entry::MAX] {
        assert_eq!(descended(&sample, target), Ended::Leaf(1, Entry::MIN, None));
    }
    Ok(())
}

/// The bounds are those of the leaf: of its downlink, and of its high key.
fn two_levels() -> Result<()> {
    let sample = positions(&two_leaves(&[], &[]))?;
    let left = Ended::Leaf(1, Entry::MIN, Some(at(5)));
    assert_eq!(descended(&sample, Entry::MIN), left);
    assert_eq!(descended(&sample, Entry::last(0, 4)), left);
    let right = Ended::Leaf(2, at(5), None);
    assert_eq!(descended(&sample, at(5)), right);
    assert_eq!(descended(&sample, Entry::MAX), right);
    Ok(())
}

/// A leaf was split and its parent does not know yet: its high key sends the reader to its right sibling.
fn right_past_an_incomplete_split() -> Result<()> {
    let mut pages = two_leaves(&[], &[]);
    pages[2] = Image::leaf()
        .between(1, 4)
        .and_flags(INCOMPLETE_SPLIT)
        .with(&whole_pivot(Tree::Positions, at(8), 0));
    pages.push(Image::leaf().between(2, 0));
    let sample = positions(&pages)?;
    assert_eq!(
        descended(&sample, at(7)),
        Ended::Leaf(2, at(5), Some(at(8)))
    );
    assert_eq!(descended(&sample, at(8)), Ended::Leaf(4, at(8), None));
    Ok(())
}

/// What a deleted page held is on its right. Its own high key says nothing any more.
fn right_past_pages_that_were_deleted() -> Result<()> {
    let mut pages = two_leaves(&[], &[]);
    let sample = positions(&pages)?;
    for flag in [HALF_DEAD, DELETED] {
        pages[1] = Image::leaf()
            .between(0, 2)
            .and_flags(flag)
            .with(&whole_pivot(Tree::Positions, at(9), 0));
        sample.write(&pages);
        let right = Ended::Leaf(2, Entry::MIN, None);
        assert_eq!(descended(&sample, at(1)), right, "flag {flag}");
    }
    Ok(())
}

/// The same on a level above the leaves.
fn right_past_an_inner_page() -> Result<()> {
    let high = |position| whole_pivot(Tree::Positions, at(position), 0);
    let sample = positions(&[
        Image::meta(5, 2),
        Image::leaf().between(0, 2).with(&high(5)),
        Image::leaf().between(1, 0),
        Image::of_level(1)
            .between(0, 4)
            .and_flags(INCOMPLETE_SPLIT)
            .with_all([high(5), first_pivot(1)]),
        Image::of_level(1).between(3, 0).with(&first_pivot(2)),
        Image::of_level(2).with(&first_pivot(3)),
    ])?;
    assert_eq!(
        descended(&sample, at(4)),
        Ended::Leaf(1, Entry::MIN, Some(at(5)))
    );
    assert_eq!(descended(&sample, at(5)), Ended::Leaf(2, at(5), None));
    Ok(())
}

/// Rows of one value on two leaves: a row's place parts them, and the left one has that very row.
fn bound_of_a_pivot_with_a_row() -> Result<()> {
    let parted = |child| pivot(Tree::Positions, at(5), 1, Some(77), child);
    let sample = Sample::with_duplicates(Tree::Positions, true)?;
    sample.write(&[
        Image::meta(3, 1),
        Image::leaf().between(0, 2).with(&parted(0)),
        Image::leaf().between(1, 0),
        Image::of_level(1).with_all([first_pivot(1), parted(2)]),
    ]);
    let row = |tid| Entry { tid, ..at(5) };
    let left = Ended::Leaf(1, Entry::MIN, Some(row(78)));
    assert_eq!(descended(&sample, row(77)), left);
    assert_eq!(descended(&sample, row(78)), Ended::Leaf(2, row(78), None));
    Ok(())
}

fn nothing_right_of_a_deleted_page() -> Result<()> {
    let mut pages = two_leaves(&[], &[]);
    pages[2] = Image::leaf().between(1, 0).and_flags(DELETED);
    let sample = positions(&pages)?;
    assert_eq!(descended(&sample, at(6)), Ended::Damaged(2));
    Ok(())
}

/// A leaf where an inner page should be, and the reverse.
fn page_of_another_level() -> Result<()> {
    let mut pages = two_leaves(&[], &[]);
    pages[3] = Image::leaf();
    let sample = positions(&pages)?;
    assert_eq!(descended(&sample, at(6)), Ended::Damaged(3));
    let mut pages = two_leaves(&[], &[]);
    pages[2] = Image::of_level(1).between(1, 0).with(&first_pivot(1));
    sample.write(&pages);
    assert_eq!(descended(&sample, at(6)), Ended::Damaged(2));
    Ok(())
}

fn inner_page_without_child() -> Result<()> {
    let mut pages = two_leaves(&[], &[]);
    pages[3] = Image::of_level(1);
    let sample = positions(&pages)?;
    assert_eq!(descended(&sample, at(6)), Ended::Damaged(3));
    pages[3] = Image::of_level(1).with(&first_pivot(1)).with_dead(1);
    sample.write(&pages);
    assert_eq!(descended(&sample, at(6)), Ended::Damaged(3));
    // It has a sibling, so its only tuple is its high key.
    pages[3] = Image::of_level(1)
        .between(0, 4)
        .with(&whole_pivot(Tree::Positions, at(9), 0));
    sample.write(&pages);
    assert_eq!(descended(&sample, at(6)), Ended::Damaged(3));
    Ok(())
}

/// A page that has a right sibling has a high key. Without one nothing says where to go on: a reader would take the page
/// for the last one.
fn page_without_high_key() -> Result<()> {
    let mut pages = two_leaves(&[], &[]);
    pages[1] = Image::leaf().between(0, 2);
    let sample = positions(&pages)?;
    assert_eq!(descended(&sample, at(1)), Ended::Damaged(1));
    pages[1] = Image::leaf()
        .between(0, 2)
        .with(&whole_pivot(Tree::Positions, at(5), 0))
        .with_dead(1);
    sample.write(&pages);
    assert_eq!(descended(&sample, at(1)), Ended::Damaged(1));
    Ok(())
}

/// A crash may leave pages of zeros behind; nothing leads to them.
fn empty_page_of_the_file() -> Result<()> {
    let mut pages = two_leaves(&[], &[]);
    pages[2].bytes.fill(0);
    let sample = positions(&pages)?;
    assert_eq!(descended(&sample, at(6)), Ended::Damaged(2));
    Ok(())
}

/// PostgreSQL's own error, and nothing stays pinned or locked.
fn child_beyond_the_end() -> Result<()> {
    let mut pages = two_leaves(&[], &[]);
    pages[3] = Image::of_level(1).with(&first_pivot(99));
    let sample = positions(&pages)?;
    let outcome = in_subtransaction(|| Ok(descended(&sample, at(6))))?;
    let failure = outcome.err().map(|failure| failure.state);
    assert_eq!(failure.as_deref(), Some("XX001"));
    assert!(sample.is_all_free());
    Ok(())
}

/// To PostgreSQL that number stands for a page that is to be made.
fn links_to_no_page() -> Result<()> {
    let sound = two_leaves(&[], &[]);
    let sample = positions(&sound)?;
    let mut child = sound.clone();
    child[3] = Image::of_level(1).with(&first_pivot(u32::MAX));
    let mut sibling = sound.clone();
    sibling[1] = Image::leaf().between(0, u32::MAX).and_flags(DELETED);
    let mut root = sound.clone();
    root[0] = Image::meta(u32::MAX, 1);
    for (pages, told) in [(child, 3), (sibling, 1), (root, 0)] {
        sample.write(&pages);
        assert_eq!(descended(&sample, at(1)), Ended::Damaged(told));
        assert_eq!(sample.index.pages(), 4);
    }
    Ok(())
}

/// Damage can make the links of a level a circle. The statement can be cancelled, and ends by itself.
fn circle_of_siblings() -> Result<()> {
    let mut pages = two_leaves(&[], &[]);
    pages[2] = Image::leaf()
        .between(1, 2)
        .with(&whole_pivot(Tree::Positions, at(8), 0));
    let sample = positions(&pages)?;
    let outcome = in_subtransaction(|| {
        // SAFETY: as if a client had cancelled the statement.
        unsafe { libc::raise(libc::SIGINT) };
        Ok(descended(&sample, at(9)))
    })?;
    let failure = outcome.err().map(|failure| failure.state);
    assert_eq!(failure.as_deref(), Some("57014"));
    assert!(sample.is_all_free());
    assert_eq!(descended(&sample, at(9)), Ended::Damaged(2));
    Ok(())
}

fn circle_of_deleted_pages() -> Result<()> {
    let mut pages = two_leaves(&[], &[]);
    pages[1] = Image::leaf().between(2, 2).and_flags(DELETED);
    pages[2] = Image::leaf().between(1, 1).and_flags(DELETED);
    let sample = positions(&pages)?;
    let ended = descended(&sample, at(1));
    assert!(matches!(ended, Ended::Damaged(1 | 2)), "{ended:?}");
    Ok(())
}

/// A page that is its own child, in a tree that is said to have as many levels as can be.
fn circle_of_children() -> Result<()> {
    let mut pages = two_leaves(&[], &[]);
    pages[0] = Image::meta(3, u32::MAX);
    pages[3] = Image::of_level(u32::MAX).with(&first_pivot(3));
    let sample = positions(&pages)?;
    assert_eq!(descended(&sample, at(1)), Ended::Damaged(3));
    Ok(())
}

fn metapage_that_is_none() -> Result<()> {
    let sample = positions(&two_leaves(&[], &[]))?;
    Image::leaf().write(&sample.index, 0);
    assert_eq!(descended(&sample, at(6)), Ended::Damaged(0));
    Image::meta(3, 1)
        .with_header(8, 8, 8)
        .write(&sample.index, 0);
    assert_eq!(descended(&sample, at(6)), Ended::Damaged(0));
    Ok(())
}

/// Remembers a root as nbtree does.
fn remember_root(sample: &Sample, root: u32, level: u32) {
    // SAFETY: the copy of the metapage's content lives in the index's own context, where PostgreSQL looks for it.
    unsafe {
        let index = sample.index.relation();
        let copy: *mut u32 = pg_sys::MemoryContextAllocZero((*index).rd_indexcxt, 48).cast();
        for (i, word) in [0x0005_3162, 4, root, level, root, level]
            .iter()
            .enumerate()
        {
            copy.add(i).write(*word);
        }
        (*index).rd_amcache = copy.cast();
    }
}

/// The remembered root is used without a look at the metapage.
fn root_that_nbtree_remembers() -> Result<()> {
    let sample = positions(&two_leaves(&[], &[]))?;
    Image::meta(1, 0).write(&sample.index, 0);
    remember_root(&sample, 3, 1);
    assert_eq!(descended(&sample, at(6)), Ended::Leaf(2, at(5), None));
    Ok(())
}

/// A remembered root that has a sibling, is of another level, deleted or damaged is none any more.
fn root_that_was_split() -> Result<()> {
    let sample = positions(&two_leaves(&[], &[]))?;
    let right = Ended::Leaf(2, at(5), None);
    for (root, level) in [(1, 0), (2, 0), (3, 0), (3, 2), (0, 1)] {
        remember_root(&sample, root, level);
        assert_eq!(
            descended(&sample, at(6)),
            right,
            "page {root}, level {level}"
        );
    }
    Image::leaf().and_flags(DELETED).write(&sample.index, 4);
    remember_root(&sample, 4, 0);
    assert_eq!(descended(&sample, at(6)), right);
    Image::leaf().with_header(1, 2, 3).write(&sample.index, 4);
    assert_eq!(descended(&sample, at(6)), right);
    Ok(())
}

fn guessed(sample: &Sample, target: Entry) -> Option<Ended> {
    let index = sample.index.relation();
    // SAFETY: the index is open and locked for writing.
    let found = unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| guess(index, sample.tree, target)) };
    let ended = found.map(ended);
    assert!(sample.is_all_free(), "a page is still pinned or locked");
    ended
}

fn remember_leaf(sample: &Sample, block: u32) {
    // SAFETY: the index is open and locked for writing.
    unsafe { remember(sample.index.relation(), block) };
}

/// The last leaf includes what is behind one of its entries.
fn guess_of_the_last_leaf() -> Result<()> {
    let last = [entry(Tree::Positions, at(6)), entry(Tree::Positions, at(8))];
    let sample = positions(&two_leaves(&[], &last))?;
    assert_eq!(guessed(&sample, at(9)), None, "nothing is remembered");
    remember_leaf(&sample, 2);
    let found = Some(Ended::Leaf(2, Entry::MIN, None));
    assert_eq!(guessed(&sample, at(9)), found);
    assert_eq!(guessed(&sample, at(7)), found);
    assert_eq!(guessed(&sample, at(6)), None, "it may be on another leaf");
    assert_eq!(guessed(&sample, at(1)), None);
    Ok(())
}

/// What is remembered may be another page by now.
fn guess_that_does_not_hold() -> Result<()> {
    let entries = [entry(Tree::Positions, at(6))];
    let sample = positions(&two_leaves(&[], &entries))?;
    let full = |image: Image| image.between(1, 0).with(&entries[0]);
    let high = whole_pivot(Tree::Positions, at(8), 0);
    let others = [
        Image::leaf().between(1, 0),
        Image::leaf().between(1, 1).with(&high).with(&entries[0]),
        full(Image::leaf().and_flags(HALF_DEAD)),
        full(Image::leaf().and_flags(DELETED)),
        full(Image::of_level(1)),
        full(Image::leaf()).with_header(4, 2, 1),
    ];
    for (i, page) in others.iter().enumerate() {
        page.write(&sample.index, 2);
        remember_leaf(&sample, 2);
        assert_eq!(guessed(&sample, at(9)), None, "page {i}");
    }
    Ok(())
}
