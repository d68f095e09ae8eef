//! The sockets that a spec names.

use std::net::SocketAddr;
use std::path::PathBuf;

use init_wire::FdSpec;

use super::SpecError;

/// A socket that init keeps for jobs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Listen {
    /// Its name in `LISTEN_FDNAMES`.
    pub name: String,
    /// Where it listens.
    pub address: Address,
}

/// Where a kept socket listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `tcp:HOST:PORT`.
    Tcp(SocketAddr),
    /// `unix:/PATH`.
    Unix(PathBuf),
}

impl Listen {
    pub(super) fn check(wire: &FdSpec) -> Result<Self, SpecError> {
        let printable = wire.name.bytes().all(|b| (b' '..0x7f).contains(&b) && b != b':');
        if wire.name.is_empty() || wire.name.len() > 255 || !printable {
            return Err(SpecError::BadFdName { name: wire.name.clone() });
        }
        let bad = || SpecError::BadAddress { listen: wire.listen.clone() };
        let address = match wire.listen.split_once(':').ok_or_else(bad)? {
            ("tcp", rest) => Address::Tcp(rest.parse().map_err(|_| bad())?),
            // 107 bytes are what a socket address of the kernel holds besides its NUL.
            ("unix", path) if path.starts_with('/') && path.len() <= 107 => {
                Address::Unix(path.into())
            }
            _ => return Err(bad()),
        };
        Ok(Self { name: wire.name.clone(), address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b23_addresses_are_numeric_tcp_or_absolute_unix() {
        let listen = |text: &str| {
            Listen::check(&FdSpec { name: "http".into(), listen: text.into() }).is_ok()
        };
        for good in ["tcp:0.0.0.0:80", "tcp:[::1]:0", "unix:/run/x.sock"] {
            assert!(listen(good), "{good}");
        }
        for bad in ["", "80", "tcp:80", "tcp:localhost:80", "unix:x", "udp:1.2.3.4:5"] {
            assert!(!listen(bad), "{bad}");
        }
    }
}
