//! What apps write: collected into files, and read from there.

use std::fs;

use jobinit_tests::bootctl::Site;
use jobinit_tests::wait;

/// An app that a shell runs; nothing listens, so it never gets ready.
fn script(text: &str) -> String {
    format!("exec = \"sh\"\nargs = [\"-c\", {text:?}]\n[restart]\npolicy = \"never\"\n")
}

/// A log as it is now.
fn log(site: &Site, app: &str) -> String {
    let path = site.folder().join(format!("log/{app}.log"));
    String::from_utf8(fs::read(path).unwrap_or_default()).expect("a log is text")
}

/// The texts of a log's lines of one stream.
fn texts(log: &str, stream: &str) -> Vec<String> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.splitn(4, ' ').collect();
        (fields[2] == stream).then(|| fields[3].to_owned())
    };
    log.lines().filter_map(line).collect()
}

#[test]
fn o11_what_an_app_writes_is_in_its_log() {
    let text = "echo one; echo two >&2; printf 'a\\0b\\n'; printf 'no end'";
    let site = Site::boot(&[("a.toml", &script(text))]);
    let log = wait::until("the end of it", || {
        let log = log(&site, "a");
        log.contains("no end").then_some(log)
    });
    assert_eq!(texts(&log, "out"), ["one"]);
    assert_eq!(texts(&log, "err"), ["two"]);
    assert_eq!(texts(&log, "out\\"), ["a\\x00b"]);
    assert_eq!(texts(&log, "out+"), ["no end"]);
    let status = site.done(&["status"]);
    assert!(status.contains("log: collected"), "{status}");
}
