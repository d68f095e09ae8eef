//! One run of the demo, from the start of init to its end.

use std::net::SocketAddr;
use std::process::{Child, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::enclosure::Enclosure;
use crate::ports;
use crate::remains::{Family, listens, sockets};
use crate::scene::Scene;
use crate::tour::Tour;

/// How long the apps may take to be ready, and init to end.
const PATIENCE: Duration = Duration::from_secs(45);
/// Between two looks at something that tells nobody when it changes.
pub(crate) const BREATH: Duration = Duration::from_millis(20);

/// A running demo. Dropped, it takes init along.
pub(crate) struct Stage {
    init: Child,
    tour: Tour,
    signals: Signals,
    scene: Scene,
    listeners: [SocketAddr; 2],
}

impl Stage {
    /// Starts init, which starts all the rest, and shows what they write.
    pub(crate) fn start(enclosure: Enclosure) -> Result<Self, String> {
        Self::start_with(enclosure, Stdio::inherit())
    }

    /// The same, without a line for each request: these stay in the log.
    pub(crate) fn start_quietly(enclosure: Enclosure) -> Result<Self, String> {
        Self::start_with(enclosure, Stdio::null())
    }

    fn start_with(enclosure: Enclosure, stdout: Stdio) -> Result<Self, String> {
        let scene = Scene::set()?;
        let api = ports::choose("API_PORT", None)?;
        let proxy = ports::choose("PROXY_PORT", Some(api))?;
        let signals = Signals::new([SIGCHLD, SIGHUP, SIGINT, SIGTERM]);
        let signals = signals.map_err(|e| format!("cannot wait for signals: {e}"))?;
        println!("demo: init runs {}", enclosure.describe());
        let program = scene.runs_from.join("init").display().to_string();
        let mut command = enclosure.command(&program)?;
        // Out here a boot process that ends would end init; the demo kills it to see it come back.
        command.args(["--listen", &api.to_string(), "--boot-exit", "respawn", "--"]);
        command.arg(scene.runs_from.join("bootctl")).args(["boot", "--config"]).arg(&scene.config);
        command.args(["--proxy-listen", &proxy.to_string()]);
        command.arg("--run-dir").arg(scene.run_dir());
        command.arg("--state-dir").arg(scene.state_dir());
        command.arg("--log-dir").arg(scene.log_dir());
        command.env_remove("INIT_LISTEN");
        let init =
            command.stdout(stdout).spawn().map_err(|e| format!("cannot start {program}: {e}"))?;
        Enclosure::leave();
        let tour = Tour::new(api, proxy, &scene);
        Ok(Self { init, tour, signals, scene, listeners: [api, proxy] })
    }

    /// What can be asked of it.
    pub(crate) fn tour(&self) -> &Tour {
        &self.tour
    }

    /// Returns when every app answers through the proxy.
    pub(crate) fn wait_until_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        for page in self.tour.pages() {
            // The proxy is asked last, because it logs what it is asked too early.
            while !(self.tour.has_all_jobs() && page.ask().is_ok_and(|reply| reply.code == 200)) {
                if let Some(status) = self.init_ended()? {
                    return Err(format!("init has ended early ({status})"));
                }
                if self.signals.pending().any(|signal| signal != SIGCHLD) {
                    return Err("interrupted".into());
                }
                if Instant::now() > deadline {
                    return Err(format!("no 200 within {PATIENCE:?} from: {page}"));
                }
                sleep(BREATH * 3);
            }
        }
        Ok(())
    }

    /// Returns on Ctrl-C and the like, or when init has ended by itself.
    pub(crate) fn wait_for_the_end(&mut self) -> Result<(), String> {
        loop {
            let told = self.signals.wait().any(|signal| signal != SIGCHLD);
            if told || self.init_ended()?.is_some() {
                return Ok(());
            }
        }
    }

    /// Ends init and checks that nothing is left.
    pub(crate) fn end(mut self) -> Result<(), String> {
        let family = Family::of(self.init.id());
        println!("\ndemo: ending init and the {} processes below it", family.len() - 1);
        let status = self.end_init()?;
        if status.code() != Some(0) {
            return Err(format!("init did not end well: {status}"));
        }
        let alive = family.alive();
        if !alive.is_empty() {
            return Err(format!("these processes are left: {alive:?}"));
        }
        if let Some(address) = self.listeners.iter().find(|address| listens(**address)) {
            return Err(format!("{address} still listens"));
        }
        let sockets = sockets(self.scene.scratch.path());
        if !sockets.is_empty() {
            return Err(format!("these sockets are left: {sockets:?}"));
        }
        Ok(())
    }

    fn end_init(&mut self) -> Result<ExitStatus, String> {
        if let Some(status) = self.init_ended()? {
            return Ok(status);
        }
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.init_ended()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(format!("init did not end within {PATIENCE:?}"));
            }
            sleep(BREATH);
        }
    }

    fn init_ended(&mut self) -> Result<Option<ExitStatus>, String> {
        self.init.try_wait().map_err(|e| format!("cannot wait for init: {e}"))
    }

    fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.init.id()) {
            // It may have ended by itself in the meantime.
            let _gone = kill(Pid::from_raw(pid), signal);
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if matches!(self.init.try_wait(), Ok(None)) {
            let _reported_already = self.end_init();
            // Killing PID 1 takes its namespace along; a second TERM makes a subreaper kill.
            if matches!(self.init.try_wait(), Ok(None)) {
                self.signal(Signal::SIGTERM);
                sleep(Duration::from_secs(1));
                let _gone = self.init.kill();
                let _gone = self.init.wait();
            }
        }
    }
}
