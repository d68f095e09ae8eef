//! What there is to try, and how it is shown.

use std::net::SocketAddr;
use std::path::PathBuf;

use init_wire::{JobInfo, LastExit, Status};

use crate::ask::Ask;
use crate::http::Request;
use crate::scene::Scene;

/// The app that the tour plays with.
pub(crate) const APP: &str = "hello.localhost";

/// The lines to try in one running demo.
pub(crate) struct Tour {
    api: SocketAddr,
    proxy: SocketAddr,
    bootctl: PathBuf,
    demo: PathBuf,
    socket: PathBuf,
    apps: Vec<String>,
}

impl Tour {
    pub(crate) fn new(api: SocketAddr, proxy: SocketAddr, scene: &Scene) -> Self {
        let apps = scene.apps.iter().cloned().collect();
        Self {
            api,
            proxy,
            bootctl: scene.bin.join("bootctl"),
            demo: scene.bin.join("demo"),
            socket: scene.run_dir().join("bootctl.sock"),
            apps,
        }
    }

    /// The ports of init and of the proxy.
    pub(crate) fn ports(&self) -> [u16; 2] {
        [self.api, self.proxy].map(|address| address.port())
    }

    /// The hosts that answer.
    pub(crate) fn apps(&self) -> &[String] {
        &self.apps
    }

    /// All jobs.
    pub(crate) fn list(&self) -> Ask {
        self.api("GET", "/jobs", None)
    }

    /// An app's front page, through the proxy.
    pub(crate) fn page(&self, app: &str) -> Ask {
        let (address, host) = (self.proxy, app.to_owned());
        Ask::Http(Request { method: "GET", address, host, path: "/".into(), body: None })
    }

    /// Every app's front page.
    pub(crate) fn pages(&self) -> Vec<Ask> {
        self.apps.iter().map(|app| self.page(app)).collect()
    }

    /// A call of bootctl.
    pub(crate) fn bootctl(&self, words: &[&str]) -> Ask {
        let words = words.iter().map(|&word| word.to_owned()).collect();
        Ask::Bootctl { program: self.bootctl.clone(), socket: self.socket.clone(), words }
    }

    /// SIGKILL to a job.
    pub(crate) fn kill(&self, job: &str) -> Ask {
        self.api("PUT", &format!("/job/{job}/sig/KILL"), None)
    }

    /// A job of one's own, named `nap`.
    pub(crate) fn start_nap(&self) -> Ask {
        self.api("PUT", "/job/nap", Some(r#"{"exec": "/bin/sleep", "args": ["600"]}"#))
    }

    /// Its end.
    pub(crate) fn stop_nap(&self) -> Ask {
        self.api("PUT", "/job/nap/stop", None)
    }

    /// Its place in the table, freed.
    pub(crate) fn clear_nap(&self) -> Ask {
        self.api("DELETE", "/job/nap", None)
    }

    /// Deploys under load, told live.
    pub(crate) fn deploys(&self) -> Ask {
        let ports = self.ports().map(|port| port.to_string());
        let words = ["--deploy".to_owned()].into_iter().chain(ports).collect();
        Ask::Demo { program: self.demo.clone(), words }
    }

    /// What the API lists.
    pub(crate) fn jobs(&self) -> Result<Vec<JobInfo>, String> {
        let reply = self.list().ask()?;
        serde_json::from_str(&reply.text).map_err(|e| format!("{}: {e}", self.list()))
    }

    /// Whether all instances of all apps run.
    pub(crate) fn has_all_jobs(&self) -> bool {
        let jobs = self.jobs().unwrap_or_default();
        let runs = |id| jobs.iter().any(|job| job.id == id && job.status == Status::Running);
        self.apps.iter().all(|app| runs(format!("{app}.1")) && runs(format!("{app}.2")))
    }

    /// Every line, under what it shows.
    pub(crate) fn lines(&self) -> Vec<(&'static str, Vec<Ask>)> {
        vec![
            ("init knows jobs, and nothing else", vec![self.list()]),
            ("the proxy knows hosts", self.pages()),
            (
                "bootctl knows apps",
                vec![
                    self.bootctl(&["status"]),
                    self.bootctl(&["stop", APP]),
                    self.page(APP),
                    self.bootctl(&["start", APP]),
                    self.page(APP),
                ],
            ),
            ("an instance that is killed comes back", vec![self.kill(&format!("{APP}.1"))]),
            ("bootctl too, and the apps do not notice", vec![self.kill("boot")]),
            ("a job of your own", vec![self.start_nap(), self.stop_nap(), self.clear_nap()]),
            ("three deploys while clients ask, and no request is lost", vec![self.deploys()]),
        ]
    }

    /// Shows the job table and what to try.
    pub(crate) fn print(&self) -> Result<(), String> {
        println!(
            "\n{:<20} {:<9} {:>6} {:>8}  {:<9} why",
            "JOB", "STATUS", "PID", "RESTARTS", "LAST"
        );
        for job in self.jobs()? {
            let pid = job.pid.map_or("-".into(), |pid| pid.to_string());
            let (status, last) = (status(job.status), last(job.last_exit.as_ref()));
            let (id, respawn, why) = (job.id, job.respawn, job.why);
            println!("{id:<20} {status:<9} {pid:>6} {respawn:>8}  {last:<9} {why}");
        }
        println!("\nTry, from another terminal:");
        for (heading, asks) in self.lines() {
            println!("\n  # {heading}");
            for ask in asks {
                println!("  {ask}");
            }
        }
        println!("\nCtrl-C ends it all.");
        Ok(())
    }

    fn api(&self, method: &'static str, path: &str, body: Option<&str>) -> Ask {
        let (address, host) = (self.api, self.api.ip().to_string());
        let (path, body) = (path.to_owned(), body.map(str::to_owned));
        Ask::Http(Request { method, address, host, path, body })
    }
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Starting => "starting",
        Status::Running => "running",
        Status::Stopping => "stopping",
        Status::Backoff => "backoff",
        Status::Success => "success",
        Status::Failed => "failed",
    }
}

fn last(exit: Option<&LastExit>) -> String {
    match exit {
        None => "-".into(),
        Some(LastExit::Code(code)) => code.to_string(),
        Some(LastExit::Signal(name)) => name.clone(),
    }
}
