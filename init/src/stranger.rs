//! Main processes that are not init's children, because they were taken over: how their end is seen,
//! and how they are signalled.
//!
//! Each is held by a handle, which never means anybody else, whoever gets its number. A task waits for
//! its end; all there is to know lies here, so another task could.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::adoption::NotAdoptable;
use crate::id::{JobId, Pid};
use crate::inherit::{Inherited, Lost};
use crate::past::{Past, Unread, Wanted};
use crate::process::Process;
use crate::signal::{Exit, Signal};
use crate::sys;

/// How long reading what a process was started with may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// Processes that are being read at once. Those that never answer count as long as they do not.
const MAX_READERS: usize = 8;
/// A reader's stack; what it reads lies on the heap.
const READERS_STACK: usize = 256 * 1024;

/// What is seen of processes that init has not started.
#[derive(Debug)]
pub enum Sight {
    /// A main process has ended.
    Ended(Pid, u64),
    /// What the process that a job is to begin with was started with.
    Read(JobId, Wanted, Box<Result<Past, Unread>>),
}

/// The main processes that init has taken over, and does not reap.
#[derive(Debug)]
pub struct Strangers {
    sights: mpsc::UnboundedSender<Sight>,
    known: BTreeMap<Pid, Stranger>,
    last: u64,
    readers: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Stranger {
    /// Tells it from an earlier one of that number.
    number: u64,
    handle: Arc<OwnedFd>,
    start: u64,
    task: AbortHandle,
}

/// A process that was taken over, as it is written down.
#[derive(Debug, Serialize, Deserialize)]
pub struct Saved {
    pid: Pid,
    start: u64,
    handle: RawFd,
}

impl Saved {
    /// The handle on it.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.handle
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Strangers {
    /// None so far, and where what is seen of them arrives.
    #[must_use]
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Sight>) {
        // As many sights as there are jobs at most: each has one end.
        let (sights, arrivals) = mpsc::unbounded_channel();
        (Self { sights, known: BTreeMap::new(), last: 0, readers: Arc::default() }, arrivals)
    }

    /// The processes, to be written down.
    #[must_use]
    pub fn save(&self) -> Vec<Saved> {
        let saved = |(pid, stranger): (&Pid, &Stranger)| Saved {
            pid: *pid,
            start: stranger.start,
            handle: stranger.handle.as_raw_fd(),
        };
        self.known.iter().map(saved).collect()
    }

    /// Watches those that were written down. To be called within the runtime.
    pub fn restore(&mut self, saved: Vec<Saved>, inherited: &mut Inherited) -> Result<(), Lost> {
        for Saved { pid, start, handle } in saved {
            self.watch(pid, start, inherited.claim(handle)?).map_err(|_| Lost(handle))?;
        }
        Ok(())
    }

    /// Whether a process is watched.
    #[must_use]
    pub fn knows(&self, pid: Pid) -> bool {
        self.known.contains_key(&pid)
    }

    /// Descriptors that they are held by.
    #[must_use]
    pub fn count(&self) -> usize {
        self.known.len()
    }

    /// Begins to watch a process. To be called within the runtime.
    pub fn watch(&mut self, pid: Pid, start: u64, handle: OwnedFd) -> Result<(), Errno> {
        self.last += 1;
        let (number, handle) = (self.last, Arc::new(handle));
        let end = sys::watch(Arc::clone(&handle)).map_err(|error| sys::errno(&error))?;
        let sights = self.sights.clone();
        let task = tokio::spawn(async move {
            if end.readable().await.is_ok() {
                let _ = sights.send(Sight::Ended(pid, number));
            }
        });
        let stranger = Stranger { number, handle, start, task: task.abort_handle() };
        self.known.insert(pid, stranger);
        Ok(())
    }

    /// Signals one of them; `None` if it is not one of them.
    #[must_use]
    pub fn signal(&self, pid: Pid, signal: Signal) -> Option<Result<(), Errno>> {
        let stranger = self.known.get(&pid)?;
        Some(sys::signal_process(&stranger.handle, signal))
    }

    /// One has ended, unless it is known already. Answers how, as far as that can be told.
    pub fn ended(&mut self, pid: Pid, number: u64) -> Option<Exit> {
        self.known.get(&pid).filter(|stranger| stranger.number == number)?;
        self.forget(pid)
    }

    /// Looks after one no more. Answers how it has ended, if it was one.
    pub fn forget(&mut self, pid: Pid) -> Option<Exit> {
        let stranger = self.known.remove(&pid)?;
        // The kernel tells it of who is reaped, if it is new enough; before, his parent's child does.
        let exit = || sys::exit_of(&stranger.handle);
        let of_zombie = || Process::exit_of_zombie(pid.as_raw(), stranger.start);
        Some(exit().or_else(of_zombie).or_else(exit).unwrap_or(Exit::Unknown))
    }

    /// Begins to read what a process was started with.
    pub fn read(&mut self, job: &JobId, pid: Pid, wanted: Wanted) -> Result<(), NotAdoptable> {
        self.read_by(job, pid, wanted, move || Past::read(pid.as_raw(), wanted))
    }

    fn read_by(
        &mut self,
        job: &JobId,
        pid: Pid,
        wanted: Wanted,
        read: impl FnOnce() -> Result<Past, Unread> + Send + 'static,
    ) -> Result<(), NotAdoptable> {
        let (pid, readers) = (pid.as_raw(), Arc::clone(&self.readers));
        if readers.load(Ordering::Relaxed) >= MAX_READERS {
            return Err(NotAdoptable::TooMany(MAX_READERS));
        }
        readers.fetch_add(1, Ordering::Relaxed);
        let (sender, past) = oneshot::channel();
        let reader = thread::Builder::new().stack_size(READERS_STACK).spawn(move || {
            // Who asked may have gone.
            let _ = sender.send(read());
            readers.fetch_sub(1, Ordering::Relaxed);
        });
        if reader.is_err() {
            self.readers.fetch_sub(1, Ordering::Relaxed);
            return Err(NotAdoptable::Unread(Unread::NoReader(pid)));
        }
        let (sights, job) = (self.sights.clone(), job.clone());
        tokio::spawn(async move {
            let past = tokio::time::timeout(PATIENCE, past).await;
            let past = past.ok().and_then(Result::ok).unwrap_or(Err(Unread::Silent(pid)));
            let _ = sights.send(Sight::Read(job, wanted, Box::new(past)));
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Instant;

    use init_wire::JobSpec;

    use super::*;

    #[test]
    fn z08_a_process_whose_memory_does_not_answer_is_given_up() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut strangers, mut sights) = Strangers::new();
            let (pid, job) = (Pid::new(77).unwrap(), JobId::numbered(1));
            let wanted = Wanted::of(&JobSpec::new(""));
            let (server, answer) = std::sync::mpsc::channel::<()>();
            let answer = Arc::new(Mutex::new(answer));
            let began = Instant::now();
            let mut read = || {
                let answer = Arc::clone(&answer);
                strangers.read_by(&job, pid, wanted, move || {
                    let _ = answer.lock().unwrap().recv();
                    Ok(Past::default())
                })
            };
            for _ in 0..MAX_READERS {
                assert_eq!(read(), Ok(()));
            }
            assert_eq!(read(), Err(NotAdoptable::TooMany(MAX_READERS)));
            for _ in 0..MAX_READERS {
                let Some(Sight::Read(_, _, past)) = sights.recv().await else { panic!("a sight") };
                assert_eq!(*past, Err(Unread::Silent(77)));
            }
            assert!(began.elapsed() >= PATIENCE && began.elapsed() < PATIENCE * 5);
            // They still read, and count.
            assert_eq!(read(), Err(NotAdoptable::TooMany(MAX_READERS)));
            drop(server);
            while read().is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let Some(Sight::Read(_, _, past)) = sights.recv().await else { panic!("a sight") };
            assert_eq!(*past, Ok(Past::default()));
        });
    }
}
