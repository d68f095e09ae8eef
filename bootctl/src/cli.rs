//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use init_wire::Channel;
use regex_lite::Regex;

use crate::admin::socket::NAME as SOCKET;
use crate::command::DetachKey;
use crate::config::parse_listen;
use crate::logs::since::Since;

/// Where the runtime files are unless told otherwise.
const RUN_DIR: &str = "/run/bootctl";

/// Supervises apps as jobs of init, and tells how they are.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = AFTER, subcommand_required = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER: &str = "\
Examples:
  bootctl status                   all apps and their instances
  bootctl stop shop.example        stop an app, also across reboots
  bootctl start shop.example       start it again; done when it answers
  bootctl restart shop.example     replace its processes; no request is lost
  bootctl scale shop.example 4     have four of them
  bootctl deploy shop.example --from ./build   switch to a new release
  bootctl attach shop.example.1    see what an instance writes, and type to it
  bootctl log shop.example -f      see what it writes
  bootctl reload                   take over the config as it is now
  init -- bootctl boot             what a machine or a container starts

Exit codes:
  0  done
  1  refused or failed; the message says why
  2  the command line is wrong
  3  no supervisor answers";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Boot(Boot),
    /// Start a stopped app; done when all its instances answer
    Start(Change),
    /// Stop an app, also across reboots; done when all its instances are gone
    Stop(Change),
    Restart(Restart),
    Scale(Scale),
    Deploy(Deploy),
    Rollback(Rollback),
    Releases(Releases),
    /// Run the `update` of an app's [deploy], such as git pull; nothing is restarted
    Update(Work),
    /// Run the `rebuild` of an app's [deploy]; nothing is restarted
    Rebuild(Work),
    /// Run `update` and then `rebuild`, if the first has gone well; nothing is restarted
    Upgrade(Work),
    /// Switch to what was built last; without releases, restart what is there
    Redeploy(Change),
    Status(Status),
    Reload(Reload),
    Check(Check),
    Config(Config),
    Attach(Attach),
    Log(Log),
    #[command(hide = true)]
    Collect(Collect),
}

/// Be the supervisor: read the config, start what it declares, and keep it so
///
/// Started by init. May be killed and started again at any time: it adopts what runs. SIGTERM
/// winds down: requests finish, then the apps are stopped, then the proxy.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  init -- bootctl boot
  init --listen 127.0.0.1:7001 -- bootctl boot --config ./conf --proxy-listen 127.0.0.1:8080 \\
       --run-dir /tmp/run --state-dir /tmp/state --log-dir /tmp/log")]
pub(crate) struct Boot {
    /// The config folder: bootctl.toml, apps/NAME.toml
    #[arg(long, value_name = "DIR", env = "BOOTCTL_CONFIG", default_value = "/etc/bootctl")]
    pub(crate) config: PathBuf,

    /// Where init's job API is [env: `INIT_API`, set by init]
    #[arg(long, value_name = "ADDR", env = "BOOTCTL_INIT")]
    pub(crate) init: Option<SocketAddr>,

    /// Where the proxy listens, instead of what bootctl.toml says
    #[arg(long, value_name = "ADDR:PORT", env = "BOOTCTL_PROXY_LISTEN", value_parser = listen)]
    pub(crate) proxy_listen: Option<SocketAddr>,

    /// Where the control sockets are
    #[arg(long, value_name = "DIR", env = "BOOTCTL_RUN_DIR", default_value = RUN_DIR)]
    pub(crate) run_dir: PathBuf,

    /// Where it is kept which apps are stopped
    #[arg(long, value_name = "DIR", env = "BOOTCTL_STATE_DIR", default_value = "/var/lib/bootctl")]
    pub(crate) state_dir: PathBuf,

    /// Where logs are, instead of what bootctl.toml says
    #[arg(long, value_name = "DIR", env = "BOOTCTL_LOG_DIR")]
    pub(crate) log_dir: Option<PathBuf>,

    /// The proxy's program [default: the one next to bootctl]
    #[arg(long, value_name = "PATH", env = "BOOTCTL_PROXYD")]
    pub(crate) proxyd: Option<PathBuf>,

    /// Words that a kernel command line adds; they are ignored
    #[arg(hide = true)]
    pub(crate) words: Vec<String>,
}

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

/// Have new processes of an app take over from the old ones; done when all of them serve
///
/// One by one: a new instance is started beside the old ones, and when it serves, an old one finishes what
/// it has begun and ends. If the new one never gets ready, the old ones stay. The same with the proxy.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bootctl restart shop.example
  bootctl restart proxyd")]
pub(crate) struct Restart {
    /// The app's name, or proxyd
    #[arg(value_name = "APP")]
    pub(crate) what: String,

    #[command(flatten)]
    pub(crate) wait: Wait,

    #[command(flatten)]
    pub(crate) at: At,
}

/// Change how many instances an app has; done when there are so many
///
/// The number is written into the app's file, in which nothing else changes. 0 parks the app: it keeps
/// its hosts and runs nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bootctl scale shop.example 4
  bootctl scale shop.example 0")]
pub(crate) struct Scale {
    /// The app's name
    pub(crate) app: String,

    /// How many: 0 to 1000
    #[arg(allow_hyphen_values = true)]
    pub(crate) instances: String,

    #[command(flatten)]
    pub(crate) wait: Wait,

    #[command(flatten)]
    pub(crate) at: At,
}

/// Switch an app to a new release; done when all of it serves
///
/// What is named by --from becomes a release of its own, which the app then runs from: relative `cwd` and `exec` of its
/// file start there. Instances are replaced one by one. If the new ones do not get ready, or fail soon after, the app
/// goes back to what it ran from before. Without --from the commands of its [deploy] make the new release
/// (see upgrade).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bootctl deploy shop.example --from ./build
  bootctl deploy shop.example --from shop-1.2.tar.gz
  bootctl deploy shop.example

Exit codes: that of a command of [deploy] that has failed, else as always.")]
pub(crate) struct Deploy {
    /// A folder, or an archive: tar, tar.gz or tar.zst
    #[arg(long, value_name = "DIR|ARCHIVE")]
    pub(crate) from: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) work: Work,
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

/// Go back to the release that an app ran from before; done when all of it serves
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bootctl rollback shop.example
  bootctl rollback shop.example --to 7")]
pub(crate) struct Rollback {
    /// The release to go to, whichever it is
    #[arg(long, value_name = "N")]
    pub(crate) to: Option<String>,

    #[command(flatten)]
    pub(crate) change: Change,
}

/// Show the releases of an app
#[derive(Debug, Args)]
pub(crate) struct Releases {
    /// The app's name
    pub(crate) app: String,

    /// For programs
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) at: At,
}

/// Show all apps, or one
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The app's name
    pub(crate) app: Option<String>,

    /// For programs
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) at: At,
}

/// Take over the config as it is now; done when all is as it says
///
/// What has not changed is not touched; what has is replaced instance by instance. With a problem
/// anywhere, nothing is changed.
#[derive(Debug, Args)]
pub(crate) struct Reload {
    #[command(flatten)]
    pub(crate) wait: Wait,

    #[command(flatten)]
    pub(crate) at: At,
}

/// Read a config folder and tell what is wrong with it; needs no supervisor
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The config folder
    #[arg(long, value_name = "DIR", env = "BOOTCTL_CONFIG", default_value = "/etc/bootctl")]
    pub(crate) config: PathBuf,
}

/// Show or change the config, key by key; needs no supervisor
///
/// A change that the config would not be good with is refused before anything is written. Comments,
/// order, mode and owner of the file stay.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bootctl config --keys --app shop.example     what an app's file may say
  bootctl config --get                         what bootctl.toml says
  bootctl config --get proxy.listen
  bootctl config --set ports.first 10000
  bootctl config -a shop.example -g instances
  bootctl config -a shop.example -s alias www.shop.example,shop.test
  bootctl config -a shop.example -s env.NODE_ENV production --apply
  bootctl config -a shop.example -d cwd")]
pub(crate) struct Config {
    /// Show a key, or all that are set
    #[arg(short, long, value_name = "KEY", num_args = 0..=1, default_missing_value = "",
          group = "what")]
    pub(crate) get: Option<String>,

    /// Set a key
    #[arg(short, long, value_names = ["KEY", "VALUE"], num_args = 2, group = "what",
          allow_hyphen_values = true)]
    pub(crate) set: Option<Vec<String>>,

    /// Remove a key: its default holds then
    #[arg(short, long, value_name = "KEY", group = "what")]
    pub(crate) delete: Option<String>,

    /// List all keys there are, with what they mean
    #[arg(short, long, group = "what")]
    pub(crate) keys: bool,

    /// As the page CONFIG.md
    #[arg(long, hide = true, requires = "keys")]
    pub(crate) markdown: bool,

    /// In the file of this app, instead of bootctl.toml
    #[arg(short, long, value_name = "APP", num_args = 0..=1, default_missing_value = "")]
    pub(crate) app: Option<String>,

    /// Have the supervisor take over the config afterwards, as `bootctl reload` does
    #[arg(long, visible_alias = "reload")]
    pub(crate) apply: bool,

    /// The config folder
    #[arg(
        long = "config",
        value_name = "DIR",
        env = "BOOTCTL_CONFIG",
        default_value = "/etc/bootctl"
    )]
    pub(crate) folder: PathBuf,

    #[command(flatten)]
    pub(crate) wait: Wait,

    #[command(flatten)]
    pub(crate) at: At,
}

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

    /// Where init's job API is [default: `INIT_API`, else 127.0.0.1:1]
    #[arg(long, value_name = "ADDR", env = "BOOTCTL_INIT")]
    pub(crate) init: Option<SocketAddr>,
}

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

    /// The config folder
    #[arg(long, value_name = "DIR", env = "BOOTCTL_CONFIG", default_value = "/etc/bootctl")]
    pub(crate) config: PathBuf,

    /// Where init's job API is [default: `INIT_API`, else 127.0.0.1:1]
    #[arg(long, value_name = "ADDR", env = "BOOTCTL_INIT")]
    pub(crate) init: Option<SocketAddr>,
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

/// Write what all jobs write to files
///
/// Started by the supervisor, as a job of init.
#[derive(Debug, Args)]
pub(crate) struct Collect {
    /// The folder of the logs
    #[arg(long, value_name = "DIR")]
    pub(crate) log_dir: PathBuf,

    /// Where init's job API is [default: `INIT_API`, else 127.0.0.1:1]
    #[arg(long, value_name = "ADDR")]
    pub(crate) init: Option<SocketAddr>,

    /// How logs are kept
    #[arg(long, value_name = "JSON")]
    pub(crate) all: String,

    /// How the log of an app is kept
    #[arg(long, value_name = "APP=JSON")]
    pub(crate) app: Vec<String>,

    /// Whether lines are repeated on standard output [default: in a container]
    #[arg(long, value_name = "BOOL")]
    pub(crate) console: Option<bool>,
}

/// Which supervisor.
#[derive(Debug, Args)]
pub(crate) struct At {
    /// The supervisor's control socket [default: bootctl.sock in the runtime folder]
    #[arg(long, value_name = "PATH", env = "BOOTCTL_SOCKET")]
    socket: Option<PathBuf>,

    /// The supervisor's runtime folder
    #[arg(long, value_name = "DIR", env = "BOOTCTL_RUN_DIR", default_value = RUN_DIR)]
    run_dir: PathBuf,
}

impl At {
    pub(crate) fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| self.run_dir.join(SOCKET))
    }
}

/// How long, and how it is told.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Wait so long; what was asked for goes on after it
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

fn listen(text: &str) -> Result<SocketAddr, &'static str> {
    parse_listen(text).ok_or("write a numeric address and a port, such as 0.0.0.0:80")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
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
