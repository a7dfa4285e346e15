//! Pages of nbtree's own whose bytes are changed at random: alone, between two pages that nobody can read, and in their index,
//! where they are read, checked and written as in a log. Each ends in entries, or in an error that tells of damage.

use pgrx::pg_sys;

use crate::dcb::error::Result;
use crate::store::index::check;
use crate::store::index::entry::{Direction, Entry, Tree};
use crate::store::index::fetch::{Fetcher, Spot};
use crate::store::index::leaf::{New, tests::count as put_on_leaf};
use crate::store::pg::in_process::fence::Fence;
use crate::store::pg::in_process::fuzz::{Random, cases};
use crate::store::pg::in_process::tests;
use crate::store::pg::spi;
use crate::store::pg::subtransaction::{Then, in_subtransaction_then};

use super::damage::ask_all_of;
use super::image::Image;
use super::sample::Sample;
use super::tests::{TREES, backward, forward};
use super::{PAGE, SPECIAL_START, View};

tests![
    pages,
    indexes_of_keys,
    indexes_of_positions,
    indexes_of_ids,
    entry_of_a_row_on_no_page,
];

/// An index of several pages, some with posting lists.
fn sample(tree: Tree) -> Result<Sample> {
    let sample = Sample::with_duplicates(tree, tree != Tree::Keys)?;
    spi::command(
        "INSERT INTO public.sample SELECT n % 3, n / 4, md5((n / 4)::text)::uuid FROM generate_series(1, 3000) n",
    )?;
    Ok(sample)
}

fn images(sample: &Sample) -> Vec<Image> {
    (0..sample.index.pages())
        .map(|block| Image::read(&sample.index, block))
        .collect()
}

/// Changes a page at one place.
fn change(random: &mut Random, image: Image, others: &[Image]) -> Image {
    let count = (usize::from(image.u16_at(12)).clamp(28, SPECIAL_START) - 24) / 4;
    // The first tuples are the high key and the first child.
    let few = if random.below(2) == 0 { 4 } else { count };
    let n = 1 + random.below(count.min(few));
    let pointer = Image::pointer(n);
    let tuple = image.start_of(n).min(PAGE - 32);
    let (word, any) = (random.word(), random.next());
    let half = random.one(&[word as u16, (word >> 16) as u16, any as u16]);
    match random.below(13) {
        // Any bit, any byte, a range of one byte.
        0 => {
            let mut image = image;
            image.bytes[random.below(PAGE)] ^= 1 << random.below(8);
            image
        }
        1 => {
            let mut image = image;
            let at = random.below(PAGE);
            let end = (at + 1 + random.below(600)).min(PAGE);
            image.bytes[at..end].fill(random.one(&[0, 0xFF, any as u8]));
            image
        }
        // A piece of another page.
        2 => {
            let mut image = image;
            let other = &others[random.below(others.len())];
            let at = random.below(PAGE);
            let end = (at + 1 + random.below(4000)).min(PAGE);
            image.bytes[at..end].copy_from_slice(&other.bytes[at..end]);
            image
        }
        // Where pointers end, tuples begin, and nbtree's own data begin.
        3 => {
            let field = random.one(&[12, 14, 16]);
            let near = image
                .u16_at(field)
                .wrapping_add(random.below(17) as u16)
                .wrapping_sub(8);
            image.put_u16(field, random.one(&[half, near]))
        }
        // Where a tuple is, what it is, how long; one tuple in the place of another.
        4 => image.put_u32(pointer, random.one(&[word, any as u32])),
        5 => {
            let at = random.below(0x8000) as u32;
            let before = image.u32_at(pointer);
            image.put_u32(pointer, before & !0x7FFF | at)
        }
        6 => {
            let other = image.u32_at(Image::pointer(1 + random.below(count)));
            image.put_u32(pointer, other)
        }
        7 => {
            let before = image.u32_at(pointer);
            image.put_u32(pointer, before ^ 1 << (15 + random.below(17)))
        }
        // A tuple's row or list or child, its number of rows or attributes, its size and flags, its values.
        8 => image.put_u16(tuple + random.one(&[0, 2]), half),
        9 => {
            let flags = random.one(&[0, 0x1000, 0x2000, 0x3000]);
            image.put_u16(tuple + 4, half & 0x0FFF | flags)
        }
        10 => {
            let flags = random.one(&[0, 0x2000, 0x4000, 0x8000]);
            image.put_u16(tuple + 6, half & 0x1FFF | flags)
        }
        11 => image.put_u32(tuple + 8 + 4 * random.below(4), word),
        // Siblings, level, flags.
        _ => {
            let field = random.below(4);
            let low = random.below(others.len() + 2) as u32;
            let flag = u32::from(image.u16_at(SPECIAL_START + 12)) ^ 1 << random.below(16);
            let at = SPECIAL_START + 4 * field;
            image.put_u32(
                at,
                if field == 3 {
                    flag
                } else {
                    random.one(&[low, low, word])
                },
            )
        }
    }
}

fn changed(random: &mut Random, sound: &[Image]) -> (usize, Image) {
    let block = random.below(sound.len());
    let mut image = sound[block].clone();
    for _ in 0..1 + random.below(4) {
        image = change(random, image, sound);
    }
    (block, image)
}

/// Some place that may be in the index, or near one.
fn place(random: &mut Random, tree: Tree) -> Entry {
    let n = random.below(760) as i64;
    match random.below(8) {
        0 => random.one(&[Entry::MIN, Entry::MAX]),
        _ => Entry {
            key: if tree == Tree::Positions { 0 } else { n % 3 },
            position: n,
            tid: random.below(1 << 20) as u64,
        },
    }
}

/// Of each page everything is asked, as a page of each kind of index.
fn pages() -> Result<()> {
    let mut sound = Vec::new();
    for tree in TREES {
        let sample = sample(tree)?;
        sound.extend(images(&sample));
        drop(sample);
        spi::command("DROP TABLE public.sample")?;
    }
    let mut fence = Fence::new(PAGE);
    for image in &sound {
        // SAFETY: a whole page, which nobody changes while it is looked at.
        let page = unsafe { View::at(fence.put(&image.bytes)) };
        assert!(!page.is_damaged());
    }
    // A posting list has at most as many rows as its 12 bits say.
    let most = PAGE / 4 * 4096;
    cases("pages", |random| {
        let (_, image) = changed(random, &sound);
        let start = fence.put(&image.bytes);
        // SAFETY: as above.
        let page = unsafe { View::at(start) };
        let tree = TREES[random.below(3)];
        let (a, b) = (place(random, tree), place(random, tree));
        let (from, to) = (a.min(b), a.max(b));
        for found in [
            forward(&page, tree, from, to),
            backward(&page, tree, to, from),
        ] {
            assert!(found.iter().all(|e| (from..=to).contains(e)) && found.len() <= most);
        }
        let place = page.place_of(tree, from, 0);
        assert!(
            place >= 1 && place <= (page.count() + 1).max(2),
            "a place on the page"
        );
        let is_known = page.is_damaged();
        Ok(match ask_all_of(&page, from) {
            _ if is_known => "damaged",
            true => "damaged elsewhere",
            false => "of entries",
        })
    })
}

fn indexes_of_keys() -> Result<()> {
    indexes(Tree::Keys)
}

fn indexes_of_positions() -> Result<()> {
    indexes(Tree::Positions)
}

fn indexes_of_ids() -> Result<()> {
    indexes(Tree::Ids)
}

/// An index in which one page or two are changed is read in both directions, checked, and written.
fn indexes(tree: Tree) -> Result<()> {
    let sample = sample(tree)?;
    let sound = images(&sample);
    let count = sample.entries(Direction::Forward)?.len();
    let name = format!("indexes of {tree:?}");
    cases(&name, |random| {
        for _ in 0..1 + random.below(2) {
            let (block, image) = changed(random, &sound);
            image.write(&sample.index, block as u32);
        }
        let end = tried(random, &sample, count)?;
        // Those that were written to are changed, too.
        sample.write(&sound);
        assert_eq!(
            sample.index.pages() as usize,
            sound.len(),
            "reading makes no pages"
        );
        assert!(sample.is_all_free(), "a page is still pinned or locked");
        Ok(end)
    })
}

/// Does what is done with an index of a log, and says how it ended.
fn tried(random: &mut Random, sample: &Sample, count: usize) -> Result<&'static str> {
    let mut end = "sound";
    for what in 0..5 {
        let (from, to) = (place(random, sample.tree), place(random, sample.tree));
        // An error of PostgreSQL's, where a link leads beyond the index, leaves pages locked until the abort.
        let outcome = in_subtransaction_then(|| {
            let way = match what {
                0 => sample.entries(Direction::Forward)?.len() == count,
                1 => sample.entries(Direction::Backward)?.len() == count,
                2 => {
                    let (direction, out) = (
                        random.one(&[Direction::Forward, Direction::Backward]),
                        &mut Vec::new(),
                    );
                    sample.reader().page(from, to, direction, out)?;
                    true
                }
                3 => check::walk(&sample.reader()).is_ok(),
                _ => {
                    write(sample, from, to);
                    true
                }
            };
            Ok((way, Then::Undo))
        })?;
        match outcome {
            Ok(true) => {}
            Ok(false) if end == "sound" => end = "other entries",
            Ok(false) => {}
            Err(failure) => {
                // PostgreSQL's own, where a link leads beyond the index: to where there is no file, it is an internal error.
                let is_told =
                    failure.state == "XX001" || failure.message.starts_with("could not open file");
                assert!(is_told, "{}", failure.in_words());
                end = "damaged";
            }
        }
    }
    Ok(end)
}

/// Puts entries on leaves of the index, as far as they are not left to nbtree.
fn write(sample: &Sample, from: Entry, to: Entry) {
    let new = |e: Entry| match sample.tree {
        Tree::Ids => New::of_id(&e.id(), row(e.tid)),
        _ => New::of_key(e.key, e.position, row(e.tid)),
    };
    let mut entries = [from.min(to), from.max(to)].map(new).to_vec();
    entries.extend((1..130).map(|n| {
        new(Entry {
            position: to.position.saturating_add(n),
            ..to
        })
    }));
    put_on_leaf(sample, &entries);
}

fn row(tid: u64) -> pg_sys::ItemPointerData {
    pg_sys::ItemPointerData {
        ip_blkid: pg_sys::BlockIdData {
            bi_hi: (tid >> 32) as u16,
            bi_lo: (tid >> 16) as u16,
        },
        ip_posid: (tid as u16).max(1),
    }
}

/// An entry of bytes 0xFF leads to a page that PostgreSQL would make, and of which nothing is pinned.
fn entry_of_a_row_on_no_page() -> Result<()> {
    let sample = sample(Tree::Positions)?;
    let pages = sample.table.pages();
    let mut fetcher = Fetcher::new(&sample.table);
    for tid in [u64::MAX >> 16, u64::from(u16::MAX), u64::MAX >> 16] {
        assert!(fetcher.look(tid) == Spot::Beyond);
    }
    fetcher.unpin();
    assert_eq!(sample.table.pages(), pages);
    Ok(())
}
