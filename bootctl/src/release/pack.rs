//! Packs a folder as it is read, for whoever unpacks it at the other end: nothing is written on this side.
//!
//! What is in it is sent in the order of names, so that the same folder makes the same archive. Owners are not
//! told; the other end has its own. It refuses what cannot be part of a release before the first byte goes out.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

/// Why a folder cannot be packed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackError {
    #[error("{} cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is no file, folder or link, so it cannot be part of a release; remove it", .0.display())]
    Kind(PathBuf),
    #[error("{} holds nothing", .0.display())]
    Empty(PathBuf),
    #[error("the archive cannot be sent on: {0}")]
    Send(#[from] io::Error),
}

/// A folder that was looked through.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    entries: Vec<(PathBuf, Metadata)>,
}

impl Folder {
    /// Looks through it.
    pub(crate) fn survey(root: &Path) -> Result<Self, PackError> {
        let mut entries = Vec::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            let whole = root.join(&folder);
            let failed = |source| PackError::Read { path: whole.clone(), source };
            let names: Result<Vec<_>, _> =
                fs::read_dir(&whole).map_err(failed)?.map(|e| e.map(|e| e.file_name())).collect();
            let mut names = names.map_err(failed)?;
            names.sort();
            for name in names {
                let path = folder.join(name);
                let about = fs::symlink_metadata(root.join(&path))
                    .map_err(|source| PackError::Read { path: root.join(&path), source })?;
                let kind = about.file_type();
                if kind.is_dir() {
                    folders.push(path.clone());
                } else if !kind.is_file() && !kind.is_symlink() {
                    return Err(PackError::Kind(root.join(path)));
                }
                entries.push((path, about));
            }
        }
        if entries.is_empty() {
            return Err(PackError::Empty(root.to_owned()));
        }
        entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(Self { root: root.to_owned(), entries })
    }

    /// About how many bytes its archive has.
    pub(crate) fn size(&self) -> u64 {
        let one = |(_, about): &(PathBuf, Metadata)| {
            let data = if about.is_file() { about.len() } else { 0 };
            512_u64.saturating_add(data.next_multiple_of(512))
        };
        self.entries.iter().map(one).fold(1024, u64::saturating_add)
    }

    /// Writes the archive.
    pub(crate) fn pack(&self, to: impl Write) -> Result<(), PackError> {
        let mut builder = Builder::new(to);
        for (path, about) in &self.entries {
            let whole = self.root.join(path);
            let failed = |source| PackError::Read { path: whole.clone(), source };
            let mut head = Header::new_gnu();
            head.set_mode(about.mode() & 0o777);
            head.set_mtime(u64::try_from(about.mtime()).unwrap_or(0));
            head.set_size(0);
            let kind = about.file_type();
            if kind.is_dir() {
                head.set_entry_type(EntryType::Directory);
                builder.append_data(&mut head, path, io::empty())?;
            } else if kind.is_symlink() {
                head.set_entry_type(EntryType::Symlink);
                let target = fs::read_link(&whole).map_err(failed)?;
                builder.append_link(&mut head, path, target)?;
            } else {
                let file = File::open(&whole).map_err(failed)?;
                head.set_size(about.len());
                head.set_entry_type(EntryType::Regular);
                // One that grows or shrinks meanwhile is what it was; a shorter one is filled up.
                let data = io::Read::take(io::Read::chain(file, io::repeat(0)), about.len());
                builder.append_data(&mut head, path, data)?;
            }
        }
        Ok(builder.into_inner()?.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::{Bounds, unpack};

    #[test]
    fn d08_what_is_packed_is_unpacked_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("app");
        let long = "n".repeat(120) + "/" + &"m".repeat(120);
        fs::create_dir_all(root.join(&long).parent().expect("it has one")).expect("created");
        fs::write(root.join(&long), "deep").expect("written");
        fs::write(root.join("run"), "x".repeat(70_000)).expect("written");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(root.join("run"), executable).expect("ours");
        std::os::unix::fs::symlink("run", root.join("link")).expect("linked");
        let survey = Folder::survey(&root).expect("looked through");
        let mut bytes = Vec::new();
        survey.pack(&mut bytes).expect("packed");
        assert!(survey.size().abs_diff(bytes.len() as u64) < 8192, "{}", survey.size());
        let release = folder.path().join("release");
        fs::create_dir(&release).expect("created");
        let contents = unpack(&*bytes, &release, Bounds::default(), None).expect("unpacked");
        assert_eq!(contents.bytes, 70_004);
        assert_eq!(fs::read_to_string(release.join(&long)).expect("there"), "deep");
        assert_eq!(fs::read_link(release.join("link")).expect("there"), Path::new("run"));
        assert_eq!(fs::metadata(release.join("run")).expect("there").mode() & 0o777, 0o755);
        let again = Folder::survey(&release).expect("looked through");
        let mut same = Vec::new();
        again.pack(&mut same).expect("packed");
        assert_eq!(same.len(), bytes.len());
    }

    #[test]
    fn d08_what_cannot_be_part_of_a_release_is_told_before_anything_is_sent() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(Folder::survey(folder.path()), Err(PackError::Empty(_))));
        drop(std::os::unix::net::UnixListener::bind(folder.path().join("socket")).expect("bound"));
        assert!(matches!(Folder::survey(folder.path()), Err(PackError::Kind(_))));
    }
}
