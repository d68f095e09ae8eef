//! What a generation of the proxy keeps of its routes, so that it comes back with them while bootctl is down: a folder of
//! its own, in which nobody else can write. And the lock by which it knows that bootctl is there, who knows better.
//!
//! It is only for the processes of one job. The next generation of that name begins with nothing: what an earlier one has
//! known may be long over.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, lchown};
use std::path::{Path, PathBuf};
use std::thread;

use init_wire::Account;
use tracing::warn;

use crate::account;
use crate::generation::Generation;

/// The proxy reads it with no right but to look.
const READABLE: u32 = 0o644;

/// The folder of a generation.
fn folder(generation: Generation, run_dir: &Path) -> PathBuf {
    run_dir.join(format!("{generation}.state"))
}

/// The file that its proxy writes.
pub(crate) fn file(generation: Generation, run_dir: &Path) -> PathBuf {
    folder(generation, run_dir).join("snapshot.json")
}

/// The file that bootctl holds a lock on.
pub(crate) fn lock(run_dir: &Path) -> PathBuf {
    run_dir.join("bootctl.lock")
}

/// Makes room for a generation that is to be started, with nothing in it. Without it there is a proxy all the same, which
/// says what it misses.
pub(crate) fn prepare(generation: Generation, run_dir: &Path, user: Option<&Account>) {
    let folder = folder(generation, run_dir);
    let made = clear(&folder).and_then(|()| DirBuilder::new().mode(0o700).create(&folder));
    let uid = user.and_then(account::uid).filter(|_| nix::unistd::geteuid().is_root());
    let given = made.and_then(|()| uid.map_or(Ok(()), |uid| lchown(&folder, Some(uid), None)));
    if let Err(error) = given {
        warn!(
            "{} cannot be made, so {generation} cannot come back alone: {error}",
            folder.display()
        );
    }
}

/// Removes what a generation that has ended has left.
pub(crate) fn remove(generation: Generation, run_dir: &Path) {
    // The next of that name removes it as well.
    drop(clear(&folder(generation, run_dir)));
}

fn clear(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Holds the lock for as long as this process lives. One that another bootctl still holds is waited for, not here.
pub(crate) fn hold_lock(run_dir: &Path) -> io::Result<()> {
    let path = lock(run_dir);
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(READABLE).open(path)?;
    match file.try_lock() {
        Ok(()) => keep(file),
        Err(TryLockError::Error(error)) => return Err(error),
        Err(TryLockError::WouldBlock) => {
            let wait = move || match file.lock() {
                Ok(()) => keep(file),
                Err(error) => {
                    warn!("the lock that tells the proxy of bootctl cannot be held: {error}");
                }
            };
            thread::Builder::new().name("lock".to_owned()).spawn(wait)?;
        }
    }
    Ok(())
}

/// Nobody is there any more who would care.
pub(crate) fn let_go(run_dir: &Path) {
    drop(fs::remove_file(lock(run_dir)));
}

/// It ends with the process, however that ends.
fn keep(file: File) {
    std::mem::forget(file);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn p02_a_generation_begins_with_an_empty_folder_of_its_own() {
        let run = tempfile::tempdir().expect("a folder");
        let first = Generation::FIRST;
        fs::create_dir(folder(first, run.path())).expect("made");
        fs::write(file(first, run.path()), "of another one").expect("written");
        fs::create_dir(folder(first.next(), run.path())).expect("made");
        prepare(first, run.path(), Some(&Account::Id(65_534)));
        let about = fs::metadata(folder(first, run.path())).expect("there");
        assert_eq!(about.mode() & 0o777, 0o700);
        if nix::unistd::geteuid().is_root() {
            assert_eq!(about.uid(), 65_534);
        }
        assert!(!file(first, run.path()).exists());
        remove(first, run.path());
        assert!(!folder(first, run.path()).exists());
        assert!(folder(first.next(), run.path()).exists(), "that of others stays");
    }

    #[test]
    fn p02_the_lock_is_held_and_an_earlier_holder_is_waited_for() {
        let run = tempfile::tempdir().expect("a folder");
        let other = || File::open(lock(run.path())).expect("it is there");
        let before = File::create(lock(run.path())).expect("made");
        before.lock().expect("free");
        hold_lock(run.path()).expect("it does not wait here");
        drop(before);
        let by = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while other().try_lock_shared().is_ok() {
            assert!(std::time::Instant::now() < by, "it is never held");
            thread::yield_now();
        }
    }
}
