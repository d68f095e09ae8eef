//! What is written to jobs: the ends of the pipes and terminals that they read.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::unistd::write;
use serde::{Deserialize, Serialize};

use crate::id::JobId;
use crate::inherit::{Inherited, Lost};
use crate::sys;
use crate::sys::cell::{Cell, Open};

/// What a terminal takes as the end of its input.
const END: &[u8] = &[4];

/// The ends by their job. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Inputs(Arc<Cell<BTreeMap<JobId, Input>>>);

/// Where a run of a job is written to.
#[derive(Clone, Debug)]
pub struct Input {
    end: Arc<OwnedFd>,
    /// Whether it is a terminal.
    pub is_terminal: bool,
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
        let saved = |(job, input): (&JobId, &Input)| Saved {
            job: job.clone(),
            fd: input.end.as_raw_fd(),
            is_terminal: input.is_terminal,
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
        self.all().insert(job.clone(), Input { end: Arc::new(end), is_terminal });
    }

    /// Where `job` is written to, if it reads what is written to it.
    #[must_use]
    pub fn find(&self, job: &JobId) -> Option<Input> {
        self.all().get(job).cloned()
    }

    /// The job gets no more; what it has not read yet it can still read.
    pub fn close(&self, job: &JobId) {
        self.all().remove(job);
    }

    /// How many ends there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.all().len()
    }

    fn all(&self) -> Open<'_, BTreeMap<JobId, Input>> {
        self.0.open()
    }
}

impl Input {
    /// Writes all of `bytes`, waiting for the job to read where it must, and counts in `written`.
    pub async fn write(&self, mut bytes: &[u8], written: &mut usize) -> Result<(), Errno> {
        let mut watched = None;
        while !bytes.is_empty() {
            match write(&self.end, bytes) {
                Ok(count) => {
                    *written += count;
                    bytes = bytes.get(count..).unwrap_or_default();
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    // Of its own number: somebody else may be waiting for the same end.
                    let watched = match &mut watched {
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
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Says to a terminal that there is no more.
    pub async fn end(&self) -> Result<(), Errno> {
        self.write(END, &mut 0).await
    }

    /// Sets the size of the window.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<(), Errno> {
        sys::set_window(&*self.end, rows, columns)
    }
}
