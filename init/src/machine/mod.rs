//! What init owes the kernel when it is the first process of a machine.

mod unmount;
mod watchdog;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::reboot::{RebootMode, reboot, set_cad_enabled};
use nix::unistd::getpid;
use tracing::{error, warn};
pub use watchdog::{LastWord, Watchdog};

use crate::event::Ending;
use crate::sys;

/// How long unmounting may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether init is PID 1 of the machine, not of a container. Only there may Ctrl-Alt-Del be
/// changed, and changing it is what a machine's init has to do anyway: with it disabled, the
/// keys send SIGINT instead of cutting the power.
#[must_use]
pub fn is_ours() -> bool {
    getpid().as_raw() == 1 && set_cad_enabled(false).is_ok()
}

/// Brings up `lo`: the API lives there.
pub fn bring_up_loopback() {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let up = UdpSocket::bind(any).and_then(|socket| sys::interface_up(&socket, "lo"));
    if let Err(error) = up {
        warn!("cannot bring up the interface lo: {error}");
    }
}

/// How the kernel is told of an ending.
#[must_use]
pub fn command(ending: Ending) -> RebootMode {
    match ending {
        Ending::Exit | Ending::Poweroff => RebootMode::RB_POWER_OFF,
        Ending::Reboot => RebootMode::RB_AUTOBOOT,
        Ending::Halt => RebootMode::RB_HALT_SYSTEM,
    }
}

/// Ends the machine. Does not return: PID 1 must not.
pub fn end(ending: Ending, watchdog: Option<LastWord>) -> ! {
    leave_clean();
    // Else it stays open, and on: closed, some of them take it for an order to be off.
    let armed = match (ending, watchdog) {
        (Ending::Halt, Some(watchdog)) => {
            watchdog.disarm();
            None
        }
        (_, watchdog) => watchdog,
    };
    let Err(errno) = reboot(command(ending));
    std::mem::forget(armed);
    error!("the kernel refused to end the machine: {}", io::Error::from(errno));
    loop {
        thread::sleep(Duration::from_hours(1));
    }
}

/// Unmounts, within bounds: a disk or a server that does not answer must not keep the machine.
fn leave_clean() {
    let (done, wait) = mpsc::channel();
    // Two, because each can hang for ever: what is written goes to all disks there are, and one of
    // them may be dead.
    for work in [nix::unistd::sync as fn(), unmount::all] {
        let done = done.clone();
        let aside = thread::Builder::new().spawn(move || {
            work();
            // Nobody may be left to hear it.
            let _ = done.send(());
        });
        if let Err(error) = aside {
            error!("cannot leave the disks clean: {error}");
        }
    }
    drop(done);
    let by = Instant::now() + PATIENCE;
    loop {
        match wait.recv_timeout(by.saturating_duration_since(Instant::now())) {
            Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                return error!("unmounting takes longer than {} s; leaving it", PATIENCE.as_secs());
            }
        }
    }
}
