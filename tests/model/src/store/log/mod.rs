//! The room as the model sees it: how positions are allotted, and their ceiling. How a counter is found is not.

pub mod catalog;
pub mod counter;

#[cfg(not(feature = "broken"))]
#[path = "../../../../../src/store/log/position.rs"]
pub mod position;
#[cfg(feature = "broken")]
pub mod position {
    include!(concat!(env!("OUT_DIR"), "/position.rs"));
}

#[cfg(not(feature = "broken"))]
#[path = "../../../../../src/store/log/ceiling.rs"]
pub mod ceiling;
#[cfg(feature = "broken")]
pub mod ceiling {
    include!(concat!(env!("OUT_DIR"), "/ceiling.rs"));
}
