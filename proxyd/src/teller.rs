//! Whoever tells a proxy what is wanted, and whether he is still there: he holds a lock on a file for as long as he lives.
//!
//! A proxy that comes back with a snapshot leaves the door to a teller that is there, because he knows better, and opens it
//! itself when there is none, and has been none for a while: where both have died at once, he may be about to come back, and
//! what has changed meanwhile is known to him alone. So it serves when he stays away, and serves nothing stale when he does
//! not; clients wait until then.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::registry::Registry;
use crate::say::say;

/// How long nobody holds the lock before it counts as nobody's.
const ABSENCE: Duration = Duration::from_secs(1);

/// Lets clients in when nobody holds the lock, and nobody comes for it.
pub(crate) fn open_without(path: PathBuf, registry: Arc<Registry>) -> io::Result<()> {
    let wait = move || match wait_for_his_absence(&path, ABSENCE) {
        Ok(()) => {
            if !registry.door.is_open() {
                say!(
                    "proxyd: nobody is there to tell what is wanted: it goes on with the snapshot"
                );
            }
            registry.door.unlock();
        }
        Err(error) => say!(
            "proxyd: it is not known whether somebody holds {}: {error}; clients wait for `PUT /door`",
            path.display()
        ),
    };
    thread::Builder::new().name("teller".to_owned()).spawn(wait).map(drop)
}

/// Returns when nobody has held a lock on the file for a while, or at least neither at its beginning nor at its end.
fn wait_for_his_absence(path: &Path, absence: Duration) -> io::Result<()> {
    loop {
        wait_for_his_end(path)?;
        thread::sleep(absence);
        if !is_there(path) {
            return Ok(());
        }
    }
}

/// Returns when nobody holds a lock on the file; at once if there is none.
fn wait_for_his_end(path: &Path) -> io::Result<()> {
    match File::open(path) {
        // It is let go of at once: another teller may come.
        Ok(file) => file.lock_shared(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether somebody holds a lock on the file now.
fn is_there(path: &Path) -> bool {
    File::open(path)
        .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::sync::mpsc::channel;
    use std::time::Instant;

    use super::*;

    #[test]
    fn p02_it_is_told_when_the_last_holder_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        wait_for_his_end(&path).unwrap();
        let held = File::create(&path).unwrap();
        held.lock().unwrap();
        let (tell, told) = channel();
        let theirs = path.clone();
        thread::spawn(move || tell.send(wait_for_his_end(&theirs).is_ok()));
        assert!(told.recv_timeout(Duration::from_millis(50)).is_err(), "he is there");
        assert!(is_there(&path));
        drop(held);
        assert_eq!(told.recv_timeout(Duration::from_secs(20)), Ok(true));
        assert!(!is_there(&path));
        assert!(File::open(&path).unwrap().try_lock().is_ok(), "it is held no longer");
    }

    /// Waits until somebody waits for a lock on the file.
    fn wait_for_a_waiter(path: &Path) {
        let file = format!(":{} ", fs::metadata(path).unwrap().ino());
        let by = Instant::now() + Duration::from_secs(20);
        let waits = |line: &str| line.contains("->") && line.contains(&file);
        while !fs::read_to_string("/proc/locks").unwrap().lines().any(waits) {
            assert!(Instant::now() < by, "nobody waits for {}", path.display());
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn p02_one_who_comes_back_soon_has_not_been_away() {
        let folder = tempfile::tempdir().unwrap();
        let (path, next) = (folder.path().join("lock"), folder.path().join("next"));
        let held = File::create(&path).unwrap();
        held.lock().unwrap();
        let (tell, told) = channel();
        let (theirs, absence) = (path.clone(), Duration::from_millis(50));
        thread::spawn(move || tell.send(wait_for_his_absence(&theirs, absence).is_ok()));
        wait_for_a_waiter(&path);
        // The next one is there before the first has gone, so that this test is never too slow.
        let again = File::create(&next).unwrap();
        again.lock().unwrap();
        fs::rename(&next, &path).unwrap();
        drop(held);
        wait_for_a_waiter(&path);
        assert!(told.try_recv().is_err(), "he is there again");
        drop(again);
        assert_eq!(told.recv_timeout(Duration::from_secs(20)), Ok(true));
    }
}
