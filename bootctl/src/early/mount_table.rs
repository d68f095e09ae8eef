//! `/etc/fstab`: which disks belong where. Pure.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use nix::mount::MsFlags;

use super::device::Device;

/// How many lines are taken.
const MOST: usize = 128;

/// A line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) what: What,
    pub(super) place: PathBuf,
    /// `auto`: as is written on it.
    pub(super) kind: String,
    pub(super) flags: MsFlags,
    /// What only the file system understands.
    pub(super) options: String,
    /// Whether it is looked over before.
    pub(super) is_checked: bool,
    /// Whether the machine is as it should be without it (`nofail`).
    pub(super) may_fail: bool,
    /// How long it may take to show up, if that is said (`x-systemd.device-timeout=`).
    pub(super) patience: Option<Duration>,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Device(Device),
    /// Of the kernel's making, such as a tmpfs; by the name that it is to have.
    Virtual(String),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(device) => device.fmt(f),
            Self::Virtual(name) => name.fmt(f),
        }
    }
}

/// A line that cannot be followed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of /etc/fstab is ignored: {why}")]
pub(super) struct Mistake {
    line: usize,
    why: &'static str,
}

/// Reads all of it. Lines with `noauto` are left out.
pub(super) fn read(text: &str) -> Vec<Result<Entry, Mistake>> {
    let lines = text.lines().enumerate().take(MOST);
    let entries = lines.filter_map(|(at, line)| {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        entry(line).map_err(|why| Mistake { line: at.saturating_add(1), why }).transpose()
    });
    entries.collect()
}

fn entry(line: &str) -> Result<Option<Entry>, &'static str> {
    let words: Vec<String> = line.split_whitespace().map(unescaped).collect();
    let [what, place, kind, rest @ ..] = words.as_slice() else {
        return Err("a line is DEVICE FOLDER KIND OPTIONS 0 PASS");
    };
    if kind == "swap" {
        return Err("swap is not supported");
    }
    if !place.starts_with('/') || place.split('/').any(|part| part == "..") {
        return Err("the folder is to be an absolute path");
    }
    let what = match Device::parse(what) {
        Some(device) => What::Device(device),
        None if what.contains('=') => {
            return Err("devices are named by /dev/NAME, LABEL= or UUID=");
        }
        None => What::Virtual(what.clone()),
    };
    let options = rest.first().map_or("defaults", String::as_str);
    let is_checked = rest.get(2).is_some_and(|pass| pass != "0");
    if options.split(',').any(|option| option == "noauto") {
        return Ok(None);
    }
    let may_fail = options.split(',').any(|option| option == "nofail");
    let patience = options.split(',').find_map(|option| {
        let text = option.strip_prefix("x-systemd.device-timeout=")?;
        text.trim_end_matches('s').parse().ok().map(Duration::from_secs)
    });
    let (flags, options) = flags(options);
    Ok(Some(Entry {
        what,
        place: place.into(),
        kind: kind.clone(),
        flags,
        options,
        is_checked,
        may_fail,
        patience,
    }))
}

/// The options that the kernel knows, and the others. Those of other programs are dropped.
fn flags(options: &str) -> (MsFlags, String) {
    let mut flags = MsFlags::empty();
    let mut rest = Vec::new();
    for option in options.split(',') {
        match option {
            "ro" => flags.insert(MsFlags::MS_RDONLY),
            "rw" => flags.remove(MsFlags::MS_RDONLY),
            "nosuid" => flags.insert(MsFlags::MS_NOSUID),
            "nodev" => flags.insert(MsFlags::MS_NODEV),
            "noexec" => flags.insert(MsFlags::MS_NOEXEC),
            "sync" => flags.insert(MsFlags::MS_SYNCHRONOUS),
            "dirsync" => flags.insert(MsFlags::MS_DIRSYNC),
            "noatime" => flags.insert(MsFlags::MS_NOATIME),
            "nodiratime" => flags.insert(MsFlags::MS_NODIRATIME),
            "relatime" => flags.insert(MsFlags::MS_RELATIME),
            "strictatime" => flags.insert(MsFlags::MS_STRICTATIME),
            "bind" => flags.insert(MsFlags::MS_BIND),
            "rbind" => flags.insert(MsFlags::MS_BIND | MsFlags::MS_REC),
            "" | "defaults" | "auto" | "nofail" | "_netdev" | "suid" | "dev" | "exec" | "async"
            | "user" | "users" | "nouser" | "owner" | "group" => {}
            other if other.starts_with("x-") || other.starts_with("comment=") => {}
            other => rest.push(other),
        }
    }
    (flags, rest.join(","))
}

/// Blanks are written as `\040`, as the kernel does.
fn unescaped(word: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(word.to_owned(), |word, (code, text)| word.replace(code, text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_become_mounts() {
        let text = "# disks\n\nLABEL=data /var ext4 noatime,nofail,x-systemd.device-timeout=3s,commit=1 0 2\n\
                    /dev/vdc /mnt/a\\040b auto ro,x-other 0 0\ntmpfs /scratch tmpfs size=1m,nodev\n\
                    /dev/sr0 /cd iso9660 noauto 0 0\n";
        let entries: Vec<_> = read(text).into_iter().map(|entry| entry.expect("good")).collect();
        assert_eq!(
            entries[0],
            Entry {
                what: What::Device(Device::Label("data".into())),
                place: "/var".into(),
                kind: "ext4".into(),
                flags: MsFlags::MS_NOATIME,
                options: "commit=1".into(),
                is_checked: true,
                may_fail: true,
                patience: Some(Duration::from_secs(3)),
            }
        );
        assert_eq!(entries[1].place, PathBuf::from("/mnt/a b"));
        assert_eq!((entries[1].flags, entries[1].is_checked), (MsFlags::MS_RDONLY, false));
        assert!(!entries[1].may_fail);
        assert_eq!(entries[2].what, What::Virtual("tmpfs".into()));
        assert_eq!((entries[2].flags, entries[2].options.as_str()), (MsFlags::MS_NODEV, "size=1m"));
        assert_eq!(entries.len(), 3, "noauto is left out");
    }

    #[test]
    fn mistakes_are_told_by_line() {
        let text = "/dev/vda\n/dev/vda relative ext4\n/dev/vda none swap sw 0 0\n\
                    PARTUUID=1 /a ext4\n/dev/vda /../a ext4\nnone /good tmpfs\n";
        let all = read(text);
        let told: Vec<_> =
            all.iter().filter_map(|it| it.as_ref().err()).map(|mistake| mistake.line).collect();
        assert_eq!(told, [1, 2, 3, 4, 5]);
        assert!(all[5].is_ok());
    }

    proptest! {
        #[test]
        fn no_table_is_too_much(text in "(?s).{0,3000}") {
            prop_assert!(read(&text).len() <= MOST);
        }
    }
}
