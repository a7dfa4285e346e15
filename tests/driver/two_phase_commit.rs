//! Two-phase commit: refused after an append, because a slot is the backend's (`XACT_EVENT_PRE_PREPARE`).

use serde_json::json;

use crate::support::cluster::Cluster;
use crate::support::session::state;

#[test]
fn prepare_after_an_append_is_refused() {
    let db = Cluster::shared().database();
    let mut session = db.connect();
    session.run("CREATE TABLE other (n int)");
    let event = json!({"type": "kept", "tags": ["t"]});
    session.append(&event, None);

    for undone in [false, true] {
        session.run("BEGIN; SAVEPOINT s");
        session.append(&event, None);
        if undone {
            // The positions were allotted all the same.
            session.run("ROLLBACK TO s");
        }
        let error = session
            .try_run("PREPARE TRANSACTION 'en57'")
            .expect_err("it has appended");
        assert_eq!(state(&error), "0A000");
        session.run("ROLLBACK");
    }
    assert_eq!(session.number("SELECT en57_count()"), 1);

    session.run("BEGIN; INSERT INTO other VALUES (1)");
    assert_eq!(session.number("SELECT en57_count()"), 1);
    session.run(&format!("PREPARE TRANSACTION '{}'", db.name));
    // Neither is held back by it, nor what comes after.
    let position = session.append(&event, None).position;
    assert_eq!(db.connect().head(), position);
    session.run(&format!("COMMIT PREPARED '{}'", db.name));
    assert_eq!(session.number("SELECT count(*) FROM other"), 1);
    assert_eq!(
        session.number(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database =
        (SELECT oid FROM pg_database WHERE datname = current_database())"
        ),
        0
    );
}
