//! Leaving file systems clean: whatever is mounted is unmounted, or at least made read-only.

use std::fs;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tracing::warn;

/// Rounds: what is mounted below or within another can only go after it.
const ROUNDS: u32 = 4;

/// Writes out and unmounts all, the last mounted first. The root stays, read-only.
pub(super) fn all() {
    nix::unistd::sync();
    let mut left = mounted();
    for _ in 0..ROUNDS {
        left.retain(|place| umount2(place.as_str(), MntFlags::empty()).is_err());
    }
    left.push("/".into());
    for place in left {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        let none = None::<&str>;
        if let Err(errno) = mount(none, place.as_str(), none, flags, none) {
            warn!("{place} stays mounted as it is: {}", errno.desc());
        }
    }
    nix::unistd::sync();
}

/// The places of file systems that hold something, the last mounted first.
fn mounted() -> Vec<String> {
    // Without /proc nobody can have mounted much.
    let list = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    list.lines().rev().filter_map(place).collect()
}

/// Reads `ID PARENT MAJOR:MINOR ROOT PLACE OPTIONS… - KIND SOURCE OPTIONS`. The kernel's own
/// windows hold nothing, and are needed to the end.
fn place(line: &str) -> Option<String> {
    const WINDOWS: [&str; 9] = [
        "proc",
        "sysfs",
        "devtmpfs",
        "devpts",
        "cgroup",
        "cgroup2",
        "rootfs",
        "securityfs",
        "debugfs",
    ];
    let (left, right) = line.split_once(" - ")?;
    let kind = right.split(' ').next()?;
    let place = unescaped(left.split(' ').nth(4)?);
    (!WINDOWS.contains(&kind) && place != "/").then_some(place)
}

/// The kernel writes blanks as `\040`, and so on.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(3).unwrap_or((part, ""));
        match u8::from_str_radix(code, 8) {
            Ok(byte) => bytes.push(byte),
            Err(_) => bytes.extend(code.as_bytes()),
        }
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i17_only_what_holds_something_is_unmounted() {
        let line = |kind| format!("36 35 98:0 / /mnt/a\\040b rw,noatime - {kind} /dev/vda rw");
        assert_eq!(place(&line("ext4")).as_deref(), Some("/mnt/a b"));
        assert_eq!(place(&line("tmpfs")).as_deref(), Some("/mnt/a b"));
        assert_eq!(place(&line("proc")), None);
        assert_eq!(place("1 1 0:1 / / rw - ext4 /dev/vda rw"), None);
        assert_eq!(place(""), None);
        assert_eq!(unescaped("a\\134b\\9"), "a\\b9");
    }
}
