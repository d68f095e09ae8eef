//! An app as the administrator declares it, and the job that each of its instances is.
//!
//! Whether a job is ours is written in the job itself: `BOOTCTL_APP` and `BOOTCTL_INSTANCE` in its
//! environment, and a place. So a bootctl that starts anew knows all of its jobs from init alone.

use std::collections::BTreeMap;
use std::time::Duration;

use init_wire::{Account, JobSpec, Restart, Stdio, Stop};

use crate::confinement::Confinement;
use crate::health::Check;
use crate::logs::keeping::AppLog;
use crate::name::{AppName, Host, InstanceId, Port};
use crate::order::Revision;
use crate::place::{Place, PlaceKind};
use crate::release::Rules;
use crate::runlevel::Levels;
use crate::site::Site;
use crate::tls::AppTls;

/// The app's name in the environment of its instances.
pub(crate) const ENV_APP: &str = "BOOTCTL_APP";
/// The instance's number.
pub(crate) const ENV_INSTANCE: &str = "BOOTCTL_INSTANCE";
/// How often the app was restarted, if it was.
pub(crate) const ENV_REVISION: &str = "BOOTCTL_REVISION";
/// Where programs are looked for when the app's `[env]` does not say.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long a new instance may take to get ready when its app's `[deploy]` does not say.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// One app file, checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct App {
    pub(crate) name: AppName,
    /// Empty: it is files only, and nothing runs.
    pub(crate) exec: String,
    pub(crate) args: Vec<String>,
    pub(crate) cwd: Option<String>,
    pub(crate) user: Option<Account>,
    pub(crate) group: Option<Account>,
    /// 0 is parked: it keeps its hosts and runs nothing.
    pub(crate) instances: u32,
    pub(crate) alias: Vec<Host>,
    /// Where the search for a free port begins, if it is not where it does for all.
    pub(crate) port: Option<Port>,
    /// What its instances listen on.
    pub(crate) socket: PlaceKind,
    /// The whole environment but for what differs from instance to instance.
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) health: Check,
    pub(crate) restart: Restart,
    pub(crate) stop: Stop,
    /// What it is given to finish before an instance is stopped.
    pub(crate) drain: Drain,
    pub(crate) confinement: Confinement,
    /// What the proxy is told of it.
    pub(crate) site: Site,
    /// What becomes of what it writes.
    pub(crate) log: AppLog,
    /// Its start waits for these, unless they will not come.
    pub(crate) after: Vec<AppName>,
    /// Its start waits for these.
    pub(crate) requires: Vec<AppName>,
    /// How long a new instance may take to get ready.
    pub(crate) patience: Duration,
    /// How its releases are made and judged.
    pub(crate) deploy: Rules,
    /// At which it runs.
    pub(crate) runlevels: Levels,
    /// How it is reached by https.
    pub(crate) tls: AppTls,
}

/// No number in it is none: the keys that have fractions have bounds.
impl Eq for App {}

/// How long what is in flight may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Drain {
    pub(crate) requests: Duration,
    /// `WebSocket`s, streams of events, and what else does not end by itself.
    pub(crate) streams: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { requests: Duration::from_secs(10), streams: Duration::from_secs(30) }
    }
}

impl App {
    /// The job of one instance, in a revision of the app.
    pub(crate) fn job(&self, number: u32, place: &Place, revision: Revision) -> JobSpec {
        let mut envs = self.env.clone();
        envs.insert(ENV_APP.into(), self.name.to_string());
        envs.insert(ENV_INSTANCE.into(), number.to_string());
        if !revision.is_first() {
            envs.insert(ENV_REVISION.into(), revision.to_string());
        }
        let output = || if self.log.capture.is_some() { Stdio::Log } else { Stdio::Inherit };
        let mut spec = JobSpec {
            args: self.args.clone(),
            cwd: self.cwd.clone(),
            envs,
            user: self.user.clone(),
            group: self.group.clone(),
            restart: self.restart.clone(),
            stop: self.stop.clone(),
            stdout: output(),
            stderr: output(),
            log: self.log.capture.clone().unwrap_or_default(),
            ..JobSpec::new(self.exec.clone())
        };
        self.confinement.apply(&mut spec);
        self.health.note(&mut spec);
        place.equip(&mut spec);
        spec
    }

    /// Whether the proxy answers for it by itself.
    pub(crate) fn is_files(&self) -> bool {
        self.exec.is_empty()
    }

    /// All apps that it waits for.
    pub(crate) fn names(&self) -> impl Iterator<Item = &AppName> {
        self.after.iter().chain(&self.requires)
    }

    /// All hosts that it answers for: none if nobody is sent there.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &Host> {
        let is_asked = self.socket != PlaceKind::Nowhere;
        std::iter::once(self.name.host()).chain(&self.alias).filter(move |_| is_asked)
    }
}

/// Which instance a job is, and in which place: `None` for a job that is not ours.
pub(crate) fn identify(id: &str, spec: &JobSpec) -> Option<(InstanceId, Place)> {
    let app = AppName::parse(spec.envs.get(ENV_APP)?).ok()?;
    let number = spec.envs.get(ENV_INSTANCE)?.parse().ok()?;
    let place = Place::of(spec)?;
    let instance = InstanceId::new(app, number);
    (instance.to_string() == id).then_some((instance, place))
}

#[cfg(test)]
pub(crate) fn sample(name: &str, instances: u32) -> App {
    App {
        name: AppName::parse(name).expect("a good name"),
        exec: "server".into(),
        args: Vec::new(),
        cwd: None,
        user: None,
        group: None,
        instances,
        alias: Vec::new(),
        port: None,
        socket: PlaceKind::Port,
        env: BTreeMap::new(),
        health: Check::default(),
        restart: Restart::default(),
        stop: Stop::default(),
        drain: Drain::default(),
        confinement: Confinement::default(),
        site: Site::default(),
        log: AppLog::default(),
        after: Vec::new(),
        requires: Vec::new(),
        patience: PATIENCE,
        deploy: Rules::default(),
        runlevels: Levels::default(),
        tls: AppTls::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_tells_whose_it_is() {
        let app = sample("shop.example", 2);
        let place = Place::Port(Port::new(9001).expect("not 0"));
        let spec = app.job(2, &place, Revision::default());
        let (id, seen) = identify("shop.example.2", &spec).expect("ours");
        assert_eq!((id.number, seen), (2, place));
        assert_eq!(id.app, app.name);
    }

    #[test]
    fn a_job_that_only_looks_like_ours_is_not() {
        let app = sample("shop.example", 2);
        let place = Place::Port(Port::new(9001).expect("not 0"));
        let spec = app.job(2, &place, Revision::default());
        assert_eq!(identify("shop.example.3", &spec), None);
        assert_eq!(identify("shop.example.1", &JobSpec::new("server")), None);
    }
}
