//! By what a file is known again that nobody has written since it was read.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// It: any change of what the file says is one of this, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A file that was changed so shortly before it was read may be changed once more at what its file system takes for the
/// same time.
const DOUBTFUL: Duration = Duration::from_secs(2);

impl Stamp {
    /// That of a file that was read at that time, unless it was written too shortly before.
    pub(super) fn of(about: &Metadata, read: SystemTime) -> Option<Self> {
        let stamp = Self::now(about);
        let changed = Duration::new(
            u64::try_from(stamp.changed.0).ok()?,
            u32::try_from(stamp.changed.1).ok()?,
        );
        let read = read.duration_since(UNIX_EPOCH).ok()?;
        (changed.checked_add(DOUBTFUL)? < read).then_some(stamp)
    }

    /// That of a file as it is.
    pub(super) fn now(about: &Metadata) -> Self {
        Self {
            device: about.dev(),
            inode: about.ino(),
            size: about.size(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn z01_a_file_is_known_again_by_its_stamp_when_that_is_old_enough() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        let stamp = |later: Duration| {
            Stamp::of(&fs::metadata(&path).expect("there"), SystemTime::now() + later)
        };
        let now = || Some(Stamp::now(&fs::metadata(&path).expect("there")));
        fs::write(&path, "one").expect("written");
        assert_eq!(stamp(Duration::ZERO), None, "it may be written again in the same moment");
        let kept = stamp(DOUBTFUL * 2);
        assert_eq!(kept, now());
        // Another file of the same size and time has its place.
        let other = folder.path().join("b");
        fs::write(&other, "two").expect("written");
        let modified = fs::metadata(&path).and_then(|about| about.modified()).expect("known");
        fs::File::open(&other).and_then(|file| file.set_modified(modified)).expect("set");
        fs::rename(&other, &path).expect("renamed");
        assert_ne!(kept, now());
    }
}
