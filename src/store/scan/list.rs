//! PostgreSQL's lists, as plans have them.

use std::ffi::c_void;

use pgrx::pg_sys::{self, List};

/// How many cells it has.
///
/// # Safety
/// A list, or null, which is the empty one.
pub(super) unsafe fn length(list: *const List) -> usize {
    // SAFETY: the caller's contract.
    unsafe { list.as_ref() }.map_or(0, |l| l.length as usize)
}

/// The nodes of a list.
///
/// # Safety
/// A list of nodes of this type, or null, that is not changed meanwhile.
pub(super) unsafe fn nodes<T>(list: *const List) -> impl Iterator<Item = *mut T> {
    // SAFETY: the caller's contract; the n-th cell is there.
    (0..unsafe { length(list) })
        .map(move |n| unsafe { (*(*list).elements.add(n)).ptr_value.cast() })
}

/// The n-th number of a list of numbers.
///
/// # Safety
/// A list of numbers that has so many.
pub(super) unsafe fn number(list: *const List, n: usize) -> i32 {
    // SAFETY: the caller's contract.
    unsafe { (*(*list).elements.add(n)).int_value }
}

/// A list of numbers.
///
/// # Safety
/// Within a guard.
pub(super) unsafe fn of_numbers(numbers: &[i32]) -> *mut List {
    let mut list = std::ptr::null_mut();
    for number in numbers {
        // SAFETY: a list of numbers, or null.
        list = unsafe { pg_sys::lappend_int(list, *number) };
    }
    list
}

/// Adds a node at the end.
///
/// # Safety
/// A list of nodes or null, and a node.
pub(super) unsafe fn push<T>(list: *mut List, node: *mut T) -> *mut List {
    // SAFETY: the caller's contract.
    unsafe { pg_sys::lappend(list, node.cast::<c_void>()) }
}
