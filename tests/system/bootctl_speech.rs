//! What a command says where nobody reads it, or where it cannot be written.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write, pipe};
use std::os::unix::net::UnixListener;
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

#[test]
fn z10_a_token_that_cannot_be_handed_over_is_revoked_again() {
    let site = Site::boot(&[]);
    let ask = |words: &[&str], out: Stdio| {
        let output = end(bootctl(words).env("BOOTCTL_SOCKET", site.socket()).stdout(out));
        assert_eq!(output.status.code(), Some(1), "{words:?}: {output:?}");
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    for (words, out) in [
        (&["generate", "ci"][..], full()),
        (&["generate", "ci", "--json"], left()),
        (&["generate", "ci", "--output", "/proc/token"], Stdio::null()),
    ] {
        let err = ask(words, out);
        assert!(err.contains("cannot be written: "), "{words:?}: {err}");
        assert!(err.contains("the token ci is revoked again"), "{words:?}: {err}");
        assert!(site.done(&["generate", "--list"]).contains("there are no tokens"), "{words:?}");
    }
}

/// A supervisor that makes a token, and ends.
#[test]
fn z10_of_a_token_that_cannot_be_revoked_again_it_is_told_how() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("bootctl.sock");
    let listener = UnixListener::bind(&socket).expect("it is free");
    let mut command = bootctl(&["generate", "ci", "--output", "/proc/token"]);
    command.env("BOOTCTL_SOCKET", &socket).stderr(Stdio::piped());
    let child = command.spawn().expect("bootctl can be run");
    let (mut stream, _) = listener.accept().expect("it asks");
    fs::remove_file(&socket).expect("it is there");
    let _ = stream.read(&mut [0; 4096]).expect("it is read");
    let body = r#"{"name": "ci", "grant": "read", "made": "2026-01-01T00:00:00Z", "token": "x"}"#;
    let head = "HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length";
    write!(stream, "{head}: {}\r\n\r\n{body}", body.len()).expect("sent");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let err = String::from_utf8(output.stderr).expect("UTF-8");
    let told =
        "the token ci is there, nobody has it, and it could not be revoked: no supervisor answers";
    assert!(err.contains(told) && err.contains("`bootctl generate --revoke ci`"), "{err}");
}
