//! Names of partitions, and of the tables that hold them.
//!
//! **Invariant:** the bound of a table decides which partition it is. Its name does not, because an administrator may
//! change it. The names that are made here are only where a partition is looked for first.

use xxhash_rust::xxh3::xxh3_64;

use super::error::{Result, invalid};
use super::limits;

/// The partition that every log has.
pub const DEFAULT: &str = "default";
/// The name that stands for all partitions that the caller may read.
pub const ALL: &str = "*";
/// The end of names that are reserved for archives.
const ARCHIVE: &str = "@archive";

/// The start of the names of tables.
const PREFIX: &str = "events_";
/// The longest name, in bytes, that the name of a table contains unchanged. With the prefix and the longest suffix of an
/// index ("_position") it has the 63 bytes that PostgreSQL allows.
const PLAIN_BYTES: usize = 47;
/// How many characters of a longer name the name of a table contains, to be readable.
const READABLE: usize = 24;

/// Checks that a partition may have this name.
///
/// # Errors
/// 22023 where it may not.
pub fn check_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(invalid("partition's name must not be empty"));
    }
    if name.len() > limits::PARTITION_BYTES {
        return Err(invalid(format!(
            "partition's name is longer than {} bytes",
            limits::PARTITION_BYTES
        )));
    }
    if name == ALL {
        return Err(invalid("partition cannot be called \"*\"")
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

/// The names for the table of a partition, the preferred one first: `events_NAME` if the name is plain; for other names, and
/// if that is taken, the start of the name and its hash.
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
