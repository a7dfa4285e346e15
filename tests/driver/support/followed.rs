//! A log with all that can follow it, what clients were told of it, and whether it goes on as it must: after a fault of the
//! machine, after a restore, on another server.

use std::collections::{BTreeMap, BTreeSet};

use postgres::Error;
use serde_json::{Value, json};

use super::cluster::Database;
use super::documents::{self, BY_FUNCTION, BY_TAG, EVOLVE};
use super::session::{Session, state, told};

/// How many streams there are, each with a document of its own.
const STREAMS: usize = 5;

const APPEND: &str =
    "SELECT outcome::text, first_position, position FROM en57_append($1, stream => $2)";

/// What clients were told.
#[derive(Clone, Default)]
pub struct Seen {
    /// The ids of acknowledged events, by position.
    pub events: BTreeMap<i64, String>,
    /// Ids of events whose append has failed in a way that leaves open whether it was done.
    pub unknown: BTreeSet<String>,
    /// The greatest position that anybody was told, also one of an append that was rolled back.
    pub last: i64,
    /// What a follower outside of the database has read, up to its checkpoint.
    read: BTreeMap<i64, String>,
    checkpoint: i64,
    number: u64,
    /// The last acknowledged append: its events, stream and last position.
    sent: Option<(Value, String, i64)>,
}

/// Makes one follower of each kind, in a log that has none.
pub fn prepare(session: &mut Session) {
    session.run(EVOLVE);
    documents::create(session, "by_tag", BY_TAG, "inline");
    documents::create(session, "later", BY_FUNCTION, "async");
    session.run(
        "SELECT en57_create_projection('noted', '{\"types\": [\"changed\"]}', 'note(en57_event[])', mode => 'async');
         SELECT en57_create_subscription('s', '{\"types\": [\"changed\"]}');
         CREATE TABLE taken (n bigserial, position bigint);
         SELECT en57_create_fold('chain', 'chain(jsonb,en57_event)', snapshot_every => 3)",
    );
}

impl Seen {
    /// What is known where only the events have been moved, and followers are others.
    pub fn of_events(seen: &Self, last: i64) -> Self {
        Self {
            last,
            read: BTreeMap::new(),
            checkpoint: 0,
            ..seen.clone()
        }
    }

    /// Appends some events to a stream.
    pub fn try_append(&mut self, session: &mut Session) -> Result<(), Error> {
        self.number += 1;
        let k = self.number as usize % STREAMS;
        let id = |n: u64| format!("00000000-0000-4000-8000-{:012x}", self.number * 16 + n);
        let ids: Vec<String> = (0..1 + self.number % 3).map(id).collect();
        let tags = [format!("d:{k}")];
        let event = |id: &String| json!({"id": id, "type": "changed", "tags": tags, "data": {"text": "x".repeat(300)}});
        let events = json!(ids.iter().map(event).collect::<Vec<_>>());
        let stream = format!("st:{k}");
        let answer = session.try_rows(APPEND, &[&events, &stream]);
        let rows = match answer {
            Ok(rows) => rows,
            Err(error) => {
                if error.as_db_error().is_none() || state(&error) == "53200" {
                    self.unknown.extend(ids);
                }
                return Err(error);
            }
        };
        assert_eq!(rows[0].get::<_, String>(0), "appended");
        let (first, last): (i64, i64) = (rows[0].get(1), rows[0].get(2));
        assert!(
            first > self.last,
            "position {first} after {} was seen",
            self.last
        );
        assert_eq!(last - first + 1, ids.len() as i64);
        self.events.extend((first..).zip(ids));
        self.last = last;
        self.sent = Some((events, stream, last));
        Ok(())
    }

    /// Appends so often.
    pub fn append(&mut self, session: &mut Session, times: usize) {
        for _ in 0..times {
            self.try_append(session)
                .unwrap_or_else(|e| panic!("{}", told(&e)));
        }
    }

    /// Takes positions that nobody will have: the append is rolled back.
    pub fn append_in_vain(&mut self, session: &mut Session) {
        session.run("BEGIN");
        session.append(&json!([{"type": "gone"}, {"type": "gone"}]), None);
        session.run("ROLLBACK");
        self.last = session.head().max(self.last);
    }

    /// All followers take some of what is there, or all of it.
    pub fn follow(&mut self, session: &mut Session, at_most: i64) {
        let at_most = at_most.to_string();
        for follow in [
            "SELECT en57_run('noted', $1)",
            "SELECT en57_run('later', $1)",
            "WITH polled AS (SELECT position FROM en57_poll('s', $1)),
                  noted AS (INSERT INTO taken (position) SELECT position FROM polled RETURNING position)
             SELECT en57_ack('s', max(position)) FROM noted",
        ] {
            session.run(&follow.replace("$1", &at_most));
        }
        session.run("SELECT en57_state('chain', '{\"tags\": [\"d:1\"]}')");
        let sql = "SELECT position, id::text FROM en57_read(after => $1)";
        for row in session.rows(sql, &[&self.checkpoint]) {
            self.checkpoint = row.get(0);
            assert!(self.read.insert(row.get(0), row.get(1)).is_none());
        }
        let head = session.head();
        self.checkpoint = self.checkpoint.max(head);
        self.last = self.last.max(head);
    }

    /// Goes on with the log, and demands that nothing of it has suffered: no acknowledged event is lost or there twice, all
    /// checks are clean, positions go on beyond all that was seen, conditions and versions are exact, and each follower
    /// gets each event once, in order.
    pub fn goes_on(&mut self, db: &Database) {
        let mut session = db.connect();
        let session = &mut session;
        self.is_whole(session);
        // A batch, and one after all followers had what was there.
        self.append(session, 12);
        self.append_in_vain(session);
        self.follow(session, 10);
        self.append(session, 12);
        self.exact(session);
        while !self.is_followed(session) {
            self.follow(session, 1000);
        }
        self.is_whole(session);
    }

    /// What is stored is what was acknowledged, and `en57_check` finds nothing.
    pub fn is_whole(&self, session: &mut Session) {
        let check = "SELECT coalesce(string_agg(concat_ws(' ', object, problem, hint), E'\\n'), '') FROM en57_check('*')";
        assert_eq!(session.text(check), "");
        let stored = stored(session);
        for (position, id) in &self.events {
            assert_eq!(
                stored.get(position),
                Some(id),
                "acknowledged event at {position}"
            );
        }
        let known: BTreeSet<&String> = self.events.values().chain(&self.unknown).collect();
        for (position, id) in &stored {
            assert!(known.contains(id), "nobody knows event {id} at {position}");
        }
        let ids: BTreeSet<&String> = stored.values().collect();
        assert_eq!(ids.len(), stored.len(), "an event is there twice");
        assert_eq!(
            session.number("SELECT count(*) FROM en57.events_default"),
            stored.len() as i64
        );
    }

    /// Conditions, versions and repeated sends.
    fn exact(&mut self, session: &mut Session) {
        let known = json!({"type": "refused"});
        for query in [
            r#"{"tags": ["d:1"]}"#,
            r#"{"types": ["changed"]}"#,
            r#"{"stream": "st:1"}"#,
        ] {
            assert!(session.append(&known, Some(query)).is_conflict(), "{query}");
        }
        let after = format!(r#"{{"tags": ["d:1"], "after": {}}}"#, self.last);
        session.run("BEGIN");
        let next = session.append(&known, Some(&after));
        session.run("ROLLBACK");
        assert!(
            next.is_appended() && next.position > self.last,
            "{next:?} after {}",
            self.last
        );
        self.last = next.position;
        let versions = "SELECT string_agg(outcome::text, ' ' ORDER BY expected DESC) FROM en57_stream('st:1') s,
            unnest(ARRAY[version - 1, version + 1]) expected,
            en57_append('{\"type\": \"refused\"}', stream => 'st:1', expected_version => expected)";
        assert_eq!(session.text(versions), "conflict conflict");
        let gaps = "SELECT count(*) FROM (SELECT stream_version, row_number() OVER (PARTITION BY stream ORDER BY position) AS n
            FROM en57.events WHERE stream IS NOT NULL) e WHERE n IS DISTINCT FROM stream_version";
        assert_eq!(session.number(gaps), 0, "versions have gaps");
        if let Some((events, stream, position)) = &self.sent {
            let row = session.row(APPEND, &[events, stream]);
            let answer: (String, i64) = (row.get(0), row.get(2));
            assert_eq!(answer, ("repeated".to_owned(), *position));
        }
    }

    /// Whether all followers have all events; nothing may be there twice, or out of order, in any case.
    fn is_followed(&mut self, session: &mut Session) -> bool {
        let stored = stored(session);
        for (position, id) in &self.read {
            assert_eq!(
                stored.get(position),
                Some(id),
                "what a follower has read at {position}"
            );
        }
        let all = "(SELECT position FROM en57_read('{\"types\": [\"changed\"]}'))";
        for table in ["noted", "taken"] {
            let doubles = format!("SELECT count(*) - count(DISTINCT position) FROM {table}");
            assert_eq!(session.number(&doubles), 0, "{table} has events twice");
            let beyond = format!("SELECT count(*) FROM {table} WHERE position NOT IN {all}");
            assert_eq!(session.number(&beyond), 0, "{table} has what is not there");
        }
        let disorder = "SELECT count(*) FROM (SELECT position, lag(position) OVER (ORDER BY n) AS before FROM taken) t WHERE before >= position";
        assert_eq!(session.number(disorder), 0, "the subscription went back");
        let behind = format!(
            "SELECT count(*) FROM {all} e WHERE position NOT IN (SELECT position FROM noted) OR position NOT IN (SELECT position FROM taken)"
        );
        let is_behind = session.number(&behind) > 0
            || session.number("SELECT count(*) FROM en57_projections WHERE lag > 0") > 0
            || self.read.len() < stored.len();
        if !is_behind {
            assert_eq!(documents::wrong(session, "by_tag"), 0, "inline documents");
            assert_eq!(documents::wrong(session, "later"), 0, "async documents");
            let state = "SELECT ((SELECT state FROM en57_state('chain', '{\"tags\": [\"d:1\"]}'))
                = (SELECT chain_of(e ORDER BY e.position) FROM en57_read('{\"tags\": [\"d:1\"]}') e))::int::bigint";
            assert_eq!(session.number(state), 1, "a state is its fold");
        }
        !is_behind
    }
}

/// The ids of all events, by position.
fn stored(session: &mut Session) -> BTreeMap<i64, String> {
    let rows = session.rows("SELECT position, id::text FROM en57_read()", &[]);
    rows.iter().map(|r| (r.get(0), r.get(1))).collect()
}
