//! `apps/NAME.toml`: one app.
//!
//! Relative paths (`cwd`, and `exec` with a slash in it) start at the folder that holds the file.
//! `exec` without a slash is looked up in the app's `PATH`, and if it is not there, next to
//! bootctl itself. The environment is `[env]` with a default `PATH`, plus what bootctl sets;
//! nothing of bootctl's own.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use init_wire::{Policy, Restart, SignalName, Stop};

use super::problem::Fault;
use super::reader::{Field, Reader, Section};
use super::{deploy, health, limits, log_section, site_section, tls_section, zist};
use crate::app::{App, DEFAULT_PATH, Drain, PATIENCE};
use crate::name::{AppName, Port};
use crate::place::{ENV_PORT, ENV_SOCKET, PlaceKind};
use crate::runlevel::{Level, Levels};

/// How the variables begin that tell bootctl about its own jobs.
const OURS: &str = "BOOTCTL_";

/// Where an app file stands, and what surrounds it.
pub(crate) struct Surroundings<'a> {
    /// The folder that holds the file, absolute.
    pub(crate) folder: &'a Path,
    /// The folder that holds bootctl.
    pub(crate) own_folder: Option<&'a Path>,
    /// What the app that is being read is made of beside its file.
    pub(crate) beside: RefCell<Beside>,
}

/// What an app is made of beside its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Beside {
    /// A program that was looked for.
    pub(crate) program: Option<String>,
    /// Whether there are pages, whose files may say something else.
    pub(crate) pages: bool,
}

impl Surroundings<'_> {
    /// Where `exec` leads: without a slash to where `PATH` does, and if that is nowhere, next to bootctl.
    pub(super) fn program(&self, exec: &str, env: &BTreeMap<String, String>) -> String {
        if exec.contains('/') {
            return join(self.folder, exec);
        }
        let path = env.get("PATH").map_or("", String::as_str);
        if path.split(':').any(|folder| Path::new(folder).join(exec).is_file()) {
            return exec.to_owned();
        }
        let own = self.own_folder.map(|folder| folder.join(exec));
        let own =
            own.filter(|path| path.is_file()).and_then(|path| path.to_str().map(str::to_owned));
        // init says what is wrong with it when it is started.
        own.unwrap_or_else(|| exec.to_owned())
    }
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
    root.expect();
    zist::check_name(root, &name);
    let socket = socket(root);
    let (in_deploy, in_tls) = (root.section("deploy"), root.section("tls"));
    let env = environment(&root.section("env"));
    let (stop, drain) = stop(&root.section("stop"));
    let names = |key| {
        let hosts = root.get(key, Field::single_hosts).unwrap_or_default();
        hosts.into_iter().map(AppName::of).collect()
    };
    let exec = exec(root, &env, surroundings);
    let is_files = exec.as_ref().is_some_and(String::is_empty);
    Some(App {
        name,
        args: zist::args(root),
        cwd: root.get("cwd", |field| absolute(field, surroundings.folder)),
        user: root.get("user", Field::account),
        group: root.get("group", Field::account),
        instances: root.get("instances", Field::number).filter(|_| !is_files).unwrap_or_default(),
        alias: root.get("alias", Field::hosts).unwrap_or_default(),
        port: root
            .get("port", Field::number)
            .and_then(|port| u16::try_from(port).ok())
            .and_then(Port::new),
        socket,
        env,
        health: health::read(&root.section("health"), socket),
        restart: zist::restart(root, restart(&root.section("restart"))),
        stop,
        drain,
        confinement: limits::read(root),
        site: site_section::read(root, &in_tls, surroundings),
        log: log_section::one(&root.section("log")),
        after: names("after"),
        requires: names("requires"),
        patience: in_deploy.get("timeout", Field::duration).unwrap_or(PATIENCE),
        deploy: deploy::read(root, &in_deploy),
        runlevels: root.get("runlevels", runlevels).unwrap_or_default(),
        tls: tls_section::of_app(&in_tls, surroundings.folder),
        exec: exec?,
    })
}

/// The program; empty for an app that is files only.
fn exec(
    root: &Section<'_>,
    env: &BTreeMap<String, String>,
    surroundings: &Surroundings<'_>,
) -> Option<String> {
    let field = zist::instead(root, "exec", "Path").or_else(|| root.field("exec"));
    if field.is_none() && root.section("files").field("/").is_some() {
        return Some(String::new());
    }
    let advice = "name the program to run, such as exec = \"node\"";
    let field = field.or_else(|| root.required("exec", advice))?;
    program(&field, env, surroundings)
}

fn socket(root: &Section<'_>) -> PlaceKind {
    let web = zist::instead(root, "web", "Web").or_else(|| root.field("web"));
    if web.and_then(|field| field.bool()) == Some(false) {
        let of_sites = ["socket", "port", "alias", "redirect", "proxy", "tls", "files"];
        for field in of_sites.iter().filter_map(|key| root.field(key)) {
            field.report_key(Fault::Excludes { other: "web = false" });
        }
        return PlaceKind::Nowhere;
    }
    match root.get("socket", Field::choice).as_deref() {
        Some("unix") => PlaceKind::Unix,
        Some("fd") => PlaceKind::Fd,
        Some(_) | None => PlaceKind::Port,
    }
}

fn runlevels(field: &Field<'_>) -> Option<Levels> {
    let levels = field.statuses()?.into_iter();
    Some(levels.filter_map(|number| Level::new(number.into())).collect())
}

fn program(
    field: &Field<'_>,
    env: &BTreeMap<String, String>,
    surroundings: &Surroundings<'_>,
) -> Option<String> {
    let text = field.string()?;
    if text.is_empty() || text.contains('\0') {
        field.form(&text, "name the program to run");
        return None;
    }
    if !text.contains('/') {
        surroundings.beside.borrow_mut().program = Some(text.clone());
    }
    Some(surroundings.program(&text, env))
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
    let default = Restart::default();
    let time = |name, default| section.get(name, Field::duration).map_or(default, millis);
    let policy = match section.get("policy", Field::choice).as_deref() {
        Some("never") => Policy::Never,
        Some("on-failure") => Policy::OnFailure,
        Some(_) | None => Policy::Always,
    };
    Restart {
        policy,
        delay_ms: time("delay", default.delay_ms),
        factor: section.get("factor", Field::factor).unwrap_or(default.factor),
        max_delay_ms: time("max_delay", default.max_delay_ms),
        jitter: section.get("jitter", Field::factor).unwrap_or(default.jitter),
        reset_after_ms: time("reset_after", default.reset_after_ms),
        limit: section.get("limit", Field::number).unwrap_or(default.limit),
        window_ms: time("window", default.window_ms),
    }
}

fn stop(section: &Section<'_>) -> (Stop, Drain) {
    let default = Stop::default();
    let stop = Stop {
        signal: section.get("signal", signal).unwrap_or(default.signal),
        timeout_ms: section.get("timeout", Field::duration).map_or(default.timeout_ms, millis),
    };
    let default = Drain::default();
    let drain = Drain {
        requests: section.get("drain", Field::duration).unwrap_or(default.requests),
        streams: section.get("drain_streams", Field::duration).unwrap_or(default.streams),
    };
    (stop, drain)
}

fn signal(field: &Field<'_>) -> Option<SignalName> {
    let name = field.string()?;
    let bare = name.strip_prefix("SIG").unwrap_or(&name);
    if format!("SIG{bare}").parse::<nix::sys::signal::Signal>().is_err() {
        field.form(&name, "use a signal's name, such as \"TERM\", \"INT\" or \"QUIT\"");
    }
    Some(SignalName::Name(name))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
