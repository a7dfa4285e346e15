//! What the protocol asks of PostgreSQL beside `pg_sys`.

pub mod clock {
    /// Always the same time: the ceiling's steps grow.
    pub fn now_us() -> i64 {
        1_000_000_000
    }
}

pub mod guard {
    /// # Safety
    /// As the engine's.
    pub unsafe fn raise(error: crate::dcb::error::Error) -> ! {
        panic!("{error:?}")
    }
}

pub mod settings {
    pub fn max_key_locks() -> usize {
        crate::server::most_key_locks()
    }
}

pub mod xmin {
    #[derive(Clone, Copy)]
    pub struct XminRelease;
    impl XminRelease {
        pub const NONE: Self = Self;
        pub fn go(self) {}
        pub fn come_back(self) {}
    }
}
