//! `bootctl attach JOB`: this terminal becomes the job's.
//!
//! What the job writes comes by one request, what is typed goes by others. Each may break off and
//! the job goes on; so detaching is nothing but leaving, and when init becomes another one, all goes on
//! from where it was.

use std::fmt;
use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::thread;

use bytes::Bytes;
use clap::Args;
use init_wire::{LastExit, Status};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use terminal_size::{Height, Width, terminal_size};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::job::{self, JobError};
use crate::cli::InitOf;
use crate::client::{Init, Output};
pub(super) use crate::exit::code;
use crate::speech::{remark, say};

/// Make this terminal a job's: see what it writes, type what it reads
///
/// The job must have a terminal (`"tty": true`), or at least be kept (`"stdout": "log"`). It goes on
/// when you leave, or are cut off.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: that of the job if it ends, 0 if you leave.

Examples:
  bootctl attach shell
  bootctl attach shop.example.1 --detach-key ctrl-q")]
pub(crate) struct Attach {
    /// The job's name
    pub(crate) job: String,

    /// The key that leaves
    #[arg(long, value_name = "KEY", default_value = "ctrl-]")]
    pub(crate) detach_key: DetachKey,

    #[command(flatten)]
    pub(crate) at: InitOf,
}

/// Lines of what the job has written before that are shown.
const SHOWN: usize = 24;
/// Bytes that are read from this terminal at once.
const TYPED: usize = 4096;
/// Portions of them on their way.
const QUEUE: usize = 16;

/// How it has ended.
enum End {
    /// The user has left.
    Detached,
    /// So has the job.
    Ended(Option<LastExit>),
}

pub(super) fn run(attach: &Attach) -> ExitCode {
    match try_to(attach) {
        Ok(End::Detached) => {
            say(format_args!("detached; {} goes on", attach.job));
            ExitCode::SUCCESS
        }
        Ok(End::Ended(exit)) => {
            say(format_args!("{} has ended{}", attach.job, How(exit.as_ref())));
            ExitCode::from(code(exit.as_ref()))
        }
        Err(error) => error.tell(),
    }
}

fn try_to(attach: &Attach) -> Result<End, JobError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(JobError::Runtime)?;
    let end = runtime.block_on(async {
        let init = job::reach(&attach.at.init, &attach.at.host).await?;
        Box::pin(converse(&init, &attach.job, attach.detach_key)).await
    });
    // The thread that reads this terminal may wait for a key for ever.
    runtime.shutdown_background();
    end
}

/// Gives this terminal to a job, until that has ended or the user has left.
pub(super) async fn until_its_end(init: &Init, job: &str, key: DetachKey) -> Result<(), JobError> {
    match Box::pin(converse(init, job, key)).await? {
        End::Detached | End::Ended(_) => Ok(()),
    }
}

async fn converse(init: &Init, name: &str, key: DetachKey) -> Result<End, JobError> {
    let job = init.job(name).await?;
    let output = init.open_output(name, SHOWN).await?;
    let takes_input = job.spec.tty || job.spec.stdin == init_wire::Stdio::Pipe;
    let is_screen = job.spec.tty && io::stdin().is_terminal();
    let raw = is_screen.then(Raw::enter).transpose()?;
    if raw.is_some() {
        remark(format_args!("bootctl: attached to {name}; {key} detaches\r\n"));
    }
    let (typed, keys) = mpsc::channel(QUEUE);
    let leave = raw.is_some().then_some(key);
    let mut left = leave_with(leave, takes_input.then_some(typed));
    let ended = tokio::select! {
        over = show(init, name, output) => over,
        over = follow_size(init, name, is_screen) => over,
        over = write(init, name, keys, takes_input) => over,
        Some(()) = left.recv() => return Ok(End::Detached),
    };
    drop(raw);
    ended?;
    Ok(End::Ended(init.job(name).await?.last_exit))
}

/// Shows what the job writes, until it has ended.
async fn show(init: &Init, job: &str, mut output: Output) -> Result<(), JobError> {
    let mut screen = io::stdout();
    loop {
        match output.next().await {
            Some(Ok(bytes)) => {
                screen.write_all(&bytes)?;
                screen.flush()?;
            }
            // If init has not become another one, but ended, this says so.
            Some(Err(_)) => output = init.reopen_output(job, &output).await?,
            None => return Ok(()),
        }
    }
}

/// Writes what is typed to the job. At its end the job may go on.
async fn write(
    init: &Init,
    job: &str,
    keys: mpsc::Receiver<Bytes>,
    takes_input: bool,
) -> Result<(), JobError> {
    if takes_input
        && let Err(error) = pass_on(init, job, keys).await
        && !has_ended(init, job).await
    {
        return Err(error);
    }
    std::future::pending().await
}

async fn pass_on(init: &Init, job: &str, mut keys: mpsc::Receiver<Bytes>) -> Result<(), JobError> {
    while let Some(bytes) = keys.recv().await {
        init.write_input(job, bytes).await?;
    }
    // If it does not read any more, it needs no word of that.
    drop(init.end_input(job).await);
    Ok(())
}

/// What has ended reads nothing any more, and what it has written last is still to be shown.
async fn has_ended(init: &Init, job: &str) -> bool {
    let status = init.job(job).await.map(|job| job.status);
    matches!(status, Ok(Status::Stopping | Status::Backoff | Status::Success | Status::Failed))
}

/// Keeps the job's window as large as this one.
async fn follow_size(init: &Init, job: &str, is_screen: bool) -> Result<(), JobError> {
    if !is_screen {
        return std::future::pending().await;
    }
    let mut changes = signal(SignalKind::window_change())?;
    loop {
        if let Some((Width(columns), Height(rows))) = terminal_size() {
            init.resize(job, rows, columns).await?;
        }
        changes.recv().await;
    }
}

/// What is typed here, until its end.
pub(super) fn typed() -> mpsc::Receiver<Bytes> {
    let (typed, keys) = mpsc::channel(QUEUE);
    drop(leave_with(None, Some(typed)));
    keys
}

/// Reads what is typed in a thread of its own, until the detach key: a terminal can only be waited for
/// by reading it.
fn leave_with(key: Option<DetachKey>, typed: Option<mpsc::Sender<Bytes>>) -> mpsc::Receiver<()> {
    let (leave, left) = mpsc::channel(1);
    thread::spawn(move || {
        let mut some = [0; TYPED];
        while let Ok(count @ 1..) = io::stdin().read(&mut some) {
            let bytes = some.get(..count).unwrap_or_default();
            let end = key.and_then(|DetachKey(key)| bytes.iter().position(|byte| *byte == key));
            let before =
                Bytes::copy_from_slice(bytes.get(..end.unwrap_or(count)).unwrap_or_default());
            let is_gone = typed.as_ref().is_some_and(|typed| typed.blocking_send(before).is_err());
            if end.is_some() {
                let _ = leave.blocking_send(());
                // Leaving is not the end of the job's input.
                std::mem::forget(typed);
                return;
            }
            if is_gone {
                return;
            }
        }
        // Its end is the job's input's end; the job itself is watched until it ends.
        drop(typed);
        std::mem::forget(leave);
    });
    left
}

/// This terminal in raw mode, until it is dropped.
struct Raw(Termios);

impl Raw {
    fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // If it fails there is no terminal any more.
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.0);
        remark("\n");
    }
}

/// The key that leaves: Ctrl and a letter, or one of `[ \ ] ^ _`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DetachKey(u8);

impl DetachKey {
    /// Ctrl-].
    pub(super) const USUAL: Self = Self(0x1d);
}

impl std::str::FromStr for DetachKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "write it as ctrl-] or ctrl-a: a letter, or one of [ \\ ] ^ _";
        let key = text.strip_prefix("ctrl-").or_else(|| text.strip_prefix('^')).ok_or(wrong)?;
        match key.to_ascii_uppercase().as_bytes() {
            [key @ b'A'..=b'_'] => Ok(Self(key - b'@')),
            _ => Err(wrong),
        }
    }
}

impl fmt::Display for DetachKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ctrl-{}", char::from(self.0 + b'@').to_ascii_lowercase())
    }
}

/// ` with exit code 3`, or nothing if that is not known.
struct How<'a>(Option<&'a LastExit>);

impl fmt::Display for How<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(LastExit::Code(code)) => write!(f, " with exit code {code}"),
            Some(LastExit::Signal(signal)) => write!(f, " by {signal}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i08_a_detach_key_is_read_as_it_is_written() {
        for text in ["ctrl-]", "ctrl-a", "ctrl-\\", "ctrl-_"] {
            assert_eq!(text.parse::<DetachKey>().unwrap().to_string(), text);
        }
        assert_eq!("^P".parse::<DetachKey>(), Ok(DetachKey(0x10)));
        for text in ["", "]", "ctrl-", "ctrl-1", "ctrl-ab", "alt-a"] {
            assert!(text.parse::<DetachKey>().is_err(), "{text}");
        }
    }
}
