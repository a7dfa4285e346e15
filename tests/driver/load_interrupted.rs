//! A statement that is cancelled while it loads the library is cancelled, and the session goes on: with the whole library.
//!
//! Fails where the library lets interrupts in while it is loaded. PostgreSQL does so with each warning, as of a setting whose
//! value was no good. Then the session has half of a library, and must end.

use crate::support::cluster::{Cluster, await_that};
use crate::support::session::state;

#[test]
fn the_session_goes_on() {
    let db = Cluster::shared().database();
    for _ in 0..3 {
        let mut session = db.connect();
        session.run("SET en57.max_conflicts = 'no number'");
        // PostgreSQL warns of each of these names while the library is loaded, which takes longer than the statement has.
        session.run(
            "SELECT set_config('en57.unknown_' || n, '1', false) FROM generate_series(1, 2000) AS n",
        );
        session.run("SET statement_timeout = '1ms'");
        let error = session
            .try_run("LOAD 'en57'; SELECT 1")
            .expect_err("the time is over");
        assert_eq!(state(&error), "57014", "{error}");
        // It has a millisecond as well.
        await_that("there is time again", || {
            session.try_run("SET statement_timeout = 0").is_ok()
        });
        session.run("LOAD 'en57'");
        assert_eq!(session.text("SHOW en57.max_conflicts"), "100");
        assert_eq!(session.number("SELECT count(*) FROM en57_read()"), 0);
    }
}
