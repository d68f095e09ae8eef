//! A small file replaced as a whole: written beside it, brought to the disk, renamed into place. Whatever ends
//! us in between, there is the old one or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Only its owner may read it, or know what is in it.
pub(crate) const OWN: u32 = 0o600;
/// Only its owner may look into the folder.
const FOLDER: u32 = 0o700;

/// Puts `bytes` in the place of whatever is at `path`, with this mode. Its folder is made if need be, for
/// nobody else.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = folder_of(path)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    // One that was left half written may have another mode.
    drop(fs::remove_file(&new));
    let written = write(&new, bytes, mode).and_then(|()| fs::rename(&new, path));
    if let Err(error) = written {
        drop(fs::remove_file(&new));
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

/// Lets only one at a time change the file at `path`, until what this answers is dropped: who reads it then and
/// replaces it loses nothing of what others have written. Its folder is made if need be.
pub(crate) fn lock(path: &Path) -> io::Result<File> {
    let folder = File::open(folder_of(path)?)?;
    folder.lock()?;
    Ok(folder)
}

/// The folder of the file at `path`, made if need be.
fn folder_of(path: &Path) -> io::Result<&Path> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    if !folder.is_dir() {
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(FOLDER))?;
    }
    Ok(folder)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn z09_a_file_is_replaced_as_a_whole_and_is_nobody_elses() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/file");
        replace(&path, b"one", OWN).expect("written");
        fs::write(folder.path().join("deep/file.new"), "half").expect("written");
        replace(&path, b"two", OWN).expect("written again");
        assert_eq!(fs::read(&path).expect("there"), b"two");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().expect("a folder"))), (0o600, 0o700));
        assert!(!folder.path().join("deep/file.new").exists());
    }
}
