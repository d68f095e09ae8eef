//! Tells on the console how long after the kernel's hand-over a machine serves, and powers it off: for measuring, in a
//! machine that is there for nothing else.
//!
//! ```text
//! vm-stopwatch beside ADDR HOST COMMAND…   asks init's API once, becomes COMMAND, and watches the page beside it
//! vm-stopwatch page ADDR HOST              watches the page until it is answered
//! vm-stopwatch serve PORT                  becomes the demo's app
//! ```
//!
//! All times are the kernel's own, of its log: there stands when it has started the first process, and what is noted
//! there gets its time from the same clock.
#![forbid(unsafe_code)]

mod log;

use std::io::{Read, Write, stderr};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{env, fs};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::reboot::{RebootMode, reboot};

const APP: &str = "/usr/bin/demo-hello";
const OWN: &str = "/usr/bin/vm-stopwatch";
/// Only where this file is, a machine is there for nothing else.
const MARK: &str = "/stopwatch";
/// Where a second one of it is started, to see how long that takes by itself.
const SPARE: u16 = 9900;
/// What init listens on unless it says otherwise.
const API: &str = "127.0.0.1:1";
/// Whoever has not served by then never will.
const PATIENCE: Duration = Duration::from_mins(2);
const BREATH: Duration = Duration::from_millis(1);

fn main() {
    if !Path::new(MARK).exists() {
        return say(&format!("no file {MARK} says that this machine may be powered off"));
    }
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["beside", address, host, command, args @ ..] => beside(address, host, command, args),
        ["page", address, host] => page(address, host),
        ["serve", port] => {
            // Where nobody has brought it up; the others do not need it.
            drop(Command::new("/usr/bin/busybox").args(["ifconfig", "lo", "up"]).status());
            say(&format!("{APP}: {}", Command::new(APP).env("PORT", port).exec()));
        }
        _ => say("there is nothing to watch"),
    }
}

fn beside(address: &str, host: &str, command: &str, args: &[&str]) {
    let api = env::var("INIT_API").unwrap_or_else(|_| API.into());
    // By /proc, init sees who asks. A machine whose early boot is to come has none.
    drop(fs::create_dir("/proc"));
    let mounted = mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>);
    match ask(&api, &api, "/job/init") {
        Some(()) => log::note("api"),
        None => say("init does not answer"),
    }
    if mounted.is_ok() {
        let _stays_mounted = umount2("/proc", MntFlags::MNT_DETACH);
    }
    if let Err(error) = Command::new(OWN).args(["page", address, host]).spawn() {
        say(&format!("nobody watches: {error}"));
    }
    say(&format!("{command}: {}", Command::new(command).args(args).exec()));
}

fn page(address: &str, host: &str) {
    if until_answered(address, host) {
        log::note("page");
        own_start();
    } else {
        say("the page was never answered");
    }
    for line in log::times() {
        say(&line);
    }
    // The console is still being written.
    sleep(Duration::from_secs(1));
    let Err(errno) = reboot(RebootMode::RB_POWER_OFF);
    say(&format!("the machine stays on: {errno}"));
}

/// How long the app takes that nobody starts but us.
fn own_start() {
    let begun = Instant::now();
    let spawned = Command::new(APP).env("PORT", SPARE.to_string()).spawn();
    if spawned.is_ok() && until_answered(&format!("127.0.0.1:{SPARE}"), "x") {
        say(&format!("own {}", begun.elapsed().as_micros()));
    }
}

fn until_answered(address: &str, host: &str) -> bool {
    let by = Instant::now() + PATIENCE;
    while Instant::now() < by {
        if ask(address, host, "/").is_some() {
            return true;
        }
        sleep(BREATH);
    }
    false
}

/// Whether the answer is 200.
fn ask(address: &str, host: &str, path: &str) -> Option<()> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").ok()?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).ok()?;
    (&head == b"HTTP/1.1 200").then_some(())
}

/// To the console itself: a supervisor may keep what we write.
fn say(what: &str) {
    let line = format!("stopwatch: {what}\n");
    if fs::OpenOptions::new()
        .write(true)
        .open("/dev/console")
        .is_ok_and(|mut console| console.write_all(line.as_bytes()).is_ok())
    {
        return;
    }
    // Without a console nobody hears it.
    drop(stderr().write_all(line.as_bytes()));
}
