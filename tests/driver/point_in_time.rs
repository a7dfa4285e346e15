//! A base backup and an archive of WAL, recovered to a moment between two appends: the log is what it was then, and goes on
//! beyond all that anybody had seen by then.
//!
//! Fails where what en57 knows is not in tables, or not in the WAL before it is seen: the ceiling of positions, entries of
//! the key index, positions of followers.

use crate::support::cluster::{Cluster, Database, await_that};
use crate::support::followed::{self, Seen};

#[test]
fn between_two_appends() {
    let archive = Cluster::scratch_folder().join("archive");
    std::fs::create_dir(&archive).expect("a folder for the archive");
    let archive = archive.display().to_string();
    std::os::unix::fs::chown(&archive, Some(owner(&archive)), None).expect("its owner");
    let command = format!("archive_command = 'cp %p {archive}/%f'");
    let settings = [
        "wal_level = replica",
        "archive_mode = on",
        "max_wal_senders = 4",
    ];
    let primary = Cluster::own(&[&settings[..], &[command.as_str()]].concat());
    primary.shell(&format!("test -w {archive}"));
    let db = primary.database();
    let mut session = db.connect();
    followed::prepare(&mut session);
    let mut seen = Seen::default();
    seen.append(&mut session, 20);
    seen.follow(&mut session, 10);
    let base = format!("{}/base", primary.folder());
    primary.base_backup(&base, "-X stream -c fast");
    seen.append(&mut session, 20);
    seen.append_in_vain(&mut session);
    seen.follow(&mut session, 7);

    // The moment.
    let before = seen.clone();
    let lsn = session.text("SELECT pg_current_wal_insert_lsn()::text");
    let time = session.text("SELECT clock_timestamp()::text");
    session.run("SELECT pg_sleep(0.01)");
    session.run("BEGIN");
    seen.append(&mut session, 1);
    let xid = session.text("SELECT pg_current_xact_id()::text");
    session.run("COMMIT");
    let with_it = seen.clone();
    // What will be lost.
    seen.append(&mut session, 300);
    seen.follow(&mut session, 1000);
    let last = session.text("SELECT pg_walfile_name(pg_switch_wal())");
    let archived =
        format!("SELECT count(*) FROM pg_stat_archiver WHERE last_archived_wal >= '{last}'");
    await_that("the WAL is archived", || session.number(&archived) == 1);

    let ways = [
        (format!("recovery_target_xid = '{xid}'"), false, &before),
        (format!("recovery_target_xid = '{xid}'"), true, &with_it),
        (format!("recovery_target_lsn = '{lsn}'"), false, &before),
        (format!("recovery_target_time = '{time}'"), true, &before),
    ];
    for (target, is_inclusive, expected) in ways {
        let restore = format!("restore_command = 'cp {archive}/%f %p'");
        let inclusive = format!("recovery_target_inclusive = {is_inclusive}");
        let settings = [
            "archive_mode = off",
            "recovery_target_action = promote",
            &restore,
            &target,
            &inclusive,
        ];
        let restored = Cluster::copied(&settings, |data| {
            primary.shell(&format!("cp -a {base} {data}"));
        });
        restored.touch("recovery.signal");
        restored.start();
        let recovered = Database {
            cluster: &restored,
            name: db.name.clone(),
        };
        let mut session = recovered.connect();
        await_that("it is recovered", || {
            session.number("SELECT pg_is_in_recovery()::int::bigint") == 0
        });
        let mut expected = expected.clone();
        expected.is_whole(&mut session);
        expected.goes_on(&recovered);
    }
    // The old server knows nothing of it.
    seen.goes_on(&db);
}

/// Who runs the servers: the owner of what `install` has made for them.
fn owner(_: &str) -> u32 {
    use std::os::unix::fs::MetadataExt;
    let folder = Cluster::shared().folder();
    std::fs::metadata(folder)
        .expect("the server's folder")
        .uid()
}
