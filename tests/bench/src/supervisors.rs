//! Supervisors of services, measured side by side: each has a folder with a folder a service.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::client::{Client, request};
use crate::inits::{self, Running};
use crate::report::target;
use crate::{cpu, service};

/// Clients that start init's jobs, each on a connection of its own.
const CLIENTS: usize = 4;

pub const NAMES: [&str; 5] = ["init", "runit", "s6", "supervisord", "pm2"];

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
    Peer(Peer),
}

/// Somebody else's supervisor; dropping it ends it and all below it.
pub struct Peer(Child);

impl Drop for Peer {
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
            "runit" => peer("/usr/bin/runsvdir", &[path(&folder)])?,
            // Without the number it takes no more than 500 services.
            "s6" => peer("/usr/bin/s6-svscan", &["-c", "2000", path(&folder)])?,
            "supervisord" => supervisord(&folder, services)?,
            _ => pm2(&folder, services)?,
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
            Process::Peer(peer) => {
                let mut pids = vec![peer.0.id()];
                pids.extend(below(peer.0.id()).into_iter().filter(|pid| !is_service(*pid)));
                pids
            }
        }
    }

    /// The first service that runs.
    pub fn service(&self) -> Option<u32> {
        let top = match &self.process {
            Process::Init(init) => init.pid(),
            Process::Peer(peer) => peer.0.id(),
        };
        below(top).into_iter().find(|pid| is_service(*pid))
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn peer(program: &str, words: &[&str]) -> Result<Process, String> {
    spawn(Command::new(program).args(words))
}

fn spawn(command: &mut Command) -> Result<Process, String> {
    let program = PathBuf::from(command.get_program());
    if !program.exists() {
        return Err(format!("{} is not installed", program.display()));
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(Process::Peer(Peer(command.spawn().map_err(|error| error.to_string())?)))
}

/// Python's supervisor: at once, without logs and without a wait before a program counts as up.
fn supervisord(folder: &Path, services: usize) -> Result<Process, String> {
    let mut conf = format!(
        "[supervisord]\nnodaemon=true\nminfds=8192\nlogfile=/dev/null\nlogfile_maxbytes=0\n\
         pidfile={0}/pid\ndirectory={0}\n",
        folder.display()
    );
    for number in 0..services {
        let place = folder.join(number.to_string());
        let _ = write!(
            conf,
            "[program:{number}]\ncommand={0}/run\ndirectory={0}\nautorestart=true\n\
             startsecs=0\nstdout_logfile=NONE\nstderr_logfile=NONE\n",
            place.display()
        );
    }
    let file = folder.join("supervisord.conf");
    fs::write(&file, conf).map_err(|error| error.to_string())?;
    let program = target().join("peers/supervisor/bin/supervisord");
    peer(path(&program), &["-c", path(&file)])
}

/// Node's supervisor in the foreground, with programs that are no scripts.
fn pm2(folder: &Path, services: usize) -> Result<Process, String> {
    let apps: Vec<_> = (0..services)
        .map(|number| {
            let place = folder.join(number.to_string());
            format!(
                r#"{{"name":"{number}","script":"{0}/run","cwd":"{0}","interpreter":"none","out_file":"/dev/null","error_file":"/dev/null"}}"#,
                place.display()
            )
        })
        .collect();
    let file = folder.join("ecosystem.json");
    fs::write(&file, format!(r#"{{"apps":[{}]}}"#, apps.join(",")))
        .map_err(|error| error.to_string())?;
    let program = target().join("peers/pm2/node_modules/.bin/pm2-runtime");
    spawn(Command::new(program).args(["start", path(&file)]).env("PM2_HOME", folder.join("pm2")))
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
