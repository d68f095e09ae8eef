//! Changes a file of the config as its administrator would: one key, and nothing else of it. Comments, order,
//! and the file's mode and owner stay.
//!
//! It refuses to touch what it cannot read. The new text is written beside the file, and takes its place
//! when it is on the disk. Who writes holds a lock of it, so that what a killed one has left can be told
//! and swept away.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item, Table, Value};

/// How the names of new texts end, until they take the place of the old ones.
const BESIDE: &str = ".toml.new";

/// Why a file is as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EditError {
    #[error("{} cannot be read: {source}; nothing was changed", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not TOML, so nothing was changed: {source}", path.display())]
    Syntax { path: PathBuf, source: toml_edit::TomlError },
    #[error("{} has a `{key}` that is no table, so nothing was changed", path.display())]
    NoTable { path: PathBuf, key: String },
    #[error("{} cannot be written, so nothing was changed: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// A file that is being changed.
#[derive(Debug)]
pub(crate) struct Edit {
    path: PathBuf,
    document: DocumentMut,
}

impl Edit {
    /// Reads the file; where it is a link, the one that it leads to.
    pub(crate) fn of(path: &Path) -> Result<Self, EditError> {
        let unread = |source| EditError::Read { path: path.to_owned(), source };
        let path = fs::canonicalize(path).map_err(unread)?;
        let text = fs::read_to_string(&path).map_err(unread)?;
        match text.parse() {
            Ok(document) => Ok(Self { path, document }),
            Err(source) => Err(EditError::Syntax { path, source }),
        }
    }

    /// Sets the key that is found by going through these tables (`health`, `http`). A comment beside its
    /// value stays.
    pub(crate) fn set(&mut self, key: &[&str], value: impl Into<Value>) -> Result<(), EditError> {
        let Some((name, tables)) = key.split_last() else { return Ok(()) };
        let mut table: &mut dyn toml_edit::TableLike = self.document.as_table_mut();
        for step in tables {
            let item = table.entry(step).or_insert_with(|| Item::Table(Table::new()));
            table = item.as_table_like_mut().ok_or_else(|| EditError::NoTable {
                path: self.path.clone(),
                key: (*step).to_owned(),
            })?;
        }
        let mut value = value.into();
        if let Some(before) = table.get(name).and_then(Item::as_value) {
            *value.decor_mut() = before.decor().clone();
        }
        match table.get_mut(name) {
            Some(item) => *item = Item::Value(value),
            None => drop(table.insert(name, Item::Value(value))),
        }
        Ok(())
    }

    /// Writes it: the file is the old one or the new one, whole.
    pub(crate) fn write(&self) -> Result<(), EditError> {
        self.replace().map_err(|source| EditError::Write { path: self.path.clone(), source })
    }

    fn replace(&self) -> io::Result<()> {
        let before = fs::metadata(&self.path)?;
        let (Some(folder), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return Err(ErrorKind::InvalidInput.into());
        };
        // Hidden, so that nobody takes it for an app.
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(".new");
        let new = folder.join(hidden);
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        // Where there are no locks, nothing is swept away.
        drop(file.lock());
        let written = file
            .write_all(self.document.to_string().as_bytes())
            .and_then(|()| own_as(&file, &before))
            .and_then(|()| file.set_permissions(before.permissions()))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&new, &self.path));
        if written.is_err() {
            // It is in nobody's way; the next one removes it as well.
            drop(fs::remove_file(&new));
        }
        written?;
        File::open(folder)?.sync_all()
    }
}

/// Removes from a folder what writers have left there that were killed.
pub(crate) fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let bytes = name.as_encoded_bytes();
        let plain = entry.file_type().is_ok_and(|kind| kind.is_file());
        if !plain || !bytes.starts_with(b".") || !bytes.ends_with(BESIDE.as_bytes()) {
            continue;
        }
        let left = File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
        if left {
            // It is in nobody's way; the next one who edits that file removes it as well.
            drop(fs::remove_file(entry.path()));
        }
    }
}

/// Whoever is not root can only write files of his own.
fn own_as(file: &File, before: &fs::Metadata) -> io::Result<()> {
    let own = file.metadata()?;
    if (own.uid(), own.gid()) == (before.uid(), before.gid()) {
        return Ok(());
    }
    fchown(file, Some(before.uid()), Some(before.gid()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn edited(text: &str, key: &[&str], value: impl Into<Value>) -> Result<String, EditError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.toml");
        fs::write(&path, text).expect("written");
        let mut edit = Edit::of(&path)?;
        edit.set(key, value)?;
        edit.write()?;
        let left = fs::read_dir(folder.path()).expect("read").count();
        assert_eq!(left, 1, "nothing is left beside it");
        Ok(fs::read_to_string(&path).expect("read"))
    }

    #[test]
    fn o09_one_key_changes_and_everything_else_stays() {
        let text = "# The shop.\nexec  = \"node\" # as it is\ninstances =  2   # two\n\n[env]\nB = \
                    \"2\"\nA = '1'\n";
        assert_eq!(
            edited(text, &["instances"], 5).expect("edited"),
            text.replace("  2 ", "  5 "),
            "the value's own spaces and comment stay"
        );
        assert_eq!(edited(text, &["env", "A"], "3").expect("edited"), text.replace("'1'", "\"3\""));
    }

    #[test]
    fn o09_a_key_that_is_not_there_is_added_where_it_belongs() {
        let text = "exec = \"node\"\n\n[env]\nA = \"1\"\n";
        assert_eq!(
            edited(text, &["instances"], 5).expect("edited"),
            "exec = \"node\"\ninstances = 5\n\n[env]\nA = \"1\"\n"
        );
        assert_eq!(
            edited(text, &["health", "http"], "/").expect("edited"),
            format!("{text}\n[health]\nhttp = \"/\"\n")
        );
    }

    #[test]
    fn o09_what_cannot_be_understood_is_left_alone() {
        let error = edited("exec = \"node\n", &["instances"], 5).expect_err("no TOML");
        assert!(error.to_string().contains("is not TOML, so nothing was changed"), "{error}");
        let error = edited("env = 5\n", &["env", "A"], "1").expect_err("no table");
        assert!(error.to_string().contains("`env` that is no table"), "{error}");
    }

    #[test]
    fn what_a_killed_writer_has_left_is_swept_away_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let names = ["a.toml", ".a.toml.new", ".b.toml.new", ".b.toml", "c.toml.new"];
        for name in names {
            fs::write(folder.path().join(name), "exec = \"node\"\n").expect("written");
        }
        let writer = File::open(folder.path().join(".b.toml.new")).expect("there");
        writer.lock().expect("nobody else has it");
        sweep(folder.path());
        let there = |name: &&str| folder.path().join(name).exists();
        let left: Vec<_> = names.into_iter().filter(there).collect();
        assert_eq!(left, ["a.toml", ".b.toml.new", ".b.toml", "c.toml.new"]);
    }

    #[test]
    fn o09_mode_and_link_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, link) = (folder.path().join("real.toml"), folder.path().join("link.toml"));
        fs::write(&path, "exec = \"node\"\n").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("ours");
        std::os::unix::fs::symlink(&path, &link).expect("linked");
        let mut edit = Edit::of(&link).expect("read");
        edit.set(&["instances"], 3).expect("set");
        edit.write().expect("written");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o640);
        assert!(fs::read_to_string(&path).expect("there").ends_with("instances = 3\n"));
    }
}
