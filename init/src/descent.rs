//! The processes of a job that was taken over: its main process, and those that descend from it.
//!
//! A process that init has started leads a session and a group of its own; one that was taken over may
//! share both with the shell that it was started from, and with the other end of a pipe. So its group
//! means nothing here, and its session only where it leads that itself: into such a session one comes
//! by descent alone. Who has left it, and whose parents have all ended before init looked, is nobody's.

use nix::unistd::getpid;
use serde::{Deserialize, Serialize};

use crate::id::Pid;
use crate::process::Process;
use crate::signal::Signal;

/// Rounds in which those are stopped that have been made while others were.
const ROUNDS: u32 = 8;

/// A tree by descent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Descent {
    main: i32,
    start: u64,
    leads_session: bool,
    /// Members that were seen earlier, by number and start: their parents may have ended since.
    known: Vec<(i32, u64)>,
}

impl Descent {
    /// That of `main`.
    #[must_use]
    pub fn of(main: &Process) -> Self {
        let leads_session = main.session == main.pid;
        Self { main: main.pid, start: main.start, leads_session, known: Vec::new() }
    }

    /// Those that were seen last, by number and start.
    pub fn known(&self) -> impl Iterator<Item = (i32, u64)> {
        self.known.iter().copied()
    }

    /// The number of the session that is its own.
    #[must_use]
    pub fn session(&self) -> Option<Pid> {
        Pid::new(self.main).filter(|_| self.leads_session)
    }

    /// Whether a process is known to be of it, whoever its parent is.
    #[must_use]
    pub fn has(&self, process: &Process) -> bool {
        let named = (process.pid, process.start);
        named == (self.main, self.start)
            || self.leads_session && process.session == self.main
            || self.known.contains(&named)
    }

    /// Whoever lives of it, among `all` there are.
    pub fn find(&mut self, all: Vec<Process>) -> Vec<Process> {
        let is_of_session = |process: &Process| process.session == self.main;
        let is_another =
            |process: &Process| process.pid == self.main && process.start != self.start;
        if all.iter().any(is_another) || !all.iter().any(is_of_session) {
            // The number has become another's, or may become that.
            self.leads_session = false;
        }
        let own = getpid().as_raw();
        let (mut found, mut others): (Vec<_>, Vec<_>) = all
            .into_iter()
            .filter(|process| process.pid != own)
            .partition(|process| self.has(process));
        let mut from = 0;
        while let Some(parent) = found.get(from).map(|process| process.pid) {
            found.extend(others.extract_if(.., |process| process.parent == parent));
            from += 1;
        }
        found.retain(Process::is_alive);
        self.known = found.iter().map(|process| (process.pid, process.start)).collect();
        found
    }

    /// Whether nobody lives of it, its main process included. Whoever is not known by now cannot be
    /// told by descent any more, so that all there are need be looked at only for a session.
    pub fn is_over(&mut self) -> bool {
        let lives = |(pid, start): &(i32, u64)| {
            Process::read(*pid).is_some_and(|process| process.start == *start && process.is_alive())
        };
        if self.known.iter().any(lives) {
            return false;
        }
        !self.leads_session || self.find(Process::all().unwrap_or_default()).is_empty()
    }

    /// Kills all of it. They are stopped first, so that none is made by one that is killed next, and
    /// that nobody could tell whose it was.
    pub fn kill(&mut self) {
        let mut stopped: Vec<(i32, u64)> = Vec::new();
        let mut members = Vec::new();
        for _ in 0..ROUNDS {
            members = self.find(Process::all().unwrap_or_default());
            let before = stopped.len();
            for process in &members {
                if !stopped.contains(&(process.pid, process.start)) {
                    stopped.push((process.pid, process.start));
                    process.signal(Signal::STOP);
                }
            }
            if stopped.len() == before {
                break;
            }
        }
        for process in members {
            process.signal(Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: i32 = 100_000_000;

    /// A process by its number, parent, group, session and start.
    fn process([pid, parent, group, session, start]: [i32; 5]) -> Process {
        let fields = "-1 0 1 2 3 4 5 6 7 8 20 0 1 0";
        let [pid, parent, group, session] = [pid, parent, group, session].map(|n| n + BASE);
        let line = format!("{pid} (x) S {parent} {group} {session} 0 {fields} {start} 1 2");
        Process::parse(&line).unwrap()
    }

    fn pids(found: &[Process]) -> Vec<i32> {
        let mut pids: Vec<_> = found.iter().map(|process| process.pid - BASE).collect();
        pids.sort_unstable();
        pids
    }

    #[test]
    fn z08_the_shell_and_the_rest_of_a_pipe_are_no_descendants() {
        let shell = process([10, 1, 10, 10, 5]);
        let main = process([20, 10, 20, 10, 6]);
        let pipe = process([21, 10, 20, 10, 6]);
        let child = process([22, 20, 20, 10, 7]);
        let grandchild = process([23, 22, 23, 23, 8]);
        let mut tree = Descent::of(&main);
        let all = vec![shell, main, pipe, child, grandchild];
        assert_eq!(pids(&tree.find(all)), [20, 22, 23]);
    }

    #[test]
    fn z08_who_was_seen_once_is_remembered_and_his_number_alone_is_not_he() {
        let main = process([20, 10, 20, 10, 6]);
        let mut tree = Descent::of(&main);
        tree.find(vec![main, process([22, 20, 20, 10, 7])]);
        // The main process has ended, and its child is init's.
        assert_eq!(pids(&tree.find(vec![process([22, 1, 20, 10, 7])])), [22]);
        assert_eq!(pids(&tree.find(vec![process([22, 1, 20, 10, 9])])), [0; 0]);
        assert_eq!(pids(&tree.find(vec![process([20, 1, 20, 20, 9])])), [0; 0]);
    }

    #[test]
    fn z08_a_session_that_it_leads_is_all_its_own() {
        let main = process([20, 10, 20, 20, 6]);
        let mut tree = Descent::of(&main);
        let orphan = process([30, 1, 30, 20, 7]);
        assert_eq!(pids(&tree.find(vec![main, orphan.clone()])), [20, 30]);
        let late = process([31, 1, 31, 20, 8]);
        assert_eq!(pids(&tree.find(vec![orphan, late])), [30, 31]);
        // Somebody else has got the number, and a session with it.
        let another = process([20, 1, 20, 20, 9]);
        assert_eq!(pids(&tree.find(vec![another, process([32, 20, 20, 20, 9])])), [0; 0]);
    }
}
