//! `bootctl log [APP]`: what apps have written, and what they write.
//!
//! It reads the files, so it works without a supervisor; where there are none yet, it asks init.

mod asked;

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::Method;
use init_wire::Channel;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use regex_lite::Regex;

use crate::admin::client::{Client, ClientError};
use crate::boot::{BadAddress, init_address};
use crate::cli::{ConfigDir, InitAt};
use crate::client::{Init, InitError};
use crate::logs::history::{History, Text, merge};
use crate::logs::pursuit::Pursuit;
use crate::logs::rings::{Rings, RingsError};
use crate::logs::shelf::{self, Shelf};
use crate::logs::since::Since;
use crate::logs::view::View;
use crate::logs::wish::Wish;
use crate::name::{nearest, quoted};
use crate::remote::host::{Host, Way};
use crate::speech::say;
use crate::token::{Token, TokenError};
use crate::{collecting, config};

/// Show what apps have written, and what they write
///
/// Of one app, or of all by time; from their files, also those that were put away and compressed. A
/// line is: when (UTC), who, out or err, text. `out+` goes on in the next line of the same writer, `out\` is
/// escaped, `out!` is a note, such as that something was lost.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bootctl log shop.example -n 20 -f
  bootctl log --since 10m --grep 'ERROR|WARN'
  bootctl log shop.example --stream err --json
  bootctl log --clear shop.example")]
pub(crate) struct Log {
    /// The app's name, or proxyd [default: all]
    #[arg(required_if_eq("clear", "true"))]
    pub(crate) app: Option<String>,

    /// Show the last N lines of what is asked for [default: 100, or all with --since or --grep]
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) lines: Option<usize>,

    /// And whatever comes
    #[arg(short, long)]
    pub(crate) follow: bool,

    /// Only what came within a span such as 10m, or since a time (UTC)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Since>,

    /// Only lines whose text matches
    #[arg(long, value_name = "REGEX")]
    pub(crate) grep: Option<Regex>,

    /// Only what this instance has written
    #[arg(long, value_name = "N")]
    pub(crate) instance: Option<String>,

    /// Only this stream
    #[arg(long)]
    pub(crate) stream: Option<Stream>,

    /// For programs: an object a line
    #[arg(long)]
    pub(crate) json: bool,

    /// Remove all that the app has written
    #[arg(long, conflicts_with_all = ["follow", "lines", "since", "grep", "json"])]
    pub(crate) clear: bool,

    /// The folder of the logs, instead of what bootctl.toml says
    #[arg(long = "log-dir", value_name = "DIR", env = "BOOTCTL_LOG_DIR")]
    pub(crate) folder: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) config: ConfigDir,

    #[command(flatten)]
    pub(crate) init: InitAt,

    #[command(flatten)]
    pub(crate) host: Host,
}

/// A stream of an app.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Stream {
    Out,
    Err,
}

impl From<Stream> for Channel {
    fn from(stream: Stream) -> Self {
        match stream {
            Stream::Out => Self::Stdout,
            Stream::Err => Self::Stderr,
        }
    }
}

/// Lines that are shown of those who do not say what they look for.
const SHOWN: usize = 100;

/// Why nothing is shown, or no more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("the logs in {} cannot be read: {source}{}", folder.display(), advice(source))]
    Logs { folder: PathBuf, source: io::Error },
    #[error("there is no log of {} in {}; {advice}", quoted(app), folder.display())]
    Unknown { app: String, folder: PathBuf, advice: String },
    #[error("there are no logs in {} (--log-dir names another folder), and {source}", folder.display())]
    NothingThere { folder: PathBuf, source: Box<InitError> },
    #[error("the log of {app} in {} cannot be cleared: {source}{}", folder.display(), advice(source))]
    Clear { app: String, folder: PathBuf, source: io::Error },
    #[error("cannot write: {0}")]
    Out(io::Error),
    #[error(transparent)]
    Remote(Box<ClientError>),
    #[error(transparent)]
    Init(Box<InitError>),
    #[error(transparent)]
    Address(#[from] BadAddress),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("the event loop cannot be set up: {0}")]
    Runtime(io::Error),
}

fn advice(error: &io::Error) -> &'static str {
    if error.kind() == ErrorKind::PermissionDenied { "; try it with sudo" } else { "" }
}

pub(super) fn run(log: &Log) -> ExitCode {
    match try_to(log) {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that has seen enough, such as `head`, is no failure.
        Err(LogError::Out(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            say(&error);
            ExitCode::FAILURE
        }
    }
}

fn try_to(log: &Log) -> Result<(), LogError> {
    // Whoever says where logs are means this machine.
    let told = log.folder.as_ref().map(|_| PathBuf::new());
    let way = log.host.way(told, PathBuf::new());
    let view = view(log);
    if way.is_remote() {
        return from_afar(log, view, &way);
    }
    let out = io::stdout().as_fd().try_clone_to_owned().map_err(LogError::Out)?;
    serve(log, view, File::from(out))
}

/// How lines are shown where this is.
fn view(log: &Log) -> View {
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    match (log.json, io::stdout().is_terminal()) {
        (true, _) => View::Json,
        (false, true) => View::Screen { has_colours: !no_colour },
        (false, false) => View::Plain,
    }
}

/// Shows what another machine has.
fn from_afar(log: &Log, view: View, way: &Way) -> Result<(), LogError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(LogError::Runtime)?;
    let method = if log.clear { Method::DELETE } else { Method::GET };
    let mut screen = io::stdout();
    let mut written = Ok(());
    let take = |bytes: Bytes| {
        written = screen.write_all(&bytes).and_then(|()| screen.flush());
        written.is_ok()
    };
    let (client, path) = (Client::at(way), log.question(view));
    let shown = runtime.block_on(client.bytes(method, &path, take));
    shown.map_err(|error| LogError::Remote(Box::new(error)))?;
    written.map_err(LogError::Out)
}

/// Shows what there is on this machine, for as long as somebody reads it.
pub(crate) fn serve(log: &Log, view: View, out: File) -> Result<(), LogError> {
    // Without a config that can be read, logs are where they are by default.
    let logs = config::load(&log.config.path).unwrap_or_default().settings.logs;
    let folder = collecting::folder(log.folder.as_deref(), &logs);
    let there = shelf::apps(&folder);
    let there = there.map_err(|source| LogError::Logs { folder: folder.clone(), source })?;
    if let (true, Some(app)) = (log.clear, &log.app) {
        return clear(app, &folder, &there, out);
    }
    // Each log that is followed is open.
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
    let screen = Screen::new(log, view, out);
    let is_there = log.app.as_ref().map_or(!there.is_empty(), |app| there.contains(app));
    if is_there {
        show(log, &folder, &there, screen)
    } else {
        ask_init(log, &folder, &there, screen)
    }
}

fn clear(app: &str, folder: &Path, there: &[String], mut out: File) -> Result<(), LogError> {
    if !there.iter().any(|known| known == app) {
        return Err(unknown(app, folder, there.iter().map(String::as_str)));
    }
    let cleared = Shelf::new(folder, app).clear();
    let (app, folder) = (app.to_owned(), folder.to_owned());
    cleared.map_err(|source| LogError::Clear { app: app.clone(), folder, source })?;
    writeln!(out, "the log of {app} is empty").map_err(LogError::Out)
}

fn unknown<'a>(app: &str, folder: &Path, known: impl Iterator<Item = &'a str> + Clone) -> LogError {
    let advice = match (nearest(app, known.clone()), known.clone().next()) {
        (Some(near), _) => format!("did you mean {near}?"),
        (None, Some(_)) => format!("there are {}", known.collect::<Vec<_>>().join(", ")),
        (None, None) => "there is none at all".to_owned(),
    };
    LogError::Unknown { app: app.to_owned(), folder: folder.to_owned(), advice }
}

/// Where lines go, and which.
struct Screen {
    out: BufWriter<File>,
    view: View,
    wish: Wish,
    /// How many of the last ones; all if it is open.
    count: Option<usize>,
}

impl Screen {
    fn new(log: &Log, view: View, out: File) -> Self {
        let wish = Wish {
            since: log.since.clone().unwrap_or_default(),
            grep: log.grep.clone(),
            writer: log.instance.clone(),
            channel: log.stream.map(Into::into),
        };
        let is_vague = log.since.is_none() && log.grep.is_none();
        let count = log.lines.or(is_vague.then_some(SHOWN));
        Self { out: BufWriter::new(out), view, wish, count }
    }

    fn show(&mut self, app: &str, text: &Text) -> io::Result<()> {
        match text.line() {
            Some(line) => self.view.show(app, &line, &mut self.out),
            None => Ok(()),
        }
    }
}

/// Shows what is in the files, and follows them.
fn show(log: &Log, folder: &Path, there: &[String], screen: Screen) -> Result<(), LogError> {
    let failed = |source| LogError::Logs { folder: folder.to_owned(), source };
    let mut screen = screen;
    let only = log.app.as_deref();
    // Watched before it is read: nothing falls between the two.
    let mut pursuit = log.follow.then(|| Pursuit::watch(folder, only));
    let apps = there.iter().filter(|app| only.is_none_or(|only| only == app.as_str()));
    let histories = apps.map(|app| Ok((app.clone(), History::open(Shelf::new(folder, app))?)));
    let histories: Vec<_> = histories.collect::<io::Result<_>>().map_err(failed)?;
    let mut keep = |app: &str, place| {
        if let Some(pursuit) = &mut pursuit {
            pursuit.begin(app.to_owned(), place);
        }
    };
    if let Some(count) = screen.count {
        let mut last = Vec::new();
        for (app, history) in histories {
            let (lines, place) = history.last(count, &screen.wish).map_err(failed)?;
            keep(&app, place);
            last.push((app, lines.into_iter().map(Ok)));
        }
        let lines: io::Result<Vec<_>> = merge(last).collect();
        let lines = lines.map_err(failed)?;
        let surplus = lines.len().saturating_sub(count);
        for (app, text) in lines.iter().skip(surplus) {
            screen.show(app, text).map_err(LogError::Out)?;
        }
    } else {
        let mut all = Vec::new();
        for (app, history) in histories {
            let (lines, place) = history.all(&screen.wish).map_err(failed)?;
            keep(&app, place);
            all.push((app, lines));
        }
        for line in merge(all) {
            let (app, text) = line.map_err(failed)?;
            screen.show(&app, &text).map_err(LogError::Out)?;
        }
    }
    screen.out.flush().map_err(LogError::Out)?;
    let Some(mut pursuit) = pursuit else { return Ok(()) };
    loop {
        for (app, text) in pursuit.next(&screen.wish).map_err(failed)? {
            screen.show(&app, &text).map_err(LogError::Out)?;
        }
        screen.out.flush().map_err(LogError::Out)?;
        if !pursuit.wait(screen.out.get_ref()).map_err(failed)? {
            return Ok(());
        }
    }
}

/// Shows what init keeps, for want of files.
fn ask_init(log: &Log, folder: &Path, there: &[String], screen: Screen) -> Result<(), LogError> {
    let init = Init::at(init_address(log.init.address)?, Token::of_init()?.as_ref());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(LogError::Runtime)?;
    let only = log.app.as_deref();
    let mut screen = screen;
    runtime.block_on(async {
        let rings = match (Rings::open(init, only).await, only) {
            (Ok(Some(rings)), _) => rings,
            (Ok(None), None) => return Ok(()),
            (Ok(None) | Err(_), Some(app)) if !there.is_empty() => {
                return Err(unknown(app, folder, there.iter().map(String::as_str)));
            }
            (Ok(None), Some(app)) => return Err(unknown(app, folder, std::iter::empty())),
            (Err(source), _) => {
                let source = Box::new(source);
                return Err(LogError::NothingThere { folder: folder.to_owned(), source });
            }
        };
        let whose = only.map(|app| format!(" of {app}")).unwrap_or_default();
        say(format_args!(
            "no log{whose} in {} yet; this is what init keeps of it",
            folder.display()
        ));
        from_rings(log, rings, &mut screen).await
    })
}

async fn from_rings(log: &Log, mut rings: Rings, screen: &mut Screen) -> Result<(), LogError> {
    let (wish, count) = (screen.wish.clone(), screen.count.unwrap_or(usize::MAX));
    let mut take = |app: &str, text: &Text| {
        screen.show(app, text)?;
        screen.out.flush()
    };
    let mut shown = rings.last(count, &wish, &mut take).await;
    if shown.is_ok() && log.follow {
        shown = rings.follow(&wish, &mut take).await;
    }
    shown.map_err(|error| match error {
        RingsError::Init(error) => LogError::Init(Box::new(error)),
        RingsError::Out(error) => LogError::Out(error),
    })
}
