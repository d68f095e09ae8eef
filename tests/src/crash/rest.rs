//! What has to be true when nothing happens any more: what is there is what is wanted, and what is wanted is
//! what was asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use init_wire::{JobInfo, Status};
use serde_json::Value;

use super::cast::{CAST, Player};
use super::freight::{PROGRAM, VERSION};
use super::model::Model;
use super::{COMMAND, SUPERVISOR};
use crate::bootctl::Site;

/// What is kept of the apps, and what their files say.
pub struct Found {
    pub stopped: BTreeSet<String>,
    revisions: BTreeMap<String, u64>,
    held: BTreeSet<String>,
    pub instances: BTreeMap<String, u32>,
    /// Of the releases that apps run from.
    pub versions: BTreeMap<String, u32>,
    /// Their numbers.
    releases: BTreeMap<String, u64>,
    /// What is kept of releases, and is not as it has to be.
    odd: Vec<String>,
    jobs: Vec<JobInfo>,
    proxy: proxyd_wire::State,
}

impl Found {
    pub fn look(site: &Site) -> Result<Self, String> {
        let state = site.folder().join("state/state.json");
        let state = match fs::read_to_string(&state) {
            Ok(text) => serde_json::from_str(&text)
                .map_err(|error| format!("state.json cannot be read: {error}: {text}"))?,
            Err(_) => Value::Null,
        };
        let none = serde_json::Map::new();
        let records = state["apps"].as_object().unwrap_or(&none);
        let with =
            |key: &'static str| records.iter().filter(move |(_, record)| !record[key].is_null());
        let name = |(name, _): (&String, &Value)| name.clone();
        let mut instances = BTreeMap::new();
        for player in CAST {
            let path = site.folder().join("conf/apps").join(format!("{}.toml", player.name));
            let Ok(text) = fs::read_to_string(path) else { continue };
            let line = text.lines().find_map(|line| line.strip_prefix("instances = "));
            let count = line.and_then(|rest| rest.split(' ').next()?.parse().ok());
            let count = count.ok_or_else(|| format!("{} says no number: {text}", player.name))?;
            instances.insert(player.name.to_owned(), count);
        }
        let (mut versions, mut odd) = (BTreeMap::new(), Vec::new());
        for player in CAST.iter().filter(|player| player.ships()) {
            let record = &records.get(player.name).cloned().unwrap_or_default();
            let shelf = site.folder().join("state/releases").join(player.name);
            match version(record, &shelf) {
                Ok(version) => drop(versions.insert(player.name.to_owned(), version)),
                Err(why) => odd.push(format!("{}: {why}", player.name)),
            }
        }
        let jobs = site.init.get("/jobs").body;
        let jobs: Vec<JobInfo> = serde_json::from_str(&jobs).map_err(|error| error.to_string())?;
        let proxies = jobs.iter().filter(|job| job.id.starts_with("proxyd")).collect::<Vec<_>>();
        let [proxy] = proxies[..] else {
            return Err(format!("{} generations of the proxy", proxies.len()));
        };
        if proxy.status != Status::Running {
            return Err(format!("the proxy is {:?}", proxy.status));
        }
        let proxy = site.proxy_state_of(&proxy.id).ok_or("the proxy does not answer")?;
        Ok(Self {
            stopped: with("stopped")
                .filter(|(_, record)| record["stopped"] == true)
                .map(name)
                .collect(),
            revisions: with("revision")
                .filter_map(|(name, record)| Some((name.clone(), record["revision"].as_u64()?)))
                .collect(),
            held: with("held").map(name).collect(),
            instances,
            versions,
            releases: records
                .iter()
                .filter_map(|(name, record)| {
                    Some((name.clone(), record["releases"]["current"].as_u64()?))
                })
                .collect(),
            odd,
            jobs,
            proxy,
        })
    }

    /// All that is not as it has to be.
    pub fn wrongs(&self, site: &Site, model: &Model, mark: &str) -> Vec<String> {
        let mut wrongs = self.odd.clone();
        for player in CAST {
            let Some(app) = model.apps.get(player.name) else { continue };
            let name = player.name;
            let stopped = self.stopped.contains(name);
            if !app.stopped.possible().contains(&stopped) {
                wrongs.push(format!("{name}: stopped = {stopped} is not what was answered"));
            }
            let declared = self.instances.get(name);
            if declared.is_some() != app.file.is_some() {
                wrongs.push(format!("{name}: its file has come or gone by itself"));
            }
            if let Some(count) = declared
                && !app.instances.possible().contains(count)
            {
                wrongs.push(format!("{name}: instances = {count} is not what was answered"));
            }
            if let Some(version) = self.versions.get(name)
                && !app.version.possible().contains(version)
            {
                wrongs.push(format!("{name}: version {version} is not what was answered"));
            }
            let colour = app.file.as_ref().map(|file| file.colour);
            let wanted = if stopped { 0 } else { declared.copied().unwrap_or(0) as usize };
            wrongs.extend(self.wrongs_of(player, wanted, colour));
        }
        wrongs.extend(self.wrongs_of_commands());
        wrongs.extend(self.wrongs_of_processes(mark));
        wrongs.extend(self.wrongs_of_proxy());
        for folder in ["state", "conf", "conf/apps"] {
            wrongs.extend(left_over(&site.folder().join(folder)));
        }
        wrongs
    }

    fn jobs_of<'a>(&'a self, app: &'a str) -> impl Iterator<Item = &'a JobInfo> {
        let its = move |job: &&JobInfo| job.spec.envs.get("BOOTCTL_APP").is_some_and(|a| a == app);
        self.jobs.iter().filter(its)
    }

    /// Commands have come to their end.
    fn wrongs_of_commands(&self) -> impl Iterator<Item = String> {
        let commands = self.jobs.iter().filter(|job| job.spec.envs.contains_key(COMMAND));
        commands.map(|job| format!("{} is there: {:?}", job.id, job.status))
    }

    fn wrongs_of(&self, player: &Player, wanted: usize, colour: Option<u32>) -> Vec<String> {
        let name = player.name;
        let mut wrongs = Vec::new();
        let count = self.jobs_of(name).count();
        if self.held.contains(name) {
            if !player.fails {
                wrongs.push(format!("{name} is held, and has nothing to fail of"));
            }
            return wrongs;
        }
        if count != wanted {
            wrongs.push(format!("{name} has {count} of {wanted} instances"));
        }
        let revision = self.revisions.get(name).filter(|revision| **revision > 0);
        for job in self.jobs_of(name) {
            if job.status != Status::Running {
                wrongs.push(format!("{} is {:?}", job.id, job.status));
            }
            let env = |key| job.spec.envs.get(key).and_then(|text| text.parse::<u64>().ok());
            if env("BOOTCTL_REVISION") != revision.copied() {
                wrongs.push(format!("{} is not of revision {revision:?}", job.id));
            }
            let release = self.releases.get(name).copied().filter(|release| *release > 0);
            if env("BOOTCTL_RELEASE") != release {
                wrongs.push(format!("{} is not of release {release:?}", job.id));
            }
            if env("COLOUR") != colour.map(u64::from) {
                wrongs.push(format!("{} is not of colour {colour:?}", job.id));
            }
        }
        wrongs
    }

    /// Each process is a job's, and each job's process is there.
    fn wrongs_of_processes(&self, mark: &str) -> Option<String> {
        let mark = format!("SITE={mark}");
        let processes = fs::read_dir("/proc").expect("it is mounted").flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let ours = |pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        };
        let there: BTreeSet<u32> = pids.filter(ours).collect();
        let of_apps = self.jobs.iter().filter(|job| job.spec.envs.contains_key("BOOTCTL_APP"));
        let known: BTreeSet<u32> = of_apps.filter_map(|job| job.pid).collect();
        (there != known).then(|| format!("the processes are {there:?}, and the jobs' {known:?}"))
    }

    /// The targets are the instances, and the routes the apps.
    fn wrongs_of_proxy(&self) -> Vec<String> {
        let mut wrongs = Vec::new();
        let routed: BTreeSet<&str> = self.proxy.routes.keys().map(String::as_str).collect();
        let declared: BTreeSet<&str> = self.instances.keys().map(String::as_str).collect();
        if routed != declared {
            wrongs.push(format!("the routes are {routed:?}, and the apps {declared:?}"));
        }
        let services = self.proxy.services.values();
        let all = services.flat_map(|service| &service.targets);
        let targets: BTreeMap<&str, &str> = all
            .filter(|(_, target)| !target.retired)
            .map(|(name, target)| (name.as_str(), target.address.as_str()))
            .collect();
        let of_apps = self.jobs.iter().filter(|job| job.spec.envs.contains_key("BOOTCTL_APP"));
        let there: BTreeMap<&str, String> =
            of_apps.map(|job| (job.id.as_str(), address(job))).collect();
        if !targets
            .iter()
            .map(|(name, address)| (*name, *address))
            .eq(there.iter().map(|(name, address)| (*name, address.as_str())))
        {
            wrongs.push(format!("the targets are {targets:?}, and the instances {there:?}"));
        }
        wrongs
    }

    /// The processes of an app.
    pub fn pids(&self, app: &str) -> BTreeSet<u32> {
        self.jobs_of(app).filter_map(|job| job.pid).collect()
    }

    /// How often the supervisor was started again.
    pub fn supervisor_respawns(&self) -> u32 {
        self.jobs.iter().find(|job| job.id == SUPERVISOR).map_or(0, |job| job.respawn)
    }
}

/// The version that an app's record and its folder agree on.
fn version(record: &Value, shelf: &Path) -> Result<u32, String> {
    if !record["work"].is_null() {
        return Err(format!("a command is under way: {}", record["work"]));
    }
    let releases = &record["releases"];
    let none = serde_json::Map::new();
    let kept = releases["kept"].as_object().unwrap_or(&none);
    let kept: BTreeSet<String> = kept.keys().cloned().collect();
    let entries = fs::read_dir(shelf).into_iter().flatten().flatten();
    let there: BTreeSet<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    // A link for people leads to the current one.
    let folders: BTreeSet<String> =
        there.into_iter().filter(|name| !shelf.join(name).is_symlink()).collect();
    if folders != kept {
        return Err(format!("the releases are {folders:?}, and {kept:?} are known"));
    }
    for number in &kept {
        for file in [PROGRAM, VERSION] {
            if !shelf.join(number).join(file).is_file() {
                return Err(format!("release {number} has no {file}"));
            }
        }
    }
    let Some(current) = releases["current"].as_u64().filter(|current| *current > 0) else {
        return Ok(0);
    };
    let text = fs::read_to_string(shelf.join(current.to_string()).join(VERSION));
    let text = text.map_err(|error| format!("release {current}: {error}"))?;
    text.trim().parse().map_err(|_| format!("release {current} is of version {text:?}"))
}

fn address(job: &JobInfo) -> String {
    if let Some(port) = job.spec.envs.get("PORT") {
        return format!("tcp:127.0.0.1:{port}");
    }
    match (job.spec.envs.get("SOCKET"), job.spec.fds.first()) {
        (Some(path), _) => format!("unix:{path}"),
        (None, Some(fd)) => fd.listen.clone(),
        (None, None) => String::new(),
    }
}

/// Files that were to be something else's.
fn left_over(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    let odd = |name: &String| {
        name.starts_with('.') || [".new", "~"].iter().any(|end| name.ends_with(end))
    };
    names.filter(odd).map(|name| format!("{name} is left over in {}", folder.display())).collect()
}
