//! `bootctl attach JOB`: this terminal becomes the job's.
//!
//! What the job writes comes by one request, what is typed goes by others. Each may break off and
//! the job goes on; so detaching is nothing but leaving, and when init becomes another one, all goes on
//! from where it was.

use std::fmt;
use std::io::{self, IsTerminal, Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;

use bytes::Bytes;
use init_wire::LastExit;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use terminal_size::{Height, Width, terminal_size};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::boot::{BadAddress, init_address};
use crate::cli::Attach;
use crate::client::{Init, InitError, Output};
use crate::token::{Token, TokenError};

/// Lines of what the job has written before that are shown.
const SHOWN: usize = 24;
/// Bytes that are read from this terminal at once.
const TYPED: usize = 4096;
/// Portions of them on their way.
const QUEUE: usize = 16;

/// Why there is nothing to attach to, or no more.
#[derive(Debug, thiserror::Error)]
enum AttachError {
    #[error(transparent)]
    Address(#[from] BadAddress),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Init(#[from] InitError),
    #[error("this terminal cannot be used: {0}")]
    Terminal(#[from] io::Error),
    #[error("the event loop cannot be set up: {0}")]
    Runtime(io::Error),
}

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
            eprintln!("bootctl: detached; {} goes on", attach.job);
            ExitCode::SUCCESS
        }
        Ok(End::Ended(exit)) => {
            eprintln!("bootctl: {} has ended{}", attach.job, How(exit.as_ref()));
            ExitCode::from(code(exit.as_ref()))
        }
        Err(error) => {
            eprintln!("bootctl: {error}");
            let unreachable = matches!(error, AttachError::Init(InitError::Unreachable(..)));
            if unreachable { ExitCode::from(super::UNREACHABLE) } else { ExitCode::FAILURE }
        }
    }
}

fn try_to(attach: &Attach) -> Result<End, AttachError> {
    let address: SocketAddr = init_address(attach.init)?;
    let init = Init::at(address, Token::of_init()?.as_ref());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(AttachError::Runtime)?;
    let end = runtime.block_on(converse(&init, attach));
    // The thread that reads this terminal may wait for a key for ever.
    runtime.shutdown_background();
    end
}

async fn converse(init: &Init, attach: &Attach) -> Result<End, AttachError> {
    let job = init.job(&attach.job).await?;
    let output = init.open_output(&attach.job, SHOWN).await?;
    let takes_input = job.spec.tty || job.spec.stdin == init_wire::Stdio::Pipe;
    let is_screen = job.spec.tty && io::stdin().is_terminal();
    let raw = is_screen.then(Raw::enter).transpose()?;
    if raw.is_some() {
        eprint!("bootctl: attached to {}; {} detaches\r\n", attach.job, attach.detach_key);
    }
    let (typed, keys) = mpsc::channel(QUEUE);
    let leave = raw.is_some().then_some(attach.detach_key);
    let mut left = leave_with(leave, takes_input.then_some(typed));
    let ended = tokio::select! {
        over = show(init, &attach.job, output) => over,
        over = follow_size(init, &attach.job, is_screen) => over,
        over = write(init, &attach.job, keys, takes_input) => over,
        Some(()) = left.recv() => return Ok(End::Detached),
    };
    drop(raw);
    ended?;
    Ok(End::Ended(init.job(&attach.job).await?.last_exit))
}

/// Shows what the job writes, until it has ended.
async fn show(init: &Init, job: &str, mut output: Output) -> Result<(), AttachError> {
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
    mut keys: mpsc::Receiver<Bytes>,
    takes_input: bool,
) -> Result<(), AttachError> {
    if takes_input {
        while let Some(bytes) = keys.recv().await {
            init.write_input(job, bytes).await?;
        }
        init.end_input(job).await?;
    }
    std::future::pending().await
}

/// Keeps the job's window as large as this one.
async fn follow_size(init: &Init, job: &str, is_screen: bool) -> Result<(), AttachError> {
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
        eprintln!();
    }
}

/// The key that leaves: Ctrl and a letter, or one of `[ \ ] ^ _`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DetachKey(u8);

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

/// What a shell would make of it.
fn code(exit: Option<&LastExit>) -> u8 {
    match exit {
        Some(LastExit::Code(code)) => *code,
        Some(LastExit::Signal(name)) => {
            let signal = name.parse::<nix::sys::signal::Signal>().map_or(9, |known| known as i32);
            u8::try_from(128 + signal).unwrap_or(u8::MAX)
        }
        None => 0,
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
