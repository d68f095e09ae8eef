//! One line of the tour: shown to people as a shell line, and tried by the check itself.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;

use crate::http::Request;

/// Something to ask of the running demo.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// An HTTP request.
    Http(Request),
    /// A call of `bootctl`.
    Bootctl {
        /// The program.
        program: PathBuf,
        /// The control socket of the one that boots.
        socket: PathBuf,
        /// The verb and what it is about.
        words: Vec<String>,
    },
    /// A call of the demo itself.
    Demo {
        /// The program.
        program: PathBuf,
        /// What it is to show.
        words: Vec<String>,
    },
}

/// What came of it: an HTTP status or an exit code, and the text.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The status of an answer, or the exit code of a program.
    pub(crate) code: i32,
    /// The body, or what was printed.
    pub(crate) text: String,
}

impl Ask {
    /// Does it.
    pub(crate) fn ask(&self) -> Result<Reply, String> {
        match self {
            Self::Http(request) => {
                let answer = request.send()?;
                Ok(Reply { code: answer.status.into(), text: answer.body })
            }
            Self::Bootctl { program, socket, words } => {
                self.run(Command::new(program).args(words).env("BOOTCTL_SOCKET", socket))
            }
            Self::Demo { program, words } => self.run(Command::new(program).args(words)),
        }
    }

    fn run(&self, command: &mut Command) -> Result<Reply, String> {
        let output = command.output().map_err(|e| format!("{self}: {e}"))?;
        let text = [output.stdout, output.stderr].concat();
        let code = output.status.code().unwrap_or(-1);
        Ok(Reply { code, text: String::from_utf8_lossy(&text).into_owned() })
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(request) => request.fmt(f),
            Self::Bootctl { program, socket, words } => {
                let (program, socket) = (program.display(), socket.display());
                write!(f, "BOOTCTL_SOCKET={socket} {program} {}", words.join(" "))
            }
            Self::Demo { program, words } => {
                write!(f, "{} {}", program.display(), words.join(" "))
            }
        }
    }
}
