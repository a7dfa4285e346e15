//! The pure domain of en57, as a library without a server: the tests use it to say what the server must answer.

#[path = "../src/dcb/mod.rs"]
pub mod dcb;
