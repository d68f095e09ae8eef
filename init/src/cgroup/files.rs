//! The files and folders that groups are to the kernel's users.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use init_wire::Setting;

/// Bytes of a file that are read at once; more is cut off.
pub(super) const SMALL: usize = 1024;
/// How deep a job may nest groups of its own that init looks into.
pub(super) const MAX_DEPTH: u32 = 32;

/// The processes in a group, and in those below it.
#[must_use]
pub fn members_of(group: &Path) -> Vec<i32> {
    let mut members = Vec::new();
    collect(group, MAX_DEPTH, &mut members);
    members
}

/// Whether somebody is in a group, or in one below it.
pub(super) fn is_populated(group: &Path) -> bool {
    read_small(&group.join("cgroup.events"))
        .is_ok_and(|text| text.lines().any(|line| line == "populated 1"))
}

/// Removes the groups in a folder that nobody is in, with those below them. Who is in one may have
/// made others for himself, and keeps them.
pub(super) fn sweep(folder: &Path) {
    let empty = below(folder).filter(|group| !is_populated(group));
    empty.for_each(|group| remove(&group, MAX_DEPTH));
}

pub(super) fn text(setting: &Setting) -> String {
    match setting {
        Setting::Number(number) => number.to_string(),
        Setting::Text(text) => text.clone(),
    }
}

pub(super) fn make(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

/// A file of a few lines, in one read and without asking for its size, which the kernel does not
/// know.
pub(crate) fn read_small(path: &Path) -> io::Result<String> {
    read_at_start(&File::open(path)?)
}

pub(super) fn read_at_start(file: &File) -> io::Result<String> {
    let mut buffer = [0; SMALL];
    let length = file.read_at(&mut buffer, 0)?;
    Ok(String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned())
}

pub(super) fn collect(path: &Path, depth: u32, members: &mut Vec<i32>) {
    let list = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    members.extend(list.lines().filter_map(|line| line.parse::<i32>().ok()));
    if depth > 1 {
        below(path).for_each(|path| collect(&path, depth - 1, members));
    }
}

/// Removes a group and those below it, as far as they are empty.
pub(super) fn remove(path: &Path, depth: u32) {
    if depth > 0 && fs::remove_dir(path).is_err_and(|error| error.kind() != ErrorKind::NotFound) {
        remove_below(path, depth);
        // Who is still in it keeps it; the next init here removes it.
        let _ = fs::remove_dir(path);
    }
}

pub(super) fn remove_below(path: &Path, depth: u32) {
    below(path).for_each(|path| remove(&path, depth - 1));
}

pub(super) fn below(path: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path())
}
