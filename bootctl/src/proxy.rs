//! proxyd: the job it is, and its control API. Nobody else in bootctl knows the latter.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use http::{Method, StatusCode};
use init_wire::{Account, FdSpec, JobSpec, Log, Policy, Restart, Stdio, Stop};
use proxyd_wire::{
    AcmePlaced, AcmeView, Changes, Drained, ErrorBody, ServiceView, State, Target, TargetView,
};

use crate::app::Drain;
use crate::config::{Proxy, Settings};
use crate::generation::{ENV_MARK, Generation, WantedProxy};
use crate::http::{Answer, HttpError, Server};
use crate::name::InstanceId;
use crate::plan::{Push, Table, certificate, key};
use crate::tls;

/// How long the proxy may take for what needs no waiting.
const QUICK: Duration = Duration::from_secs(5);
/// How long it is waited for news of certificates, until it is asked again.
const FOLLOWED: Duration = Duration::from_secs(30);
/// How much longer than its grace the proxy may take to end.
const STOP_SLACK: Duration = Duration::from_secs(5);

/// How much init keeps of what it writes.
const KEPT: u32 = 1 << 20;

/// Why the proxy did not do as it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("proxyd cannot be asked: {0}")]
    Unreachable(#[from] HttpError),
    #[error("proxyd refused ({0}): {1}")]
    Refused(StatusCode, String),
}

/// The proxy that the settings ask for. `build` tells one program of the same name from another.
/// `https` is where it listens for TLS.
pub(crate) fn wanted(
    settings: &Settings,
    https: Option<SocketAddr>,
    (exec, build): (&str, &str),
    run_dir: &Path,
) -> WantedProxy {
    let proxy = &settings.proxy;
    let seconds = |time: Duration| time.as_secs().to_string();
    let mut args = vec!["--access-log".to_owned(), proxy.access_log.clone(), "--wait".into()];
    if proxy.access_log_format != "combined" {
        args.extend(["--access-log-format".to_owned(), proxy.access_log_format.clone()]);
    }
    args.extend(["--grace".to_owned(), seconds(proxy.grace)]);
    args.extend(["--stream-grace".to_owned(), seconds(proxy.stream_grace)]);
    if let Some(workers) = proxy.workers {
        args.extend(["--workers".to_owned(), workers.to_string()]);
    }
    let patience = proxy.grace.max(proxy.stream_grace) + STOP_SLACK;
    let patience = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
    let spec = JobSpec {
        args,
        envs: [(ENV_MARK.to_owned(), build.to_owned())].into(),
        user: proxy.user.clone().or_else(unprivileged),
        fds: listeners(proxy, https),
        stdout: Stdio::Log,
        stderr: Stdio::Log,
        // A line a request comes in bursts.
        log: Log { bytes: KEPT, ..Log::default() },
        stop: Stop { timeout_ms: patience, ..Stop::default() },
        restart: Restart {
            policy: Policy::Always,
            delay_ms: 10,
            // Clients wait meanwhile: one that dies again and again is tried again soon.
            max_delay_ms: 1000,
            reset_after_ms: 2000,
            ..Restart::default()
        },
        ..JobSpec::new(exec)
    };
    WantedProxy { spec, run_dir: run_dir.to_owned(), outdated: None }
}

/// What changes with the program: its size, and when it was written.
pub(crate) fn build(exec: &str) -> String {
    let Ok(about) = std::fs::metadata(exec) else { return "unknown".into() };
    format!("{}-{}.{:09}", about.len(), about.mtime(), about.mtime_nsec())
}

/// All generations have the same, so none is closed while another one takes over.
fn listeners(proxy: &Proxy, https: Option<SocketAddr>) -> Vec<FdSpec> {
    let http = FdSpec::new("http", listen(proxy.listen));
    let https = https.map(|address| FdSpec::new(tls::LISTENER, listen(address)));
    let monitor = proxy.monitor.map(|address| FdSpec::new("monitor", listen(address)));
    [http].into_iter().chain(https).chain(monitor).collect()
}

fn listen(address: SocketAddr) -> String {
    format!("tcp:{address}")
}

/// nobody, where bootctl could make it so. The proxy needs no rights: its sockets are init's.
fn unprivileged() -> Option<Account> {
    let root = nix::unistd::geteuid().is_root();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let there = users.lines().any(|line| line.starts_with("nobody:"));
    (root && there).then(|| Account::Name("nobody".into()))
}

/// A way to a generation of the proxy.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    server: Server,
}

impl Control {
    pub(crate) fn of(generation: Generation, run_dir: &Path) -> Self {
        Self { server: Server::Unix(generation.socket(run_dir)) }
    }

    /// What it has now.
    pub(crate) async fn table(&self) -> Result<Table, ProxyError> {
        let answer = self.ask(Method::GET, "/state", None::<&()>, QUICK).await?;
        let state: State = judged(answer)?.json()?;
        let State { front, serving, routes, services, tls, certificates, acme, tickets, .. } =
            state;
        let known_by = certificates.into_iter().map(|(name, view)| (name, view.chain_fingerprint));
        let mut table = Table {
            front: Box::new(front),
            routes,
            serving,
            tls: Box::new(tls),
            certificates: known_by.collect(),
            acme: Box::new(acme),
            tickets,
            ..Table::default()
        };
        for (service, view) in services {
            for (target, view) in view.targets.into_iter().filter(|(_, view)| !view.retired) {
                let TargetView { address, weight, max_in_flight, group, .. } = view;
                let there = Target { address, weight, max_in_flight, group };
                table.targets.insert((service.clone(), target), there);
            }
            if let Some(answer) = view.maintenance {
                table.maintenance.insert(service.clone(), answer);
            }
            table.services.insert(service, view.settings);
        }
        Ok(table)
    }

    /// How it stands with certificates that are obtained: as soon as that is another thing than what was told as
    /// `after`, or after a while.
    pub(crate) async fn acme(&self, after: Option<u64>) -> Result<AcmeView, ProxyError> {
        let query = after.map(|after| format!("?after={after}&wait_ms={}", FOLLOWED.as_millis()));
        let path = format!("/acme{}", query.unwrap_or_default());
        let answer = self.ask(Method::GET, &path, None::<&()>, FOLLOWED + QUICK).await?;
        Ok(judged(answer)?.json()?)
    }

    /// Tells what has become of a record that it wants to see.
    pub(crate) async fn place(&self, record: &str, placed: &AcmePlaced) -> Result<(), ProxyError> {
        let path = format!("/acme/challenges/{record}");
        judged(self.ask(Method::PUT, &path, Some(placed), QUICK).await?).map(drop)
    }

    /// How many requests each host has had since it was started.
    pub(crate) async fn requests(&self) -> Result<BTreeMap<String, u64>, ProxyError> {
        let answer = judged(self.ask(Method::GET, "/metrics", None::<&()>, QUICK).await?)?;
        Ok(counted(&String::from_utf8_lossy(&answer.body)))
    }

    /// How many requests and streams a target has begun and not ended.
    pub(crate) async fn in_flight(&self, id: &InstanceId) -> Result<u64, ProxyError> {
        let (service, target) = key(id);
        let path = format!("/services/{service}");
        let answer = self.ask(Method::GET, &path, None::<&()>, QUICK).await?;
        // It shows those that are retired, too.
        let view: ServiceView = judged(answer)?.json()?;
        Ok(view.targets.get(&target).map_or(0, |target| target.in_flight))
    }

    /// Makes several changes as one, or none of them.
    pub(crate) async fn amend(&self, changes: &Changes) -> Result<(), ProxyError> {
        judged(self.ask(Method::PATCH, "/config", Some(changes), QUICK).await?).map(drop)
    }

    /// Makes one change; to remove what is not there is done already.
    pub(crate) async fn push(&self, push: &Push) -> Result<(), ProxyError> {
        let (path, body) = match push {
            Push::Front(front) => ("/front".to_owned(), Some(json(front)?)),
            Push::Route { route, to } => (format!("/routes/{route}"), Some(json(to)?)),
            Push::NoRoute { route } => (format!("/routes/{route}"), None),
            Push::Service { service, settings } => {
                (format!("/services/{service}"), Some(json(settings)?))
            }
            Push::NoService { service } => (format!("/services/{service}?grace_ms=0"), None),
            Push::Maintenance { service, answer } => {
                (format!("/services/{service}/maintenance"), Some(json(answer)?))
            }
            Push::NoMaintenance { service } => (format!("/services/{service}/maintenance"), None),
            Push::Target { id, target } => {
                (format!("/services/{}/targets/{id}", id.app), Some(json(target)?))
            }
            Push::NoTarget { service, target } => {
                (format!("/services/{service}/targets/{target}?grace_ms=0"), None)
            }
            Push::Tls(tls) => ("/tls".to_owned(), Some(json(tls)?)),
            Push::Certificate { name, pair } => {
                (format!("/certificates/{name}"), Some(json(&certificate(pair))?))
            }
            Push::NoCertificate { name } => (format!("/certificates/{name}"), None),
            Push::Acme(acme) => ("/acme".to_owned(), Some(json(acme)?)),
            Push::Tickets(tickets) => ("/tickets".to_owned(), Some(json(&tickets.secret)?)),
            Push::Open => {
                let answer = self.ask(Method::PUT, "/door", None::<&()>, QUICK).await?;
                return judged(answer).map(drop);
            }
        };
        let removal = body.is_none();
        let method = if removal { Method::DELETE } else { Method::PUT };
        let answer = self.ask(method, &path, body.as_ref(), QUICK).await?;
        if removal && answer.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        judged(answer).map(drop)
    }

    /// Takes a target away. Returns when its requests are answered and its streams are over, or how many
    /// are left when the grace of each is over.
    pub(crate) async fn drain(&self, id: &InstanceId, drain: Drain) -> Result<u64, ProxyError> {
        let (service, target) = key(id);
        let Drain { requests, streams } = drain;
        let (grace, stream_grace) = (requests.as_millis(), streams.as_millis());
        let query = format!("grace_ms={grace}&stream_grace_ms={stream_grace}");
        let path = format!("/services/{service}/targets/{target}?{query}");
        let within = requests.max(streams) + QUICK;
        let answer = self.ask(Method::DELETE, &path, None::<&()>, within).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(0);
        }
        let drained: Drained = judged(answer)?.json()?;
        Ok(drained.left + drained.streams)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl serde::Serialize>,
        within: Duration,
    ) -> Result<Answer, HttpError> {
        self.server.ask(method, path, body, within).await
    }
}

fn json(value: &impl serde::Serialize) -> Result<serde_json::Value, ProxyError> {
    Ok(serde_json::to_value(value).map_err(HttpError::from)?)
}

fn judged(answer: Answer) -> Result<Answer, ProxyError> {
    if answer.status.is_success() {
        return Ok(answer);
    }
    let message = answer.json::<ErrorBody>().map_or_else(|e| e.to_string(), |body| body.message);
    Err(ProxyError::Refused(answer.status, message))
}

/// What metrics tell of requests: `proxyd_requests_total{route="shop.example/admin",class="2xx"} 7`.
fn counted(metrics: &str) -> BTreeMap<String, u64> {
    let mut hosts = BTreeMap::new();
    for line in metrics.lines() {
        let Some(rest) = line.strip_prefix("proxyd_requests_total{route=\"") else { continue };
        let (Some((route, _)), Some((_, count))) = (rest.split_once('"'), rest.rsplit_once(' '))
        else {
            continue;
        };
        let host = route.split('/').next().unwrap_or_default().to_owned();
        *hosts.entry(host).or_default() += count.parse().unwrap_or(0);
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_host() {
        let metrics = "# HELP proxyd_requests_total x\n\
                       proxyd_requests_total{route=\"a\",class=\"2xx\"} 7\n\
                       proxyd_requests_total{route=\"a/admin\",class=\"5xx\"} 2\n\
                       proxyd_requests_total{route=\"\",class=\"4xx\"} 1\n\
                       proxyd_target_in_flight{service=\"a\",target=\"a.1\"} 3\n";
        let hosts = counted(metrics);
        assert_eq!((hosts.get("a"), hosts.get("b")), (Some(&9), None));
    }
}
