//! Names of partitions, and of the tables that hold them.
//!
//! **Invariant:** the bound of its table says which partition it is, not the table's name: that one may
//! be changed. The names made here are where a partition is looked for first.

use xxhash_rust::xxh3::xxh3_64;

use super::error::{Error, Result, SqlState};
use super::limits;

/// The partition that every log has.
pub const DEFAULT: &str = "default";
/// All partitions that the caller may read.
pub const ALL: &str = "*";
/// Names that end so are kept for archives.
const ARCHIVE: &str = "@archive";

/// What the names of tables begin with.
const PREFIX: &str = "events_";
/// A name goes into the table's as it is up to so many bytes: with the prefix and the longest suffix of an
/// index ("_position") these are PostgreSQL's 63.
const PLAIN_BYTES: usize = 47;
/// Characters of other names that are kept for the reader's sake.
const READABLE: usize = 24;

/// Makes sure that a partition may be called so.
///
/// # Errors
/// 22023.
pub fn check_name(name: &str) -> Result<()> {
    let invalid = |message: String| Error::new(SqlState::InvalidParameter, message);
    if name.is_empty() {
        return Err(invalid("partition's name must not be empty".into()));
    }
    if name.len() > limits::PARTITION_BYTES {
        return Err(invalid(format!(
            "partition's name is longer than {} bytes",
            limits::PARTITION_BYTES
        )));
    }
    if name == ALL {
        return Err(invalid("partition cannot be called \"*\"".into())
            .hint("In reads \"*\" stands for all partitions."));
    }
    if name.ends_with(ARCHIVE) {
        return Err(
            invalid(format!("partition's name must not end in \"{ARCHIVE}\""))
                .hint("Such names are reserved."),
        );
    }
    Ok(())
}

/// The tables that a partition of this name is given, in order of preference: `events_NAME` for a plain
/// name; for any other, and where that is taken, its readable part and its hash.
pub fn tables(name: &str) -> Vec<String> {
    let is_plain_char = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let mut tables = Vec::with_capacity(2);
    if !name.is_empty() && name.len() <= PLAIN_BYTES && name.chars().all(is_plain_char) {
        tables.push(format!("{PREFIX}{name}"));
    }
    let readable: String = name
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if is_plain_char(c) { c } else { '_' })
        .take(READABLE)
        .collect();
    let hash = xxh3_64(name.as_bytes());
    tables.push(format!("{PREFIX}{readable}_{hash:016x}"));
    tables
}

/// A name as an error message shows it.
pub fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}
