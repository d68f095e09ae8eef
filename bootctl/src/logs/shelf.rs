//! The files of one app: the one that is written to, and the old ones.
//!
//! | file | is |
//! |---|---|
//! | `shop.example.log` | written to |
//! | `shop.example.log.20261122T004007.123Z` | an earlier one, named after the time when it was put away |
//! | `shop.example.log.20261122T004007.123Z.gz`, `.zst` | the same, compressed |
//! | `….new` | one that is being compressed, or was when the collector was killed |
//!
//! To put a file away is one rename: there is no moment at which a name is missing or two files have to
//! change theirs. Names of apps have no upper case letters, so no app's file looks like another's old one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::keeping::Compress;

/// What an app's file ends with.
const END: &str = ".log";
/// Who may read: secrets end up in logs.
const MODE: u32 = 0o640;
const SAMPLE: &str = "20261122T004007.123Z";

/// One app's place in a folder of logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shelf {
    folder: PathBuf,
    app: String,
}

/// An earlier file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Old {
    /// When it was put away, as its name has it; later is greater.
    pub(crate) time: String,
    pub(crate) app: String,
    pub(crate) packed: Option<&'static str>,
    pub(crate) path: PathBuf,
}

/// What the name of a compressed file ends with.
pub(crate) fn suffix(compress: Compress) -> Option<&'static str> {
    match compress {
        Compress::Gzip => Some("gz"),
        Compress::Zstd => Some("zst"),
        Compress::None => None,
    }
}

impl Shelf {
    pub(crate) fn new(folder: &Path, app: &str) -> Self {
        Self { folder: folder.to_owned(), app: app.to_owned() }
    }

    /// The file that is written to.
    pub(crate) fn current(&self) -> PathBuf {
        self.folder.join(format!("{}{END}", self.app))
    }

    /// Opens it to append; it is made if it is not there.
    pub(crate) fn open(&self) -> io::Result<File> {
        OpenOptions::new().append(true).read(true).create(true).mode(MODE).open(self.current())
    }

    /// The earlier ones, the oldest first. Of one that is there twice, the one that is not compressed.
    pub(crate) fn old(&self) -> io::Result<Vec<Old>> {
        let mut old = all_old(&self.folder)?;
        old.retain(|old| old.app == self.app);
        old.dedup_by(|later, first| later.time == first.time);
        Ok(old)
    }

    /// Puts the current file away, `now` as a log line has it, and forgets all but the `keep` last ones.
    pub(crate) fn put_away(&self, now: &str, keep: u32) -> io::Result<()> {
        let old = self.old()?;
        let mut name = compact(now);
        if let Some(last) = old.last()
            && name <= last.time
        {
            // The clock was set back, or it is the same millisecond.
            name = after(&last.time);
        }
        fs::rename(self.current(), self.folder.join(format!("{}{END}.{name}", self.app)))?;
        let surplus = (old.len() + 1).saturating_sub(keep as usize);
        let mut all = all_old(&self.folder)?;
        all.retain(|old| old.app == self.app);
        let mut times: Vec<&str> = all.iter().map(|old| old.time.as_str()).collect();
        times.dedup();
        let gone: Vec<&str> = times.into_iter().take(surplus).collect();
        for old in all.iter().filter(|old| gone.contains(&old.time.as_str())) {
            ignore_absent(fs::remove_file(&old.path))?;
        }
        Ok(())
    }

    /// Removes all that was written. The current file is a new one afterwards, so that who follows it sees
    /// that it is not the same.
    pub(crate) fn clear(&self) -> io::Result<()> {
        let current = self.current();
        match fs::metadata(&current) {
            Ok(about) => {
                let empty = self.folder.join(format!(".{}{END}.empty", self.app));
                let file = File::create(&empty)?;
                file.set_permissions(fs::Permissions::from_mode(about.mode() & 0o7777))?;
                std::os::unix::fs::fchown(&file, Some(about.uid()), Some(about.gid()))?;
                fs::rename(&empty, &current)?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        for old in all_old(&self.folder)?.iter().filter(|old| old.app == self.app) {
            ignore_absent(fs::remove_file(&old.path))?;
        }
        Ok(())
    }
}

/// All apps with a file in a folder. An absent folder has none.
pub(crate) fn apps(folder: &Path) -> io::Result<Vec<String>> {
    let mut apps: Vec<String> = names(folder)?
        .iter()
        .filter_map(|name| name.strip_suffix(END).or_else(|| Some(read_old(name)?.0)))
        .filter(|app| !app.is_empty() && !app.starts_with('.'))
        .map(str::to_owned)
        .collect();
    apps.sort();
    apps.dedup();
    Ok(apps)
}

/// All earlier files of all apps, app by app, the oldest first; the one that is not compressed comes before
/// the one that is.
pub(crate) fn all_old(folder: &Path) -> io::Result<Vec<Old>> {
    let names = names(folder)?;
    let mut all: Vec<Old> = names
        .iter()
        .filter_map(|name| {
            let (app, time, packed) = read_old(name)?;
            let (app, time, path) = (app.to_owned(), time.to_owned(), folder.join(name));
            Some(Old { time, app, packed, path })
        })
        .collect();
    all.sort_by(|a, b| (&a.app, &a.time, a.packed).cmp(&(&b.app, &b.time, b.packed)));
    Ok(all)
}

/// What was being compressed when somebody was killed.
pub(crate) fn unfinished(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let names = names(folder)?;
    let is_new = |name: &&String| name.strip_suffix(".new").is_some_and(|n| read_old(n).is_some());
    Ok(names.iter().filter(is_new).map(|name| folder.join(name)).collect())
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    // What is no text is not ours.
    entries
        .filter_map(|entry| entry.map(|e| e.file_name().into_string().ok()).transpose())
        .collect()
}

/// App, time and what it is compressed with, of the name of an earlier file.
fn read_old(name: &str) -> Option<(&str, &str, Option<&'static str>)> {
    let (rest, packed) = match name.rsplit_once('.')? {
        (rest, "gz") => (rest, Some("gz")),
        (rest, "zst") => (rest, Some("zst")),
        _ => (name, None),
    };
    let (before, time) = rest.split_at_checked(rest.len().checked_sub(SAMPLE.len())?)?;
    let like = |(is, sample): (u8, u8)| match sample {
        b'0'..=b'9' => is.is_ascii_digit(),
        sample => is == sample,
    };
    let is_time = time.bytes().zip(SAMPLE.bytes()).all(like);
    let app = before.strip_suffix('.')?.strip_suffix(END)?;
    (is_time && !app.is_empty()).then_some((app, time, packed))
}

/// A line's time as part of a name.
pub(crate) fn compact(time: &str) -> String {
    time.chars().filter(|c| !matches!(c, '-' | ':')).collect()
}

/// The name after a name: one that sorts after it and is as long.
fn after(time: &str) -> String {
    let digits: String = time.chars().filter(char::is_ascii_digit).collect();
    let next = digits.parse::<u64>().unwrap_or_default().saturating_add(1);
    let digits = format!("{next:017}");
    let (day, rest) = digits.split_at_checked(8).unwrap_or_default();
    let (second, millis) = rest.split_at_checked(6).unwrap_or_default();
    format!("{day}T{second}.{millis}Z")
}

fn ignore_absent(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-22T00:40:07.123Z";

    #[test]
    fn o12_a_name_tells_whose_it_is_and_when_it_was_put_away() {
        let name = format!("a.log.b.log.{SAMPLE}");
        assert_eq!(read_old(&name), Some(("a.log.b", SAMPLE, None)));
        let packed = format!("a.log.{SAMPLE}.zst");
        assert_eq!(read_old(&packed), Some(("a", SAMPLE, Some("zst"))));
        let others = ["a.log", "a.log.1", "a.log.gz", "a.log.20261122t004007.123z.log", ".log.x"];
        for other in others {
            assert_eq!(read_old(other), None, "{other}");
        }
        assert_eq!(compact(NOW), SAMPLE);
        assert_eq!(after(SAMPLE), "20261122T004007.124Z");
        assert!(read_old(&format!("a.log.{}", after("20261122T235959.999Z"))).is_some());
    }

    #[test]
    fn o12_as_many_old_files_stay_as_are_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let (shelf, other) = (Shelf::new(folder.path(), "a"), Shelf::new(folder.path(), "a.b"));
        for shelf in [&shelf, &other] {
            for round in 0..4 {
                fs::write(shelf.current(), round.to_string()).expect("written");
                shelf.put_away(NOW, 2).expect("put away");
            }
        }
        let kept: Vec<String> = shelf.old().expect("read").iter().map(|o| o.time.clone()).collect();
        assert_eq!(kept, ["20261122T004007.125Z", "20261122T004007.126Z"], "the last two");
        assert_eq!(apps(folder.path()).expect("read"), ["a", "a.b"]);
        fs::write(shelf.current(), "x").expect("written");
        shelf.clear().expect("cleared");
        assert_eq!(fs::read(shelf.current()).expect("there"), b"");
        assert_eq!((shelf.old().expect("read").len(), other.old().expect("read").len()), (0, 2));
    }
}
