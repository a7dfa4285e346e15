//! Appends whose conditions exclude each other: exactly one succeeds, at every isolation level, and nobody
//! has to try again because of the engine.
//!
//! Without the key locks (`store/key_lock.rs`) names are given twice. With a transaction's snapshot in place
//! of the self snapshot for the check, REPEATABLE READ and SERIALIZABLE give names twice. With predicate
//! locks on the log, or locks taken by upgrade, errors of class 40 appear.

use std::collections::HashMap;

use serde_json::json;

use crate::support::cluster::Cluster;
use crate::support::crew::{Gate, crew};
use crate::support::random::{Random, scaled};
use crate::support::session::Session;

const CLIENTS: usize = 16;

/// Every name is asked for twice, at about the same time, on two of 16 connections.
fn unique_names(begin: Option<&str>) {
    let db = Cluster::shared().database();
    let rounds = scaled(2000 / (CLIENTS / 2));
    let mut random = Random::new(1);
    let plan: Vec<Vec<usize>> = (0..rounds)
        .map(|round| {
            let first = round * CLIENTS / 2;
            let mut names: Vec<usize> = (first..first + CLIENTS / 2).flat_map(|n| [n, n]).collect();
            random.shuffle(&mut names);
            names
        })
        .collect();
    let gate = Gate::new(CLIENTS);
    let answers = crew(CLIENTS, |client| {
        let mut session = db.connect();
        let mut answers = Vec::new();
        for names in &plan {
            let name = names[client];
            let query = json!({"tags": [format!("name:{name}")]}).to_string();
            let event = json!({"type": "name taken", "tags": [format!("name:{name}"), "name"], "data": {"by": client}});
            gate.pass();
            if let Some(begin) = begin {
                session.run(begin);
                session.positions(&query);
            }
            let answer = session.append(&event, Some(&query));
            if begin.is_some() {
                session.run("COMMIT");
            }
            answers.push((name, client, answer));
        }
        answers
    });

    let mut winners = HashMap::new();
    let mut losers = 0;
    for (name, client, answer) in answers.iter().flatten() {
        if answer.is_appended() {
            assert_eq!(
                winners.insert(*name, (*client, answer.position)),
                None,
                "name {name} was given twice"
            );
        }
    }
    for (name, _, answer) in answers.iter().flatten().filter(|a| !a.2.is_appended()) {
        assert!(answer.is_conflict(), "{answer:?}");
        let (winner, position) = winners[name];
        assert_eq!(answer.position, position, "name {name}");
        let conflicts = answer
            .conflicts
            .as_ref()
            .expect("a conflict tells the events");
        assert_eq!(answer.conflicting(), [position], "name {name}");
        assert_eq!(conflicts[0]["data"]["by"], json!(winner), "name {name}");
        losers += 1;
    }
    assert_eq!(
        (winners.len(), losers),
        (rounds * CLIENTS / 2, rounds * CLIENTS / 2)
    );
    let mut session = db.connect();
    assert_eq!(session.number("SELECT en57_count()"), winners.len() as i64);
    let distinct =
        "SELECT count(DISTINCT t) FROM en57_read(), unnest(tags) t WHERE t LIKE 'name:%'";
    assert_eq!(session.number(distinct), winners.len() as i64);
}

#[test]
fn unique_names_in_single_statements() {
    unique_names(None);
}

#[test]
fn unique_names_under_repeatable_read() {
    unique_names(Some("BEGIN ISOLATION LEVEL REPEATABLE READ"));
}

#[test]
fn unique_names_under_serializable() {
    unique_names(Some("BEGIN ISOLATION LEVEL SERIALIZABLE"));
}

const CAPACITY: i64 = 6;
const COURSES_OF_A_STUDENT: i64 = 3;

enum Decision {
    Subscribed,
    CourseFull,
    StudentBusy,
    Already,
}

/// Reads, decides and appends until the decision stands; only a 'conflict' is a reason to do it again.
fn subscribe(
    session: &mut Session,
    course: &str,
    student: &str,
    conflicts: &mut usize,
) -> Decision {
    let context = "SELECT c.position,
            count(*) FILTER (WHERE e.tags @> ARRAY[$2]), count(*) FILTER (WHERE e.tags @> ARRAY[$3]),
            count(*) FILTER (WHERE e.tags @> ARRAY[$2, $3])
        FROM en57_context($1::text::en57_query) c LEFT JOIN LATERAL unnest(c.events) e ON true GROUP BY 1";
    let criterion = |tag: &str| json!({"types": ["subscribed"], "tags": [tag]});
    // Two ways to say the same, which meet.
    let criteria = match *conflicts % 2 {
        0 => json!([criterion(course), criterion(student)]),
        _ => json!([{"types": ["subscribed"], "any_tags": [course, student]}]),
    };
    let query = criteria.to_string();
    for _ in 0..10_000 {
        let row = session.row(context, &[&query, &course, &student]);
        let (position, of_course, of_student, both): (i64, i64, i64, i64) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        if both > 0 {
            return Decision::Already;
        }
        if of_course >= CAPACITY {
            return Decision::CourseFull;
        }
        if of_student >= COURSES_OF_A_STUDENT {
            return Decision::StudentBusy;
        }
        let event = json!({"type": "subscribed", "tags": [course, student]});
        let condition = json!({"items": criteria, "after": position}).to_string();
        let answer = session.append(&event, Some(&condition));
        if answer.is_appended() {
            return Decision::Subscribed;
        }
        assert!(
            answer.is_conflict() && answer.position > position,
            "{answer:?} after {position}"
        );
        *conflicts += 1;
    }
    panic!("no decision stands")
}

/// dcb.events' example: a course has so many places, a student takes so many courses, both at once.
#[test]
fn course_and_student_limits() {
    let db = Cluster::shared().database();
    let (courses, students) = (scaled(24), scaled(40));
    let outcomes = crew(CLIENTS, |client| {
        let mut session = db.connect();
        let mut random = Random::new(100 + client as u64);
        let mut conflicts = 0;
        let wishes: Vec<_> = (0..scaled(80))
            .map(|_| {
                (
                    format!("course:{}", random.below(courses)),
                    format!("student:{}", random.below(students)),
                )
            })
            .collect();
        let decided: Vec<_> = wishes
            .into_iter()
            .map(|(course, student)| {
                let decision = subscribe(&mut session, &course, &student, &mut conflicts);
                (course, student, decision)
            })
            .collect();
        (decided, conflicts)
    });

    let mut session = db.connect();
    let mut places: HashMap<String, i64> = HashMap::new();
    for row in session.rows("SELECT tags FROM en57_read()", &[]) {
        let tags: Vec<String> = row.get(0);
        tags.into_iter()
            .for_each(|t| *places.entry(t).or_default() += 1);
    }
    for (tag, n) in &places {
        let limit = if tag.starts_with("course") {
            CAPACITY
        } else {
            COURSES_OF_A_STUDENT
        };
        assert!(*n <= limit, "{tag} has {n} subscriptions");
    }
    let pairs =
        "SELECT count(*) FROM (SELECT 1 FROM en57_read() GROUP BY tags HAVING count(*) > 1) twice";
    assert_eq!(session.number(pairs), 0, "a student has a course twice");
    // Nobody unsubscribes, so whatever was the reason of a refusal holds to the end.
    for (course, student, decision) in outcomes.iter().flat_map(|o| &o.0) {
        match decision {
            Decision::CourseFull => assert_eq!(places[course], CAPACITY, "{course}"),
            Decision::StudentBusy => assert_eq!(places[student], COURSES_OF_A_STUDENT, "{student}"),
            Decision::Subscribed | Decision::Already => {
                assert!(places[course] > 0 && places[student] > 0)
            }
        }
    }
    let conflicts: usize = outcomes.iter().map(|o| o.1).sum();
    assert!(conflicts > 0, "the clients never met");
}
