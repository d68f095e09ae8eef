//! Runlevels: what runs at which, what is open, hooks, and commands of the administrator.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jobinit_tests::binaries::program;
use jobinit_tests::bootctl::{Said, Site, said};
use jobinit_tests::init::is_alive;
use jobinit_tests::wait;
use serde_json::Value;

use crate::bootctl_apps::answers;

/// Hooks that write their name and levels into a file, in the order in which they run.
fn hooks(file: &str, list: &[(&str, u32, &str, i64)]) -> String {
    let mut text = String::new();
    for (name, level, when, order) in list {
        let _ = write!(
            text,
            "[hook.{name}]\nexec = \"/bin/sh\"\nlevel = {level}\nwhen = \"{when}\"\norder = {order}\n\
             args = [\"-c\", \"echo {name} $PREVLEVEL $RUNLEVEL >> {file}\"]\n"
        );
    }
    text
}

fn level(site: &Site) -> Value {
    site.status()["runlevel"]["level"].clone()
}

fn connects(site: &Site) -> bool {
    TcpStream::connect(site.proxy).is_ok()
}

#[test]
fn d01_telinit_1_3_1() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("order");
    let table = hooks(
        file.to_str().expect("UTF-8"),
        &[
            ("b", 1, "enter", 2),
            ("a", 1, "enter", 1),
            ("gone", 3, "leave", 9),
            ("up", 3, "enter", 0),
        ],
    );
    let apps = [
        ("shop.toml", answers(2, "")),
        ("both.toml", answers(1, "runlevels = [1, 3]\n")),
        ("rescue.toml", answers(1, "runlevels = [1]\n")),
    ];
    let apps: Vec<_> = apps.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let site = Site::boot_with(&apps, &table);
    site.wait_for("shop", "running");
    let both = site.pids("both");
    assert_eq!(site.get("shop", "/").status, 200);
    assert_eq!((level(&site), site.pids("rescue").len()), (3.into(), 0));
    let refused = site.bootctl(&["start", "rescue"]);
    assert!(refused.code == Some(1) && refused.err.contains("not of runlevel 3"), "{refused:?}");

    let said = site.done(&["telinit", "1"]);
    assert!(said.contains("runlevel 1"), "{said}");
    assert!(!connects(&site), "it answers when the port is closed");
    assert_eq!((site.pids("shop").len(), site.pids("rescue").len()), (0, 1));
    assert_eq!(site.pids("both"), both, "what is of both levels is not touched");
    let lines = fs::read_to_string(&file).expect("hooks ran");
    assert_eq!(lines, "up N 3\ngone 3 1\na 3 1\nb 3 1\n");

    // Under its other name, and told to be patient.
    let mut telinit = Command::new(program("bootctl"));
    telinit.arg0("/sbin/telinit").arg("3").env("BOOTCTL_SOCKET", site.socket());
    let done: Said = said_of(&mut telinit);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(site.get("shop", "/").status, 200, "it answers when clients are served");
    assert_eq!((site.pids("rescue").len(), site.pids("both")), (0, both));
    site.done(&["telinit", "3"]);

    for (word, code) in [("5", 1), ("-1", 1), ("S", 1)] {
        let wrong = site.bootctl(&["telinit", word]);
        assert_eq!(wrong.code, Some(code), "{wrong:?}");
        assert!(wrong.err.contains("is no runlevel"), "{wrong:?}");
    }
}

fn said_of(command: &mut Command) -> Said {
    said(command.output().expect("it can be run"))
}

#[test]
fn d02_level_1_frees_the_port_and_3_needs_it() {
    let site = Site::boot(&[("shop.toml", &answers(1, ""))]);
    site.wait_for("shop", "running");
    site.done(&["telinit", "1"]);
    let other = TcpListener::bind(site.proxy).expect("another server may have it");
    let failed = site.bootctl(&["telinit", "3"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(
        failed.err.contains("runlevel 3 was not reached") && failed.err.contains("runlevel is 1"),
        "{failed:?}"
    );
    assert_eq!((level(&site), site.pids("shop").len()), (1.into(), 0));
    // It holds across a bootctl that is killed, and what was asked for is not tried on and on.
    site.kill_supervisor();
    assert_eq!((level(&site), site.pids("shop").len()), (1.into(), 0));
    drop(other);
    site.done(&["telinit", "3"]);
    assert_eq!(site.get("shop", "/").status, 200);
}

#[test]
fn d03_level_1_ends_live_connections_within_the_grace() {
    let exec = env!("CARGO_BIN_EXE_serves");
    let app = format!("exec = \"{exec}\"\n[stop]\ndrain = \"300ms\"\ndrain_streams = \"300ms\"\n");
    let site =
        Site::boot_with(&[("live.toml", &app)], "[proxy]\ngrace = \"1s\"\nstream_grace = \"1s\"\n");
    site.wait_for("live", "running");
    let mut socket = TcpStream::connect(site.proxy).expect("it listens");
    socket.set_read_timeout(Some(wait::PATIENCE)).expect("a socket");
    socket.write_all(b"GET / HTTP/1.1\r\nHost: live\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").expect("sent");
    let mut head = [0; 12];
    socket.read_exact(&mut head).expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 101");
    let mut idle = TcpStream::connect(site.proxy).expect("it listens");
    idle.set_read_timeout(Some(wait::PATIENCE)).expect("a socket");
    let began = Instant::now();
    site.done(&["telinit", "1"]);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    for stream in [&mut socket, &mut idle] {
        let mut rest = Vec::new();
        // Ended or reset, it is over when telinit answers.
        drop(stream.read_to_end(&mut rest));
    }
    assert!(!connects(&site));
}

#[test]
fn d04_level_0_stops_all_in_order_and_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("order");
    let path = file.to_str().expect("UTF-8");
    let table = hooks(path, &[("left", 3, "leave", 0), ("last", 0, "enter", 0)])
        + "[hook.bad]\nexec = \"/bin/false\"\nlevel = 0\nwhen = \"enter\"\norder = -1\n";
    let app = |name: &str, more: &str| {
        let script =
            format!("trap 'echo {name} >> {path}; exit 0' TERM; while :; do sleep 0.02; done");
        format!("exec = \"/bin/sh\"\nargs = [\"-c\", \"{script}\"]\nweb = false\n{more}")
    };
    let apps = [("db.toml", app("db", "")), ("shop.toml", app("shop", "after = [\"db\"]\n"))];
    let apps: Vec<_> = apps.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let mut site = Site::boot_with(&apps, &table);
    for app in ["db", "shop"] {
        site.wait_for(app, "running");
    }
    let (boot, pids) = (site.supervisor(), [site.pids("db"), site.pids("shop")].concat());
    let said = site.bootctl(&["telinit", "0"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!site.socket().exists() && !connects(&site), "nothing answers any more");
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    let lines = fs::read_to_string(&file).expect("hooks ran");
    assert_eq!(lines, "shop\ndb\nleft 3 0\nlast 3 0\n");
    // Its init was there for nothing else, and does not start it again.
    site.init.wait_end();
    assert!(!is_alive(boot));
}

#[test]
fn d06_the_default_level_is_what_the_config_says() {
    let mut site = Site::boot_with(&[("shop.toml", &answers(1, ""))], "");
    let main = site.folder().join("conf/bootctl.toml");
    let text = fs::read_to_string(&main).expect("there");
    fs::write(&main, format!("runlevel = 1\n{text}")).expect("written");
    site.wait_for("shop", "running");
    site.reboot();
    assert_eq!((level(&site), connects(&site)), (1.into(), false));
    assert!(site.done(&["status"]).contains("runlevel 1"));
    site.done(&["telinit", "3"]);
    assert_eq!(site.get("shop", "/").status, 200);
    // The level of before the boot does not count.
    site.reboot();
    assert_eq!(level(&site), 1);
}

#[test]
fn d07_a_hook_that_fails_or_hangs_keeps_the_level() {
    let table = "[hook.no]\nexec = \"/bin/sh\"\nargs = [\"-c\", \"echo the disk is full; exit 3\"]\nlevel = 2\nwhen = \"enter\"\n\
                 [hook.hangs]\nexec = \"/bin/sleep\"\nargs = [\"60\"]\nlevel = 4\nwhen = \"enter\"\ntimeout = \"100ms\"\n\
                 [hook.may]\nexec = \"/nowhere/hook\"\nlevel = 1\nwhen = \"enter\"\non_failure = \"go-on\"\n";
    let site = Site::boot_with(&[("shop.toml", &answers(1, ""))], table);
    site.wait_for("shop", "running");
    let before = site.pids("shop");
    let failed = site.bootctl(&["telinit", "2"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    for part in ["the hook no", "exit code 3", "the disk is full", "runlevel is 3"] {
        assert!(failed.err.contains(part), "{part}: {failed:?}");
    }
    let failed = site.bootctl(&["telinit", "4"]);
    assert!(failed.code == Some(1) && failed.err.contains("longer than 100ms"), "{failed:?}");
    assert_eq!((level(&site), site.pids("shop")), (3.into(), before), "nothing has changed");
    let said = site.done(&["telinit", "1"]);
    assert!(said.contains("the hook may cannot be run"), "{said}");
}

#[test]
fn d07_custom_commands_run_with_their_output_and_code() {
    let table = "[custom.say]\nexec = \"/bin/sh\"\nargs = [\"-c\", \"echo to out $1; echo to err >&2; exit 7\", \"say\"]\nmore = true\n\
                 [custom.quiet]\nexec = \"/bin/true\"\n\
                 [custom.stays]\nexec = \"/bin/sh\"\nargs = [\"-c\", \"echo here; exec sleep 60\"]\n\
                 [custom.absent]\nexec = \"/nowhere/command\"\n";
    let site = Site::boot_with(&[], table);
    let said = site.bootctl(&["custom", "say", "--", "--x", "y"]);
    assert_eq!((said.code, said.out.as_str()), (Some(7), "to out --x\n"), "{said:?}");
    assert!(said.err.starts_with("to err\n"), "{said:?}");
    let quiet = site.bootctl(&["custom", "quiet"]);
    assert_eq!(
        (quiet.code, quiet.out.as_str(), quiet.err.as_str()),
        (Some(0), "", ""),
        "{quiet:?}"
    );
    for (words, part) in [
        (&["custom", "sya"][..], "did you mean say?"),
        (&["custom", "quiet", "more"], "takes no further arguments"),
        (&["custom", "absent"], "cannot be started"),
        (&["custom", "../../etc"], "there is no command"),
    ] {
        let refused = site.bootctl(words);
        assert!(refused.code == Some(1) && refused.err.contains(part), "{words:?}: {refused:?}");
    }
    // Who breaks it off ends it.
    let mut command = Command::new(program("bootctl"));
    command.args(["custom", "stays"]).env("BOOTCTL_SOCKET", site.socket());
    let mut child = command.stdout(Stdio::piped()).spawn().expect("bootctl can be run");
    let mut some = [0; 5];
    child.stdout.take().expect("a pipe").read_exact(&mut some).expect("it comes as it is written");
    assert_eq!(&some, b"here\n");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    wait::until("the command to be ended", || {
        let jobs = site.init.get("/jobs").body;
        (!jobs.contains("custom.")).then_some(())
    });
    let audit = fs::read_to_string(site.folder().join("state/audit.log")).expect("there");
    assert!(audit.contains("/custom/say") && audit.contains("exit code 7"), "{audit}");
}
