//! Unpacks an archive that may be anybody's into a folder of ours.
//!
//! It refuses what would leave the folder (absolute paths, `..`, links that lead out, paths that go through a
//! link), what is no file, folder or link, and what is beyond the bounds; nothing of the archive is trusted
//! before it is counted. It gives no rights that an archive asks for: no set-user-id bits, nothing that all
//! the world may write. What it has refused half way is left to the caller to remove.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use tar::{Archive, EntryType, Header, PaxExtensions};

use super::compression::expand;
use super::{Bounds, Contents, Excess, Owner};

/// The longest note about an entry: a path and what else is said of it.
const LONGEST_NOTE: u64 = 1 << 20;
/// What an archive has beside its files, at most so many bytes for each and this once.
const ENVELOPE: u64 = 64 << 10;
/// A file's bytes are moved in pieces of this size.
const PIECE: usize = 64 << 10;

/// Why an archive is no release.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error("this is no tar archive, as it is or compressed with gzip or zstd")]
    Unknown,
    #[error("this is {0}; pack it as tar, tar.gz or tar.zst")]
    Foreign(&'static str),
    #[error("the archive is damaged or incomplete: {0}")]
    Read(io::Error),
    #[error("the archive ends too early: it was cut off")]
    Truncated,
    #[error("the archive holds nothing")]
    Empty,
    #[error("the archive holds {0:?}, which leads out of the release")]
    Escapes(PathBuf),
    #[error(
        "the archive holds {path:?}, a link to {target:?}: links must be relative, and stay in the release"
    )]
    LinkOut { path: PathBuf, target: PathBuf },
    #[error("the archive holds {0:?}, whose path goes through a link or a file")]
    Through(PathBuf),
    #[error("the archive holds {path:?}, which is {what}; only files, folders and links are taken")]
    Kind { path: PathBuf, what: &'static str },
    #[error("the archive says more about {0:?} than can be: it is damaged")]
    LongNote(PathBuf),
    #[error("the archive holds {0}")]
    TooMuch(#[from] Excess),
    #[error("{path:?} of the release cannot be written: {source}")]
    Write { path: PathBuf, source: io::Error },
}

/// What was said about the entry that comes next.
#[derive(Default)]
struct Note {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    /// Of a kind that is not read, such as a file with holes.
    odd: Option<&'static str>,
}

/// Reads all of it into `folder`, which is there and empty.
pub(crate) fn unpack(
    source: impl Read,
    folder: &Path,
    bounds: Bounds,
    owner: Option<Owner>,
) -> Result<Contents, ArchiveError> {
    let at_end = Cell::new(false);
    let envelope = bounds.entries.saturating_mul(4096).saturating_add(ENVELOPE);
    let most = bounds.bytes.saturating_add(envelope);
    let source = Counted { source, left: most, at_end: None };
    let source = Counted { source: expand(source)?, left: most, at_end: Some(&at_end) };
    let mut archive = Archive::new(source);
    let mut place = Place { folder, bounds, owner, contents: Contents::default() };
    let mut note = Note::default();
    for entry in archive.entries().map_err(|error| read(error, bounds))?.raw(true) {
        let mut entry = entry.map_err(|error| read(error, bounds))?;
        let head = entry.header().clone();
        match head.entry_type() {
            EntryType::GNULongName => note.path = Some(text(&mut entry, &head, bounds)?),
            EntryType::GNULongLink => note.link = Some(text(&mut entry, &head, bounds)?),
            EntryType::XHeader => note.take(&text(&mut entry, &head, bounds)?),
            // Says nothing about paths that counts for all.
            EntryType::XGlobalHeader => {}
            _ => place.take(&head, std::mem::take(&mut note), &mut entry)?,
        }
    }
    if at_end.get() {
        return Err(ArchiveError::Truncated);
    }
    // What comes after the end is read as well: a compressed file has its checksum there.
    let mut rest = archive.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(|error| read(error, bounds))?;
    if place.contents.entries == 0 {
        return Err(ArchiveError::Empty);
    }
    Ok(place.contents)
}

/// The text of a note.
fn text(entry: &mut impl Read, head: &Header, bounds: Bounds) -> Result<Vec<u8>, ArchiveError> {
    let size = head.entry_size().map_err(ArchiveError::Read)?;
    if size > LONGEST_NOTE {
        return Err(ArchiveError::LongNote(path_of(&head.path_bytes())));
    }
    let mut text = Vec::new();
    entry.read_to_end(&mut text).map_err(|error| read(error, bounds))?;
    if text.len() as u64 != size {
        return Err(ArchiveError::Truncated);
    }
    Ok(text)
}

impl Note {
    /// Takes the records of pax.
    fn take(&mut self, text: &[u8]) {
        for record in PaxExtensions::new(text).flatten() {
            match record.key_bytes() {
                b"path" => self.path = Some(record.value_bytes().to_vec()),
                b"linkpath" => self.link = Some(record.value_bytes().to_vec()),
                b"size" => self.odd = Some("larger than 8 GiB"),
                key if key.starts_with(b"GNU.sparse") => self.odd = Some("packed with holes"),
                // Times, owners and what else is said is not ours to keep.
                _ => {}
            }
        }
    }
}

/// Where it goes.
struct Place<'a> {
    folder: &'a Path,
    bounds: Bounds,
    owner: Option<Owner>,
    contents: Contents,
}

impl Place<'_> {
    fn take(
        &mut self,
        head: &Header,
        note: Note,
        data: &mut impl Read,
    ) -> Result<(), ArchiveError> {
        let told = path_of(&note.path.unwrap_or_else(|| head.path_bytes().into_owned()));
        if let Some(what) = note.odd {
            return Err(ArchiveError::Kind { path: told, what });
        }
        let Some(path) = inside(&told) else { return Err(ArchiveError::Escapes(told)) };
        let size = head.entry_size().map_err(ArchiveError::Read)?;
        let link = note.link.or_else(|| head.link_name_bytes().map(std::borrow::Cow::into_owned));
        let link = path_of(&link.unwrap_or_default());
        let mode = head.mode().map_err(ArchiveError::Read)?;
        self.contents.add(if is_file(head) { size } else { 0 }, self.bounds)?;
        if path.as_os_str().is_empty() {
            // The folder that was packed.
            return Ok(());
        }
        let parent = path.parent().unwrap_or(Path::new(""));
        self.ensure(parent, &told)?;
        let whole = self.folder.join(&path);
        let write = |source| ArchiveError::Write { path: told.clone(), source };
        match head.entry_type() {
            EntryType::Regular | EntryType::Continuous
                if !told.as_os_str().as_bytes().ends_with(b"/") =>
            {
                Self::make_way(&whole, &told)?;
                let mode = mode & 0o775;
                let mut file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&whole)
                    .map_err(write)?;
                fill(&mut file, data, size, &told)?;
                if let Some(owner) = self.owner {
                    owner.give(&file).map_err(write)?;
                }
                file.set_permissions(Permissions::from_mode(mode)).map_err(write)?;
                let seconds = head.mtime().map_err(ArchiveError::Read)?;
                if let Some(time) = UNIX_EPOCH.checked_add(Duration::from_secs(seconds)) {
                    // Builds look at it; nothing else depends on it.
                    drop(file.set_modified(time));
                }
                Ok(())
            }
            EntryType::Directory | EntryType::Regular | EntryType::Continuous => {
                self.ensure(&path, &told)?;
                let mode = Permissions::from_mode(mode & 0o775 | 0o700);
                fs::set_permissions(&whole, mode).map_err(write)
            }
            EntryType::Symlink => {
                if !stays(parent, &link) {
                    return Err(ArchiveError::LinkOut { path: told, target: link });
                }
                Self::make_way(&whole, &told)?;
                symlink(&link, &whole).map_err(write)?;
                self.owner.map_or(Ok(()), |owner| owner.give_path(&whole)).map_err(write)
            }
            EntryType::Link => {
                let Some(target) = inside(&link) else {
                    return Err(ArchiveError::LinkOut { path: told, target: link });
                };
                self.ensure(target.parent().unwrap_or(Path::new("")), &link)?;
                let target = self.folder.join(target);
                if !fs::symlink_metadata(&target).is_ok_and(|about| about.is_file()) {
                    return Err(ArchiveError::LinkOut { path: told, target: link });
                }
                if target == whole {
                    return Ok(());
                }
                Self::make_way(&whole, &told)?;
                fs::hard_link(&target, &whole).map_err(write)
            }
            other => Err(ArchiveError::Kind { path: told, what: kind(other) }),
        }
    }

    /// Makes the folders on the way to a path. Each of them is one, and no link to one.
    fn ensure(&self, path: &Path, told: &Path) -> Result<(), ArchiveError> {
        let mut whole = self.folder.to_owned();
        for part in path.components() {
            whole.push(part);
            match fs::symlink_metadata(&whole) {
                Ok(about) if about.is_dir() => continue,
                Ok(_) => return Err(ArchiveError::Through(told.to_owned())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(ArchiveError::Write { path: told.to_owned(), source }),
            }
            let write = |source| ArchiveError::Write { path: told.to_owned(), source };
            fs::DirBuilder::new().mode(0o755).create(&whole).map_err(write)?;
            fs::set_permissions(&whole, Permissions::from_mode(0o755)).map_err(write)?;
            self.owner.map_or(Ok(()), |owner| owner.give_path(&whole)).map_err(write)?;
        }
        Ok(())
    }

    /// An archive to which was added holds a file more than once: the last one counts.
    fn make_way(whole: &Path, told: &Path) -> Result<(), ArchiveError> {
        match fs::remove_file(whole) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(ArchiveError::Write { path: told.to_owned(), source }),
        }
    }
}

fn fill(file: &mut File, data: &mut impl Read, size: u64, told: &Path) -> Result<(), ArchiveError> {
    let mut piece = vec![0; PIECE];
    let mut written = 0;
    loop {
        let count = match data.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ArchiveError::Read(error)),
        };
        let bytes = piece.get(..count).unwrap_or_default();
        file.write_all(bytes)
            .map_err(|source| ArchiveError::Write { path: told.to_owned(), source })?;
        written += count as u64;
    }
    if written == size { Ok(()) } else { Err(ArchiveError::Truncated) }
}

fn is_file(head: &Header) -> bool {
    matches!(head.entry_type(), EntryType::Regular | EntryType::Continuous)
}

fn kind(of: EntryType) -> &'static str {
    match of {
        EntryType::Block | EntryType::Char => "a device",
        EntryType::Fifo => "a pipe",
        EntryType::GNUSparse => "packed with holes",
        _ => "of a kind that is not known",
    }
}

fn path_of(bytes: &[u8]) -> PathBuf {
    // Long names end with a zero.
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

/// A path as it is below the release; none for one that leads out of it, or could.
fn inside(path: &Path) -> Option<PathBuf> {
    let mut inside = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => inside.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(inside)
}

/// Whether a link in this folder leads into the release: it may go up only at its beginning, where the
/// folders are known, and not above the release. What comes then may lead through other links, which stay
/// in the release as well.
pub(super) fn stays(folder: &Path, target: &Path) -> bool {
    let mut height = folder.components().count();
    let mut down = false;
    for part in target.components() {
        match part {
            Component::Normal(_) => down = true,
            Component::CurDir => {}
            Component::ParentDir if down || height == 0 => return false,
            Component::ParentDir => height -= 1,
            Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    !target.as_os_str().is_empty()
}

/// A reader with a bound, that notes when it has come to an end.
struct Counted<'a, R> {
    source: R,
    left: u64,
    at_end: Option<&'a Cell<bool>>,
}

/// That the bound was reached.
#[derive(Debug, thiserror::Error)]
#[error("it is larger than a release may be")]
struct Bound;

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(into)?;
        if count == 0
            && !into.is_empty()
            && let Some(at_end) = self.at_end
        {
            at_end.set(true);
        }
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| io::Error::other(Bound))?;
        Ok(count)
    }
}

/// Why reading has failed: because of the archive, or of its size.
fn read(error: io::Error, bounds: Bounds) -> ArchiveError {
    let bound = error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Bound>);
    if bound { Excess::Bytes(bounds.bytes).into() } else { ArchiveError::Read(error) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::MetadataExt;

    use proptest::prelude::*;

    use super::*;

    /// An archive of raw heads, as nobody's tool would write it.
    struct Packed(Vec<u8>);

    impl Packed {
        fn new() -> Self {
            Self(Vec::new())
        }

        fn add(mut self, kind: EntryType, path: &str, link: &str, data: &[u8]) -> Self {
            let mut head = Header::new_gnu();
            head.set_entry_type(kind);
            head.set_size(data.len() as u64);
            head.set_mode(0o4777);
            head.set_mtime(1_000_000);
            // As it is: the crate would refuse to write what it is to be tested with.
            let raw = head.as_gnu_mut().expect("it is one");
            raw.name[..path.len()].copy_from_slice(path.as_bytes());
            raw.linkname[..link.len()].copy_from_slice(link.as_bytes());
            head.set_cksum();
            self.0.extend(head.as_bytes());
            self.0.extend(data);
            self.0.resize(self.0.len().next_multiple_of(512), 0);
            self
        }

        fn file(self, path: &str, data: &str) -> Self {
            self.add(EntryType::Regular, path, "", data.as_bytes())
        }

        fn end(mut self) -> Vec<u8> {
            self.0.resize(self.0.len() + 1024, 0);
            self.0
        }
    }

    fn good() -> Packed {
        Packed::new()
            .add(EntryType::Directory, "./", "", b"")
            .file("./server.js", "listen")
            .add(EntryType::Directory, "lib/", "", b"")
            .file("lib/deep/a.js", "a")
            .add(EntryType::Symlink, "lib/up", "../server.js", b"")
            .add(EntryType::Link, "again.js", "server.js", b"")
    }

    const SMALL: Bounds = Bounds { bytes: 10_000, entries: 20 };

    fn unpacked(bytes: &[u8]) -> (tempfile::TempDir, Result<Contents, ArchiveError>) {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("release")).expect("created");
        let contents = unpack(bytes, &folder.path().join("release"), SMALL, None);
        (folder, contents)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("in memory");
        encoder.finish().expect("in memory")
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    #[test]
    fn d08_an_archive_is_unpacked_whatever_it_is_compressed_with() {
        let tar = good().end();
        for bytes in [tar.clone(), gzip(&tar), zstd(&tar)] {
            let (folder, contents) = unpacked(&bytes);
            assert_eq!(contents.expect("unpacked"), Contents { bytes: 7, entries: 6 });
            let release = folder.path().join("release");
            let read = |path: &str| fs::read_to_string(release.join(path)).expect("there");
            assert_eq!((read("server.js"), read("lib/up")), ("listen".into(), "listen".into()));
            assert_eq!((read("lib/deep/a.js"), read("again.js")), ("a".into(), "listen".into()));
            let about = fs::metadata(release.join("server.js")).expect("there");
            assert_eq!((about.mode() & 0o7777, about.mtime()), (0o775, 1_000_000));
        }
    }

    #[test]
    fn d08_long_names_are_read_from_notes() {
        let long = "x".repeat(150) + "/" + &"y".repeat(150);
        let pax = |key: &str, value: &str| {
            let rest = format!(" {key}={value}\n");
            let mut length = rest.len() + 3;
            length = rest.len() + length.to_string().len();
            format!("{length}{rest}")
        };
        let by_pax = Packed::new().add(EntryType::XHeader, "x", "", pax("path", &long).as_bytes());
        let by_gnu =
            Packed::new().add(EntryType::GNULongName, "x", "", (long.clone() + "\0").as_bytes());
        for notes in [by_pax, by_gnu] {
            let (folder, contents) = unpacked(&notes.file("short", "a").end());
            contents.expect("unpacked");
            assert!(folder.path().join("release").join(&long).is_file());
        }
        let (_, contents) = unpacked(
            &Packed::new()
                .add(EntryType::XHeader, "x", "", pax("path", "../../out").as_bytes())
                .file("short", "a")
                .end(),
        );
        assert!(matches!(contents, Err(ArchiveError::Escapes(_))), "{contents:?}");
    }

    #[test]
    fn d08_nothing_leaves_the_release() {
        let link = |path: &str, to: &str| Packed::new().add(EntryType::Symlink, path, to, b"");
        for (packed, told) in [
            (Packed::new().file("../out", "x"), "leads out of the release"),
            (Packed::new().file("/out", "x"), "leads out of the release"),
            (Packed::new().file("a/../../out", "x"), "leads out of the release"),
            (link("a", "/etc"), "links must be relative"),
            (link("a", ".."), "links must be relative"),
            (link("a/b", "../../out"), "links must be relative"),
            (link("s", ".").add(EntryType::Symlink, "t", "s/..", b""), "links must be relative"),
            (link("a", "b").file("a/out", "x"), "goes through a link"),
            (link("a", ".").add(EntryType::Directory, "a/", "", b""), "goes through a link"),
            (Packed::new().file("a", "x").file("a/b", "x"), "goes through a link or a file"),
            (Packed::new().add(EntryType::Link, "a", "/etc/passwd", b""), "links must be relative"),
            (Packed::new().add(EntryType::Link, "a", "../out", b""), "links must be relative"),
            (link("a", "b").add(EntryType::Link, "c", "a", b""), "links must be relative"),
            (Packed::new().add(EntryType::Char, "null", "", b""), "is a device"),
            (Packed::new().add(EntryType::Block, "disk", "", b""), "is a device"),
            (Packed::new().add(EntryType::Fifo, "pipe", "", b""), "is a pipe"),
            (Packed::new().add(EntryType::GNUSparse, "holes", "", b""), "packed with holes"),
        ] {
            let (folder, contents) = unpacked(&packed.end());
            let error = contents.expect_err(told).to_string();
            assert!(error.contains(told), "{error}");
            assert_eq!(fs::read_dir(folder.path()).expect("read").count(), 1, "{told}");
        }
    }

    #[test]
    fn d08_bounds_hold_whatever_is_said() {
        let many = (0..30).fold(Packed::new(), |packed, n| packed.file(&n.to_string(), ""));
        let large = Packed::new().add(EntryType::Regular, "a", "", &[b'a'; 10_001]);
        let note = Packed::new().add(EntryType::GNULongName, "a", "", &vec![b'a'; (1 << 20) + 1]);
        let trailing = [good().end(), vec![0; 1 << 20]].concat();
        for (packed, told) in [
            (many.end(), "more than 20 files"),
            (gzip(&large.end()), "more than 10000 bytes"),
            (gzip(&note.end()), "more than 10000 bytes"),
            (gzip(&trailing), "more than 10000 bytes"),
        ] {
            let error = unpacked(&packed).1.expect_err(told).to_string();
            assert!(error.contains(told) || error.contains("says more about"), "{error}");
        }
    }

    #[test]
    fn d08_what_is_cut_off_anywhere_is_refused() {
        let tar = good().end();
        for whole in [tar.clone(), gzip(&tar), zstd(&tar)] {
            let end = if whole == tar { tar.len() - 1024 } else { whole.len() - 1 };
            for length in (0..end).step_by(23).chain([end]) {
                let contents = unpacked(&whole[..length]).1;
                assert!(contents.is_err(), "{length} of {}", whole.len());
            }
        }
    }

    #[test]
    fn d08_what_is_no_archive_is_told_apart() {
        for (bytes, told) in [
            (&b"PK\x03\x04"[..], "a zip archive; pack it as tar"),
            (b"BZh91AY", "bzip2"),
            (b"", "no tar archive"),
            (b"hello", "no tar archive"),
            (&[0; 4096], "no tar archive"),
            (&gzip(b"hello"), "damaged or incomplete"),
        ] {
            let error = unpacked(bytes).1.expect_err(told).to_string();
            assert!(error.contains(told) || error.contains("ends too early"), "{error}");
        }
        let (_, contents) =
            unpacked(&Packed::new().add(EntryType::XGlobalHeader, "g", "", b"").end());
        assert!(matches!(contents, Err(ArchiveError::Empty)), "{contents:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn d08_damaged_archives_do_no_harm(flips in prop::collection::vec((0..5000_usize, any::<u8>()), 1..6)) {
            let mut tar = good().end();
            for (at, value) in flips {
                let at = at % tar.len();
                tar[at] = value;
            }
            let (folder, _) = unpacked(&tar);
            prop_assert_eq!(fs::read_dir(folder.path()).expect("read").count(), 1);
        }
    }
}
