//! The sockets that a spec names.

use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;
use std::path::PathBuf;

use init_wire::FdSpec;

use super::{MAX_FDS, SpecError};
use crate::account::Accounts;

/// How many connections may wait where the spec does not say; the kernel's `somaxconn` caps it.
const BACKLOG: u16 = 4096;
/// What a socket address of the kernel holds besides the NUL that ends a path or begins a name.
const MAX_UNIX: usize = 107;
/// Only init's own user may connect where the spec does not say otherwise.
const MODE: u32 = 0o600;

/// A socket that init keeps for jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Its name in `LISTEN_FDNAMES`.
    pub name: String,
    /// Where it is.
    pub address: Address,
    /// How it is opened.
    pub options: Options,
}

/// Where a kept socket is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `tcp:HOST:PORT`.
    Tcp(SocketAddr),
    /// `udp:HOST:PORT`.
    Udp(SocketAddr),
    /// `unix:…`, for connections.
    Unix(UnixName),
    /// `unix-dgram:…`, for datagrams.
    UnixDatagram(UnixName),
}

/// The name of a socket within the machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UnixName {
    /// A file, `/PATH`.
    Path(PathBuf),
    /// A name that is no file's, `@NAME`.
    Abstract(String),
}

/// How a kept socket is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Connections that may wait.
    pub backlog: u16,
    /// Whether others of init's user may have the address as well.
    pub reuse_port: bool,
    /// Whether an IPv6 address leaves IPv4 to others.
    pub v6_only: bool,
    /// Who may connect by the socket's file.
    pub mode: u32,
    /// Whose that file is, if not init's own: a user and a group.
    pub owner: Option<(u32, u32)>,
}

/// Checks all sockets of a spec.
pub(super) fn check(
    wire: &[FdSpec],
    accounts: &Accounts,
    own: (u32, u32),
) -> Result<Box<[Listen]>, SpecError> {
    if wire.len() > MAX_FDS as usize {
        return Err(SpecError::range("fds", "at most 64 sockets"));
    }
    let mut all: Vec<Listen> = Vec::with_capacity(wire.len());
    for wire in wire {
        let new = Listen::check(wire, accounts, own)?;
        let is_other = |old: &Listen| old.address == new.address && old.options != new.options;
        if all.iter().any(is_other) {
            return Err(SpecError::TwoWays { listen: wire.listen.clone() });
        }
        all.push(new);
    }
    Ok(all.into())
}

/// Whether a text can be a name in `LISTEN_FDNAMES`.
#[must_use]
pub fn is_fd_name(name: &str) -> bool {
    let printable = name.bytes().all(|b| (b' '..0x7f).contains(&b) && b != b':');
    printable && (1..=255).contains(&name.len())
}

impl Listen {
    fn check(wire: &FdSpec, accounts: &Accounts, own: (u32, u32)) -> Result<Self, SpecError> {
        if !is_fd_name(&wire.name) {
            return Err(SpecError::BadFdName { name: wire.name.clone() });
        }
        let address = Address::parse(&wire.listen)
            .ok_or_else(|| SpecError::BadAddress { listen: wire.listen.clone() })?;
        let options = Options::check(wire, &address, accounts, own)?;
        Ok(Self { name: wire.name.clone(), address, options })
    }
}

impl Address {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once(':')? {
            ("tcp", rest) => rest.parse().ok().map(Self::Tcp),
            ("udp", rest) => rest.parse().ok().map(Self::Udp),
            ("unix", rest) => UnixName::parse(rest).map(Self::Unix),
            ("unix-dgram", rest) => UnixName::parse(rest).map(Self::UnixDatagram),
            _ => None,
        }
    }

    /// The network's address, where it is one.
    #[must_use]
    pub fn inet(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) | Self::Udp(address) => Some(*address),
            Self::Unix(_) | Self::UnixDatagram(_) => None,
        }
    }

    /// Whether clients connect, and wait to be accepted.
    #[must_use]
    pub fn is_connected_to(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => true,
            Self::Udp(_) | Self::UnixDatagram(_) => false,
        }
    }

    fn is_file(&self) -> bool {
        match self {
            Self::Unix(name) | Self::UnixDatagram(name) => matches!(name, UnixName::Path(_)),
            Self::Tcp(_) | Self::Udp(_) => false,
        }
    }
}

impl UnixName {
    fn parse(text: &str) -> Option<Self> {
        if text.contains('\0') {
            return None;
        }
        match text.strip_prefix('@') {
            Some(name) => {
                (1..=MAX_UNIX).contains(&name.len()).then(|| Self::Abstract(name.to_owned()))
            }
            None => (text.starts_with('/') && text.len() <= MAX_UNIX)
                .then(|| Self::Path(PathBuf::from(text))),
        }
    }
}

impl Display for UnixName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Abstract(name) => write!(f, "@{name}"),
        }
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Udp(address) => write!(f, "udp:{address}"),
            Self::Unix(name) => write!(f, "unix:{name}"),
            Self::UnixDatagram(name) => write!(f, "unix-dgram:{name}"),
        }
    }
}

impl Options {
    fn check(
        wire: &FdSpec,
        address: &Address,
        accounts: &Accounts,
        own: (u32, u32),
    ) -> Result<Self, SpecError> {
        let of_inet = address.inet().is_some();
        let of_v6 = address.inet().is_some_and(|address| address.is_ipv6());
        let places = [
            ("fds.backlog", wire.backlog.is_some(), address.is_connected_to(), "tcp: or unix:"),
            ("fds.reuse_port", wire.reuse_port, of_inet, "tcp: or udp:"),
            ("fds.v6_only", wire.v6_only, of_v6, "tcp: or udp: with an IPv6 address"),
            ("fds.mode", wire.mode.is_some(), address.is_file(), "unix:/PATH"),
            ("fds.user", wire.user.is_some(), address.is_file(), "unix:/PATH"),
            ("fds.group", wire.group.is_some(), address.is_file(), "unix:/PATH"),
        ];
        for (field, is_given, is_right, only) in places {
            if is_given && !is_right {
                return Err(SpecError::Misplaced { field: field.into(), only });
            }
        }
        Ok(Self {
            backlog: wire.backlog.map_or(Ok(BACKLOG), backlog)?,
            reuse_port: wire.reuse_port,
            v6_only: wire.v6_only,
            mode: wire.mode.as_deref().map_or(Ok(MODE), mode)?,
            owner: owner(wire, accounts, own)?,
        })
    }

    /// The first option in which two sockets differ, by its name in a spec.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<&'static str> {
        let all = [
            ("backlog", self.backlog == other.backlog),
            ("reuse_port", self.reuse_port == other.reuse_port),
            ("v6_only", self.v6_only == other.v6_only),
            ("mode", self.mode == other.mode),
            ("user` or `group", self.owner == other.owner),
        ];
        all.into_iter().find_map(|(name, is_same)| (!is_same).then_some(name))
    }
}

fn backlog(backlog: u32) -> Result<u16, SpecError> {
    let good = u16::try_from(backlog).ok().filter(|backlog| *backlog > 0);
    good.ok_or_else(|| SpecError::range("fds.backlog", "from 1 to 65535"))
}

fn mode(text: &str) -> Result<u32, SpecError> {
    let octal = (1..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= 0o777);
    mode.ok_or_else(|| {
        SpecError::range("fds.mode", "octal digits in quotes, from \"0\" to \"0777\"")
    })
}

fn owner(
    wire: &FdSpec,
    accounts: &Accounts,
    own: (u32, u32),
) -> Result<Option<(u32, u32)>, SpecError> {
    let (user, group) = (wire.user.as_ref(), wire.group.as_ref());
    if user.is_none() && group.is_none() {
        return Ok(None);
    }
    let found = accounts.resolve(user, group, Some(&[]), own);
    let found = found.map_err(|source| SpecError::account(source).within("fds"))?;
    Ok(found.map(|owner| (owner.uid, owner.gid)).filter(|owner| *owner != own))
}

#[cfg(test)]
mod tests {
    use init_wire::Account;

    use super::*;

    fn checked(wire: &[FdSpec]) -> Result<Box<[Listen]>, String> {
        check(wire, &Accounts::default(), (0, 0)).map_err(|error| error.field().to_owned())
    }

    fn wrong(listen: &str, change: impl FnOnce(&mut FdSpec)) -> Option<String> {
        let mut wire = FdSpec::new("http", listen);
        change(&mut wire);
        checked(&[wire]).err()
    }

    #[test]
    fn b23_addresses_are_numeric_or_within_the_machine() {
        let longest = "x".repeat(106);
        for good in [
            "tcp:0.0.0.0:80",
            "tcp:[::1]:0",
            "udp:1.2.3.4:5",
            "unix:/run/x.sock",
            "unix:@x",
            "unix-dgram:/run/x",
            "unix-dgram:@x/y",
            &format!("unix:/{longest}"),
            &format!("unix:@{longest}x"),
        ] {
            assert_eq!(wrong(good, |_| ()), None, "{good}");
            assert_eq!(checked(&[FdSpec::new("a", good)]).unwrap()[0].address.to_string(), good);
        }
        for bad in [
            "",
            "80",
            "tcp:80",
            "tcp:localhost:80",
            "udp:5",
            "unix:x",
            "unix:@",
            "unix:@a\0b",
            "unix:/a\0b",
            "sctp:1.2.3.4:5",
            &format!("unix:/{longest}x"),
            &format!("unix:@{longest}xy"),
        ] {
            assert_eq!(wrong(bad, |_| ()).as_deref(), Some("fds.listen"), "{bad}");
        }
    }

    #[test]
    fn b23_each_bad_option_is_named() {
        let is_bad = |listen, field: &str, change: fn(&mut FdSpec)| {
            assert_eq!(wrong(listen, change).as_deref(), Some(field), "{listen}");
        };
        is_bad("tcp:[::1]:80", "fds.backlog", |s| s.backlog = Some(0));
        is_bad("tcp:[::1]:80", "fds.backlog", |s| s.backlog = Some(65_536));
        is_bad("udp:[::1]:80", "fds.backlog", |s| s.backlog = Some(5));
        is_bad("unix-dgram:@x", "fds.backlog", |s| s.backlog = Some(5));
        is_bad("unix:/x", "fds.reuse_port", |s| s.reuse_port = true);
        is_bad("unix:/x", "fds.v6_only", |s| s.v6_only = true);
        is_bad("tcp:1.2.3.4:80", "fds.v6_only", |s| s.v6_only = true);
        is_bad("tcp:1.2.3.4:80", "fds.mode", |s| s.mode = Some("0600".into()));
        is_bad("unix:@x", "fds.mode", |s| s.mode = Some("0600".into()));
        for mode in ["", "8", "1777", "u=rw", "+7", "00666"] {
            let found = wrong("unix:/x", |s| s.mode = Some(mode.into()));
            assert_eq!(found.as_deref(), Some("fds.mode"), "{mode}");
        }
        is_bad("tcp:[::1]:80", "fds.user", |s| s.user = Some(Account::Id(5)));
        is_bad("unix:@x", "fds.group", |s| s.group = Some(Account::Id(5)));
        is_bad("unix:/x", "fds.user", |s| s.user = Some(Account::Name("nosuch".into())));
        is_bad("unix:/x", "fds.group", |s| s.group = Some(Account::Name("nosuch".into())));
        // Whose group is not known.
        is_bad("unix:/x", "fds.user", |s| s.user = Some(Account::Id(5)));
        is_bad("unix:/x", "fds.name", |s| s.name = "a:b".into());
    }

    #[test]
    fn b23_options_are_read() {
        let mut wire = FdSpec::new("a", "unix:/x");
        wire.mode = Some("0660".into());
        wire.backlog = Some(65_535);
        wire.group = Some(Account::Id(7));
        let options = checked(&[wire]).unwrap()[0].options.clone();
        assert_eq!((options.mode, options.backlog, options.owner), (0o660, 65_535, Some((0, 7))));
    }

    #[test]
    fn b23_one_socket_is_opened_in_one_way() {
        let same = FdSpec::new("a", "tcp:127.0.0.1:80");
        let mut other = FdSpec::new("b", "tcp:127.0.0.1:80");
        assert!(checked(&[same.clone(), other.clone()]).is_ok());
        other.backlog = Some(4096);
        assert!(checked(&[same.clone(), other.clone()]).is_ok(), "the default may be written");
        other.backlog = Some(5);
        assert_eq!(checked(&[same, other]).err().as_deref(), Some("fds"));
    }
}
