//! A running init, and a server that does nothing beside it.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::report::target;

/// A process with an address; dropping it ends it.
pub struct Running {
    pub address: SocketAddr,
    child: Child,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// init without a boot process.
pub fn init() -> Running {
    let address = free();
    let mut command = Command::new(program());
    command.args(["--listen", &address.to_string()]);
    start(command, address)
}

/// Where init is.
pub fn program() -> PathBuf {
    std::env::var_os("JOBINIT_BIN").map_or_else(|| target().join("bin"), PathBuf::from).join("init")
}

/// The server that does nothing.
pub fn silent() -> Running {
    let address = free();
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["silent", &address.to_string()]);
    start(command, address)
}

fn start(mut command: Command, address: SocketAddr) -> Running {
    command.stdin(Stdio::null()).stderr(Stdio::null());
    Running { address, child: command.spawn().expect("it is built") }
}

fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound")
}
