//! Whether a port is free, by trying.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;

use nix::sys::socket::sockopt::ReuseAddr;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket};

use crate::name::Port;

/// Whether nobody listens on a port. It is only bound to: on a listener somebody might come in.
pub(crate) fn is_free(port: Port) -> bool {
    let bound = || -> nix::Result<()> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
        // What is left of connections that were closed here is in nobody's way.
        setsockopt(&socket, ReuseAddr, &true)?;
        let place = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port.number());
        bind(socket.as_raw_fd(), &SockaddrIn::from(place))
    };
    bound().is_ok()
}
