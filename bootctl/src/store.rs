//! What has to survive a reboot: which apps are stopped. `STATE_DIR/state.json`.
//!
//! Written whole, then renamed into place; the version before stays as `state.json.previous`. A
//! file that cannot be understood is set aside, not overwritten, and the previous one is read.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::error;

use crate::name::AppName;

const VERSION: u32 = 1;

/// The file and what it holds.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    stopped: BTreeSet<AppName>,
}

/// Why it cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{} cannot be written, so nothing was changed: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} cannot be read: {source}; see to its permissions, or remove it", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is truncated or corrupt ({source})", path.display())]
    Corrupt { path: PathBuf, source: serde_json::Error },
    #[error("{} has version {found}, but this bootctl knows {VERSION}", path.display())]
    Version { path: PathBuf, found: u32 },
    #[error("{} names an app {name:?}, which {source}", path.display())]
    Name { path: PathBuf, name: String, source: crate::name::HostError },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    stopped: Vec<String>,
}

impl Store {
    /// Reads what there is.
    pub(crate) fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join("state.json");
        let stopped = match read(&path) {
            Ok(stopped) => stopped,
            Err(error @ StoreError::Read { .. }) => return Err(error),
            Err(error) => {
                let aside = folder.join("state.json.refused");
                let previous = folder.join("state.json.previous");
                error!(
                    "{error}; it is kept as {}, and {} is used instead",
                    aside.display(),
                    previous.display()
                );
                fs::rename(&path, &aside)
                    .map_err(|source| StoreError::Write { path: aside, source })?;
                read(&previous).unwrap_or_else(|error| {
                    error!("{error}; no app counts as stopped");
                    BTreeSet::new()
                })
            }
        };
        Ok(Self { folder: folder.to_owned(), stopped })
    }

    pub(crate) fn is_stopped(&self, app: &AppName) -> bool {
        self.stopped.contains(app)
    }

    /// Notes that an app is stopped, or not. Nothing changes if that cannot be written.
    pub(crate) fn set_stopped(&mut self, app: &AppName, stopped: bool) -> Result<(), StoreError> {
        if self.is_stopped(app) == stopped {
            return Ok(());
        }
        let mut set = self.stopped.clone();
        if stopped {
            set.insert(app.clone());
        } else {
            set.remove(app);
        }
        self.write(&set)
            .map_err(|source| StoreError::Write { path: self.folder.join("state.json"), source })?;
        self.stopped = set;
        Ok(())
    }

    fn write(&self, stopped: &BTreeSet<AppName>) -> io::Result<()> {
        let stopped = stopped.iter().map(ToString::to_string).collect();
        let text = serde_json::to_vec_pretty(&Document { version: VERSION, stopped })?;
        fs::create_dir_all(&self.folder)?;
        let path = self.folder.join("state.json");
        let new = self.folder.join("state.json.new");
        let previous = self.folder.join("state.json.previous");
        let mut file = File::create(&new)?;
        file.write_all(&text)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        match fs::remove_file(&previous).and_then(|()| fs::hard_link(&path, &previous)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // The first or second time; a link that fails for another reason fails below.
                drop(fs::hard_link(&path, &previous));
            }
            linked => linked?,
        }
        fs::rename(&new, &path)?;
        File::open(&self.folder)?.sync_all()
    }
}

fn read(path: &Path) -> Result<BTreeSet<AppName>, StoreError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(source) => return Err(StoreError::Read { path: path.to_owned(), source }),
    };
    let document: Document = serde_json::from_slice(&text)
        .map_err(|source| StoreError::Corrupt { path: path.to_owned(), source })?;
    if document.version != VERSION {
        return Err(StoreError::Version { path: path.to_owned(), found: document.version });
    }
    let name = |name: String| {
        AppName::parse(&name).map_err(|source| StoreError::Name {
            path: path.to_owned(),
            name,
            source,
        })
    };
    document.stopped.into_iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> AppName {
        AppName::parse(name).expect("a name")
    }

    #[test]
    fn what_is_noted_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("deep/er");
        let mut store = Store::open(&state).expect("an absent file is an empty one");
        store.set_stopped(&app("a"), true).expect("written");
        store.set_stopped(&app("b"), true).expect("written");
        store.set_stopped(&app("a"), false).expect("written");
        let again = Store::open(&state).expect("read");
        assert!(!again.is_stopped(&app("a")) && again.is_stopped(&app("b")));
    }

    #[test]
    fn a_truncated_file_is_set_aside_and_the_previous_one_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(folder.path()).expect("opened");
        store.set_stopped(&app("a"), true).expect("written");
        store.set_stopped(&app("b"), true).expect("written");
        let path = folder.path().join("state.json");
        let text = fs::read(&path).expect("there");
        for bad in [&text[..text.len() / 2], b"", b"{\"version\": 9, \"stopped\": []}"] {
            fs::write(&path, bad).expect("written");
            let mut again = Store::open(folder.path()).expect("opened");
            assert!(again.is_stopped(&app("a")) && !again.is_stopped(&app("b")));
            assert_eq!(fs::read(folder.path().join("state.json.refused")).expect("kept"), bad);
            again.set_stopped(&app("c"), true).expect("written");
            again.set_stopped(&app("b"), true).expect("written");
            again.set_stopped(&app("c"), false).expect("written");
            again.set_stopped(&app("b"), false).expect("written");
            again.set_stopped(&app("b"), true).expect("written");
        }
    }
}
