//! What bootctl goes on with when it is started and the config cannot be used: a mistake in `bootctl.toml`, or no folder to
//! read; or where a machine lacks a disk that apps may need. A mistake in an app's file is that app's alone, and not
//! looked at here.
//!
//! | and | then |
//! |---|---|
//! | a bootctl before it, under the same init, has taken `bootctl.toml` over | what it said then, as after a reload that is refused |
//! | nothing runs that would be ended, and bootctl's end would only have it started again | runlevel 1, and the defaults of the file |
//! | otherwise | the end, with the reason: what runs is left as it is, and who has started a container sees it fail |
//!
//! Of a file that says where the public side is, who may administrate from afar, where logs belong and what a level
//! needs, defaults are good for nothing but this: at runlevel 1 nobody is let in, from afar neither, no hook runs, and
//! what apps write stays with init until it is known where it belongs.

use std::fmt;
use std::path::Path;

use init_wire::{JobInfo, Policy};
use tracing::{error, warn};

use crate::app::identify;
use crate::client::{Init, InitError};
use crate::config::{self, Config, ConfigError, Problem};
use crate::early::{self, Early, LostConfig, LostDisks};
use crate::gate;
use crate::generation::{self, Generation};
use crate::last_good;
use crate::runlevel::Level;
use crate::supervise::Supervisor;

/// Why a config cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Flaw {
    #[error(transparent)]
    Folder(#[from] ConfigError),
    #[error("{0}")]
    Settings(Problem),
    #[error(transparent)]
    Lost(#[from] LostConfig),
    #[error(transparent)]
    Disks(#[from] LostDisks),
}

/// What a machine's early boot could not put in its place.
pub(crate) fn lost(early: &Early, folder: &Path) -> Option<Flaw> {
    let config = early.lost_config(folder).map(Flaw::Lost);
    config.or_else(|| early::lost_disks().map(Flaw::Disks))
}

/// What is gone on with.
#[derive(Debug)]
pub(crate) enum Makeshift {
    /// What the file said before.
    Earlier,
    /// Runlevel 1 and the file's defaults.
    Least(Flaw),
}

/// What is told of it, beside what is wrong with the files.
impl fmt::Display for Makeshift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earlier => f.write_str(
                "bootctl.toml is not taken over, and what it said before holds; correct it, then run \
                 `bootctl reload`",
            ),
            Self::Least(Flaw::Settings(_)) => f.write_str(
                "this is runlevel 1 with the defaults of bootctl.toml, which cannot be used; correct it, then \
                 `bootctl reload` goes on to the runlevel that was meant",
            ),
            Self::Least(flaw @ Flaw::Disks(_)) => write!(
                f,
                "{flaw}; this is runlevel 1: mount what is missing, or write `nofail` into its line, then \
                 `bootctl reload` goes on to the runlevel that was meant"
            ),
            Self::Least(flaw @ (Flaw::Folder(_) | Flaw::Lost(_))) => write!(
                f,
                "{flaw}; this is runlevel 1 without any app; with a config in its place, `bootctl reload` goes on \
                 to the runlevel that was meant"
            ),
        }
    }
}

/// What is booted with.
pub(crate) struct Footing {
    pub(crate) config: Config,
    pub(crate) makeshift: Option<Makeshift>,
}

/// Reads the config of a folder, or finds something in its place; `lost` is what the machine lacks.
pub(crate) async fn footing(
    folder: &Path,
    lost: Option<Flaw>,
    run_dir: &Path,
    init: &Init,
) -> Result<Footing, Flaw> {
    let earlier = last_good::read(run_dir);
    // What was taken over since was meant.
    let lost = lost.filter(|_| earlier.is_none());
    let (config, flaw) = read(folder, lost);
    for problem in &config.problems {
        warn!("{problem}");
    }
    let Some(flaw) = flaw else { return Ok(Footing { config, makeshift: None }) };
    let footing = instead(config, flaw, earlier.as_deref(), init).await?;
    if let Some(makeshift) = &footing.makeshift {
        error!("{makeshift}");
    }
    Ok(footing)
}

fn read(folder: &Path, lost: Option<Flaw>) -> (Config, Option<Flaw>) {
    if let Some(Flaw::Lost(_)) = lost {
        return (Config::default(), lost);
    }
    match config::load(folder) {
        Ok(config) => {
            let first = config.problems.first().filter(|_| config.settings_broken);
            let flaw = first.cloned().map(Flaw::Settings);
            (config, flaw.or(lost))
        }
        Err(error) => (Config::default(), Some(error.into())),
    }
}

async fn instead(
    config: Config,
    flaw: Flaw,
    earlier: Option<&str>,
    init: &Init,
) -> Result<Footing, Flaw> {
    if let (Flaw::Settings(_), Some(text)) = (&flaw, earlier)
        && let Some(config) = config.clone().by(text)
    {
        return Ok(Footing { config, makeshift: Some(Makeshift::Earlier) });
    }
    match can_be_least(&config, init).await {
        Ok(true) => Ok(Footing { config, makeshift: Some(Makeshift::Least(flaw)) }),
        // Beside apps that run, it is too late to wait for a disk; the config is good.
        Ok(false) if matches!(flaw, Flaw::Disks(_)) => {
            warn!("{flaw}");
            Ok(Footing { config, makeshift: None })
        }
        Ok(false) => Err(flaw),
        Err(error) => {
            warn!("{error}");
            Err(flaw)
        }
    }
}

/// Whether nothing is lost by it, and nobody is told more by an end.
async fn can_be_least(config: &Config, init: &Init) -> Result<bool, InitError> {
    let jobs = init.jobs().await?;
    let own = jobs.iter().find(|job| job.pid == Some(std::process::id()));
    let comes_back = own.is_some_and(|own| own.spec.restart.policy != Policy::Never);
    let ends = |job: &&JobInfo| job.status.is_live() && would_end(job, config);
    Ok(!jobs.iter().any(|job| ends(&job)) && (comes_back || init.is_machine().await?))
}

/// Whether a job that runs is none of runlevel 1's.
fn would_end(job: &JobInfo, config: &Config) -> bool {
    if let Some((id, _)) = identify(&job.id, &job.spec) {
        let app = config.apps.get(&id.app);
        let stays = app.is_some_and(|app| app.runlevels.has(Level::SINGLE));
        return !stays && !config.broken.contains(&id.app);
    }
    let is_proxy = Generation::of_job(&job.id).is_some() && generation::is_ours(&job.spec);
    is_proxy || gate::is_ours(&job.spec)
}

impl Supervisor {
    /// Whether this is runlevel 1 for want of a config.
    pub(crate) fn is_least(&self) -> bool {
        matches!(self.makeshift, Some(Makeshift::Least(_)))
    }

    /// There is a config now.
    pub(crate) fn end_makeshift(&mut self) {
        if self.is_least() {
            self.collector_trouble = None;
        }
        self.makeshift = None;
    }
}
