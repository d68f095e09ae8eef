//! `bootctl log [APP]`: what apps have written, and what they write.
//!
//! It reads the files, so it works without a supervisor; where there are none yet, it asks init.

use std::io::{self, BufWriter, ErrorKind, IsTerminal, Stdout, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::boot::{BadAddress, init_address};
use crate::cli::Log;
use crate::client::{Init, InitError};
use crate::logs::history::{History, Text, merge};
use crate::logs::pursuit::Pursuit;
use crate::logs::rings::{Rings, RingsError};
use crate::logs::shelf::{self, Shelf};
use crate::logs::view::View;
use crate::logs::wish::Wish;
use crate::name::nearest;
use crate::token::{Token, TokenError};
use crate::{collecting, config};

/// Lines that are shown of those who do not say what they look for.
const SHOWN: usize = 100;

/// Why nothing is shown, or no more.
#[derive(Debug, thiserror::Error)]
enum LogError {
    #[error("the logs in {} cannot be read: {source}{}", folder.display(), advice(source))]
    Logs { folder: PathBuf, source: io::Error },
    #[error("there is no log of {app:?} in {}; {advice}", folder.display())]
    Unknown { app: String, folder: PathBuf, advice: String },
    #[error("there are no logs in {}, and {source}", folder.display())]
    NothingThere { folder: PathBuf, source: Box<InitError> },
    #[error("the log of {app} in {} cannot be cleared: {source}{}", folder.display(), advice(source))]
    Clear { app: String, folder: PathBuf, source: io::Error },
    #[error("cannot write: {0}")]
    Out(io::Error),
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
            eprintln!("bootctl: {error}");
            ExitCode::FAILURE
        }
    }
}

fn try_to(log: &Log) -> Result<(), LogError> {
    // Without a config that can be read, logs are where they are by default.
    let logs = config::load(&log.config).unwrap_or_default().settings.logs;
    let folder = collecting::folder(log.folder.as_deref(), &logs);
    let there = shelf::apps(&folder);
    let there = there.map_err(|source| LogError::Logs { folder: folder.clone(), source })?;
    if let (true, Some(app)) = (log.clear, &log.app) {
        return clear(app, &folder, &there);
    }
    // Each log that is followed is open.
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
    let screen = Screen::new(log);
    let is_there = log.app.as_ref().map_or(!there.is_empty(), |app| there.contains(app));
    if is_there {
        show(log, &folder, &there, screen)
    } else {
        ask_init(log, &folder, &there, screen)
    }
}

fn clear(app: &str, folder: &Path, there: &[String]) -> Result<(), LogError> {
    if !there.iter().any(|known| known == app) {
        return Err(unknown(app, folder, there.iter().map(String::as_str)));
    }
    let cleared = Shelf::new(folder, app).clear();
    let (app, folder) = (app.to_owned(), folder.to_owned());
    cleared.map_err(|source| LogError::Clear { app: app.clone(), folder, source })?;
    super::print(&format!("the log of {app} is empty"));
    Ok(())
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
    out: BufWriter<Stdout>,
    view: View,
    wish: Wish,
    /// How many of the last ones; all if it is open.
    count: Option<usize>,
}

impl Screen {
    fn new(log: &Log) -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let view = match (log.json, io::stdout().is_terminal()) {
            (true, _) => View::Json,
            (false, true) => View::Screen { has_colours: !no_colour },
            (false, false) => View::Plain,
        };
        let wish = Wish {
            since: log.since.clone().unwrap_or_default(),
            grep: log.grep.clone(),
            writer: log.instance.clone(),
            channel: log.stream.map(Into::into),
        };
        let is_vague = log.since.is_none() && log.grep.is_none();
        let count = log.lines.or(is_vague.then_some(SHOWN));
        Self { out: BufWriter::new(io::stdout()), view, wish, count }
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
        if !pursuit.wait(&io::stdout()).map_err(failed)? {
            return Ok(());
        }
    }
}

/// Shows what init keeps, for want of files.
fn ask_init(log: &Log, folder: &Path, there: &[String], screen: Screen) -> Result<(), LogError> {
    let init = Init::at(init_address(log.init)?, Token::of_init()?.as_ref());
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
        eprintln!(
            "bootctl: no log{whose} in {} yet; this is what init keeps of it",
            folder.display()
        );
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
