//! The list of what was installed: what may be replaced and taken away, and nothing else may.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::contents::Item;
use super::root::Root;
use super::{MANIFEST, shown};

const VERSION: u32 = 1;

/// Why it says nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error("{} cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{} is not the list of an installation: {source}; without it nothing is replaced or removed",
        path.display()
    )]
    Odd { path: PathBuf, source: serde_json::Error },
    #[error("{} is of a newer jobinit (version {version}), which has to do this", path.display())]
    Newer { path: PathBuf, version: u32 },
    #[error("{} cannot be written, so nothing was changed: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

#[derive(Clone, Debug, Default)]
pub(super) struct Manifest(Vec<PathBuf>);

/// As it is on disk.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    /// In the order in which they were made.
    paths: Vec<PathBuf>,
}

impl Manifest {
    /// None where nothing was installed.
    pub(super) fn read(root: &Root, shown_as: &Path) -> Result<Option<Self>, ManifestError> {
        let path = || shown(shown_as, Path::new(MANIFEST));
        let text = match root.read(Path::new(MANIFEST)) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ManifestError::Read { path: path(), source }),
        };
        let file: File = serde_json::from_str(&text)
            .map_err(|source| ManifestError::Odd { path: path(), source })?;
        if file.version > VERSION {
            return Err(ManifestError::Newer { path: path(), version: file.version });
        }
        Ok(Some(Self(file.paths)))
    }

    pub(super) fn write(&self, root: &Root, shown_as: &Path) -> Result<(), ManifestError> {
        let file = File { version: VERSION, paths: self.0.clone() };
        let failed =
            |source| ManifestError::Write { path: shown(shown_as, Path::new(MANIFEST)), source };
        let text =
            serde_json::to_string_pretty(&file).map_err(|error| failed(error.into()))? + "\n";
        root.file(Path::new(MANIFEST), 0o600, &mut text.as_bytes()).map_err(failed)
    }

    /// What is installed beside what is the administrator's.
    pub(super) fn add(&mut self, items: &[Item]) {
        for item in items {
            if !item.stays && !self.holds(&item.path) {
                self.0.push(item.path.clone());
            }
        }
    }

    pub(super) fn holds(&self, path: &Path) -> bool {
        self.0.iter().any(|mine| mine == path)
    }

    /// What is here and is not there.
    pub(super) fn but(&self, there: &Self) -> Vec<PathBuf> {
        self.latest_first().filter(|path| !there.holds(path)).cloned().collect()
    }

    pub(super) fn latest_first(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.iter().rev()
    }
}
