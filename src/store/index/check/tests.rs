//! Each thing that can be wrong with an index, made on purpose: the check must name it, and its page.

use crate::dcb::error::Result;
use crate::store::index::entry::{Entry, Tree};
use crate::store::index::page::image::{
    DELETED, HALF_DEAD, Image, entry, first_pivot, pivot, place, posting, whole_pivot,
};
use crate::store::index::page::sample::{Sample, at, two_leaves};
use crate::store::pg::in_process::fuzz::Random;
use crate::store::pg::in_process::tests;
use crate::store::pg::spi;

use super::{Trouble, walk};

const INCOMPLETE_SPLIT: u16 = 1 << 7;
const META: u16 = 1 << 3;

tests![
    indexes_of_nbtree,
    sound_pages,
    metapages,
    links,
    levels,
    tuples_that_are_not_on_the_page,
    sizes_of_tuples,
    posting_lists,
    pivots,
    siblings,
    order,
    circle,
    fenced_pages,
];

const LEFT: usize = 1;
const RIGHT: usize = 2;
const ROOT: usize = 3;

fn one(position: i64) -> Vec<u8> {
    entry(
        Tree::Positions,
        Entry {
            tid: 1,
            ..at(position)
        },
    )
}

/// A sound tree: two leaves of two entries each, and their parent.
fn sound() -> Vec<Image> {
    two_leaves(&[one(1), one(4)], &[one(5), one(8)])
}

fn left(tuples: &[Vec<u8>]) -> Image {
    let image = Image::leaf()
        .between(0, 2)
        .with(&whole_pivot(Tree::Positions, at(5), 0));
    image.with_all(tuples.iter().cloned())
}

fn right(tuples: &[Vec<u8>]) -> Image {
    Image::leaf().between(1, 0).with_all(tuples.iter().cloned())
}

/// What the check says of the tree with one page in another page's place: the page, and what is wrong with it.
fn told(sample: &Sample, block: usize, page: Image) -> (u32, String) {
    let mut pages = sound();
    pages[block] = page;
    told_of(sample, &pages)
}

fn told_of(sample: &Sample, pages: &[Image]) -> (u32, String) {
    sample.write(pages);
    let outcome = walk(&sample.reader());
    assert!(sample.is_all_free(), "a page is still pinned or locked");
    match outcome {
        Ok(()) => (0, String::new()),
        Err(Trouble { block, problem }) => (block, problem),
    }
}

/// A sample whose pages are the sound ones.
fn sample() -> Result<Sample> {
    let sample = Sample::new(Tree::Positions)?;
    sample.write(&sound());
    Ok(sample)
}

fn is(block: u32, problem: &str) -> (u32, String) {
    (block, problem.to_owned())
}

fn nothing() -> (u32, String) {
    is(0, "")
}

fn indexes_of_nbtree() -> Result<()> {
    for (tree, columns, values) in [
        (Tree::Positions, "position", "n % 7"),
        (Tree::Keys, "key, position", "n % 7, n % 11"),
        (Tree::Ids, "id", "md5((n % 3000)::text)::uuid"),
    ] {
        let sample = Sample::with_duplicates(tree, tree != Tree::Keys)?;
        assert!(walk(&sample.reader()).is_ok(), "an empty {tree:?}");
        spi::command(&format!(
            "INSERT INTO public.sample ({columns}) SELECT {values} FROM generate_series(1, 20000) n;
             DELETE FROM public.sample WHERE position = 3"
        ))?;
        let trouble = walk(&sample.reader()).err().map(|t| (t.block, t.problem));
        assert_eq!(trouble, None, "{tree:?}");
        assert!(sample.is_all_free());
        drop(sample);
        spi::command("DROP TABLE public.sample")?;
    }
    Ok(())
}

fn sound_pages() -> Result<()> {
    let sample = sample()?;
    assert_eq!(told_of(&sample, &sound()), nothing());
    let cut = pivot(Tree::Positions, at(5), 1, Some(9), 0);
    let parted = Image::leaf().between(0, 2).with_all([cut, one(4)]);
    let lower = right(&[one(6)]);
    let mut pages = sound();
    pages[LEFT] = parted;
    pages[RIGHT] = lower;
    assert_eq!(told_of(&sample, &pages), nothing());
    // Half-dead pages and splits that are not complete are what a crash leaves behind, and what nbtree copes with.
    assert_eq!(
        told(&sample, LEFT, left(&[]).and_flags(HALF_DEAD)),
        nothing()
    );
    assert_eq!(
        told(&sample, LEFT, left(&[one(1)]).and_flags(INCOMPLETE_SPLIT)),
        nothing()
    );
    let lists = [posting(Tree::Positions, at(1), &[3, 4]), one(2).to_vec()];
    assert_eq!(told(&sample, LEFT, left(&lists)), nothing());
    assert_eq!(
        told(&sample, RIGHT, right(&[one(5), one(8)]).with_dead(1)),
        nothing()
    );
    Ok(())
}

fn metapages() -> Result<()> {
    let sample = sample()?;
    let none = is(0, "it is no metapage of nbtree's");
    assert_eq!(told(&sample, 0, Image::meta(3, 1).put_u32(24, 1)), none);
    assert_eq!(told(&sample, 0, Image::meta(3, 1).put_u32(28, 3)), none);
    assert_eq!(told(&sample, 0, Image::meta(3, 1).with_flags(0)), none);
    let special = Image::meta(3, 1).with_header(72, 8176, 8160);
    assert_eq!(
        told(&sample, 0, special),
        is(0, "it is no page of nbtree's")
    );
    for lower in [20, 25, 8180] {
        let header = Image::meta(3, 1).with_header(lower, 8176, 8176);
        assert_eq!(told(&sample, 0, header), is(0, "its header is damaged"));
    }
    assert_eq!(told(&sample, 0, Image::meta(0, 0)), nothing());
    Ok(())
}

fn links() -> Result<()> {
    let sample = sample()?;
    let none = "a link leads to it, but there is no such page";
    assert_eq!(told(&sample, 0, Image::meta(99, 1)), is(99, none));
    assert_eq!(
        told(&sample, RIGHT, right(&[one(5)]).with(&one(6)).between(1, 0)),
        nothing()
    );
    let far = Image::leaf()
        .between(1, 98)
        .with(&whole_pivot(Tree::Positions, at(9), 0));
    assert_eq!(told(&sample, RIGHT, far), is(98, none));
    let root = Image::of_level(1).with(&first_pivot(97));
    assert_eq!(told(&sample, ROOT, root), is(97, none));
    let zeros = Image { bytes: [0; 8192] };
    assert_eq!(
        told(&sample, LEFT, zeros),
        is(1, "it is no page of nbtree's")
    );
    Ok(())
}

fn levels() -> Result<()> {
    let sample = sample()?;
    assert_eq!(
        told(&sample, 0, Image::meta(3, 2)),
        is(3, "it is of another level")
    );
    let flags = Image::of_level(1).and_flags(1).with(&first_pivot(1));
    assert_eq!(
        told(&sample, ROOT, flags),
        is(3, "leaf or not, it is the other")
    );
    assert_eq!(
        told(&sample, LEFT, left(&[]).and_flags(META)),
        is(1, "it is a metapage")
    );
    let bare = Image::leaf().between(0, 2);
    assert_eq!(told(&sample, LEFT, bare), is(1, "its high key is missing"));
    assert_eq!(
        told(&sample, ROOT, Image::of_level(1)),
        is(3, "it has no child")
    );
    let dead = Image::of_level(1).and_flags(HALF_DEAD);
    assert_eq!(
        told(&sample, ROOT, dead),
        is(3, "no page of its level leads further down")
    );
    let first = Image::leaf()
        .between(7, 2)
        .with(&whole_pivot(Tree::Positions, at(5), 0));
    let problem = "the first page of its level has a left sibling";
    assert_eq!(told(&sample, LEFT, first), is(1, problem));
    Ok(())
}

/// A pointer's offset, state and length.
fn pointer(at: usize, state: u32, length: u32) -> u32 {
    at as u32 | state << 15 | length << 17
}

fn tuples_that_are_not_on_the_page() -> Result<()> {
    let sample = sample()?;
    let page = right(&[one(5), one(8)]);
    let start = page.start_of(1);
    for wrong in [
        pointer(start, 0, 16),
        pointer(start, 2, 16),
        pointer(start + 4, 1, 16),
        pointer(start - 64, 1, 16),
        pointer(start, 1, 4),
        pointer(8168, 1, 16),
        pointer(0x7FF8, 1, 16),
        pointer(8, 1, 16),
    ] {
        let page = page.clone().put_u32(Image::pointer(1), wrong);
        let expected = is(2, "entry 1 is not on the page");
        assert_eq!(told(&sample, RIGHT, page), expected, "pointer {wrong:#x}");
    }
    Ok(())
}

fn sizes_of_tuples() -> Result<()> {
    let sample = sample()?;
    let page = right(&[one(5), one(8)]);
    let start = page.start_of(2);
    for info in [0, 8, 24, 16 | 0x8000, 16 | 0x4000] {
        let page = page.clone().put_u16(start + 6, info);
        let expected = is(2, "entry 2 has another size than it says");
        assert_eq!(told(&sample, RIGHT, page), expected, "flags {info:#x}");
    }
    let long = entry(Tree::Keys, Entry::first(5, 5));
    let expected = is(2, "entry 1 has another size than an entry");
    assert_eq!(told(&sample, RIGHT, right(&[long])), expected);
    Ok(())
}

fn posting_lists() -> Result<()> {
    let sample = Sample::with_duplicates(Tree::Positions, true)?;
    let whole = right(&[posting(Tree::Positions, at(6), &[3, 4, 5])]);
    assert_eq!(told(&sample, RIGHT, whole.clone()), nothing());
    let start = whole.start_of(1);
    let expected = is(2, "entry 1 is no entry of a leaf");
    for page in [
        whole.clone().put_u16(start + 4, 0x2000 | 1),
        whole.clone().put_u16(start + 4, 0x2000 | 5),
        whole.clone().put_u16(start + 4, 3),
        whole.clone().put_u16(start + 2, 24),
        whole.clone().put_u16(start, 1),
    ] {
        assert_eq!(told(&sample, RIGHT, page), expected);
    }
    let unsorted = right(&[posting(Tree::Positions, at(6), &[4, 3])]);
    assert_eq!(
        told(&sample, RIGHT, unsorted),
        is(2, "its entries are not in order")
    );
    let beyond = left(&[posting(Tree::Positions, at(5), &[1, 2])]);
    assert_eq!(
        told(&sample, LEFT, beyond),
        is(1, "an entry is beyond its high key")
    );
    Ok(())
}

fn pivots() -> Result<()> {
    let sample = sample()?;
    let expected = is(3, "entry 2 is no pivot");
    let root = |second: Vec<u8>| Image::of_level(1).with_all([first_pivot(1), second]);
    let list = posting(Tree::Positions, at(5), &[1, 2]);
    assert_eq!(told(&sample, ROOT, root(list)), expected);
    let two = pivot(Tree::Keys, at(5), 2, None, 2);
    assert_eq!(told(&sample, ROOT, root(two)), expected);
    let long = pivot(Tree::Positions, at(5), 1, Some(3), 2);
    let page = root(long);
    let start = page.start_of(2);
    assert_eq!(told(&sample, ROOT, page.clone()), nothing());
    assert_eq!(told(&sample, ROOT, page.put_u16(start + 4, 1)), expected);
    Ok(())
}

fn siblings() -> Result<()> {
    let sample = sample()?;
    let other = right(&[one(5)]).between(7, 0);
    let problem = "its left sibling is page 1, but it names page 7";
    assert_eq!(told(&sample, RIGHT, other), is(2, problem));
    let gone = right(&[]).and_flags(DELETED);
    let problem = "it is deleted, but its sibling leads to it";
    assert_eq!(told(&sample, RIGHT, gone), is(2, problem));
    let problem = "its entries begin before its left sibling's end";
    assert_eq!(told(&sample, RIGHT, right(&[one(4)])), is(2, problem));
    assert_eq!(told(&sample, RIGHT, right(&[])), nothing());
    Ok(())
}

fn order() -> Result<()> {
    let sample = sample()?;
    let expected = is(2, "its entries are not in order");
    assert_eq!(told(&sample, RIGHT, right(&[one(8), one(6)])), expected);
    assert_eq!(told(&sample, RIGHT, right(&[one(8), one(8)])), expected);
    let beyond = is(1, "an entry is beyond its high key");
    assert_eq!(told(&sample, LEFT, left(&[one(1), one(6)])), beyond);
    let same = Entry { tid: 0, ..at(5) };
    let page = left(&[entry(Tree::Positions, same)]);
    assert_eq!(told(&sample, LEFT, page), beyond);
    // The first child of an inner page is before everything, whatever its pivot says; the others are not.
    let third = |position| {
        Image::of_level(1).with_all([
            first_pivot(1),
            whole_pivot(Tree::Positions, at(5), 2),
            whole_pivot(Tree::Positions, at(position), 2),
        ])
    };
    assert_eq!(told(&sample, ROOT, third(6)), nothing());
    assert_eq!(
        told(&sample, ROOT, third(5)),
        is(3, "its entries are not in order")
    );
    Ok(())
}

/// Deleted pages are in nobody's chain, so their links are not compared: but they end, too.
fn circle() -> Result<()> {
    let sample = sample()?;
    let page = Image::leaf().between(0, 1).and_flags(DELETED);
    assert_eq!(
        told(&sample, LEFT, page),
        is(1, "its level's links go in a circle")
    );
    Ok(())
}

/// Whatever bytes a page has, no check of it reads a byte that is not the page's.
fn fenced_pages() {
    let mut random = Random::new(57);
    let whole = [
        sound(),
        vec![right(&[posting(Tree::Positions, at(6), &[3, 4, 5])])],
    ]
    .concat();
    for round in 0..20_000 {
        let mut image = whole[round % whole.len()].clone();
        for _ in 0..1 + random.below(6) {
            image = image.put_u16(place(&mut random), random.next() as u16);
        }
        let memory = image.fenced();
        let page = memory.view();
        for tree in [Tree::Keys, Tree::Positions, Tree::Ids] {
            for level in [0, 1] {
                if super::check_form(&page, tree, level).is_ok() {
                    let _ = super::check_order(&page, tree);
                    let _ = super::check_siblings((&page, 1), &page, tree, level);
                }
            }
        }
    }
}
