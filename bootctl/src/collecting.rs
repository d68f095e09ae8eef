//! The collector as a job: there is one, `collector`, and whether it is ours is written in the job itself.
//!
//! All that it is told is in its arguments. So one that is to do otherwise is another spec, which is
//! replaced; what it was about to write, its successor writes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use init_wire::{JobSpec, Policy, Ready, Restart};

use crate::admin::wire::{LogsState, LogsView};
use crate::logs::collector::Orders;
use crate::logs::keeping::{AllLogs, Keeping};
use crate::name::AppName;
use crate::plan::{Collector, CollectorLife, Wanted};

/// Its name.
pub(crate) const JOB: &str = "collector";
/// What tells ours from somebody else's job of that name.
const ENV_MARK: &str = "BOOTCTL_COLLECTOR";
/// Where init's tokens are, for those whom init wants to show one.
const TOKEN_FILE: &str = "INIT_TOKEN_FILE";
/// Where logs are unless told otherwise.
pub(crate) const FOLDER: &str = "/var/log/bootctl";

/// What surrounds it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// bootctl itself.
    pub(crate) exec: String,
    /// Tells one program of the same name from another.
    pub(crate) build: String,
    pub(crate) init: std::net::SocketAddr,
    /// The folder that the command line says.
    pub(crate) folder: Option<PathBuf>,
}

/// The folder of the logs.
pub(crate) fn folder(told: Option<&Path>, logs: &AllLogs) -> PathBuf {
    let configured = logs.dir.as_deref().map(Path::new);
    told.or(configured).unwrap_or(Path::new(FOLDER)).to_owned()
}

/// Whether a job of its name is ours.
pub(crate) fn is_ours(spec: &JobSpec) -> bool {
    spec.envs.contains_key(ENV_MARK)
}

/// The collector that the config asks for.
pub(crate) fn wanted(place: &Place, logs: &AllLogs, apps: &BTreeMap<AppName, Wanted>) -> JobSpec {
    let folder = folder(place.folder.as_deref(), logs);
    let mut args = vec![
        "collect".to_owned(),
        "--log-dir".into(),
        folder.to_string_lossy().into_owned(),
        "--init".into(),
        place.init.to_string(),
        "--all".into(),
        text(&logs.keeping),
    ];
    if let Some(console) = logs.console {
        args.push(format!("--console={console}"));
    }
    for app in apps.values().filter_map(Wanted::app) {
        let (name, keeping) = (&app.name, app.log.changes.to(&logs.keeping));
        if keeping != logs.keeping {
            args.push(format!("--app={name}={}", text(&keeping)));
        }
    }
    let mut envs = BTreeMap::from([(ENV_MARK.to_owned(), place.build.clone())]);
    envs.extend(std::env::var(TOKEN_FILE).ok().map(|path| (TOKEN_FILE.to_owned(), path)));
    JobSpec {
        args,
        envs,
        ready: Ready::Notify,
        restart: Restart {
            policy: Policy::Always,
            delay_ms: 10,
            // init keeps little of what is written meanwhile.
            max_delay_ms: 1000,
            reset_after_ms: 2000,
            ..Restart::default()
        },
        ..JobSpec::new(&place.exec)
    }
}

fn text(keeping: &Keeping) -> String {
    serde_json::to_string(keeping).unwrap_or_default()
}

/// What the command line of the collector says.
pub(crate) fn orders(
    folder: PathBuf,
    all: &str,
    apps: &[String],
    console: Option<bool>,
) -> Result<Orders, BadOrders> {
    let read = |text: &str| {
        serde_json::from_str(text).map_err(|source| BadOrders { text: text.to_owned(), source })
    };
    let app = |text: &String| {
        let (name, keeping) = text.split_once('=').unwrap_or((text, ""));
        Ok((name.to_owned(), read(keeping)?))
    };
    let apps = apps.iter().map(app).collect::<Result<_, _>>()?;
    Ok(Orders { folder, all: read(all)?, apps, console })
}

/// Arguments that bootctl itself would not give.
#[derive(Debug, thiserror::Error)]
#[error("cannot make sense of {text:?}: {source}; bootctl starts its collector itself")]
pub(crate) struct BadOrders {
    text: String,
    source: serde_json::Error,
}

/// The logs as they are shown. `trouble` is what init said to the last change of the job, `says` what the
/// collector says of itself.
pub(crate) fn logs_view(
    folder: &Path,
    collector: &Collector,
    says: Option<&str>,
    trouble: Option<&str>,
) -> LogsView {
    let says = says.filter(|says| !says.is_empty());
    let (state, why) = match (collector, says) {
        (Collector::Foreign, _) => {
            let why =
                "a job `collector` that bootctl did not start is in the way; stop and clear it";
            (LogsState::Down, Some(why))
        }
        (Collector::Ours { life: CollectorLife::Ended, .. } | Collector::Absent, _) => {
            (LogsState::Down, trouble.or(Some("the collector is yet to be started")))
        }
        (Collector::Ours { .. }, Some(says)) => (LogsState::Failing, Some(says)),
        (Collector::Ours { life: CollectorLife::Running, .. }, None) => {
            (LogsState::Collected, None)
        }
        (Collector::Ours { life: CollectorLife::Coming | CollectorLife::Changing, .. }, None) => {
            (LogsState::Starting, trouble)
        }
    };
    LogsView { state, folder: folder.display().to_string(), why: why.map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::app::sample;
    use crate::order::Order;

    #[test]
    fn what_it_is_told_is_what_it_understands() {
        let mut app = sample("shop.example", 1);
        app.log.changes.keep = Some(0);
        let apps =
            [app, sample("a", 1)].map(|app| (app.name.clone(), Wanted::Running(Order::new(app))));
        let logs =
            AllLogs { dir: Some("/logs".into()), console: Some(false), ..AllLogs::default() };
        let place = Place {
            exec: "bootctl".into(),
            build: "1".into(),
            init: ([127, 0, 0, 1], 1).into(),
            folder: None,
        };
        let spec = wanted(&place, &logs, &apps.into());
        assert!(is_ours(&spec) && !is_ours(&JobSpec::new("bootctl")));
        let words = std::iter::once(spec.exec).chain(spec.args);
        let cli = crate::cli::Cli::try_parse_from(words).expect("good words");
        let crate::command::Command::Collect(collect) = cli.command else {
            panic!("it is collect")
        };
        let orders = orders(collect.log_dir, &collect.all, &collect.app, collect.console);
        let orders = orders.expect("good orders");
        assert_eq!((orders.all, orders.console), (Keeping::default(), Some(false)));
        let kept: Vec<_> =
            orders.apps.iter().map(|(app, keeping)| (app.as_str(), keeping.keep)).collect();
        assert_eq!(kept, [("shop.example", 0)]);
    }
}
