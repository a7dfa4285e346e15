//! With the feature `broken`: copies of the engine's files, with branches that break an order. See `tests/model/src/broken.rs`.

#[path = "src/broken.rs"]
#[allow(dead_code)]
mod broken;

use std::collections::BTreeMap;
use std::path::Path;
use std::{env, fs};

const FILES: &[&str] = &[
    "dcb/error.rs",
    "read/writers.rs",
    "store/lock/keys.rs",
    "store/lock/plan.rs",
    "store/log/ceiling.rs",
    "store/log/position.rs",
    "store/memory/late_key.rs",
    "store/memory/layout.rs",
    "store/memory/slot.rs",
    "store/session/sleep.rs",
    "store/session/transaction.rs",
];

fn main() {
    println!("cargo::rerun-if-changed=src/broken.rs");
    if env::var_os("CARGO_FEATURE_BROKEN").is_none() {
        println!("cargo::rerun-if-changed=build.rs");
        return;
    }
    let engine = Path::new("../../src");
    let mut texts = BTreeMap::new();
    for file in FILES {
        let path = engine.join(file);
        println!("cargo::rerun-if-changed={}", path.display());
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        // What a file says of itself cannot be included in the middle of another one.
        let about = |line: &&str| line.starts_with("//!") || line.starts_with("#![");
        let text: String = text
            .lines()
            .filter(|l| !about(l))
            .map(|l| format!("{l}\n"))
            .collect();
        texts.insert(*file, text);
    }
    for edit in broken::EDITS {
        let text = texts
            .get_mut(edit.file)
            .unwrap_or_else(|| panic!("no file {}", edit.file));
        let places = text.matches(edit.from).count();
        assert!(
            places == 1,
            "{}: {} has {places} places like\n{}",
            edit.name,
            edit.file,
            edit.from
        );
        let to = edit
            .to
            .replace("BROKEN", &format!("crate::is_broken({:?})", edit.name));
        *text = text.replace(edit.from, &to);
    }
    let out = env::var_os("OUT_DIR").unwrap_or_default();
    for (file, text) in texts {
        let name = Path::new(file).file_name().unwrap_or_default();
        let path = Path::new(&out).join(name);
        fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
}
