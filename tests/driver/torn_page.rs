//! A page that was torn, lost or overwritten: its checksum tells every reader, `en57_check` says which page of what it is,
//! other partitions go on, and REINDEX cures the indexes.
//!
//! Without the reading of all pages at its beginning (`pages::unreadable`) the check ends with an error about a file.
//! Without the tolerance of `largest_stored` a damaged index of one partition keeps everybody from all of them after a
//! restart.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use serde_json::json;

use crate::support::cluster::{Cluster, Database, OwnCluster};
use crate::support::findings::findings;
use crate::support::followed::{self, Seen};
use crate::support::random::scaled;
use crate::support::session::{Session, state, told};

const PAGE: u64 = 8192;

/// What happens to a page.
#[derive(Clone, Copy)]
enum Damage {
    /// Its second half is of another time.
    Torn,
    /// One bit.
    Flipped,
    /// All of it.
    Zeroed,
}

struct Victim {
    cluster: OwnCluster,
    db: Database,
    seen: Seen,
}

impl Victim {
    fn new() -> Self {
        let cluster = Cluster::own_with(&["autovacuum = off"], &["--data-checksums"], &[]);
        let db = cluster.database();
        let mut session = db.connect();
        followed::prepare(&mut session);
        session.run("SELECT en57_create_partition('other')");
        let mut seen = Seen::default();
        seen.append(&mut session, 300);
        seen.follow(&mut session, 100);
        Self { cluster, db, seen }
    }

    /// Damages a page of a relation while the server is down; returns what the page was.
    fn damage(&self, relation: &str, block: u64, how: Damage) -> (String, Vec<u8>) {
        let path = self
            .db
            .connect()
            .text(&format!("SELECT pg_relation_filepath('{relation}')"));
        self.cluster.stop("fast");
        let path = format!("{}/{path}", self.cluster.data());
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = file.expect("the relation's file");
        let mut page = vec![0; PAGE as usize];
        file.read_exact_at(&mut page, block * PAGE)
            .expect("the page");
        let before = page.clone();
        match how {
            Damage::Torn => page[4096..].iter_mut().for_each(|b| *b = b.wrapping_add(1)),
            Damage::Flipped => page[5000] ^= 4,
            Damage::Zeroed => page.fill(0),
        }
        file.write_all_at(&page, block * PAGE).expect("damage");
        self.cluster.start();
        (path, before)
    }

    fn repair(&self, (path, page): (String, Vec<u8>), block: u64) {
        self.cluster.stop("fast");
        let file = OpenOptions::new().write(true).open(&path);
        file.expect("the relation's file")
            .write_all_at(&page, block * PAGE)
            .expect("repair");
        self.cluster.start();
    }
}

/// The last page of a relation.
fn last_page(session: &mut Session, relation: &str) -> u64 {
    let pages = format!("SELECT pg_relation_size('{relation}') / {PAGE}");
    session.number(&pages) as u64 - 1
}

/// Another partition is used as before.
fn others_go_on(session: &mut Session) {
    let other = "SELECT count(*) FROM en57_append('{\"type\": \"x\", \"tags\": [\"a\"]}', partition => 'other'), en57_read('{\"tags\": [\"a\"]}', partition => 'other')";
    session.number(other);
}

#[test]
fn of_an_index() {
    let mut victim = Victim::new();
    let damages = [Damage::Torn, Damage::Flipped, Damage::Zeroed];
    for (n, index) in ["keys", "position", "id"].into_iter().enumerate() {
        // Each index in one way; in all ways when there is more time.
        for how in damages.into_iter().cycle().skip(n).take(scaled(1).min(3)) {
            let relation = format!("en57.events_default_{index}");
            let mut session = victim.db.connect();
            let block = last_page(&mut session, &relation);
            drop(session);
            victim.damage(&relation, block, how);
            let mut session = victim.db.connect();
            others_go_on(&mut session);
            let found = findings(&mut session);
            let [first, ..] = &found[..] else {
                panic!("{relation}, page {block}: nothing is found");
            };
            assert!(
                first.starts_with(&format!("error: index {relation}: page {block}")),
                "{found:?}"
            );
            assert!(found.iter().all(|f| f.contains(&relation)), "{found:?}");
            if !matches!(how, Damage::Zeroed) {
                assert!(
                    first.contains("cannot be read: invalid page in block"),
                    "{found:?}"
                );
            }
            // Nothing wrong is answered: an append meets the page, and is refused, or does without it.
            for n in 0..3 {
                match victim.seen.try_append(&mut session) {
                    Ok(()) => {}
                    Err(e) => assert!(["XX001", "XX002"].contains(&state(&e)), "{n}: {}", told(&e)),
                }
            }
            session.run(&format!("REINDEX INDEX {relation}"));
            victim.seen.last = session.head().max(victim.seen.last);
            victim.seen.is_whole(&mut session);
        }
    }
    victim
        .db
        .connect()
        .run("SELECT en57_drop_partition('other')");
    let Victim { db, seen, .. } = &mut victim;
    seen.goes_on(db);
}

#[test]
fn of_the_table() {
    let mut victim = Victim::new();
    let table = "en57.events_default";
    for how in [Damage::Torn, Damage::Flipped, Damage::Zeroed] {
        let block = 3;
        let damaged = victim.damage(table, block, how);
        let mut session = victim.db.connect();
        others_go_on(&mut session);
        let sql = "SELECT concat_ws(' ', severity, object, problem, hint) FROM en57_check()";
        let found: Vec<String> = session.rows(sql, &[]).iter().map(|r| r.get(0)).collect();
        assert!(!found.is_empty());
        if matches!(how, Damage::Zeroed) {
            // The checksum of an empty page is not looked at: the entries tell.
            let told = "there is no row in its place If the other indexes say the same, the row is lost: restore";
            let lost = found.iter().filter(|f| f.contains(told)).count();
            assert!(lost > 10, "{lost} entries are without rows");
        } else {
            let told = format!(
                "error table {table} page {block} cannot be read: invalid page in block {block}"
            );
            assert!(found.len() == 1 && found[0].starts_with(&told), "{found:?}");
            assert!(found[0].contains("Restore the table"), "{found:?}");
            let error = session.try_rows(
                "SELECT count(*) FROM (SELECT * FROM en57_read() OFFSET 0) e WHERE data IS NULL",
                &[],
            );
            assert_eq!(
                state(&error.expect_err("a damaged page is not read")),
                "XX001"
            );
        }
        // What is elsewhere can be read, and appends go on.
        victim.seen.append(&mut session, 1);
        assert!(
            session
                .append(&json!({"type": "x"}), Some(r#"{"types": ["changed"]}"#))
                .is_conflict()
        );
        drop(session);
        victim.repair(damaged, block);
        victim.seen.is_whole(&mut victim.db.connect());
    }
    victim
        .db
        .connect()
        .run("SELECT en57_drop_partition('other')");
    let Victim { db, seen, .. } = &mut victim;
    seen.goes_on(db);
}
