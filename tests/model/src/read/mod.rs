//! How a frontier is found.

#[cfg(not(feature = "broken"))]
#[path = "../../../../src/read/writers.rs"]
pub mod writers;
#[cfg(feature = "broken")]
pub mod writers {
    include!(concat!(env!("OUT_DIR"), "/writers.rs"));
}
