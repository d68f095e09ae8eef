//! Where another machine's supervisor is: `admin.example`, `192.0.2.7:8443`, `[2001:db8::1]:8443`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use rustls::pki_types::ServerName;

/// The port if none is said.
const PORT: u16 = 8443;

/// A host, and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    host: String,
    port: u16,
}

impl Address {
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// As TLS wants to know it.
    pub(crate) fn name(&self) -> Option<ServerName<'static>> {
        ServerName::try_from(self.host.clone()).ok()
    }
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong =
            "write a host and a port, such as admin.example:8443, 192.0.2.7 or [2001:db8::1]:8443";
        let is_whole = text.parse::<Ipv6Addr>().is_ok() || text.ends_with(']');
        let (host, port) = match text.rsplit_once(':').filter(|_| !is_whole) {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        let port = port.map_or(Ok(PORT), str::parse).map_err(|_| wrong)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_sound = match bare {
            Some(bare) => bare.parse::<Ipv6Addr>().is_ok(),
            None => host.parse::<IpAddr>().is_ok() || !host.contains([':', '[', ']', '/', '@']),
        };
        let host = bare.unwrap_or(host).to_owned();
        let address = Self { host, port };
        (is_sound && port != 0 && address.name().is_some()).then_some(address).ok_or(wrong)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn z09_addresses_are_read_as_people_write_them() {
        for (text, shown) in [
            ("admin.example", "admin.example:8443"),
            ("admin.example:1234", "admin.example:1234"),
            ("192.0.2.7", "192.0.2.7:8443"),
            ("192.0.2.7:443", "192.0.2.7:443"),
            ("2001:db8::1", "[2001:db8::1]:8443"),
            ("[2001:db8::1]", "[2001:db8::1]:8443"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
        ] {
            let address: Address = text.parse().expect(text);
            assert_eq!(address.to_string(), shown);
            assert_eq!(shown.parse(), Ok(address));
        }
        for bad in ["", ":8443", "a b", "a:", "a:0", "a:65536", "[a]:1", "https://a", "u@a", "[::1"]
        {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
