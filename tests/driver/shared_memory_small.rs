//! Where the server has no room for the shared memory of en57, the first use of en57 is refused with 53200 and a HINT; as
//! soon as there is room, it works, without a restart.
//!
//! Fails where the error is PostgreSQL's own (it names no remedy), and where PostgreSQL keeps a segment in its registry that
//! it could not make: then every later use fails, until a restart.

use serde_json::json;

use crate::support::session::{state, told};
use crate::support::shim::Shim;

#[test]
fn says_what_to_do_and_works_when_there_is_room() {
    // Segments of this type are files in the data directory, whose disk can be filled here; those of type posix are files
    // in /dev/shm.
    let (cluster, shim) = Shim::cluster(&["dynamic_shared_memory_type = mmap"]);
    let db = cluster.bare_database();
    shim.fill_disk(&format!("{}/pg_dynshmem", cluster.data()), 4096);
    let mut session = db.connect();
    let calls = [
        "CREATE EXTENSION en57",
        "SELECT en57_append('{\"type\": \"a\"}')",
        "SELECT count(*) FROM en57_read()",
        "SELECT en57_worker_start()",
    ];
    // What needs no shared memory works.
    let mut needs = 0;
    for _ in 0..2 {
        for call in calls {
            match session.try_run(call) {
                Ok(()) => assert_eq!(call, calls[0]),
                Err(error) if state(&error) == "42710" => {}
                Err(error) => {
                    let told = told(&error);
                    assert!(
                        told.starts_with("53200 the shared memory of en57 is not to be had"),
                        "{call}: {told}"
                    );
                    assert!(told.contains("No space left on device"), "{told}");
                    assert!(told.contains("shared_preload_libraries"), "{told}");
                    needs += 1;
                }
            }
        }
    }
    assert_eq!(needs, 6);
    // No lock is left with the session, and it can still be cancelled.
    let cancelled = session.try_run("SET statement_timeout = '10ms'; SELECT pg_sleep(60)");
    assert_eq!(state(&cancelled.expect_err("cancelled")), "57014");
    session.run("RESET statement_timeout");

    shim.disk_has_room();
    for mut client in [session, db.connect()] {
        assert!(client.append(&json!({"type": "a"}), None).is_appended());
        assert_eq!(client.number("SELECT count(*) FROM en57_check()"), 0);
    }
}
