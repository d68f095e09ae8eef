//! What a release changes about an app's jobs: where they run, and what they are told of it.
//!
//! Their spec has the release's own path, not that of a link: what was started from one release stays there,
//! also when init starts it again.

use std::path::{Path, PathBuf};

use init_wire::JobSpec;

use super::Number;

/// The release's number in the environment.
pub(crate) const ENV_RELEASE: &str = "BOOTCTL_RELEASE";

/// What an app's file says that starts at a release's folder, if there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Home {
    /// `exec`, if it is a relative path.
    pub(crate) exec: Option<String>,
    pub(crate) cwd: Cwd,
}

/// `cwd` as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Cwd {
    /// Not at all: the release's folder.
    #[default]
    Unset,
    /// Below the release's folder.
    Relative(String),
    /// The same in every release.
    Absolute,
}

/// A release that an app runs from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Housing {
    pub(crate) number: Number,
    pub(crate) path: PathBuf,
}

impl Housing {
    /// Has a job run in the release.
    pub(crate) fn apply(&self, home: &Home, spec: &mut JobSpec) {
        spec.envs.insert(ENV_RELEASE.into(), self.number.to_string());
        if let Some(exec) = &home.exec {
            spec.exec = join(&self.path, exec);
        }
        match &home.cwd {
            Cwd::Unset => spec.cwd = Some(self.path.to_string_lossy().into_owned()),
            Cwd::Relative(cwd) => spec.cwd = Some(join(&self.path, cwd)),
            Cwd::Absolute => {}
        }
    }
}

/// The release that a job runs from, if it is told one.
pub(crate) fn release_of(spec: &JobSpec) -> Option<Number> {
    spec.envs.get(ENV_RELEASE)?.parse().ok()
}

fn join(folder: &Path, text: &str) -> String {
    let joined: PathBuf = folder.join(text).components().collect();
    joined.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn housed(exec: Option<&str>, cwd: Cwd) -> (String, Option<String>) {
        let housing = Housing { number: Number::FIRST, path: "/r/a/1".into() };
        let mut spec = JobSpec { cwd: Some("/conf".into()), ..JobSpec::new("node") };
        housing.apply(&Home { exec: exec.map(str::to_owned), cwd }, &mut spec);
        assert_eq!(release_of(&spec), Some(Number::FIRST));
        (spec.exec, spec.cwd)
    }

    #[test]
    fn d08_relative_paths_start_at_the_release() {
        assert_eq!(housed(None, Cwd::Unset), ("node".into(), Some("/r/a/1".into())));
        let below = housed(Some("./bin/run"), Cwd::Relative("./web".into()));
        assert_eq!(below, ("/r/a/1/bin/run".into(), Some("/r/a/1/web".into())));
        assert_eq!(housed(None, Cwd::Absolute), ("node".into(), Some("/conf".into())));
        assert_eq!(release_of(&JobSpec::new("node")), None);
    }
}
