//! What init does when there is no memory: it throws ballast off.
//!
//! A failed allocation would be the end of PID 1. So some memory is held back from the start, and
//! given up when the system has none left: what is being done then goes through, and from then on
//! init takes on nothing new until it could take the ballast up again.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use super::crash;

/// Far more than handling the largest request takes. It is never written to, so it takes address
/// space and no memory.
const SIZE: usize = 4 * 1024 * 1024;
const LAYOUT: Layout = Layout::new::<[u8; SIZE]>();

/// The system's allocator, with ballast.
#[derive(Debug)]
pub struct Ballast(AtomicPtr<u8>);

/// The one of this program.
#[global_allocator]
static BALLAST: Ballast = Ballast(AtomicPtr::new(ptr::null_mut()));

/// Takes ballast up, if there is none. Answers whether there is now.
pub fn is_enough() -> bool {
    if !BALLAST.0.load(Ordering::Relaxed).is_null() {
        return true;
    }
    // SAFETY: the layout is not of size 0.
    let taken = unsafe { System.alloc(LAYOUT) };
    let held = &BALLAST.0;
    let none = ptr::null_mut();
    if held.compare_exchange(none, taken, Ordering::Relaxed, Ordering::Relaxed).is_err() {
        // SAFETY: it is from this allocator with this layout, and nobody else's.
        unsafe { System.dealloc(taken, LAYOUT) };
    }
    !taken.is_null()
}

impl Ballast {
    /// What is seldom needed, apart from what always is.
    ///
    /// # Safety
    ///
    /// As for [`GlobalAlloc::alloc`].
    #[cold]
    unsafe fn alloc_somehow(&self, layout: Layout) -> *mut u8 {
        if crash::is_copy() {
            return SLAB.take(layout);
        }
        if !self.throw_off() {
            return ptr::null_mut();
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    /// Answers whether there was any.
    fn throw_off(&self) -> bool {
        let held = self.0.swap(ptr::null_mut(), Ordering::Relaxed);
        if held.is_null() {
            return false;
        }
        // SAFETY: whoever has swapped it out is its only owner; it is of this layout.
        unsafe { System.dealloc(held, LAYOUT) };
        true
    }
}

/// The memory of a crashed init's copy: taken one after the other, and never given back. The system's
/// allocator may be what is broken, or have been in the middle of something.
struct Slab {
    next: AtomicUsize,
    end: AtomicUsize,
}

static SLAB: Slab = Slab { next: AtomicUsize::new(0), end: AtomicUsize::new(0) };

/// Takes address space for it while there is some: a process that has crashed may have none left.
pub(super) fn reserve_for_copy() {
    SLAB.extend(Slab::LEAST);
}

/// Whether there is memory for so much, which is not taken.
#[must_use]
pub fn has_room(bytes: usize) -> bool {
    let Ok(layout) = Layout::from_size_align(bytes.max(1), 1) else { return false };
    // SAFETY: the layout is not of size 0, and what is taken is given back. Not by way of the ballast,
    // which would be thrown off for it.
    unsafe {
        let taken = black_box(System.alloc(layout));
        if !taken.is_null() {
            System.dealloc(taken, layout);
        }
        !taken.is_null()
    }
}

impl Slab {
    const LEAST: usize = 8 * 1024 * 1024;

    /// Answers whether it could be.
    fn extend(&self, size: usize) -> bool {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping.
        let taken = unsafe { libc::mmap(ptr::null_mut(), size, rights, flags, -1, 0) };
        let is_there = taken != libc::MAP_FAILED;
        if is_there {
            self.next.store(taken as usize, Ordering::Relaxed);
            self.end.store(taken as usize + size, Ordering::Relaxed);
        }
        is_there
    }

    /// There is one thread.
    fn take(&self, layout: Layout) -> *mut u8 {
        let size = layout.size().saturating_add(layout.align());
        let left = || {
            let next = self.next.load(Ordering::Relaxed);
            self.end.load(Ordering::Relaxed).saturating_sub(next)
        };
        if left() < size && !self.extend(size.max(Self::LEAST)) {
            return ptr::null_mut();
        }
        let next = self.next.load(Ordering::Relaxed);
        let place = next.next_multiple_of(layout.align());
        self.next.store(place + layout.size(), Ordering::Relaxed);
        place as *mut u8
    }
}

// SAFETY: all is the system's allocator's own work, but for that of the copy, which has one that gives
// each place once.
unsafe impl GlobalAlloc for Ballast {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !crash::is_copy() {
            // SAFETY: as the caller promises.
            let taken = unsafe { System.alloc(layout) };
            if !taken.is_null() {
                return taken;
            }
        }
        // SAFETY: as the caller promises.
        unsafe { self.alloc_somehow(layout) }
    }

    unsafe fn dealloc(&self, taken: *mut u8, layout: Layout) {
        if crash::is_copy() {
            return;
        }
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(taken, layout) };
    }

    unsafe fn realloc(&self, taken: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if crash::is_copy() {
            // SAFETY: the caller promises that both layouts are sound; the old place is as long as the
            // old one, and the new one lies elsewhere.
            return unsafe {
                let grown = SLAB.take(Layout::from_size_align_unchecked(size, layout.align()));
                if !grown.is_null() {
                    ptr::copy_nonoverlapping(taken, grown, layout.size().min(size));
                }
                grown
            };
        }
        // SAFETY: as the caller promises.
        let grown = unsafe { System.realloc(taken, layout, size) };
        if grown.is_null() && self.throw_off() {
            // SAFETY: as the caller promises; a failure has left it as it was.
            return unsafe { System.realloc(taken, layout, size) };
        }
        grown
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if crash::is_copy() {
            // As the kernel gives it.
            return SLAB.take(layout);
        }
        // SAFETY: as the caller promises.
        let taken = unsafe { System.alloc_zeroed(layout) };
        if taken.is_null() && self.throw_off() {
            // SAFETY: as the caller promises.
            return unsafe { System.alloc_zeroed(layout) };
        }
        taken
    }
}
