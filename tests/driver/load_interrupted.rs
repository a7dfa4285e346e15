//! A statement that is cancelled while it loads the library is cancelled, and the session goes on: with the whole library.
//!
//! Fails where the library lets interrupts in while it is loaded. PostgreSQL does so with each warning, as of a setting whose
//! value was no good. Then the session has half of a library, and must end.

use crate::support::cluster::{Cluster, await_that};
use crate::support::session::state;

#[test]
fn the_session_goes_on() {
    let db = Cluster::shared().database();
    let mut cancelled = 0;
    for _ in 0..20 {
        let mut session = db.connect();
        for setting in [
            "max_conflicts",
            "max_key_locks",
            "max_snapshots",
            "wait_timeout",
        ] {
            session.run(&format!("SET en57.{setting} = 'no number'"));
        }
        // Linking alone takes longer than that, so the time is over before the settings are declared.
        session.run("SET statement_timeout = '1ms'");
        match session.try_run("LOAD 'en57'") {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(state(&error), "57014", "{error}");
                cancelled += 1;
            }
        }
        // It has a millisecond as well.
        await_that("there is time again", || {
            session.try_run("SET statement_timeout = 0").is_ok()
        });
        session.run("LOAD 'en57'");
        assert_eq!(session.text("SHOW en57.max_conflicts"), "100");
        assert_eq!(session.number("SELECT count(*) FROM en57_read()"), 0);
    }
    assert!(cancelled > 0, "no statement was too late");
}
