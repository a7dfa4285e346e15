//! Memory with nothing behind it, for tests: who reads beyond its end, or before its start, brings the server down.

/// Some pages of memory between two that nobody can read.
pub(in crate::store) struct Fence {
    /// Where the first of the three parts begins.
    start: *mut libc::c_void,
    /// The length of the part in the middle.
    bytes: usize,
}

/// No page of the machine's is longer.
const UNIT: usize = 65_536;

impl Fence {
    /// For values of at most so many bytes.
    pub(in crate::store) fn new(bytes: usize) -> Self {
        let bytes = bytes.max(1).next_multiple_of(page_bytes());
        // SAFETY: new memory of three parts, of which the one in the middle is made accessible.
        unsafe {
            let start = libc::mmap(
                std::ptr::null_mut(),
                2 * UNIT + bytes,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(start, libc::MAP_FAILED);
            let access = libc::PROT_READ | libc::PROT_WRITE;
            assert_eq!(libc::mprotect(start.add(UNIT), bytes, access), 0);
            Self { start, bytes }
        }
    }

    /// Puts a value at the end, in place of the one before, and says where it begins.
    pub(in crate::store) fn put(&mut self, value: &[u8]) -> *const u8 {
        assert!(value.len() <= self.bytes, "it is too long for the fence");
        // SAFETY: within the part in the middle; whoever has used the value before has ended, since self is borrowed alone.
        unsafe {
            let at = self.start.cast::<u8>().add(UNIT + self.bytes - value.len());
            std::ptr::copy_nonoverlapping(value.as_ptr(), at, value.len());
            at
        }
    }
}

fn page_bytes() -> usize {
    // SAFETY: asks the system for a number.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    assert!(bytes <= UNIT && bytes.is_power_of_two());
    bytes
}

impl Drop for Fence {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, given back once.
        unsafe { libc::munmap(self.start, 2 * UNIT + self.bytes) };
    }
}
