//! Random changes of inputs.

use en57_tests::random::Random;

/// Pieces that mean something in every one of the texts.
const PIECES: [&str; 30] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    ",",
    ":",
    "\\",
    "\\u0000",
    "\\ud800",
    "\\udc00",
    "0",
    "-",
    "-0",
    "1e999",
    "1e-999",
    "null",
    "true",
    "9223372036854775807",
    "9223372036854775808",
    "0.1",
    " ",
    "\n",
    "é",
    "\u{1}",
    "\u{10ffff}",
    "\u{feff}",
    "{}",
    "[]",
    "\"\"",
];

/// One of the inputs, changed at one or a few places.
pub fn input(random: &mut Random, inputs: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    let mut bytes = inputs[random.below(inputs.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = (at + 1 + random.below(16)).min(bytes.len());
        match random.below(11) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.next() as u8,
            2 => drop(bytes.drain(at.min(end)..end)),
            3 => {
                let piece = bytes[at.min(end)..end].to_vec();
                let times = [1, 2, 50, 500][random.below(4)];
                bytes.splice(at..at, piece.repeat(times));
            }
            4 => bytes.truncate(at),
            5 => {
                let other = &inputs[random.below(inputs.len())];
                let from = random.below(other.len() + 1);
                let to = (from + random.below(200)).min(other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            6 | 7 if !words.is_empty() => {
                let word = words[random.below(words.len())];
                let quoted = format!("\"{word}\"");
                bytes.splice(at..at, quoted.into_bytes());
            }
            _ => {
                let piece = PIECES[random.below(PIECES.len())];
                bytes.splice(at..at, piece.bytes());
            }
        }
        // Larger ones are refused by their size alone.
        bytes.truncate(300_000);
    }
    bytes
}
