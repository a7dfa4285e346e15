//! Pages that are made on purpose, and what [`View`] sees on them.

use crate::store::index::entry::{Entry, Tree, id_half};
use crate::store::pg::in_process::tests;

use super::image::{
    DELETED, HALF_DEAD, Image, entry, first_pivot, pivot, posting, tid, whole_pivot,
};
use super::{INCOMPLETE_SPLIT, META, View};

/// All kinds of index.
pub(super) const TREES: [Tree; 3] = [Tree::Keys, Tree::Positions, Tree::Ids];

/// An entry at a position, under key 0.
pub(super) fn at(position: i64, tid: u64) -> Entry {
    Entry {
        tid,
        ..Entry::first(0, position)
    }
}

/// A leaf of the index on position.
pub(super) fn leaf(tuples: impl IntoIterator<Item = Vec<u8>>) -> Image {
    Image::leaf().with_all(tuples)
}

/// What a page copies in ascending order.
pub(super) fn forward(page: &View, tree: Tree, from: Entry, to: Entry) -> Vec<Entry> {
    let mut out = Vec::new();
    page.copy_forward(tree, from, to, &mut out);
    out
}

/// What a page copies in descending order.
pub(super) fn backward(page: &View, tree: Tree, from: Entry, to: Entry) -> Vec<Entry> {
    let mut out = Vec::new();
    page.copy_backward(tree, from, to, &mut out);
    out
}

tests![
    entries_of_each_tree,
    ids_are_ordered_as_bytes,
    bounds_are_inclusive,
    posting_lists,
    no_posting_lists_of_keys,
    dead_entries,
    dead_posting_list,
    empty_leaves,
    pivots,
    children,
    children_behind_a_high_key,
    flags,
    fast_root,
    places_of_new_entries,
    room,
];

/// The three trees hold the same three places; each is read from its own form.
fn entries_of_each_tree() {
    for tree in TREES {
        let key = if tree == Tree::Positions { 0 } else { -7 };
        let all = [(i64::MIN, 1), (0, 2), (i64::MAX, 3)].map(|(position, tid)| Entry {
            key,
            position,
            tid,
        });
        let image = Image::leaf().with_all(all.map(|e| entry(tree, e)));
        let memory = image.fenced();
        let page = memory.view();
        assert_eq!(
            forward(&page, tree, Entry::MIN, Entry::MAX),
            all,
            "{tree:?}"
        );
        let mut reversed = all;
        reversed.reverse();
        assert_eq!(
            backward(&page, tree, Entry::MAX, Entry::MIN),
            reversed,
            "{tree:?}"
        );
        assert!(!page.is_damaged(), "{tree:?}");
    }
}

/// Ids are ordered as bytes, and so are the numbers that stand for their halves.
fn ids_are_ordered_as_bytes() {
    let halves = [
        [0; 8],
        [0, 0, 0, 0, 0, 0, 0, 1],
        [0x7F; 8],
        [0x80, 0, 0, 0, 0, 0, 0, 0],
        [0xFF; 8],
    ];
    assert!(halves.map(id_half).is_sorted());
    for half in halves {
        let id: [u8; 16] = std::array::from_fn(|i| half[i % 8]);
        assert_eq!(Entry::of_id(&id).id(), id);
    }
    assert_eq!(id_half([0; 8]), i64::MIN);
    assert_eq!(id_half([0xFF; 8]), i64::MAX);
}

/// Both ends of what is asked for belong to it.
fn bounds_are_inclusive() {
    let all: Vec<Entry> = (1..=9).map(|n| at(n, 100 + n as u64)).collect();
    let memory = leaf(all.iter().map(|e| entry(Tree::Positions, *e))).fenced();
    let page = memory.view();
    let (from, to) = (all[2], all[5]);
    assert_eq!(forward(&page, Tree::Positions, from, to), all[2..=5]);
    let mut expected = all[2..=5].to_vec();
    expected.reverse();
    assert_eq!(backward(&page, Tree::Positions, to, from), expected);
    assert_eq!(forward(&page, Tree::Positions, at(10, 0), Entry::MAX), []);
    assert_eq!(backward(&page, Tree::Positions, at(0, 0), Entry::MIN), []);
}

/// A posting list is as many entries, in the order of rows; a search may begin and end in the middle of one.
fn posting_lists() {
    for tree in [Tree::Positions, Tree::Ids] {
        let key = if tree == Tree::Ids { 3 } else { 0 };
        let place = |position, tid| Entry { key, position, tid };
        let rows = |position: i64, n: u64| (1..=n).map(move |i| place(position, 10 * i));
        let list = |position, n| {
            let rows: Vec<u64> = rows(position, n).map(|r| r.tid).collect();
            posting(tree, place(position, 0), &rows)
        };
        let memory = leaf([list(1, 5), entry(tree, place(2, 7)), list(3, 2)]).fenced();
        let page = memory.view();
        let all: Vec<Entry> = rows(1, 5).chain([place(2, 7)]).chain(rows(3, 2)).collect();
        let mut reversed = all.clone();
        reversed.reverse();
        assert_eq!(forward(&page, tree, Entry::MIN, Entry::MAX), all);
        assert_eq!(backward(&page, tree, Entry::MAX, Entry::MIN), reversed);
        assert_eq!(page.nth(tree, 1), Some(all[0]));
        for (i, from) in all.iter().enumerate() {
            assert_eq!(
                forward(&page, tree, *from, Entry::MAX),
                all[i..],
                "from {i}"
            );
            assert_eq!(forward(&page, tree, Entry::MIN, *from), all[..=i], "to {i}");
            let mut expected = all[..=i].to_vec();
            expected.reverse();
            assert_eq!(
                backward(&page, tree, *from, Entry::MIN),
                expected,
                "back from {i}"
            );
            let mut expected = all[i..].to_vec();
            expected.reverse();
            assert_eq!(
                backward(&page, tree, Entry::MAX, *from),
                expected,
                "back to {i}"
            );
        }
        assert!(!page.is_damaged());
    }
}

/// A key index has no posting lists, whatever bits a tuple of it has.
fn no_posting_lists_of_keys() {
    let memory = leaf([posting(Tree::Keys, at(1, 0), &[5, 6])]).fenced();
    let page = memory.view();
    assert!(!page.is_posting(Tree::Keys, page.start_of(1)));
    assert!(page.is_posting(Tree::Positions, page.start_of(1)));
}

/// A dead entry is no entry any more, but it still says what is before and behind it.
fn dead_entries() {
    let entries: Vec<Entry> = (1..=5).map(|n| at(n, 1)).collect();
    let image = leaf(entries.iter().map(|e| entry(Tree::Positions, *e)));
    let memory = image.with_dead(1).with_dead(3).with_dead(5).fenced();
    let page = memory.view();
    let alive = [entries[1], entries[3]];
    assert_eq!(
        forward(&page, Tree::Positions, Entry::MIN, Entry::MAX),
        alive
    );
    assert_eq!(
        forward(&page, Tree::Positions, entries[2], Entry::MAX),
        alive[1..]
    );
    assert_eq!(
        backward(&page, Tree::Positions, entries[2], Entry::MIN),
        alive[..1]
    );
    assert_eq!(page.place_of(Tree::Positions, at(4, 0), 0), 4);
    assert_eq!(page.nth(Tree::Positions, 3), Some(entries[2]));
}

/// A posting list that is dead as a whole.
fn dead_posting_list() {
    let image = leaf([
        posting(Tree::Positions, at(1, 0), &[1, 2]),
        posting(Tree::Positions, at(2, 0), &[3, 4]),
    ]);
    let memory = image.with_dead(1).fenced();
    let all = forward(&memory.view(), Tree::Positions, Entry::MIN, Entry::MAX);
    assert_eq!(all, [at(2, 3), at(2, 4)]);
}

/// The only leaf of a tree that was emptied, and one in the middle that was.
fn empty_leaves() {
    let memory = Image::leaf().fenced();
    let page = memory.view();
    assert_eq!((page.count(), page.first_data()), (0, 1));
    assert_eq!(page.high_key(Tree::Positions), None);
    assert_eq!(forward(&page, Tree::Positions, Entry::MIN, Entry::MAX), []);
    assert_eq!(backward(&page, Tree::Positions, Entry::MAX, Entry::MIN), []);
    assert_eq!(page.place_of(Tree::Positions, at(1, 1), 0), 1);
    assert!(page.is_end(1) && page.nth(Tree::Positions, 1).is_none());
    assert!(!page.is_damaged());

    let memory = Image::leaf()
        .between(0, 9)
        .with(&whole_pivot(Tree::Positions, at(5, 0), 0))
        .fenced();
    let page = memory.view();
    assert_eq!((page.count(), page.first_data()), (1, 2));
    assert_eq!(page.high_key(Tree::Positions), Some(at(5, 0)));
    assert_eq!(forward(&page, Tree::Positions, Entry::MIN, Entry::MAX), []);
    assert_eq!(backward(&page, Tree::Positions, Entry::MAX, Entry::MIN), []);
    assert_eq!(page.place_of(Tree::Positions, at(1, 1), 0), 2);
    assert!(
        page.nth(Tree::Positions, 1).is_none(),
        "a high key is no entry"
    );
    assert!(!page.is_damaged());
}

/// What was cut off a pivot counts as before everything; a row's place ends the left page.
fn pivots() {
    let place = Entry {
        key: 4,
        position: 9,
        tid: 0,
    };
    let high = |tree, tuple: Vec<u8>| {
        let memory = Image::leaf().between(0, 9).with(&tuple).fenced();
        memory.view().high_key(tree)
    };
    let keys = |count, row| high(Tree::Keys, pivot(Tree::Keys, place, count, row, 0));
    assert_eq!(keys(0, None), Some(Entry::MIN));
    assert_eq!(
        keys(1, None),
        Some(Entry {
            position: i64::MIN,
            ..place
        })
    );
    assert_eq!(keys(2, None), Some(place));
    let row = tid(70_000, 12);
    assert_eq!(
        keys(2, Some(row)),
        Some(Entry {
            tid: row + 1,
            ..place
        })
    );
    for tree in [Tree::Positions, Tree::Ids] {
        let place = Entry {
            key: if tree == Tree::Ids { 4 } else { 0 },
            ..place
        };
        assert_eq!(high(tree, pivot(tree, place, 0, None, 0)), Some(Entry::MIN));
        assert_eq!(high(tree, pivot(tree, place, 1, None, 0)), Some(place));
        let found = high(tree, pivot(tree, place, 1, Some(row), 0));
        assert_eq!(
            found,
            Some(Entry {
                tid: row + 1,
                ..place
            })
        );
    }
    // As indexes have it that were made before attributes were cut off: an entry, with its row.
    let whole = Entry { tid: row, ..place };
    assert_eq!(high(Tree::Keys, entry(Tree::Keys, whole)), Some(whole));
}

/// The child of a place, from before the first pivot to beyond the last one.
fn children() {
    let row = tid(3, 3);
    let image = Image::of_level(1).with_all([
        first_pivot(10),
        pivot(Tree::Positions, at(5, 0), 1, None, 11),
        pivot(Tree::Positions, at(5, 0), 1, Some(row), 12),
        pivot(Tree::Positions, at(8, 0), 1, None, 13),
    ]);
    let memory = image.fenced();
    let page = memory.view();
    let child = |of| page.child(Tree::Positions, of);
    assert_eq!(child(Entry::MIN), Some((10, Entry::MIN)));
    assert_eq!(child(at(4, u64::MAX)), Some((10, Entry::MIN)));
    assert_eq!(child(at(5, 0)), Some((11, at(5, 0))));
    assert_eq!(
        child(at(5, row)),
        Some((11, at(5, 0))),
        "the last row of the left page"
    );
    assert_eq!(child(at(5, row + 1)), Some((12, at(5, row + 1))));
    assert_eq!(child(at(8, 0)), Some((13, at(8, 0))));
    assert_eq!(child(Entry::MAX), Some((13, at(8, 0))));
    assert!(!page.is_damaged() && !page.is_leaf() && page.level() == 1);
}

/// On a page that is not the last one of its level the first tuple is the high key, and leads nowhere.
fn children_behind_a_high_key() {
    let image = Image::of_level(2).between(0, 7).with_all([
        whole_pivot(Tree::Positions, at(9, 0), 99),
        first_pivot(70_000),
        whole_pivot(Tree::Positions, at(3, 0), 70_001),
    ]);
    let memory = image.fenced();
    let page = memory.view();
    assert_eq!(
        page.child(Tree::Positions, Entry::MIN),
        Some((70_000, Entry::MIN))
    );
    assert_eq!(
        page.child(Tree::Positions, at(9, 0)),
        Some((70_001, at(3, 0)))
    );
}

/// What nbtree's flags say.
fn flags() {
    let state = |image: Image| {
        let memory = image.fenced();
        let page = memory.view();
        [
            page.is_leaf(),
            page.is_ignored(),
            page.is_half_split(),
            page.is_meta(),
        ]
    };
    assert_eq!(state(Image::leaf()), [true, false, false, false]);
    assert_eq!(
        state(Image::leaf().and_flags(HALF_DEAD)),
        [true, true, false, false]
    );
    assert_eq!(
        state(Image::leaf().and_flags(DELETED)),
        [true, true, false, false]
    );
    assert_eq!(
        state(Image::leaf().and_flags(INCOMPLETE_SPLIT)),
        [true, false, true, false]
    );
    assert_eq!(
        state(Image::of_level(1).and_flags(DELETED)),
        [false, true, false, false]
    );
    assert_eq!(
        state(Image::of_level(0).with_flags(META)),
        [false, false, false, true]
    );
}

/// Of a metapage, the fast root counts: levels above it have one page each.
fn fast_root() {
    let image = Image::meta(3, 1);
    assert_eq!(image.fenced().view().fast_root(), (3, 1));
    let image = image.put_u32(24 + 16, 8).put_u32(24 + 20, 0);
    assert_eq!(image.fenced().view().fast_root(), (8, 0));
}

/// Where new entries belong, searched from the start and from the place of the one before.
fn places_of_new_entries() {
    let image = Image::leaf()
        .between(0, 9)
        .with(&whole_pivot(Tree::Keys, Entry::first(9, 0), 0));
    let image = image.with_all((2..=8).step_by(2).map(|key| {
        entry(
            Tree::Keys,
            Entry {
                key,
                position: 5,
                tid: 50,
            },
        )
    }));
    let memory = image.fenced();
    let page = memory.view();
    let place =
        |key, position, tid, from| page.place_of(Tree::Keys, Entry { key, position, tid }, from);
    assert_eq!(place(1, 5, 50, 0), 2);
    assert_eq!(place(2, 5, 49, 0), 2);
    assert_eq!(place(2, 5, 51, 0), 3);
    assert_eq!(place(4, 4, 99, 0), 3);
    assert_eq!(place(4, 6, 1, 0), 4);
    assert_eq!(place(9, 0, 0, 0), 6);
    assert!(page.is_end(6) && !page.is_end(5));
    assert_eq!(place(7, 0, 0, 3), 5);
    assert_eq!(place(7, 0, 0, 5), 5);
    assert_eq!(place(9, 0, 0, 6), 6);
    assert_eq!(place(9, 0, 0, 60), 60, "behind all others");
}

/// How many entries fit, with their pointers, into what is free between pointers and tuples.
fn room() {
    let image = Image::leaf();
    assert_eq!(image.fenced().view().room_for(16), (8192 - 24 - 16) / 20);
    let all = (1..=407).map(|n| entry(Tree::Positions, at(n, 1)));
    let full = image.with_all(all);
    assert_eq!(full.fenced().view().room_for(16), 0);
    let upside_down = full.with_header(4000, 3000, 8176);
    assert_eq!(upside_down.fenced().view().room_for(16), 0);
}
