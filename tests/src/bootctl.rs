//! A whole site of this test's own: init, bootctl, the proxy, and the apps it declares.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::binaries::program;
use crate::http::{self, Answer};
use crate::init::Init;
use crate::wait;

/// The site; ended with the test.
pub struct Site {
    pub init: Init,
    pub proxy: SocketAddr,
    /// The job that bootctl is.
    supervisor: &'static str,
    /// When bootctl, or the init that starts it, was started.
    pub begun: Instant,
    folder: TempDir,
    /// What init was started with.
    words: Vec<String>,
}

/// The files of a site that does not run yet, and how it is started.
struct Plan {
    folder: TempDir,
    proxy: SocketAddr,
    /// bootctl's program and its words.
    words: Vec<String>,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Site {
    /// Boots with these files in `apps`, and waits until bootctl answers.
    #[track_caller]
    pub fn boot(apps: &[(&str, &str)]) -> Self {
        Self::boot_with(apps, "")
    }

    /// The same with a `[proxy]` table in bootctl.toml.
    #[track_caller]
    pub fn boot_with(apps: &[(&str, &str)], proxy_table: &str) -> Self {
        Self::boot_under(&[], apps, proxy_table)
    }

    /// The same under an init with options.
    #[track_caller]
    pub fn boot_under(options: &[&str], apps: &[(&str, &str)], proxy_table: &str) -> Self {
        Self::boot_plan(options, Plan::write(unused_address(), apps, proxy_table))
    }

    /// The same at an address.
    #[track_caller]
    pub fn boot_at(proxy: SocketAddr, apps: &[(&str, &str)], proxy_table: &str) -> Self {
        Self::boot_plan(&[], Plan::write(proxy, apps, proxy_table))
    }

    #[track_caller]
    fn boot_plan(options: &[&str], plan: Plan) -> Self {
        let Plan { folder, proxy, words } = plan;
        let before = options.iter().copied().chain(["--boot-exit", "respawn", "--"]);
        let words: Vec<&str> = before.chain(words.iter().map(String::as_str)).collect();
        let begun = Instant::now();
        let init = Init::start(&words);
        let words = words.into_iter().map(str::to_owned).collect();
        Self { init, proxy, supervisor: "boot", begun, folder, words }.answering()
    }

    /// The same with bootctl as a plain job of that name, which is started again at once when it ends.
    #[track_caller]
    pub fn boot_as_job(name: &'static str, apps: &[(&str, &str)], proxy_table: &str) -> Self {
        let Plan { folder, proxy, mut words } = Plan::write(unused_address(), apps, proxy_table);
        let init = Init::start(&[]);
        words.extend(["--init".to_owned(), init.api().to_string()]);
        let (exec, args) = words.split_first().expect("a program");
        let restart = json!({"policy": "always", "delay_ms": 1, "factor": 1.0});
        // Whoever stops the job wants to see what goes on without it.
        let stop = json!({"signal": "KILL"});
        let spec = json!({"exec": exec, "args": args, "restart": restart, "stop": stop});
        let begun = Instant::now();
        init.launch_job(name, &spec);
        let words = Vec::new();
        Self { init, proxy, supervisor: name, begun, folder, words }.answering()
    }

    #[track_caller]
    fn answering(self) -> Self {
        self.wait_for_bootctl();
        self
    }

    /// Ends everything and boots anew from what is on the disk, as a machine does.
    #[track_caller]
    pub fn reboot(&mut self) {
        self.init.signal(nix::sys::signal::Signal::SIGTERM);
        self.init.wait_end();
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        self.init = Init::start(&words);
        self.wait_for_bootctl();
    }

    /// Waits until a bootctl answers.
    #[track_caller]
    pub fn wait_for_bootctl(&self) {
        wait::until("bootctl to answer", || {
            (self.bootctl(&["status"]).code == Some(0)).then_some(())
        });
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.folder().join("run/bootctl.sock")
    }

    /// Writes an app's file.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.folder().join("conf/apps").join(name), text).expect("written");
    }

    /// Removes an app's file.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.folder().join("conf/apps").join(name)).expect("removed");
    }

    /// Runs a command.
    #[track_caller]
    pub fn bootctl(&self, words: &[&str]) -> Said {
        let mut command = Command::new(program("bootctl"));
        command.args(words).env("BOOTCTL_SOCKET", self.socket());
        command.env("BOOTCTL_LOG_DIR", self.folder().join("log"));
        said(command.output().expect("bootctl can be run"))
    }

    /// Runs a command that has to succeed.
    #[track_caller]
    pub fn done(&self, words: &[&str]) -> String {
        let said = self.bootctl(words);
        assert_eq!(said.code, Some(0), "{words:?}: {said:?}");
        said.out
    }

    /// The status for programs.
    #[track_caller]
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.done(&["status", "--json"])).expect("JSON")
    }

    /// Waits until an app is in a state, and answers its view.
    #[track_caller]
    pub fn wait_for(&self, app: &str, state: &str) -> Value {
        wait::until(&format!("{app} to be {state}"), || {
            let said = self.bootctl(&["status", app, "--json"]);
            let view: Value = serde_json::from_str(&said.out).ok()?;
            (view["state"] == state).then_some(view)
        })
    }

    /// The pids of an app's instances, in order.
    #[track_caller]
    pub fn pids(&self, app: &str) -> Vec<u64> {
        let said = self.done(&["status", app, "--json"]);
        let view: Value = serde_json::from_str(&said).expect("JSON");
        let instances = view["instances"].as_array().expect("an array").iter();
        instances.filter_map(|instance| instance["pid"].as_u64()).collect()
    }

    /// One request through the proxy.
    #[track_caller]
    pub fn get(&self, host: &str, path: &str) -> Answer {
        http::request(self.proxy, "GET", path, &format!("Host: {host}\r\n"), "")
    }

    /// The job of the proxy that was started last.
    #[track_caller]
    pub fn proxy_job(&self) -> String {
        self.proxy_jobs().pop().expect("there is a proxy")
    }

    /// The jobs of all generations of the proxy, the oldest first.
    #[track_caller]
    pub fn proxy_jobs(&self) -> Vec<String> {
        let status = self.status();
        let generations = status["proxy"]["generations"].as_array().expect("an array").iter();
        generations.filter_map(|view| view["job"].as_str().map(str::to_owned)).collect()
    }

    /// What the newest proxy has, from its control socket.
    #[track_caller]
    pub fn proxy_state(&self) -> proxyd_wire::State {
        self.proxy_state_of(&self.proxy_job()).expect("it answers")
    }

    /// The same of the generation that is this job, if it answers.
    pub fn proxy_state_of(&self, job: &str) -> Option<proxyd_wire::State> {
        let answer = ask(&self.folder().join(format!("run/{job}.sock")), "/state")?;
        Some(serde_json::from_str(&answer.body).expect("a state"))
    }

    /// What bootctl tells monitors.
    #[track_caller]
    pub fn metrics(&self) -> String {
        ask(&self.socket(), "/metrics").expect("it answers").body
    }

    /// bootctl's own pid.
    #[track_caller]
    pub fn supervisor(&self) -> u64 {
        self.init.job(self.supervisor)["pid"].as_u64().expect("it runs")
    }

    /// Kills bootctl, and waits until the next one answers.
    #[track_caller]
    pub fn kill_supervisor(&self) {
        let before = self.supervisor();
        let pid = Pid::from_raw(i32::try_from(before).expect("a pid"));
        kill(pid, Signal::SIGKILL).expect("it is there");
        wait::until("the next bootctl", || {
            let pid = self.init.job(self.supervisor)["pid"].as_u64()?;
            (pid != before).then_some(())
        });
        self.wait_for_bootctl();
    }
}

impl Plan {
    #[track_caller]
    fn write(proxy: SocketAddr, apps: &[(&str, &str)], proxy_table: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), open).expect("it is ours");
        let conf = folder.path().join("conf");
        fs::create_dir_all(conf.join("apps")).expect("a config folder");
        let first = first_port();
        let main = format!("[ports]\nfirst = {first}\n{proxy_table}");
        fs::write(conf.join("bootctl.toml"), main).expect("written");
        for (name, text) in apps {
            let path = conf.join("apps").join(name);
            fs::write(&path, text).expect("written");
            // What apps run may lie beside their files.
            let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
        }
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let words = vec![
            text(&program("bootctl")),
            "boot".into(),
            "--config".into(),
            text(&conf),
            "--proxy-listen".into(),
            proxy.to_string(),
            "--run-dir".into(),
            text(&folder.path().join("run")),
            "--state-dir".into(),
            text(&folder.path().join("state")),
            "--log-dir".into(),
            text(&folder.path().join("log")),
        ];
        Self { folder, proxy, words }
    }
}

/// A GET over a unix socket.
fn ask(socket: &Path, path: &str) -> Option<Answer> {
    let mut stream = UnixStream::connect(socket).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok()?;
    Answer::parse(&bytes)
}

/// A command's output as text.
pub fn said(output: Output) -> Said {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// Ports of this site's own: sites that run at the same time do not search in one place.
fn first_port() -> u32 {
    static SITES: AtomicU32 = AtomicU32::new(0);
    let site = std::process::id() * 31 + SITES.fetch_add(1, Ordering::Relaxed);
    10_000 + site % 1400 * 16
}

/// An address that nobody listens on.
pub fn unused_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there are free ports");
    listener.local_addr().expect("it is bound")
}
