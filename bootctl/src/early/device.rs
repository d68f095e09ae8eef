//! A disk or a part of one, by its path or by what is written at the beginning of it.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// All disks and their parts.
const BLOCKS: &str = "/sys/class/block";
/// Where the last of what is looked at ends.
const HEAD: u64 = 36 << 10;
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// How somebody names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Device {
    Path(PathBuf),
    Label(String),
    Uuid(String),
}

/// A file system, as its first blocks say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Volume {
    pub(super) kind: &'static str,
    label: String,
    uuid: String,
}

/// Where file systems say what they are: offsets and lengths.
struct Mark {
    kind: &'static str,
    magic: (usize, &'static [u8]),
    label: (usize, usize),
    uuid: (usize, usize),
}

const MARKS: &[Mark] = &[
    // ext2 and ext3 are read by the same driver.
    Mark { kind: "ext4", magic: (0x438, b"\x53\xef"), label: (0x478, 16), uuid: (0x468, 16) },
    Mark { kind: "xfs", magic: (0, b"XFSB"), label: (0x6c, 12), uuid: (0x20, 16) },
    Mark { kind: "squashfs", magic: (0, b"hsqs"), label: (0, 0), uuid: (0, 0) },
    Mark { kind: "iso9660", magic: (0x8001, b"CD001"), label: (0x8028, 32), uuid: (0, 0) },
    Mark { kind: "vfat", magic: (0x52, b"FAT32"), label: (0x47, 11), uuid: (0x43, 4) },
    Mark { kind: "vfat", magic: (0x36, b"FAT1"), label: (0x2b, 11), uuid: (0x27, 4) },
];

impl Device {
    /// `/dev/NAME`, `LABEL=NAME` or `UUID=ID`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let of = |rest: &str| Some(rest.to_owned()).filter(|rest| !rest.is_empty());
        if let Some(label) = text.strip_prefix("LABEL=") {
            return of(label).map(Self::Label);
        }
        if let Some(uuid) = text.strip_prefix("UUID=") {
            return of(uuid).map(Self::Uuid);
        }
        let is_device = text.starts_with("/dev/") && !text.contains("/../");
        is_device.then(|| Self::Path(text.into()))
    }

    /// Where it is, and what is on it, once its driver has found it. Waits, and reads disks: for a thread of
    /// its own.
    pub(super) fn find(&self, by: Instant) -> Option<(PathBuf, Option<Volume>)> {
        loop {
            let found = self.look();
            if found.is_some() || Instant::now() >= by {
                return found;
            }
            thread::sleep(TRY_AGAIN);
        }
    }

    fn look(&self) -> Option<(PathBuf, Option<Volume>)> {
        if let Self::Path(path) = self {
            return path.exists().then(|| (path.clone(), Volume::on(path)));
        }
        let mut names: Vec<_> =
            fs::read_dir(BLOCKS).ok()?.flatten().map(|it| it.file_name()).collect();
        names.sort();
        names.into_iter().find_map(|name| {
            let path = Path::new("/dev").join(name);
            let volume = Volume::on(&path)?;
            self.is(&volume).then_some((path, Some(volume)))
        })
    }

    fn is(&self, volume: &Volume) -> bool {
        match self {
            Self::Path(_) => false,
            Self::Label(label) => volume.label == *label,
            Self::Uuid(uuid) => !uuid.is_empty() && volume.uuid.eq_ignore_ascii_case(uuid),
        }
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Label(label) => write!(f, "LABEL={label}"),
            Self::Uuid(uuid) => write!(f, "UUID={uuid}"),
        }
    }
}

impl Volume {
    fn on(path: &Path) -> Option<Self> {
        let mut head = Vec::new();
        // Fewer bytes are a small disk.
        drop(File::open(path).ok()?.take(HEAD).read_to_end(&mut head));
        Self::recognise(&head)
    }

    /// What the first blocks say.
    fn recognise(head: &[u8]) -> Option<Self> {
        let part = |at: usize, length: usize| head.get(at..at.checked_add(length)?);
        let mark = MARKS.iter().find(|mark| {
            let (at, magic) = mark.magic;
            part(at, magic.len()) == Some(magic)
        })?;
        let label = part(mark.label.0, mark.label.1).unwrap_or_default();
        let label = label.split(|byte| *byte == 0).next().unwrap_or_default();
        let label = String::from_utf8_lossy(label).trim_end().to_owned();
        let uuid = part(mark.uuid.0, mark.uuid.1).unwrap_or_default();
        Some(Self { kind: mark.kind, label, uuid: written(uuid) })
    }
}

/// 16 bytes as `8-4-4-4-12`; the 4 of a FAT backwards, as `4-4`.
fn written(uuid: &[u8]) -> String {
    let hex = |byte: &u8| format!("{byte:02x}");
    if uuid.len() == 4 {
        let digits: String = uuid.iter().rev().map(hex).collect();
        let (one, other) = digits.split_at(4);
        return format!("{one}-{other}");
    }
    let mut text = String::new();
    for (at, byte) in uuid.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&hex(byte));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(writes: &[(usize, &[u8])]) -> Vec<u8> {
        let mut head = vec![0; 36 << 10];
        for (at, bytes) in writes {
            head[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        head
    }

    #[test]
    fn file_systems_are_known_by_their_marks() {
        let id: Vec<u8> = (0..16).collect();
        let ext = head(&[(0x438, b"\x53\xef"), (0x478, b"data"), (0x468, &id)]);
        let ext = Volume::recognise(&ext).expect("known");
        assert_eq!((ext.kind, ext.label.as_str()), ("ext4", "data"));
        assert_eq!(ext.uuid, "00010203-0405-0607-0809-0a0b0c0d0e0f");
        let by = |text: &str| Device::parse(text).expect("a device");
        assert!(by("LABEL=data").is(&ext) && !by("LABEL=dat").is(&ext));
        assert!(by("UUID=00010203-0405-0607-0809-0A0B0C0D0E0F").is(&ext));
        let fat = head(&[(0x52, b"FAT32"), (0x47, b"CONF       "), (0x43, b"\x78\x56\x34\xab")]);
        let fat = Volume::recognise(&fat).expect("known");
        assert_eq!(
            (fat.kind, fat.label.as_str(), fat.uuid.as_str()),
            ("vfat", "CONF", "ab34-5678")
        );
        let iso = head(&[(0x8001, b"CD001"), (0x8028, b"cidata  ")]);
        assert_eq!(Volume::recognise(&iso).expect("known").label, "cidata");
        assert_eq!(Volume::recognise(&head(&[])), None);
        for short in 0..0x479 {
            let _any = Volume::recognise(&head(&[(0x438, b"\x53\xef")])[..short]);
        }
    }

    #[test]
    fn devices_are_told_from_folders() {
        for (text, is_device) in [
            ("/dev/vdb", true),
            ("/dev/disk/by-id/x", true),
            ("LABEL=a", true),
            ("UUID=1", true),
            ("/etc/bootctl", false),
            ("LABEL=", false),
            ("UUID=", false),
            ("", false),
            ("/dev/../etc", false),
        ] {
            assert_eq!(Device::parse(text).is_some(), is_device, "{text}");
        }
    }
}
