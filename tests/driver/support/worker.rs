//! Asynchronous projections that note what they are given, for tests of the background worker.

use super::cluster::Database;
use super::session::Session;

pub fn start(session: &mut Session) -> (bool, i32) {
    let row = session.row("SELECT started, pid FROM en57_worker_start()", &[]);
    (row.get(0), row.get(1))
}

/// A database with a table to note positions in, and a function that does.
pub fn noting(db: &Database) -> Session {
    let mut session = db.connect();
    session.run(
        "CREATE TABLE noted (position bigint);
         CREATE FUNCTION note(e en57_event) RETURNS void LANGUAGE sql AS 'INSERT INTO noted VALUES (e.position)'",
    );
    session
}

pub fn create(session: &mut Session, name: &str, handler: &str, more: &str) {
    session.run(&format!(
        "SELECT en57_create_projection('{name}', '{{}}', '{handler}(en57_event)', mode => 'async' {more})"
    ));
}

pub fn wait_for(session: &mut Session, projection: &str) {
    let sql = format!("SELECT en57_wait_projection('{projection}', timeout => '60s')::int::bigint");
    assert_eq!(session.number(&sql), 1, "{projection} comes up");
}
