//! A running init.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::binaries::program;
use crate::http::{self, Answer};
use crate::wait;

/// How long an init may take that has been told twice.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// An init of this test's own, ended with it.
pub struct Init {
    child: Child,
    /// Whether that is init itself.
    direct: bool,
    api: SocketAddr,
    log: Mutex<mpsc::Receiver<String>>,
}

impl Init {
    /// `init --listen 127.0.0.1:0 WORDS…` as a subreaper.
    pub fn start(words: &[&str]) -> Self {
        let mut command = Command::new(program("init"));
        command.args(["--listen", "127.0.0.1:0"]).args(words);
        Self::launch(command)
    }

    /// The same where no control groups are to be seen.
    pub fn start_without_cgroups(words: &[&str]) -> Self {
        let mut command = Command::new("unshare");
        let script = "mount -t tmpfs none /sys/fs/cgroup && exec \"$@\"";
        command.args(["-m", "sh", "-c", script, "sh"]);
        command.arg(program("init")).args(["--listen", "127.0.0.1:0"]).args(words);
        Self::launch(command)
    }

    /// The same as PID 1 of a pid namespace of its own; killed as a whole with the test.
    pub fn start_as_pid_1(words: &[&str]) -> Self {
        let mut command = Command::new("unshare");
        command.args(["-pf", "--mount-proc", "--kill-child"]);
        command.arg(program("init")).args(["--listen", "127.0.0.1:0"]).args(words);
        Self::launch(command)
    }

    /// A command that becomes an init, with its stderr still free.
    #[track_caller]
    pub fn launch(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("init can be run");
        let stderr = child.stderr.take().expect("stderr is piped");
        let (sender, log) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                eprintln!("{line}");
                // The test may have ended.
                let _ = sender.send(line);
            }
        });
        let mut seen = Vec::new();
        let api = loop {
            let line = log
                .recv_timeout(wait::PATIENCE)
                .unwrap_or_else(|e| panic!("init did not listen ({e}); it said {seen:?}"));
            if let Some(address) = line.strip_prefix("init: listening on ") {
                break address.parse().expect("an address");
            }
            seen.push(line);
        };
        let direct = command.get_args().all(|word| word != "--kill-child");
        Self { child, direct, api, log: Mutex::new(log) }
    }

    /// Where the API is.
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// The process that was started: init, or the `unshare` in front of it.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// The lines of init's log that nobody has asked for yet.
    pub fn log_lines(&self) -> Vec<String> {
        self.log.lock().expect("no test shares a log").try_iter().collect()
    }

    /// The next line of init's log that holds `text`.
    #[track_caller]
    pub fn log_line(&self, text: &str) -> String {
        let log = self.log.lock().expect("no test shares a log");
        loop {
            match log.recv_timeout(wait::PATIENCE) {
                Ok(line) if line.contains(text) => return line,
                Ok(_) => {}
                Err(error) => panic!("init never said {text:?}: {error}"),
            }
        }
    }

    /// The answer to a GET, without the framing of its chunks.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        http::get(self.api, path)
    }

    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        http::request(self.api, "DELETE", path, "", "")
    }

    /// A PUT without a body.
    #[track_caller]
    pub fn put(&self, path: &str) -> Answer {
        http::request(self.api, "PUT", path, "", "")
    }

    #[track_caller]
    pub fn send(&self, method: &str, path: &str, spec: &Value) -> Answer {
        let headers = "Content-Type: application/json\r\n";
        http::request(self.api, method, path, headers, &spec.to_string())
    }

    /// Starts a job and answers its pid.
    #[track_caller]
    pub fn launch_job(&self, id: &str, spec: &Value) -> u64 {
        let answer = self.send("PUT", &format!("/job/{id}"), spec);
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["pid"].as_u64().expect("a pid")
    }

    /// What `/bin/sh -c` makes of `script`, run to its end.
    #[track_caller]
    pub fn run_script(&self, script: &str) -> Value {
        let spec =
            json!({"exec": "/bin/sh", "args": ["-c", script], "envs": {"PATH": "/usr/bin:/bin"}});
        let answer = self.send("POST", "/job?wait=exit", &spec);
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }

    #[track_caller]
    pub fn job(&self, id: &str) -> Value {
        self.get(&format!("/job/{id}")).json()
    }

    /// Waits until a job is in a status.
    #[track_caller]
    pub fn wait_for(&self, id: &str, status: &str) -> Value {
        wait::until(&format!("{id} to be {status}"), || {
            let job = self.job(id);
            (job["status"] == status).then_some(job)
        })
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("init is there to be signalled");
    }

    /// Waits for init's own end.
    #[track_caller]
    pub fn wait_end(&mut self) -> ExitStatus {
        wait::until("init to end", || self.child.try_wait().expect("init is our child"))
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Two requests: the second one kills whatever the test has left. An `unshare` in
            // front of init does not pass them on, but takes init with it when it is killed.
            let by = Instant::now() + if self.direct { LAST_WAIT } else { Duration::ZERO };
            let _ = kill(self.pid(), Signal::SIGTERM);
            let _ = kill(self.pid(), Signal::SIGTERM);
            while Instant::now() < by {
                if matches!(self.child.try_wait(), Ok(Some(_))) {
                    return;
                }
                thread::sleep(Duration::from_millis(2));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Whether a process is there and not a zombie.
pub fn is_alive(pid: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}
