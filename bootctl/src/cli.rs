//! The command line: what verbs share. What each takes beside that stands with the verb, in `command/`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::Resettable;
use clap::{Args, CommandFactory, FromArgMatches, Parser};

use crate::admin::socket::NAME as SOCKET;
use crate::command::Command;
use crate::remote::host::{Host, LOCAL, Way};

/// Where the runtime files are unless told otherwise.
pub(crate) const RUN_DIR: &str = "/run/bootctl";

/// Supervises apps as jobs of init, and tells how they are.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = AFTER, subcommand_required = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Reads the command line; a wrong one ends the program.
    pub(crate) fn read(words: Vec<OsString>) -> Self {
        let matches = without_empty(Self::command()).get_matches_from(words);
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// A variable that is empty says nothing: who starts containers passes on what there is not, too, and the kernel
/// what somebody has left unfinished.
fn without_empty(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| {
        let text = arg.get_env().and_then(std::env::var_os);
        if text.is_some_and(|text| text.is_empty()) { arg.env(Resettable::Reset) } else { arg }
    });
    command.mut_subcommands(without_empty)
}

const AFTER: &str = "\
Examples:
  bootctl status                   all apps and their instances
  bootctl stop shop.example        stop an app, also across reboots
  bootctl start shop.example       start it again; done when it answers
  bootctl restart shop.example     replace its processes; no request is lost
  bootctl scale shop.example 4     have four of them
  bootctl deploy shop.example --from ./build
                                   switch to a new release
  bootctl attach shop.example.1    see what an instance writes, and type to it
  bootctl log shop.example -f      see what it writes
  bootctl reload                   take over the config as it is now
  init -- bootctl boot             what a machine or a container starts

Exit codes:
  0  done
  1  refused or failed; the message says why
  2  the command line is wrong
  3  no supervisor answers";

// What is done to one app.
#[derive(Debug, Args)]
pub(crate) struct Change {
    /// The app's name
    pub(crate) app: String,

    #[command(flatten)]
    pub(crate) wait: Wait,

    #[command(flatten)]
    pub(crate) at: At,
}

/// What is done by commands of an app's file.
#[derive(Debug, Args)]
pub(crate) struct Work {
    /// Stop the command that runs instead
    #[arg(long)]
    pub(crate) cancel: bool,

    #[command(flatten)]
    pub(crate) change: Change,
}

/// Which config folder.
#[derive(Debug, Args)]
pub(crate) struct ConfigDir {
    /// The config folder: bootctl.toml, apps/NAME.toml
    #[arg(long = "config", value_name = "DIR", env = CONFIG_DIR, default_value = USUAL_CONFIG)]
    pub(crate) path: PathBuf,
}

const CONFIG_DIR: &str = "BOOTCTL_CONFIG";
const USUAL_CONFIG: &str = "/etc/bootctl";

impl ConfigDir {
    /// Whether the command line names another one than is meant without a word.
    pub(crate) fn is_told(&self) -> bool {
        let usual = std::env::var_os(CONFIG_DIR).filter(|text| !text.is_empty());
        let usual = usual.unwrap_or_else(|| USUAL_CONFIG.into());
        self.path.as_os_str() != usual
    }
}

/// Which init.
#[derive(Debug, Args)]
pub(crate) struct InitAt {
    /// Where init's job API is [default: `INIT_API`, else 127.0.0.1:1]
    #[arg(long = "init", value_name = "ADDR", env = "BOOTCTL_INIT")]
    pub(crate) address: Option<SocketAddr>,
}

/// Which init, of which machine.
#[derive(Debug, Args)]
pub(crate) struct InitOf {
    #[command(flatten)]
    pub(crate) init: InitAt,

    #[command(flatten)]
    pub(crate) host: Host,
}

/// Which supervisor of this machine.
#[derive(Debug, Args)]
pub(crate) struct Here {
    /// The supervisor's control socket [default: bootctl.sock in the runtime folder]
    #[arg(long, value_name = "PATH", env = "BOOTCTL_SOCKET")]
    socket: Option<PathBuf>,

    /// The supervisor's runtime folder
    #[arg(long, value_name = "DIR", env = "BOOTCTL_RUN_DIR", default_value = RUN_DIR)]
    run_dir: PathBuf,
}

/// Which supervisor, of which machine.
#[derive(Debug, Args)]
pub(crate) struct At {
    #[command(flatten)]
    here: Here,

    #[command(flatten)]
    host: Host,
}

impl Here {
    /// Its control socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| self.run_dir.join(SOCKET))
    }
}

impl At {
    /// Which machine it is on, for whoever asks init instead.
    pub(crate) fn host_of(&self) -> Host {
        let mut host = self.host.clone();
        if self.here.socket.is_some() && host.machine.is_none() {
            host.machine = Some(LOCAL.to_owned());
        }
        host
    }

    /// The way to the supervisor: the one of this machine, or another one's.
    pub(crate) fn socket(&self) -> Way {
        self.host.way(self.here.socket.clone(), self.here.run_dir.join(SOCKET))
    }

    /// The same for whoever has told which init of this machine he means, if he has.
    pub(crate) fn socket_beside(&self, init: &InitAt) -> Way {
        let told = init.address.map(|_| self.here.socket());
        self.host.way(self.here.socket.clone().or(told), self.here.socket())
    }
}

/// How long, and how it is told.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// How long to wait; what was asked for goes on all the same when that is over
    #[arg(long, value_name = "SECONDS", default_value_t = 300,
          value_parser = clap::value_parser!(u64).range(0..=3600))]
    timeout: u64,

    /// Tell the progress and the end for programs, a JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

impl Wait {
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// What hosts may pass, and where it says what that does.
    #[test]
    fn every_variable_is_documented() {
        fn variables(command: &clap::Command) -> Vec<String> {
            let own = command.get_arguments().filter_map(|arg| arg.get_env()?.to_str());
            let own = own.map(str::to_owned).collect::<Vec<_>>().into_iter();
            own.chain(command.get_subcommands().flat_map(variables)).collect()
        }
        let all = variables(&Cli::command());
        assert!(all.len() > 10, "{all:?}");
        let text = include_str!("../BOOT.md");
        for name in all {
            assert!(text.contains(&format!("`{name}`")), "{name} is not in BOOT.md");
        }
    }

    #[test]
    fn words_of_a_kernel_command_line_do_no_harm() {
        let words =
            ["bootctl", "boot", "quiet", "BOOT_IMAGE=/x", "--run-dir", "/r", "root=/dev/vda"];
        let Command::Boot(boot) = Cli::try_parse_from(words).expect("parsed").command else {
            panic!("it is a boot")
        };
        assert_eq!(boot.words, ["quiet", "BOOT_IMAGE=/x", "root=/dev/vda"]);
        assert_eq!(boot.run_dir, PathBuf::from("/r"));
    }
}
