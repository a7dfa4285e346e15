//! The same append sent several times at once, by clients that lost the answer.
//!
//! Without the lock of the first id (`Plan::sole`) a second send that overtakes the first fails on the unique
//! index (23505) instead of answering 'repeated'.

use serde_json::json;
use uuid::Uuid;

use crate::support::cluster::Cluster;
use crate::support::crew::{Gate, crew};
use crate::support::random::{Random, scaled};

fn id(random: &mut Random) -> String {
    Uuid::from_u64_pair(random.next(), random.next()).to_string()
}

#[test]
fn repeated_sends_meet() {
    const CLIENTS: usize = 8;
    let db = Cluster::shared().database();
    let mut random = Random::new(300);
    let batches: Vec<_> = (0..scaled(100))
        .map(|n| {
            let events: Vec<_> = (0..random.between(1, 5))
                .map(|e| json!({"id": id(&mut random), "type": "sent", "tags": [format!("batch:{n}")], "data": e}))
                .collect();
            json!(events)
        })
        .collect();
    let gate = Gate::new(CLIENTS);
    let answers = crew(CLIENTS, |_| {
        let mut session = db.connect();
        let send = |(n, batch)| {
            gate.pass();
            // A condition queues them by itself, so half of them have none.
            let condition = json!({"tags": [format!("batch:{n}")]}).to_string();
            session.append(batch, (n % 2 == 0).then_some(condition.as_str()))
        };
        batches.iter().enumerate().map(send).collect::<Vec<_>>()
    });
    for (n, batch) in batches.iter().enumerate() {
        let of_batch: Vec<_> = answers.iter().map(|a| &a[n]).collect();
        let appended: Vec<_> = of_batch.iter().filter(|a| a.is_appended()).collect();
        assert_eq!(appended.len(), 1, "batch {n}: {of_batch:?}");
        for answer in &of_batch {
            assert!(
                answer.outcome == "appended" || answer.outcome == "repeated",
                "batch {n}: {answer:?}"
            );
            assert_eq!(
                (answer.position, answer.first),
                (appended[0].position, appended[0].first),
                "batch {n}"
            );
        }
        let length = batch.as_array().map_or(0, Vec::len) as i64;
        assert_eq!(
            appended[0].position - appended[0].first.unwrap_or(0) + 1,
            length
        );
    }
}
