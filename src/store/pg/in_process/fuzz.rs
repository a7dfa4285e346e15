//! Values that are changed at random, for tests inside a backend: numbers, changes, and the loop over many cases.
//!
//! The settings `tests.fuzz_seconds` and `tests.fuzz_seed` say for how long, and from which seed on. The same seed gives the same
//! cases in the same order, so that one that brings the server down is met again.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pgrx::pg_sys;

use crate::dcb::error::{Error, Result, SqlState};

use super::cause;
use crate::store::pg::guard::{Severity, log};
use crate::store::pg::scratch::Scratch;

/// How long a test lasts, unless said otherwise.
const SECONDS: u64 = 2;
/// No case may take longer. What it takes is far less, but the machine may be busy.
const SLOW: Duration = Duration::from_secs(20);

/// Numbers that look like chance, the same ones for the same seed.
pub(in crate::store) struct Random(u64);

impl Random {
    /// Those of a seed.
    pub(in crate::store) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next one (splitmix64).
    pub(in crate::store) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    /// The next one below a limit.
    pub(in crate::store) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// One of these.
    pub(in crate::store) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// A word that means something, or nearly so: a limit, a small number, a length with flags, any bits.
    pub(in crate::store) fn word(&mut self) -> u32 {
        match self.below(6) {
            0 => self.one(&[0, 1, 2, 3, 4, 6, 7, u32::MAX, 1 << 31, i32::MAX as u32]),
            1 => self.below(64) as u32,
            2 => self.below(2000) as u32,
            3 => 1 << self.below(32),
            4 => self.below(64) as u32 | (self.below(16) as u32) << 28,
            _ => self.next() as u32,
        }
    }
}

/// Changes bytes at one place: bits, bytes, words, a piece that is taken out or put in again, the end.
pub(in crate::store) fn change(random: &mut Random, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        bytes.push(random.next() as u8);
        return;
    }
    let at = random.below(bytes.len());
    let piece = at..(at + 1 + random.below(16)).min(bytes.len());
    // Most numbers stand at multiples of 4, many of them near the start.
    let words = bytes.len() / 4;
    let near = if random.below(2) == 0 { 8 } else { words };
    let word = random.below(words.min(near).max(1)) * 4;
    match random.below(9) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.next() as u8,
        2 | 3 if words > 0 => bytes[word..word + 4].copy_from_slice(&random.word().to_ne_bytes()),
        4 if words > 0 => {
            let value = u32::from_ne_bytes([0, 1, 2, 3].map(|i| bytes[word + i]));
            let value = value.wrapping_add(random.below(17) as u32).wrapping_sub(8);
            bytes[word..word + 4].copy_from_slice(&value.to_ne_bytes());
        }
        5 => drop(bytes.drain(piece)),
        6 => {
            let copy = bytes[piece].to_vec();
            let to = random.below(bytes.len() + 1);
            bytes.splice(to..to, copy);
        }
        7 => bytes.truncate(at),
        _ => bytes[piece].fill(random.one(&[0, 0xFF, 0x40, 0x80])),
    }
}

fn setting(name: &std::ffi::CStr) -> Option<u64> {
    // SAFETY: the name is NUL-terminated; a setting that nobody has made is null, as asked for.
    let text = unsafe {
        let value = pg_sys::GetConfigOption(name.as_ptr(), true, false);
        (!value.is_null()).then(|| std::ffi::CStr::from_ptr(value))?
    };
    text.to_str().ok()?.parse().ok()
}

fn seed() -> u64 {
    setting(c"tests.fuzz_seed").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(0, |now| now.as_nanos() as u64 % 1_000_000_000)
    })
}

/// Runs as many cases as there is time for, each with numbers and memory of its own, and tells how many of them have ended in
/// each way. `case` says how one has ended; it fails by a panic, or with an error.
///
/// # Errors
/// Where a case fails: its number and the seed.
pub(in crate::store) fn cases(
    name: &str,
    mut case: impl FnMut(&mut Random) -> Result<&'static str>,
) -> Result<()> {
    let seed = seed();
    // At once, so that it is known where a case brings the server down.
    log(
        Severity::Notice,
        &format!("fuzz {name}: seed {seed}"),
        None,
        None,
    );
    let scratch = Scratch::new();
    let until =
        Instant::now() + Duration::from_secs(setting(c"tests.fuzz_seconds").unwrap_or(SECONDS));
    let mut ends: Vec<(&str, u64)> = Vec::new();
    let mut number = 0;
    while Instant::now() < until {
        pgrx::check_for_interrupts!();
        number += 1;
        let mut random = Random::new(
            seed.wrapping_mul(0x5851_F42D_4C95_7F2D)
                .wrapping_add(number),
        );
        let started = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| scratch.run(|| case(&mut random))));
        let failed = match outcome {
            Ok(Ok(_)) if started.elapsed() > SLOW => "it takes too long".to_owned(),
            Ok(Ok(end)) => {
                match ends.iter_mut().find(|known| known.0 == end) {
                    Some(known) => known.1 += 1,
                    None => ends.push((end, 1)),
                }
                scratch.reset();
                continue;
            }
            Ok(Err(error)) => error.message,
            Err(payload) => cause(payload).unwrap_or_else(|other| resume_unwind(other)),
        };
        let message = format!("{name}: case {number} of seed {seed}: {failed}");
        return Err(Error::new(SqlState::Internal, message));
    }
    ends.sort_unstable();
    let ends: Vec<String> = ends.iter().map(|(end, n)| format!("{n} {end}")).collect();
    let told = format!("fuzz {name}: {number} cases ({})", ends.join(", "));
    log(Severity::Notice, &told, None, None);
    Ok(())
}
