//! `make demo`: everything that it shows works, and nothing is left behind.

use std::process::Command;

use jobinit_tests::binaries::program;

#[track_caller]
fn passes(words: &[&str], enclosure: &str) {
    let demo = program("demo");
    let mut command = Command::new(&demo);
    command.args(words).env("JOBINIT_BIN", demo.parent().unwrap());
    let output = command.env_remove("API_PORT").env_remove("PROXY_PORT").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let all = format!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {all}", output.status);
    assert!(said.contains(enclosure), "{all}");
    assert!(said.contains("nothing is left behind"), "{all}");
}

#[test]
fn images_demo_does_all_that_it_shows() {
    passes(&["--check"], "demo: init runs as ");
}

#[test]
fn images_demo_does_so_as_a_subreaper() {
    passes(&["--check", "--plain"], "demo: init runs as a subreaper");
}

#[test]
fn images_demo_a_deploy_loses_nothing_and_the_count_can_be_read() {
    let demo = program("demo");
    let mut command = Command::new(&demo);
    command.arg("--deploy").env("JOBINIT_BIN", demo.parent().unwrap());
    let output = command.env_remove("API_PORT").env_remove("PROXY_PORT").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {said}", output.status);
    for told in [
        "deploying blue",
        "deploying green",
        "release 3 is blue",
        " requests, 0 failed; the slowest",
    ] {
        assert!(said.contains(told), "{told} in {said}");
    }
    // Nothing comes between: no line a request, of which there are thousands.
    assert!(said.lines().count() < 40 && !said.contains("GET /"), "{said}");
}
