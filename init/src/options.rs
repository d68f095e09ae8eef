//! init's command line, which may be a kernel's.
//!
//! The kernel hands PID 1 the words of its command line that nobody else knew, drops the `--`
//! between them and what follows, and puts unknown `k=v` pairs into the environment. So in a VM
//! words in front of the command that are not init's own are skipped; elsewhere they are errors.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::access::Right;
use crate::forward::Rewrites;
use crate::shutdown::BootExit;

/// Where the API listens if nobody says otherwise.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

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
    /// How long the machine's watchdog waits for a word of init, if it is used.
    pub watchdog: Option<Duration>,
    /// The command of the job `boot`; empty for none.
    pub command: Vec<OsString>,
    /// What was skipped, and why.
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
  --boot-exit WHAT    when boot ends: end (at once if it failed, else with the
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
  --watchdog SECONDS  in a VM: let /dev/watchdog reset the machine when init is
                      silent for so long; 0 is never, and less than 10 may be too
                      little for a slow disk [default: 0]
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
        listen: DEFAULT_LISTEN,
        boot_exit: None,
        grace: Duration::from_secs(30),
        grants: Vec::new(),
        token_file: None,
        insists: false,
        signal_group: false,
        rewrites: Rewrites::default(),
        watchdog: None,
        command: Vec::new(),
        skipped: Vec::new(),
    };
    if let Some(text) = env_listen {
        let listen = loopback(text).map(|address| options.listen = address);
        options.heed(listen, in_vm)?;
    }
    let mut words = words.into_iter();
    while let Some(raw) = words.next() {
        let word = raw.to_string_lossy().into_owned();
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
            _ => (word.as_str(), None),
        };
        let value = |option| {
            let next = || words.next().map(|word| word.to_string_lossy().into_owned());
            inline.or_else(next).ok_or(Instead::Missing(option))
        };
        match name {
            "--" => {
                options.command.extend(words);
                break;
            }
            "-h" | "--help" if !in_vm => return Err(Instead::Help),
            "-V" | "--version" if !in_vm => return Err(Instead::Version),
            _ => match options.take(name, value) {
                Some(taken) => options.heed(taken, in_vm)?,
                // A path is meant to be run, also when it is not there; that is told then.
                None if in_vm
                    && !name.starts_with('/')
                    && (name.starts_with('-') || !runs(name)) =>
                {
                    options.skipped.push(format!("`{word}` is no option, and no program"));
                }
                None if name.starts_with('-') => return Err(Instead::Unknown(word)),
                None => {
                    options.command.push(raw);
                    options.command.extend(words);
                    break;
                }
            },
        }
    }
    if options.insists && options.token_file.is_none() {
        options.heed(Err(Instead::NoTokens), in_vm)?;
    }
    if in_vm && options.command.is_empty() {
        options
            .skipped
            .push("it names no command to start; there is the API, and nothing else".into());
    }
    Ok(options)
}

impl Options {
    /// Takes on the option `name`; `None` if there is no such option.
    fn take(
        &mut self,
        name: &str,
        value: impl FnOnce(&'static str) -> Result<String, Instead>,
    ) -> Option<Result<(), Instead>> {
        Some(match name {
            "--listen" => value("--listen").and_then(loopback).map(|it| self.listen = it),
            "--boot-exit" => {
                value("--boot-exit").and_then(boot_exit).map(|it| self.boot_exit = Some(it))
            }
            "--grace" => value("--grace").and_then(grace).map(|it| self.grace = it),
            "--grant" => value("--grant").and_then(grant).map(|it| self.grants.push(it)),
            "--token-file" => value("--token-file").map(|it| self.token_file = Some(it.into())),
            "--auth" => value("--auth").and_then(insists).map(|it| self.insists = it),
            "--watchdog" => value("--watchdog").and_then(watchdog).map(|it| self.watchdog = it),
            "--signal-group" => {
                self.signal_group = true;
                Ok(())
            }
            "--rewrite" => value("--rewrite").and_then(|it| rewrite(&mut self.rewrites, it)),
            _ => return None,
        })
    }

    /// A machine must come up: there, a wrong option is told, and is as if it were not given.
    fn heed(&mut self, taken: Result<(), Instead>, in_vm: bool) -> Result<(), Instead> {
        match taken {
            Err(error) if in_vm => {
                self.skipped.push(error.to_string());
                Ok(())
            }
            taken => taken,
        }
    }
}

fn watchdog(value: String) -> Result<Option<Duration>, Instead> {
    match value.parse::<u32>() {
        Ok(0) => Ok(None),
        Ok(seconds) if seconds <= 3600 => Ok(Some(Duration::from_secs(u64::from(seconds)))),
        Ok(_) | Err(_) => {
            Err(Instead::Value { option: "--watchdog", value, expected: "seconds from 0 to 3600" })
        }
    }
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
        let words = ["", "splash", "-b", "--odd=1", "bootctl", "boot", "x=y", "--", "z"];
        let runs = |word: &str| word == "bootctl";
        let options = parse(words.map(OsString::from), None, true, runs).unwrap();
        assert_eq!(options.command, ["bootctl", "boot", "x=y", "--", "z"]);
        let skipped: Vec<_> =
            options.skipped.iter().map(|s| s.split('`').nth(1).unwrap()).collect();
        assert_eq!(skipped, ["", "splash", "-b", "--odd=1"]);
    }

    #[test]
    fn b03_no_wrong_option_ends_a_machine() {
        let line = "--listen 0.0.0.0:1 --grace never --boot-exit=x --auth token --watchdog -1 \
                    --grant root --rewrite 1 bootctl";
        let options = read(line, true).unwrap();
        assert_eq!(options.command, ["bootctl"]);
        assert_eq!((options.listen.port(), options.grace.as_secs()), (1, 30));
        assert_eq!(options.skipped.len(), 7, "{:?}", options.skipped);
        for word in line.split_whitespace().filter(|word| word.starts_with("--")) {
            assert!(read(&format!("{word} bad-value x"), false).is_err(), "{word}");
        }
        let skipped = read("--grace", true).unwrap().skipped;
        assert!(skipped[0].contains("needs a value") && skipped[1].contains("no command"));
    }
}
