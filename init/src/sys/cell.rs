//! A lock for what one thread's tasks share: it is never waited for.
//!
//! The standard library's would do, but for one case: the copy of a crashed init (see `crash`) must get
//! at what was locked when it crashed.

use std::cell::UnsafeCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};

use super::crash;

/// A value that is used by one place at a time.
#[derive(Default)]
pub struct Cell<T> {
    is_open: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: whoever has the value has swapped `is_open` to true, and nobody else does until he is done.
// In the copy of a crashed init that is void, and there is one thread, which does one thing.
unsafe impl<T: Send> Sync for Cell<T> {}

impl<T> Cell<T> {
    /// A cell with this value.
    pub fn new(value: T) -> Self {
        Self { is_open: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// The value, until the answer is dropped.
    ///
    /// # Panics
    ///
    /// If it is open, which is a defect.
    pub fn open(&self) -> Open<'_, T> {
        let is_free = !self.is_open.swap(true, Ordering::Acquire) || crash::is_copy();
        assert!(is_free, "opened within itself");
        Open(self)
    }
}

impl<T> fmt::Debug for Cell<T> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Cell")
    }
}

/// The value of a cell.
pub struct Open<'a, T>(&'a Cell<T>);

impl<T> Deref for Open<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: as above.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Open<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Open<'_, T> {
    fn drop(&mut self) {
        self.0.is_open.store(false, Ordering::Release);
    }
}
