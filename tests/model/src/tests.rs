//! That nothing fails in any interleaving; and, with the feature `broken`, that something does where an order is broken.
//!
//! Fails when a position can be given twice, or beyond the stored ceiling; when a reader is given a frontier below which
//! something comes later, or one that is lower than what somebody was given before; when a condition does not hold at its
//! place in the order; when somebody sleeps and nobody wakes him.

use crate::explore::{Model, Report, explore};
use crate::scenarios::SMALL;
#[cfg(not(feature = "broken"))]
use crate::scenarios::{LARGE, Scenario};

fn explored(name: &str, model: &Model, most_runs: usize) -> Report {
    let report = explore(model, most_runs);
    let (states, runs, seconds) = (report.states, report.runs, report.seconds);
    println!("{name}: {states} states, {runs} runs, {seconds:.1} s");
    report
}

/// Each scenario has memory of its own: a thread.
#[cfg(not(feature = "broken"))]
fn in_threads(scenarios: &'static [Scenario], body: fn(&'static Scenario)) {
    let only = std::env::var("SCENARIO").unwrap_or_default();
    let is_wanted = |scenario: &&Scenario| only.is_empty() || scenario.0 == only;
    let scenarios: Vec<&'static Scenario> = scenarios.iter().filter(is_wanted).collect();
    let mut failed = Vec::new();
    for pair in scenarios.chunks(2) {
        let start = |scenario: &&'static Scenario| {
            let scenario = *scenario;
            (scenario.0, std::thread::spawn(move || body(scenario)))
        };
        let threads: Vec<_> = pair.iter().map(start).collect();
        for (name, thread) in threads {
            if thread.join().is_err() {
                failed.push(name);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

#[cfg(not(feature = "broken"))]
fn holds((name, make): &Scenario) {
    let report = explored(name, &make(), usize::MAX);
    if let Some((message, story)) = &report.failure {
        panic!("{name}: {message}\n{}", story.join("\n"));
    }
    assert!(report.is_complete);
}

#[cfg(not(feature = "broken"))]
#[test]
fn all_orders_of_small_scenarios() {
    in_threads(SMALL, holds);
}

/// `make model`.
#[cfg(not(feature = "broken"))]
#[test]
#[ignore = "takes minutes"]
fn all_orders_of_large_scenarios() {
    in_threads(LARGE, holds);
}

/// Which scenario finds it.
#[cfg(feature = "broken")]
mod broken {
    use super::{SMALL, explored};
    use crate::broken::{EDITS, FOUND_BY};

    #[test]
    fn each_broken_order_is_found() {
        let mut missed = Vec::new();
        for (name, found_by) in FOUND_BY {
            let make = SMALL.iter().find(|(scenario, _)| scenario == found_by);
            let (_, make) = make.expect("a scenario has this name");
            let search = std::thread::spawn(move || {
                crate::set_broken(name);
                explored(name, &make(), 400_000).failure
            });
            match search.join() {
                Ok(Some((message, story))) => {
                    println!("  {found_by}, after {} steps: {message}", story.len());
                }
                _ => missed.push(name),
            }
        }
        assert!(missed.is_empty(), "not found: {missed:?}");
    }

    /// Whatever is broken has its scenario.
    #[test]
    fn none_is_left_out() {
        for edit in EDITS {
            let is_in = FOUND_BY.iter().any(|(name, _)| *name == edit.name);
            assert!(is_in, "{}", edit.name);
        }
    }
}
