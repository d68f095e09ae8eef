//! A site whose supervisor is killed again and again while several administrators are at work; what has to be
//! true of it all the time, and what when it has come to rest.
//!
//! Seconds are spent on kills, not on waiting: the supervisor is a job of init that is started again at
//! once. The same seed draws the same commands and delays; what meets what is the scheduler's.

mod ask;
mod cast;
mod command;
mod freight;
mod model;
mod record;
mod rest;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bootctl::Site;
use crate::deploys::lost;
use crate::fates::Load;
use crate::random::Random;
use crate::wait;
use cast::CAST;
use command::Desk;
use record::Record;
use rest::Found;
use watch::Watch;

/// The job that the supervisor is.
pub const SUPERVISOR: &str = "supervisor";

/// What tells the commands of an app from its instances.
const COMMAND: &str = "BOOTCTL_COMMAND";

/// How many administrators.
const CLIENTS: usize = 3;
/// How many kills there are before the next rest.
const KILLS_A_ROUND: usize = 25;
/// One round in so many begins with a release that is deployed in peace.
const ROUNDS_A_RELEASE: usize = 2;
/// One kill in so many is the proxy's as well.
const PROXY_IN: usize = 15;
/// Clients of the app that is under load: GETs, POSTs, `WebSocket`s.
const LOAD: [usize; 3] = [2, 1, 1];
/// How long a supervisor lives, in milliseconds from and to; and how often, in a hundred.
const LIVES: &[(usize, usize, usize)] = &[(0, 4, 20), (4, 30, 30), (30, 120, 40), (120, 300, 10)];

/// Kills the supervisor so often; `programs` are `moody` and `serves`.
pub fn run(programs: [&str; 2], kills: usize, seed: u64) {
    println!("seed {seed}: {kills} kills; again: JOBINIT_SEED={seed}");
    let record = Arc::new(Record::new(seed));
    let mut random = Random::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mark = format!("{}-{seed}", std::process::id());
    let proxy = "[proxy]\ngrace = \"20s\"\nstream_grace = \"0s\"\n";
    let mut desk = Desk {
        record: Arc::clone(&record),
        socket: "".into(),
        apps: "".into(),
        moody: programs[0].to_owned(),
        loaded: programs[1].to_owned(),
        mark,
        over: AtomicBool::new(false),
        files: CAST.iter().map(|_| Mutex::default()).collect(),
        colours: AtomicU32::new(0),
        versions: AtomicU32::new(0),
    };
    let first = CAST.iter().filter(|player| player.first);
    let files: Vec<(String, String)> = first
        .map(|player| {
            let colour = desk.colours.fetch_add(1, Ordering::SeqCst);
            record.model().declare(player.name, player.instances, colour);
            let text = player.file(desk.programs(), player.instances, colour);
            (format!("{}.toml", player.name), text)
        })
        .collect();
    // What runs from no release starts beside its file.
    let program = freight::program(&desk.moody);
    let files = files.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    let files: Vec<_> = files.chain([(freight::PROGRAM, program.as_str())]).collect();
    let site = Site::boot_as_job(SUPERVISOR, &files, proxy);
    desk.socket = site.socket();
    desk.apps = site.folder().join("conf/apps");
    let watch = Watch::start(site.init.api(), Arc::clone(&record));
    let mut pids = rest(&site, &desk, &BTreeMap::new());
    let loads: Vec<Load> = CAST
        .iter()
        .filter(|player| player.loaded)
        .map(|player| Load::start(site.proxy, player.name, LOAD))
        .collect();
    let mut done = 0;
    let mut proxy_kills = Vec::new();
    while done < kills {
        if done % (KILLS_A_ROUND * ROUNDS_A_RELEASE) == 0 {
            // Few get so far while the supervisor is killed; what follows is to meet an app with releases.
            for player in CAST.iter().filter(|player| player.ships()) {
                let made = desk.ship(0, player, "?timeout_ms=20000");
                if made != model::Made::Surely {
                    record.violation(format!("{} is not deployed: {made:?}", player.name));
                }
            }
        }
        let more = KILLS_A_ROUND.min(kills - done);
        desk.over.store(false, Ordering::SeqCst);
        thread::scope(|scope| {
            for number in 1..=CLIENTS {
                let random = Random::new((random.below(usize::MAX) as u64) << 8 | number as u64);
                let desk = &desk;
                scope.spawn(move || desk.client(number, random));
            }
            for _ in 0..more {
                kill_one(&watch, &record, &mut random, &mut proxy_kills);
            }
            desk.over.store(true, Ordering::SeqCst);
        });
        done += more;
        record.note(&format!("{done} kills: to come to rest"));
        pids = rest(&site, &desk, &pids);
    }
    for load in loads {
        load.go_on(20);
        let fates = load.stop();
        for failure in lost(&fates, &proxy_kills).0 {
            record.violation(format!("a request was lost: {failure:?}"));
        }
    }
    let found = Found::look(&site).expect("it is at rest");
    let respawns = found.supervisor_respawns() as usize;
    if respawns != done {
        record.violation(format!("killed {done} times, and started again {respawns} times"));
    }
    record.check();
    let shipped = desk.versions.load(Ordering::SeqCst);
    let proxies = proxy_kills.len();
    println!(
        "{done} kills, {proxies} of the proxy; {shipped} archives; at last {:?}",
        found.versions
    );
}

/// Waits for a supervisor that was not killed yet, lets it live a little, and kills it.
fn kill_one(watch: &Watch, record: &Record, random: &mut Random, proxies: &mut Vec<Instant>) {
    let pid = wait::until("a supervisor", || watch.pid(SUPERVISOR));
    let mut lot = random.below(100);
    let life = LIVES.iter().find(|(_, _, share)| {
        let drawn = lot < *share;
        lot = lot.saturating_sub(*share);
        drawn
    });
    let (from, to, _) = life.expect("the shares are a hundred");
    let micros = random.below((to - from) * 1000) + from * 1000;
    thread::sleep(Duration::from_micros(micros as u64));
    if random.below(PROXY_IN) == 0
        && let Some(proxy) = watch.proxies().last()
    {
        record.note(&format!("kills the proxy, pid {proxy}"));
        let _ = kill(Pid::from_raw(proxy.cast_signed()), Signal::SIGKILL);
        proxies.push(Instant::now());
    }
    record.note(&format!("kills the supervisor, pid {pid}, after {micros} us"));
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).expect("it is there");
    wait::until("its end to be known", || (watch.pid(SUPERVISOR) != Some(pid)).then_some(()));
}

/// Has the config taken over for a last time, and waits until all is as it has to be. Answers the processes
/// of the apps; those of apps that nothing was about are as they were.
fn rest(
    site: &Site,
    desk: &Desk,
    before: &BTreeMap<&'static str, BTreeSet<u32>>,
) -> BTreeMap<&'static str, BTreeSet<u32>> {
    let record = &desk.record;
    let by = Instant::now() + wait::PATIENCE;
    loop {
        let fate = ask::put(&desk.socket, "/reload?timeout_ms=5000");
        record.note(&format!("rest: reload: {}", fate.told()));
        if fate.made() == model::Made::Surely {
            break;
        }
        if Instant::now() > by {
            record.violation("the config is not taken over".into());
            record.check();
        }
        thread::sleep(Duration::from_millis(10));
    }
    let found = loop {
        let model = record.model().clone();
        let found = Found::look(site);
        let wrongs = match &found {
            Ok(found) => found.wrongs(site, &model, &desk.mark),
            Err(why) => vec![why.clone()],
        };
        match found {
            Ok(found) if wrongs.is_empty() => break found,
            Ok(_) | Err(_) if Instant::now() < by => thread::sleep(Duration::from_millis(10)),
            Ok(_) | Err(_) => {
                let status = site.bootctl(&["status", "--json"]);
                record.note(&format!("status: {}", status.out));
                for wrong in wrongs {
                    record.violation(format!("at rest: {wrong}"));
                }
                record.check();
                unreachable!("there is something wrong");
            }
        }
    };
    let mut pids = BTreeMap::new();
    let mut model = record.model();
    for player in CAST {
        let Some(app) = model.apps.get_mut(player.name) else { continue };
        let its = found.pids(player.name);
        if !app.touched && before.get(player.name).is_some_and(|before| *before != its) {
            let was = &before[player.name];
            record.violation(format!("nothing was about {}: {was:?} -> {its:?}", player.name));
        }
        pids.insert(player.name, its);
        app.stopped.settle(found.stopped.contains(player.name));
        if let Some(count) = found.instances.get(player.name) {
            app.instances.settle(*count);
            app.most = *count;
        }
        if let Some(version) = found.versions.get(player.name) {
            app.version.settle(*version);
        }
        app.touched = false;
    }
    drop(model);
    record.check();
    pids
}

/// How many kills, and which seed: `JOBINIT_KILLS` and `JOBINIT_SEED`.
pub fn told(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// A seed that nobody has chosen.
pub fn new_seed() -> u64 {
    let bytes = fs::read("/proc/sys/kernel/random/uuid").expect("it is mounted");
    bytes.iter().fold(0, |seed, byte| (seed * 31 + u64::from(*byte)) % 1_000_000_007)
}
