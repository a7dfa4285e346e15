//! Pages that no nbtree makes: [`View`] calls them damaged, and reads nothing beyond them. They stand between pages that
//! nobody can read.

use crate::store::index::entry::{Entry, Tree};
use crate::store::pg::in_process::fuzz::Random;
use crate::store::pg::in_process::tests;

use super::View;
use super::image::{
    DELETED, HALF_DEAD, Image, entry, first_pivot, pivot, place, posting, tid, whole_pivot,
};
use super::tests::{TREES, at, backward, forward, leaf};

tests![
    headers_of_no_page,
    pointers_beyond_the_page,
    posting_lists_beyond_the_page,
    pivots_beyond_the_page,
    missing_high_key,
    any_bytes,
];

/// Whether a page counts as damaged from the start.
fn is_damaged(image: &Image) -> bool {
    image.fenced().view().is_damaged()
}

/// A header that no page of nbtree's has.
fn headers_of_no_page() {
    let sound = leaf([entry(Tree::Positions, at(1, 1))]);
    assert!(!is_damaged(&sound));
    for (lower, upper, special) in [
        (0, 0, 0),
        (23, 8160, 8176),
        (8164, 8160, 8176),
        (28, 8180, 8176),
        (28, 8160, 8168),
        (28, 8160, 8184),
        (28, 8160, 8192),
        (u16::MAX, u16::MAX, u16::MAX),
        (28, u16::MAX, 8176),
    ] {
        let image = sound.clone().with_header(lower, upper, special);
        assert!(is_damaged(&image), "{lower}, {upper}, {special}");
        // Even so, what is asked of it is answered, with nothing from beyond the page.
        ask_all(&image, at(1, 1));
    }
    assert!(is_damaged(&Image { bytes: [0; 8192] }));
    assert!(is_damaged(&Image {
        bytes: [0xFF; 8192]
    }));
}

/// Asks everything of a page, in each tree: nothing may panic, or read beyond it.
fn ask_all(image: &Image, target: Entry) -> bool {
    ask_all_of(&image.fenced().view(), target)
}

/// The same of a page that lies somewhere.
pub(super) fn ask_all_of(page: &View, target: Entry) -> bool {
    for tree in TREES {
        page.high_key(tree);
        page.child(tree, target);
        forward(page, tree, target, Entry::MAX);
        backward(page, tree, target, Entry::MIN);
        let place = page.place_of(tree, target, 0);
        page.place_of(tree, target, place.saturating_add(1));
        for n in [0, 1, 2, place, page.count(), page.count() + 1] {
            page.nth(tree, n);
        }
    }
    page.room_for(16);
    page.fast_root();
    page.is_damaged()
}

/// A tuple that begins on the page and ends beyond it, or begins beyond it.
fn pointers_beyond_the_page() {
    let pointer = |at: u32| at | 1 << 15 | 16 << 17;
    let sound = leaf((1..=4).map(|n| entry(Tree::Positions, at(n, 1))));
    for at_page in [8185, 8191, 8192, 0x7FFF] {
        for n in 1..=4 {
            let image = sound.clone().put_u32(Image::pointer(n), pointer(at_page));
            let memory = image.fenced();
            let page = memory.view();
            let found = forward(&page, Tree::Positions, Entry::MIN, Entry::MAX);
            assert!(page.is_damaged(), "pointer {n} to {at_page}");
            assert!(found.len() <= 4);
            assert!(ask_all(&image, at(2, 0)));
        }
    }
}

/// A list that is elsewhere than on the page, in part or as a whole.
fn posting_lists_beyond_the_page() {
    let sound = leaf([posting(Tree::Positions, at(1, 0), &[1, 2, 3])]);
    let start = sound.start_of(1);
    for (offset, rows) in [
        (16, 4095),
        (16, 9),
        (8192, 3),
        (65_535, 3),
        (u32::MAX, 3),
        (u32::MAX - 8191, 4095),
    ] {
        let image = sound
            .clone()
            .put_u16(start, (offset >> 16) as u16)
            .put_u16(start + 2, offset as u16)
            .put_u16(start + 4, 0x2000 | rows);
        let memory = image.fenced();
        let page = memory.view();
        forward(&page, Tree::Positions, Entry::MIN, Entry::MAX);
        assert!(page.is_damaged(), "{rows} rows at {offset}");
        let page = memory.view();
        backward(&page, Tree::Positions, Entry::MAX, Entry::MIN);
        assert!(page.is_damaged(), "{rows} rows at {offset}, from behind");
        ask_all(&image, at(1, 2));
    }
}

/// A pivot whose row's place would be before its own start, or beyond the page.
fn pivots_beyond_the_page() {
    let high = pivot(Tree::Positions, at(5, 0), 1, Some(9), 0);
    let sound = Image::leaf().between(0, 9).with(&high);
    let start = sound.start_of(1);
    for info in [0x2000, 0x2005, 0x3FFF] {
        let image = sound.clone().put_u16(start + 6, info);
        ask_all(&image, at(1, 1));
    }
    // At the page's very beginning, so that what is before it is before the page.
    let image = sound
        .put_u32(Image::pointer(1), 1 << 15)
        .put_u16(4, 0x1000 | 1)
        .put_u16(6, 0x2000);
    assert!(ask_all(&image, at(1, 1)));
}

/// Whoever has a right sibling has a high key. Without one a reader would take the page for the last one.
fn missing_high_key() {
    let image = Image::leaf().between(0, 9);
    assert!(is_damaged(&image));
    ask_all(&image, at(1, 1));
    let dead = image
        .with(&whole_pivot(Tree::Positions, at(5, 0), 0))
        .with_dead(1);
    let memory = dead.fenced();
    let page = memory.view();
    page.high_key(Tree::Positions);
    assert!(page.is_damaged());
    // Of a page that is deleted nobody wants to know where it ended.
    for flag in [HALF_DEAD, DELETED] {
        assert!(!is_damaged(&Image::leaf().between(0, 9).and_flags(flag)));
    }
}

/// Whatever bytes a page has: nothing panics, and nothing is read that is not the page's.
fn any_bytes() {
    let mut random = Random::new(12);
    let sound = [
        leaf((1..=9).map(|n| entry(Tree::Positions, at(n, 1)))),
        leaf([posting(Tree::Positions, at(1, 0), &[1, 2, 3])]),
        Image::of_level(1).between(0, 7).with_all([
            whole_pivot(Tree::Keys, at(9, 0), 99),
            first_pivot(3),
            pivot(Tree::Keys, at(3, 0), 2, Some(tid(8, 1)), 4),
        ]),
    ];
    let mut damaged = 0;
    for round in 0..10_000 {
        let mut image = sound[round % sound.len()].clone();
        for _ in 0..1 + random.below(8) {
            image = image.put_u16(place(&mut random), random.next() as u16);
        }
        let target = at(random.below(12) as i64, random.next());
        // A header that is damaged is known before anything is asked.
        damaged += usize::from(is_damaged(&image) || ask_all(&image, target));
    }
    assert!(
        (1_000..9_900).contains(&damaged),
        "{damaged} pages were damaged"
    );
}
