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
}

/// What is in the way of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// init has opened it with another value of this option, for this job.
    Opened(&'static str, Option<JobId>),
    /// A socket that init keeps for this job at an address that overlaps.
    Kept(Address, Option<JobId>),
    /// A socket that this job has made and stored.
    Stored(JobId),
    /// init's own API.
    Api,
    /// A process.
    Process {
        /// Its number.
        pid: i32,
        /// The name of its program, as the kernel shows it.
        name: String,
        /// The job that it is of.
        job: Option<JobId>,
    },
    /// A file that is no socket.
    File,
    /// Somebody who was not found, or not looked for.
    Unseen,
}

impl Display for Snag {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let named = |job: &Option<JobId>| {
            job.as_ref().map_or("another job".to_owned(), |job| format!("job `{job}`"))
        };
        match &self.obstacle {
            None => Ok(()),
            Some(Obstacle::Opened(option, job)) => {
                let job = named(job);
                write!(
                    f,
                    "; {job} has it opened with another `{option}`: give the same, or stop "
                )?;
                write!(f, "and DELETE {job} first")
            }
            Some(Obstacle::Kept(address, job)) => {
                write!(f, "; it is kept for {} as {address}", named(job))
            }
            Some(Obstacle::Stored(job)) => write!(f, "; job `{job}` has stored a socket there"),
            Some(Obstacle::Api) => f.write_str("; init's own API is there"),
            Some(Obstacle::Process { pid, name, job }) => {
                // A program chooses its name.
                let name = name.replace(char::is_control, "?");
                write!(f, "; it is in use by {name} (pid {pid})")?;
                job.as_ref().map_or(Ok(()), |job| write!(f, ", a process of job `{job}`"))
            }
            Some(Obstacle::File) => f.write_str("; a file that is no socket is there: remove it"),
            Some(Obstacle::Unseen) => {
                f.write_str("; somebody has it whom init has not found: `ss -lp` may show who")
            }
        }
    }
}
