//! `bootctl init APP`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

use clap::Args;

use super::config::apply;
use crate::cli::{At, ConfigDir, Wait};
use crate::config::entry::{ChangeError, check};
use crate::config::guess::{self, Program};
use crate::config::template::{NewApp, render};
use crate::config::write::{self, Lock, WriteError};
use crate::config::{self, ConfigError, Draft};
use crate::free_port::is_free;
use crate::name::{AppName, Host, HostError, Port, quoted};
use crate::speech::say;

/// Write the file of a new app, with comments that tell what it may say; needs no supervisor
///
/// What is started is guessed from the folder where that is plain: package.json, app.py, or the one
/// executable in it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cd /var/www/shop && bootctl init shop.example
  bootctl init shop.example --cwd /var/www/shop --exec node --arg server.js --user www --apply")]
pub(crate) struct Init {
    /// The app's name, which is also its host
    pub(crate) app: String,

    /// The program
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) exec: Option<String>,

    /// An argument of it. May be repeated
    #[arg(long = "arg", value_name = "WORD", allow_hyphen_values = true)]
    pub(crate) args: Vec<String>,

    /// The folder that it works in [default: this one]
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,

    /// Whom it runs as
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,

    /// Where the search for its ports begins
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,

    /// How many of it run side by side
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) instances: u32,

    /// Another host that leads to it. May be repeated
    #[arg(long, value_name = "HOST")]
    pub(crate) alias: Vec<String>,

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

/// Why there is no new app.
#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error("{} {source}", quoted(name))]
    Name { name: String, source: HostError },
    #[error("the folder {} cannot be used: {source}; name the app's with --cwd", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("{} is no folder; name the app's with --cwd", .0.display())]
    NoFolder(PathBuf),
    #[error(
        "{} does not tell what is to be started; name it, as in --exec node --arg server.js",
        .0.display()
    )]
    NoProgram(PathBuf),
    #[error(
        "the file would be written on this machine, but another one is meant; run `bootctl init` there, or write \
         it here with --host local"
    )]
    Elsewhere,
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Change(#[from] Box<ChangeError>),
}

pub(super) fn run(init: &Init) -> ExitCode {
    match create(init) {
        Ok(text) => super::both(super::print(&text), apply(init.apply, &init.wait, &init.at)),
        Err(error) => {
            say(&error);
            ExitCode::FAILURE
        }
    }
}

fn create(init: &Init) -> Result<String, InitError> {
    if init.at.socket().is_remote() {
        return Err(InitError::Elsewhere);
    }
    let name = host(&init.app, AppName::parse)?;
    let alias: Result<Vec<Host>, _> =
        init.alias.iter().map(|text| host(text, Host::parse_many)).collect();
    let cwd = folder(init.cwd.as_deref())?;
    let named = init.exec.clone().map(|exec| Program { exec, args: Vec::new() });
    let program = named.or_else(|| guess::program(&cwd));
    let Program { exec, args } = program.ok_or_else(|| InitError::NoProgram(cwd.clone()))?;
    let args = if init.args.is_empty() { args } else { init.args.clone() };
    let app = NewApp {
        name,
        exec,
        args,
        cwd: cwd.to_string_lossy().into_owned(),
        user: init.user.clone(),
        port: init.port,
        instances: init.instances,
        alias: alias?,
    };
    let lock = Lock::take(&init.folder.path)?;
    let there = config::load(&init.folder.path)?;
    let path = config::app_path(&init.folder.path, &app.name);
    if path.symlink_metadata().is_ok() {
        return Err(WriteError::Exists(path).into());
    }
    let text = render(&app);
    check(&init.folder.path, &Draft { path: &path, text: &text }).map_err(Box::new)?;
    write::create(&lock, &path, &text)?;
    let first = app.port.and_then(Port::new).unwrap_or(there.settings.first_port);
    let port = first_free(first).map_or_else(String::new, |free| format!(", which is {free} now"));
    let words = [&[app.exec][..], &app.args].concat().join(" ");
    Ok(format!(
        "{}: {} runs `{words}` in {}\nit has to listen on PORT: the first free one from {first} on{port}",
        path.display(),
        app.name,
        app.cwd
    ))
}

fn host<T>(text: &str, parse: impl Fn(&str) -> Result<T, HostError>) -> Result<T, InitError> {
    parse(text).map_err(|source| InitError::Name { name: text.to_owned(), source })
}

/// The folder that was named, else this one.
fn folder(named: Option<&Path>) -> Result<PathBuf, InitError> {
    let path = named.unwrap_or(Path::new("."));
    let failed = |source| InitError::Folder { path: path.to_owned(), source };
    let absolute = env::current_dir().map(|here| here.join(path)).map_err(failed)?;
    let found = fs::canonicalize(absolute).map_err(failed)?;
    if found.is_dir() { Ok(found) } else { Err(InitError::NoFolder(found)) }
}

/// The one that an app that is started now would get.
fn first_free(from: Port) -> Option<Port> {
    from.and_above().find(|port| is_free(*port))
}
