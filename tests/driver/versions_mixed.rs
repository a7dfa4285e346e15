//! Tables of another version than the library: of a newer one it does nothing, and says what to install; of an older one
//! `en57_status` says what to run. Updates from released versions are in `tests/upgrade`.
//!
//! Without `version::refuse_newer` an old library writes into tables whose meaning it does not know.

use crate::support::cluster::{Cluster, await_that};
use crate::support::followed::{self, Seen};
use crate::support::session::{Session, state, told};

fn pretend(session: &mut Session, version: &str) {
    session.run(&format!(
        "UPDATE pg_extension SET extversion = '{version}' WHERE extname = 'en57'"
    ));
}

fn warning(session: &mut Session) -> String {
    session.text("SELECT coalesce(string_agg(warning, ' '), '') FROM en57_status() WHERE name IN ('schema_version', 'next_position')")
}

#[test]
fn of_library_and_tables() {
    let cluster = Cluster::own(&["log_min_messages = warning"]);
    let db = cluster.database();
    let mut session = db.connect();
    followed::prepare(&mut session);
    let mut seen = Seen::default();
    seen.append(&mut session, 10);
    seen.follow(&mut session, 5);
    let own = session.text("SELECT extversion FROM pg_extension WHERE extname = 'en57'");

    for newer in ["99.0.0", "99.1.0-beta"] {
        pretend(&mut session, newer);
        let mut other = db.connect();
        for call in [
            "SELECT en57_append('{\"type\": \"a\"}')",
            "SELECT en57_read()",
            "SELECT en57_poll('s')",
            "SELECT en57_run('noted')",
            "SELECT en57_check()",
        ] {
            let error = other.try_run(call).expect_err(call);
            let told = told(&error);
            assert_eq!(state(&error), "55000", "{call}: {told}");
            assert!(
                told.contains(&format!("the tables of en57 have version {newer}")),
                "{told}"
            );
            assert!(
                told.contains(&format!("Install the files of version {newer}")),
                "{told}"
            );
        }
        let told = warning(&mut other);
        assert!(
            told.contains(&format!("install the library of version {newer}")),
            "{told}"
        );
        other.run("SELECT en57_worker_start()");
        let says = format!("the worker of en57 does not know version {newer}");
        await_that("the worker says it", || cluster.log().contains(&says));
        other.run("SELECT en57_worker_stop()");
    }

    pretend(&mut session, "0.0.1");
    let told = warning(&mut db.connect());
    assert!(told.contains("Run ALTER EXTENSION en57 UPDATE"), "{told}");

    pretend(&mut session, &own);
    assert_eq!(warning(&mut db.connect()), "");
    seen.goes_on(&db);
}
