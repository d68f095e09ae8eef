//! init's command line, which may be a kernel's.
//!
//! The kernel hands PID 1 the words of its command line that nobody else knew, drops the `--`
//! between them and what follows, and puts unknown `k=v` pairs into the environment. So in a VM
//! words in front of the command that are not init's own are skipped; elsewhere they are errors.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::access::Right;
use crate::forward::Rewrites;
use crate::shutdown::BootExit;

/// What init was asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// What follows when `boot` ends.
    pub boot_exit: Option<BootExit>,
    /// How long a wind-down may take.
    pub grace: Duration,
    /// Who else may do what: a user, by name or id, and a right.
    pub grants: Vec<(String, Right)>,
    /// The file with tokens.
    pub token_file: Option<PathBuf>,
    /// Whether everybody must show a token.
    pub insists: bool,
    /// Whether signals are told to boot's whole process group.
    pub signal_group: bool,
    /// Which signals are told as others.
    pub rewrites: Rewrites,
    /// The command of the job `boot`; empty for none.
    pub command: Vec<OsString>,
    /// Words that were skipped.
    pub skipped: Vec<String>,
}

/// What to do instead of running.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Instead {
    /// Print the help.
    #[error("help")]
    Help,
    /// Print the version.
    #[error("version")]
    Version,
    /// An address that is not loopback.
    #[error(
        "--listen {0}: only a loopback address with a port is accepted, such as 127.0.0.1:1 or \
         [::1]:1, because whoever reaches the API can run anything"
    )]
    Listen(String),
    /// A value that cannot be read.
    #[error("{option} {value}: expected {expected}")]
    Value {
        /// The option.
        option: &'static str,
        /// What was given.
        value: String,
        /// What can be.
        expected: &'static str,
    },
    /// Tokens are insisted on, and there are none.
    #[error("--auth token needs --token-file, or nobody could use the API")]
    NoTokens,
    /// An option without its value.
    #[error("{0} needs a value")]
    Missing(&'static str),
    /// An option that does not exist.
    #[error("unknown option {0}; `init --help` lists those there are")]
    Unknown(String),
}

/// The text of `--help`.
pub const HELP: &str = "\
init - job control over HTTP on loopback, as PID 1 or as a subreaper

Usage: init [OPTIONS] [--] [COMMAND [ARGS...]]

COMMAND is started as the job `boot`; the API listens before it runs, and its
address is in INIT_API. Without COMMAND, init only serves the API.

Options:
  --listen ADDR       where the API listens, loopback only; port 0 picks one
                      [default: 127.0.0.1:1] [env: INIT_LISTEN]
  --boot-exit WHAT    when boot ends: end (if it failed at once, else with the
                      last job), stay, respawn, shutdown
                      [default: end; in a VM: respawn]
  --grace SECONDS     how long ending may take before all is killed [default: 30]
  --grant USER:RIGHT  let another user `read` or `control`; may be repeated
  --token-file FILE   let whoever shows one of its tokens do what is behind it:
                      lines of `TOKEN read` or `TOKEN control`
  --auth WHO          peer: root, init's own user, grants and tokens; token: who
                      shows a token, and nobody else [default: peer]
  --signal-group      tell signals to boot's whole process group
  --rewrite FROM:TO   tell boot the signal TO instead of FROM; TO none drops it;
                      may be repeated
  -h, --help          this text
  -V, --version       the version

Try:
  init -- sh -c 'curl -s $INIT_API/jobs'
  curl -s 127.0.0.1:1/jobs
  curl -s -H 'Content-Type: application/json' \\
       -d '{\"exec\": \"/bin/sleep\", \"args\": [\"60\"]}' 127.0.0.1:1/job

SIGTERM tells boot, stops the other jobs, and ends init; a second one kills.
All other signals are passed on to boot.
The exit code is boot's: 128+n for a signal, 127 not found, 126 not executable.
";

/// Reads the words after the program's name. `env_listen` is `INIT_LISTEN`; `runs` tells whether
/// a word names a program, and is only asked in a VM.
pub fn parse(
    words: impl IntoIterator<Item = OsString>,
    env_listen: Option<String>,
    in_vm: bool,
    runs: impl Fn(&str) -> bool,
) -> Result<Options, Instead> {
    let mut options = Options {
        listen: SocketAddr::from(([127, 0, 0, 1], 1)),
        boot_exit: None,
        grace: Duration::from_secs(30),
        grants: Vec::new(),
        token_file: None,
        insists: false,
        signal_group: false,
        rewrites: Rewrites::default(),
        command: Vec::new(),
        skipped: Vec::new(),
    };
    if let Some(text) = env_listen {
        options.listen = loopback(text)?;
    }
    let mut words = words.into_iter();
    while let Some(raw) = words.next() {
        let word = raw.to_string_lossy().into_owned();
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
            _ => (word.as_str(), None),
        };
        let mut value = |option| {
            let next = || words.next().map(|word| word.to_string_lossy().into_owned());
            inline.clone().or_else(next).ok_or(Instead::Missing(option))
        };
        match name {
            "--" => {
                options.command.extend(words);
                break;
            }
            "--listen" => options.listen = loopback(value("--listen")?)?,
            "--boot-exit" => options.boot_exit = Some(boot_exit(value("--boot-exit")?)?),
            "--grace" => options.grace = grace(value("--grace")?)?,
            "--grant" => options.grants.push(grant(value("--grant")?)?),
            "--token-file" => options.token_file = Some(value("--token-file")?.into()),
            "--auth" => options.insists = insists(value("--auth")?)?,
            "--signal-group" => options.signal_group = true,
            "--rewrite" => rewrite(&mut options.rewrites, value("--rewrite")?)?,
            "-h" | "--help" if !in_vm => return Err(Instead::Help),
            "-V" | "--version" if !in_vm => return Err(Instead::Version),
            _ if in_vm && (name.starts_with('-') || !runs(name)) => options.skipped.push(word),
            _ if name.starts_with('-') => return Err(Instead::Unknown(word)),
            _ => {
                options.command.push(raw);
                options.command.extend(words);
                break;
            }
        }
    }
    if options.insists && options.token_file.is_none() {
        return Err(Instead::NoTokens);
    }
    Ok(options)
}

fn grant(value: String) -> Result<(String, Right), Instead> {
    let parsed = value.rsplit_once(':').and_then(|(user, right)| {
        Some((user.to_owned(), Right::parse(right)?)).filter(|_| !user.is_empty())
    });
    let expected = "USER:read or USER:control, with a user's name or id";
    parsed.ok_or(Instead::Value { option: "--grant", value, expected })
}

fn insists(value: String) -> Result<bool, Instead> {
    match value.as_str() {
        "peer" => Ok(false),
        "token" => Ok(true),
        _ => Err(Instead::Value { option: "--auth", value, expected: "peer or token" }),
    }
}

fn loopback(text: String) -> Result<SocketAddr, Instead> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(address),
        Ok(_) | Err(_) => Err(Instead::Listen(text)),
    }
}

fn boot_exit(value: String) -> Result<BootExit, Instead> {
    match value.as_str() {
        "end" => Ok(BootExit::End),
        "stay" => Ok(BootExit::Stay),
        "respawn" => Ok(BootExit::Respawn),
        "shutdown" => Ok(BootExit::Shutdown),
        _ => Err(Instead::Value {
            option: "--boot-exit",
            value,
            expected: "end, stay, respawn or shutdown",
        }),
    }
}

fn rewrite(rewrites: &mut Rewrites, value: String) -> Result<(), Instead> {
    rewrites.add(&value).ok_or(Instead::Value {
        option: "--rewrite",
        value,
        expected: "FROM:TO, two signals such as TERM:QUIT, or HUP:none to drop one; KILL, STOP and \
                   CHLD cannot be rewritten",
    })
}

fn grace(value: String) -> Result<Duration, Instead> {
    match value.parse::<u32>() {
        Ok(seconds) if seconds <= 86_400 => Ok(Duration::from_secs(u64::from(seconds))),
        Ok(_) | Err(_) => {
            Err(Instead::Value { option: "--grace", value, expected: "seconds from 0 to 86400" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::Signal;

    fn read(line: &str, in_vm: bool) -> Result<Options, Instead> {
        parse(line.split_whitespace().map(OsString::from), None, in_vm, |word| word == "bootctl")
    }

    #[test]
    fn b01_only_loopback_is_accepted() {
        for address in ["0.0.0.0:1", "10.0.0.1:1", "[::]:1", "localhost:1", "127.0.0.1"] {
            assert!(
                matches!(read(&format!("--listen {address} true"), false), Err(Instead::Listen(_))),
                "{address}"
            );
        }
        let options = read("--listen=[::1]:7 true", false).unwrap();
        assert_eq!(options.listen, "[::1]:7".parse().unwrap());
        let env = parse(["true".into()], Some("0.0.0.0:1".into()), false, |_| true);
        assert!(matches!(env, Err(Instead::Listen(_))));
    }

    #[test]
    fn b02_the_flag_wins_over_the_environment() {
        let words = ["--listen", "127.0.0.1:3", "true"].map(OsString::from);
        let options = parse(words, Some("127.0.0.1:2".into()), false, |_| true).unwrap();
        assert_eq!(options.listen.port(), 3);
        let options = parse(["true".into()], Some("127.0.0.1:2".into()), false, |_| true).unwrap();
        assert_eq!(options.listen.port(), 2);
    }

    #[test]
    fn i02_rewrites_are_read_or_refused() {
        let options = read("--rewrite TERM:QUIT --signal-group --rewrite=1:0 sh", false).unwrap();
        assert!(options.signal_group);
        assert_eq!(options.rewrites.told(Signal::TERM), Signal::parse("QUIT"));
        assert_eq!(Signal::parse("HUP").and_then(|hup| options.rewrites.told(hup)), None);
        assert!(matches!(
            read("--rewrite TERM sh", false),
            Err(Instead::Value { option: "--rewrite", .. })
        ));
        assert_eq!(read("--rewrite", false), Err(Instead::Missing("--rewrite")));
    }

    #[test]
    fn b03_the_command_keeps_its_own_options() {
        for line in ["-- sh -c --listen", "sh -c --listen"] {
            assert_eq!(read(line, false).unwrap().command, ["sh", "-c", "--listen"], "{line}");
        }
        assert_eq!(read("--nope sh", false), Err(Instead::Unknown("--nope".into())));
    }

    #[test]
    fn b03_a_kernels_words_are_skipped_in_a_vm() {
        let options = read("splash -b --odd=1 bootctl boot x=y -- z", true).unwrap();
        assert_eq!(options.command, ["bootctl", "boot", "x=y", "--", "z"]);
        assert_eq!(options.skipped, ["splash", "-b", "--odd=1"]);
    }
}
