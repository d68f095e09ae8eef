//! A site that is deployed to, whose proxy is replaced or killed, under load; and what that has cost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bootctl::Site;
use crate::fates::{Failure, Fates, Load};
use crate::wait;

const HOST: &str = "a.test";
/// Clients that GET, POST, and speak over a `WebSocket`.
const CLIENTS: [usize; 3] = [6, 4, 4];
/// How much is answered between two rounds.
const BETWEEN: u64 = 60;

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    pub rounds: usize,
    pub took: Duration,
    pub fates: Arc<Fates>,
    /// All that must not be.
    pub failed: Vec<Failure>,
    /// Requests that were in flight when the proxy was killed.
    pub in_flight: usize,
}

impl Outcome {
    /// For people.
    pub fn told(&self) -> String {
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::SeqCst);
        format!(
            "{} rounds in {:.1?}: {} GETs, {} POSTs, {} messages answered, {} WebSockets told 1001, \
             {} failed, {} cut by a kill, {} closed while idle, longest {} ms",
            self.rounds,
            self.took,
            count(&self.fates.gets),
            count(&self.fates.posts),
            count(&self.fates.messages),
            count(&self.fates.going_away),
            self.failed.len(),
            self.in_flight,
            count(&self.fates.closed_idle),
            count(&self.fates.longest) / 1000,
        )
    }
}

/// The app file: `serves` is the program that runs [`crate::serves::run`], with these arguments.
fn app(serves: &[&str], round: usize) -> String {
    let (exec, args) = serves.split_first().expect("a program");
    format!(
        "exec = \"{exec}\"\nargs = {args:?}\ninstances = 2\n[stop]\ndrain_streams = \"200ms\"\n\
         [env]\nROUND = \"{round}\"\n"
    )
}

fn boot(serves: &[&str]) -> (Site, Load) {
    let proxy = "[proxy]\ngrace = \"20s\"\nstream_grace = \"0s\"\n";
    let site = Site::boot_with(&[("a.test.toml", &app(serves, 0))], proxy);
    site.wait_for(HOST, "running");
    let load = Load::start(site.proxy, HOST, CLIENTS);
    load.go_on(BETWEEN);
    (site, load)
}

/// Deploys an app with two instances again and again.
pub fn deploys(serves: &[&str], rounds: usize) -> Outcome {
    let (site, load) = boot(serves);
    let begun = Instant::now();
    for round in 1..=rounds {
        site.write("a.test.toml", &app(serves, round));
        site.done(&["reload"]);
        load.go_on(BETWEEN);
    }
    outcome(rounds, begun, load, &[])
}

/// Has the proxy replaced again and again.
pub fn generations(serves: &[&str], rounds: usize) -> Outcome {
    let (site, load) = boot(serves);
    let begun = Instant::now();
    for _ in 0..rounds {
        site.done(&["restart", "proxyd"]);
        load.go_on(BETWEEN);
    }
    outcome(rounds, begun, load, &[])
}

/// Kills the proxy again and again.
pub fn kills(serves: &[&str], rounds: usize) -> Outcome {
    let (site, load) = boot(serves);
    let begun = Instant::now();
    let mut killed = Vec::new();
    for _ in 0..rounds {
        let pid = site.init.job(&site.proxy_job())["pid"].as_i64().expect("it runs");
        kill(Pid::from_raw(i32::try_from(pid).expect("a pid")), Signal::SIGKILL)
            .expect("it is there");
        killed.push(Instant::now());
        wait::until("the proxy to serve again", || {
            let proxy = site.status()["proxy"].clone();
            (proxy["state"] == "ready" && proxy["pid"].as_i64() != Some(pid)).then_some(())
        });
        load.go_on(BETWEEN);
    }
    outcome(rounds, begun, load, &killed)
}

fn outcome(rounds: usize, begun: Instant, load: Load, killed: &[Instant]) -> Outcome {
    let took = begun.elapsed();
    let fates = load.stop();
    let (failed, in_flight) = lost(&fates, killed);
    Outcome { rounds, took, fates, failed, in_flight }
}

/// The requests that must not have failed, and how many others were in flight when the proxy was killed.
pub fn lost(fates: &Fates, killed: &[Instant]) -> (Vec<Failure>, usize) {
    let failures = fates.failures.lock().unwrap().clone();
    let all = failures.len();
    // Only what was under way on a connection that a killed proxy had.
    let cut = |failure: &Failure| {
        let before = |kill: &Instant| failure.connected.is_some_and(|since| since < *kill);
        killed.iter().any(|kill| before(kill) && failure.begun < *kill + PAUSE_AT_MOST)
    };
    let failed: Vec<Failure> = failures.into_iter().filter(|failure| !cut(failure)).collect();
    let in_flight = all - failed.len();
    (failed, in_flight)
}

/// A client that pauses between two requests learns of a kill with the next.
const PAUSE_AT_MOST: Duration = Duration::from_millis(100);

/// How many rounds: `JOBINIT_ROUNDS`, or a few.
pub fn rounds(few: usize) -> usize {
    std::env::var("JOBINIT_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(few)
}
