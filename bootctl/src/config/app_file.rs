//! `apps/NAME.toml`: one app.
//!
//! Relative paths (`cwd`, and `exec` with a slash in it) start at the folder that holds the file.
//! `exec` without a slash is looked up in the app's `PATH`, and if it is not there, next to
//! bootctl itself. The environment is `[env]` with a default `PATH`, plus what bootctl sets;
//! nothing of bootctl's own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use init_wire::{Policy, Restart, SignalName, Stop};

use super::problem::Fault;
use super::reader::{Field, Reader, Section};
use super::{health, limits, log_section};
use crate::app::{App, DEFAULT_PATH, Drain, PATIENCE};
use crate::name::AppName;
use crate::place::{ENV_PORT, ENV_SOCKET, PlaceKind};

/// How the variables begin that tell bootctl about its own jobs.
const OURS: &str = "BOOTCTL_";
/// The most instances an app may have.
pub(crate) const MAX_INSTANCES: u32 = 1000;

const KEYS: &[&str] = &[
    "exec",
    "args",
    "cwd",
    "user",
    "group",
    "instances",
    "alias",
    "socket",
    "env",
    "health",
    "restart",
    "stop",
    "after",
    "requires",
    "runlevels",
    "groups",
    "umask",
    "nice",
    "oom_score_adj",
    "no_new_privs",
    "capabilities",
    "limits",
    "deploy",
    "log",
];
const RESTART: &[&str] =
    &["policy", "delay", "factor", "max_delay", "jitter", "reset_after", "limit", "window"];
const DEPLOY: &[&str] = &["timeout"];
const STOP: &[&str] = &["signal", "timeout", "drain", "drain_streams"];

/// What is known of later versions, and what to do without it.
const LATER: &[(&str, &str)] = &[("runlevels", "remove it; an app runs unless it is stopped")];

/// Where an app file stands, and what surrounds it.
pub(crate) struct Surroundings<'a> {
    /// The folder that holds the file, absolute.
    pub(crate) folder: &'a Path,
    /// The folder that holds bootctl.
    pub(crate) own_folder: Option<&'a Path>,
}

/// Reads the app out of its file.
pub(crate) fn read(
    reader: Reader<'_>,
    name: AppName,
    surroundings: &Surroundings<'_>,
) -> Result<App, Vec<super::Problem>> {
    reader.read(|root| app(root, name, surroundings))
}

fn app(root: &Section<'_>, name: AppName, surroundings: &Surroundings<'_>) -> Option<App> {
    root.expect(KEYS);
    for (key, advice) in LATER {
        if let Some(field) = root.field(key) {
            field.report_key(Fault::NotYet(advice));
        }
    }
    let socket = root.field("socket").and_then(|f| socket(&f)).unwrap_or_default();
    let deploy = root.section("deploy");
    deploy.expect(DEPLOY);
    let env = environment(&root.section("env"));
    let (stop, drain) = stop(&root.section("stop"));
    let names = |key| {
        let hosts = root.field(key).and_then(|f| f.hosts()).unwrap_or_default();
        hosts.into_iter().map(AppName::of).collect()
    };
    let exec = root.required("exec", "name the program to run, such as exec = \"node\"");
    let exec = exec.and_then(|field| program(&field, &env, surroundings));
    Some(App {
        name,
        args: root.field("args").and_then(|f| f.strings()).unwrap_or_default(),
        cwd: root.field("cwd").and_then(|f| absolute(&f, surroundings.folder)),
        user: root.field("user").and_then(|f| f.account()),
        group: root.field("group").and_then(|f| f.account()),
        instances: root.field("instances").and_then(|f| f.number(0..=MAX_INSTANCES)).unwrap_or(1),
        alias: root.field("alias").and_then(|f| f.hosts()).unwrap_or_default(),
        socket,
        env,
        health: health::read(&root.section("health"), socket),
        restart: restart(&root.section("restart")),
        stop,
        drain,
        confinement: limits::read(root),
        log: log_section::one(&root.section("log")),
        after: names("after"),
        requires: names("requires"),
        patience: health::positive(&deploy, "timeout", PATIENCE),
        exec: exec?,
    })
}

fn socket(field: &Field<'_>) -> Option<PlaceKind> {
    field.choice(&["port", "unix", "fd"], &[PlaceKind::Port, PlaceKind::Unix, PlaceKind::Fd])
}

fn program(
    field: &Field<'_>,
    env: &BTreeMap<String, String>,
    surroundings: &Surroundings<'_>,
) -> Option<String> {
    let text = field.string()?;
    if text.is_empty() || text.contains('\0') {
        field.report(Fault::Form { value: text, instead: "name the program to run" });
        return None;
    }
    if text.contains('/') {
        return Some(join(surroundings.folder, &text));
    }
    let path = env.get("PATH").map_or("", String::as_str);
    if path.split(':').any(|folder| Path::new(folder).join(&text).is_file()) {
        return Some(text);
    }
    let own = surroundings.own_folder.map(|folder| folder.join(&text));
    match own.filter(|path| path.is_file()).and_then(|path| path.to_str().map(str::to_owned)) {
        Some(path) => Some(path),
        // init says what is wrong with it when it is started.
        None => Some(text),
    }
}

fn absolute(field: &Field<'_>, folder: &Path) -> Option<String> {
    field.string().map(|text| join(folder, &text))
}

fn join(folder: &Path, text: &str) -> String {
    let joined: PathBuf = folder.join(text).components().collect();
    joined.to_string_lossy().into_owned()
}

fn environment(section: &Section<'_>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::from([("PATH".to_owned(), DEFAULT_PATH.to_owned())]);
    for field in section.fields() {
        let is_ours = field.name().starts_with(OURS);
        if is_ours || [ENV_PORT, ENV_SOCKET].contains(&field.name()) {
            field.report_key(Fault::Reserved);
        } else if field.name().is_empty() || field.name().contains(['=', '\0']) {
            let instead = "a variable's name is not empty and holds no `=`";
            field.report_key(Fault::Form { value: field.name().to_owned(), instead });
        } else if let Some(value) = field.string() {
            env.insert(field.name().to_owned(), value);
        }
    }
    env
}

fn restart(section: &Section<'_>) -> Restart {
    section.expect(RESTART);
    let default = Restart { policy: Policy::Always, ..Restart::default() };
    let millis =
        |name, default| section.field(name).and_then(|f| f.duration()).map_or(default, millis);
    let factor = |name, range: std::ops::RangeInclusive<f64>, instead, default| {
        let Some(field) = section.field(name) else { return default };
        match field.factor() {
            Some(factor) if range.contains(&factor) => factor,
            Some(factor) => {
                field.report(Fault::Form { value: factor.to_string(), instead });
                default
            }
            None => default,
        }
    };
    let policies = [Policy::Never, Policy::OnFailure, Policy::Always];
    Restart {
        policy: section
            .field("policy")
            .and_then(|f| f.choice(&["never", "on-failure", "always"], &policies))
            .unwrap_or(default.policy),
        delay_ms: millis("delay", default.delay_ms),
        factor: factor("factor", 1.0..=100.0, "use a number from 1 to 100", default.factor),
        max_delay_ms: millis("max_delay", default.max_delay_ms),
        jitter: factor("jitter", 0.0..=1.0, "use a number from 0 to 1", default.jitter),
        reset_after_ms: millis("reset_after", default.reset_after_ms),
        limit: section
            .field("limit")
            .and_then(|f| f.number(0..=1_000_000))
            .unwrap_or(default.limit),
        window_ms: millis("window", default.window_ms),
    }
}

fn stop(section: &Section<'_>) -> (Stop, Drain) {
    section.expect(STOP);
    let default = Stop::default();
    let signal = section.field("signal").and_then(|field| {
        let name = field.string()?;
        let bare = name.strip_prefix("SIG").unwrap_or(&name);
        if format!("SIG{bare}").parse::<nix::sys::signal::Signal>().is_err() {
            let instead = "use a signal's name, such as \"TERM\", \"INT\" or \"QUIT\"";
            field.report(Fault::Form { value: name.clone(), instead });
        }
        Some(SignalName::Name(name))
    });
    let stop = Stop {
        signal: signal.unwrap_or(default.signal),
        timeout_ms: section
            .field("timeout")
            .and_then(|f| f.duration())
            .map_or(default.timeout_ms, millis),
    };
    let time = |name, default| section.field(name).and_then(|f| f.duration()).unwrap_or(default);
    let default = Drain::default();
    let drain = Drain {
        requests: time("drain", default.requests),
        streams: time("drain_streams", default.streams),
    };
    (stop, drain)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
