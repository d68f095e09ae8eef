//! Certificates and settings as they are wanted, and the picture of them that handshakes are made by.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::{NoClientAuth, NoServerSessionStorage};
use rustls::version::{TLS12, TLS13};

use proxyd_wire as wire;

use super::certificate::Certificate;
use super::challenge::Challenges;
use super::provider::provider;
use super::settings::Settings;
use super::shelf::Shelf;
use super::tickets::{Sealer, Tickets};
use super::{challenge, lookout, tickets};
use crate::acme::Obtained;
use crate::limits;
use crate::name::Name;

/// All that is wanted of TLS.
#[derive(Debug, Default)]
pub(crate) struct Keyring {
    pub(crate) settings: Arc<Settings>,
    certificates: BTreeMap<Name, Arc<Certificate>>,
    /// Those that nobody has put: of which that they are wanted was said.
    obtained: BTreeMap<Name, Obtained>,
    challenges: Challenges,
    tickets: Arc<Tickets>,
    /// Made when it is asked for, and anew after a change.
    picture: OnceLock<Arc<Tls>>,
    folders: OnceLock<Arc<BTreeSet<PathBuf>>>,
}

/// The picture of one moment. A handshake that has begun ends with what it began with.
#[derive(Debug, Default)]
pub(crate) struct Tls {
    /// `None`: it could not be made, and there are no handshakes.
    pub(super) config: Option<Arc<ServerConfig>>,
    pub(crate) handshake_time: Duration,
    pub(super) hsts: Arc<[u8]>,
}

impl Keyring {
    pub(crate) fn certificates(&self) -> &BTreeMap<Name, Arc<Certificate>> {
        &self.certificates
    }

    pub(crate) fn obtained(&self) -> &BTreeMap<Name, Obtained> {
        &self.obtained
    }

    pub(crate) fn put_obtained(&mut self, name: Name, obtained: Obtained) {
        self.obtained.insert(name, obtained);
        self.picture = OnceLock::new();
    }

    /// Takes off those that are wanted no longer; whether there were any.
    pub(crate) fn keep_obtained(&mut self, keep: impl Fn(&Name) -> bool) -> bool {
        let before = self.obtained.len();
        self.obtained.retain(|name, _| keep(name));
        let changed = self.obtained.len() != before;
        if changed {
            self.picture = OnceLock::new();
        }
        changed
    }

    /// `true`: one more would be too many.
    pub(crate) fn is_full(&self) -> bool {
        self.certificates.len() >= limits::OBJECTS
    }

    pub(crate) fn put(&mut self, name: Name, certificate: Arc<Certificate>) {
        let is_elsewhere = |old: &Arc<Certificate>| old.wire != certificate.wire;
        if self.certificates.get(&name).is_none_or(is_elsewhere) {
            self.folders = OnceLock::new();
        }
        self.certificates.insert(name, certificate);
        self.picture = OnceLock::new();
    }

    /// `false` if there was none.
    pub(crate) fn delete(&mut self, name: &Name) -> bool {
        let deleted = self.certificates.remove(name).is_some();
        if deleted {
            self.picture = OnceLock::new();
            self.folders = OnceLock::new();
        }
        deleted
    }

    pub(crate) fn put_settings(&mut self, settings: Settings) {
        self.settings = Arc::new(settings);
        self.picture = OnceLock::new();
        self.folders = OnceLock::new();
    }

    /// Certificates that prove a name to an authority, which are shown to nobody else.
    pub(crate) fn change_challenges(&mut self, change: impl FnOnce(&mut Challenges)) {
        change(&mut self.challenges);
        self.picture = OnceLock::new();
    }

    pub(crate) fn tickets(&self) -> &Arc<Tickets> {
        &self.tickets
    }

    /// The certificates that are files.
    pub(super) fn in_files(&self) -> Vec<(Name, Arc<Certificate>)> {
        let all = self.certificates.iter();
        let in_files = all.filter(|(_, certificate)| certificate.wire.chain_file.is_some());
        in_files.map(|(name, certificate)| (name.clone(), Arc::clone(certificate))).collect()
    }

    /// Where files are that are watched. The same object as long as they are the same.
    pub(super) fn folders(&self) -> Arc<BTreeSet<PathBuf>> {
        let find = || {
            let wires = self.certificates.values().map(|certificate| &certificate.wire);
            let files = wires.flat_map(|wire| [&wire.chain_file, &wire.key_file]).flatten();
            let files = files.chain(&self.settings.wire.client_ca_file);
            Arc::new(files.flat_map(|file| lookout::folders_of(file)).collect())
        };
        Arc::clone(self.folders.get_or_init(find))
    }

    pub(crate) fn picture(&self) -> Arc<Tls> {
        let make = || {
            Arc::new(Tls {
                config: self.config().map(Arc::new),
                handshake_time: self.settings.handshake_time,
                hsts: Arc::clone(&self.settings.hsts),
            })
        };
        Arc::clone(self.picture.get_or_init(make))
    }

    fn config(&self) -> Option<ServerConfig> {
        let versions: &[_] = match self.settings.wire.min_version {
            wire::TlsVersion::Tls12 => &[&TLS13, &TLS12],
            wire::TlsVersion::Tls13 => &[&TLS13],
        };
        let obtained = |name: &Name| self.obtained.get(name).map(|obtained| &obtained.certificate);
        let default = self.settings.default.as_ref();
        let default =
            default.and_then(|name| self.certificates.get(name).or_else(|| obtained(name)));
        let challenges = self.challenges.clone();
        let has_challenges = !challenges.is_empty();
        let obtained = self.obtained.values().map(|obtained| &obtained.certificate);
        let all = self.certificates.values().chain(obtained);
        let by_name = Shelf::new(all, default.cloned(), challenges);
        let verify = match &self.settings.clients {
            Some((clients, _)) => Arc::clone(clients),
            None => Arc::new(NoClientAuth),
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(provider()));
        let mut config = builder
            .with_protocol_versions(versions)
            .ok()?
            .with_client_cert_verifier(verify)
            .with_cert_resolver(Arc::new(by_name));
        // What is spoken, the preferred one first.
        if self.settings.wire.http2 {
            config.alpn_protocols.push(b"h2".to_vec());
        }
        config.alpn_protocols.push(b"http/1.1".to_vec());
        if has_challenges {
            config.alpn_protocols.push(challenge::ALPN.to_vec());
        }
        // All ciphers are strong, whoever chooses; but scanners want it to be the server.
        config.ignore_client_order = true;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let bound = self.settings.whom().to_vec();
        config.ticketer = Arc::new(Sealer { tickets: Arc::clone(&self.tickets), bound });
        config.send_tls13_tickets = tickets::SENT;
        Some(config)
    }
}
