//! Early boot: what a machine needs before anything can run, when bootctl is what its init starts
//! first. In a container, or when it was done before, nothing is left to do.
//!
//! From the kernel command line: `bootctl.hostname=NAME`, `bootctl.ip=ADDRESS/PREFIX[,GATEWAY]`.
//! Kernel modules whose paths stand in `/etc/bootctl/modules`, a line each, are loaded in order.
//! Whatever fails is told and left: a machine that comes up halfway can be looked at.

use std::fs::{self, File};
use std::path::Path;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::unistd::{geteuid, getppid, sethostname};
use tracing::{error, info};

use crate::network;

const MODULES: &str = "/etc/bootctl/modules";

/// What is mounted where, in this order.
const MOUNTS: &[(&str, &str, &str)] = &[
    ("/proc", "proc", ""),
    ("/sys", "sysfs", ""),
    ("/sys/fs/cgroup", "cgroup2", "nsdelegate"),
    ("/dev", "devtmpfs", "mode=0755"),
    ("/dev/pts", "devpts", "gid=5,mode=620"),
    ("/run", "tmpfs", "mode=0755"),
    ("/tmp", "tmpfs", "mode=1777"),
];

/// Does what is not done yet.
pub(crate) fn prepare() {
    if !is_needed() {
        return;
    }
    info!("early boot");
    for (path, kind, options) in MOUNTS {
        mount_at(path, kind, options);
    }
    load_modules();
    let words = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    if let Some(name) = word(&words, "bootctl.hostname") {
        complain("set the hostname", sethostname(name));
    }
    if let Some(text) = word(&words, "bootctl.ip") {
        match network::Address::parse(text) {
            Ok(address) => match network::bring_up(&address) {
                Ok(interface) => info!("{interface} has {text}"),
                Err(error) => error!("bootctl.ip={text}: {error}"),
            },
            Err(error) => error!("bootctl.ip={text}: {error}"),
        }
    }
}

/// Only the child of PID 1, as root, and only where nobody has mounted /proc: a container's
/// manager does that before the first process runs.
fn is_needed() -> bool {
    geteuid().is_root() && getppid().as_raw() == 1 && !Path::new("/proc/self").exists()
}

fn mount_at(path: &str, kind: &str, options: &str) {
    let flags = match kind {
        "devtmpfs" | "devpts" => MsFlags::MS_NOSUID,
        _ => MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
    };
    // What is missing shows in the mount.
    drop(fs::create_dir_all(path));
    let options = Some(options).filter(|options| !options.is_empty());
    match mount(Some(kind), path, Some(kind), flags, options) {
        // The kernel may have mounted devtmpfs itself.
        Err(Errno::EBUSY) => {}
        result => complain(&format!("mount {path}"), result),
    }
}

fn load_modules() {
    let list = fs::read_to_string(MODULES).unwrap_or_default();
    for path in list.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if path.starts_with('#') {
            continue;
        }
        match File::open(path) {
            Ok(file) => match finit_module(file, c"", ModuleInitFlags::empty()) {
                Err(Errno::EEXIST) => {}
                result => complain(&format!("load {path}"), result),
            },
            Err(error) => error!("cannot load {path}: {error}"),
        }
    }
}

/// The value of a `key=value` word.
fn word<'a>(words: &'a str, key: &str) -> Option<&'a str> {
    let mut values = words.split_whitespace().filter_map(|word| word.strip_prefix(key));
    values.find_map(|rest| rest.strip_prefix('='))
}

fn complain(what: &str, result: Result<(), Errno>) {
    if let Err(errno) = result {
        error!("cannot {what}: {}", errno.desc());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_by_their_whole_key() {
        let words =
            "console=ttyS0 bootctl.hostnames=x bootctl.hostname=vm bootctl.ip=10.0.2.15/24\n";
        assert_eq!(word(words, "bootctl.hostname"), Some("vm"));
        assert_eq!(word(words, "bootctl.ip"), Some("10.0.2.15/24"));
        assert_eq!(word(words, "ip"), None);
    }
}
