//! Hooks of runlevels: what they keep from happening, what is left of them, and what becomes of a change in whose
//! middle they are.

use std::fs::{self, Permissions};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jobinit_tests::binaries::program;
use jobinit_tests::bootctl::{Site, said};
use jobinit_tests::init::is_alive;
use jobinit_tests::wait;
use serde_json::Value;
use tempfile::TempDir;

use crate::bootctl_apps::{answers, kill};

/// `[hook.NAME]` that runs a script.
fn hook(name: &str, level: u32, when: &str, script: &str, more: &str) -> String {
    format!(
        "[hook.{name}]\nexec = \"/bin/sh\"\nargs = [\"-c\", \"{script}\"]\nlevel = {level}\nwhen = \"{when}\"\n{more}"
    )
}

fn runlevel(site: &Site) -> Value {
    site.status()["runlevel"].clone()
}

/// A folder for what hooks write, which all may look into.
fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("ours");
    let file = folder.path().join("told");
    (folder, file)
}

fn told(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

#[test]
fn d07_a_boot_whose_hook_fails_ends_at_level_1() {
    let table = hook("disk", 3, "enter", "echo the disk is full; exit 3", "");
    let site = Site::boot_with(&[("shop.toml", &answers(1, ""))], &table);
    wait::until("the boot to be over", || (runlevel(&site)["next"].is_null()).then_some(()));
    let now = runlevel(&site);
    assert_eq!(now["level"], 1, "{now}");
    let why = now["trouble"].as_str().expect("a reason");
    for part in ["runlevel 3 was not reached", "the hook disk", "exit code 3", "the disk is full"] {
        assert!(why.contains(part), "{part}: {why}");
    }
    assert!(site.done(&["status"]).contains("the disk is full"), "people are told");
    assert!(TcpStream::connect(site.proxy).is_err() && site.pids("shop").is_empty());
    // Mended, it is asked for again.
    let main = site.folder().join("conf/bootctl.toml");
    let text = told(&main).replace("exit 3", "exit 0");
    fs::write(&main, text).expect("written");
    site.done(&["reload"]);
    site.done(&["telinit", "3"]);
    assert_eq!(site.get("shop", "/").status, 200);
    assert!(runlevel(&site)["trouble"].is_null());
}

#[test]
fn d07_hooks_come_one_by_one_and_may_fail_where_they_may() {
    let (_folder, file) = folder();
    fs::write(&file, "").expect("written");
    fs::set_permissions(&file, Permissions::from_mode(0o666)).expect("ours");
    let path = file.display();
    let say = |word: &str| format!("echo {word} $PREVLEVEL $RUNLEVEL $(id -u) >> {path}");
    let user = if nix::unistd::geteuid().is_root() { "user = \"65534\"\n" } else { "" };
    let table = [
        hook("z", 3, "leave", &say("z"), "order = -5\n"),
        hook("y", 3, "leave", &(say("y") + "; exit 1"), "on_failure = \"go-on\"\n"),
        hook("b", 4, "enter", &say("b"), &format!("order = 7\n{user}")),
        hook("a", 4, "enter", &say("a"), "order = 7\n"),
        // It has begun before the next one does, and ended.
        hook("first", 4, "enter", &format!("sleep 0.3; {}", say("first")), "order = 6\n"),
        hook("never", 2, "enter", &say("never"), ""),
    ];
    let site = Site::boot_with(&[], &table.concat());
    let said = site.done(&["telinit", "4"]);
    assert!(said.contains("the hook y has failed: exit code 1"), "{said}");
    let own = nix::unistd::geteuid().as_raw();
    let other = if own == 0 { 65534 } else { own };
    let wanted = ["z 3 4", "y 3 4", "first 3 4", "a 3 4"].map(|line| format!("{line} {own}\n"));
    assert_eq!(told(&file), wanted.concat() + &format!("b 3 4 {other}\n"));
    let jobs = site.init.get("/jobs").body;
    assert!(!jobs.contains("\"hook."), "none of them is left: {jobs}");
}

#[test]
fn d07_a_hook_that_hangs_is_ended_with_all_that_it_has_begun() {
    let (_folder, file) = folder();
    let script = format!("sleep 600 & echo $! > {}; wait", file.display());
    let table = hook("hangs", 4, "enter", &script, "timeout = \"500ms\"\n");
    let site = Site::boot_with(&[("shop.toml", &answers(1, "runlevels = [3]\n"))], &table);
    site.wait_for("shop", "running");
    let failed = site.bootctl(&["telinit", "4"]);
    assert!(failed.code == Some(1) && failed.err.contains("longer than 500ms"), "{failed:?}");
    assert_eq!(runlevel(&site)["level"], 3);
    let child: u64 = told(&file).trim().parse().expect("it has begun");
    assert!(!is_alive(child), "the answer comes when it is gone");
    site.wait_for("shop", "running");
    assert_eq!(site.get("shop", "/").status, 200, "what has ended for it is there again");
}

#[test]
fn d07_a_change_in_the_middle_of_a_hook_is_gone_on_with_and_is_nobody_elses() {
    let (folder, file) = folder();
    let held = folder.path().join("held");
    fs::write(&held, "").expect("written");
    let script = format!(
        "echo begun >> {}; while [ -e {} ]; do sleep 0.02; done; echo over >> {}",
        file.display(),
        held.display(),
        file.display()
    );
    let table = hook("waits", 1, "enter", &script, "");
    let site = Site::boot_with(&[("shop.toml", &answers(1, ""))], &table);
    site.wait_for("shop", "running");
    let mut first = Command::new(program("bootctl"));
    first.args(["telinit", "1"]).env("BOOTCTL_SOCKET", site.socket());
    let first = first.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
    wait::until("the hook to have begun", || (told(&file) == "begun\n").then_some(()));
    // Who asks for the same waits with the first one; who asks for another one is told.
    let busy = site.bootctl(&["telinit", "2"]);
    assert!(busy.code == Some(1) && busy.err.contains("runlevel 1 is under way"), "{busy:?}");
    let status = site.done(&["status"]);
    assert!(status.contains("hooks run"), "{status}");

    kill(site.supervisor());
    let cut = said(first.wait_with_output().expect("it ends"));
    assert!(cut.code == Some(1) && cut.err.contains("the next one goes on with it"), "{cut:?}");
    wait::until("the next one to go on", || {
        let said = site.bootctl(&["status", "--json"]);
        let status: Value = serde_json::from_str(&said.out).ok()?;
        (status["runlevel"]["doing"] == "hooks run").then_some(())
    });
    fs::remove_file(&held).expect("there");
    site.done(&["telinit", "1"]);
    assert_eq!(runlevel(&site)["level"], 1);
    assert!(TcpStream::connect(site.proxy).is_err());
    assert_eq!(told(&file), "begun\nover\n", "one that runs is not run again");
}

#[test]
fn d07_halting_does_not_wait_for_ever_and_does_not_turn_back() {
    let (_folder, file) = folder();
    let table = [
        hook("bad", 3, "leave", "exit 9", ""),
        hook("hangs", 0, "enter", "sleep 600", "order = 1\ntimeout = \"200ms\"\n"),
        hook("last", 0, "enter", &format!("echo last >> {}", file.display()), "order = 2\n"),
    ];
    let mut site = Site::boot_with(&[("shop.toml", &answers(1, ""))], &table.concat());
    site.wait_for("shop", "running");
    let pids = site.pids("shop");
    let said = site.bootctl(&["telinit", "0"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(told(&file), "last\n");
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    site.init.wait_end();
}

/// A hook that is no command, or says what makes no sense, is a mistake of the config: told where, and nothing begins.
#[test]
fn d07_a_hook_that_makes_no_sense_is_told_where() {
    let site = Site::boot_with(&[], "");
    let main = site.folder().join("conf/bootctl.toml");
    let good = told(&main);
    for (more, part) in [
        (hook("x", 5, "enter", "true", ""), "level"),
        (hook("x", 3, "before", "true", ""), "when"),
        (hook("x", 3, "enter", "true", "timeout = \"0s\"\n"), "timeout"),
        (hook("x", 3, "enter", "true", "on_failure = \"retry\"\n"), "on_failure"),
        (hook("x", 3, "enter", "true", "order = \"first\"\n"), "order"),
        (hook("../x", 3, "enter", "true", "").replace("[hook.../x]", "[hook.\"../x\"]"), "hook"),
        ("[hook.x]\nlevel = 3\nwhen = \"enter\"\n".to_owned(), "exec"),
    ] {
        fs::write(&main, format!("{good}{more}")).expect("written");
        let said = site.bootctl(&["reload"]);
        assert_eq!(said.code, Some(1), "{more}: {said:?}");
        let told =
            said.err.lines().any(|line| line.contains("bootctl.toml:") && line.contains(part));
        assert!(told, "{more}: {said:?}");
    }
    fs::write(&main, good).expect("written");
    site.done(&["reload"]);
}
