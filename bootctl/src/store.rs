//! What has to survive a reboot: a record an app, in `STATE_DIR/state.json`.
//!
//! Written whole, and only when something changes, then renamed into place; the version before stays
//! as `state.json.previous`. A file that cannot be understood is set aside, not overwritten, and the
//! previous one is read.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use tracing::error;

use crate::name::AppName;
use crate::record::{self, Record, RecordError, Records};

/// The file that is to take the place of `state.json`.
const NEW: &str = "state.json.new";

/// The file and what it holds.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    records: Records,
}

/// Why it cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{} cannot be written, so nothing was changed: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} cannot be read: {source}; see to its permissions, or remove it", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} {source}", path.display())]
    Record { path: PathBuf, source: RecordError },
}

impl Store {
    /// Reads what there is.
    pub(crate) fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join("state.json");
        // What a killed one has not brought to its end was not answered either.
        drop(fs::remove_file(folder.join(NEW)));
        let records = match read(&path) {
            Ok(records) => records,
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
                    error!("{error}; no app counts as stopped or restarted");
                    Records::new()
                })
            }
        };
        Ok(Self { folder: folder.to_owned(), records })
    }

    /// Where everything is that has to survive a reboot.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The apps of which something is kept.
    pub(crate) fn apps(&self) -> impl Iterator<Item = (&AppName, &Record)> {
        self.records.iter()
    }

    /// What is kept of an app.
    pub(crate) fn record(&self, app: &AppName) -> Record {
        self.records.get(app).cloned().unwrap_or_default()
    }

    /// Changes what is kept of an app. Nothing changes if that cannot be written.
    pub(crate) fn change(
        &mut self,
        app: &AppName,
        change: impl FnOnce(&mut Record),
    ) -> Result<(), StoreError> {
        let mut record = self.record(app);
        change(&mut record);
        self.set(vec![(app.clone(), record)])
    }

    /// Changes what is kept of several apps in one step, and writes it once.
    pub(crate) fn change_all<'a>(
        &mut self,
        apps: impl Iterator<Item = &'a AppName>,
        change: impl Fn(&mut Record),
    ) -> Result<(), StoreError> {
        let changed = apps.map(|app| {
            let mut record = self.record(app);
            change(&mut record);
            (app.clone(), record)
        });
        let changed = changed.collect();
        self.set(changed)
    }

    /// The same of one where there is nobody to refuse it to: what cannot be written is known until bootctl ends,
    /// and is written with the next change.
    pub(crate) fn keep(&mut self, app: &AppName, change: impl FnOnce(&mut Record)) {
        let mut record = self.record(app);
        change(&mut record);
        if let Err(error) = self.set(vec![(app.clone(), record.clone())]) {
            error!("{error}");
            self.records.insert(app.clone(), record);
        }
    }

    fn set(&mut self, mut changed: Vec<(AppName, Record)>) -> Result<(), StoreError> {
        changed.retain(|(app, record)| *record != self.record(app));
        if changed.is_empty() {
            return Ok(());
        }
        let mut records = self.records.clone();
        for (app, record) in changed {
            if record == Record::default() {
                records.remove(&app);
            } else {
                records.insert(app, record);
            }
        }
        self.write(&records)
            .map_err(|source| StoreError::Write { path: self.folder.join("state.json"), source })?;
        self.records = records;
        Ok(())
    }

    fn write(&self, records: &Records) -> io::Result<()> {
        let text = record::write(records)?;
        fs::create_dir_all(&self.folder)?;
        let path = self.folder.join("state.json");
        let new = self.folder.join(NEW);
        let previous = self.folder.join("state.json.previous");
        let mut file = File::create(&new)?;
        let written = file.write_all(&text).and_then(|()| file.write_all(b"\n"));
        if let Err(error) = written.and_then(|()| file.sync_all()) {
            // Half of it would only take room, which may be what there is none of.
            drop(fs::remove_file(&new));
            return Err(error);
        }
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

fn read(path: &Path) -> Result<Records, StoreError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Records::new()),
        Err(source) => return Err(StoreError::Read { path: path.to_owned(), source }),
    };
    record::parse(&text).map_err(|source| StoreError::Record { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> AppName {
        AppName::parse(name).expect("a name")
    }

    impl Store {
        fn is_stopped(&self, name: &AppName) -> bool {
            self.record(name).stopped
        }

        fn set_stopped(&mut self, name: &AppName, stopped: bool) -> Result<(), StoreError> {
            self.change(name, |record| record.stopped = stopped)
        }
    }

    #[test]
    fn what_is_noted_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("deep/er");
        let mut store = Store::open(&state).expect("an absent file is an empty one");
        store.set_stopped(&app("a"), true).expect("written");
        store.set_stopped(&app("b"), true).expect("written");
        store.set_stopped(&app("a"), false).expect("written");
        fs::write(state.join(NEW), "half").expect("written");
        let again = Store::open(&state).expect("read");
        assert!(!state.join(NEW).exists(), "what a killed one has left is removed");
        assert!(!again.is_stopped(&app("a")) && again.is_stopped(&app("b")));
    }

    #[test]
    fn several_changes_are_written_once_or_not_at_all() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("state");
        let mut store = Store::open(&folder).expect("opened");
        let all = [app("a"), app("b"), app("c")];
        store.change_all(all.iter(), |record| record.stopped = true).expect("written");
        let again = || Store::open(&folder).expect("read");
        assert!(all.iter().all(|name| again().is_stopped(name)));
        // The one before is what there was before the first of them.
        assert_eq!(read(&folder.join("state.json.previous")).expect("read"), Records::new());
        fs::remove_dir_all(&folder).expect("removed");
        fs::write(&folder, "").expect("in the way");
        store.change_all(all.iter(), |record| record.stopped = false).expect_err("not written");
        assert!(all.iter().all(|name| store.is_stopped(name)));
        store.change_all(all.iter(), |record| record.stopped = true).expect("nothing to write");
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

    #[test]
    fn version_1_is_taken_over_and_written_anew_only_with_a_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.json");
        let first = "{\"version\": 1, \"stopped\": [\"a\"]}";
        fs::write(&path, first).expect("written");
        let mut store = Store::open(folder.path()).expect("opened");
        store.set_stopped(&app("a"), true).expect("nothing to do");
        assert_eq!(fs::read_to_string(&path).expect("there"), first);
        store
            .change(&app("b"), |record| record.revision = record.revision.next())
            .expect("written");
        let text = fs::read_to_string(&path).expect("there");
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            value,
            serde_json::json!({"version": 2, "apps": {"a": {"stopped": true}, "b": {"revision": 1}}})
        );
    }
}
