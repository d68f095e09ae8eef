//! What a command says where nobody reads it, or where it cannot be written.

use std::fs::OpenOptions;
use std::io::pipe;
use std::process::{Command, Output, Stdio};

use jobinit_tests::binaries::program;
use jobinit_tests::bootctl::Site;
use jobinit_tests::wait;

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

#[test]
fn o15_an_answer_that_cannot_be_written_is_a_failure_and_one_that_nobody_reads_is_none() {
    let shouts = "exec = \"sh\"\nargs = [\"-c\", \"echo here; exec sleep 1000\"]\nweb = false\n";
    let site = Site::boot_with(
        &[("a.toml", shouts)],
        "[custom.say]\nexec = \"echo\"\nargs = [\"said\"]\n",
    );
    let (conf, init) = (site.folder().join("conf"), site.init.api().to_string());
    let conf = conf.to_str().expect("UTF-8");
    site.wait_for("a", "running");
    let stdout = ["stdout", "a.1", "--init", &init];
    wait::until("its words", || (site.done(&stdout) == "here\n").then_some(()));
    for words in [
        &["status"][..],
        &["status", "--json"],
        &["plan"],
        &["reload"],
        &["reload", "--json"],
        &["custom", "say"],
        &["generate", "--list"],
        &["check", "--config", conf],
        &["config", "--keys"],
        &["config", "--config", conf, "--get"],
        &["completions", "bash"],
        &["jobs", "--init", &init],
        &["jobs", "--init", &init, "--json"],
        &stdout,
        &["events", "--init", &init, "--all"],
        &["log", "a"],
        &["config", "--config", conf, "-a", "a", "--set", "stop.timeout", "5s", "--apply"],
    ] {
        let mut command = bootctl(words);
        command.env("BOOTCTL_SOCKET", site.socket());
        command.env("BOOTCTL_LOG_DIR", site.folder().join("log"));
        let output = end(command.stdout(full()));
        assert_eq!(output.status.code(), Some(1), "{words:?}: {output:?}");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(err.contains("cannot") && err.contains("No space left"), "{words:?}: {err}");
        let output = end(command.stdout(left()));
        assert_eq!(output.status.code(), Some(0), "{words:?}: {output:?}");
        assert!(output.stderr.is_empty(), "{words:?}: {output:?}");
    }
    assert_eq!(
        site.done(&["config", "--config", conf, "-a", "a", "--get", "stop.timeout"]),
        "5s\n"
    );
    assert!(site.done(&["plan"]).contains("nothing to do"), "it was taken over all the same");
}
