//! The first program of a machine whose root is on a disk: loads the modules that the disk needs, mounts it and
//! becomes the init that is on it, with the words that the kernel has for that.
//!
//! The kernel's command line says which root (`root=/dev/vda`), how (`rootfstype=`, `rootflags=`, `rw`) and which
//! init (`init=/sbin/init`). Where that does not work, it says so and becomes the init beside it: a machine without
//! its disk has at least an API and a console.
#![forbid(unsafe_code)]

mod words;

use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::io::{Write, stderr};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, chroot, execve};

use crate::words::Words;

/// Modules, a path a line, in the order of loading.
const MODULES: &str = "/lib/modules/list";
const ROOT: &str = "/root";
/// The init beside it.
const BESIDE: &str = "/sbin/init";
/// How long the disk may take to show up.
const PATIENCE: Duration = Duration::from_secs(10);
const TRY_AGAIN: Duration = Duration::from_millis(5);

fn main() {
    mount_at("/proc", "proc");
    mount_at("/dev", "devtmpfs");
    let line = String::from_utf8_lossy(&fs::read("/proc/cmdline").unwrap_or_default()).into_owned();
    let words = Words::read(&line);
    load_modules();
    let moved = enter(&words);
    // What boots from here on mounts its own.
    let _already_gone = umount2("/proc", MntFlags::MNT_DETACH);
    match moved {
        Ok(()) => say(&format!("cannot become {}: {}", words.init, become_init(&words.init))),
        Err(why) => say(&why),
    }
    say("the machine comes up without its disk");
    say(&format!("cannot become {BESIDE}: {}", become_init(BESIDE)));
    // Only here is nothing left that could be run.
    loop {
        sleep(PATIENCE);
    }
}

/// Goes to the root that is meant.
fn enter(words: &Words) -> Result<(), String> {
    let root = words.root.as_deref().ok_or("no word root=/dev/NAME says where the root is")?;
    let by = Instant::now() + PATIENCE;
    while !Path::new(root).exists() {
        if Instant::now() > by {
            return Err(format!("there is no disk {root} within {} s", PATIENCE.as_secs()));
        }
        sleep(TRY_AGAIN);
    }
    let _there = fs::create_dir(ROOT);
    let options = Some(words.options.as_str()).filter(|options| !options.is_empty());
    mount(Some(root), ROOT, Some(words.kind.as_str()), words.flags, options)
        .map_err(|errno| format!("cannot mount {root} as {}: {}", words.kind, errno.desc()))?;
    let init = format!("{ROOT}{}", words.init);
    if !Path::new(&init).exists() {
        let _back = umount2(ROOT, MntFlags::MNT_DETACH);
        return Err(format!("there is no {} on {root}", words.init));
    }
    let moved = || -> Result<(), Errno> {
        let none = None::<&str>;
        umount2("/proc", MntFlags::MNT_DETACH)?;
        let devices = format!("{ROOT}/dev");
        if mount(Some("/dev"), devices.as_str(), none, MsFlags::MS_MOVE, none).is_err() {
            umount2("/dev", MntFlags::MNT_DETACH)?;
        }
        chdir(ROOT)?;
        // Nobody will see them any more, and they are held in memory.
        let _remains = fs::remove_dir_all("/lib");
        mount(Some("."), "/", none, MsFlags::MS_MOVE, none)?;
        chroot(".")?;
        chdir("/")
    };
    moved().map_err(|errno| format!("cannot go to {root}: {}", errno.desc()))
}

/// Does not return if it can.
fn become_init(path: &str) -> String {
    let text = |word: OsString| CString::new(word.into_vec()).unwrap_or_default();
    let mut words: Vec<CString> = std::env::args_os().map(text).collect();
    let Ok(program) = CString::new(path) else { return "it is no path".into() };
    if let Some(first) = words.first_mut() {
        first.clone_from(&program);
    }
    let pairs = std::env::vars_os().map(|(mut key, value)| {
        key.push("=");
        key.push(value);
        text(key)
    });
    let envs: Vec<CString> = pairs.collect();
    match execve(&program, &words, &envs) {
        Ok(never) => match never {},
        Err(errno) => errno.desc().into(),
    }
}

fn mount_at(path: &str, kind: &str) {
    let _there = fs::create_dir(path);
    let mounted = mount(Some(kind), path, Some(kind), MsFlags::MS_NOSUID, None::<&str>);
    // The kernel may have mounted devtmpfs itself.
    if let Err(errno) = mounted
        && errno != Errno::EBUSY
    {
        say(&format!("cannot mount {path}: {}", errno.desc()));
    }
}

fn load_modules() {
    let list = fs::read_to_string(MODULES).unwrap_or_default();
    for path in list.lines() {
        let loaded = File::open(path).map_err(|error| error.to_string()).and_then(|file| {
            finit_module(file, c"", ModuleInitFlags::empty()).map_err(|errno| errno.desc().into())
        });
        if let Err(why) = loaded {
            say(&format!("cannot load {path}: {why}"));
        }
    }
}

fn say(what: &str) {
    // Without a console nobody hears it.
    drop(writeln!(stderr(), "threshold: {what}"));
}
