//! Supervisors of services, measured side by side: each has a folder with a folder a service.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::client::{Client, request};
use crate::inits::{self, Running};
use crate::{cpu, service};

/// Clients that start init's jobs, each on a connection of its own.
const CLIENTS: usize = 4;

pub const NAMES: [&str; 3] = ["init", "runit", "s6"];

/// One supervisor, with the services that it keeps running.
pub struct Supervisor {
    /// Where the stamps are.
    pub folder: PathBuf,
    pub process: Process,
    /// When there was nothing left to do but to start it, on the clock of the stamps.
    pub begun: u64,
    _kept: TempDir,
}

pub enum Process {
    Init(Running),
    Scanner(Scanner),
}

/// `runsvdir` or `s6-svscan`; dropping it ends it and all below it.
pub struct Scanner(Child);

impl Drop for Scanner {
    fn drop(&mut self) {
        let below = below(self.0.id());
        let _ = self.0.kill();
        let _ = self.0.wait();
        // The supervisors first: they would start their services again.
        for pid in below {
            let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
        }
    }
}

impl Supervisor {
    /// Starts so many services; says why not if it is not installed.
    pub fn start(name: &str, services: usize) -> Result<Supervisor, String> {
        let kept = tempfile::tempdir().map_err(|error| error.to_string())?;
        let folder = kept.path().to_owned();
        let program = service::program();
        for number in 0..services {
            let path = folder.join(number.to_string());
            fs::create_dir(&path).map_err(|error| error.to_string())?;
            symlink(&program, path.join("run")).map_err(|error| error.to_string())?;
        }
        let begun = service::now();
        let process = match name {
            "init" => Process::Init(inits::init()),
            "runit" => scanner("/usr/bin/runsvdir", &folder, &[])?,
            // Without it, s6 takes no more than 500 services.
            _ => scanner("/usr/bin/s6-svscan", &folder, &["-c", "2000"])?,
        };
        if let Process::Init(init) = &process {
            put(init, &folder, services);
        }
        Ok(Supervisor { folder, process, begun, _kept: kept })
    }

    /// All supervising processes: the services themselves are not among them.
    pub fn pids(&self) -> Vec<u32> {
        match &self.process {
            Process::Init(init) => vec![init.pid()],
            Process::Scanner(scanner) => {
                let mut pids = vec![scanner.0.id()];
                pids.extend(below(scanner.0.id()).into_iter().filter(|pid| !is_service(*pid)));
                pids
            }
        }
    }

    /// The first service that runs.
    pub fn service(&self) -> Option<u32> {
        let top = match &self.process {
            Process::Init(init) => init.pid(),
            Process::Scanner(scanner) => scanner.0.id(),
        };
        below(top).into_iter().find(|pid| is_service(*pid))
    }
}

fn scanner(program: &str, folder: &Path, options: &[&str]) -> Result<Process, String> {
    if !Path::new(program).exists() {
        return Err(format!("{program} is not installed"));
    }
    let mut command = Command::new(program);
    command.args(options).arg(folder).stdin(Stdio::null()).stdout(Stdio::null());
    let child = command.stderr(Stdio::null()).spawn().map_err(|error| error.to_string())?;
    Ok(Process::Scanner(Scanner(child)))
}

/// A PUT a job, over a few connections at once.
fn put(init: &Running, folder: &Path, services: usize) {
    let program = service::program();
    std::thread::scope(|scope| {
        for first in 0..CLIENTS.min(services) {
            let program = &program;
            scope.spawn(move || {
                let mut client = Client::connect(init.address);
                for number in (first..services).step_by(CLIENTS) {
                    let spec = format!(
                        r#"{{"exec":"{}","cwd":"{}/{number}","restart":{{"policy":"always","delay_ms":0}}}}"#,
                        program.display(),
                        folder.display()
                    );
                    client.ask(&request("PUT", &format!("/job/{number}"), &spec));
                }
            });
        }
    });
}

/// All processes below one, those that start others before what they started.
fn below(pid: u32) -> Vec<u32> {
    let mut pids = cpu::children(pid);
    let mut next = 0;
    while next < pids.len() {
        pids.extend(cpu::children(pids[next]));
        next += 1;
    }
    pids
}

fn is_service(pid: u32) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    // A program that is started by a link has the link's name.
    matches!(name.trim(), "service" | "run")
}
