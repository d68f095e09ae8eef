//! Lets go of memory that only a program's start has needed.
//!
//! The kernel maps a program's file around each place that is used, and never unmaps it: after a start, most of a
//! program is mapped, and a small part of it is used from then on.

#![expect(unsafe_code, reason = "one system call, and two functions of the C library's")]

use std::ptr;

/// The least there is; a larger one is aligned to it, too.
const PAGE: usize = 4096;

/// Lets go of memory that is free, and of the pages of this program that the kernel has mapped so far. They stay in its cache, and
/// what is used again is mapped again, sixteen pages a time; what only a start needs is not.
pub fn let_go_of_rest() {
    // SAFETY: the function below is of the kind that is called, and the data is not used.
    unsafe {
        libc::malloc_trim(0);
        libc::dl_iterate_phdr(Some(let_go_of_parts), ptr::null_mut());
    }
}

extern "C" fn let_go_of_parts(
    info: *mut libc::dl_phdr_info,
    _: libc::size_t,
    _: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: the C library passes one that is good while the call lasts.
    let info = unsafe { &*info };
    for n in 0..usize::from(info.dlpi_phnum) {
        // SAFETY: so many there are.
        let part = unsafe { &*info.dlpi_phdr.add(n) };
        if part.p_type != libc::PT_LOAD || part.p_flags & libc::PF_W != 0 {
            continue;
        }
        let place = |at: u64| usize::try_from(info.dlpi_addr + at).unwrap_or_default();
        let (begin, end) = (place(part.p_vaddr), place(part.p_vaddr + part.p_memsz));
        let begin = begin & !(PAGE - 1);
        // SAFETY: nothing is ever written there, so what is read again is the same.
        unsafe { libc::madvise(begin as *mut libc::c_void, end - begin, libc::MADV_DONTNEED) };
    }
    0
}
