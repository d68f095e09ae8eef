//! A process that init has not started.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::wait;

/// A process of the test's own, ended with the test, and whoever is of its process group.
pub struct Outside {
    child: Child,
    group: Pid,
}

impl Outside {
    /// Runs a command in a process group of its own.
    #[track_caller]
    pub fn run(command: &mut Command) -> Self {
        let quiet = command.stdin(Stdio::null()).process_group(0);
        let child = quiet.spawn().expect("it can be run");
        let group = Pid::from_raw(child.id().cast_signed());
        Self { child, group }
    }

    /// `sh -c SCRIPT WORDS…`
    #[track_caller]
    pub fn shell(script: &str, words: &[&str]) -> Self {
        Self::run(Command::new("/bin/sh").args(["-c", script]).args(words))
    }

    pub fn pid(&self) -> u64 {
        self.child.id().into()
    }

    pub fn kill(&self) {
        // It may have ended.
        let _ = nix::sys::signal::kill(self.group, Signal::SIGKILL);
    }

    /// Waits for its end, as a parent does.
    #[track_caller]
    pub fn reap(&mut self) -> ExitStatus {
        wait::until("its end", || self.child.try_wait().expect("it is our child"))
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = killpg(self.group, Signal::SIGKILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
