//! Early boot: what a machine needs before anything can run, when bootctl is what its init starts
//! first. In a container, or where somebody else has done it, nothing is left to do.
//!
//! ```text
//! windows ▶ words ▶ clock, modules, name, sysctl, fixed addresses      at once
//!         ▶ shell ▶ root, disks ▶ machine id, seed, config ▶ leases    with init's help
//! ```
//!
//! Words come from `/etc/bootctl/machine` and from the kernel's command line (see `words`). Whatever fails is told
//! and left: a machine that comes up halfway can be looked at. A bootctl that is started again in the middle begins
//! anew, and one that is started later only goes on with what it has to keep.

pub(crate) mod button;
mod clock;
mod device;
mod disks;
mod modules;
mod mount_table;
mod names;
mod network;
mod seed;
mod shell;
mod sysctl;
mod windows;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{geteuid, getppid};
use tracing::{error, info};

pub(crate) use self::disks::{LostConfig, LostDisks};
use self::words::Words;
use crate::client::Init;

/// What the administrator has to say to every boot, in the words of the command line.
const MACHINE: &str = "/etc/bootctl/machine";
const COMMAND_LINE: &str = "/proc/cmdline";
/// How far a boot has come. Only a machine that was booted by bootctl has it.
const MARK: &str = "/run/bootctl/early";
const BEGUN: &str = "begun\n";
const DONE: &str = "done\n";

/// A machine that is bootctl's to boot.
pub(crate) struct Early {
    words: Words,
    /// Whether this is the boot, and not a bootctl that was started again.
    is_first: bool,
    has_name: bool,
}

/// Does what can be done at once, if it is not done yet. `None` where there is no machine to boot.
pub(crate) fn prepare() -> Option<Early> {
    let is_first = match stage()? {
        Stage::Needed => true,
        Stage::Done => false,
    };
    if is_first {
        windows::open();
        note(BEGUN);
    }
    let mut words = Words::default();
    for file in [MACHINE, COMMAND_LINE] {
        // In bytes: what somebody has typed at a boot prompt need not be text.
        words.read(&String::from_utf8_lossy(&fs::read(file).unwrap_or_default()));
    }
    let mut early = Early { words, is_first, has_name: true };
    if is_first {
        info!("early boot");
        early.begin();
    }
    Some(early)
}

/// How far it is.
enum Stage {
    Needed,
    Done,
}

/// Only for the child of PID 1, as root, and only where nobody has mounted /proc, which a container's manager
/// does before the first process runs; or where it was bootctl.
fn stage() -> Option<Stage> {
    if !geteuid().is_root() || getppid().as_raw() != 1 {
        return None;
    }
    match fs::read_to_string(MARK).as_deref() {
        Ok(DONE) => Some(Stage::Done),
        Ok(_) => Some(Stage::Needed),
        Err(_) => (!Path::new("/proc/self").exists()).then_some(Stage::Needed),
    }
}

fn note(how_far: &str) {
    let folder = Path::new(MARK).parent().unwrap_or(Path::new("/"));
    if let Err(error) = fs::create_dir_all(folder).and_then(|()| fs::write(MARK, how_far)) {
        error!("cannot write {MARK}: {error}; a bootctl that is started again boots again");
    }
}

impl Early {
    fn begin(&mut self) {
        let words = &self.words;
        for mistake in &words.mistakes {
            error!("{mistake}");
        }
        clock::mend();
        modules::load();
        let by_kernel = words.networks.iter().find_map(|network| network.host_name());
        self.has_name = names::set_host_name(words.hostname.as_deref().or(by_kernel));
        sysctl::apply(Path::new("/"), &words.sysctls);
        network::bring_up(&words.networks);
        if let Some(level) = &words.runlevel {
            info!("runlevel {level} is asked for");
        }
    }

    /// The runlevel that is asked for.
    pub(crate) fn runlevel(&self) -> Option<&str> {
        self.words.runlevel.as_deref()
    }

    /// Does the rest.
    pub(crate) async fn settle(&self, init: &Init) {
        let words = &self.words;
        shell::open(init, &words.shells).await;
        if self.is_first {
            disks::mount_all(init, words.root).await;
            names::see_to_machine_id();
            seed::pass_on();
            if let Some(source) = &words.config {
                disks::place_config(source).await;
            }
        }
        network::borrow(&words.networks, !self.has_name).await;
        if self.is_first {
            network::resolver::show();
            note(DONE);
        }
    }

    /// Why the config of this folder is not the one that the command line names.
    pub(crate) fn lost_config(&self, folder: &Path) -> Option<LostConfig> {
        let source = self.words.config.as_ref().filter(|_| folder == Path::new(disks::CONFIG))?;
        disks::find_config(source).err()
    }

    /// The file of init's tokens that the command line names.
    pub(crate) fn token_file(&self) -> Option<PathBuf> {
        self.words.token_file.clone()
    }
}

/// What apps may need and is not mounted.
pub(crate) fn lost_disks() -> Option<LostDisks> {
    disks::find_all().err()
}

/// Leaves behind what the next boot begins with.
pub(crate) fn rest() {
    seed::renew();
}

fn complain(what: &str, result: Result<(), Errno>) {
    if let Err(errno) = result {
        error!("cannot {what}: {}", errno.desc());
    }
}
