//! What a monitor and a load balancer ask; see [`super`] for the rest.
//!
//! | method, path | does | answers |
//! |---|---|---|
//! | `GET /metrics` | all figures, in the Prometheus text format | 200 |
//! | `GET /probe` | tells whether clients may be sent to this machine | 200; 503 while the proxy does not serve, at another runlevel than a public one, on the way to one, and while all winds down |
//! | `GET /probe/{app}` | the same of one app | 200; 503 also while it is under maintenance or no instance of it is ready; 404 |
//!
//! What can be counted has a name that ends in `_total`; what has several values has one row a value, of which the true
//! one is 1.

use std::fmt::{self, Write};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use tokio::sync::oneshot;

use super::asked::Named;
use super::route::{Gives, Route};
use super::wire::{
    AppState, AppView, CertificateState, CertificateView, InstanceState, LogsState, ProxyState,
    StatusView,
};
use super::{Door, Usage, refused, whole};
use crate::event::{Ask, Event, Reply, Verb};
use crate::name::quoted;
use crate::runlevel::Level;

/// All that may be asked here.
pub(super) const ROUTES: &[Route] = &[
    Route::look("GET /metrics", "all figures, in the Prometheus text format", Gives::Text),
    Route::look("GET /probe", "tells whether clients may be sent to this machine", Gives::Text)
        .refusing(&[503]),
    Route::look("GET /probe/{app}", "the same of one app", Gives::Text).refusing(&[503, 404]),
];

const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn routes() -> Router<Door> {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/probe", get(probe))
        .route("/probe/{app}", get(probe_app))
}

async fn status(door: &Door) -> Result<StatusView, Response> {
    let (reply, answer) = oneshot::channel();
    let ask = Ask { verb: Verb::Status, within: None, reply, steps: None };
    drop(door.send(Event::Ask(ask)).await);
    match answer.await {
        Ok(Reply::Status(view)) => Ok(*view),
        other => Err(whole(other)),
    }
}

async fn metrics(State(door): State<Door>, Extension(usage): Extension<Usage>) -> Response {
    match status(&door).await {
        Ok(mut view) => {
            usage.fill(&mut view.apps).await;
            ([(header::CONTENT_TYPE, FORMAT)], text(&view)).into_response()
        }
        Err(response) => response,
    }
}

async fn probe(State(door): State<Door>) -> Response {
    match status(&door).await {
        Ok(view) => answered(machine(&view)),
        Err(response) => response,
    }
}

async fn probe_app(State(door): State<Door>, Named(name): Named<String>) -> Response {
    let view = match status(&door).await {
        Ok(view) => view,
        Err(response) => return response,
    };
    let Some(app) = view.apps.iter().find(|app| app.app == name) else {
        let message = format!("there is no app {}", quoted(&name));
        return refused(StatusCode::NOT_FOUND, "unknown_app", &message);
    };
    answered(machine(&view).or_else(|| one(app)))
}

fn answered(trouble: Option<String>) -> Response {
    match trouble {
        None => (StatusCode::OK, "ok\n").into_response(),
        Some(why) => refused(StatusCode::SERVICE_UNAVAILABLE, "not_ready", &why),
    }
}

/// Why no clients may be sent here.
fn machine(view: &StatusView) -> Option<String> {
    if view.supervisor.winding_down {
        return Some("bootctl is winding down".into());
    }
    if let Some(runlevel) = &view.runlevel {
        let is_public = Level::new(runlevel.level.into()).is_some_and(Level::is_public);
        if let Some(next) = runlevel.next {
            return Some(format!("runlevel {next} is on its way"));
        }
        if !is_public {
            return Some(format!("at runlevel {} nobody is let in", runlevel.level));
        }
    }
    (view.proxy.state != ProxyState::Ready).then(|| "the proxy does not serve".into())
}

/// Why no clients may be sent to an app.
fn one(app: &AppView) -> Option<String> {
    let name = &app.app;
    if app.maintenance {
        return Some(format!("{name} is under maintenance"));
    }
    let is_ready = app.instances.iter().any(|it| it.state == InstanceState::Ready);
    (!is_ready).then(|| format!("no instance of {name} is ready"))
}

/// A page under way.
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP bootctl_{name} {help}\n# TYPE bootctl_{name} {kind}\n");
    }

    fn row(&mut self, name: &str, labels: &[(&str, &str)], value: impl fmt::Display) {
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        let labels =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "bootctl_{name}{labels} {value}");
    }

    fn single(&mut self, name: &str, help: &str, value: impl fmt::Display) {
        self.family(name, "gauge", help);
        self.row(name, &[], value);
    }
}

/// As the format wants it.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// All figures.
fn text(view: &StatusView) -> String {
    let mut page = Page(String::new());
    let supervisor = &view.supervisor;
    page.family("info", "gauge", "The version of bootctl.");
    page.row("info", &[("version", &supervisor.version)], 1);
    page.single("uptime_seconds", "Since bootctl was started.", seconds(supervisor.uptime_ms));
    page.single("init_connected", "Whether init answers.", u8::from(supervisor.connected));
    page.single("problems", "What is wrong with the config.", view.problems.len());
    if let Some(runlevel) = &view.runlevel {
        page.single("runlevel", "The runlevel that holds.", runlevel.level);
    }
    let is_ready = view.proxy.state == ProxyState::Ready;
    page.single("proxy_ready", "Whether the proxy serves.", u8::from(is_ready));
    page.single("proxy_generations", "Processes of the proxy.", view.proxy.generations.len());
    if let Some(logs) = &view.logs {
        let is_collected = logs.state == LogsState::Collected;
        page.single("logs_collected", "Whether logs are written.", u8::from(is_collected));
    }
    certificates(&mut page, &view.certificates);
    apps(&mut page, &view.apps);
    instances(&mut page, &view.apps);
    page.0
}

fn certificates(page: &mut Page, all: &[CertificateView]) {
    const STATES: [CertificateState; 5] = [
        CertificateState::Missing,
        CertificateState::Obtaining,
        CertificateState::Valid,
        CertificateState::Expiring,
        CertificateState::Expired,
    ];
    if all.is_empty() {
        return;
    }
    page.family("certificate_state", "gauge", "Where a certificate stands.");
    for view in all {
        for state in STATES {
            let labels = [("certificate", view.name.as_str()), ("state", state.word())];
            page.row("certificate_state", &labels, u8::from(view.state == state));
        }
    }
    page.family("certificate_expiry_timestamp_seconds", "gauge", "Until when it is valid.");
    for view in all {
        if let Some(end) = view.not_after {
            let labels = [("certificate", view.name.as_str())];
            page.row("certificate_expiry_timestamp_seconds", &labels, end);
        }
    }
}

/// A number that a page shows of each app.
type Figure = fn(&AppView) -> Option<u64>;

fn apps(page: &mut Page, apps: &[AppView]) {
    const STATES: [AppState; 7] = [
        AppState::Running,
        AppState::Changing,
        AppState::Waiting,
        AppState::Failed,
        AppState::Stopped,
        AppState::Parked,
        AppState::Held,
    ];
    page.family("app_state", "gauge", "Where an app stands.");
    for app in apps {
        for state in STATES {
            let labels = [("app", app.app.as_str()), ("state", state.word())];
            page.row("app_state", &labels, u8::from(app.state == state));
        }
    }
    let ready = |app: &AppView| {
        let all = app.instances.iter().filter(|it| it.state == InstanceState::Ready);
        u64::try_from(all.count()).ok()
    };
    let families: [(&str, &str, Figure); 6] = [
        ("app_instances_wanted", "How many are wanted.", |app| Some(app.wanted.into())),
        ("app_instances_ready", "How many are ready.", ready),
        ("app_maintenance", "Whether it is under maintenance.", |app| Some(app.maintenance.into())),
        ("app_release", "The release that it is to run from.", |app| app.release.map(Into::into)),
        ("app_deploying", "Whether its next release is made.", |app| {
            Some(app.working.is_some().into())
        }),
        (
            "app_deploy_failed",
            "Whether its last release was given up, or its command has failed.",
            |app| Some((app.state == AppState::Held || app.notice.is_some()).into()),
        ),
    ];
    for (name, help, figure) in families {
        page.family(name, "gauge", help);
        for app in apps {
            if let Some(value) = figure(app) {
                page.row(name, &[("app", &app.app)], value);
            }
        }
    }
}

fn instances(page: &mut Page, apps: &[AppView]) {
    let all = || apps.iter().flat_map(|app| app.instances.iter().map(move |it| (&app.app, it)));
    page.family("instance_restarts_total", "counter", "How often init has started it again.");
    for (app, it) in all() {
        page.row("instance_restarts_total", &[("app", app), ("job", &it.job)], it.restarts);
    }
    page.family("instance_memory_bytes", "gauge", "What it uses of memory.");
    for (app, it) in all() {
        if let Some(bytes) = it.memory_bytes {
            page.row("instance_memory_bytes", &[("app", app), ("job", &it.job)], bytes);
        }
    }
    page.family("instance_cpu_seconds_total", "counter", "What it has used of processors.");
    for (app, it) in all() {
        if let Some(ms) = it.cpu_ms {
            page.row("instance_cpu_seconds_total", &[("app", app), ("job", &it.job)], seconds(ms));
        }
    }
}

/// With its milliseconds, and without a float.
fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o24_what_a_name_holds_is_no_row_of_its_own() {
        let mut page = Page(String::new());
        page.row("x", &[("app", "a\"} 1\nb\\")], 2);
        assert_eq!(page.0, "bootctl_x{app=\"a\\\"} 1\\nb\\\\\"} 2\n");
        assert_eq!((seconds(7), seconds(12_345)), ("0.007".into(), "12.345".into()));
    }
}
