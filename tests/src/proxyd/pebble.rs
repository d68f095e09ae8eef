//! An authority that makes certificates (Debian's `pebble`), the DNS that it believes, and a proxy that asks
//! it: all of it on loopback.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;
use std::process::{self, Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use proxyd_wire::{AcmeCertificateView, AcmeView};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tempfile::TempDir;

use super::{Answer, Authority, Client, Proxyd, Trust, binary, wait_for};
use crate::random::Random;

/// What those tests need that are about obtaining.
pub const TOOLS: [&str; 2] = ["pebble", "pebble-challtestsrv"];

/// A port that nobody listens on, as TCP or UDP, and that no other test is given as long as this process lives. The kernel
/// hands out others: nobody is given it while a proxy is started again.
fn free_port() -> u16 {
    static OURS: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut random = Random::new(u64::from(now.subsec_nanos()) << 32 | u64::from(process::id()));
    loop {
        let port = u16::try_from(10_000 + random.below(22_000)).unwrap();
        let address = ("127.0.0.1", port);
        let name = SocketAddr::from_abstract_name(format!("jobinit-tests-port-{port}"));
        let Ok(claim) = UnixListener::bind_addr(&name.unwrap()) else { continue };
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            OURS.lock().unwrap().push(claim);
            return port;
        }
    }
}

/// How an authority is.
#[derive(Clone, Default)]
pub struct Manner<'a> {
    /// For its environment.
    pub faults: &'a [(&'a str, &'a str)],
    /// How long its certificates are valid, in seconds.
    pub validity: Option<u64>,
    /// Key and its name, where it wants an account to belong to one.
    pub binding: Option<(&'a str, &'a str)>,
    /// Names that it makes no certificates for.
    pub refused: &'a [&'a str],
}

/// An authority that runs; dropping it kills it.
pub struct Pebble {
    children: Vec<Child>,
    folder: TempDir,
    api: u16,
    management: u16,
    names: u16,
    own: Authority,
    /// The ports that it looks for proofs at.
    pub http: u16,
    pub tls: u16,
}

impl Pebble {
    pub fn start() -> Pebble {
        Pebble::with(&Manner::default())
    }

    pub fn with(manner: &Manner<'_>) -> Pebble {
        let (http, tls) = (free_port(), free_port());
        Pebble::at(manner, http, tls)
    }

    /// The same, for a proxy that is there.
    pub fn at(manner: &Manner<'_>, http: u16, tls: u16) -> Pebble {
        let own = Authority::new("of the authority's API");
        let folder = tempfile::tempdir().unwrap();
        let mut pebble = Pebble {
            children: Vec::new(),
            folder,
            api: 0,
            management: 0,
            names: 0,
            own,
            http,
            tls,
        };
        // Somebody else may have taken a port that was free a moment ago.
        wait_for("an authority that has its ports", || pebble.run(manner).then_some(()));
        pebble
    }

    fn run(&mut self, manner: &Manner<'_>) -> bool {
        self.kill();
        (self.api, self.management, self.names) = (free_port(), free_port(), free_port());
        let dns = free_port();
        let pair = self.own.pair(&["127.0.0.1"]);
        let path = |name: &str| self.folder.path().join(name);
        std::fs::write(path("root.pem"), self.own.pem()).unwrap();
        std::fs::write(path("chain.pem"), &pair.chain).unwrap();
        std::fs::write(path("key.pem"), &pair.key).unwrap();
        let keys = manner.binding.map(|(id, key)| json!({ id: key })).unwrap_or(json!({}));
        let config = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{}", self.api),
            "managementListenAddress": format!("127.0.0.1:{}", self.management),
            "certificate": path("chain.pem"),
            "privateKey": path("key.pem"),
            "httpPort": self.http,
            "tlsPort": self.tls,
            "externalAccountBindingRequired": manner.binding.is_some(),
            "externalAccountMACKeys": keys,
            "domainBlocklist": manner.refused,
            "certificateValidityPeriod": manner.validity.unwrap_or(0),
        }});
        std::fs::write(path("config.json"), config.to_string()).unwrap();
        let log = std::fs::File::create(path("log")).unwrap();
        let mut command = Command::new("pebble-challtestsrv");
        command.args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""]);
        command.arg("-dns01").arg(format!("127.0.0.1:{dns}"));
        command.arg("-management").arg(format!("127.0.0.1:{}", self.names));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.children.push(command.spawn().unwrap());
        let mut command = Command::new("pebble");
        command.arg("-config").arg(path("config.json"));
        command.arg("-dnsserver").arg(format!("127.0.0.1:{dns}"));
        command.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", "0");
        command.envs(manner.faults.iter().copied());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.children.push(command.spawn().unwrap());
        let ports = [self.api, self.management, self.names];
        wait_for("the authority, or its end", || {
            if self.children.iter_mut().any(|child| child.try_wait().unwrap().is_some()) {
                return Some(false);
            }
            let is_there = |port: &u16| TcpStream::connect(("127.0.0.1", *port)).is_ok();
            ports.iter().all(is_there).then_some(true)
        })
    }

    fn kill(&mut self) {
        for mut child in self.children.drain(..) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// It forgets everything, as it does whenever it ends.
    pub fn start_anew(&mut self, manner: &Manner<'_>) {
        wait_for("an authority that has its ports", || self.run(manner).then_some(()));
    }

    pub fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.api)
    }

    /// Who vouches for its API.
    pub fn root_file(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    /// What it has written.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// How often something is in its log.
    pub fn count(&self, words: &str) -> usize {
        self.log().matches(words).count()
    }

    /// As a proxy is told of it.
    pub fn authority(&self) -> serde_json::Value {
        json!({ "directory": self.directory(), "root_file": self.root_file() })
    }

    /// Clients that believe the certificates which it makes.
    pub fn trust(&self) -> Trust {
        let api = ("127.0.0.1", self.management);
        let own =
            self.own.trust().connect(std::net::SocketAddr::from(([127, 0, 0, 1], api.1)), api.0);
        let root = own.unwrap().get("127.0.0.1", "/roots/0");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&root.body).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Trust::of(config)
    }

    /// The port of whoever tells the DNS something.
    pub fn names_api(&self) -> u16 {
        self.names
    }

    /// Tells the DNS something: `/set-txt`, `/clear-txt`, `/add-a`, `/set-servfail` and the like.
    pub fn tell_names(&self, path: &str, what: &serde_json::Value) {
        let mut client = Client::connect(std::net::SocketAddr::from(([127, 0, 0, 1], self.names)));
        let body = what.to_string();
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: names\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        assert_eq!(client.answer().status, 200);
    }

    /// A proxy at the ports that it looks at, with certificates from it kept in a folder.
    pub fn proxyd(&self, args: &[&str]) -> Proxyd {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(binary("proxyd"));
        command.args(["--workers", "2"]);
        command.arg("--listen").arg(format!("127.0.0.1:{}", self.http));
        command.arg("--listen-tls").arg(format!("127.0.0.1:{}", self.tls));
        command.arg("--control").arg(folder.path().join("control"));
        command.arg("--access-log").arg(folder.path().join("access.log"));
        command.args(args);
        Proxyd::spawn(&mut command, folder)
    }
}

/// Listeners that outlive the proxies which are passed them.
pub struct Listeners([TcpListener; 2]);

impl Pebble {
    /// At the ports that it looks at.
    pub fn listeners(&self) -> Listeners {
        Listeners([self.http, self.tls].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap()))
    }

    /// A proxy that is passed its listeners.
    pub fn proxyd_with_listeners(&self, Listeners(listeners): &Listeners) -> Proxyd {
        let folder = tempfile::tempdir().unwrap();
        // What a child is to have is given to it by descriptors that are open in it.
        let [http, tls] = listeners.each_ref().map(|listener| nix::unistd::dup(listener).unwrap());
        let mut command = Command::new("bash");
        command.arg("-c").arg(format!(
            "exec 3<&{} 4<&{}; LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=http:https exec \"$@\"",
            http.as_raw_fd(),
            tls.as_raw_fd()
        ));
        command.arg("sh").arg(binary("proxyd")).args(["--workers", "2"]);
        command.arg("--control").arg(folder.path().join("control"));
        command.arg("--access-log").arg(folder.path().join("access.log"));
        Proxyd::spawn(&mut command, folder)
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let _ = writeln!(std::io::stderr(), "the authority said:\n{log}");
        }
    }
}

impl Proxyd {
    /// What is to be obtained, as JSON.
    pub fn put_acme(&self, acme: &serde_json::Value) {
        let answer = self.put("/acme", &acme.to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    pub fn acme(&self) -> AcmeView {
        let answer = self.control("GET", "/acme", "", "");
        serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
    }

    /// How one certificate stands that is obtained.
    pub fn standing(&self, name: &str) -> AcmeCertificateView {
        self.acme().certificates.remove(name).unwrap_or_else(|| panic!("{name} is wanted"))
    }

    /// Waits until one stands as it is to stand.
    pub fn stands(
        &self,
        name: &str,
        so: impl Fn(&AcmeCertificateView) -> bool,
    ) -> AcmeCertificateView {
        let mut last = AcmeCertificateView::default();
        let deadline = std::time::Instant::now() + super::DEADLINE;
        loop {
            let now = self.standing(name);
            if so(&now) {
                return now;
            }
            assert!(std::time::Instant::now() < deadline, "in vain, it stands so: {now:#?}");
            if now != last {
                last = now;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// Has one ordered now.
    pub fn renew(&self, name: &str) -> Answer {
        self.put(&format!("/acme/certificates/{name}/renew"), "")
    }
}
