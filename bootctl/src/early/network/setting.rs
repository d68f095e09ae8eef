//! How an interface gets its address, as the command line says it: in bootctl's own words, or in the kernel's
//! (`ip=` of its documentation, with IPv6 in brackets and `INTERFACE:dhcp` besides). Pure.

use std::net::{IpAddr, Ipv4Addr};

const OWN: &str =
    "bootctl.ip=ADDRESS/PREFIX[,GATEWAY] or bootctl.ip=dhcp, such as 10.0.2.15/24,10.0.2.2";
const KERNELS: &str = "ip=dhcp, or ip=ADDRESS::GATEWAY:NETMASK:HOSTNAME:INTERFACE:none[:DNS[:DNS]]";

/// An address of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) ip: IpAddr,
    pub(super) prefix: u8,
    pub(super) gateway: Option<IpAddr>,
}

/// Where the address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// Nothing is set; IPv6 by the kernel, where a router tells it.
    None,
    Static(Address),
    Dhcp,
}

/// One word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The first one there is, if it is not said.
    pub(super) interface: Option<String>,
    pub(super) method: Method,
    pub(super) hostname: Option<String>,
    pub(super) resolvers: Vec<IpAddr>,
}

impl Setting {
    fn new(method: Method) -> Self {
        Self { interface: None, method, hostname: None, resolvers: Vec::new() }
    }

    /// Who is asked for names, beside what other words say.
    pub(crate) fn resolvers(resolvers: Vec<IpAddr>) -> Self {
        Self { resolvers, ..Self::new(Method::None) }
    }

    /// `dhcp`, or `ADDRESS/PREFIX[,GATEWAY]`.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if text == "dhcp" {
            return Ok(Self::new(Method::Dhcp));
        }
        let (address, gateway) = match text.split_once(',') {
            Some((address, gateway)) => (address, Some(gateway.parse().map_err(|_| OWN)?)),
            None => (text, None),
        };
        let (ip, prefix) = address.split_once('/').ok_or(OWN)?;
        let ip = ip.parse().map_err(|_| OWN)?;
        let prefix = prefix.parse().map_err(|_| OWN)?;
        Ok(Self::new(Method::Static(Address::checked(ip, prefix, gateway).ok_or(OWN)?)))
    }

    /// `ADDRESS:SERVER:GATEWAY:NETMASK:HOSTNAME:INTERFACE:METHOD:DNS:DNS:NTP`, all of which may be missing, or
    /// the method alone.
    pub(crate) fn parse_kernels(text: &str) -> Result<Self, &'static str> {
        let fields = fields(text).ok_or(KERNELS)?;
        let field = |at: usize| fields.get(at).map(String::as_str).filter(|it| !it.is_empty());
        if let [method] = fields.as_slice() {
            return self::method(method).map(Self::new).ok_or(KERNELS);
        }
        if let ([interface, _], Some(method)) = (fields.as_slice(), field(1).and_then(method)) {
            let interface = Some(interface.clone()).filter(|name| is_interface(name));
            return Ok(Self { interface: Some(interface.ok_or(KERNELS)?), ..Self::new(method) });
        }
        let ip = field(0).map(str::parse).transpose().map_err(|_| KERNELS)?;
        let gateway = field(2).map(str::parse).transpose().map_err(|_| KERNELS)?;
        let by = match field(6) {
            // The kernel asks nobody when it has been told an address.
            None if ip.is_some() => Method::None,
            None => Method::Dhcp,
            Some(word) => method(word).ok_or(KERNELS)?,
        };
        let method = match (by, ip) {
            (Method::Dhcp, _) => Method::Dhcp,
            (_, None) => Method::None,
            (_, Some(ip)) => {
                let prefix = field(3).map_or_else(|| Some(prefix_by_class(ip)), netmask);
                let address = Address::checked(ip, prefix.ok_or(KERNELS)?, gateway);
                Method::Static(address.ok_or(KERNELS)?)
            }
        };
        let interface = field(5).map(|name| is_interface(name).then(|| name.to_owned()));
        let resolvers: Result<Vec<_>, _> =
            [7, 8].into_iter().filter_map(field).map(str::parse).collect();
        Ok(Self {
            interface: interface.map(|name| name.ok_or(KERNELS)).transpose()?,
            method,
            hostname: field(4).map(str::to_owned),
            resolvers: resolvers.map_err(|_| KERNELS)?,
        })
    }
}

impl Address {
    pub(super) fn checked(ip: IpAddr, prefix: u8, gateway: Option<IpAddr>) -> Option<Self> {
        let longest = if ip.is_ipv4() { 32 } else { 128 };
        let is_good = prefix <= longest
            && !ip.is_unspecified()
            && gateway.is_none_or(|gateway| gateway.is_ipv4() == ip.is_ipv4());
        is_good.then_some(Self { ip, prefix, gateway })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

fn method(word: &str) -> Option<Method> {
    match word {
        "dhcp" | "on" | "any" => Some(Method::Dhcp),
        "off" | "none" | "auto6" => Some(Method::None),
        // bootp, rarp: nobody has those any more.
        _ => None,
    }
}

/// What stands between colons, but for those in brackets.
fn fields(text: &str) -> Option<Vec<String>> {
    let mut depth = 0_u8;
    let mut fields = vec![String::new()];
    for c in text.chars() {
        match c {
            '[' if depth == 0 => depth = 1,
            ']' if depth == 1 => depth = 0,
            '[' | ']' => return None,
            ':' if depth == 0 => fields.push(String::new()),
            c => fields.last_mut()?.push(c),
        }
    }
    (depth == 0).then_some(fields)
}

/// `24`, or `255.255.255.0`.
fn netmask(text: &str) -> Option<u8> {
    if let Ok(prefix) = text.parse() {
        return Some(prefix);
    }
    let bits = text.parse::<Ipv4Addr>().ok()?.to_bits();
    let prefix = bits.leading_ones();
    (bits.checked_shl(prefix).unwrap_or(0) == 0).then(|| u8::try_from(prefix).ok())?
}

/// As the kernel guesses it, where nobody says it.
fn prefix_by_class(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V6(_) => 64,
        IpAddr::V4(ip) => match ip.octets() {
            [0..=127, ..] => 8,
            [128..=191, ..] => 16,
            [_, ..] => 24,
        },
    }
}

fn is_interface(name: &str) -> bool {
    (1..16).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fixed(ip: &str, prefix: u8, gateway: Option<&str>) -> Method {
        let parse = |text: &str| text.parse().expect("an address");
        Method::Static(Address { ip: parse(ip), prefix, gateway: gateway.map(parse) })
    }

    #[test]
    fn addresses_are_checked() {
        let own = |text| Setting::parse(text).map(|setting| setting.method);
        assert_eq!(own("10.0.2.15/24,10.0.2.2"), Ok(fixed("10.0.2.15", 24, Some("10.0.2.2"))));
        assert_eq!(own("10.0.2.15/24"), Ok(fixed("10.0.2.15", 24, None)));
        assert_eq!(own("fd00::2/64,fe80::1"), Ok(fixed("fd00::2", 64, Some("fe80::1"))));
        assert_eq!(own("dhcp"), Ok(Method::Dhcp));
        for bad in [
            "",
            "10.0.2.15",
            "10.0.2.15/33",
            "10.0.2/24",
            "10.0.2.15/24,",
            "x/24",
            "fd00::2/129",
            "10.0.2.15/24,fe80::1",
            "0.0.0.0/0",
            "10.0.2.15/-1",
            "10.0.2.15/24,10.0.2.2,10.0.2.3",
        ] {
            assert_eq!(own(bad), Err(OWN), "{bad}");
        }
    }

    #[test]
    fn the_kernels_syntax_is_understood() {
        let read = |text| Setting::parse_kernels(text).expect(text);
        let all = read(
            "10.0.2.15:10.0.2.9:10.0.2.2:255.255.255.0:vm:eth0:none:10.0.2.3:1.1.1.1:10.0.2.4",
        );
        assert_eq!(all.method, fixed("10.0.2.15", 24, Some("10.0.2.2")));
        assert_eq!(all.interface.as_deref(), Some("eth0"));
        assert_eq!(all.hostname.as_deref(), Some("vm"));
        let dns = ["10.0.2.3", "1.1.1.1"].map(|it| it.parse::<IpAddr>().expect("one"));
        assert_eq!(all.resolvers, dns);
        assert_eq!(read("172.16.0.1::").method, fixed("172.16.0.1", 16, None));
        assert_eq!(read("10.1.1.1:::30::").method, fixed("10.1.1.1", 30, None));
        assert_eq!(
            read("[fd00::2]::[fd00::1]:64::eth0:none").method,
            fixed("fd00::2", 64, Some("fd00::1"))
        );
        for dhcp in
            ["dhcp", "on", "any", "eth1:dhcp", ":::::eth1:dhcp", ":::::eth1", "10.0.0.1::::::dhcp"]
        {
            let setting = read(dhcp);
            assert_eq!(setting.method, Method::Dhcp, "{dhcp}");
            assert_eq!(setting.interface.is_some(), dhcp.contains("eth1"), "{dhcp}");
        }
        for none in ["off", "none", "eth1:off", "::::::off"] {
            assert_eq!(read(none).method, Method::None, "{none}");
        }
        for bad in [
            "",
            "bootp",
            "x",
            "10.0.2.15",
            "10.0.2.15:::255.0.255.0",
            "10.0.2.15:::33",
            "[fd00::2",
            "fd00::2",
            "10.0.2.15:::::a/b",
            "10.0.2.15:::::eth0:sometimes",
            "::::::none:dns",
            "a]:b",
            "this-name-is-too-long:dhcp",
        ] {
            assert_eq!(Setting::parse_kernels(bad), Err(KERNELS), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_word_is_too_much(text in "[0-9a-f:.\\[\\]/,dhcpnoe]{0,80}") {
            for setting in [Setting::parse(&text), Setting::parse_kernels(&text)].into_iter().flatten() {
                if let Method::Static(address) = setting.method {
                    let longest = if address.ip.is_ipv4() { 32 } else { 128 };
                    prop_assert!(address.prefix <= longest);
                }
            }
        }
    }
}
