//! Errors.

pub mod refusal {
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Refusal;
}

#[cfg(not(feature = "broken"))]
#[path = "../../../../src/dcb/error.rs"]
pub mod error;
#[cfg(feature = "broken")]
pub mod error {
    include!(concat!(env!("OUT_DIR"), "/error.rs"));
}
