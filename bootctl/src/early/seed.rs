//! What the kernel's randomness begins with, kept from one boot to the next. It is mixed in and not counted on:
//! a disk may have been copied. What was used is replaced as soon as the kernel has something better, which may take a
//! second on a machine without a source of its own: nobody waits for that.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;

use tracing::error;

/// Where it is kept.
pub(super) const FILE: &str = "/var/lib/bootctl/random-seed";
const SOURCE: &str = "/dev/urandom";
/// As much as the kernel's generator holds, twice.
const LENGTH: usize = 64;

/// Gives the kernel what the last boot has left, and keeps something for the next.
pub(super) fn pass_on() {
    let told = |done: io::Result<()>| {
        if let Err(error) = done {
            error!("cannot keep randomness for the next boot in {FILE}: {error}");
        }
    };
    told(mix_in(Path::new(FILE), Path::new(SOURCE)));
    let keep = move || told(keep(Path::new(FILE), Path::new(SOURCE)));
    let thread = thread::Builder::new().name("seed".to_owned());
    if let Err(error) = thread.spawn(keep) {
        told(Err(error));
    }
}

/// Keeps something newer, at the end of a life.
pub(super) fn renew() {
    // What was kept at the beginning is good, too.
    drop(keep(Path::new(FILE), Path::new(SOURCE)));
}

fn mix_in(file: &Path, source: &Path) -> io::Result<()> {
    match fs::read(file) {
        Ok(seed) => OpenOptions::new().write(true).open(source)?.write_all(&seed),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn keep(file: &Path, source: &Path) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    let mut seed = [0; LENGTH];
    File::open(source)?.read_exact(&mut seed)?;
    let new = file.with_extension("new");
    let mut options = OpenOptions::new();
    let mut written = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    written.write_all(&seed)?;
    written.sync_all()?;
    fs::rename(&new, file)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_was_kept_is_passed_on_and_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, source) = (folder.path().join("deep/random-seed"), folder.path().join("source"));
        fs::write(&source, [7; 100]).expect("written");
        mix_in(&file, &source).expect("none yet");
        keep(&file, &source).expect("kept");
        assert_eq!(fs::read(&file).expect("kept"), [7; LENGTH]);
        fs::write(&source, [8; 100]).expect("written");
        mix_in(&file, &source).expect("passed on");
        let mixed = fs::read(&source).expect("there");
        assert_eq!((mixed[0], mixed[99]), (7, 8), "it was written to the source");
        fs::write(&source, [9; 100]).expect("written");
        keep(&file, &source).expect("kept");
        assert_eq!(fs::read(&file).expect("kept"), [9; LENGTH]);
        let mode = fs::metadata(&file).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(mix_in(&file, Path::new("/nowhere/at/all")).is_err());
        assert!(keep(&file, Path::new("/nowhere")).is_err());
    }
}
