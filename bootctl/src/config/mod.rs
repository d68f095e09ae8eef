//! The config folder: `bootctl.toml` and `apps/NAME.toml`, one app a file.
//!
//! Reading finds all problems of all files at once. A file with a problem yields no app, and says
//! nothing about the others.

mod app_file;
mod edit;
mod health;
mod limits;
mod log_section;
mod main_file;
mod order;
mod problem;
mod reader;
#[cfg(test)]
mod tests;
mod text;
pub(crate) mod units;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

pub(crate) use app_file::MAX_INSTANCES;
pub(crate) use edit::{Edit, EditError};
pub(crate) use main_file::{Settings, parse_listen};
pub(crate) use problem::{Fault, Problem};

use crate::app::App;
use crate::generation;
use crate::name::{AppName, Host};
use app_file::Surroundings;
use reader::Reader;

/// What a folder declares.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    pub(crate) settings: Settings,
    pub(crate) apps: BTreeMap<AppName, App>,
    /// Apps whose file has a problem.
    pub(crate) broken: BTreeSet<AppName>,
    /// All problems, file by file.
    pub(crate) problems: Vec<Problem>,
    /// Whether one of them is in `bootctl.toml`.
    pub(crate) settings_broken: bool,
}

/// Why a folder cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error(
        "there is no config folder {}; create it with a folder `apps` in it, or name another \
         with --config",
        folder.display()
    )]
    Absent { folder: PathBuf },
    #[error("the config folder {} cannot be read: {source}", folder.display())]
    Unreadable { folder: PathBuf, source: io::Error },
}

/// Where the file of an app is.
pub(crate) fn app_path(folder: &Path, name: &AppName) -> PathBuf {
    folder.join("apps").join(format!("{name}.toml"))
}

/// Removes what was left by somebody who was killed while changing a file.
pub(crate) fn sweep(folder: &Path) {
    edit::sweep(folder);
    edit::sweep(&folder.join("apps"));
}

/// Reads everything below `folder`.
pub(crate) fn load(folder: &Path) -> Result<Config, ConfigError> {
    let absolute = fs::canonicalize(folder).map_err(|source| {
        let folder = folder.to_owned();
        match source.kind() {
            ErrorKind::NotFound => ConfigError::Absent { folder },
            _ => ConfigError::Unreadable { folder, source },
        }
    })?;
    let mut config = Config::default();
    read_settings(&mut config, &folder.join("bootctl.toml"));
    let files = app_files(&folder.join("apps"))?;
    let own = std::env::current_exe().ok();
    let apps = absolute.join("apps");
    let surroundings =
        Surroundings { folder: &apps, own_folder: own.as_deref().and_then(Path::parent) };
    for path in files {
        read_app(&mut config, &path, &surroundings);
    }
    refuse_shared_hosts(&mut config, folder);
    order::refuse(&mut config, folder);
    Ok(config)
}

/// The `*.toml` of a folder in the order of their names. An absent folder has none.
fn app_files(folder: &Path) -> Result<Vec<PathBuf>, ConfigError> {
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

fn read_settings(config: &mut Config, path: &Path) {
    let read = match text::read(path) {
        Ok(text) => main_file::read(Reader::new(shown(path), &text)),
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        Err(error) => Err(vec![unreadable(path, error)]),
    };
    match read {
        Ok(settings) => config.settings = settings,
        Err(problems) => {
            config.settings_broken = true;
            config.problems.extend(problems);
        }
    }
}

fn read_app(config: &mut Config, path: &Path, surroundings: &Surroundings<'_>) {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = match AppName::parse(&stem) {
        Ok(name) => name,
        Err(error) => return config.problems.push(whole_file(path, Fault::FileName(error))),
    };
    if name.as_str() == generation::JOB {
        return config.problems.push(whole_file(path, Fault::ProxyName));
    }
    let read = match text::read(path) {
        Ok(text) => app_file::read(Reader::new(shown(path), &text), name.clone(), surroundings),
        Err(error) => Err(vec![unreadable(path, error)]),
    };
    match read {
        Ok(app) => drop(config.apps.insert(name, app)),
        Err(problems) => {
            config.broken.insert(name);
            config.problems.extend(problems);
        }
    }
}

/// A host leads to one app. Names of apps come first; among aliases, the first file has it.
fn refuse_shared_hosts(config: &mut Config, folder: &Path) {
    let mut owners: BTreeMap<Host, AppName> =
        config.apps.keys().map(|name| (name.host().clone(), name.clone())).collect();
    let mut refused = Vec::new();
    for app in config.apps.values() {
        for host in &app.alias {
            if let Some(taken_by) = owners.insert(host.clone(), app.name.clone()) {
                owners.insert(host.clone(), taken_by.clone());
                refused.push((app.name.clone(), host.clone(), taken_by));
            }
        }
    }
    for (name, host, taken_by) in refused {
        let path = app_path(folder, &name);
        config.problems.push(shared_host(&path, &host, taken_by));
        config.apps.remove(&name);
        config.broken.insert(name);
    }
}

fn shared_host(path: &Path, host: &Host, taken_by: AppName) -> Problem {
    let text = text::read(path).unwrap_or_default();
    let document = toml_edit::Document::parse(text.as_str()).ok();
    let span = document.as_ref().and_then(|document| {
        let array = document.get("alias")?.as_array()?;
        array.iter().filter(|value| value.as_str() == Some(host.as_str())).last()?.span()
    });
    Problem {
        file: shown(path),
        place: problem::place(&text, span),
        key: Some(format!("alias {host}")),
        fault: Fault::HostTaken { taken_by },
    }
}

fn unreadable(path: &Path, error: io::Error) -> Problem {
    whole_file(path, Fault::Unreadable(Arc::new(error)))
}

fn whole_file(path: &Path, fault: Fault) -> Problem {
    Problem { file: shown(path), place: None, key: None, fault }
}

fn shown(path: &Path) -> Arc<str> {
    path.to_string_lossy().into()
}
