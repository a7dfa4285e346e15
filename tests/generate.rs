//! The generator without a server: the texts that it makes of tests/generate/types.json, and Rust's at work.
//!
//! `EN57_BLESS=1` writes tests/generate/expected; tests/generate/run.sh gives these files to their languages' tools.

#![allow(missing_docs)]

#[allow(dead_code)]
#[path = "../src/dcb/mod.rs"]
mod dcb;
#[allow(dead_code)]
#[path = "../src/generate/mod.rs"]
mod generate;

use std::path::{Path, PathBuf};

use dcb::error::SqlState;
use generate::{Registered, generate, registered};
use serde_json::{Value, json};

const FILES: [(&str, &str); 5] = [
    ("go", "events.go"),
    ("python", "events.py"),
    ("ruby", "events.rb"),
    ("rust", "events.rs"),
    ("typescript", "events.ts"),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/generate")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).expect(name)
}

fn types() -> Vec<Registered> {
    registered(&read("types.json")).expect("types.json")
}

#[test]
fn every_language_writes_what_is_expected() {
    for (language, file) in FILES {
        let text = generate(language, types(), None).expect(language);
        let path = folder().join("expected").join(file);
        if std::env::var_os("EN57_BLESS").is_some() {
            std::fs::write(&path, &text).expect(file);
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(text == expected, "{file} differs: bless it and read the difference");
    }
}
