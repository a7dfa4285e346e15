//! `en57_check` finds damage that is done to the files of a stopped server.
//!
//! Each finding goes with its check: without one the test names the damage that is not found.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use crate::support::cluster::{Cluster, Database, OwnCluster};
use crate::support::findings::{KEYS, fill, findings};

const PAGE: usize = 8192;
const SPECIAL: usize = PAGE - 16;

/// A server whose files are changed while it is down.
struct Victim {
    cluster: OwnCluster,
    db: Database,
}

impl Victim {
    fn new() -> Self {
        // From 18 on pages have checksums, which would find the damage first.
        let cluster = Cluster::own(&["ignore_checksum_failure = on", "autovacuum = off"]);
        let db = cluster.database();
        fill(&mut db.connect(), 3000);
        assert_eq!(findings(&mut db.connect()), [""; 0]);
        Self { cluster, db }
    }

    /// Changes a relation's file, looks what the check finds, and changes it back.
    fn with_damage(
        &self,
        relation: &str,
        damage: impl FnOnce(&[u8]) -> (usize, Vec<u8>),
    ) -> Vec<String> {
        let mut session = self.db.connect();
        let path = session.text(&format!("SELECT pg_relation_filepath('{relation}')"));
        drop(session);
        self.cluster.stop("fast");
        let path = format!("{}/data/{path}", self.cluster.folder());
        let bytes = std::fs::read(&path).expect("the relation's file");
        let (at, changed) = damage(&bytes);
        let file = OpenOptions::new()
            .write(true)
            .open(&path)
            .expect("to be changed");
        file.write_all_at(&changed, at as u64).expect("damage");
        self.cluster.start();
        let found = findings(&mut self.db.connect());
        self.cluster.stop("fast");
        let before = &bytes[at..at + changed.len()];
        file.write_all_at(before, at as u64).expect("repair");
        self.cluster.start();
        assert_eq!(findings(&mut self.db.connect()), [""; 0], "repaired");
        found
    }
}

/// Where an entry for a position begins in an index on (key, position).
fn entry_of(bytes: &[u8], position: i64) -> usize {
    let is_entry = |at: &usize| {
        bytes[at + 6..at + 8] == 24u16.to_le_bytes()
            && bytes[at + 16..at + 24] == position.to_le_bytes()
    };
    (0..bytes.len() - 24)
        .step_by(8)
        .find(is_entry)
        .expect("an entry")
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The first leaf page that is neither the first nor the last one of its level.
fn inner_leaf(bytes: &[u8]) -> usize {
    (1..bytes.len() / PAGE)
        .map(|n| n * PAGE)
        .find(|page| {
            let special = page + SPECIAL;
            bytes[special + 12] & 1 == 1
                && number(bytes, special) != 0
                && number(bytes, special + 4) != 0
        })
        .expect("a tree of several leaves")
}

#[test]
fn damaged_files() {
    let victim = Victim::new();
    let expect = |found: Vec<String>, expected: &[&str]| {
        assert_eq!(found, expected);
    };

    // An entry that leads to another row, whose own entry is missing then.
    let found = victim.with_damage(KEYS, |bytes| {
        let at = entry_of(bytes, 1234) + 4;
        let place = u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        (
            at,
            (if place > 1 { place - 1 } else { 2 }).to_le_bytes().into(),
        )
    });
    expect(
        found,
        &[
            "error: index en57.events_default_keys: event at position 1234: 1 of its 4 entries are missing",
            "error: index en57.events_default_keys: entry for position 1234: the row in its place has another position",
        ],
    );
    // One that leads to nothing.
    let found = victim.with_damage(KEYS, |bytes| {
        (entry_of(bytes, 1234) + 4, 250u16.to_le_bytes().into())
    });
    assert!(
        found[1].ends_with("entry for position 1234: there is no row in its place"),
        "{found:?}"
    );
    let found = victim.with_damage(KEYS, |bytes| {
        (entry_of(bytes, 1234), 7u16.to_le_bytes().into())
    });
    assert!(
        found[1].ends_with("entry for position 1234: its row lies beyond the end of the table"),
        "{found:?}"
    );

    // A tag that was changed on the row.
    let found = victim.with_damage("en57.events_default", |bytes| {
        let at = bytes.windows(9).position(|w| w == b"tag:01234");
        (at.expect("the tag"), b"tag:99999".into())
    });
    expect(
        found,
        &[
            "error: index en57.events_default_keys: event at position 1234: 1 of its 4 entries are missing",
            "error: index en57.events_default_keys: entry for position 1234: the row in its place has no such type, tag, stream or id",
        ],
    );
    let found = victim.with_damage("en57.events_default", |bytes| {
        let at = bytes.windows(9).position(|w| w == b"tag:01234");
        (at.expect("the tag"), b"a".into())
    });
    assert!(
        found.iter().any(|f| f == "error: table en57.events_default: event at position 1234: its tags are not sorted and distinct"),
        "{found:?}"
    );

    // The index on position.
    let found = victim.with_damage("en57.events_default_position", |bytes| {
        let position = 1234i64.to_le_bytes();
        let at = bytes
            .chunks(8)
            .position(|w| w == position)
            .expect("an entry")
            * 8
            - 4;
        let place = u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        (
            at,
            (if place > 1 { place - 1 } else { 2 }).to_le_bytes().into(),
        )
    });
    expect(
        found,
        &[
            "error: index en57.events_default_position: event at position 1234: its entry is missing",
            "error: index en57.events_default_position: entry for position 1234: the row in its place has another position",
        ],
    );

    // The index on id.
    let id = victim
        .db
        .connect()
        .text("SELECT id::text FROM en57.events WHERE position = 1234");
    let digits: Vec<char> = id.chars().filter(|c| *c != '-').collect();
    let byte = |d: &[char]| u8::from_str_radix(&String::from_iter(d), 16).expect("digits");
    let bytes_of_id: Vec<u8> = digits.chunks(2).map(byte).collect();
    let found = victim.with_damage("en57.events_default_id", |bytes| {
        let entry = bytes.windows(16).position(|w| w == bytes_of_id);
        let at = entry.expect("an entry") - 4;
        let place = u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        (
            at,
            (if place > 1 { place - 1 } else { 2 }).to_le_bytes().into(),
        )
    });
    assert_eq!(
        found,
        [
            "error: index en57.events_default_id: event at position 1234: its entry is missing"
                .to_owned(),
            format!(
                "error: index en57.events_default_id: entry for id {id}: the row in its place has another id"
            ),
        ]
    );
}

#[test]
fn broken_pages() {
    let victim = Victim::new();
    let one = |found: Vec<String>, expected: &str| {
        assert!(
            found.len() == 1
                && found[0].starts_with("error: index en57.")
                && found[0].ends_with(expected),
            "{found:?} instead of {expected}"
        );
    };
    // An entry's key.
    one(
        victim.with_damage(KEYS, |bytes| {
            (entry_of(bytes, 1234) + 8, vec![0, 0, 0, 0, 0, 0, 0, 0x80])
        }),
        ": its entries are not in order",
    );
    // Links.
    one(
        victim.with_damage(KEYS, |bytes| {
            (inner_leaf(bytes) + SPECIAL, vec![0x77, 0, 0, 0])
        }),
        "but it names page 119",
    );
    one(
        victim.with_damage(KEYS, |bytes| {
            (inner_leaf(bytes) + SPECIAL + 4, vec![0x77, 7, 0, 0])
        }),
        ": a link leads to it, but there is no such page",
    );
    // Levels and kinds of pages.
    one(
        victim.with_damage(KEYS, |bytes| (inner_leaf(bytes) + SPECIAL + 8, vec![1])),
        ": it is of another level",
    );
    one(
        victim.with_damage(KEYS, |bytes| (inner_leaf(bytes) + SPECIAL + 12, vec![5])),
        ": it is deleted, but its sibling leads to it",
    );
    // A line pointer, an entry's size, the metapage.
    one(
        victim.with_damage(KEYS, |bytes| (inner_leaf(bytes) + 24 + 40, vec![0xFF; 4])),
        ": entry 11 is not on the page",
    );
    one(
        victim.with_damage(KEYS, |bytes| (entry_of(bytes, 1234) + 6, vec![25])),
        " has another size than it says",
    );
    one(
        victim.with_damage(KEYS, |_| (24, vec![0; 4])),
        "page 0: it is no metapage of nbtree's",
    );
    for index in ["en57.events_default_position", "en57.events_default_id"] {
        one(
            victim.with_damage(index, |bytes| {
                (inner_leaf(bytes) + SPECIAL, vec![0x77, 0, 0, 0])
            }),
            "but it names page 119",
        );
    }
}
