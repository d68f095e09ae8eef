//! What is written to jobs: the ends of the pipes and terminals that they read.

use std::collections::BTreeMap;
use std::future::pending;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::unistd::write;
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::id::JobId;
use crate::inherit::{Inherited, Lost};
use crate::limits::STALLED;
use crate::sys;
use crate::sys::cell::{Cell, Open};

/// What a terminal takes as the end of its input.
const END: &[u8] = &[4];

/// The ends by their job. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Inputs(Arc<Cell<BTreeMap<JobId, Kept>>>);

/// An end that is kept for who will write to it.
#[derive(Debug)]
struct Kept {
    end: Arc<OwnedFd>,
    is_terminal: bool,
    /// Tells those who write that there is to be no more.
    is_closed: watch::Sender<bool>,
}

/// Where a run of a job is written to.
#[derive(Debug)]
pub struct Input {
    // Dropped before what says so.
    end: Arc<OwnedFd>,
    /// Whether it is a terminal.
    pub is_terminal: bool,
    is_closed: watch::Receiver<bool>,
}

/// Somebody who writes there, bit by bit.
#[derive(Debug)]
pub struct Writer<'a> {
    end: &'a OwnedFd,
    /// The same of its own number, once it has had to wait: somebody else may wait for the same end.
    watched: Option<AsyncFd<OwnedFd>>,
    /// How many bytes he has written.
    pub written: u64,
}

/// An end as it is written down.
#[derive(Debug, Serialize, Deserialize)]
pub struct Saved {
    job: JobId,
    fd: RawFd,
    is_terminal: bool,
}

impl Saved {
    /// Its descriptor.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.fd
    }
}

impl Inputs {
    /// The ends, to be written down.
    #[must_use]
    pub fn save(&self) -> Vec<Saved> {
        let saved = |(job, kept): (&JobId, &Kept)| Saved {
            job: job.clone(),
            fd: kept.end.as_raw_fd(),
            is_terminal: kept.is_terminal,
        };
        self.all().iter().map(saved).collect()
    }

    /// The ends that were written down.
    pub fn restore(saved: Vec<Saved>, inherited: &mut Inherited) -> Result<Self, Lost> {
        let inputs = Self::default();
        for Saved { job, fd, is_terminal } in saved {
            inputs.keep(&job, inherited.claim(fd)?, is_terminal);
        }
        Ok(inputs)
    }

    /// A new run of `job` reads from the other end of this.
    pub fn keep(&self, job: &JobId, end: OwnedFd, is_terminal: bool) {
        let (end, is_closed) = (Arc::new(end), watch::Sender::default());
        self.all().insert(job.clone(), Kept { end, is_terminal, is_closed });
    }

    /// Where `job` is written to, if it reads what is written to it.
    #[must_use]
    pub fn find(&self, job: &JobId) -> Option<Input> {
        let all = self.all();
        let Kept { end, is_terminal, is_closed } = all.get(job)?;
        let (end, is_closed) = (Arc::clone(end), is_closed.subscribe());
        Some(Input { end, is_terminal: *is_terminal, is_closed })
    }

    /// The job gets no more; what it has not read yet it can still read.
    pub fn close(&self, job: &JobId) {
        self.all().remove(job);
    }

    /// The run of the job that reads from there gets no more, also from who is writing to it. A later
    /// one is not meant. When this is done, the end is closed.
    pub async fn close_run(&self, job: &JobId, input: Input) {
        let kept = {
            let mut all = self.all();
            let is_current = all.get(job).is_some_and(|kept| Arc::ptr_eq(&kept.end, &input.end));
            is_current.then(|| all.remove(job)).flatten()
        };
        drop(input);
        if let Some(Kept { end, is_closed, .. }) = kept {
            drop(end);
            is_closed.send_replace(true);
            is_closed.closed().await;
        }
    }

    /// How many ends there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.all().len()
    }

    fn all(&self) -> Open<'_, BTreeMap<JobId, Kept>> {
        self.0.open()
    }
}

impl Input {
    /// Somebody who writes to it.
    #[must_use]
    pub fn writer(&self) -> Writer<'_> {
        Writer { end: &self.end, watched: None, written: 0 }
    }

    /// Resolves when somebody else has closed it.
    pub async fn closed(&self) {
        let mut is_closed = self.is_closed.clone();
        if is_closed.wait_for(|is_closed| *is_closed).await.is_err() {
            // The job has ended, which writing to it will tell.
            pending::<()>().await;
        }
    }

    /// Sets the size of the window.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<(), Errno> {
        sys::set_window(&*self.end, rows, columns)
    }
}

impl Writer<'_> {
    /// Writes all of `bytes`, waiting for the job to read where it must, but never longer than
    /// [`STALLED`] for it to read anything.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            let count = timeout(STALLED, self.write_some(bytes)).await;
            let count = count.unwrap_or(Err(Errno::ETIMEDOUT))?;
            self.written += count as u64;
            bytes = bytes.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Says to a terminal that there is no more.
    pub async fn end(&mut self) -> Result<(), Errno> {
        let written = self.written;
        let result = self.write(END).await;
        self.written = written;
        result
    }

    async fn write_some(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        loop {
            match write(self.end, bytes) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    let watched = match &mut self.watched {
                        Some(watched) => watched,
                        none => {
                            let same = self.end.as_fd().try_clone_to_owned();
                            let same = same.and_then(sys::watch).map_err(|e| sys::errno(&e))?;
                            none.insert(same)
                        }
                    };
                    let mut ready = watched.writable().await.map_err(|e| sys::errno(&e))?;
                    ready.clear_ready();
                }
                result => return result,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::fcntl::OFlag;
    use nix::unistd::{pipe2, read};
    use tokio::time::{Instant, sleep};

    use super::*;

    /// More than a pipe takes.
    const MUCH: usize = 1_000_000;

    /// A job's input, and the end that the job reads.
    fn input() -> (Inputs, Input, OwnedFd) {
        let (reads, end) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).unwrap();
        let inputs = Inputs::default();
        inputs.keep(&JobId::boot(), end, false);
        let input = inputs.find(&JobId::boot()).unwrap();
        (inputs, input, reads)
    }

    #[tokio::test(start_paused = true)]
    async fn b22_who_writes_waits_so_long_from_the_last_byte_that_was_read() {
        let (_inputs, input, reads) = input();
        let begun = Instant::now();
        let late = STALLED * 9 / 10;
        let reading = tokio::spawn(async move {
            for _ in 0..3 {
                sleep(late).await;
                assert!(read(&reads, &mut [0; 8192]).is_ok());
            }
            reads
        });
        let mut writer = input.writer();
        let result = writer.write(&vec![b'x'; MUCH]).await;
        assert_eq!((result, begun.elapsed()), (Err(Errno::ETIMEDOUT), 3 * late + STALLED));
        assert!(writer.written >= 3 * 8192, "{}", writer.written);
        drop(reading.await);
    }

    #[tokio::test(start_paused = true)]
    async fn b22_nobody_waits_for_ever_to_tell_the_end() {
        let (_inputs, input, _reads) = input();
        let mut writer = input.writer();
        assert_eq!(writer.write(&vec![b'x'; MUCH]).await, Err(Errno::ETIMEDOUT));
        let (written, begun) = (writer.written, Instant::now());
        assert_eq!((writer.end().await, begun.elapsed()), (Err(Errno::ETIMEDOUT), STALLED));
        assert_eq!(writer.written, written);
    }

    #[tokio::test]
    async fn b22_what_is_closed_is_closed_at_once_whoever_writes() {
        let (inputs, input, reads) = input();
        let another = inputs.find(&JobId::boot()).unwrap();
        let writing = tokio::spawn(async move {
            let mut writer = another.writer();
            let much = vec![b'x'; MUCH];
            tokio::select! {
                result = writer.write(&much) => panic!("{result:?}"),
                () = another.closed() => writer.written,
            }
        });
        let third = inputs.find(&JobId::boot()).unwrap();
        sleep(Duration::from_millis(10)).await;
        let job = JobId::boot();
        // Who closes it, too, waits for nobody.
        tokio::join!(inputs.close_run(&job, input), inputs.close_run(&job, third));
        let mut count = 0;
        while let Ok(more @ 1..) = read(&reads, &mut [0; 8192]) {
            count += more as u64;
        }
        assert_eq!(read(&reads, &mut [0; 1]), Ok(0), "there is an end");
        assert_eq!(writing.await.unwrap(), count);
        assert!(inputs.find(&JobId::boot()).is_none());
    }
}
