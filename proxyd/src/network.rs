//! Networks that settings name, and whether an address is in one.

use std::net::IpAddr;

use ipnet::IpNet;
use thiserror::Error;

/// Text that names no network.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("`{0}` is not a network: write ADDRESS/BITS, such as 10.0.0.0/8, or one address")]
pub(crate) struct NotANetwork(String);

/// Some networks. IPv4 addresses in IPv6 clothes are not looked for: addresses are undressed first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Networks(Box<[IpNet]>);

impl Networks {
    pub(crate) fn parse(texts: &[String]) -> Result<Networks, NotANetwork> {
        texts.iter().map(|text| parse(text)).collect::<Result<_, _>>().map(Networks)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

fn parse(text: &str) -> Result<IpNet, NotANetwork> {
    let one = text.parse().map(|address: IpAddr| IpNet::from(address.to_canonical()));
    one.or_else(|_| text.parse()).map_err(|_| NotANetwork(text.chars().take(200).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let texts = ["10.0.0.0/8", "192.168.1.7", "::ffff:1.2.3.4", "2001:db8::/32"];
        let networks = Networks::parse(&texts.map(str::to_owned)).unwrap();
        let inside = ["10.255.0.1", "192.168.1.7", "1.2.3.4", "2001:db8:ffff::1"];
        for address in inside {
            assert!(networks.contain(address.parse().unwrap()), "{address}");
        }
        for address in ["11.0.0.1", "192.168.1.8", "2001:db9::1", "::1"] {
            assert!(!networks.contain(address.parse().unwrap()), "{address}");
        }
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "localhost", "::/129", "10.0.0.0/8 "] {
            assert!(Networks::parse(&[bad.to_owned()]).is_err(), "{bad:?}");
        }
    }
}
