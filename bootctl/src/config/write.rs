//! One config file, replaced as a whole: beside it, synced, renamed, its folder synced. It keeps its
//! mode and its owner, and one that is a link stays one.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long another change is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
const TRY_AGAIN: Duration = Duration::from_millis(10);
/// What a new file may be read by.
const MODE: u32 = 0o644;
/// How the names of new texts end, until they take the place of the old ones.
const BESIDE: &str = ".toml.new";

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("{} cannot be written, so nothing was changed: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "there is no config folder {}; create it with a folder `apps` in it, or name another with --config",
        .0.display()
    )]
    NoFolder(PathBuf),
    #[error("the config folder {} cannot be locked, so nothing was changed: {source}", path.display())]
    NoLock { path: PathBuf, source: io::Error },
    #[error(
        "another command is changing the config folder {}, so nothing was changed; try again when \
         it has ended",
        .0.display()
    )]
    Locked(PathBuf),
    #[error("{} is there already, so nothing was changed", .0.display())]
    Exists(PathBuf),
}

/// The right to change the files of a config folder, until it is dropped. Only commands ask for it:
/// an editor does not.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "it is let go of when dropped")] File);

impl Lock {
    pub(crate) fn take(folder: &Path) -> Result<Self, WriteError> {
        Self::take_within(folder, PATIENCE)
    }

    /// The same for somebody who cannot wait.
    pub(crate) fn take_at_once(folder: &Path) -> Result<Self, WriteError> {
        Self::take_within(folder, Duration::ZERO)
    }

    fn take_within(folder: &Path, patience: Duration) -> Result<Self, WriteError> {
        let path = || folder.to_owned();
        let no_lock = |source: io::Error| match source.kind() {
            ErrorKind::NotFound => WriteError::NoFolder(path()),
            _ => WriteError::NoLock { path: path(), source },
        };
        let file = File::open(folder).map_err(no_lock)?;
        let by = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::WouldBlock) if Instant::now() < by => sleep(TRY_AGAIN),
                Err(TryLockError::WouldBlock) => return Err(WriteError::Locked(path())),
                Err(TryLockError::Error(source)) => return Err(no_lock(source)),
            }
        }
    }
}

/// Replaces a file, or makes it.
pub(crate) fn replace(_lock: &Lock, path: &Path, text: &str) -> Result<(), WriteError> {
    write(path, text).map_err(|source| WriteError::Io { path: path.to_owned(), source })
}

/// Makes a file that is not there yet.
pub(crate) fn create(lock: &Lock, path: &Path, text: &str) -> Result<(), WriteError> {
    if path.symlink_metadata().is_ok() {
        return Err(WriteError::Exists(path.to_owned()));
    }
    replace(lock, path, text)
}

/// Removes what was left by a command that was killed while it changed a file.
pub(crate) fn sweep(folder: &Path) {
    // Somebody who holds it is at work, and removes what is left himself.
    let Ok(_lock) = Lock::take_at_once(folder) else { return };
    for folder in [folder.to_owned(), folder.join("apps")] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let bytes = name.as_encoded_bytes();
            let plain = entry.file_type().is_ok_and(|kind| kind.is_file());
            if plain && bytes.starts_with(b".") && bytes.ends_with(BESIDE.as_bytes()) {
                // It is in nobody's way, and removed by whoever changes that file next.
                drop(fs::remove_file(entry.path()));
            }
        }
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let path = match path.canonicalize() {
        Ok(path) => path,
        Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let folder = path.parent().ok_or(ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    let before = match fs::metadata(&path) {
        Ok(about) => Some(about),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = folder.join(format!(".{name}.new"));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Err(_) | Ok(()) => {}
    }
    let written = fill(&new, text, before.as_ref()).and_then(|()| fs::rename(&new, &path));
    if written.is_err() {
        // What is wrong with it is told already.
        drop(fs::remove_file(&new));
    }
    written?;
    File::open(folder)?.sync_all()
}

fn fill(new: &Path, text: &str, before: Option<&fs::Metadata>) -> io::Result<()> {
    let mode = if before.is_some() { 0o600 } else { MODE };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(new)?;
    if let Some(before) = before {
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (before.uid(), before.gid()) {
            fchown(&file, Some(before.uid()), Some(before.gid()))?;
        }
        file.set_permissions(Permissions::from_mode(before.mode() & 0o7777))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o09_mode_owner_and_links_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::take(folder.path()).unwrap();
        let (real, link) = (folder.path().join("real.toml"), folder.path().join("link.toml"));
        fs::write(&real, "a").unwrap();
        fs::set_permissions(&real, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real.toml", &link).unwrap();
        let is_root = nix::unistd::geteuid().is_root();
        if is_root {
            std::os::unix::fs::chown(&real, Some(12), Some(34)).unwrap();
        }
        replace(&lock, &link, "b").unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        let about = fs::metadata(&real).unwrap();
        assert_eq!(about.mode() & 0o7777, 0o640);
        assert!(!is_root || (about.uid(), about.gid()) == (12, 34));
        assert_eq!(fs::read_to_string(&real).unwrap(), "b");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside it");
        assert!(matches!(create(&lock, &link, "c"), Err(WriteError::Exists(_))));
        create(&lock, &folder.path().join("apps/new.toml"), "c").unwrap();
    }

    #[test]
    fn o09_only_one_changes_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::take(folder.path()).unwrap();
        let second = File::open(folder.path()).unwrap();
        assert!(matches!(second.try_lock(), Err(TryLockError::WouldBlock)));
        drop(lock);
        assert!(second.try_lock().is_ok());
    }
}
