//! The vocabulary of the admin API: what goes over the control socket, and nothing else.

use serde::{Deserialize, Serialize};

/// `GET /status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatusView {
    pub(crate) supervisor: SupervisorView,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) runlevel: Option<RunlevelView>,
    pub(crate) proxy: ProxyView,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) logs: Option<LogsView>,
    /// How other machines reach this API, where they may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) admin: Option<AdminView>,
    pub(crate) apps: Vec<AppView>,
    /// What https clients are shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) certificates: Vec<CertificateView>,
    /// What was wrong with the config when it was last taken over, and why what is on the disk now is not.
    pub(crate) problems: Vec<String>,
    /// What will most likely not work, of a config that was just taken over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<String>,
}

/// bootctl itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct SupervisorView {
    pub(crate) version: String,
    pub(crate) pid: u32,
    pub(crate) uptime_ms: u64,
    /// Whether init answers.
    pub(crate) connected: bool,
    pub(crate) winding_down: bool,
}

/// The runlevel.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunlevelView {
    pub(crate) level: u8,
    /// The one that is on its way.
    pub(crate) next: Option<u8>,
    /// How far it is.
    pub(crate) doing: Option<String>,
    /// Why the last one that was asked for was not reached, or what went wrong on the way.
    pub(crate) trouble: Option<String>,
}

/// The proxy.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProxyView {
    pub(crate) state: ProxyState,
    pub(crate) pid: Option<u32>,
    pub(crate) listen: String,
    /// Where it listens for https, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tls_listen: Option<String>,
    pub(crate) why: Option<String>,
    /// Its jobs, the oldest first: a new one comes before an old one goes.
    #[serde(default)]
    pub(crate) generations: Vec<GenerationView>,
}

/// One generation of the proxy.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct GenerationView {
    pub(crate) job: String,
    pub(crate) state: ProxyState,
    pub(crate) pid: Option<u32>,
    pub(crate) why: String,
}

/// A certificate that the proxy shows, or is to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct CertificateView {
    /// The app's name; `proxyd` is that of `[proxy.tls]`.
    pub(crate) name: String,
    pub(crate) state: CertificateState,
    /// Those that it is made out to.
    pub(crate) hosts: Vec<String>,
    pub(crate) issuer: Option<String>,
    /// Until when it is valid, in seconds since 1970.
    pub(crate) not_after: Option<i64>,
    /// What is to be done about it, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) why: Vec<String>,
}

/// Where a certificate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum CertificateState {
    /// There is none.
    Missing,
    /// There is none yet, and somebody is asked for it.
    Obtaining,
    Valid,
    /// It is valid, and not for long.
    Expiring,
    Expired,
}

/// What becomes of what apps write.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct LogsView {
    pub(crate) state: LogsState,
    pub(crate) folder: String,
    pub(crate) why: Option<String>,
}

/// How it stands with that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogsState {
    Collected,
    Starting,
    /// The collector runs and cannot write.
    Failing,
    Down,
}

/// The admin API over the network.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct AdminView {
    pub(crate) state: AdminState,
    pub(crate) listen: String,
    /// What its certificate is known by.
    pub(crate) fingerprint: Option<String>,
    pub(crate) why: Option<String>,
}

/// How it stands with that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum AdminState {
    Open,
    Starting,
    Down,
}

impl AdminState {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Starting => "starting",
            Self::Down => "down",
        }
    }
}

/// Where the proxy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum ProxyState {
    Ready,
    Starting,
    /// It finishes what it has begun, and takes nothing new.
    Draining,
    Down,
}

/// `GET /apps/:app`, and the answer to what is done to one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct AppView {
    pub(crate) app: String,
    pub(crate) state: AppState,
    /// How many instances are wanted.
    pub(crate) wanted: u32,
    pub(crate) hosts: Vec<String>,
    /// What stands between it and what is wanted.
    pub(crate) why: Option<String>,
    /// The last lines of the instance for which its last change was given up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) log: Vec<String>,
    /// The release that it is to run from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) release: Option<u32>,
    /// One that is built, and not deployed yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) staged: Option<u32>,
    /// What is done for its next release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) working: Option<String>,
    /// What has become of the last command that was run for one, if it has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) notice: Option<String>,
    /// Requests that the proxy has answered for it since it was started; told to whoever asks with `?requests`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) requests: Option<u64>,
    /// Whether the proxy answers instead of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) maintenance: bool,
    pub(crate) instances: Vec<InstanceView>,
}

/// Where an app stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum AppState {
    /// All as wanted.
    Running,
    /// On its way there.
    Changing,
    /// Its start waits for another app.
    Waiting,
    /// It will not get there by itself.
    Failed,
    /// Stopped by the administrator.
    Stopped,
    /// Zero instances are wanted.
    Parked,
    /// What runs is left as it is: its file is broken or gone, or its last change was given up.
    Held,
}

/// One instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct InstanceView {
    pub(crate) instance: u32,
    /// The job's id.
    pub(crate) job: String,
    pub(crate) state: InstanceState,
    pub(crate) pid: Option<u32>,
    pub(crate) port: Option<u16>,
    /// The path of its socket, if it has no port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) socket: Option<String>,
    pub(crate) uptime_ms: Option<u64>,
    /// Processor time since it was started, if init knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_ms: Option<u64>,
    /// Memory that it has now, as `GET /job/{id}/stats` of init's counts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) memory_bytes: Option<u64>,
    /// How many times init has started it again.
    pub(crate) restarts: u32,
    pub(crate) why: String,
}

/// Where an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum InstanceState {
    /// It is not ready yet.
    Starting,
    Ready,
    /// It was ready and does not answer any more, or has had its time.
    Unhealthy,
    /// It has ended, and is started again after a while.
    Backoff,
    /// It has ended, and is not to be started again.
    Failed,
    /// It was started again as often as it may be.
    Fatal,
    Stopping,
    /// It has ended with 0, and is not to be started again.
    Stopped,
}

/// `GET /plan`: what a reload would change.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct PlanView {
    /// Whether all is as the config says.
    pub(crate) nothing: bool,
    /// What `bootctl.toml` says otherwise.
    pub(crate) settings: Vec<KeyChangeView>,
    /// Apps that change, or whose instances would.
    pub(crate) apps: Vec<AppPlan>,
    /// Whether a new generation of the proxy takes over.
    pub(crate) proxy_takes_over: bool,
    /// What the proxy would be told, targets aside.
    pub(crate) proxy_is_told: Vec<String>,
    /// What will most likely not work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<String>,
}

/// What would become of one app.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct AppPlan {
    pub(crate) app: String,
    /// `added`, `removed`, `changed` or `unchanged`.
    pub(crate) change: String,
    pub(crate) keys: Vec<KeyChangeView>,
    /// Instances that others take the place of.
    pub(crate) replaces: Vec<String>,
    pub(crate) retires: Vec<String>,
    /// How many are started that replace none.
    pub(crate) starts: usize,
}

/// A key with its old and its new value as TOML; those of secrets are not shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct KeyChangeView {
    pub(crate) key: String,
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
}

/// The body of every error answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Refusal {
    /// A stable word for programs.
    pub(crate) error: String,
    /// A sentence for people: what happened, where, and what to do.
    pub(crate) message: String,
    /// One sentence each, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) problems: Vec<String>,
    /// The last lines of what a failed instance has written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) log: Vec<String>,
    /// The exit code of a command that was run and has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) exit: Option<u8>,
}

impl AppView {
    /// Its instances with their places; of one that is files only there is none.
    pub(crate) fn places(&self) -> String {
        if self.instances.is_empty() && self.state == AppState::Running {
            return "its files are served by the proxy".into();
        }
        let all = self.instances.iter().map(|i| format!("{} on {}", i.job, i.place()));
        all.collect::<Vec<_>>().join(", ")
    }
}

impl InstanceView {
    /// Where it listens: the port, or the path of its socket.
    pub(crate) fn place(&self) -> String {
        let port = self.port.map(|port| port.to_string());
        port.or_else(|| self.socket.clone()).unwrap_or_default()
    }
}

impl InstanceState {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Unhealthy => "unhealthy",
            Self::Backoff => "backoff",
            Self::Failed => "failed",
            Self::Fatal => "fatal",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

impl AppState {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Changing => "changing",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Parked => "parked",
            Self::Held => "held",
        }
    }
}

impl CertificateState {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Obtaining => "obtaining",
            Self::Valid => "valid",
            Self::Expiring => "expiring",
            Self::Expired => "expired",
        }
    }
}

impl LogsState {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Collected => "collected",
            Self::Starting => "starting",
            Self::Failing => "failing",
            Self::Down => "down",
        }
    }
}

impl ProxyState {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Draining => "draining",
            Self::Down => "down",
        }
    }
}
