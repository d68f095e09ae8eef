//! The config folder: `bootctl.toml` and `apps/NAME.toml`, one app a file.
//!
//! Reading finds all problems of all files at once. A file with a problem yields no app, and says
//! nothing about the others.

mod acme_keys;
mod acme_section;
mod admin_section;
mod app_file;
mod app_files;
mod app_keys;
mod calm;
pub(crate) mod declared;
mod deploy;
pub(crate) mod doubts;
pub(crate) mod edit;
pub(crate) mod entry;
mod files_section;
pub(crate) mod guess;
mod health;
mod hook_section;
mod index;
mod limits;
pub(crate) mod listing;
mod log_section;
pub(crate) mod lookout;
mod main_file;
mod main_keys;
mod order;
mod problem;
mod reader;
pub(crate) mod schema;
mod service_keys;
mod service_section;
mod site_keys;
mod site_section;
mod stamp;
pub(crate) mod template;
#[cfg(test)]
mod tests;
mod text;
mod tls_keys;
mod tls_section;
mod units;
pub(crate) mod write;
mod zist;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

pub(crate) use app_keys::MAX_INSTANCES;
pub(crate) use main_file::{Proxy, Settings, parse_listen};
pub(crate) use problem::{Fault, Problem};
pub(crate) use units::parse_time;

use crate::app::App;
use crate::name::AppName;
use app_files::AppFile;
use declared::Declared;
use reader::Reader;
use schema::Schema;
use stamp::Stamp;

/// What a folder declares.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    pub(crate) settings: Settings,
    pub(crate) apps: BTreeMap<AppName, Arc<App>>,
    /// Apps whose file has a problem with which nothing is to be made of it.
    pub(crate) broken: BTreeSet<AppName>,
    /// What the files say.
    pub(crate) declared: Declared,
    /// All problems, file by file.
    pub(crate) problems: Vec<Problem>,
    /// Whether one of them is in `bootctl.toml`.
    pub(crate) settings_broken: bool,
}

impl Config {
    /// Whether something is wrong with an app's file.
    pub(crate) fn has_problem(&self, folder: &Path, name: &AppName) -> bool {
        let file = shown(&app_path(folder, name));
        self.problems.iter().any(|problem| problem.file == file)
    }

    /// The same with another text in the place of `bootctl.toml`, unless that one has a mistake, too.
    pub(crate) fn by(mut self, text: &str) -> Option<Self> {
        let reader = Reader::new("bootctl.toml".into(), text, Schema::Main);
        self.settings = main_file::read(reader).ok()?;
        self.declared.note_main(text);
        Some(self)
    }
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

/// How often the folder is read, at most, when files vanish while it is.
const ATTEMPTS: u32 = 3;

/// A file as it might be.
pub(crate) struct Draft<'a> {
    pub(crate) path: &'a Path,
    pub(crate) text: &'a str,
}

/// What is known before a folder is read.
#[derive(Clone, Copy, Default)]
struct Given<'a> {
    draft: Option<&'a Draft<'a>>,
    /// What it said before.
    before: Option<&'a Declared>,
}

/// Reads everything below `folder`.
pub(crate) fn load(folder: &Path) -> Result<Config, ConfigError> {
    load_listed(folder, Given::default(), app_files::list)
}

/// Reads everything below `folder`, where what was declared before is not looked at key by key again.
pub(crate) fn load_after(folder: &Path, before: &Declared) -> Result<Config, ConfigError> {
    load_listed(folder, Given { before: Some(before), ..Given::default() }, app_files::list)
}

/// Reads everything below `folder` as if one of its files were as drafted.
pub(crate) fn load_with(folder: &Path, draft: &Draft<'_>) -> Result<Config, ConfigError> {
    load_listed(folder, Given { draft: Some(draft), ..Given::default() }, app_files::list)
}

fn load_listed(
    folder: &Path,
    given: Given<'_>,
    mut list: impl FnMut(&Path) -> Listing,
) -> Result<Config, ConfigError> {
    let mut config = load_once(folder, given, &mut list)?;
    for _ in 1..ATTEMPTS {
        // One that is listed and then gone is being replaced: that is not yet what somebody has written.
        if !config.problems.iter().any(Problem::is_of_one_gone) {
            break;
        }
        config = load_once(folder, given, &mut list)?;
    }
    Ok(config)
}

type Listing = Result<Vec<PathBuf>, ConfigError>;

fn load_once(
    folder: &Path,
    given: Given<'_>,
    list: &mut impl FnMut(&Path) -> Listing,
) -> Result<Config, ConfigError> {
    let absolute = fs::canonicalize(folder).map_err(|source| {
        let folder = folder.to_owned();
        match source.kind() {
            ErrorKind::NotFound => ConfigError::Absent { folder },
            _ => ConfigError::Unreadable { folder, source },
        }
    })?;
    let Given { draft, .. } = given;
    let mut config = Config::default();
    read_settings(&mut config, &main_file(folder), draft);
    let mut files = list(&folder.join("apps"))?;
    if let Some(draft) = draft
        && draft.path != main_file(folder)
        && !files.iter().any(|path| path == draft.path)
    {
        files.push(draft.path.to_owned());
    }
    let apps = absolute.join("apps");
    for file in app_files::read(&files, given, &apps) {
        match file {
            Ok(file) => config.take(file),
            Err(problem) => config.problems.push(problem),
        }
    }
    config.declared.note_folder(apps);
    refuse_shared_hosts(&mut config, folder, draft);
    order::refuse(&mut config, folder, draft);
    Ok(config)
}

impl Config {
    fn take(&mut self, file: AppFile) {
        let AppFile { name, said, app } = file;
        if let Some(said) = said {
            self.declared.note_app(name.clone(), said);
        }
        match app {
            Ok(app) => drop(self.apps.insert(name, app)),
            Err(problems) => {
                self.broken.insert(name);
                self.problems.extend(problems);
            }
        }
    }
}

/// Where the settings are.
pub(crate) fn main_file(folder: &Path) -> PathBuf {
    folder.join("bootctl.toml")
}

/// Where an app is.
pub(crate) fn app_path(folder: &Path, name: &AppName) -> PathBuf {
    folder.join("apps").join(format!("{name}.toml"))
}

fn read(path: &Path, draft: Option<&Draft<'_>>) -> io::Result<String> {
    read_stamped(path, draft).map(|(text, _)| text)
}

fn read_stamped(path: &Path, draft: Option<&Draft<'_>>) -> io::Result<(String, Option<Stamp>)> {
    match draft {
        Some(draft) if draft.path == path => Ok((draft.text.to_owned(), None)),
        Some(_) | None => text::read_stamped(path),
    }
}

fn read_settings(config: &mut Config, path: &Path, draft: Option<&Draft<'_>>) {
    let read = match read(path, draft) {
        Ok(text) => {
            config.declared.note_main(&text);
            main_file::read(Reader::new(shown(path), &text, Schema::Main))
        }
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

/// A host leads to one app. Names of apps come first; among aliases, redirects and mounts, the first
/// file has it. The other app goes without that one alone.
fn refuse_shared_hosts(config: &mut Config, folder: &Path, draft: Option<&Draft<'_>>) {
    let mut owners: BTreeMap<String, AppName> = BTreeMap::new();
    let mut refused = Vec::new();
    for app in config.apps.values() {
        for (key, place) in places(app) {
            let named = config.apps.get_key_value(place.as_str()).map(|(name, _)| name);
            match named.or_else(|| owners.get(&place)) {
                Some(taken_by) => {
                    refused.push((app.name.clone(), key, place, taken_by.clone()));
                }
                None => drop(owners.insert(place, app.name.clone())),
            }
        }
    }
    for (name, key, place, taken_by) in refused {
        let path = app_path(folder, &name);
        let text = read(&path, draft).unwrap_or_default();
        let there = shown(&app_path(folder, &taken_by));
        let fault = Fault::HostTaken { taken_by, there };
        config.problems.push(shared_host(&path, &text, (key, &place), fault));
        if let Some(app) = config.apps.get_mut(&name) {
            give_up(Arc::make_mut(app), key, &place);
        }
    }
}

/// Everything beside its name that leads to an app, with the key that says so.
fn places(app: &App) -> impl Iterator<Item = (&'static str, String)> {
    let alias = app.alias.iter().map(|host| ("alias", host.to_string()));
    let redirects = app.site.redirects.iter().map(|host| ("redirect", host.to_string()));
    let mounts = app.site.mounts.iter().map(|mount| ("proxy.mount", mount.clone()));
    alias.chain(redirects).chain(mounts)
}

/// Takes from an app the last of its places that is this.
fn give_up(app: &mut App, key: &str, place: &str) {
    fn give_up_one<T: ToString>(all: &mut Vec<T>, place: &str) {
        if let Some(last) = all.iter().rposition(|one| one.to_string() == place) {
            all.remove(last);
        }
    }
    match key {
        "alias" => give_up_one(&mut app.alias, place),
        "redirect" => give_up_one(&mut app.site.redirects, place),
        _ => give_up_one(&mut app.site.mounts, place),
    }
}

fn shared_host(path: &Path, text: &str, (key, place): (&str, &str), fault: Fault) -> Problem {
    let document = toml_edit::Document::parse(text).ok();
    let span = document.as_ref().and_then(|document| {
        let mut item = document.as_item();
        for name in key.split('.') {
            item = item.get(name)?;
        }
        let is_it = |value: &&toml_edit::Value| {
            value.as_str().is_some_and(|text| text.trim_end_matches('/') == place)
        };
        item.as_array()?.iter().filter(is_it).last()?.span()
    });
    Problem {
        file: shown(path),
        place: problem::place(text, span),
        key: Some(format!("{key} {place}")),
        fault,
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
