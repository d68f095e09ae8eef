//! `escapes FILE HOW`: leaves a process that sleeps for ever outside of its own session and
//! process group, writes its pid to FILE, and goes on (`child`: it stays our child, `orphan`: its
//! parent has ended, so it is nobody's) or ends too (`alone`).

use std::process::{Command, exit};
use std::time::Duration;

use nix::unistd::setsid;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let [own, file, how] = &words[..] else { panic!("escapes FILE HOW") };
    if how == "sleep" {
        setsid().expect("a child leads no group");
        std::fs::write(file, std::process::id().to_string()).expect("the file can be written");
        std::thread::sleep(Duration::MAX);
    }
    if how == "between" {
        Command::new(own).args([file, "sleep"]).spawn().expect("we can run ourselves");
        wait_for(file);
        exit(0);
    }
    // A child that sleeps is waited for, for ever; one in between ends at once.
    let next = if how == "child" { "sleep" } else { "between" };
    let mut command = Command::new(own);
    command.args([file, next]).status().expect("we can run ourselves");
    if how != "alone" {
        std::thread::sleep(Duration::MAX);
    }
}

/// Until the process that sleeps has said who it is.
fn wait_for(file: &str) {
    while std::fs::read_to_string(file).unwrap_or_default().is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
}
