//! `bootctl.toml`: what is not about one app. The file may be absent.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use init_wire::Account;
use proxyd_wire::Front;

use super::problem::Problem;
use super::reader::{Field, Reader, Section};
use super::site_section::{limits, millis};
use super::{acme_section, admin_section, hook_section, log_section, tls_section};
use crate::custom::Custom;
use crate::gate::Admin;
use crate::logs::keeping::AllLogs;
use crate::name::Port;
use crate::runlevel::{Hook, Level};
use crate::site::Origin;
use crate::tls::{Acme, ProxyTls};

/// The whole file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) proxy: Proxy,
    /// Where the search for a free port begins.
    pub(crate) first_port: Port,
    pub(crate) logs: AllLogs,
    /// Whether changes of the files are taken over by themselves.
    pub(crate) watch: bool,
    pub(crate) admin: Admin,
    /// Certificates that are obtained, if any are.
    pub(crate) acme: Option<Acme>,
    /// Whether another bootctl may take over.
    pub(crate) take_over: bool,
    /// The one that is booted into.
    pub(crate) runlevel: Level,
    pub(crate) hooks: Vec<Hook>,
    pub(crate) customs: Vec<Custom>,
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
    pub(crate) is_https: bool,
    /// Where clients reach it, if that is not `listen`.
    pub(crate) public_port: Option<u16>,
    /// What it is told of the whole process.
    pub(crate) front: Front,
    pub(crate) access_log: String,
    pub(crate) access_log_format: String,
    /// Where anybody may watch it.
    pub(crate) monitor: Option<SocketAddr>,
    pub(crate) tls: ProxyTls,
}

impl Proxy {
    /// How clients reach it. `https` is where it listens for TLS.
    pub(crate) fn origin(&self, https: Option<SocketAddr>) -> Origin {
        let port = self.public_port.unwrap_or(self.listen.port());
        let usual = if self.is_https { 443 } else { 80 };
        // Whoever speaks TLS in front of it is at the usual port if nothing else is said.
        let told = !self.is_https || self.public_port.is_some();
        Origin {
            is_https: self.is_https,
            port: Some(port).filter(|port| told && *port != usual),
            tls_port: https.map(|address| self.tls.public_port.unwrap_or(address.port())),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80));
        let grace = Duration::from_secs(30);
        let proxy = Proxy {
            listen,
            exec: None,
            user: None,
            workers: None,
            grace,
            stream_grace: grace,
            is_https: false,
            public_port: None,
            front: Front::default(),
            access_log: "-".into(),
            access_log_format: "combined".into(),
            monitor: None,
            tls: ProxyTls::default(),
        };
        let (logs, admin) = (AllLogs::default(), Admin::default());
        Self {
            proxy,
            first_port: port(9000),
            logs,
            watch: false,
            admin,
            acme: None,
            take_over: false,
            runlevel: Level::MULTI,
            hooks: Vec::new(),
            customs: Vec::new(),
        }
    }
}

/// Reads the file.
pub(crate) fn read(reader: Reader<'_>) -> Result<Settings, Vec<Problem>> {
    reader.read(|root| Some(settings(root)))
}

fn settings(root: &Section<'_>) -> Settings {
    root.expect();
    let default = Settings::default();
    let proxy = root.section("proxy");
    Settings {
        proxy: Proxy {
            listen: proxy.get("listen", address).unwrap_or(default.proxy.listen),
            exec: proxy.get("exec", Field::string),
            user: proxy.get("user", Field::account),
            workers: proxy.get("workers", Field::number),
            grace: proxy.get("grace", Field::duration).unwrap_or(default.proxy.grace),
            stream_grace: proxy
                .get("stream_grace", Field::duration)
                .unwrap_or(default.proxy.stream_grace),
            is_https: proxy.get("scheme", Field::choice).is_some_and(|scheme| scheme == "https"),
            public_port: proxy
                .get("public_port", Field::number)
                .and_then(|port| u16::try_from(port).ok()),
            front: front(&proxy),
            access_log: proxy.get("access_log", access_log).unwrap_or_default(),
            access_log_format: proxy.get("access_log_format", Field::choice).unwrap_or_default(),
            monitor: proxy.get("monitor", address),
            tls: tls_section::of_proxy(&proxy),
        },
        first_port: root
            .section("ports")
            .get("first", Field::number)
            .map_or(default.first_port, port),
        logs: log_section::all(&root.section("log")),
        watch: root.get("watch", Field::bool).unwrap_or_default(),
        admin: admin_section::read(&root.section("admin")),
        acme: acme_section::read(&root.section("acme")),
        take_over: root.get("take_over", Field::bool).unwrap_or_default(),
        runlevel: root
            .get("runlevel", Field::number)
            .and_then(Level::new)
            .unwrap_or(default.runlevel),
        hooks: hook_section::hooks(&root.section("hook")),
        customs: hook_section::customs(&root.section("custom")),
    }
}

fn front(proxy: &Section<'_>) -> Front {
    let time = |name| proxy.get(name, Field::duration).map(millis);
    let size = |name| proxy.get(name, Field::size).and_then(|size| u32::try_from(size).ok());
    Front {
        proxy_protocol: proxy.get("proxy_protocol", Field::networks).unwrap_or_default(),
        trusted: proxy.get("trusted", Field::networks).unwrap_or_default(),
        real_ip: proxy.get("real_ip", Field::bool).unwrap_or_default(),
        forwarded: proxy.get("forwarded", Field::bool).unwrap_or_default(),
        via: proxy.get("via", name),
        request_id: proxy.get("request_id", name),
        connections: proxy.get("connections", Field::number),
        connections_per_client: proxy.get("connections_per_client", Field::number),
        head_ms: time("head_time"),
        idle_ms: time("idle_time"),
        connect_ms: time("connect_time"),
        body_ms: time("body_time"),
        write_ms: time("write_time"),
        rate_window_ms: time("rate_time"),
        head_bytes: size("head_size"),
        fields: proxy.get("head_fields", Field::number),
        uri_bytes: size("uri_size"),
        half_closed: proxy.get("half_closed", Field::bool).unwrap_or_default(),
        limits: limits(&proxy.section("limits")).unwrap_or_default(),
        http2: tls_section::http2(proxy),
    }
}

fn name(field: &Field<'_>) -> Option<String> {
    let text = field.string()?;
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    if text.is_empty() || !text.bytes().all(good) {
        field.form(&text, "write a name of letters, digits, dots and hyphens");
    }
    Some(text)
}

fn access_log(field: &Field<'_>) -> Option<String> {
    let text = field.string()?;
    match text.as_str() {
        "-" => {}
        "off" => return Some("/dev/null".into()),
        path if path.starts_with('/') && !path.contains('\0') => {}
        _ => field.form(&text, "write an absolute path, \"-\" or \"off\""),
    }
    Some(text)
}

pub(super) fn address(field: &Field<'_>) -> Option<SocketAddr> {
    let text = field.string()?;
    let address = parse_listen(&text);
    if address.is_none() {
        let instead = "write a numeric address and a port, such as \"0.0.0.0:80\" or \"[::]:80\"";
        field.form(&text, instead);
    }
    address
}

/// A numeric address with a port other than 0: clients have to know it.
pub(crate) fn parse_listen(text: &str) -> Option<SocketAddr> {
    text.parse().ok().filter(|address: &SocketAddr| address.port() != 0)
}

fn port(number: u32) -> Port {
    u16::try_from(number).ok().and_then(Port::new).unwrap_or(Port::HIGHEST)
}
