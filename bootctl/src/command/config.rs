//! `bootctl config`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use clap::Args;
use toml_edit::Value;

use super::progress;
use crate::admin::client::{Client, ClientError};
use crate::admin::wire::StatusView;
use crate::cli::{At, ConfigDir, Wait};
use crate::config::edit::{self, EditError};
use crate::config::schema::Schema;
use crate::config::write::{self, Lock, WriteError};
use crate::config::{self, ConfigError, Draft, listing};
use crate::name::{AppName, HostError, nearest};

/// Show or change the config, key by key; needs no supervisor
///
/// A change that the config would not be good with is refused before anything is written. Comments,
/// order, mode and owner of the file stay.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bootctl config --keys --app shop.example     what an app's file may say
  bootctl config --get                         what bootctl.toml says
  bootctl config --get proxy.listen
  bootctl config --set ports.first 10000
  bootctl config -a shop.example -g instances
  bootctl config -a shop.example -s alias www.shop.example,shop.test
  bootctl config -a shop.example -s env.NODE_ENV production --apply
  bootctl config -a shop.example -d cwd")]
pub(crate) struct Config {
    /// Show a key, or all that are set
    #[arg(short, long, value_name = "KEY", num_args = 0..=1, default_missing_value = "",
          group = "what")]
    pub(crate) get: Option<String>,

    /// Set a key
    #[arg(short, long, value_names = ["KEY", "VALUE"], num_args = 2, group = "what",
          allow_hyphen_values = true)]
    pub(crate) set: Option<Vec<String>>,

    /// Remove a key: its default holds then
    #[arg(short, long, value_name = "KEY", group = "what")]
    pub(crate) delete: Option<String>,

    /// List all keys there are, with what they mean
    #[arg(short, long, group = "what")]
    pub(crate) keys: bool,

    /// As the page CONFIG.md
    #[arg(long, hide = true, requires = "keys")]
    pub(crate) markdown: bool,

    /// In the file of this app, instead of bootctl.toml
    #[arg(short, long, value_name = "APP", num_args = 0..=1, default_missing_value = "")]
    pub(crate) app: Option<String>,

    /// Have the supervisor take over the config afterwards, as `bootctl reload` does
    #[arg(long, visible_alias = "reload")]
    pub(crate) apply: bool,

    #[command(flatten)]
    pub(crate) folder: ConfigDir,

    #[command(flatten)]
    pub(crate) wait: Wait,

    #[command(flatten)]
    pub(crate) at: At,
}

/// Why nothing was shown, or nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChangeError {
    #[error("{name:?} {source}")]
    Name { name: String, source: HostError },
    #[error("there is no app {name:?}; {advice}")]
    NoApp { name: String, advice: String },
    #[error("name the app whose file is meant, as in --app shop.example")]
    WhichApp,
    #[error("say what to do: --get, --set, --delete or --keys; `bootctl config --help` tells more")]
    Nothing,
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Edit { path: PathBuf, source: EditError },
    #[error("`{0}` is not set, and has no default")]
    NotSet(String),
    #[error("`{0}` is not a known key; `bootctl config --keys` lists them")]
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

pub(super) fn run(command: &Config) -> ExitCode {
    match perform(command) {
        Ok(Outcome::Shown(text)) => {
            super::print(&text);
            ExitCode::SUCCESS
        }
        Ok(Outcome::Written(text)) => {
            super::print(&text);
            apply(command.apply, &command.wait, &command.at)
        }
        Err(error) => {
            eprintln!("bootctl: {error}");
            ExitCode::FAILURE
        }
    }
}

enum Outcome {
    Shown(String),
    Written(String),
}

fn perform(command: &Config) -> Result<Outcome, ChangeError> {
    let schema = if command.app.is_some() { Schema::App } else { Schema::Main };
    if command.keys {
        let text = if command.markdown { listing::page() } else { listing::list(schema) };
        return Ok(Outcome::Shown(text.trim_end().to_owned()));
    }
    let path = file(command)?;
    if let Some(key) = &command.get {
        let key = Some(key.as_str()).filter(|key| !key.is_empty());
        return show(&path, schema, key).map(Outcome::Shown);
    }
    let lock = Lock::take(&command.folder.path)?;
    let before = read(&path)?;
    let failed = |source| ChangeError::Edit { path: path.clone(), source };
    let (key, text, value) = match (command.set.as_deref(), &command.delete) {
        (Some([key, value]), _) => {
            let value = edit::typed(schema, key, value).map_err(failed)?;
            let shown = value.to_string();
            (key, edit::set(&before, key, value).map_err(failed)?, Some(shown))
        }
        (_, Some(key)) => (key, edit::delete(&before, key).map_err(failed)?, None),
        (_, None) => return Err(ChangeError::Nothing),
    };
    let was = edit::get(&before, Some(key)).map_err(failed)?;
    let was = was.into_iter().next().map(|(_, value)| value.to_string());
    check(&command.folder.path, &Draft { path: &path, text: &text })?;
    write::replace(&lock, &path, &text)?;
    let said = match (value, was) {
        (Some(value), Some(was)) => format!("{key} = {value}, was {was}"),
        (Some(value), None) => format!("{key} = {value}"),
        (None, _) => format!("{key} is removed"),
    };
    Ok(Outcome::Written(format!("{}: {said}", path.display())))
}

/// The file that is meant.
fn file(command: &Config) -> Result<PathBuf, ChangeError> {
    let Some(app) = &command.app else { return Ok(config::main_file(&command.folder.path)) };
    if app.is_empty() {
        return Err(ChangeError::WhichApp);
    }
    let name =
        AppName::parse(app).map_err(|source| ChangeError::Name { name: app.clone(), source })?;
    let path = config::app_path(&command.folder.path, &name);
    if path.is_file() {
        return Ok(path);
    }
    let there = config::load(&command.folder.path)?;
    let names = || there.apps.keys().chain(&there.broken).map(AppName::as_str);
    let advice = match nearest(app, names()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("`bootctl init {app}` makes one"),
    };
    Err(ChangeError::NoApp { name: app.clone(), advice })
}

/// An absent file says nothing.
fn read(path: &Path) -> Result<String, ChangeError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(ChangeError::Unreadable { path: path.to_owned(), source }),
    }
}

fn show(path: &Path, schema: Schema, key: Option<&str>) -> Result<String, ChangeError> {
    let failed = |source| ChangeError::Edit { path: path.to_owned(), source };
    let found = edit::get(&read(path)?, key).map_err(failed)?;
    let Some(key) = key else { return Ok(lines(&found)) };
    let names = edit::path(key).map_err(failed)?;
    match (found.as_slice(), schema.find(&names)) {
        ([(_, value)], Some(_)) => Ok(plain(value)),
        ([], Some(row)) => {
            let value = row.default_value().ok_or_else(|| ChangeError::NotSet(key.to_owned()))?;
            Ok(plain(&value))
        }
        ([], None) if schema.is_table(&names) => Err(ChangeError::NotSet(key.to_owned())),
        ([], None) => Err(ChangeError::Unknown(key.to_owned())),
        (some, _) => Ok(lines(some)),
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
pub(super) fn check(folder: &Path, draft: &Draft<'_>) -> Result<(), ChangeError> {
    // A change moves lines, so places do not count.
    let about = |problem: &config::Problem| {
        (problem.file.clone(), problem.key.clone(), problem.fault.to_string())
    };
    let before: Vec<_> = config::load(folder)?.problems.iter().map(about).collect();
    let after = config::load_with(folder, Some(draft))?.problems;
    let new = after.iter().filter(|problem| !before.contains(&about(problem)));
    let new: Vec<String> = new.map(ToString::to_string).collect();
    if new.is_empty() { Ok(()) } else { Err(ChangeError::Problems(new)) }
}

/// Has a change taken over, or says how.
pub(super) fn apply(now: bool, wait: &Wait, at: &At) -> ExitCode {
    if !now {
        if at.socket().exists() {
            super::print("`bootctl reload` applies it");
        }
        return ExitCode::SUCCESS;
    }
    super::ask(async {
        let client = Client::at(&at.socket());
        let changed = progress::change(&client, "/reload", wait).await;
        let status: StatusView = changed.map_err(noted)?;
        Ok(format!("all is as the config says\n\n{}", crate::table::status(&status)))
    })
}

/// The file is written all the same.
fn noted(error: ClientError) -> ClientError {
    eprintln!("bootctl: the change is written, and not taken over:");
    error
}
