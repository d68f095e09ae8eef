//! Copies a release, so that a build has something to work in that nobody runs from.
//!
//! Modes, owners and times of change stay: builds look at them. Where the file system can, the copy shares its
//! blocks with the original. It refuses what is no file, folder or link; sockets and pipes, which an app may
//! have left, are left out.

use std::fs::{self, File, FileTimes, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use nix::unistd::syncfs;

use super::{Bounds, Contents, Excess};

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    #[error("{} cannot be copied: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the release holds {0}")]
    TooMuch(#[from] Excess),
}

/// Copies what is in `from` into `to`, which is there and empty.
pub(crate) fn copy(from: &Path, to: &Path, bounds: Bounds) -> Result<Contents, CopyError> {
    let mut contents = Contents::default();
    let mut folders = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = folders.pop() {
        let failed = |source| CopyError::Io { path: from.clone(), source };
        for entry in fs::read_dir(&from).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (path, new) = (entry.path(), to.join(entry.file_name()));
            let about = fs::symlink_metadata(&path).map_err(failed)?;
            contents.add(if about.is_file() { about.len() } else { 0 }, bounds)?;
            one(&path, &new, &about)
                .map_err(|source| CopyError::Io { path: path.clone(), source })?;
            if about.is_dir() {
                folders.push((path, new));
            }
        }
    }
    Ok(contents)
}

/// Has all that is there written to the disk; answers how much that is.
pub(crate) fn keep(folder: &Path, bounds: Bounds) -> Result<Contents, CopyError> {
    let contents = measure(folder, bounds)?;
    let failed = |source| CopyError::Io { path: folder.to_owned(), source };
    let all = File::open(folder).map_err(failed)?;
    syncfs(&all).map_err(|error| failed(error.into()))?;
    Ok(contents)
}

/// How much there is.
pub(crate) fn measure(folder: &Path, bounds: Bounds) -> Result<Contents, CopyError> {
    let mut contents = Contents::default();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let failed = |source| CopyError::Io { path: folder.clone(), source };
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let about = fs::symlink_metadata(&path).map_err(failed)?;
            contents.add(if about.is_file() { about.len() } else { 0 }, bounds)?;
            if about.is_dir() {
                folders.push(path);
            }
        }
    }
    Ok(contents)
}

fn one(path: &Path, new: &Path, about: &Metadata) -> io::Result<()> {
    let kind = about.file_type();
    if kind.is_dir() {
        fs::create_dir(new)?;
        own(new, about)?;
        fs::set_permissions(new, Permissions::from_mode(about.mode() & 0o7777 | 0o700))
    } else if kind.is_symlink() {
        symlink(fs::read_link(path)?, new)?;
        own(new, about)
    } else if kind.is_file() {
        fs::copy(path, new)?;
        own(new, about)?;
        // After the owner, whose change takes bits away.
        fs::set_permissions(new, Permissions::from_mode(about.mode() & 0o7777))?;
        File::options()
            .read(true)
            .open(new)?
            .set_times(FileTimes::new().set_modified(about.modified()?))
    } else {
        Ok(())
    }
}

/// Whoever is not root has only files of his own.
fn own(new: &Path, about: &Metadata) -> io::Result<()> {
    let made = fs::symlink_metadata(new)?;
    if (made.uid(), made.gid()) == (about.uid(), about.gid()) {
        return Ok(());
    }
    lchown(new, Some(about.uid()), Some(about.gid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d09_a_copy_is_as_its_original() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("a/b")).expect("created");
        fs::create_dir(&to).expect("created");
        fs::write(from.join("a/b/run.sh"), "run").expect("written");
        fs::set_permissions(from.join("a/b/run.sh"), Permissions::from_mode(0o751)).expect("ours");
        symlink("a/b/run.sh", from.join("link")).expect("linked");
        drop(std::os::unix::net::UnixListener::bind(from.join("socket")).expect("bound"));
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        let file = File::open(from.join("a/b/run.sh")).expect("there");
        file.set_times(FileTimes::new().set_modified(time)).expect("ours");
        let contents = copy(&from, &to, Bounds::default()).expect("copied");
        assert_eq!(contents, Contents { bytes: 3, entries: 5 });
        let about = fs::metadata(to.join("a/b/run.sh")).expect("there");
        assert_eq!((about.mode() & 0o7777, about.mtime()), (0o751, 1_000_000));
        assert_eq!(fs::read_link(to.join("link")).expect("there"), Path::new("a/b/run.sh"));
        assert!(!to.join("socket").exists());
        let few = Bounds { entries: 2, ..Bounds::default() };
        fs::create_dir(folder.path().join("again")).expect("created");
        let error = copy(&from, &folder.path().join("again"), few).expect_err("too many");
        assert!(error.to_string().contains("more than 2 files"), "{error}");
    }
}
