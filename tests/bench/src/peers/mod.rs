//! The proxies that are measured: one worker each, keep-alive on both sides, X-Forwarded-*, and
//! an access log that is written in batches.

pub mod caddy;
pub mod haproxy;
pub mod nginx;
pub mod proxyd;
pub mod relay;
pub mod traefik;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use jobinit_tests::proxyd::{Authority, Pair};
use tempfile::TempDir;

use crate::origin::{self, Origin};
use crate::report;

/// Whom clients ask for.
pub const HOST: &str = "bench.test";

/// What they all stand before, and where their files are.
pub struct Setting {
    folder: TempDir,
    tcp: SocketAddr,
    unix: PathBuf,
    origin: Arc<Mutex<Origin>>,
    /// Clients at once at most: some set memory aside for that.
    clients: usize,
    tls: OnceLock<Tls>,
}

/// What all are shown to be by: ECDSA, P-256.
pub struct Tls {
    pair: Pair,
    chain: PathBuf,
    key: PathBuf,
    /// Both in one file.
    both: PathBuf,
    /// Who vouches for it.
    pub authority: Authority,
}

impl Setting {
    /// With an origin of its own.
    pub fn new(clients: usize) -> Setting {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let unix = folder.path().join("origin.sock");
        let (tcp, origin) = origin::start(&unix);
        Setting { folder, tcp, unix, origin, clients, tls: OnceLock::new() }
    }

    /// The certificate, for those who speak TLS.
    pub fn tls(&self) -> &Tls {
        self.tls.get_or_init(|| {
            let authority = Authority::new("of the bench");
            let pair = authority.pair(&[HOST]);
            let file = |name, text: &str| {
                let path = self.folder().join(name);
                std::fs::write(&path, text).expect("a fresh folder");
                path
            };
            let (chain, key) = (file("chain.pem", &pair.chain), file("key.pem", &pair.key));
            let both = file("both.pem", &(pair.key.clone() + &pair.chain));
            Tls { pair, chain, key, both, authority }
        })
    }

    /// The origin, to be given turns by who holds it.
    pub fn origin(&self) -> MutexGuard<'_, Origin> {
        self.origin.lock().expect("nobody panics while it works")
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file of one subject.
    fn file(&self, address: SocketAddr, name: &str) -> PathBuf {
        self.folder.path().join(format!("{}-{name}", address.port()))
    }
}

/// Puts a file where those find it that serve files.
pub fn write_site(setting: &Setting, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let site = site(setting);
    std::fs::create_dir_all(&site)?;
    std::fs::write(site.join(name), bytes)
}

fn site(setting: &Setting) -> PathBuf {
    setting.folder().join("site")
}

/// A running proxy; dropping it ends it.
pub struct Peer {
    pub address: SocketAddr,
    child: Child,
    /// Where it takes orders, if it does.
    pub control: Option<PathBuf>,
}

impl Peer {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn start(command: &mut Command, address: SocketAddr) -> Result<Peer, String> {
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.map_err(|error| format!("cannot be started: {error}"))?;
        let mut peer = Peer { address, child, control: None };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            if let Ok(Some(status)) = peer.child.try_wait() {
                return Err(format!("ended at once: {status}"));
            }
            if Instant::now() > deadline {
                return Err("does not listen".to_owned());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(peer)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // nginx's master needs a TERM to take its worker along.
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(3);
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound")
}

fn program(candidates: &[&str]) -> Result<String, String> {
    let found = candidates.iter().find(|path| Path::new(path).exists());
    found.map(ToString::to_string).ok_or_else(|| "is not installed".to_owned())
}

/// A program that `tests/install-deps bench` puts into target/.
fn installed(name: &str) -> Result<PathBuf, String> {
    let path = report::target().join("peers/proxies/bin").join(name);
    if path.exists() { Ok(path) } else { Err("is not installed".to_owned()) }
}

fn write(path: &Path, config: &str) -> Result<(), String> {
    std::fs::write(path, config).map_err(|error| error.to_string())
}
