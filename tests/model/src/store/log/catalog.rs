//! The log's tables: of them the protocol knows the stored ceiling alone.

use crate::pg_sys::Oid;
use crate::server::server;

pub struct Store {
    pub events: Oid,
}

impl Store {
    pub fn read_ceiling(&self) -> i64 {
        server().stored_ceiling()
    }
    pub fn write_ceiling(&self, ceiling: i64) {
        server().store_ceiling(ceiling);
    }
    pub fn reset_ceiling(&self) {
        server().store_ceiling(0);
    }
}
