//! A site that is reached over TLS by HTTP/1, HTTP/2 and gRPC, while its certificates are swapped, its apps deployed or
//! its proxy replaced, under load; and what that has cost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::bootctl::{Site, unused_address};
use crate::fates::{Failure, Fates, Kind, Load};
use crate::keys::Keys;
use crate::proxyd::Pair;
use crate::streams::Streams;

/// Who sums up, and who takes calls.
const HOSTS: [&str; 2] = ["a.test", "calls.test"];
/// Clients of HTTP/1 that GET, POST, and speak over a `WebSocket`.
const CLIENTS: [usize; 3] = [3, 2, 1];
/// A `WebSocket` would have each proxy stay for the grace of streams, of which a call is one.
const BRIEF: [usize; 3] = [3, 2, 0];
/// How much of each is answered between two rounds.
const BETWEEN: u64 = 30;

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    pub rounds: usize,
    pub took: Duration,
    /// By what is spoken.
    pub spoken: [(&'static str, Arc<Fates>); 3],
}

impl Outcome {
    /// All that must not be.
    pub fn failed(&self) -> Vec<Failure> {
        self.spoken.iter().flat_map(|(_, fates)| fates.failures.lock().unwrap().clone()).collect()
    }

    /// For people.
    pub fn told(&self) -> String {
        let each = self.spoken.iter().map(|(name, fates)| {
            let count =
                |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::SeqCst);
            format!(
                "{name}: {} answered on {} connections, {} failed, {} told to go, {} closed while idle, longest {} ms",
                fates.answered(),
                count(&fates.connections),
                fates.failures.lock().unwrap().len(),
                count(&fates.going_away),
                count(&fates.closed_idle),
                count(&fates.longest) / 1000,
            )
        });
        let each: Vec<String> = each.collect();
        format!("{} rounds in {:.1?}; {}", self.rounds, self.took, each.join("; "))
    }
}

/// Writes new certificates again and again; each is shown before the next is written.
pub fn swaps(serves: &[&str], rounds: usize) -> Outcome {
    Busy::boot(serves, CLIENTS).rounds(rounds, |busy, _| {
        let shown = busy.keys.make_both();
        for (host, pair) in HOSTS.iter().zip(&shown) {
            busy.keys.wait_until_shown(busy.at, host, pair);
        }
    })
}

/// Deploys both apps, each with two instances, again and again.
pub fn deploys(serves: &[&str], rounds: usize) -> Outcome {
    Busy::boot(serves, CLIENTS).rounds(rounds, |busy, round| {
        for (name, text) in files(serves, &busy.keys, round) {
            busy.site.write(&name, &text);
        }
        busy.site.done(&["reload"]);
    })
}

/// Has the proxy replaced again and again.
pub fn generations(serves: &[&str], rounds: usize) -> Outcome {
    let restart = |busy: &Busy, _| drop(busy.site.done(&["restart", "proxyd"]));
    Busy::boot(serves, BRIEF).rounds(rounds, restart)
}

/// The site, and who asks.
struct Busy {
    site: Site,
    keys: Keys,
    at: SocketAddr,
    load: Load,
    sums: Streams,
    calls: Streams,
}

impl Busy {
    fn boot(serves: &[&str], clients: [usize; 3]) -> Busy {
        let (keys, at) = (Keys::default(), unused_address());
        keys.make_both();
        let proxy = format!(
            "[proxy]\ngrace = \"20s\"\nstream_grace = \"5s\"\n[proxy.tls]\nlisten = \"{at}\"\n"
        );
        let files = files(serves, &keys, 0);
        let files = [(&*files[0].0, &*files[0].1), (&*files[1].0, &*files[1].1)];
        let site = Site::boot_with(&files, &proxy);
        for host in HOSTS {
            site.wait_for(host, "running");
        }
        let trust = keys.authority.trust();
        let load = Load::start_secure(at, HOSTS[0], clients, &trust);
        let sums = Streams::start(at, HOSTS[0], Kind::Sum, &trust);
        let calls = Streams::start(at, HOSTS[1], Kind::Call, &trust);
        let busy = Busy { site, keys, at, load, sums, calls };
        busy.go_on();
        busy
    }

    fn rounds(self, rounds: usize, work: impl Fn(&Busy, usize)) -> Outcome {
        let begun = Instant::now();
        for round in 1..=rounds {
            work(&self, round);
            self.go_on();
        }
        let took = begun.elapsed();
        let fates = [self.load.stop(), self.sums.stop(), self.calls.stop()];
        let [http1, http2, grpc] = fates;
        Outcome { rounds, took, spoken: [("HTTP/1", http1), ("HTTP/2", http2), ("gRPC", grpc)] }
    }

    #[track_caller]
    fn go_on(&self) {
        for fates in [&self.load.fates, &self.sums.fates, &self.calls.fates] {
            fates.go_on(BETWEEN);
        }
    }
}

impl Keys {
    /// A new certificate for each of the hosts.
    fn make_both(&self) -> [Pair; 2] {
        HOSTS.map(|host| self.make(host, &[host]))
    }
}

/// The apps' files: `serves` is the program that runs [`crate::serves::run`], with these arguments.
fn files(serves: &[&str], keys: &Keys, round: usize) -> [(String, String); 2] {
    let (exec, args) = serves.split_first().expect("a program");
    // A call is a stream that ends by itself, if it is given the time.
    let calls = "CALLS = \"yes\"\n[proxy]\nprotocol = \"h2c\"\n";
    [(HOSTS[0], "200ms", ""), (HOSTS[1], "10s", calls)].map(
        |(host, drain, more)| {
            let text = format!(
                "exec = \"{exec}\"\nargs = {args:?}\ninstances = 2\n[stop]\ndrain_streams = \"{drain}\"\n\
                 [env]\nROUND = \"{round}\"\n{more}[tls]\n{}",
                keys.named(host)
            );
            (format!("{host}.toml"), text)
        },
    )
}
