//! HTTPS, as far as the administrator has a say in it: which certificates the proxy shows, and how it speaks TLS.
//!
//! ```text
//!   bootctl.toml, apps/*.toml ─▶ Source ──files──▶ Keyring ─▶ Tls (wanted) ─▶ plan ─▶ proxy
//!                                          ▲
//!                                          └── watched: who renews a certificate writes its files anew
//! ```
//!
//! Files are read here and told to the proxy, which runs as nobody: a key need not be readable by anybody but
//! bootctl. What is wrong with a file keeps no app from running, and takes away nothing that is shown: it is told as a
//! warning, and in the status.

mod acme;
mod keyring;
mod obtaining;
mod pair;
mod records;
mod tickets;
mod upkeep;
mod view;
mod wanted;

use std::net::SocketAddr;
use std::path::PathBuf;

pub(crate) use acme::{Acme, DnsHook, certificates};
pub(crate) use keyring::{Keyring, sources};
pub(crate) use pair::{Pair, Part, Unfit, day};
pub(crate) use records::RecordNews;
pub(crate) use upkeep::{Https, Keys, unix_time};
pub(crate) use wanted::{Coverage, Tickets, Tls};

/// The name of the proxy's listeners for TLS.
pub(crate) const LISTENER: &str = "https";
/// Where https is expected.
pub(crate) const PORT: u16 = 443;
/// The name of the certificate that `[proxy.tls]` names: no app has it.
pub(crate) const GENERAL: &str = crate::generation::JOB;

/// The files of a certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// `[tls]` of an app's file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AppTls {
    pub(crate) files: Option<Files>,
    /// Whether one is obtained; without a word, if it is for all and there is none.
    pub(crate) acme: Option<bool>,
}

/// `[proxy.tls]` of `bootctl.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProxyTls {
    pub(crate) listen: Listen,
    /// Where clients reach it, if that is not where it listens.
    pub(crate) public_port: Option<u16>,
    /// A certificate that is no single app's.
    pub(crate) files: Option<Files>,
    /// Of those who vouch for clients.
    pub(crate) client_ca: Option<PathBuf>,
    /// What the proxy is told as it is written, without the text of `client_ca`.
    pub(crate) settings: proxyd_wire::Tls,
}

/// Where the proxy listens for TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Listen {
    /// Beside port 80, once there is somebody to be served.
    #[default]
    ByNeed,
    At(SocketAddr),
    Off,
}

impl ProxyTls {
    /// Where the proxy listens for TLS. `is_needed`: somebody wants to be served so.
    pub(crate) fn address(&self, plain: SocketAddr, is_needed: bool) -> Option<SocketAddr> {
        match self.listen {
            Listen::At(address) => Some(address),
            Listen::Off => None,
            Listen::ByNeed => {
                (is_needed && plain.port() == 80).then(|| SocketAddr::new(plain.ip(), PORT))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o21_https_is_beside_port_80_when_somebody_wants_it() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let plain = address("[::]:80");
        let by_need = ProxyTls::default();
        assert_eq!(by_need.address(plain, false), None);
        assert_eq!(by_need.address(plain, true), Some(address("[::]:443")));
        assert_eq!(by_need.address(address("127.0.0.1:8080"), true), None, "nobody has said where");
        let at = ProxyTls { listen: Listen::At(address("0.0.0.0:8443")), ..ProxyTls::default() };
        assert_eq!(at.address(plain, false), Some(address("0.0.0.0:8443")));
        let off = ProxyTls { listen: Listen::Off, ..ProxyTls::default() };
        assert_eq!(off.address(plain, true), None);
    }
}
