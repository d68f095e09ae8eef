//! What a command says where nobody reads it, or where it cannot be written.

use std::fs::OpenOptions;
use std::io::pipe;
use std::process::{Command, Output, Stdio};

use jobinit_tests::binaries::program;

/// A command without a supervisor.
fn bootctl(words: &[&str]) -> Command {
    let mut command = Command::new(program("bootctl"));
    command.args(words).env("BOOTCTL_SOCKET", "/nowhere/bootctl.sock");
    command
}

fn end(command: &mut Command) -> Output {
    command.output().expect("bootctl can be run")
}

/// Where nothing can be written.
fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").expect("it is there").into()
}

/// Whose reader has gone.
fn left() -> Stdio {
    pipe().expect("a pipe").1.into()
}

#[test]
fn o15_who_does_not_read_why_learns_it_by_the_code() {
    for (words, code) in [
        (&["reload"][..], 3),
        (&["config"], 1),
        (&["config", "--config", "/nowhere", "--get", "nonsense"], 1),
        (&["init", "/", "--config", "/nowhere"], 1),
        (&["check", "--config", "/proc/self/stat"], 1),
        (&["jobs", "--init", "127.0.0.1:1"], 3),
        (&["log", "--log-dir", "/proc/self/stat"], 1),
    ] {
        for nobody in [full(), left()] {
            let output = end(bootctl(words).stderr(nobody));
            assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
        }
    }
}
