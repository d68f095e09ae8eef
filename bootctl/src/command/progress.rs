//! Shows what a change is waiting for: live on a terminal, as plain lines elsewhere, as the supervisor's own
//! lines with `--json`. What is done within a second is not talked about, unless there is somebody to see it.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use http::Response;
use hyper::body::Incoming;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::de::DeserializeOwned;

use crate::admin::client::{Client, ClientError, Progress};
use crate::admin::steps::{StepKind, StepView};
use crate::cli::Wait;
use crate::speech::{Unsaid, answer, remark};

/// How long plain lines are kept back.
const SOON: Duration = Duration::from_secs(1);
/// How often a spinner turns.
const TURN: Duration = Duration::from_millis(100);
/// Nothing to look at.
const LONG: Duration = Duration::from_hours(1);

/// What goes on when a command is left, unless it says more.
const GOES_ON: &str =
    "what was asked for goes on without this command: `bootctl status` shows how far it is";

/// Shows nothing.
pub(super) struct Silent;

impl Progress for Silent {
    fn raw(&mut self, _line: &str) {}

    fn step(&mut self, _step: &StepView) {}

    fn has_echoed(&self) -> bool {
        false
    }

    fn next_look(&self) -> Duration {
        LONG
    }

    fn look(&mut self) {}
}

/// Asks for a change and shows its progress.
pub(super) async fn change<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    wait: &Wait,
) -> Result<T, ClientError> {
    change_or(client, path, wait, GOES_ON).await
}

/// The same with what is told to whoever does not want to wait.
pub(super) async fn change_or<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    wait: &Wait,
    left: &str,
) -> Result<T, ClientError> {
    let mut shown = shown(wait);
    let changed = unless_left(client.change(path, wait.duration(), &mut *shown), left).await?;
    shown.end()?;
    Ok(changed)
}

/// Shows the progress of a change that was asked for.
pub(super) async fn rest<T: DeserializeOwned>(
    client: &Client,
    response: Response<Incoming>,
    wait: &Wait,
) -> Result<T, ClientError> {
    let mut shown = shown(wait);
    let changed = unless_left(client.read(response, &mut *shown), GOES_ON).await?;
    shown.end()?;
    Ok(changed)
}

/// Does the work, unless somebody presses Ctrl-C.
pub(super) async fn unless_left<T>(
    work: impl Future<Output = Result<T, ClientError>>,
    left: &str,
) -> Result<T, ClientError> {
    tokio::select! {
        done = work => done,
        Ok(()) = tokio::signal::ctrl_c() => Err(ClientError::Left(left.to_owned())),
    }
}

fn shown(wait: &Wait) -> Box<dyn Progress> {
    if wait.json {
        Box::new(Raw { written: Ok(()) })
    } else if is_live() {
        Box::new(Live::new())
    } else {
        Box::new(Lines::new())
    }
}

/// Whether lines can be written over.
fn is_live() -> bool {
    stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// What the supervisor says.
struct Raw {
    written: Result<(), Unsaid>,
}

impl Progress for Raw {
    fn raw(&mut self, line: &str) {
        if self.written.is_ok() {
            self.written = answer(line);
        }
    }

    fn step(&mut self, _step: &StepView) {}

    fn has_echoed(&self) -> bool {
        false
    }

    fn next_look(&self) -> Duration {
        LONG
    }

    fn look(&mut self) {}

    fn end(self: Box<Self>) -> Result<(), Unsaid> {
        self.written
    }
}

/// For a file or a pipe.
struct Lines {
    begun: Instant,
    kept: Option<Vec<String>>,
    echoes: bool,
}

impl Lines {
    fn new() -> Self {
        Self { begun: Instant::now(), kept: Some(Vec::new()), echoes: false }
    }
}

impl Progress for Lines {
    fn raw(&mut self, _line: &str) {}

    fn step(&mut self, step: &StepView) {
        self.echoes |= step.step == StepKind::Output;
        let time = seconds(Duration::from_millis(step.ms));
        let line = format!("{time:>7}  {}{}", bar(step), step.text);
        match &mut self.kept {
            Some(kept) => kept.push(line),
            None => remark(format_args!("{line}\n")),
        }
    }

    fn has_echoed(&self) -> bool {
        self.echoes && self.kept.is_none()
    }

    fn next_look(&self) -> Duration {
        match &self.kept {
            Some(_) => SOON.saturating_sub(self.begun.elapsed()),
            None => LONG,
        }
    }

    fn look(&mut self) {
        for line in self.kept.take().into_iter().flatten() {
            remark(format_args!("{line}\n"));
        }
    }
}

/// For somebody who watches: a line each that moves, until it is over.
struct Live {
    all: MultiProgress,
    jobs: BTreeMap<String, ProgressBar>,
    echoes: bool,
}

impl Live {
    fn new() -> Self {
        Self { all: MultiProgress::new(), jobs: BTreeMap::new(), echoes: false }
    }

    fn over(&mut self, step: &StepView, mark: &str) {
        let took = self.jobs.remove(&step.job).map(|bar| {
            let took = bar.elapsed();
            bar.finish_and_clear();
            took
        });
        let took = took.map(|took| format!(" ({})", seconds(took))).unwrap_or_default();
        drop(self.all.println(format!("{mark} {}{took}", step.text)));
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // What is over stays to be read, what is not has no meaning any more.
        drop(self.all.clear());
    }
}

impl Progress for Live {
    fn raw(&mut self, _line: &str) {}

    fn step(&mut self, step: &StepView) {
        match step.step {
            StepKind::Starting | StepKind::Waiting | StepKind::Retiring => {
                let all = &self.all;
                let bar = self.jobs.entry(step.job.clone()).or_insert_with(|| {
                    let bar = all.add(ProgressBar::new_spinner().with_style(style()));
                    bar.enable_steady_tick(TURN);
                    bar
                });
                bar.set_message(step.text.clone());
            }
            StepKind::Ready => self.over(step, "+"),
            StepKind::Gone => self.over(step, "-"),
            StepKind::Output => {
                self.echoes = true;
                drop(self.all.println(format!("{}{}", bar(step), step.text)));
            }
        }
    }

    fn has_echoed(&self) -> bool {
        self.echoes
    }

    fn next_look(&self) -> Duration {
        LONG
    }

    fn look(&mut self) {}
}

/// A name, and for how long.
fn style() -> ProgressStyle {
    let clock = |state: &indicatif::ProgressState, text: &mut dyn std::fmt::Write| {
        // A text takes whatever is written.
        let _ = text.write_str(&seconds(state.elapsed()));
    };
    let style = ProgressStyle::with_template("{spinner} {wide_msg} ({clock})");
    style.unwrap_or_else(|_| ProgressStyle::default_spinner()).with_key("clock", clock)
}

/// What stands before the words of somebody else.
fn bar(step: &StepView) -> &'static str {
    if step.step == StepKind::Output { "| " } else { "" }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
