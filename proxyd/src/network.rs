//! Networks that settings name, and whether an address is in one.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use thiserror::Error;

/// Text that names no network.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("`{0}` is not a network: write ADDRESS/BITS, such as 10.0.0.0/8, or one address")]
pub(crate) struct NotANetwork(String);

/// Some networks.
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
    let network = one.or_else(|_| text.parse().map(undressed));
    network.map_err(|_| NotANetwork(text.chars().take(200).collect()))
}

/// A network of IPv4 addresses in IPv6 clothes is undressed, as each address is before it is looked
/// for: else it would be a network of nobody.
pub(crate) fn undressed(network: IpNet) -> IpNet {
    let IpNet::V6(dressed) = network else { return network };
    let address = dressed.addr().to_ipv4_mapped();
    let bits = dressed.prefix_len().checked_sub(96);
    let plain = address.zip(bits).and_then(|(address, bits)| Ipv4Net::new(address, bits).ok());
    plain.map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undressed_text(text: &str) -> String {
        undressed(text.parse().unwrap()).to_string()
    }

    #[test]
    fn networks() {
        let texts = ["10.0.0.0/8", "192.168.1.7", "::ffff:1.2.3.4", "2001:db8::/32"];
        let networks = Networks::parse(&texts.map(str::to_owned)).unwrap();
        let inside = ["10.255.0.1", "192.168.1.7", "1.2.3.4", "2001:db8:ffff::1"];
        for address in inside {
            assert!(networks.contain(address.parse().unwrap()), "{address}");
        }
        let dressed = ["::ffff:10.0.0.0/104", "::ffff:0:0/96", "::/0"].map(undressed_text);
        assert_eq!(dressed, ["10.0.0.0/8", "0.0.0.0/0", "::/0"]);
        for address in ["11.0.0.1", "192.168.1.8", "2001:db9::1", "::1"] {
            assert!(!networks.contain(address.parse().unwrap()), "{address}");
        }
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "localhost", "::/129", "10.0.0.0/8 "] {
            assert!(Networks::parse(&[bad.to_owned()]).is_err(), "{bad:?}");
        }
    }
}
