//! `SELECT en57_read(..)` streams: a cursor over many events keeps the backend's memory where it is.
//!
//! Without the batches of `rows` (a tuplestore, or a list of all that matches) it grows with the log.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::random::scaled;
use crate::session::Session;

fn used_bytes(session: &mut Session) -> i64 {
    session.number("SELECT sum(total_bytes)::bigint FROM pg_backend_memory_contexts")
}

#[test]
fn a_cursor_over_many_events() {
    const GROWTH_BYTES: i64 = 32 << 20;
    let total = scaled(200_000) / 10_000 * 10_000;
    let db = Cluster::shared().database();
    let mut session = db.connect();
    for first in (0..total).step_by(10_000) {
        let event = |n: usize| json!({"type": format!("y{}", n % 3), "tags": [format!("t:{}", n % 7), "all"], "data": {"n": n}});
        session.append(
            &Value::Array((first..first + 10_000).map(event).collect()),
            None,
        );
    }
    // Nothing of the appends is left either.
    let mut session = db.connect();
    let of = |n: usize| total.div_ceil(n);
    let reads = [
        ("en57_read()", total),
        ("en57_read(backwards => true)", total),
        (r#"en57_read('{"tags": ["all"]}')"#, total),
        (
            r#"en57_read('[{"types": ["y0"], "tags": ["all"]}, {"types": ["y1", "y2"]}]', backwards => true)"#,
            total,
        ),
        (r#"en57_read('{"tags": ["all", "t:0"]}')"#, of(7)),
    ];
    for (read, expected) in reads {
        session.run(&format!(
            "BEGIN; DECLARE c NO SCROLL CURSOR FOR SELECT {read}"
        ));
        session.run("MOVE 10 IN c");
        let before = used_bytes(&mut session);
        let mut moved = 10;
        loop {
            let n = session
                .client
                .simple_query("MOVE 9999 IN c")
                .expect("it moves");
            let n = n.iter().find_map(|m| match m {
                postgres::SimpleQueryMessage::CommandComplete(n) => Some(*n as usize),
                _ => None,
            });
            let grown = used_bytes(&mut session) - before;
            assert!(
                grown < GROWTH_BYTES,
                "{read}: {grown} bytes more after {moved} events"
            );
            match n {
                None | Some(0) => break,
                Some(n) => moved += n,
            }
        }
        assert_eq!(moved, expected, "{read}");
        session.run("COMMIT");
    }
}
