//! Logs that survive a power cut: what was written is on the disk a second later.
//!
//! Writing itself waits for no disk. Whoever has written notes the file, and a thread of its own, there only while
//! there is work, has the disk take all that was noted, round by round: a disk that is slow makes rounds longer, and
//! nobody wait. A file that was put away meanwhile is seen to by whoever compresses it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::warn;

/// How long a line may be nowhere but in memory, beside the time that the disk takes.
const EVERY: Duration = Duration::from_secs(1);

/// What was written, and has not been on the disk since.
#[derive(Clone, Debug)]
pub(super) struct Lasting {
    fresh: Arc<Mutex<Fresh>>,
    every: Duration,
    sync: fn(&Path) -> io::Result<()>,
}

#[derive(Debug, Default)]
struct Fresh {
    files: BTreeSet<PathBuf>,
    /// Whether somebody sees to them.
    is_busy: bool,
}

impl Lasting {
    pub(super) fn new() -> Self {
        Self { fresh: Arc::default(), every: EVERY, sync: sync_data }
    }

    /// A file has been written to.
    pub(super) fn note(&self, path: PathBuf) {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        fresh.files.insert(path);
        if mem::replace(&mut fresh.is_busy, true) {
            return;
        }
        let own = self.clone();
        let spawned = thread::Builder::new().name("lasting".into()).spawn(move || own.run());
        if let Err(error) = spawned {
            warn!("logs are not on the disk yet: {error}; it is tried again with the next line");
            fresh.is_busy = false;
        }
    }

    fn run(&self) {
        loop {
            thread::sleep(self.every);
            for path in self.take() {
                match (self.sync)(&path) {
                    // It was put away, or removed.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => warn!("{} may be lost with the power: {error}", path.display()),
                    Ok(()) => {}
                }
            }
            let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
            if fresh.files.is_empty() {
                fresh.is_busy = false;
                return;
            }
        }
    }

    fn take(&self) -> BTreeSet<PathBuf> {
        mem::take(&mut self.fresh.lock().unwrap_or_else(PoisonError::into_inner).files)
    }
}

fn sync_data(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_data()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use super::*;

    static ROUNDS: AtomicUsize = AtomicUsize::new(0);

    #[test]
    fn whatever_was_written_is_seen_to_once_a_round() {
        let sync = |_: &Path| {
            ROUNDS.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        let lasting = Lasting { fresh: Arc::default(), every: Duration::from_millis(20), sync };
        let is_busy = || lasting.fresh.lock().expect("no panic").is_busy;
        for round in 1..4 {
            for _ in 0..100 {
                lasting.note("a".into());
            }
            let by = Instant::now() + Duration::from_secs(20);
            while is_busy() {
                assert!(Instant::now() < by, "it comes to an end");
                thread::sleep(Duration::from_millis(1));
            }
            let rounds = ROUNDS.load(Ordering::SeqCst);
            assert!((round..100).contains(&rounds), "{rounds} in round {round}");
        }
        assert!(sync_data(Path::new("/nowhere/a")).is_err());
    }
}
