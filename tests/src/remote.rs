//! A site that other machines reach: its gate, tokens for it, and whoever asks from afar.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use serde_json::Value;
use tempfile::TempDir;

use crate::binaries::program;
use crate::bootctl::{Said, Site, said};
use crate::proxyd::{SecureClient, Trust};
use crate::wait;

/// Whom the gate's own certificate is made out to.
pub const GATE: &str = "bootctl";

/// A site with `[admin]`.
pub struct Reached {
    pub site: Site,
    pub address: SocketAddr,
    pub fingerprint: String,
    /// What belongs to whoever asks.
    folder: TempDir,
}

impl Reached {
    /// Boots, and waits until its gate is open.
    #[track_caller]
    pub fn boot(apps: &[(&str, &str)]) -> Self {
        Self::boot_at(Ipv4Addr::LOCALHOST, apps)
    }

    /// The same with an address of its own.
    #[track_caller]
    pub fn boot_at(host: Ipv4Addr, apps: &[(&str, &str)]) -> Self {
        Self::boot_all(host, apps, "")
    }

    /// The same with more in its bootctl.toml.
    #[track_caller]
    pub fn boot_saying(apps: &[(&str, &str)], more: &str) -> Self {
        Self::boot_all(Ipv4Addr::LOCALHOST, apps, more)
    }

    #[track_caller]
    fn boot_all(host: Ipv4Addr, apps: &[(&str, &str)], more: &str) -> Self {
        let address = unused(host);
        let site = Site::boot_with(apps, &format!("[admin]\nlisten = \"{address}\"\n{more}"));
        let fingerprint = wait::until("the gate to be open", || {
            let status = site.status();
            let is_open = status["admin"]["state"] == "open";
            is_open.then(|| status["admin"]["fingerprint"].as_str().map(str::to_owned))?
        });
        let folder = tempfile::tempdir().expect("a folder");
        Self { site, address, fingerprint, folder }
    }

    /// Makes a token of that name, which is good for `grant`; answers the file that holds it.
    #[track_caller]
    pub fn token(&self, name: &str, grant: &str) -> PathBuf {
        let path = self.folder.path().join(format!("{name}.token"));
        let file = path.to_str().expect("UTF-8");
        self.site.done(&["generate", name, "--grant", grant, "--output", file]);
        path
    }

    /// A command that knows nothing of the site.
    pub fn stranger(&self, words: &[&str]) -> Command {
        let mut command = Command::new(program("bootctl"));
        command.args(words).env("XDG_CONFIG_HOME", self.folder.path());
        command.env_remove("BOOTCTL_SOCKET").env_remove("BOOTCTL_LOG_DIR");
        command
    }

    /// A command from afar, by whoever has this token.
    #[track_caller]
    pub fn from_afar(&self, token: &PathBuf, words: &[&str]) -> Said {
        said(self.from_afar_as(token, words).output().expect("bootctl can be run"))
    }

    /// The same, to be run.
    pub fn from_afar_as(&self, token: &PathBuf, words: &[&str]) -> Command {
        let mut command = self.stranger(words);
        command.env("BOOTCTL_HOST", self.address.to_string());
        command.env("BOOTCTL_TOKEN_FILE", token).env("BOOTCTL_FINGERPRINT", &self.fingerprint);
        command
    }

    /// One request by curl from an address of this machine; answers its status and body.
    #[track_caller]
    pub fn curl(&self, from: &str, words: &[&str], path: &str) -> (u16, String) {
        let mut command = Command::new("curl");
        command.args(["-sk", "--path-as-is", "--interface", from, "-w", "\n%{http_code}"]);
        command.args(words).arg(format!("https://{}{path}", self.address));
        let said = said(command.output().expect("curl can be run"));
        let (body, status) = said.out.rsplit_once('\n').expect("a status");
        (status.parse().expect("a number"), body.to_owned())
    }

    /// The statuses of many requests by one curl, each from an address of this machine.
    #[track_caller]
    pub fn curl_many(&self, requests: &[(String, Vec<&str>, String)]) -> Vec<u16> {
        let mut command = Command::new("curl");
        for (number, (from, words, path)) in requests.iter().enumerate() {
            if number > 0 {
                command.arg("--next");
            }
            command.args(["-sk", "--path-as-is", "--interface", from, "-w", "%{http_code}\n"]);
            command.args(["-o", "/dev/null"]).args(words);
            command.arg(format!("https://{}{path}", self.address));
        }
        let said = said(command.output().expect("curl can be run"));
        said.out.lines().map(|line| line.parse().expect("a number")).collect()
    }

    /// Clients of the gate's that speak TLS, of these versions.
    #[track_caller]
    pub fn speaking(&self, versions: &[&'static SupportedProtocolVersion]) -> Trust {
        let own = CertificateDer::from_pem_file(self.site.folder().join("state/admin.pem"));
        let mut roots = RootCertStore::empty();
        roots.add(own.expect("it is there")).expect("it is a certificate");
        let builder = ClientConfig::builder_with_provider(default_provider().into());
        let builder = builder.with_protocol_versions(versions).expect("they are known");
        let config = builder.with_root_certificates(roots).with_no_client_auth();
        Trust::of(config).forgetful()
    }

    /// A connection to the gate whose handshake is done.
    #[track_caller]
    pub fn line(&self) -> SecureClient {
        self.speaking(&[&TLS13]).connect(self.address, GATE).expect("it listens")
    }

    /// What shows a token.
    #[track_caller]
    pub fn bearer(&self, token: &Path) -> String {
        let text = fs::read_to_string(token).expect("it is there");
        format!("Authorization: Bearer {}", text.trim())
    }

    /// The lines of the audit log.
    #[track_caller]
    pub fn audit(&self) -> Vec<Value> {
        let path = self.site.folder().join("state/audit.log");
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

/// An address that nobody listens on.
fn unused(host: Ipv4Addr) -> SocketAddr {
    let listener = TcpListener::bind((host, 0)).expect("there are free ports");
    listener.local_addr().expect("it is bound")
}
