//! `bootctl top`: the terminal, the clock and the supervisor of [`crate::top`].

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{self, Sender};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::sleep;

use super::job;
use super::progress::Silent;
use crate::admin::client::{Client, ClientError};
use crate::admin::wire::{AppView, StatusView};
use crate::cli::{At, InitAt};
use crate::client::Init;
use crate::http::segment;
use crate::top::{Effect, Figures, Key, Look, Seen, Sort, Top as Screen, screen, sorted, table};

/// Show all instances and what they use, live
///
/// Arrows choose a row, Enter shows what it has written last, r restarts its app after a question, c, m and n sort by
/// processor, memory and name, q leaves. Where there is no terminal, the table is printed once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bootctl top
  bootctl top --sort cpu --every 5
  bootctl top --host shop
  bootctl top | head -n 5")]
pub(crate) struct Top {
    /// By what rows are sorted at first
    #[arg(long, value_enum, default_value_t = Sort::Name)]
    sort: Sort,

    /// How many seconds there are between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 2,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,

    #[command(flatten)]
    at: At,

    #[command(flatten)]
    init: InitAt,
}

/// What may wait to be heard of.
const QUEUE: usize = 64;
/// Lines of what a job has written.
const LINES: usize = 200;
/// Between the two looks of a table that is printed.
const GLANCE: Duration = Duration::from_millis(300);
/// How long a restart is waited for.
const PATIENCE: Duration = Duration::from_mins(5);

/// What comes in.
enum News {
    Seen(Seen),
    /// The window has another size.
    Resized,
    /// The terminal is gone, or it is time to go: with this exit code.
    Leave(u8),
}

pub(super) fn run(top: &Top) -> ExitCode {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return super::ask(once(top));
    }
    let mut code = ExitCode::SUCCESS;
    let left = super::ask(async {
        let client = Rc::new(Client::at(&top.at.socket()));
        // Whoever cannot be asked at all is told of on a terminal as it was.
        let first = look(&client, Instant::now()).await?;
        let init = job::reach(&top.init, &top.at.host_of()).await;
        let terminal = match ratatui::try_init() {
            Ok(terminal) => terminal,
            Err(error) => return Ok(format!("bootctl: this terminal cannot be used: {error}")),
        };
        let restored = Restored;
        let end = LocalSet::new().run_until(watch(top, terminal, client, init.ok(), first)).await;
        drop(restored);
        code = ExitCode::from(end);
        Ok(String::new())
    });
    if left == ExitCode::SUCCESS { code } else { left }
}

/// The terminal as it was, when it is dropped. A panic's hook does the same.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

async fn look(client: &Client, begun: Instant) -> Result<Look, ClientError> {
    let status: StatusView = client.get("/status?requests").await?;
    Ok(Look { at: begun.elapsed(), status })
}

/// The table, for whoever has no terminal.
async fn once(top: &Top) -> Result<String, ClientError> {
    let (client, begun) = (Client::at(&top.at.socket()), Instant::now());
    let before = Figures::of(&look(&client, begun).await?);
    sleep(GLANCE).await;
    Ok(table(&sorted(&look(&client, begun).await?, &before, top.sort)))
}

/// Shows what there is until somebody leaves; with which exit code.
async fn watch(
    top: &Top,
    mut terminal: DefaultTerminal,
    client: Rc<Client>,
    init: Option<Init>,
    first: Look,
) -> u8 {
    let (tell, mut news) = mpsc::channel(QUEUE);
    let mut screen = Screen::new(top.sort);
    screen.step(Seen::Look(Box::new(first)));
    read_keys(tell.clone());
    heed(&tell);
    spawn_local(keep_looking(Rc::clone(&client), tell.clone(), Duration::from_secs(top.every)));
    loop {
        if terminal.draw(|frame| screen::draw(&screen, frame)).is_err() {
            return 1;
        }
        let effect = match news.recv().await {
            Some(News::Seen(seen)) => screen.step(seen),
            Some(News::Resized) => None,
            Some(News::Leave(code)) => return code,
            None => return 0,
        };
        match effect {
            Some(Effect::Leave) => return 0,
            Some(Effect::Read(job)) => drop(spawn_local(read(init.clone(), job, tell.clone()))),
            Some(Effect::Restart(app)) => {
                drop(spawn_local(restart(Rc::clone(&client), app, tell.clone())));
            }
            None => {}
        }
    }
}

async fn keep_looking(client: Rc<Client>, tell: Sender<News>, every: Duration) {
    let begun = Instant::now();
    loop {
        let seen = match look(&client, begun).await {
            Ok(look) => Seen::Look(Box::new(look)),
            Err(error) => Seen::Nobody(error.to_string()),
        };
        if tell.send(News::Seen(seen)).await.is_err() {
            return;
        }
        sleep(every).await;
    }
}

async fn read(init: Option<Init>, job: String, tell: Sender<News>) {
    let lines = match &init {
        Some(init) => init.last_lines(&job, LINES).await,
        None => vec!["init cannot be asked what it has written".to_owned()],
    };
    drop(tell.send(News::Seen(Seen::Lines(job, lines))).await);
}

async fn restart(client: Rc<Client>, app: String, tell: Sender<News>) {
    let path = format!("/apps/{}/restart", segment(&app));
    let done: Result<AppView, _> = client.change(&path, PATIENCE, &mut Silent).await;
    let said = match done {
        Ok(_) => format!("{app} was restarted"),
        Err(error) => error.to_string().lines().next().unwrap_or_default().to_owned(),
    };
    drop(tell.send(News::Seen(Seen::Done(said))).await);
}

/// Reads keys in a thread of its own: a terminal can only be waited for by reading it.
fn read_keys(tell: Sender<News>) {
    std::thread::spawn(move || {
        loop {
            let news = match event::read() {
                Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => match meant(key) {
                    Some(news) => news,
                    None => continue,
                },
                Ok(Event::Resize(..)) => News::Resized,
                Ok(_) => continue,
                Err(_) => News::Leave(1),
            };
            let is_last = matches!(news, News::Leave(_));
            if tell.blocking_send(news).is_err() || is_last {
                return;
            }
        }
    });
}

fn meant(key: KeyEvent) -> Option<News> {
    let key = match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
            return Some(News::Leave(0));
        }
        KeyCode::Char(letter) => Key::Letter(letter),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::First,
        KeyCode::End => Key::Last,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        _ => return None,
    };
    Some(News::Seen(Seen::Key(key)))
}

/// A signal leaves the terminal as it was, too.
fn heed(tell: &Sender<News>) {
    for (kind, number) in
        [(SignalKind::terminate(), 15), (SignalKind::hangup(), 1), (SignalKind::interrupt(), 2)]
    {
        let Ok(mut heard) = signal(kind) else { continue };
        let tell = tell.clone();
        spawn_local(async move {
            heard.recv().await;
            drop(tell.send(News::Leave(128 + number)).await);
        });
    }
}
