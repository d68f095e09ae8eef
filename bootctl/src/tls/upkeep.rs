//! Certificates kept as their files are: read with the config, whenever one of them is written anew, and when the time of
//! one is over.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, lchown};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use init_wire::{Account, FdSpec};
use proxyd_wire as wire;
use tokio::task::AbortHandle;
use tracing::{info, warn};

use super::obtaining::Obtaining;
use super::records::Records;
use super::{Coverage, Keyring, LISTENER, Tickets, Tls, certificates, sources, tickets};
use crate::account;
use crate::config::Settings;
use crate::config::lookout::{self, Watched};
use crate::deploys::now;
use crate::event::Event;
use crate::name::AppName;
use crate::plan::Wanted;
use crate::supervise::Supervisor;

/// What is kept of them.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    pub(crate) ring: Keyring,
    watched: BTreeSet<PathBuf>,
    watch: Option<AbortHandle>,
    /// Why they are not watched, though they are to be.
    trouble: Option<String>,
    /// Looks again when the time of something is over.
    reminder: Option<AbortHandle>,
    /// What has been warned of.
    told: BTreeSet<String>,
    pub(crate) obtaining: Obtaining,
    pub(crate) records: Records,
}

/// Where the proxy listens for TLS.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Https {
    pub(crate) address: Option<SocketAddr>,
    /// A listener that stays if it is there: an app whose file is broken may want it.
    pub(crate) doubtful: Option<FdSpec>,
}

impl Https {
    pub(crate) fn of(
        settings: &Settings,
        apps: &BTreeMap<AppName, Wanted>,
        ring: &Keyring,
    ) -> Self {
        let proxy = &settings.proxy;
        let wants = |wanted: &Wanted| wanted.app().is_some_and(|app| app.tls.files.is_some());
        let given = given(ring);
        let obtains = || {
            let apps = apps.values().filter_map(Wanted::app).map(Arc::as_ref);
            !certificates(settings.acme.as_ref(), apps, &given).is_empty()
        };
        let is_needed = proxy.tls.files.is_some() || apps.values().any(wants) || obtains();
        let address = proxy.tls.address(proxy.listen, is_needed);
        let in_doubt = address.is_none() && apps.values().any(|wanted| *wanted == Wanted::AsItIs);
        let doubtful = proxy.tls.address(proxy.listen, true).filter(|_| in_doubt);
        let listener = |address| FdSpec::new(LISTENER, format!("tcp:{address}"));
        Self { address, doubtful: doubtful.map(listener) }
    }

    fn is_there(&self) -> bool {
        self.address.is_some() || self.doubtful.is_some()
    }
}

impl Keys {
    /// What there is to say of them, but for what is said of each.
    pub(crate) fn sentences(&self) -> impl Iterator<Item = String> {
        self.trouble.iter().cloned()
    }
}

impl Supervisor {
    /// What is in the files that settings and apps name.
    pub(crate) fn ring_by(&self, settings: &Settings, apps: &BTreeMap<AppName, Wanted>) -> Keyring {
        let apps = apps.values().filter_map(Wanted::app);
        self.keys.ring.read(sources(settings, apps), settings.proxy.tls.client_ca.as_deref())
    }

    /// What the proxy is to know of TLS by that.
    pub(crate) fn tls_by(
        &self,
        settings: &Settings,
        apps: &BTreeMap<AppName, Wanted>,
        ring: &Keyring,
        https: &Https,
    ) -> Option<Rc<Tls>> {
        let client_ca = ring.client_ca().ok().filter(|_| https.is_there())?;
        let now = unix_time();
        let held = || ring.held().iter();
        let good =
            held().filter_map(|(name, held)| Some((name.clone(), Arc::clone(held.good(now)?))));
        let certificates: BTreeMap<_, _> = good.collect();
        let broken = apps.iter().filter(|(_, wanted)| **wanted == Wanted::AsItIs);
        let kept =
            broken.map(|(name, _)| name.to_string()).chain(held().map(|(name, _)| name.clone()));
        let names = certificates.values().flat_map(|pair| &pair.names);
        let names = names.chain(self.keys.obtaining.names(now));
        Some(Rc::new(Tls {
            settings: proxyd_wire::Tls {
                client_ca: client_ca.map(str::to_owned),
                ..settings.proxy.tls.settings.clone()
            },
            coverage: Coverage::of(names),
            acme: self.acme_by(settings, apps, ring),
            kept: kept.filter(|name| !certificates.contains_key(name)).collect(),
            certificates,
            tickets: self.tickets().map(Arc::new),
        }))
    }

    fn acme_by(
        &self,
        settings: &Settings,
        apps: &BTreeMap<AppName, Wanted>,
        ring: &Keyring,
    ) -> wire::Acme {
        let Some(acme) = &settings.acme else { return wire::Acme::default() };
        let apps = apps.values().filter_map(Wanted::app).map(Arc::as_ref);
        let wanted = certificates(Some(acme), apps, &given(ring));
        acme.wire(acme_folder(self.store.folder()), wanted)
    }

    fn tickets(&self) -> Option<Tickets> {
        let secret = tickets::present(&self.hands.run_dir, now().as_secs());
        let secret = secret.inspect_err(|error| {
            warn!("a new proxy does not know the sessions of the one before: {error}");
        });
        let secret = secret.ok()?;
        Some(Tickets { name: tickets::name(&secret)?, secret })
    }

    /// Looks at all of it, and has the proxy know what is new.
    pub(crate) fn look_at_keys(&mut self) {
        if self.winding_down {
            return;
        }
        self.keys.ring = self.ring_by(&self.settings, &self.wanted);
        self.renew_tls();
        self.keep_keys();
    }

    /// The same without looking at any file.
    pub(crate) fn renew_tls(&mut self) {
        let https = &self.surroundings.https;
        let tls = self.tls_by(&self.settings, &self.wanted, &self.keys.ring, https);
        self.take_tls(tls);
    }

    /// Wants the proxy to know this.
    pub(crate) fn take_tls(&mut self, tls: Option<Rc<Tls>>) {
        let before = std::mem::replace(&mut self.surroundings.tls, tls);
        if self.surroundings.tls == before {
            return;
        }
        let nobody = Tls::default();
        let (before, after) =
            (before.as_deref().unwrap_or(&nobody), self.surroundings.tls.as_deref());
        for (name, pair) in after.into_iter().flat_map(|tls| &tls.certificates) {
            if before.certificates.get(name) != Some(pair) {
                let until = super::pair::day(pair.not_after);
                info!("the certificate of {name} is taken over: it is valid until {until}");
            }
        }
        // One that was refused may be another one now.
        self.declined.clear();
        self.wanted.touch_all();
    }

    /// Watches the files, tells what is wrong with them once, and looks again when the time of something is over.
    pub(crate) fn keep_keys(&mut self) {
        if self.settings.acme.is_some()
            && let Some(proxy) = self.wanted_proxy()
            && let Err(error) = make_acme_folder(self.store.folder(), proxy.spec.user.as_ref())
        {
            warn!("the folder for certificates that are obtained cannot be made: {error}");
        }
        let files: BTreeSet<PathBuf> = self.keys.ring.files().map(Into::into).collect();
        let watches = self.keys.watch.as_ref().is_some_and(|watch| !watch.is_finished());
        if files != self.keys.watched || watches == files.is_empty() {
            if let Some(before) = self.keys.watch.take() {
                before.abort();
            }
            self.keys.trouble = None;
            self.keys.watched.clone_from(&files);
            self.keys.watch = (!files.is_empty()).then(|| self.watch_keys(files));
        }
        let doubts: BTreeSet<String> = self.certificate_doubts().collect();
        for doubt in doubts.difference(&self.keys.told) {
            warn!("{doubt}");
        }
        self.keys.told = doubts;
        self.remind_of_keys();
    }

    fn watch_keys(&self, files: BTreeSet<PathBuf>) -> AbortHandle {
        let tell = self.hands.tell.clone();
        let task = tokio::spawn(async move {
            let error = lookout::watch(Watched::Files(files), &tell).await;
            drop(tell.send(Event::KeysUnwatched(error)).await);
        });
        task.abort_handle()
    }

    /// A certificate is over a second after its last.
    fn remind_of_keys(&mut self) {
        if let Some(before) = self.keys.reminder.take() {
            before.abort();
        }
        if self.surroundings.tls.is_none() {
            return;
        }
        let now = unix_time();
        let end = self.keys.ring.next_end(now).map(|end| end.saturating_sub(now).saturating_add(1));
        let end = end.and_then(|left| u64::try_from(left).ok()).map(Duration::from_secs);
        let after = end.unwrap_or(tickets::AGE).min(tickets::AGE);
        let tell = self.hands.tell.clone();
        let task = tokio::spawn(async move {
            tokio::time::sleep(after).await;
            drop(tell.send(Event::KeysTouched).await);
        });
        self.keys.reminder = Some(task.abort_handle());
    }

    /// Nothing more is heard of the files.
    pub(crate) fn lose_keys(&mut self, error: &io::Error) {
        let trouble = format!(
            "the files of certificates cannot be watched: {error}; `bootctl reload` takes new ones over, and tries to watch \
             them again"
        );
        warn!("{trouble}");
        self.keys.trouble = Some(trouble);
        self.keys.watched.clear();
        self.keys.watch = None;
    }

    /// What is to be said against certificates, each with whose it is.
    pub(crate) fn certificate_doubts(&self) -> impl Iterator<Item = String> {
        let now = unix_time();
        let of_pairs = self.keys.ring.held().iter().flat_map(move |(name, held)| {
            let doubts = held.doubts(now).into_iter();
            doubts.map(move |doubt| format!("the certificate of {name}: it {doubt}"))
        });
        let ca = self.keys.ring.client_ca_unfit();
        of_pairs.chain(ca.map(|unfit| format!("proxy.tls.client_ca {unfit}")))
    }
}

/// The hosts that there are given certificates for.
fn given(ring: &Keyring) -> Coverage {
    let now = unix_time();
    let pairs = ring.held().values().filter_map(|held| held.good(now));
    Coverage::of(pairs.flat_map(|pair| &pair.names))
}

/// Where the proxy keeps what it has obtained.
fn acme_folder(state_dir: &Path) -> PathBuf {
    std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.to_owned()).join("acme")
}

/// Makes that folder for the proxy's user, if it is not there.
pub(super) fn make_acme_folder(state_dir: &Path, user: Option<&Account>) -> io::Result<()> {
    let folder = acme_folder(state_dir);
    fs::create_dir_all(state_dir)?;
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    let uid = user.and_then(account::uid).filter(|_| nix::unistd::geteuid().is_root());
    uid.map_or(Ok(()), |uid| lchown(&folder, Some(uid), None))
}

/// In seconds since 1970.
pub(crate) fn unix_time() -> i64 {
    i64::try_from(now().as_secs()).unwrap_or(i64::MAX)
}
