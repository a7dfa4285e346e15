//! Projections of documents whose fold depends on the order of events, clients that append what they fold, and readers
//! that look whether documents are what they must be.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::cluster::Database;
use super::random::Random;
use super::session::{Session, state, told};

pub const CLIENTS: usize = 16;

/// A fold that depends on the order: a chain of hashes, and the positions that went into it.
pub const EVOLVE: &str = "
    CREATE FUNCTION chain(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
        SELECT CASE WHEN e.type = 'removed' THEN NULL ELSE
            jsonb_build_object('sum', md5(coalesce(doc->>'sum', '') || e.position), 'n', coalesce((doc->>'n')::int, 0) + 1) END
    $$;
    CREATE AGGREGATE chain_of(e en57_event) (SFUNC = chain, STYPE = jsonb);
    CREATE FUNCTION of_event(e en57_event) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
        SELECT array_agg(substr(t, 3)) FROM unnest(e.tags) t WHERE t LIKE 'd:%'
    $$;
    CREATE TABLE noted (position bigint, id text);
    CREATE FUNCTION note(e en57_event[]) RETURNS void LANGUAGE sql AS $$
        INSERT INTO noted SELECT u.position, substr(t, 3) FROM unnest(e) u, unnest(u.tags) t WHERE t LIKE 'd:%'
    $$";

pub const BY_TAG: &str = "'tag:d:'";
pub const BY_FUNCTION: &str = "'of_event(en57_event)'::regprocedure";

pub fn create(session: &mut Session, name: &str, key: &str, mode: &str) {
    session.run(&format!(
        "SELECT en57_create_document_projection('{name}', '{{\"types\": [\"changed\", \"removed\"]}}', {key},
             'chain(jsonb,en57_event)', mode => '{mode}')"
    ));
}

/// Documents that are not what plain SQL makes of the log, or are missing, or too many.
pub fn wrong(session: &mut Session, table: &str) -> i64 {
    session.number(&format!(
        "WITH folded AS (
             SELECT substr(t, 3) AS id, chain_of(e ORDER BY e.position) AS doc, max(e.position) AS position
               FROM en57_read() e, unnest(e.tags) t WHERE t LIKE 'd:%' AND e.type IN ('changed', 'removed') GROUP BY 1)
         SELECT count(*) FROM (SELECT * FROM folded WHERE doc IS NOT NULL) f FULL JOIN {table} d USING (id)
          WHERE f.doc IS DISTINCT FROM d.doc OR f.position IS DISTINCT FROM d.position
             OR d.version IS DISTINCT FROM (d.doc->>'n')::int"
    ))
}

/// Appends until it is told to stop, some of it rolled back; returns how many transactions have committed.
pub fn write(
    session: &mut Session,
    seed: u64,
    documents: usize,
    go_on: impl Fn(usize) -> bool,
) -> usize {
    let mut random = Random::new(seed);
    let levels = [
        "READ COMMITTED",
        "READ COMMITTED",
        "REPEATABLE READ",
        "SERIALIZABLE",
    ];
    let mut committed = 0;
    for n in 0.. {
        if !go_on(n) {
            break;
        }
        let level = random.pick(&levels);
        session.run(&format!("BEGIN ISOLATION LEVEL {level}"));
        let events: Vec<_> = (0..1 + random.below(3))
            .map(|_| {
                let tags: Vec<_> = (0..random.below(3))
                    .map(|_| format!("d:{}", random.below(documents)))
                    .collect();
                let kind = ["changed", "changed", "changed", "removed", "other"][random.below(5)];
                json!({"type": kind, "tags": tags})
            })
            .collect();
        let appended = session.try_append(&json!(events), None).map(drop);
        let (end, counts) =
            *random.pick(&[("ROLLBACK", 0), ("COMMIT", 1), ("COMMIT", 1), ("COMMIT", 1)]);
        let ended = appended.and_then(|()| session.try_run(end).map(|()| counts));
        match ended {
            Ok(n) => committed += n,
            // Documents are tables: PostgreSQL watches who reads and writes them.
            Err(e) if *level == "SERIALIZABLE" && state(&e) == "40001" => session.run("ROLLBACK"),
            Err(e) => panic!("{}", told(&e)),
        }
    }
    committed
}

/// How many documents that stay there are, how many kinds, and which; all of each is read.
const LOOK: &str = "SELECT count(*), count(DISTINCT doc ? 'marked'), bool_or(doc ? 'marked'),
    count(doc#>>'{marked}')
    FROM by_tag WHERE id LIKE 's%'";

/// All of them are there, and of one kind; returns which.
pub fn look(session: &mut Session, steady: i64) -> bool {
    let row = session.row(LOOK, &[]);
    assert_eq!(row.get::<_, i64>(0), steady, "all documents are there");
    assert_eq!(row.get::<_, i64>(1), 1, "all are of one kind");
    row.get(2)
}

/// Looks until it is told to stop; returns how often the kind has changed.
pub fn read(db: &Database, steady: i64, done: &AtomicBool) -> usize {
    let (mut session, mut changes) = (db.connect(), 0);
    let mut last = look(&mut session, steady);
    while !done.load(Ordering::Relaxed) {
        let now = look(&mut session, steady);
        changes += usize::from(now != last);
        last = now;
    }
    changes
}
