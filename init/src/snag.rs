//! What stands in the way of a socket that a job names.

use std::fmt::{self, Display, Formatter};

use crate::id::JobId;
use crate::spec::Address;

/// A socket that cannot be opened, and what is known of why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snag {
    /// Where it was to be.
    pub address: Address,
    /// What is in the way, if it is more than the kernel's reason says.
    pub obstacle: Option<Obstacle>,
    /// The job that this is about.
    pub job: Option<JobId>,
}

/// What is in the way of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// init has opened it with another value of this option.
    Opened(&'static str),
    /// A socket that init keeps at an address that covers this one.
    Kept(Address),
    /// init's own API.
    Api,
    /// A process.
    Process {
        /// Its number.
        pid: i32,
        /// The name of its program, as the kernel shows it.
        name: String,
    },
    /// A file that is no socket.
    File,
    /// Somebody who cannot be seen.
    Unseen,
}

impl Display for Snag {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let job = || self.job.as_ref().map_or("another job".into(), |job| format!("job `{job}`"));
        match &self.obstacle {
            None => Ok(()),
            Some(Obstacle::Opened(option)) => {
                let job = job();
                write!(
                    f,
                    "; {job} has it opened with another `{option}`: give the same, or stop "
                )?;
                write!(f, "and DELETE {job} first")
            }
            Some(Obstacle::Kept(address)) => write!(f, "; it is kept for {} as {address}", job()),
            Some(Obstacle::Api) => f.write_str("; init's own API is there"),
            Some(Obstacle::Process { pid, name }) => {
                // A program chooses its name.
                let name = name.replace(char::is_control, "?");
                write!(f, "; it is in use by {name} (pid {pid})")?;
                self.job.as_ref().map_or(Ok(()), |job| write!(f, ", a process of job `{job}`"))
            }
            Some(Obstacle::File) => f.write_str("; a file that is no socket is there: remove it"),
            Some(Obstacle::Unseen) => f.write_str(
                "; it is in use by somebody whom init cannot see: `ss -lp` may show who",
            ),
        }
    }
}
