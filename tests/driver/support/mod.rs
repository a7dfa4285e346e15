//! What the tests of the driver share: servers, connections, clients that work together, random data. No test module uses
//! another one; what two of them need is here.

pub mod cluster;
pub mod crash;
pub mod crew;
pub mod documents;
pub mod findings;
pub mod followed;
pub mod model;
pub mod session;
pub mod shim;
pub mod streams;
pub mod worker;

pub use en57_tests::random;
