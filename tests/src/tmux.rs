//! A real terminal multiplexer: what a program on a screen looks like, and what becomes of the screen after it.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::bootctl::said;
use crate::wait;

/// A server of this test's own with one window; ended with the test.
pub struct Tmux {
    name: String,
}

impl Tmux {
    /// Opens a window with a shell script in it.
    #[track_caller]
    pub fn open(columns: u16, rows: u16, script: &str) -> Self {
        static WINDOWS: AtomicU32 = AtomicU32::new(0);
        let number = WINDOWS.fetch_add(1, Ordering::Relaxed);
        let tmux = Self { name: format!("jobinit-{}-{number}", std::process::id()) };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        tmux.ask(&["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &rows, script]);
        tmux
    }

    /// What the screen shows.
    #[track_caller]
    pub fn screen(&self) -> String {
        self.ask(&["capture-pane", "-p"])
    }

    /// Waits until the screen is as it is to be.
    #[track_caller]
    pub fn wait_for(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        wait::until(&format!("the screen to show {what}"), || {
            let screen = self.screen();
            is_so(&screen).then_some(screen)
        })
    }

    /// Waits until the screen shows a text.
    #[track_caller]
    pub fn expect(&self, text: &str) -> String {
        self.wait_for(text, |screen| screen.contains(text))
    }

    /// Types, by tmux's names of keys.
    #[track_caller]
    pub fn keys(&self, keys: &[&str]) {
        self.ask(&[&["send-keys"], keys].concat());
    }

    #[track_caller]
    pub fn resize(&self, columns: u16, rows: u16) {
        self.ask(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    /// The process of the script.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        let pid = self.ask(&["display-message", "-p", "#{pane_pid}"]);
        pid.trim().parse().expect("a pid")
    }

    #[track_caller]
    fn ask(&self, words: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command
            .args(["-L", &self.name])
            .args(words)
            .env_remove("TMUX")
            .envs([("LC_ALL", "C.UTF-8"), ("SHELL", "/bin/sh")]);
        let said = said(command.output().expect("tmux can be run"));
        assert_eq!(said.code, Some(0), "{words:?}: {said:?}");
        said.out
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-L", &self.name, "kill-server"]).output();
    }
}
