//! A folder that is a machine's root, or will be: links in it are followed as they are meant inside, so that
//! nothing that is written into an image gets out of it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2, renameat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, fsync, symlinkat, unlinkat};

#[derive(Debug)]
pub(super) struct Root(File);

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Folder,
    Other,
}

impl Root {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if !file.metadata()?.is_dir() {
            return Err(ErrorKind::NotADirectory.into());
        }
        Ok(Self(file))
    }

    /// What is there, if anything; a link to a folder is one.
    pub(super) fn sort(&self, path: &Path) -> Option<Sort> {
        if self.open_folder(path).is_ok() {
            return Some(Sort::Folder);
        }
        let (folder, name) = split(path).ok()?;
        let folder = self.open_folder(&folder).ok()?;
        fstatat(&folder, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok().then_some(Sort::Other)
    }

    pub(super) fn read(&self, path: &Path) -> io::Result<String> {
        let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC);
        let fd = openat2(&self.0, path, how.resolve(ResolveFlag::RESOLVE_IN_ROOT))?;
        let mut text = String::new();
        File::from(fd).read_to_string(&mut text)?;
        Ok(text)
    }

    /// Makes a folder, and those above it.
    pub(super) fn folder(&self, path: &Path, mode: u32) -> io::Result<()> {
        let there = self.open_folder(path).is_ok();
        let folder = self.make_folder(path)?;
        // One that is there is as somebody wants it.
        if !there {
            fchmod(&folder, Mode::from_bits_truncate(mode))?;
        }
        Ok(())
    }

    /// Writes a file beside its place, and renames it: a program that runs stays what it is.
    pub(super) fn file(&self, path: &Path, mode: u32, from: &mut impl Read) -> io::Result<()> {
        let (folder, name) = split(path)?;
        let folder = self.make_folder(&folder)?;
        let beside = beside(name);
        absent(unlinkat(&folder, beside.as_path(), UnlinkatFlags::NoRemoveDir))?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let how = OpenHow::new().flags(flags).mode(Mode::S_IRUSR | Mode::S_IWUSR);
        let how = how.resolve(ResolveFlag::RESOLVE_BENEATH);
        let mut file = File::from(openat2(&folder, beside.as_path(), how)?);
        let written = io::copy(from, &mut file)
            .and_then(|_| Ok(fchmod(&file, Mode::from_bits_truncate(mode))?))
            .and_then(|()| file.sync_all())
            .and_then(|()| Ok(renameat(&folder, beside.as_path(), &folder, name)?));
        if written.is_err() {
            // What is wrong with it is told already.
            unlinkat(&folder, beside.as_path(), UnlinkatFlags::NoRemoveDir).ok();
        }
        written?;
        Ok(fsync(&folder)?)
    }

    pub(super) fn link(&self, path: &Path, to: &Path) -> io::Result<()> {
        let (folder, name) = split(path)?;
        let folder = self.make_folder(&folder)?;
        let beside = beside(name);
        absent(unlinkat(&folder, beside.as_path(), UnlinkatFlags::NoRemoveDir))?;
        symlinkat(to, &folder, beside.as_path())?;
        Ok(renameat(&folder, beside.as_path(), &folder, name)?)
    }

    /// Removes a file, a link, or a folder that is empty; whether it was there.
    pub(super) fn remove(&self, path: &Path) -> io::Result<bool> {
        let (folder, name) = split(path)?;
        let folder = match self.open_folder(&folder) {
            Ok(folder) => folder,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let about = match fstatat(&folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(about) => about,
            Err(Errno::ENOENT) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let is_folder = SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR;
        if !is_folder {
            unlinkat(&folder, name, UnlinkatFlags::NoRemoveDir)?;
            return Ok(true);
        }
        match unlinkat(&folder, name, UnlinkatFlags::RemoveDir) {
            Ok(()) => Ok(true),
            // Somebody has put something into it.
            Err(Errno::ENOTEMPTY | Errno::EEXIST) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn open_folder(&self, path: &Path) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC);
        Ok(openat2(&self.0, path, how.resolve(ResolveFlag::RESOLVE_IN_ROOT))?)
    }

    fn make_folder(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut here = PathBuf::new();
        let mut folder = self.open_folder(&here)?;
        for part in path.components() {
            here.push(part);
            folder = match self.open_folder(&here) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    mkdirat(&folder, part.as_os_str(), Mode::from_bits_truncate(0o755))?;
                    self.open_folder(&here)?
                }
                opened => opened?,
            };
        }
        Ok(folder)
    }
}

/// The folder that something is in, and its name there. Paths are ours, and plain.
fn split(path: &Path) -> io::Result<(PathBuf, &OsStr)> {
    match (path.parent(), path.components().next_back()) {
        (Some(folder), Some(Component::Normal(name))) => Ok((folder.to_owned(), name)),
        (_, _) => Err(ErrorKind::InvalidInput.into()),
    }
}

fn beside(name: &OsStr) -> PathBuf {
    let mut beside = OsStr::new(".").to_owned();
    beside.push(name);
    beside.push(".new");
    beside.into()
}

fn absent(result: nix::Result<()>) -> nix::Result<()> {
    match result {
        Err(Errno::ENOENT) => Ok(()),
        other => other,
    }
}
