//! Leaving file systems clean: whatever is mounted is unmounted, or at least made read-only.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::thread;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tracing::warn;

/// Rounds: what is mounted below or within another can only go after it, and a file system may
/// need a moment to see that its last file is closed.
const ROUNDS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// A file system that holds something.
#[derive(Debug, PartialEq, Eq)]
struct Mounted {
    place: OsString,
    /// It needs somebody else to be unmounted, who may be gone.
    is_remote: bool,
}

/// Unmounts all, the last mounted first. The root stays, read-only.
pub(super) fn all() {
    let Some(mut left) = mounted() else {
        return warn!("what is mounted cannot be told without /proc, and stays");
    };
    // Not waited for: a server that does not answer must cost no disk its clean end.
    left.retain(|it| !it.is_remote || umount2(&*it.place, MntFlags::MNT_DETACH).is_err());
    for _ in 0..ROUNDS {
        left.retain(|it| umount2(&*it.place, MntFlags::empty()).is_err());
        if left.is_empty() {
            break;
        }
        thread::sleep(PAUSE);
    }
    left.push(Mounted { place: "/".into(), is_remote: false });
    for Mounted { place, .. } in left {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        let none = None::<&str>;
        if let Err(errno) = mount(none, &*place, none, flags, none) {
            warn!("{} stays mounted as it is: {}", place.display(), errno.desc());
        }
    }
}

/// Whatever holds something, the last mounted first.
fn mounted() -> Option<Vec<Mounted>> {
    // In bytes: a name need not be text.
    let list = fs::read("/proc/self/mountinfo").ok()?;
    let lines = list.split(|byte| *byte == b'\n').rev();
    Some(lines.filter_map(Mounted::parse).collect())
}

impl Mounted {
    /// Reads `ID PARENT MAJOR:MINOR ROOT PLACE OPTIONS… - KIND SOURCE OPTIONS`. The kernel's own
    /// windows hold nothing, and are needed to the end.
    fn parse(line: &[u8]) -> Option<Self> {
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
        const REMOTE: [&str; 7] = ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse"];
        let mut words = line.split(|byte| *byte == b' ');
        let place = unescaped(words.nth(4)?);
        let kind = words.skip_while(|word| *word != b"-").nth(1)?;
        let kind = String::from_utf8_lossy(kind);
        let is_remote = REMOTE.contains(&kind.split('.').next()?);
        (!WINDOWS.contains(&&*kind) && place != "/").then_some(Self { place, is_remote })
    }
}

/// The kernel writes blanks as `\040`, and so on.
fn unescaped(text: &[u8]) -> OsString {
    let mut parts = text.split(|byte| *byte == b'\\');
    let mut bytes = parts.next().unwrap_or_default().to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(3).unwrap_or((part, b""));
        match std::str::from_utf8(code).map(|code| u8::from_str_radix(code, 8)) {
            Ok(Ok(byte)) => bytes.push(byte),
            _ => bytes.extend(code),
        }
        bytes.extend(rest);
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i17_only_what_holds_something_is_unmounted() {
        let parse = |kind: &str| {
            let line =
                format!("36 35 98:0 / /mnt/a\\040b rw,noatime master:1 - {kind} /dev/vda rw");
            Mounted::parse(line.as_bytes())
        };
        let local = Mounted { place: "/mnt/a b".into(), is_remote: false };
        assert_eq!(parse("ext4"), Some(local));
        assert!(parse("nfs4").unwrap().is_remote && parse("fuse.sshfs").unwrap().is_remote);
        assert_eq!(parse("proc"), None);
        assert_eq!(Mounted::parse(b"1 1 0:1 / / rw - ext4 /dev/vda rw"), None);
        assert_eq!(Mounted::parse(b""), None);
        assert_eq!(unescaped(b"a\\134b\\9\xff").into_vec(), b"a\\b9\xff");
    }
}
