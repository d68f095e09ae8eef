//! The control socket: who may use it, and what becomes of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use jobinit_tests::binaries::program;
use jobinit_tests::bootctl::{Site, said};

#[test]
fn d05_the_socket_is_for_its_owner() {
    let site = Site::boot(&[]);
    let mode = fs::metadata(site.socket()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let as_nobody = || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg("curl").args(["-s", "-w", "%{http_code}", "--unix-socket"]);
        command.arg(site.socket()).arg("http://localhost/status");
        said(command.output().expect("curl can be run"))
    };
    assert_eq!(as_nobody().out, "000", "the file's mode keeps others out");
    fs::set_permissions(site.socket(), fs::Permissions::from_mode(0o666)).expect("it is ours");
    let refused = as_nobody().out;
    assert!(refused.ends_with("403") && refused.contains("\"forbidden\""), "{refused}");
}

#[test]
fn d05_a_live_socket_is_not_stolen() {
    let site = Site::boot(&[]);
    let mut second = Command::new(program("bootctl"));
    second.args(["boot", "--init", &site.init.api().to_string(), "--config"]);
    second.arg(site.folder().join("conf")).arg("--run-dir").arg(site.folder().join("run"));
    second.arg("--state-dir").arg(site.folder().join("state2"));
    let second = said(second.output().expect("bootctl can be run"));
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.err.contains("another bootctl listens on"), "{second:?}");
    site.done(&["status"]);
}

#[test]
fn d11_a_supervisor_that_is_not_there_has_a_code_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(program("bootctl"));
    command.args(["status", "--socket"]).arg(folder.path().join("none.sock"));
    let said = said(command.output().expect("bootctl can be run"));
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.err.contains("bootctl boot"), "{said:?}");
}
