//! Bytes of strangers against everything that parses them without a server: texts of queries, their stored form, schemas,
//! registered types and the code that is generated from them, names of partitions.
//!
//! Each input is one of the corpus (`fuzz/corpus/TARGET/`), changed at random: bytes, pieces of others, words that mean
//! something. Inputs that lead to an answer of a new kind (its error, or its size) are kept for the run and changed further.
//! `make fuzz SECONDS=600 SEED=7` runs longer, and writes what has failed into the corpus: then every run tries it.
//!
//! Fails when a parser panics or does not end, when what it has read and writes again is not read as the same, or when it
//! takes longer than its limits promise.

#![allow(missing_docs)]

#[allow(dead_code)]
#[path = "../../src/generate/mod.rs"]
mod generate;

use en57_tests::{dcb, random};

mod mutate;
mod targets;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use random::Random;
use targets::{TARGETS, Target};

/// No input may take longer. What the limits of en57 promise is far less, but the machine may be busy.
const SLOW: Duration = Duration::from_secs(20);

fn corpus(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target.name)
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |s| s.parse().expect("a number"))
}

/// What the answer to an input is like, for telling new kinds from those that were seen; or why it is wrong.
fn answer(target: &Target, input: &[u8]) -> Result<String, String> {
    let started = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let took = started.elapsed();
    match outcome {
        Err(_) => Err("it panics".into()),
        Ok(Err(wrong)) => Err(wrong),
        Ok(Ok(_)) if took > SLOW => Err(format!("it takes {took:?}")),
        Ok(Ok(kind)) => Ok(kind),
    }
}

fn fuzz(target: &Target) {
    let folder = corpus(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("a corpus")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} has no corpus", target.name);
    let mut inputs = vec![];
    let mut seen = HashSet::new();
    for file in &files {
        let input = std::fs::read(file).expect("a file");
        let kind = answer(target, &input).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
        seen.insert(kind);
        inputs.push(input);
    }
    let seed = random::seed();
    let mut random = Random::new(0);
    let until = Instant::now() + Duration::from_secs(number("EN57_FUZZ_SECONDS", 2));
    let mut tried = 0u64;
    while Instant::now() < until {
        let input = mutate::input(&mut random, &inputs, target.words);
        tried += 1;
        match answer(target, &input) {
            Ok(kind) => {
                if seen.insert(kind) && inputs.len() < 20_000 {
                    inputs.push(input);
                }
            }
            Err(why) => {
                let file = folder.join(format!("failed-{seed}-{tried}"));
                std::fs::write(&file, &input).expect("the corpus can be written");
                panic!(
                    "{}: {why}: see {} (seed {seed})",
                    target.name,
                    file.display()
                );
            }
        }
    }
    eprintln!(
        "fuzz {}: {tried} inputs, {} kinds of answers, seed {seed}",
        target.name,
        seen.len()
    );
}

macro_rules! tests {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            fuzz(TARGETS.iter().find(|t| t.name == stringify!($name)).expect("a target"));
        })*

        #[test]
        fn every_target_has_a_test() {
            assert_eq!(TARGETS.map(|t| t.name), [$(stringify!($name)),*]);
        }
    };
}
tests!(query, stored_query, criterion, schema, types, partition);
