//! Processes that init has let go of: no job's any more, and not to be ended with init.
//!
//! Those in a control group are told by that; else by number and start, by the session that they were
//! started in, and by descent as far as it was seen.

use std::path::PathBuf;

use crate::cgroup;
use crate::process::Process;

/// Who is left alone at init's end.
#[derive(Debug, Default)]
pub struct Spared {
    /// Control groups, with all that is in them.
    pub groups: Vec<PathBuf>,
    /// Numbers of sessions and process groups.
    pub sessions: Vec<i32>,
    /// Processes by number and start.
    pub processes: Vec<(i32, u64)>,
}

impl Spared {
    /// Those of `pids` who are not spared.
    #[must_use]
    pub fn others(&self, mut pids: Vec<i32>) -> Vec<i32> {
        if self.is_empty() {
            return pids;
        }
        // Looked at after `pids`, so that nobody is made in a group between.
        let grouped: Vec<_> =
            self.groups.iter().flat_map(|group| cgroup::members_of(group)).collect();
        pids.retain(|pid| !grouped.contains(pid) && !self.has(*pid));
        pids
    }

    /// Whether nobody is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.sessions.is_empty() && self.processes.is_empty()
    }

    fn has(&self, pid: i32) -> bool {
        Process::read(pid).is_some_and(|process| {
            self.sessions.contains(&process.session)
                || self.sessions.contains(&process.group)
                || self.processes.contains(&(process.pid, process.start))
        })
    }
}
