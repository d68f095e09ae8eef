//! The third demo: an app is deployed again and again while clients ask for it, and none of them notices. Told live,
//! with the count.
//!
//! It needs two ports and nothing else, so it is the same for `make demo`, for `make vm`, and for whatever runs this
//! tree: the deploy is a job of init.

use std::io::{IsTerminal, Write, stdout};
use std::net::{Ipv4Addr, SocketAddr};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use init_wire::{JobInfo, JobSpec, LastExit, Stdio};

use crate::http::{Answer, Request};
use crate::load::{CLIENTS, Counts, Load};
use crate::tour::APP;

/// What is deployed, one after the other.
const RELEASES: [&str; 3] = ["blue", "green", "blue"];
/// Where they are, below the folder of the config, or in a machine.
const BESIDE_CONFIG: &str = "releases";
const IN_A_MACHINE: &str = "/srv/demo";
/// How many answers there are to be before the first deploy, and of each release.
const SOME: u64 = 100;
/// How long they may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at the count.
const LOOK: Duration = Duration::from_millis(100);

/// Deploys to the tree whose init and proxy have these ports on loopback.
pub(crate) fn show(api: u16, proxy: u16) -> Result<(), String> {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let tree = Tree::at(at(api))?;
    println!("{CLIENTS} clients ask for http://{APP}:{proxy}/ without a pause");
    let load = Load::start(at(proxy), APP);
    let mut line = Line::new();
    let any = |counts: &Counts| counts.total();
    line.watch(&load, "before", |counts| any(counts) >= SOME)?;
    for name in RELEASES {
        let deploy = thread::scope(|scope| {
            let deploy = scope.spawn(|| tree.deploy(name));
            line.watch_while(&load, &format!("deploying {name}"), || !deploy.is_finished());
            deploy.join().unwrap_or_else(|_| Err("the deploy has panicked".into()))
        });
        let release = deploy?;
        let what = format!("release {release} is {name}");
        let before = load.counts().of(&release);
        line.watch(&load, &what, |counts| counts.of(&release) >= before + SOME)?;
    }
    let counts = load.end();
    println!(
        "\n{} requests, {} failed; the slowest took {} ms",
        counts.total(),
        counts.failed,
        counts.longest.as_millis()
    );
    for (release, count) in &counts.answered {
        println!("  {count:>8}  by release {release}");
    }
    match counts.why {
        Some(why) => Err(format!("{} requests were lost, the last one to: {why}", counts.failed)),
        None => Ok(()),
    }
}

/// The count, as it is told: in place on a terminal, else a line for each thing that happens.
struct Line {
    is_terminal: bool,
    began: Instant,
}

impl Line {
    fn new() -> Self {
        Self { is_terminal: stdout().is_terminal(), began: Instant::now() }
    }

    /// Watches until it is so.
    fn watch(
        &mut self,
        load: &Load,
        what: &str,
        done: impl Fn(&Counts) -> bool,
    ) -> Result<(), String> {
        let by = Instant::now() + PATIENCE;
        let is_late = || Instant::now() > by;
        self.watch_while(load, what, || !done(&load.counts()) && !is_late());
        let counts = load.counts();
        if done(&counts) {
            Ok(())
        } else {
            Err(format!("too few answers within {PATIENCE:?}: {counts:?}"))
        }
    }

    fn watch_while(&mut self, load: &Load, what: &str, goes_on: impl Fn() -> bool) {
        while goes_on() {
            if self.is_terminal {
                self.tell(load, what, "\r");
            }
            sleep(LOOK);
        }
        self.tell(load, what, "\n");
    }

    fn tell(&self, load: &Load, what: &str, end: &str) {
        let counts = load.counts();
        let (seconds, total, failed) =
            (self.began.elapsed().as_secs_f32(), counts.total(), counts.failed);
        print!("{seconds:>6.1} s  {total:>8} answered  {failed:>4} failed  {what:<24}{end}");
        // A reader that has gone is no reason to end.
        drop(stdout().flush());
    }
}

/// What runs, as its init knows it.
struct Tree {
    api: SocketAddr,
    boot: JobSpec,
}

impl Tree {
    fn at(api: SocketAddr) -> Result<Self, String> {
        let answer = request(api, "GET", "/job/boot", None)?;
        let boot: JobInfo = read(&answer)?;
        Ok(Self { api, boot: boot.spec })
    }

    /// Deploys it; the number of the release.
    fn deploy(&self, name: &str) -> Result<String, String> {
        let option = |name: &str| {
            let mut words = self.boot.args.iter().skip_while(move |word| *word != name);
            words.nth(1).cloned()
        };
        let folder = match option("--config") {
            Some(config) => format!("{config}/{BESIDE_CONFIG}"),
            None => IN_A_MACHINE.to_owned(),
        };
        let mut args: Vec<String> =
            ["deploy", APP, "--from", &format!("{folder}/{name}")].map(str::to_owned).into();
        if let Some(run_dir) = option("--run-dir") {
            args.extend(["--run-dir".to_owned(), run_dir]);
        }
        let spec = JobSpec {
            args,
            envs: self.boot.envs.clone(),
            stdout: Stdio::Log,
            stderr: Stdio::Log,
            ..JobSpec::new(self.boot.exec.clone())
        };
        let spec = serde_json::to_string(&spec).map_err(|e| e.to_string())?;
        let job: JobInfo = read(&request(self.api, "POST", "/job?wait=exit", Some(spec))?)?;
        let output = |stream: &str| {
            let path = format!("/job/{}/{stream}", job.id);
            request(self.api, "GET", &path, None).map(|answer| answer.body).unwrap_or_default()
        };
        let (said, complained) = (output("stdout"), output("stderr"));
        // It has told all that it has to tell.
        drop(request(self.api, "DELETE", &format!("/job/{}", job.id), None));
        if job.last_exit != Some(LastExit::Code(0)) {
            return Err(format!("{name} could not be deployed: {said}{complained}"));
        }
        let number = said.split("release ").nth(1).and_then(|rest| rest.split(':').next());
        number.map(str::to_owned).ok_or_else(|| format!("which release is this? {said}"))
    }
}

fn request(
    address: SocketAddr,
    method: &'static str,
    path: &str,
    body: Option<String>,
) -> Result<Answer, String> {
    let (host, path) = (address.ip().to_string(), path.to_owned());
    Request { method, address, host, path, body }.send()
}

fn read(answer: &Answer) -> Result<JobInfo, String> {
    serde_json::from_str(&answer.body).map_err(|e| format!("{e}: {}", answer.body))
}
