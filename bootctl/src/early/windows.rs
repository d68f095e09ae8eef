//! The kernel's own file systems, through which it is seen and told, and those of this boot.

use std::fs;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use tracing::error;

use super::complain;

/// What is mounted where, in this order: /run before /proc, by which a bootctl that was killed in the middle is
/// told that nothing has begun.
const MOUNTS: &[(&str, &str, &str)] = &[
    ("/run", "tmpfs", "mode=0755"),
    ("/proc", "proc", ""),
    ("/sys", "sysfs", ""),
    ("/sys/fs/cgroup", "cgroup2", "nsdelegate"),
    ("/dev", "devtmpfs", "mode=0755"),
    ("/dev/pts", "devpts", "gid=5,mode=620"),
    ("/dev/shm", "tmpfs", "mode=1777"),
    ("/tmp", "tmpfs", "mode=1777"),
];
/// What each is told in the order of `MOUNTS`: nothing that can be executed, but in /dev and /tmp.
const GROUPS: &str = "/sys/fs/cgroup";

/// Mounts what is not mounted yet.
pub(super) fn open() {
    for (path, kind, options) in MOUNTS {
        if !is_mounted(path) {
            mount_at(path, kind, options);
        }
    }
    hand_on_controllers();
}

/// Whether something is mounted there. Before /proc is, nobody can tell.
pub(super) fn is_mounted(path: &str) -> bool {
    let list = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    // The kernel writes a blank as \040.
    let path = path.replace(' ', "\\040");
    list.lines().any(|line| line.split(' ').nth(1) == Some(&path))
}

/// Whether what is mounted there, last if there is more, cannot be written.
pub(super) fn is_read_only(path: &str) -> bool {
    let list = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut fields = list.lines().rev().map(|line| line.split(' ').skip(1).collect::<Vec<_>>());
    let options = fields.find_map(|fields| match fields.as_slice() {
        [place, _, options, ..] if *place == path => Some((*options).to_owned()),
        _ => None,
    });
    options.is_some_and(|options| options.split(',').any(|option| option == "ro"))
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

/// Has init's groups bound whatever the kernel can.
fn hand_on_controllers() {
    let all = fs::read_to_string(format!("{GROUPS}/cgroup.controllers")).unwrap_or_default();
    for name in all.split_whitespace() {
        // One by one: one that is refused, as `cpu` with real-time processes, costs no other.
        if let Err(error) =
            fs::write(format!("{GROUPS}/cgroup.subtree_control"), format!("+{name}"))
        {
            error!("jobs cannot be bound by the controller {name}: {error}");
        }
    }
}
