//! The folder of all releases: `releases/APP/N`, and beside them `.N.new` while one is put together, `.N.old`
//! while one is taken away. What was left half done is swept when bootctl starts.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::unistd::syncfs;

use super::{Base, Number, Owner};
use crate::name::AppName;

/// What people follow to the release that an app runs from.
const CURRENT: &str = "current";

/// The folder.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    folder: PathBuf,
}

/// What could not be done with a release's files.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be {done}: {source}", path.display())]
pub(crate) struct ShelfError {
    path: PathBuf,
    done: &'static str,
    source: io::Error,
}

impl Shelf {
    /// In the state folder. Nothing is created before there is a release.
    pub(crate) fn new(state_dir: &Path) -> Self {
        // What runs there is told the path, whatever the folder is then that it would start from.
        let folder = state_dir.join("releases");
        Self { folder: std::path::absolute(&folder).unwrap_or(folder) }
    }

    /// Where a release is, whether it is there or not.
    pub(crate) fn path(&self, app: &AppName, number: Number) -> PathBuf {
        self.app(app).join(number.to_string())
    }

    /// Where it is put together.
    pub(crate) fn coming(&self, app: &AppName, number: Number) -> PathBuf {
        self.app(app).join(format!(".{number}.new"))
    }

    /// Where all releases of an app are.
    pub(crate) fn app(&self, app: &AppName) -> PathBuf {
        self.folder.join(app.as_str())
    }

    /// Whether a release is there.
    pub(crate) fn has(&self, app: &AppName, number: Number) -> bool {
        self.path(app, number).is_dir()
    }

    /// The highest number that is given away here, whatever has become of it.
    pub(crate) fn highest(&self, app: &AppName) -> Option<Number> {
        let names = names(&self.app(app));
        names.iter().filter_map(|name| number_of(name)).max()
    }

    /// Those that are whole.
    pub(crate) fn numbers(&self, app: &AppName) -> Vec<Number> {
        let names = names(&self.app(app));
        let numbers = names.iter().filter_map(|name| name.parse().ok());
        numbers.filter(|number| self.has(app, *number)).collect()
    }

    /// Makes an empty folder to put a release together in. Only bootctl and the app's user may look into the
    /// app's releases, where there is such a user.
    pub(crate) fn begin(
        &self,
        app: &AppName,
        number: Number,
        owner: Option<Owner>,
    ) -> Result<PathBuf, ShelfError> {
        let (folder, coming) = (self.app(app), self.coming(app, number));
        let failed = failed(&coming, "created");
        DirBuilder::new().recursive(true).mode(0o755).create(&self.folder).map_err(failed)?;
        match fs::create_dir(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        clear(&coming).map_err(failed)?;
        fs::create_dir(&coming).map_err(failed)?;
        fs::set_permissions(&coming, fs::Permissions::from_mode(0o755)).map_err(failed)?;
        owner.map_or(Ok(()), |owner| owner.give_path(&coming)).map_err(failed)?;
        Ok(coming)
    }

    /// Puts it in its place, when all of it is on the disk.
    pub(crate) fn finish(&self, app: &AppName, number: Number) -> Result<(), ShelfError> {
        let coming = self.coming(app, number);
        let failed = failed(&coming, "put in its place");
        let folder = File::open(&coming).map_err(failed)?;
        // One flush of the file system instead of one a file: a release has thousands of them.
        syncfs(&folder).map_err(|error| failed(error.into()))?;
        fs::rename(&coming, self.path(app, number)).map_err(failed)?;
        sync(&self.app(app)).and_then(|()| sync(&self.folder)).map_err(failed)
    }

    /// Takes a release away, or what has become of one that was being put together.
    pub(crate) fn remove(&self, app: &AppName, number: Number) -> Result<(), ShelfError> {
        let path = self.path(app, number);
        let failed = failed(&path, "removed");
        clear(&self.coming(app, number)).map_err(failed)?;
        let old = self.app(app).join(format!(".{number}.old"));
        clear(&old).map_err(failed)?;
        match fs::rename(&path, &old) {
            Ok(()) => clear(&old).map_err(failed),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Has `current` lead to what the app runs from.
    pub(crate) fn point(&self, app: &AppName, base: Base) -> Result<(), ShelfError> {
        let link = self.app(app).join(CURRENT);
        let failed = failed(&link, "changed");
        let Some(number) = base.release() else { return clear(&link).map_err(failed) };
        if fs::read_link(&link).is_ok_and(|target| target == Path::new(&number.to_string())) {
            return Ok(());
        }
        let new = self.app(app).join(".current.new");
        clear(&new).map_err(failed)?;
        symlink(number.to_string(), &new).map_err(failed)?;
        fs::rename(&new, &link).map_err(failed)?;
        sync(&self.app(app)).map_err(failed)
    }

    /// What a bootctl that was killed has left half done.
    pub(crate) fn remains(&self) -> Vec<PathBuf> {
        let apps = names(&self.folder);
        let in_app = |app: String| {
            let folder = self.folder.join(app);
            let half = |name: &String| {
                name.starts_with('.') && [".new", ".old"].iter().any(|end| name.ends_with(end))
            };
            names(&folder).into_iter().filter(half).map(move |name| folder.join(name))
        };
        apps.into_iter().flat_map(in_app).collect()
    }
}

/// Removes whatever is there, whether it is a link, a file or a folder.
pub(crate) fn clear(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn failed<'a>(path: &'a Path, done: &'static str) -> impl Fn(io::Error) -> ShelfError + Copy + 'a {
    move |source| ShelfError { path: path.to_owned(), done, source }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// `7`, `.7.new` and `.7.old` are 7.
fn number_of(name: &str) -> Option<Number> {
    let bare =
        name.strip_prefix('.').map_or(Some(name), |rest| rest.rsplit_once('.').map(|(n, _)| n));
    bare?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf() -> (tempfile::TempDir, Shelf, AppName) {
        let folder = tempfile::tempdir().expect("a folder");
        let shelf = Shelf::new(folder.path());
        (folder, shelf, AppName::parse("a").expect("a name"))
    }

    #[test]
    fn d08_a_release_is_there_whole_or_not_at_all() {
        let (_folder, shelf, app) = shelf();
        let (one, two) = (Number::FIRST, Number::FIRST.next());
        assert_eq!(shelf.highest(&app), None);
        let coming = shelf.begin(&app, one, None).expect("begun");
        fs::write(coming.join("x"), "x").expect("written");
        assert!(!shelf.has(&app, one));
        assert_eq!((shelf.remains(), shelf.highest(&app)), (vec![coming], Some(one)));
        shelf.finish(&app, one).expect("finished");
        assert!(shelf.has(&app, one) && shelf.remains().is_empty());
        let again = shelf.begin(&app, two, None).expect("begun");
        fs::write(again.join("half"), "x").expect("written");
        let again = shelf.begin(&app, two, None).expect("begun anew");
        assert_eq!(fs::read_dir(again).expect("read").count(), 0);
        shelf.remove(&app, two).expect("nothing but the half one");
        shelf.remove(&app, one).expect("removed");
        assert!(!shelf.has(&app, one) && shelf.remains().is_empty());
    }

    #[test]
    fn d08_current_is_a_link_for_people() {
        let (folder, shelf, app) = shelf();
        let (one, two) = (Number::FIRST, Number::FIRST.next());
        for number in [one, two] {
            shelf.begin(&app, number, None).expect("begun");
            shelf.finish(&app, number).expect("finished");
            shelf.point(&app, Base::Release(number)).expect("pointed");
            let link = folder.path().join("releases/a/current");
            let target = fs::canonicalize(&link).expect("it leads somewhere");
            assert_eq!(target, fs::canonicalize(shelf.path(&app, number)).expect("there"));
        }
        assert_eq!(shelf.highest(&app), Some(two));
        shelf.point(&app, Base::File).expect("removed");
        assert!(!folder.path().join("releases/a/current").exists());
    }
}
