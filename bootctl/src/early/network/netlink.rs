//! What the kernel is told of an interface, by rtnetlink: that it is up, its address, the way out.

use std::io::IoSlice;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendmsg, socket,
};

use super::setting::Address;

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const NLMSG_ERROR: u16 = 2;
/// REQUEST | ACK
const CHANGE: u16 = 0x1 | 0x4;
/// The same with CREATE | REPLACE, which a link refuses.
const PUT: u16 = CHANGE | 0x400 | 0x100;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IFF_UP: u32 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// No search for another machine of that address: nobody could use it meanwhile.
const IFA_F_NODAD: u8 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RTN_UNICAST: u8 = 1;

/// What the kernel has refused.
#[derive(Debug, thiserror::Error)]
#[error("the kernel refuses to {what}: {}", errno.desc())]
pub(crate) struct Refused {
    what: &'static str,
    errno: Errno,
}

impl Refused {
    pub(super) fn to(what: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self { what, errno }
    }
}

/// A line to the kernel.
pub(super) struct Netlink(OwnedFd);

impl Netlink {
    pub(super) fn open() -> Result<Self, Refused> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let protocol = SockProtocol::NetlinkRoute;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol);
        socket.map(Self).map_err(Refused::to("open a netlink socket"))
    }

    /// Has an interface up. IPv6 then asks for routers by itself.
    pub(super) fn bring_up(&self, index: u32) -> Result<(), Refused> {
        let told = self.tell(RTM_NEWLINK, CHANGE, link_up(index));
        told.map_err(Refused::to("bring the interface up"))
    }

    /// Gives it an address, and the way out if there is one.
    pub(super) fn set(&self, index: u32, address: &Address) -> Result<(), Refused> {
        let told = self.tell(RTM_NEWADDR, PUT, new_address(index, address));
        told.map_err(Refused::to("set the address"))?;
        let Some(gateway) = address.gateway else { return Ok(()) };
        let told = self.tell(RTM_NEWROUTE, PUT, default_route(index, gateway));
        told.map_err(Refused::to("set the default route"))
    }

    /// Sends one message and reads its acknowledgement.
    fn tell(&self, kind: u16, flags: u16, body: Vec<u8>) -> Result<(), Errno> {
        let length = body.len().checked_add(16).and_then(|it| u32::try_from(it).ok());
        let mut message = Vec::new();
        message.extend(length.ok_or(Errno::EMSGSIZE)?.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        let kernel = NetlinkAddr::new(0, 0);
        let parts = [IoSlice::new(&message)];
        sendmsg(self.0.as_raw_fd(), &parts, &[], MsgFlags::empty(), Some(&kernel))?;
        let mut answer = [0_u8; 512];
        let length = recv(self.0.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        let answer = answer.get(..length).unwrap_or_default();
        let answered = answer.get(4..6).and_then(|it| it.try_into().ok()).map(u16::from_ne_bytes);
        let code = answer.get(16..20).and_then(|it| it.try_into().ok()).map(i32::from_ne_bytes);
        match (answered, code) {
            (Some(NLMSG_ERROR), Some(0)) => Ok(()),
            (Some(NLMSG_ERROR), Some(code)) => Err(Errno::from_raw(code.saturating_neg())),
            (_, _) => Err(Errno::EBADMSG),
        }
    }
}

/// `ifinfomsg`
fn link_up(index: u32) -> Vec<u8> {
    let mut body = vec![0, 0, 0, 0];
    for word in [index, IFF_UP, IFF_UP] {
        body.extend(word.to_ne_bytes());
    }
    body
}

/// `ifaddrmsg`
fn new_address(index: u32, address: &Address) -> Vec<u8> {
    let (family, flags) = if address.ip.is_ipv4() { (AF_INET, 0) } else { (AF_INET6, IFA_F_NODAD) };
    let mut body = vec![family, address.prefix, flags, 0];
    body.extend(index.to_ne_bytes());
    attribute(&mut body, IFA_LOCAL, &octets(address.ip));
    attribute(&mut body, IFA_ADDRESS, &octets(address.ip));
    body
}

/// `rtmsg`
fn default_route(index: u32, gateway: IpAddr) -> Vec<u8> {
    let family = if gateway.is_ipv4() { AF_INET } else { AF_INET6 };
    let mut body = vec![family, 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, 0, RTN_UNICAST];
    body.extend([0; 4]);
    attribute(&mut body, RTA_GATEWAY, &octets(gateway));
    attribute(&mut body, RTA_OIF, &index.to_ne_bytes());
    body
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// Its length, its kind, its value; all there are here are of 4 or 16 bytes, so nothing has to be filled up.
fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length: u16 = if value.len() == 16 { 20 } else { 8 };
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
}
