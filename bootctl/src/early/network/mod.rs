//! The machine's address: fixed, or lent (DHCP); IPv6 also by the kernel itself, where a router tells it.
//!
//! Interfaces that no word names are left alone, so a machine whose network somebody else sees to keeps it.

mod dhcp;
mod lease;
mod netlink;
pub(super) mod resolver;
mod setting;

use std::fs;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::net::if_::if_nametoindex;
use tokio::sync::watch;
use tracing::{error, info};

use self::dhcp::Card;
use self::netlink::{Netlink, Refused};
pub(crate) use self::setting::Setting;
use self::setting::{Address, Method};

const INTERFACES: &str = "/sys/class/net";
/// How long drivers may take to bring their interfaces, all together.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the first address that is lent is waited for; then the machine comes up without.
const FIRST_LEASE: Duration = Duration::from_secs(5);

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
enum NetworkError {
    #[error("there is no network interface; is its driver in /etc/bootctl/modules?")]
    NoInterface,
    #[error("there is no interface {0}")]
    NotThere(String),
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// One that is there.
#[derive(Clone, Debug)]
struct Interface {
    name: String,
    index: u32,
}

impl Interface {
    /// The one of that name, or the first; waits for its driver.
    fn find(name: Option<&str>, by: Instant) -> Result<Self, NetworkError> {
        loop {
            let found = match name {
                Some(name) => {
                    Some(name.to_owned()).filter(|_| Path::new(INTERFACES).join(name).exists())
                }
                None => first(),
            };
            match found {
                Some(name) => {
                    let index =
                        if_nametoindex(name.as_str()).map_err(Refused::to("name the interface"))?;
                    return Ok(Self { name, index });
                }
                None if Instant::now() > by => {
                    let named = name.map(|name| NetworkError::NotThere(name.to_owned()));
                    return Err(named.unwrap_or(NetworkError::NoInterface));
                }
                None => thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn set(&self, address: &Address) -> Result<(), Refused> {
        Netlink::open()?.set(self.index, address)
    }

    /// The address of its card.
    fn card(&self) -> io::Result<Card> {
        let text = fs::read_to_string(Path::new(INTERFACES).join(&self.name).join("address"))?;
        let bytes = text.trim().split(':').map(|part| u8::from_str_radix(part, 16).ok());
        let bytes: Option<Vec<u8>> = bytes.collect();
        let card = bytes.and_then(|bytes| Card::try_from(bytes).ok());
        card.ok_or_else(|| io::Error::new(ErrorKind::Unsupported, "it is no Ethernet card"))
    }
}

fn first() -> Option<String> {
    let entries = fs::read_dir(INTERFACES).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name != "lo").min()
}

/// Brings up what words name, and sets what is fixed. Waits for drivers.
pub(super) fn bring_up(settings: &[Setting]) {
    let by = Instant::now() + PATIENCE;
    for setting in settings.iter().filter(|setting| setting.is_of_interface()) {
        match bring_up_one(setting, by) {
            Ok((interface, Method::Static(address))) => info!("{} has {address}", interface.name),
            Ok((interface, Method::None | Method::Dhcp)) => info!("{} is up", interface.name),
            Err(error) => error!("no network: {error}"),
        }
    }
    let resolvers: Vec<IpAddr> =
        settings.iter().flat_map(|it| it.resolvers.iter().copied()).collect();
    resolver::write(&resolvers);
}

fn bring_up_one(setting: &Setting, by: Instant) -> Result<(Interface, Method), NetworkError> {
    let interface = Interface::find(setting.interface.as_deref(), by)?;
    let netlink = Netlink::open()?;
    netlink.bring_up(interface.index)?;
    if let Method::Static(address) = &setting.method {
        netlink.set(interface.index, address)?;
    }
    Ok((interface, setting.method))
}

/// Has addresses lent to the interfaces that words name, from now on; waits a little for the first of each.
pub(super) async fn borrow(settings: &[Setting], names: bool) {
    let mut first = Vec::new();
    let lent = settings.iter().filter(|setting| setting.method == Method::Dhcp);
    // Only the first word of an interface counts: two would take turns.
    let mut known: Vec<String> = Vec::new();
    for setting in lent {
        let Ok(interface) = Interface::find(setting.interface.as_deref(), Instant::now()) else {
            // It was told before.
            continue;
        };
        if known.contains(&interface.name) {
            continue;
        }
        known.push(interface.name.clone());
        let (has, has_one) = watch::channel(false);
        tokio::spawn(lease::keep(interface, names, has));
        first.push(has_one);
    }
    let all = async {
        for mut has_one in first {
            // One that cannot ask has said so.
            drop(has_one.wait_for(|has| *has).await);
        }
    };
    if tokio::time::timeout(FIRST_LEASE, all).await.is_err() {
        error!(
            "no address was lent within {} s; the machine comes up without",
            FIRST_LEASE.as_secs()
        );
    }
}

impl Setting {
    /// The host name that the kernel's syntax has a place for.
    pub(super) fn host_name(&self) -> Option<&str> {
        self.hostname.as_deref()
    }

    /// Whether it is of an interface at all, and not only of names.
    fn is_of_interface(&self) -> bool {
        self.interface.is_some() || self.method != Method::None || self.resolvers.is_empty()
    }
}
