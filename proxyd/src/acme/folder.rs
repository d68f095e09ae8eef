//! What is kept, as files of a folder that is its owner's only.
//!
//! ```text
//!   lock                    whoever holds it (flock) obtains
//!   accounts/AUTHORITY.json
//!   certificates/NAME.json
//!   orders/NAME.json, past/NAME.json
//! ```
//!
//! A file is written beside its place, synced, renamed, and its folder synced.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;

use super::store::{CannotStore, Lock, Record, Store};
use crate::limits;

/// The folder, which is there.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl Lock for Flock<File> {}

impl Folder {
    /// Makes it if it is not there.
    pub(crate) fn open(path: &Path) -> Result<Folder, CannotStore> {
        let folder = Folder { path: path.to_owned() };
        make(path)?;
        let there = fs::metadata(path).map_err(failed("looked at", path))?;
        if there.uid() != geteuid().as_raw() {
            return Err(CannotStore::Owner { path: path.to_owned() });
        }
        if there.permissions().mode() & 0o077 != 0 {
            return Err(CannotStore::Open { path: path.to_owned() });
        }
        Ok(folder)
    }

    fn place(&self, record: &Record) -> PathBuf {
        let (kind, name) = match record {
            Record::Account(name) => ("accounts", name.as_str()),
            Record::Certificate(name) => ("certificates", name.as_str()),
            Record::Order(name) => ("orders", name.as_str()),
            Record::Past(name) => ("past", name.as_str()),
        };
        // No name is `..` with this behind it.
        self.path.join(kind).join(format!("{name}.json"))
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CannotStore {
    let path = path.to_owned();
    move |source| CannotStore::Io { what, path, source }
}

fn make(path: &Path) -> Result<(), CannotStore> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("made", path))
}

impl Store for Folder {
    fn lock(&self) -> Result<Option<Box<dyn Lock>>, CannotStore> {
        let path = self.path.join("lock");
        let open =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = open.map_err(failed("opened", &path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Box::new(lock))),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(failed("locked", &path)(errno.into())),
        }
    }

    fn read(&self, record: &Record) -> Result<Option<Vec<u8>>, CannotStore> {
        let path = self.place(record);
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed("opened", &path))?,
        };
        let mut bytes = Vec::new();
        let most = limits::ACME_RECORD as u64;
        file.take(most).read_to_end(&mut bytes).map_err(failed("read", &path))?;
        Ok(Some(bytes))
    }

    fn write(&self, record: &Record, bytes: &[u8]) -> Result<(), CannotStore> {
        let path = self.place(record);
        let folder = path.parent().unwrap_or(&self.path);
        make(folder)?;
        let new = path.with_extension("new");
        let write = || {
            match fs::remove_file(&new) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(folder)?.sync_all()
        };
        write().map_err(|source| {
            // Half of it is of use to nobody.
            let _ = fs::remove_file(&new);
            failed("written", &path)(source)
        })
    }

    fn remove(&self, record: &Record) -> Result<(), CannotStore> {
        let path = self.place(record);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(failed("removed", &path)(error))
            }
            _ => Ok(()),
        }
    }

    fn set_aside(&self, record: &Record) -> Result<PathBuf, CannotStore> {
        let path = self.place(record);
        let aside = path.with_extension("json.damaged");
        fs::rename(&path, &aside).map_err(failed("renamed", &path))?;
        Ok(aside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;

    fn record(name: &str) -> Record {
        Record::Certificate(Name::parse(name).unwrap())
    }

    #[test]
    fn what_is_written_is_there_and_its_owners_only() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("state/acme");
        let folder = Folder::open(&path).unwrap();
        assert_eq!(folder.read(&record("a")).unwrap(), None);
        for text in ["one", "two"] {
            folder.write(&record("a"), text.as_bytes()).unwrap();
            assert_eq!(folder.read(&record("a")).unwrap().unwrap(), text.as_bytes());
        }
        folder.write(&record(".."), b"odd").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let files = path.join("certificates");
        assert_eq!((mode(&path), mode(&files), mode(&files.join("a.json"))), (0o700, 0o700, 0o600));
        assert!(files.join("...json").exists(), "no name leads elsewhere");
        let aside = folder.set_aside(&record("a")).unwrap();
        assert_eq!(fs::read(aside).unwrap(), b"two");
        assert_eq!(folder.read(&record("a")).unwrap(), None);
        folder.remove(&record("a")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(Folder::open(&path), Err(CannotStore::Open { .. })));
    }

    #[test]
    fn one_has_the_lock() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("acme");
        let (one, other) = (Folder::open(&path).unwrap(), Folder::open(&path).unwrap());
        let held = one.lock().unwrap().unwrap();
        assert!(other.lock().unwrap().is_none());
        drop(held);
        assert!(other.lock().unwrap().is_some());
    }
}
