//! What stands in place of the standard library's `thread_local!` in the engine's files: each thread of the model has its own
//! value, which begins anew with each run.

use std::cell::{Cell, RefCell};

use crate::world::world;

pub struct LocalKey<T: 'static>(pub fn() -> T);

impl<T: 'static> LocalKey<T> {
    pub fn with<R>(&'static self, body: impl FnOnce(&T) -> R) -> R {
        let value = world().local(std::ptr::from_ref(self) as usize, self.0);
        body(&value)
    }
}

#[allow(dead_code)]
impl<T: 'static> LocalKey<Cell<T>> {
    pub fn get(&'static self) -> T
    where
        T: Copy,
    {
        self.with(Cell::get)
    }
    pub fn set(&'static self, value: T) {
        self.with(|cell| cell.set(value));
    }
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

#[allow(dead_code)]
impl<T: 'static> LocalKey<RefCell<T>> {
    pub fn with_borrow<R>(&'static self, body: impl FnOnce(&T) -> R) -> R {
        self.with(|cell| body(&cell.borrow()))
    }
    pub fn with_borrow_mut<R>(&'static self, body: impl FnOnce(&mut T) -> R) -> R {
        self.with(|cell| body(&mut cell.borrow_mut()))
    }
}

macro_rules! thread_local {
    () => {};
    ($(#[$about:meta])* $of:vis static $name:ident: $type:ty = const $init:block; $($rest:tt)*) => {
        $(#[$about])* $of static $name: $crate::local::LocalKey<$type> = $crate::local::LocalKey(|| $init);
        thread_local! { $($rest)* }
    };
    ($(#[$about:meta])* $of:vis static $name:ident: $type:ty = $init:expr; $($rest:tt)*) => {
        $(#[$about])* $of static $name: $crate::local::LocalKey<$type> = $crate::local::LocalKey(|| $init);
        thread_local! { $($rest)* }
    };
}
