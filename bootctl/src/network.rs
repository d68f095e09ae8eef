//! A static IPv4 address for the first network interface, by rtnetlink.

use std::fs;
use std::io::IoSlice;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendmsg, socket,
};

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const NLMSG_ERROR: u16 = 2;
/// REQUEST | ACK
const CHANGE: u16 = 0x1 | 0x4;
/// The same with CREATE | REPLACE, which a link refuses.
const PUT: u16 = CHANGE | 0x400 | 0x100;
const AF_INET: u8 = 2;
const IFF_UP: u32 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RTN_UNICAST: u8 = 1;

/// How long a driver may take to bring its interface.
const PATIENCE: Duration = Duration::from_secs(5);

/// `ADDRESS/PREFIX[,GATEWAY]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    ip: Ipv4Addr,
    prefix: u8,
    gateway: Option<Ipv4Addr>,
}

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    #[error("write ADDRESS/PREFIX or ADDRESS/PREFIX,GATEWAY, such as 10.0.2.15/24,10.0.2.2")]
    Form,
    #[error("there is no network interface; is its driver in /etc/bootctl/modules?")]
    NoInterface,
    #[error("the kernel refuses to {what}: {}", errno.desc())]
    Refused { what: &'static str, errno: Errno },
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Self, NetworkError> {
        let (address, gateway) = match text.split_once(',') {
            Some((address, gateway)) => (address, Some(gateway)),
            None => (text, None),
        };
        let (ip, prefix) = address.split_once('/').ok_or(NetworkError::Form)?;
        let parse = |text: &str| text.parse().map_err(|_| NetworkError::Form);
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32);
        Ok(Self {
            ip: parse(ip)?,
            prefix: prefix.ok_or(NetworkError::Form)?,
            gateway: gateway.map(parse).transpose()?,
        })
    }
}

/// Gives the address to the first interface that is not `lo`; answers its name.
pub(crate) fn bring_up(address: &Address) -> Result<String, NetworkError> {
    let name = first_interface().ok_or(NetworkError::NoInterface)?;
    let refused = |what| move |errno| NetworkError::Refused { what, errno };
    let index = if_nametoindex(name.as_str()).map_err(refused("name the interface"))?;
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )
    .map_err(refused("open a netlink socket"))?;
    tell(&netlink, RTM_NEWLINK, CHANGE, link_up(index))
        .map_err(refused("bring the interface up"))?;
    tell(&netlink, RTM_NEWADDR, PUT, new_address(index, address))
        .map_err(refused("set the address"))?;
    if let Some(gateway) = address.gateway {
        tell(&netlink, RTM_NEWROUTE, PUT, default_route(index, gateway))
            .map_err(refused("set the default route"))?;
    }
    Ok(name)
}

fn first_interface() -> Option<String> {
    let by = Instant::now() + PATIENCE;
    loop {
        let entries = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let first = names.filter(|name| name != "lo").min();
        if first.is_some() || Instant::now() > by {
            return first;
        }
        thread::sleep(Duration::from_millis(20));
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
    let mut body = vec![AF_INET, address.prefix, 0, 0];
    body.extend(index.to_ne_bytes());
    attribute(&mut body, IFA_LOCAL, address.ip.octets());
    attribute(&mut body, IFA_ADDRESS, address.ip.octets());
    body
}

/// `rtmsg`
fn default_route(index: u32, gateway: Ipv4Addr) -> Vec<u8> {
    let mut body = vec![AF_INET, 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, 0, RTN_UNICAST];
    body.extend([0; 4]);
    attribute(&mut body, RTA_GATEWAY, gateway.octets());
    attribute(&mut body, RTA_OIF, index.to_ne_bytes());
    body
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: [u8; 4]) {
    body.extend(8_u16.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
}

/// Sends one message and reads its acknowledgement.
fn tell(netlink: &OwnedFd, kind: u16, flags: u16, body: Vec<u8>) -> Result<(), Errno> {
    let length = u32::try_from(16 + body.len()).map_err(|_| Errno::EMSGSIZE)?;
    let mut message = Vec::new();
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    let kernel = NetlinkAddr::new(0, 0);
    let parts = [IoSlice::new(&message)];
    sendmsg(netlink.as_raw_fd(), &parts, &[], MsgFlags::empty(), Some(&kernel))?;
    let mut answer = [0_u8; 512];
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    let word = |at: usize| {
        let bytes = answer.get(..length)?.get(at..at + 4)?;
        bytes.try_into().ok().map(i32::from_ne_bytes)
    };
    let answered = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    match (answered, word(16)) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(code)) => Err(Errno::from_raw(-code)),
        (_, _) => Err(Errno::EBADMSG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        let ip = Ipv4Addr::new(10, 0, 2, 15);
        let gateway = Some(Ipv4Addr::new(10, 0, 2, 2));
        let parsed = Address::parse("10.0.2.15/24,10.0.2.2").expect("good");
        assert_eq!(parsed, Address { ip, prefix: 24, gateway });
        assert!(Address::parse("10.0.2.15/24").expect("good").gateway.is_none());
        for bad in ["", "10.0.2.15", "10.0.2.15/33", "10.0.2/24", "10.0.2.15/24,", "x/24"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
