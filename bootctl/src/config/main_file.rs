//! `bootctl.toml`: what is not about one app. The file may be absent.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use init_wire::Account;

use super::log_section;
use super::problem::{Fault, Problem};
use super::reader::{Field, Reader, Section};
use crate::logs::keeping::AllLogs;
use crate::name::Port;

/// The whole file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) proxy: Proxy,
    /// Where the search for a free port begins.
    pub(crate) first_port: Port,
    pub(crate) logs: AllLogs,
}

/// `[proxy]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Proxy {
    /// Where the public side listens.
    pub(crate) listen: SocketAddr,
    /// The program, if it is not the proxyd next to bootctl.
    pub(crate) exec: Option<String>,
    /// Whom it runs as, if not nobody.
    pub(crate) user: Option<Account>,
    /// How many threads, if not as many as it finds good.
    pub(crate) workers: Option<u32>,
    /// How long an old one finishes what it has begun, after a new one has taken over.
    pub(crate) grace: Duration,
    /// The same for `WebSocket`s and other streams.
    pub(crate) stream_grace: Duration,
}

const FIRST_PORT: u32 = 9000;
const LONGEST_GRACE: Duration = Duration::from_hours(24);
const GRACE: Duration = Duration::from_secs(30);

impl Default for Settings {
    fn default() -> Self {
        let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80));
        let proxy = Proxy {
            listen,
            exec: None,
            user: None,
            workers: None,
            grace: GRACE,
            stream_grace: GRACE,
        };
        Self { proxy, first_port: port(FIRST_PORT), logs: AllLogs::default() }
    }
}

/// Reads the file.
pub(crate) fn read(reader: Reader<'_>) -> Result<Settings, Vec<Problem>> {
    reader.read(|root| Some(settings(root)))
}

fn settings(root: &Section<'_>) -> Settings {
    root.expect(&["proxy", "ports", "log"]);
    let default = Settings::default();
    let proxy = root.section("proxy");
    proxy.expect(&["listen", "exec", "user", "workers", "grace", "stream_grace"]);
    let ports = root.section("ports");
    ports.expect(&["first"]);
    Settings {
        proxy: Proxy {
            listen: proxy.field("listen").and_then(|f| address(&f)).unwrap_or(default.proxy.listen),
            exec: proxy.field("exec").and_then(|f| f.string()),
            user: proxy.field("user").and_then(|f| f.account()),
            workers: proxy.field("workers").and_then(|f| f.number(1..=1024)),
            grace: proxy.field("grace").and_then(|f| grace(&f)).unwrap_or(default.proxy.grace),
            stream_grace: proxy
                .field("stream_grace")
                .and_then(|f| grace(&f))
                .unwrap_or(default.proxy.stream_grace),
        },
        first_port: ports
            .field("first")
            .and_then(|f| f.number(1..=u32::from(u16::MAX)))
            .map_or(default.first_port, port),
        logs: log_section::all(&root.section("log")),
    }
}

fn address(field: &Field<'_>) -> Option<SocketAddr> {
    let text = field.string()?;
    let address = parse_listen(&text);
    if address.is_none() {
        let instead = "write a numeric address and a port, such as \"0.0.0.0:80\" or \"[::]:80\"";
        field.report(Fault::Form { value: text, instead });
    }
    address
}

/// A time that proxyd takes: whole seconds, up to a day.
fn grace(field: &Field<'_>) -> Option<Duration> {
    let time = field.duration()?;
    let good = time.subsec_nanos() == 0 && time <= LONGEST_GRACE;
    if !good {
        let instead = "use whole seconds, at most a day, such as \"30s\"";
        field.report(Fault::Form { value: format!("{time:?}"), instead });
    }
    good.then_some(time)
}

/// A numeric address with a port other than 0: clients have to know it.
pub(crate) fn parse_listen(text: &str) -> Option<SocketAddr> {
    text.parse().ok().filter(|address: &SocketAddr| address.port() != 0)
}

fn port(number: u32) -> Port {
    u16::try_from(number).ok().and_then(Port::new).unwrap_or(Port::HIGHEST)
}
