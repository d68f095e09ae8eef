//! What is wanted, from what the config says and what is recorded of each app.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use init_wire::{FdSpec, JobSpec};

use crate::app::{App, DEFAULT_PATH};
use crate::collecting;
use crate::config::{Config, Settings};
use crate::generation::{self, WantedProxy};
use crate::last_good;
use crate::name::AppName;
use crate::order::Order;
use crate::plan::{Desired, Precedence, Wanted};
use crate::proxy;
use crate::record::Held;
use crate::supervise::Supervisor;
use crate::tls::{Https, Keyring, Tls};
use crate::wanted::Apps;

/// Below the runtime folder: the apps' sockets.
const SOCKETS: &str = "apps";

/// What is wanted beside the apps, as the config says that was taken over last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    proxy: Option<WantedProxy>,
    collector: Option<Arc<JobSpec>>,
    pub(crate) https: Https,
    pub(crate) tls: Option<Rc<Tls>>,
}

impl Supervisor {
    /// Makes a config what is wanted.
    pub(crate) fn take_over(&mut self, config: Config) {
        let Config { mut settings, apps, broken, declared, problems, .. } = config;
        self.problems = problems.iter().map(ToString::to_string).collect();
        self.declared = declared;
        if self.makeshift.is_none() {
            last_good::keep(&self.hands.run_dir, self.declared.main());
        }
        self.fixed.apply(&mut settings);
        if settings != self.settings {
            self.settings = settings;
            self.wanted.touch_all();
        }
        for app in apps.values() {
            self.drop_old_note(app);
        }
        let running = apps.into_iter().map(|(name, app)| {
            let wanted = self.as_recorded(&name, app);
            (name, wanted)
        });
        let held = broken.into_iter().map(|name| (name, Wanted::AsItIs));
        self.wanted.replace(running.chain(held).collect());
        self.roster.forgive_all();
        self.proxy_trouble = None;
        if self.declined.clear() {
            // What was refused is told once more.
            self.wanted.touch_all();
        }
        self.keys.ring = self.ring_by(&self.settings, &self.wanted);
        let surroundings = self.surroundings_by(&self.settings, &self.wanted, &self.keys.ring);
        let tls = surroundings.tls.clone();
        self.surroundings = Surroundings { tls: self.surroundings.tls.take(), ..surroundings };
        self.take_tls(tls);
        self.keep_keys();
        self.keep_watch();
    }

    /// An app whose file is fine, as it is wanted.
    pub(crate) fn as_recorded(&self, name: &AppName, app: Arc<App>) -> Wanted {
        let record = self.store.record(name);
        if record.stopped || !self.runlevel.has(app.runlevels) {
            return Wanted::Stopped(app);
        }
        let revision = record.revision;
        let release = self.housing(name, record.releases.current);
        let order = Order { app, revision, release, held: false };
        let is_it = |held: &Held| held.revision == revision && held.spec == order.digest();
        let held = record.held.as_ref().is_some_and(is_it);
        Wanted::Running(Order { held, ..order })
    }

    /// Everything that is wanted now.
    pub(crate) fn desired(&self) -> Desired {
        if self.winding_down {
            return Desired { precedence: self.precedence(), ..Desired::default() };
        }
        let surroundings = self.surroundings.clone();
        let mut desired = self.desired_by(self.wanted.clone(), &self.settings, surroundings);
        if !self.runlevel.is_public() {
            self.close(&mut desired);
        }
        desired
    }

    /// What would be wanted by other apps and settings.
    pub(crate) fn desired_by(
        &self,
        apps: Apps,
        settings: &Settings,
        surroundings: Surroundings,
    ) -> Desired {
        let Surroundings { proxy, collector, https, tls } = surroundings;
        Desired {
            apps,
            proxy: proxy.map(|proxy| self.as_it_stands(proxy, &https)),
            collector,
            first_port: Some(settings.first_port),
            sockets: self.hands.run_dir.join(SOCKETS),
            precedence: Precedence::new(),
            front: settings.proxy.front.clone(),
            origin: settings.proxy.origin(https.address),
            tls,
        }
    }

    /// The proxy and the collector that settings and apps ask for.
    pub(crate) fn surroundings_by(
        &self,
        settings: &Settings,
        apps: &BTreeMap<AppName, Wanted>,
        ring: &Keyring,
    ) -> Surroundings {
        let exec = self.program_of(settings);
        let build = proxy::build(&exec);
        let https = Https::of(settings, apps, ring);
        let run_dir = &self.hands.run_dir;
        let proxy = proxy::wanted(settings, https.address, (&exec, &build), run_dir);
        let collector = || collecting::wanted(&self.fixed.collector, &settings.logs, apps);
        let collector = (!self.is_least()).then(collector).map(Arc::new);
        let tls = self.tls_by(settings, apps, ring, &https);
        Surroundings { proxy: Some(proxy), collector, https, tls }
    }

    /// The proxy as long as nothing winds down.
    pub(crate) fn wanted_proxy(&self) -> Option<WantedProxy> {
        let proxy = self.surroundings.proxy.clone().filter(|_| !self.winding_down);
        proxy.map(|proxy| self.as_it_stands(proxy, &self.surroundings.https))
    }

    /// The proxy with what only those that are there can tell: since when it is outdated, and whether it has a listener
    /// that is not to be closed by a mistake in some app's file.
    fn as_it_stands(&self, mut proxy: WantedProxy, https: &Https) -> WantedProxy {
        let observed = self.roster.observed();
        let has = |fd: &&FdSpec| observed.proxies.values().any(|seen| seen.spec.fds.contains(fd));
        if let Some(fd) = https.doubtful.as_ref().filter(has) {
            let behind = proxy.spec.fds.len().min(1);
            proxy.spec.fds.insert(behind, fd.clone());
        }
        WantedProxy { outdated: self.proxy_outdated, ..proxy }
    }

    /// Whom each app names.
    pub(crate) fn precedence(&self) -> Precedence {
        let apps = self.wanted.values().filter_map(Wanted::app);
        apps.map(|app| (app.name.clone(), app.names().cloned().collect())).collect()
    }

    fn program_of(&self, settings: &Settings) -> String {
        let exec = self.fixed.proxyd.clone().or_else(|| settings.proxy.exec.clone());
        exec.unwrap_or_else(default_proxyd)
    }
}

/// The proxyd next to bootctl, else the one in the default path.
fn default_proxyd() -> String {
    let own = std::env::current_exe().ok();
    let folders = own.as_deref().and_then(Path::parent).into_iter();
    let system = DEFAULT_PATH.split(':').map(Path::new);
    let mut paths = folders.chain(system).map(|folder| folder.join(generation::JOB));
    let found = paths.find(|path| path.is_file());
    found.map_or_else(|| generation::JOB.to_owned(), |path| path.to_string_lossy().into_owned())
}
