//! Listening sockets that came with the process, the systemd way: descriptors from 3, counted by
//! `LISTEN_FDS` and named by `LISTEN_FDNAMES`, if `LISTEN_PID` is this process.
//!
//! They are not ours to open or to close: whoever passed them keeps them open across our restarts.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname, getsockopt};
use nix::sys::socket::{SockType, sockopt};
use thiserror::Error;

/// What was passed.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    pub(crate) http: Vec<TcpListener>,
    pub(crate) https: Vec<TcpListener>,
    pub(crate) control: Vec<UnixListener>,
    pub(crate) monitors: Vec<TcpListener>,
}

/// Why it cannot be used.
#[derive(Debug, Error)]
pub(crate) enum CannotInherit {
    #[error("LISTEN_FDS or LISTEN_PID is not a number: start proxyd through init, or without them")]
    Environment,
    #[error(
        "LISTEN_FDS counts descriptor {fd} (`{name}`), which is not a socket: {source}; \
         pass listening sockets only"
    )]
    NotASocket { fd: i32, name: String, source: io::Error },
    #[error(
        "descriptor {fd} is named `{name}`: proxyd knows `http`, `https` and `monitor` (TCP listeners) \
         and `control` (a unix listener); name it so in LISTEN_FDNAMES"
    )]
    Name { fd: i32, name: String },
    #[error("descriptor {fd} is named `{name}`, but it is not a listening {wanted} socket")]
    Kind { fd: i32, name: String, wanted: &'static str },
}

impl Inherited {
    /// Takes what was passed to this process; nothing if nothing was.
    pub(crate) fn take() -> Result<Inherited, CannotInherit> {
        let passed = sd_listen_fds::get().map_err(|_| CannotInherit::Environment)?;
        let mut inherited = Inherited::default();
        let mut refused = None;
        for (name, fd) in passed {
            let fd = fd.into_std();
            let name = name.unwrap_or_default();
            if let Err(error) = inherited.add(name, fd) {
                refused.get_or_insert(error);
            }
        }
        refused.map_or(Ok(inherited), Err)
    }

    fn add(&mut self, name: String, fd: OwnedFd) -> Result<(), CannotInherit> {
        let number = fd.as_raw_fd();
        let family = match getsockname::<SockaddrStorage>(number) {
            Ok(address) => address.family(),
            Err(errno) => {
                // Not open, perhaps: closing it then would be an error of its own.
                std::mem::forget(fd);
                let source = errno.into();
                return Err(CannotInherit::NotASocket { fd: number, name, source });
            }
        };
        let listens = getsockopt(&fd, sockopt::SockType) == Ok(SockType::Stream)
            && getsockopt(&fd, sockopt::AcceptConn) == Ok(true);
        let is_tcp = matches!(family, Some(AddressFamily::Inet | AddressFamily::Inet6));
        let is_unix = family == Some(AddressFamily::Unix);
        match name.as_str() {
            "http" if listens && is_tcp => self.http.push(TcpListener::from(fd)),
            "https" if listens && is_tcp => self.https.push(TcpListener::from(fd)),
            "control" if listens && is_unix => self.control.push(UnixListener::from(fd)),
            "monitor" if listens && is_tcp => self.monitors.push(TcpListener::from(fd)),
            "http" | "https" | "monitor" => {
                return Err(CannotInherit::Kind { fd: number, name, wanted: "TCP" });
            }
            "control" => return Err(CannotInherit::Kind { fd: number, name, wanted: "unix" }),
            _ => return Err(CannotInherit::Name { fd: number, name }),
        }
        Ok(())
    }
}
