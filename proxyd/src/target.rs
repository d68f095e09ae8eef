//! A target: an address, and who is using it.
//!
//! The use is one word, so that "is it retired?" and "count me in" are one step: once a target is
//! retired, no claim on it can begin, on whatever thread, and the count only falls.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use proxyd_wire as wire;
use thiserror::Error;

/// Where a target listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// An address that is none.
#[derive(Debug, PartialEq, Eq, Error)]
#[error(
    "`{0}` is not an address of a target: write tcp:HOST:PORT with a numeric host and a port \
     from 1, such as tcp:127.0.0.1:9000, or unix:/PATH"
)]
pub(crate) struct NotAnAddress(String);

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Address, NotAnAddress> {
        let wrong = || NotAnAddress(text.chars().take(200).collect());
        match text.split_once(':') {
            Some(("tcp", address)) => {
                let address: SocketAddr = address.parse().map_err(|_| wrong())?;
                let multicast = match address.ip() {
                    IpAddr::V4(ip) => ip.is_multicast() || ip.is_broadcast(),
                    IpAddr::V6(ip) => ip.is_multicast(),
                };
                if address.port() == 0 || multicast || address.ip().is_unspecified() {
                    return Err(wrong());
                }
                Ok(Address::Tcp(address))
            }
            // 107 is what fits into the kernel's sockaddr_un.
            Some(("unix", path))
                if path.starts_with('/') && path.len() <= 107 && !path.contains('\0') =>
            {
                Ok(Address::Unix(PathBuf::from(path)))
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "tcp:{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

const RETIRED: u64 = 1 << 63;

/// A target. Its identity is its number: one that is replaced under the same name is another.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) number: u64,
    /// `SERVICE/NAME`, for the log.
    pub(crate) label: String,
    pub(crate) address: Address,
    /// The requests in flight, and the bit that says that there will be no more.
    claims: AtomicU64,
}

impl Target {
    pub(crate) fn new(number: u64, label: String, address: Address) -> Target {
        Target { number, label, address, claims: AtomicU64::new(0) }
    }

    /// Counts a request in, unless the target is retired.
    pub(crate) fn claim(&self) -> bool {
        let claimed = |claims| (claims & RETIRED == 0).then_some(claims + 1);
        self.claims.fetch_update(Ordering::AcqRel, Ordering::Acquire, claimed).is_ok()
    }

    /// Counts a request out. `true` if that was the last one of a retired target.
    pub(crate) fn release(&self) -> bool {
        let released = |claims| if claims & !RETIRED == 0 { None } else { Some(claims - 1) };
        self.claims
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, released)
            .is_ok_and(|before| before == RETIRED | 1)
    }

    /// From now on no request is counted in.
    pub(crate) fn retire(&self) {
        self.claims.fetch_or(RETIRED, Ordering::AcqRel);
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.claims.load(Ordering::Acquire) & RETIRED != 0
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.claims.load(Ordering::Acquire) & !RETIRED
    }

    pub(crate) fn view(&self) -> wire::TargetView {
        wire::TargetView {
            address: self.address.to_string(),
            in_flight: self.in_flight(),
            retired: self.is_retired(),
        }
    }

    /// Retired, and nobody is using it any more.
    pub(crate) fn is_drained(&self) -> bool {
        self.claims.load(Ordering::Acquire) == RETIRED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in ["tcp:127.0.0.1:9000", "tcp:[::1]:9000", "unix:/run/app.sock"] {
            assert_eq!(Address::parse(good).unwrap().to_string(), good);
        }
        for bad in [
            "",
            "127.0.0.1:9000",
            "tcp:localhost:80",
            "tcp:127.0.0.1",
            "tcp:127.0.0.1:0",
            "tcp:127.0.0.1:65536",
            "tcp:0.0.0.0:80",
            "tcp:224.0.0.1:80",
            "unix:",
            "unix:relative",
            "http:127.0.0.1:80",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Address::parse(&format!("unix:/{}", "x".repeat(107))).is_err());
    }
}
