//! What must be true of all streams of a log.

use super::cluster::Database;

/// Versions count from 1 without gaps, the list of streams says the same, and there are so many streams.
/// The whole log agrees: versions from 1 in position order, and what the streams say of themselves.
pub fn no_gaps(db: &Database, streams: usize) {
    let mut session = db.connect();
    let wrong = "SELECT count(*) FROM (SELECT stream_version, row_number() OVER (PARTITION BY stream ORDER BY position) AS n
        FROM en57.events WHERE stream IS NOT NULL) e WHERE n IS DISTINCT FROM stream_version";
    assert_eq!(session.number(wrong), 0, "versions have gaps or come twice");
    let differing = "SELECT count(*) FROM en57_streams s FULL JOIN (SELECT stream, count(*) AS version, min(position) AS first, max(position) AS last
        FROM en57.events WHERE stream IS NOT NULL GROUP BY stream) e USING (stream)
        WHERE (s.version, s.first_position, s.last_position) IS DISTINCT FROM (e.version, e.first, e.last)
            OR en57_stream(stream) IS DISTINCT FROM s OR (SELECT count(*) FROM en57_read_stream(stream)) <> e.version";
    assert_eq!(session.number(differing), 0);
    assert_eq!(
        session.number("SELECT count(*) FROM en57_streams"),
        streams as i64
    );
}
