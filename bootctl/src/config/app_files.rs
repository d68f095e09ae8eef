//! The files of the apps, each read for itself, and many of them on all cores.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use super::app_file::{self, Surroundings};
use super::declared::Said;
use super::problem::{Fault, Problem};
use super::reader::Reader;
use super::schema::Schema;
use super::{ConfigError, Given, Listing, read_stamped, shown, unreadable, whole_file};
use crate::app::App;
use crate::generation;
use crate::name::AppName;

/// So many are read sooner than a thread is made.
const SHARE: usize = 100;

/// What came of one file.
pub(super) struct AppFile {
    pub(super) name: AppName,
    /// What it says; nothing if it could not be read.
    pub(super) said: Option<Said>,
    pub(super) app: Result<Arc<App>, Vec<Problem>>,
}

/// The `*.toml` of a folder in the order of their names. An absent folder has none.
pub(super) fn list(folder: &Path) -> Listing {
    let unreadable = |source| ConfigError::Unreadable { folder: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let paths: Result<Vec<_>, _> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.map_err(unreadable)?;
    let hidden =
        |path: &Path| path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
    paths.retain(|path| path.extension() == Some(OsStr::new("toml")) && !hidden(path));
    paths.sort();
    Ok(paths)
}

/// Reads files of apps that are in `folder`, which is absolute. Answers in their order; a file whose name is none for an
/// app is a problem.
pub(super) fn read(
    files: &[PathBuf],
    given: Given<'_>,
    folder: &Path,
) -> Vec<Result<AppFile, Problem>> {
    let own = std::env::current_exe().ok();
    let some = |files: &[PathBuf]| -> Vec<_> {
        let surroundings = Surroundings {
            folder,
            own_folder: own.as_deref().and_then(Path::parent),
            beside: RefCell::default(),
        };
        files.iter().map(|path| one(path, given, &surroundings)).collect()
    };
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let share = files.len().div_ceil(cores).max(SHARE);
    let Some((first, rest)) = files.split_at_checked(share) else { return some(files) };
    thread::scope(|scope| {
        let some = &some;
        let set_out =
            |files| (files, thread::Builder::new().spawn_scoped(scope, move || some(files)));
        let others: Vec<_> = rest.chunks(share).map(set_out).collect();
        let mut all = some(first);
        for (files, other) in others {
            all.extend(match other {
                Ok(other) => other.join().unwrap_or_else(|panic| resume_unwind(panic)),
                // There may be no more threads than there are.
                Err(_) => some(files),
            });
        }
        all
    })
}

fn one(path: &Path, given: Given<'_>, surroundings: &Surroundings<'_>) -> Result<AppFile, Problem> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = AppName::parse(&stem).map_err(|error| whole_file(path, Fault::FileName(error)))?;
    if name.as_str() == generation::JOB {
        return Err(whole_file(path, Fault::ProxyName));
    }
    let before = given.before.filter(|_| given.draft.is_none());
    if let Some((said, app)) = before.and_then(|it| it.untouched(&name, path, surroundings)) {
        return Ok(AppFile { name, said: Some(said), app: Ok(app) });
    }
    let (text, stamp) = match read_stamped(path, given.draft) {
        Ok(read) => read,
        Err(error) => {
            return Ok(AppFile { name, said: None, app: Err(vec![unreadable(path, error)]) });
        }
    };
    let same = given.before.and_then(|before| before.same(&name, &text, surroundings));
    let (said, app) = if let Some((said, app)) = same {
        (said, Ok(app))
    } else {
        let reader = Reader::new(shown(path), &text, Schema::App);
        let app = app_file::read(reader, name.clone(), surroundings).map(Arc::new);
        (Said::new(&text, app.as_ref().ok(), surroundings.beside.take()), app)
    };
    Ok(AppFile { name, said: Some(said.stamped(stamp)), app })
}
