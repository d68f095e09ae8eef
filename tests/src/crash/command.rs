//! What an administrator does, drawn at random, and what it makes possible.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::ask::{self, Fate};
use super::cast::{CAST, Player, Programs};
use super::freight;
use super::model::Made;
use super::record::Record;
use crate::random::Random;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Start,
    Stop,
    Restart,
    Scale,
    /// The administrator changes the file, and has it taken over.
    Edit,
    /// The same with a file that was not there.
    Add,
    Remove,
    /// The administrator deploys an archive.
    Ship,
    /// Goes back to the release before.
    Back,
    /// Has the commands of its file make a release, and perhaps deploys that.
    Build,
}

/// What makes a release, or deploys one that was made.
const BUILDS: &[&str] = &["update", "rebuild", "upgrade", "deploy", "deploy", "redeploy"];

/// How long a command may wait, in milliseconds.
const WAITS: &[u32] = &[0, 30, 200, 700];
/// The longest pause between two commands.
const LONGEST_PAUSE: usize = 25;
/// One in so many is about the proxy, and one about everything.
const PROXY_IN: usize = 40;
const RELOAD_IN: usize = 20;

/// What all clients share.
pub struct Desk {
    pub record: Arc<Record>,
    pub socket: PathBuf,
    pub apps: PathBuf,
    pub moody: String,
    pub loaded: String,
    pub mark: String,
    pub over: AtomicBool,
    /// Who changes a file, or has it changed, holds it: people do not edit over each other either.
    pub files: Vec<Mutex<()>>,
    pub colours: AtomicU32,
    pub versions: AtomicU32,
}

impl Desk {
    pub fn programs(&self) -> Programs<'_> {
        Programs { moody: &self.moody, loaded: &self.loaded, mark: &self.mark }
    }

    /// A client that does not rest before all are told to.
    pub fn client(&self, number: usize, mut random: Random) {
        while !self.over.load(Ordering::SeqCst) {
            self.one(number, &mut random);
            let pause = random.below(LONGEST_PAUSE) as u64;
            thread::sleep(Duration::from_millis(pause));
        }
    }

    fn one(&self, client: usize, random: &mut Random) {
        let wait = random.pick(WAITS);
        let query = format!("?timeout_ms={wait}");
        for (one_in, path) in [(PROXY_IN, "/proxy/restart"), (RELOAD_IN, "/reload")] {
            if random.below(one_in) == 0 {
                self.ask(client, &format!("{path}{query}"));
                return;
            }
        }
        let index = random.below(CAST.len());
        let player = &CAST[index];
        if player.verbs.is_empty() {
            return;
        }
        let verb = *random.pick(player.verbs);
        let count = *random.pick(player.counts);
        self.record.model().touch(player.name);
        match verb {
            Verb::Start | Verb::Stop => {
                let (word, stopped) =
                    if verb == Verb::Stop { ("stop", true) } else { ("start", false) };
                let begun = self.record.model().now();
                let made = self.ask(client, &format!("/apps/{}/{word}{query}", player.name));
                let mut model = self.record.model();
                let ended = model.now();
                if let Some(app) = model.apps.get_mut(player.name) {
                    app.stopped.write(begun, ended, stopped, made);
                }
            }
            Verb::Restart => {
                self.ask(client, &format!("/apps/{}/restart{query}", player.name));
            }
            Verb::Ship => drop(self.ship(client, player, &query)),
            Verb::Back | Verb::Build => {
                let word = if verb == Verb::Back { "rollback" } else { random.pick(BUILDS) };
                let begun = self.record.model().now();
                let made = self.ask(client, &format!("/apps/{}/{word}{query}", player.name));
                let known = self.versions.load(Ordering::SeqCst);
                let mut model = self.record.model();
                let ended = model.now();
                if let Some(app) = model.apps.get_mut(player.name)
                    && made != Made::Not
                {
                    // To which one, only the supervisor knows.
                    for version in 0..=known {
                        app.version.write(begun, ended, version, Made::Perhaps);
                    }
                }
            }
            Verb::Scale => {
                let _file = self.files[index].lock().expect("nobody panics");
                let begun = {
                    let mut model = self.record.model();
                    model.expect(player.name, count);
                    model.now()
                };
                let path = format!("/apps/{}/instances/{count}{query}", player.name);
                let made = self.ask(client, &path);
                let mut model = self.record.model();
                let ended = model.now();
                if let Some(app) = model.apps.get_mut(player.name) {
                    app.instances.write(begun, ended, count, made);
                }
            }
            Verb::Edit | Verb::Add => {
                {
                    let _file = self.files[index].lock().expect("nobody panics");
                    self.write(client, player, count);
                }
                self.ask(client, &format!("/reload{query}"));
            }
            Verb::Remove => {
                {
                    let _file = self.files[index].lock().expect("nobody panics");
                    let path = self.path(player.name);
                    if fs::remove_file(path).is_ok() {
                        self.record.note(&format!("client {client}: removes {}", player.name));
                        if let Some(app) = self.record.model().apps.get_mut(player.name) {
                            app.file = None;
                        }
                    }
                }
                self.ask(client, &format!("/reload{query}"));
            }
        }
    }

    /// Has an app run from a release of its own.
    pub fn ship(&self, client: usize, player: &Player, query: &str) -> Made {
        let version = self.versions.fetch_add(1, Ordering::SeqCst) + 1;
        let body = freight::archive(&self.moody, version);
        let begun = {
            let mut model = self.record.model();
            model.touch(player.name);
            model.now()
        };
        let path = format!("/apps/{}/release{query}", player.name);
        let made = self.ask_with(client, &path, &body);
        let mut model = self.record.model();
        let ended = model.now();
        if let Some(app) = model.apps.get_mut(player.name) {
            app.version.write(begun, ended, version, made);
        }
        made
    }

    /// As an editor does it that saves carefully.
    pub fn write(&self, client: usize, player: &Player, instances: u32) {
        let colour = self.colours.fetch_add(1, Ordering::SeqCst);
        let text = player.file(self.programs(), instances, colour);
        self.record.model().declare(player.name, instances, colour);
        let beside = self.apps.join(format!("{}~", player.name));
        fs::write(&beside, text).expect("written");
        fs::rename(beside, self.path(player.name)).expect("renamed");
        let told = format!("writes {} instances = {instances}, colour {colour}", player.name);
        self.record.note(&format!("client {client}: {told}"));
    }

    pub fn path(&self, app: &str) -> PathBuf {
        path(&self.apps, app)
    }

    fn ask(&self, client: usize, path: &str) -> Made {
        self.ask_with(client, path, &[])
    }

    fn ask_with(&self, client: usize, path: &str, body: &[u8]) -> Made {
        self.record.note(&format!("client {client}: PUT {path}"));
        let fate: Fate = ask::put_with(&self.socket, path, body);
        self.record.note(&format!("client {client}: PUT {path}: {}", fate.told()));
        fate.made()
    }
}

fn path(apps: &Path, app: &str) -> PathBuf {
    apps.join(format!("{app}.toml"))
}
