//! A generation of the proxy: a job of its own with a control socket of its own, on the same public
//! listener as its predecessor.
//!
//! The first is the job `proxyd`, the next are `proxyd.2`, `proxyd.3` and so on. Whether such a job
//! is ours is written in the job itself, as with apps.

use std::fmt;
use std::path::{Path, PathBuf};

use init_wire::{FdSpec, JobSpec};

use crate::snapshot;

/// The first generation's job, and the beginning of the others'.
pub(crate) const JOB: &str = "proxyd";
/// What tells our proxyd from somebody else's job of that name.
pub(crate) const ENV_MARK: &str = "BOOTCTL_PROXY";

/// Which, from 1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Generation(u32);

impl Generation {
    pub(crate) const FIRST: Self = Self(1);

    /// The generation that a job of this name is, whoever started it.
    pub(crate) fn of_job(id: &str) -> Option<Self> {
        match id.strip_prefix(JOB)?.strip_prefix('.') {
            None => (id == JOB).then_some(Self::FIRST),
            Some(text) => {
                let number = text.parse().ok().filter(|number| *number > 1)?;
                (Self(number).to_string() == id).then_some(Self(number))
            }
        }
    }

    pub(crate) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    pub(crate) fn number(self) -> u32 {
        self.0
    }

    /// Its control socket.
    pub(crate) fn socket(self, run_dir: &Path) -> PathBuf {
        run_dir.join(format!("{self}.sock"))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::FIRST => f.write_str(JOB),
            Self(number) => write!(f, "{JOB}.{number}"),
        }
    }
}

/// The proxy as it is wanted, in whichever generation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WantedProxy {
    /// All but the control socket and the files of its own.
    pub(crate) spec: JobSpec,
    pub(crate) run_dir: PathBuf,
    /// This generation and those before it are outdated, whatever they run.
    pub(crate) outdated: Option<Generation>,
}

impl WantedProxy {
    /// The job of a generation.
    pub(crate) fn job(&self, generation: Generation) -> JobSpec {
        let mut spec = self.spec.clone();
        let socket = generation.socket(&self.run_dir);
        spec.fds.push(FdSpec::new("control", format!("unix:{}", socket.display())));
        let files = [
            ("--state", snapshot::file(generation, &self.run_dir)),
            ("--teller", snapshot::lock(&self.run_dir)),
        ];
        for (option, path) in files {
            spec.args.extend([option.to_owned(), path.to_string_lossy().into_owned()]);
        }
        spec
    }

    /// Whether a job is as it is wanted.
    pub(crate) fn is_current(&self, generation: Generation, spec: &JobSpec) -> bool {
        Some(generation) > self.outdated && self.job(generation) == *spec
    }
}

/// Whether a job of the proxy's name is ours.
pub(crate) fn is_ours(spec: &JobSpec) -> bool {
    spec.envs.contains_key(ENV_MARK)
}

#[cfg(test)]
pub(crate) fn sample() -> WantedProxy {
    let mut spec = JobSpec::new(JOB);
    spec.envs.insert(ENV_MARK.into(), "1".into());
    WantedProxy { spec, run_dir: "/run/bootctl".into(), outdated: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let third = Generation::FIRST.next().next();
        assert_eq!(
            (Generation::FIRST.to_string(), third.to_string()),
            ("proxyd".into(), "proxyd.3".into())
        );
        for generation in [Generation::FIRST, third] {
            assert_eq!(Generation::of_job(&generation.to_string()), Some(generation));
        }
        for other in ["proxyd.1", "proxyd.03", "proxyd.", "proxyd.x", "proxyd.-2", "proxyd2", "a"] {
            assert_eq!(Generation::of_job(other), None, "{other}");
        }
        assert_eq!(third.socket(Path::new("/r")), Path::new("/r/proxyd.3.sock"));
    }

    #[test]
    fn what_is_outdated_is_not_current_whatever_it_runs() {
        let mut wanted = sample();
        let second = Generation::FIRST.next();
        let spec = wanted.job(second);
        assert!(wanted.is_current(second, &spec));
        assert!(!wanted.is_current(Generation::FIRST, &spec), "it has another control socket");
        wanted.outdated = Some(second);
        assert!(!wanted.is_current(second, &spec));
        assert!(wanted.is_current(second.next(), &wanted.job(second.next())));
    }
}
