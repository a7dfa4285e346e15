//! Where errors say that they were raised, as `\errverbose` shows it: file and line, and for the function the module.

use crate::support::cluster::Cluster;

/// An error of a function in Rust; one that came through functions that are not; and one that those have raised.
#[test]
fn have_a_location() {
    let db = Cluster::shared().database();
    let mut session = db.connect();
    let cases = [
        ("SELECT en57_append('[]')", "parse.rs", "append::parse"),
        (
            "SELECT en57_read('{}', max_count => -1)",
            "reading.rs",
            "read::reading",
        ),
        ("SELECT en57_poll('none')", "internals.rs", "sql::internals"),
        (
            "SELECT en57_poll('none', max_count => 0)",
            "pl_exec.c",
            "exec_stmt_raise",
        ),
    ];
    for (sql, file, function) in cases {
        let error = session.try_run(sql).expect_err(sql);
        let told = error.as_db_error().expect("an error of the server's");
        assert_eq!(told.file(), Some(file), "{sql}");
        assert_eq!(told.routine(), Some(function), "{sql}");
        assert!(told.line().is_some_and(|line| line > 0), "{sql}");
        assert_eq!(told.where_(), None, "{sql}");
    }
}
