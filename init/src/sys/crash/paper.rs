//! Files in memory that what init knows is written to.

use std::ffi::c_long;
use std::io;
use std::os::fd::RawFd;

use crate::sys::syscall;

/// A file in memory that is written from its beginning. It stays open.
#[derive(Debug)]
pub struct Paper(pub(super) RawFd);

impl Paper {
    pub(super) fn blank(fd: RawFd) -> Self {
        syscall(libc::SYS_ftruncate, [c_long::from(fd), 0, 0, 0]);
        syscall(libc::SYS_lseek, [c_long::from(fd), 0, c_long::from(libc::SEEK_SET), 0]);
        Self(fd)
    }
}

impl io::Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: the kernel only reads `bytes`.
        let written = unsafe { libc::write(self.0, bytes.as_ptr().cast(), bytes.len()) };
        usize::try_from(written).map_err(|_| io::Error::last_os_error())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl io::Seek for Paper {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let (offset, from) = match to {
            io::SeekFrom::Start(offset) => (offset.cast_signed(), libc::SEEK_SET),
            io::SeekFrom::End(offset) => (offset, libc::SEEK_END),
            io::SeekFrom::Current(offset) => (offset, libc::SEEK_CUR),
        };
        // SAFETY: touches no memory.
        let place = unsafe { libc::lseek(self.0, offset, from) };
        u64::try_from(place).map_err(|_| io::Error::last_os_error())
    }
}
