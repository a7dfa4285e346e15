//! The room as the model sees it: plans and modes are the engine's own, PostgreSQL's lock manager is `server`.

pub mod manager;
mod wait;

#[cfg(not(feature = "broken"))]
#[path = "../../../../../src/store/lock/keys.rs"]
pub mod keys;
#[cfg(feature = "broken")]
pub mod keys {
    include!(concat!(env!("OUT_DIR"), "/keys.rs"));
}

#[cfg(not(feature = "broken"))]
#[path = "../../../../../src/store/lock/plan.rs"]
pub mod plan;
#[cfg(feature = "broken")]
pub mod plan {
    include!(concat!(env!("OUT_DIR"), "/plan.rs"));
}
