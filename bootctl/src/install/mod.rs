//! What `bootctl install` puts where, and `bootctl uninstall` takes away: the programs, a unit for systemd,
//! pages and completions. What belongs to the administrator — config, state, logs — is made once and never
//! taken away.
//!
//! Nothing is written before all of it could be: what is missing, or in the way, is told first.

mod contents;
mod manifest;
mod pages;
mod root;
mod unit;

use std::io;
use std::path::{Path, PathBuf};

use self::contents::{Content, Item};
pub(crate) use self::contents::{Kind, Wish};
use self::manifest::{Manifest, ManifestError};
pub(crate) use self::pages::completion;
use self::root::{Root, Sort};

/// Where the list of what was installed is kept.
const MANIFEST: &str = "var/lib/bootctl/installed.json";

/// Why nothing, or not all, was installed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    #[error("{} cannot be read, so nothing was installed: {source}", path.display())]
    Source { path: PathBuf, source: io::Error },
    #[error(
        "{} is there and is not of an installation of jobinit, so nothing was installed; move it \
         away, or give --force to replace it",
        .0.display()
    )]
    InTheWay(PathBuf),
    #[error("{} cannot be written: {source}; `install` again goes on from here", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} cannot be opened as a folder, so nothing was installed: {source}", path.display())]
    Root { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// Why nothing, or not all, was taken away.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UninstallError {
    #[error("nothing is installed: there is no {}", .0.display())]
    Nothing(PathBuf),
    #[error("{} cannot be removed: {source}; `uninstall` again goes on from here", path.display())]
    Remove { path: PathBuf, source: io::Error },
    #[error("{} cannot be opened as a folder: {source}", path.display())]
    Root { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// Installs into a folder that is, or will be, a machine's root; tells what is there now.
pub(crate) fn install(into: &Path, wish: &Wish) -> Result<Vec<PathBuf>, InstallError> {
    let root =
        Root::open(into).map_err(|source| InstallError::Root { path: into.to_owned(), source })?;
    let before = Manifest::read(&root, into)?.unwrap_or_default();
    let items = contents::items(wish);
    check(&root, into, &items, &before, wish.force)?;
    let put_all = |stays: bool| {
        items.iter().filter(|item| item.stays == stays).try_for_each(|item| {
            let failed = |source| InstallError::Write { path: shown(into, &item.path), source };
            put(&root, item).map_err(failed)
        })
    };
    put_all(true)?;
    // All of it, before the first of it: an installation that is cut short can be taken away, too.
    let mut list = before.clone();
    list.add(&items);
    list.write(&root, into)?;
    put_all(false)?;
    let mut list = Manifest::default();
    list.add(&items);
    for gone in before.but(&list) {
        let failed = |source| InstallError::Write { path: shown(into, &gone), source };
        root.remove(&gone).map_err(failed)?;
    }
    list.write(&root, into)?;
    Ok(items.iter().map(|item| shown(into, &item.path)).collect())
}

/// Takes away what was installed; tells what it was.
pub(crate) fn uninstall(from: &Path) -> Result<Vec<PathBuf>, UninstallError> {
    let root = Root::open(from)
        .map_err(|source| UninstallError::Root { path: from.to_owned(), source })?;
    let nothing = || UninstallError::Nothing(shown(from, Path::new(MANIFEST)));
    let list = Manifest::read(&root, from)?.ok_or_else(nothing)?;
    let mut gone = Vec::new();
    for path in list.latest_first().map(PathBuf::as_path).chain([Path::new(MANIFEST)]) {
        let failed = |source| UninstallError::Remove { path: shown(from, path), source };
        if root.remove(path).map_err(failed)? {
            gone.push(shown(from, path));
        }
    }
    Ok(gone)
}

/// Whether all of it can be.
fn check(
    root: &Root,
    into: &Path,
    items: &[Item],
    before: &Manifest,
    force: bool,
) -> Result<(), InstallError> {
    for item in items {
        if let Content::Program(path) = &item.content {
            let unread = |source| InstallError::Source { path: path.clone(), source };
            std::fs::File::open(path).map_err(unread)?;
        }
        let is_folder = matches!(item.content, Content::Folder);
        let fits = match root.sort(&item.path) {
            None => true,
            Some(Sort::Folder) => is_folder,
            Some(Sort::Other) => !is_folder && (item.stays || force || before.holds(&item.path)),
        };
        if !fits {
            return Err(InstallError::InTheWay(shown(into, &item.path)));
        }
    }
    Ok(())
}

fn put(root: &Root, item: &Item) -> io::Result<()> {
    // What is the administrator's is made once.
    if item.stays && root.sort(&item.path).is_some() {
        return Ok(());
    }
    match &item.content {
        Content::Folder => root.folder(&item.path, item.mode),
        Content::Link(to) => root.link(&item.path, to),
        Content::Text(text) => root.file(&item.path, item.mode, &mut text.as_bytes()),
        Content::Program(path) => root.file(&item.path, item.mode, &mut std::fs::File::open(path)?),
    }
}

fn shown(root: &Path, path: &Path) -> PathBuf {
    root.join(path)
}
