//! pg_upgrade to a newer major version of PostgreSQL, with copied and with linked files. `make pg-upgrade` runs it; without a
//! second PostgreSQL it is skipped.
//!
//! Fails where what en57 stores is another thing in the newer version: positions and their ceiling, entries of the key index,
//! the access method's own number.

use crate::support::cluster::{Cluster, Database, bindir};
use crate::support::followed::{self, Seen};

#[test]
fn to_a_newer_major() {
    let Ok(new_bin) = std::env::var("EN57_NEW_BINDIR") else {
        println!(
            "skipped, because EN57_NEW_BINDIR names no newer PostgreSQL: make pg-upgrade does"
        );
        return;
    };
    for mode in ["", "--link"] {
        let old = Cluster::own(&[]);
        let db = old.database();
        let mut session = db.connect();
        followed::prepare(&mut session);
        session.run("SELECT en57_create_partition('acme'); SELECT en57_worker_start()");
        let mut seen = Seen::default();
        seen.append(&mut session, 100);
        seen.follow(&mut session, 20);
        seen.append_in_vain(&mut session);
        let settings = "SELECT setting FROM pg_settings WHERE name = 'data_checksums'";
        let checksums = session.text(settings) == "on";
        drop(session);
        old.stop("fast");

        let new = Cluster::copied_to(&new_bin, &[], |data| {
            let checksums = if checksums { "--data-checksums" } else { "" };
            // From 18 on they are the default.
            let none = "$($NEW/initdb --help | grep -o -- --no-data-checksums || true)";
            let checksums = if checksums.is_empty() {
                none
            } else {
                checksums
            };
            old.shell(&format!(
                "NEW='{new_bin}'; $NEW/initdb -U postgres -A trust -E UTF8 --no-locale --no-sync {checksums} -D {data} >/dev/null"
            ));
        });
        // It starts both servers by turns, and leaves files where it is called.
        new.shell(&format!(
            "cd {}; '{new_bin}/pg_upgrade' -b '{}' -B '{new_bin}' -d {} -D {} -U postgres -s {} {mode} || {{ cat {}/pg_upgrade_output.d/*/log/*; exit 1; }}",
            new.folder(),
            bindir(),
            old.data(),
            new.data(),
            new.folder(),
            new.data(),
        ));
        new.start();
        let upgraded = Database {
            cluster: &new,
            name: db.name.clone(),
        };
        let version = upgraded.connect().text("SELECT version()");
        println!("{mode} {version}");
        seen.goes_on(&upgraded);
        let mut session = upgraded.connect();
        session.run("SELECT en57_append('{\"type\": \"x\"}', partition => 'acme'); SELECT en57_worker_start()");
        assert_eq!(session.number("SELECT count(*) FROM en57_check('*')"), 0);
    }
}
