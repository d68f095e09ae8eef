//! Whose process is at the other end of a loopback connection.
//!
//! Any local user can connect to loopback, so the kernel is asked who owns the peer's socket:
//! by `sock_diag`, or from `/proc/net/tcp` where that netlink family is not there (Debian's cloud
//! kernel has it as a module). A socket that its owner has closed already shows as nobody's,
//! with the user id 0, and is refused: else a client could become root by hanging up early.

use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recvmsg, sendmsg,
    socket,
};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const IPPROTO_TCP: u8 = 6;
const ESTABLISHED: u8 = 1;
const CLOSE_WAIT: u8 = 8;
const FIN_WAIT1: u8 = 4;
const FIN_WAIT2: u8 = 5;

/// Whom to ask about owners.
#[derive(Debug)]
pub(super) enum Owners {
    /// The kernel, by netlink.
    Netlink(Netlink),
    /// The kernel's table as a file, which is read as a whole each time.
    Proc,
}

impl Owners {
    /// Finds out, once, by asking for a listening socket that is there. A "no such socket" later
    /// on then means what it says, and costs no reading of tables.
    pub(super) fn choose(listening: SocketAddr) -> Self {
        let nobody = SocketAddr::new(listening.ip(), 1);
        let works = |mut netlink: Netlink| netlink.find(listening, nobody).map(|_| netlink);
        Netlink::open().and_then(works).map_or(Self::Proc, Self::Netlink)
    }

    /// The owner of the socket `local` that is connected to `remote`, if it is open and known.
    pub(super) fn owner(&mut self, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
        let found = match self {
            Self::Netlink(netlink) => netlink.find(local, remote),
            Self::Proc => by_proc(local, remote),
        }?;
        let open = matches!(found.state, ESTABLISHED | CLOSE_WAIT | FIN_WAIT1 | FIN_WAIT2);
        (open && found.inode != 0).then_some(found.uid)
    }
}

struct Found {
    state: u8,
    uid: u32,
    inode: u32,
}

/// A socket on which the kernel answers at once.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    asked: u32,
}

impl Netlink {
    fn open() -> Option<Self> {
        let (family, flags) = (AddressFamily::Netlink, SockFlag::SOCK_CLOEXEC);
        let socket = socket(family, SockType::Raw, flags, SockProtocol::NetlinkSockDiag).ok()?;
        Some(Self { socket, asked: 0 })
    }

    fn find(&mut self, local: SocketAddr, remote: SocketAddr) -> Option<Found> {
        self.asked = self.asked.wrapping_add(1);
        let request = request(self.asked, local, remote);
        let (socket, kernel) = (self.socket.as_raw_fd(), NetlinkAddr::new(0, 0));
        sendmsg(socket, &[IoSlice::new(&request)], &[], MsgFlags::empty(), Some(&kernel)).ok()?;
        let mut answer = [0_u8; 512];
        loop {
            let mut parts = [IoSliceMut::new(&mut answer)];
            let flags = MsgFlags::MSG_DONTWAIT;
            let length = recvmsg::<NetlinkAddr>(socket, &mut parts, None, flags).ok()?.bytes;
            let answer = answer.get(..length)?;
            // One to an earlier question, which had failed, is not this one's.
            if answer.get(8..12)? == self.asked.to_ne_bytes() {
                return read_answer(answer);
            }
        }
    }
}

/// `nlmsghdr` and `inet_diag_req_v2`, as `linux/inet_diag.h` has them.
fn request(number: u32, local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut message = Vec::with_capacity(72);
    message.extend(72_u32.to_ne_bytes());
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend(number.to_ne_bytes());
    message.extend([0; 4]);
    message.extend([u8::try_from(family).unwrap_or(0), IPPROTO_TCP, 0, 0]);
    message.extend(u32::MAX.to_ne_bytes());
    message.extend(local.port().to_be_bytes());
    message.extend(remote.port().to_be_bytes());
    message.extend(address(local.ip()));
    message.extend(address(remote.ip()));
    message.extend(0_u32.to_ne_bytes());
    message.extend([0xff; 8]);
    message
}

fn address(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V6(ip) => ip.octets(),
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
    }
}

/// `nlmsghdr` (16 bytes) and `inet_diag_msg`: the state is its second byte, the user id and the
/// inode its last two words.
fn read_answer(message: &[u8]) -> Option<Found> {
    if u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?) != SOCK_DIAG_BY_FAMILY {
        return None;
    }
    let word = |at: usize| message.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    Some(Found { state: *message.get(17)?, uid: word(16 + 64)?, inode: word(16 + 68)? })
}

fn by_proc(local: SocketAddr, remote: SocketAddr) -> Option<Found> {
    let path = if local.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
    let table = fs::read_to_string(path).ok()?;
    let (local, remote) = (proc_name(local), proc_name(remote));
    table.lines().find_map(|line| read_line(line, &local, &remote))
}

fn read_line(line: &str, local: &str, remote: &str) -> Option<Found> {
    let mut fields = line.split_whitespace().skip(1);
    if fields.next()? != local || fields.next()? != remote {
        return None;
    }
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    let uid = fields.nth(3)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    Some(Found { state, uid, inode })
}

/// An address as `/proc/net/tcp` writes it: each 32-bit word in the machine's own byte order.
fn proc_name(address: SocketAddr) -> String {
    let octets = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words = octets.chunks_exact(4).map(|word| {
        let word = word.try_into().map(u32::from_ne_bytes).unwrap_or_default();
        format!("{word:08X}")
    });
    format!("{}:{:04X}", words.collect::<String>(), address.port())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn pair(on: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(on).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    fn both() -> [Owners; 2] {
        [Owners::Netlink(Netlink::open().unwrap()), Owners::Proc]
    }

    #[test]
    fn b25_both_ways_find_the_owner() {
        let own = nix::unistd::getuid().as_raw();
        for on in ["127.0.0.1:0", "[::1]:0"] {
            let (_client, server) = pair(on);
            let (peer, here) = (server.peer_addr().unwrap(), server.local_addr().unwrap());
            for mut owners in both() {
                assert_eq!(owners.owner(peer, here), Some(own), "{on} {owners:?}");
            }
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let chosen = Owners::choose(listener.local_addr().unwrap());
        assert!(matches!(chosen, Owners::Netlink(_)));
    }

    #[test]
    fn b25_a_closed_socket_is_nobodys() {
        let (client, server) = pair("127.0.0.1:0");
        let (peer, here) = (server.peer_addr().unwrap(), server.local_addr().unwrap());
        drop(client);
        for mut owners in both() {
            assert_eq!(owners.owner(peer, here), None, "{owners:?}");
        }
    }
}
