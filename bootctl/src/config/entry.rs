//! Keys of one file of the config folder: shown, set and removed, by a command or over the admin API.
//!
//! A change with which the config would not be good is refused before anything is written.

use std::path::{Path, PathBuf};
use std::{fs, io};

use toml_edit::Value;

use super::edit::{self, EditError};
use super::schema::Schema;
use super::write::{self, Lock, WriteError};
use super::{ConfigError, Draft};
use crate::name::{AppName, HostError, nearest, quoted, shown};

/// The file that is meant: an app's, or bootctl.toml.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entries<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) app: Option<&'a str>,
}

/// Why nothing was shown, or nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("{} {source}", quoted(name))]
    Name { name: String, source: HostError },
    #[error("there is no app {}; {advice}", quoted(name))]
    NoApp { name: String, advice: String },
    #[error("name the app whose file is meant, as in --app shop.example")]
    WhichApp,
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Edit { path: PathBuf, source: EditError },
    #[error("`{0}` is not set, and has no default")]
    NotSet(String),
    #[error("`{}` is not a known key; `bootctl config --keys` lists them", shown(.0))]
    Unknown(String),
    #[error("the config would not be good, so nothing was written:{}", list(.0))]
    Problems(Vec<String>),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

fn list(problems: &[String]) -> String {
    problems.iter().fold(String::new(), |text, problem| text + "\n  " + problem)
}

impl Entries<'_> {
    fn schema(self) -> Schema {
        if self.app.is_some() { Schema::App } else { Schema::Main }
    }

    /// The value of a key, also if it is the default; of a table, or of all, the keys that are set, a line each.
    pub(crate) fn show(self, key: Option<&str>) -> Result<String, ChangeError> {
        let (path, schema) = (self.file()?, self.schema());
        let failed = |source| ChangeError::Edit { path: path.clone(), source };
        let found = edit::get(&read(&path)?, key).map_err(failed)?;
        let Some(key) = key else { return Ok(lines(&found)) };
        let names = edit::path(key).map_err(failed)?;
        match (found.as_slice(), schema.find(&names)) {
            ([(_, value)], Some(_)) => Ok(plain(value)),
            ([], Some(row)) => {
                let default = row.default_value();
                let value = default.ok_or_else(|| ChangeError::NotSet(key.to_owned()))?;
                Ok(plain(&value))
            }
            ([], None) if schema.is_table(&names) => Err(ChangeError::NotSet(key.to_owned())),
            ([], None) => Err(ChangeError::Unknown(key.to_owned())),
            (some, _) => Ok(lines(some)),
        }
    }

    /// Sets a key; tells what it was.
    pub(crate) fn set(self, key: &str, value: &str) -> Result<String, ChangeError> {
        let value = edit::typed(self.schema(), key, value);
        let value = value.map_err(|source| self.failed(source))?;
        let shown = value.to_string();
        let was = self.change(key, |before| edit::set(before, key, value))?;
        let was = was.map(|was| format!(", was {was}")).unwrap_or_default();
        self.said(&format!("{key} = {shown}{was}"))
    }

    /// Removes a key: its default holds then.
    pub(crate) fn delete(self, key: &str) -> Result<String, ChangeError> {
        self.change(key, |before| edit::delete(before, key))?;
        self.said(&format!("{key} is removed"))
    }

    /// Replaces the file; answers what the key was.
    fn change(
        self,
        key: &str,
        edit: impl FnOnce(&str) -> Result<String, EditError>,
    ) -> Result<Option<String>, ChangeError> {
        let path = self.file()?;
        let lock = Lock::take(self.folder)?;
        let before = read(&path)?;
        let failed = |source| ChangeError::Edit { path: path.clone(), source };
        let text = edit(&before).map_err(failed)?;
        let was = edit::get(&before, Some(key)).map_err(failed)?;
        check(self.folder, &Draft { path: &path, text: &text })?;
        write::replace(&lock, &path, &text)?;
        Ok(was.into_iter().next().map(|(_, value)| value.to_string()))
    }

    fn said(self, what: &str) -> Result<String, ChangeError> {
        Ok(format!("{}: {what}", self.file()?.display()))
    }

    fn failed(self, source: EditError) -> ChangeError {
        match self.file() {
            Ok(path) => ChangeError::Edit { path, source },
            Err(error) => error,
        }
    }

    fn file(self) -> Result<PathBuf, ChangeError> {
        let Some(app) = self.app else { return Ok(super::main_file(self.folder)) };
        if app.is_empty() {
            return Err(ChangeError::WhichApp);
        }
        let name = AppName::parse(app)
            .map_err(|source| ChangeError::Name { name: app.to_owned(), source })?;
        let path = super::app_path(self.folder, &name);
        if path.is_file() {
            return Ok(path);
        }
        let there = super::load(self.folder)?;
        let names = || there.apps.keys().chain(&there.broken).map(AppName::as_str);
        let advice = match nearest(app, names()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("`bootctl init {app}` makes one"),
        };
        Err(ChangeError::NoApp { name: app.to_owned(), advice })
    }
}

/// An absent file says nothing.
fn read(path: &Path) -> Result<String, ChangeError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(ChangeError::Unreadable { path: path.to_owned(), source }),
    }
}

fn lines(found: &[(String, Value)]) -> String {
    found.iter().map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join("\n")
}

/// A value as a script wants it: a string without its quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string().trim().to_owned(), str::to_owned)
}

/// Refuses a draft with which the config has a problem that it has not without.
pub(crate) fn check(folder: &Path, draft: &Draft<'_>) -> Result<(), ChangeError> {
    // A change moves lines, so places do not count.
    let about = |problem: &super::Problem| {
        (problem.file.clone(), problem.key.clone(), problem.fault.to_string())
    };
    let before: Vec<_> = super::load(folder)?.problems.iter().map(about).collect();
    let after = super::load_with(folder, draft)?.problems;
    let new = after.iter().filter(|problem| !before.contains(&about(problem)));
    let new: Vec<String> = new.map(ToString::to_string).collect();
    if new.is_empty() { Ok(()) } else { Err(ChangeError::Problems(new)) }
}
