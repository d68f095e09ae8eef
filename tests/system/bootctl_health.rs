//! How instances are asked whether they are well, and what becomes of those that are not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use jobinit_tests::bootctl::Site;
use jobinit_tests::http::Follower;
use jobinit_tests::wait;
use serde_json::Value;

use crate::bootctl_apps::{answers, kill};

/// The files of a test: what makes the helper `sickens` ill, and others beside it.
struct Ward {
    folder: tempfile::TempDir,
}

impl Ward {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An app file of the helper.
    fn app(&self, more: &str) -> String {
        let exec = env!("CARGO_BIN_EXE_sickens");
        format!("exec = {exec:?}\nargs = [{:?}]\n{more}", self.text("ill"))
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").to_owned()
    }

    /// Makes processes ill, or all well.
    fn infect(&self, lines: &str) {
        fs::write(self.path("new"), lines).expect("written");
        fs::rename(self.path("new"), self.path("ill")).expect("renamed");
    }

    /// While it is there, the app does not begin to listen.
    fn gate(&self) -> PathBuf {
        fs::write(self.path("ill.gate"), "").expect("written");
        self.path("ill.gate")
    }
}

const QUICK: &str = "[health]\nhttp = \"/healthz\"\ninterval = \"50ms\"\ntimeout = \"250ms\"\n";

fn quick(more: &str) -> String {
    format!("{QUICK}{more}\n")
}

/// Waits until an instance is in a state, for a reason with these words in it.
#[track_caller]
fn wait_for(site: &Site, app: &str, state: &str, why: &str) -> Value {
    wait::until(&format!("{app} to be {state} ({why})"), || {
        let said = site.bootctl(&["status", app, "--json"]);
        let view: Value = serde_json::from_str(&said.out).ok()?;
        let mut all = view["instances"].as_array()?.iter();
        let fits = |instance: &&Value| {
            instance["state"] == state
                && instance["why"].as_str().is_some_and(|it| it.contains(why))
        };
        all.find(fits).cloned()
    })
}

/// Jobs that ask, as init has them.
fn asking(site: &Site) -> Vec<String> {
    let jobs = site.init.get("/jobs").json();
    let ids = jobs.as_array().expect("an array").iter().filter_map(|job| job["id"].as_str());
    ids.filter(|id| id.ends_with(".health")).map(str::to_owned).collect()
}

#[test]
fn health_what_fails_is_no_target_until_it_is_well() {
    let ward = Ward::new();
    for (socket, name) in [("port", "a.test"), ("unix", "b.test")] {
        ward.infect("");
        let more = format!("socket = \"{socket}\"\n{}", quick("restart = false"));
        let site = Site::boot(&[(&format!("{name}.toml"), &ward.app(&more))]);
        site.wait_for(name, "running");
        assert_eq!(site.get(name, "/").status, 200);
        let pids = site.pids(name);
        ward.infect("all 500\n");
        let why = "GET /healthz answered 500; it is not restarted";
        wait_for(&site, name, "unhealthy", why);
        wait::until("the proxy to know", || (site.get(name, "/").status == 503).then_some(()));
        let table = site.done(&["status", name]);
        assert!(table.contains(&format!("{name}.1 is unhealthy: GET /healthz")), "{table}");
        ward.infect("all hang\n");
        wait_for(&site, name, "unhealthy", "timed out after 250ms");
        ward.infect("");
        site.wait_for(name, "running");
        assert_eq!(site.get(name, "/").status, 200);
        assert_eq!(site.pids(name), pids, "nobody has restarted it");
    }
}

#[test]
fn health_one_that_fails_is_restarted() {
    let ward = Ward::new();
    let site = Site::boot(&[("a.test.toml", &ward.app(&quick("fails = 2")))]);
    site.wait_for("a.test", "running");
    let before = site.pids("a.test")[0];
    ward.infect(&format!("{before} hang\n"));
    wait_for(&site, "a.test", "unhealthy", "; it is restarted in ");
    let instance = wait::until("a new process to be ready", || {
        let view = site.wait_for("a.test", "running");
        let instance = view["instances"][0].clone();
        (instance["pid"].as_u64() != Some(before)).then_some(instance)
    });
    assert_eq!(instance["restarts"], 1);
    assert_eq!(site.init.job("a.test.1")["respawn"], 0, "it was asked for");
    assert_eq!(site.get("a.test", "/").status, 200);
}

#[test]
fn health_restart_never_means_never() {
    let ward = Ward::new();
    let more = format!("[restart]\npolicy = \"never\"\n{}", quick(""));
    let site = Site::boot(&[("a.toml", &ward.app(&more))]);
    site.wait_for("a", "running");
    ward.infect("all 503\n");
    wait_for(&site, "a", "unhealthy", "GET /healthz answered 503; it is not restarted");
}

#[test]
fn health_instances_that_all_fail_are_restarted_one_at_a_time() {
    let ward = Ward::new();
    let site = Site::boot(&[("a.toml", &ward.app(&format!("instances = 3\n{}", quick(""))))]);
    site.wait_for("a", "running");
    let before = site.pids("a");
    let mut events = Follower::start(site.init.api(), "/jobs?follow");
    let lines: Vec<String> = before.iter().map(|pid| format!("{pid} 500\n")).collect();
    ward.infect(&lines.concat());
    wait::until("all to be new", || {
        let view = site.wait_for("a", "running");
        let pids = site.pids("a");
        let new = pids.len() == 3 && pids.iter().all(|pid| !before.contains(pid));
        new.then_some(view)
    });
    let mut away = std::collections::BTreeSet::new();
    let mut restarted = 0;
    while restarted < 3 {
        let event = events.json().expect("it goes on");
        let Some(id) = event["job"]["id"].as_str().filter(|id| id.starts_with("a.")) else {
            continue;
        };
        let pid = event["job"]["pid"].as_u64();
        let is_new = pid.is_some_and(|pid| !before.contains(&pid));
        if event["job"]["status"] != "running" {
            away.insert(id.to_owned());
        } else if is_new && away.remove(id) {
            restarted += 1;
        }
        assert!(away.len() <= 1, "{away:?}");
    }
}

#[test]
fn health_a_start_takes_its_time_unless_that_is_set() {
    let ward = Ward::new();
    let gate = ward.gate();
    let slow = ward.app(&quick("fails = 1"));
    let timed = ward.app(&quick("fails = 1\nstart_period = \"300ms\""));
    let site = Site::boot(&[("slow.toml", &slow), ("timed.toml", &timed)]);
    let first = wait_for(&site, "timed", "starting", "not ready yet: connection refused");
    wait_for(&site, "timed", "unhealthy", "connection refused; it is restarted in");
    wait::until("it to be restarted", || {
        let instance = wait_for(&site, "timed", "starting", "");
        (instance["pid"] != first["pid"] && instance["restarts"] == 1).then_some(())
    });
    let slow = wait_for(&site, "slow", "starting", "not ready yet: connection refused");
    assert_eq!(slow["restarts"], 0);
    fs::remove_file(gate).expect("it is there");
    site.wait_for("slow", "running");
    site.wait_for("timed", "running");
}

#[test]
fn health_a_command_asks_as_the_app_would() {
    let ward = Ward::new();
    let user = if nix::unistd::geteuid().is_root() { "daemon" } else { "" };
    let script = format!(
        "test \"$COLOUR\" = red -a \"$PORT\" -gt 0 -a \"$BOOTCTL_INSTANCE\" = 1 -a \"$PWD\" = /usr \
         -a -z \"{user}\" -o \"$(id -un)\" = \"{user}\" || exit 7; test ! -e {:?}",
        ward.path("bad")
    );
    fs::set_permissions(ward.folder.path(), PermissionsExt::from_mode(0o755)).expect("ours");
    let user = if user.is_empty() { String::new() } else { format!("user = \"{user}\"\n") };
    let health =
        format!("interval = \"30ms\"\nfails = 2\nexec = '''{script}'''\nrestart = false\n");
    let more = format!("cwd = \"/usr\"\n{user}[env]\nCOLOUR = \"red\"\n[health]\n{health}");
    let site = Site::boot(&[("a.toml", &answers(1, &more))]);
    site.wait_for("a", "running");
    fs::write(ward.path("bad"), "").expect("written");
    wait_for(&site, "a", "unhealthy", "/bin/sh ended with exit code 1");
    fs::remove_file(ward.path("bad")).expect("removed");
    site.wait_for("a", "running");
    let array = "[health]\nexec = [\"sleep\", \"1000\"]\ntimeout = \"100ms\"\ninterval = \"1h\"\n";
    site.write("a.toml", &answers(1, array));
    let said = site.bootctl(&["reload", "--timeout", "0"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    wait_for(&site, "a", "starting", "timed out after 100ms");
    site.write("a.toml", &answers(1, "[health]\ntcp = true\n"));
    site.done(&["reload"]);
    wait::until("all to be cleared", || asking(&site).is_empty().then_some(()));
}

#[test]
fn health_never_two_ask_at_a_time() {
    let ward = Ward::new();
    let (lock, twice, count) = (ward.text("lock"), ward.text("twice"), ward.text("count"));
    let script =
        format!("mkdir {lock} || touch {twice}; echo >> {count}; sleep 0.02; rmdir {lock}");
    let file = |fails: usize| {
        let health = "interval = \"10ms\"\ntimeout = \"10s\"\n";
        answers(1, &format!("[health]\nexec = \"{script}\"\nfails = {fails}\n{health}"))
    };
    let site = Site::boot(&[("a.toml", &file(1))]);
    site.wait_for("a", "running");
    for fails in 2..8 {
        site.write("a.toml", &file(fails));
        site.done(&["reload"]);
        let asked = || fs::read(&count).map_or(0, |lines| lines.len());
        let before = asked();
        wait::until("it to be asked again", || (asked() > before + 2).then_some(()));
        // An errand that is cut short leaves its lock, which is not what this is about.
        drop(fs::remove_dir(&lock));
    }
    assert!(!Path::new(&twice).exists());
}

#[test]
fn health_a_killed_bootctl_leaves_no_errand_behind() {
    let ward = Ward::new();
    let begun = ward.text("begun");
    let health = format!("exec = \"touch {begun}; sleep 1000\"\ntimeout = \"1h\"\n");
    let site = Site::boot(&[("a.toml", &answers(1, &format!("[health]\n{health}")))]);
    wait::until("it to be asked", || Path::new(&begun).exists().then_some(()));
    let pid = site.init.job("a.1.health")["pid"].clone();
    site.write("a.toml", &answers(1, ""));
    kill(site.supervisor());
    site.wait_for("a", "running");
    wait::until("it to be cleared", || asking(&site).is_empty().then_some(()));
    assert!(!jobinit_tests::init::is_alive(pid.as_u64().expect("it ran")));
}

#[test]
fn health_a_retired_instance_is_asked_no_more() {
    let health = "[health]\nexec = \"sleep 1000\"\ntimeout = \"1h\"\n";
    let site = Site::boot(&[("a.toml", &answers(1, health))]);
    wait::until("it to be asked", || (asking(&site) == ["a.1.health"]).then_some(()));
    site.done(&["stop", "a"]);
    wait::until("it to be cleared", || asking(&site).is_empty().then_some(()));
}

#[test]
fn health_an_app_may_say_itself_that_it_is_ready() {
    let ward = Ward::new();
    let gate = ward.gate();
    for socket in ["port", "unix", "fd"] {
        fs::write(&gate, "").expect("written");
        let more = format!("socket = \"{socket}\"\n[health]\nnotify = true\n");
        let site = Site::boot(&[("a.toml", &ward.app(&more))]);
        wait_for(&site, "a", "starting", "has not yet said READY=1");
        let said = site.bootctl(&["start", "a", "--timeout", "0"]);
        assert_eq!(said.code, Some(1), "{said:?}");
        fs::remove_file(&gate).expect("removed");
        site.done(&["start", "a"]);
        assert_eq!(site.get("a", "/").status, 200);
        kill(site.supervisor());
        site.wait_for("a", "running");
        assert_eq!(site.get("a", "/").status, 200);
    }
}

#[test]
fn o15_what_fails_while_bootctl_is_away_is_restarted() {
    let ward = Ward::new();
    let site = Site::boot(&[("a.toml", &ward.app(&quick("")))]);
    site.wait_for("a", "running");
    let before = site.pids("a")[0];
    ward.infect(&format!("{before} 500\n"));
    kill(site.supervisor());
    wait::until("a new process to be ready", || {
        let said = site.bootctl(&["status", "a", "--json"]);
        let view: Value = serde_json::from_str(&said.out).ok()?;
        let new = view["instances"][0]["pid"].as_u64().is_some_and(|pid| pid != before);
        (view["state"] == "running" && new).then_some(())
    });
}

#[test]
fn o13_backoff_and_fatal_are_told_and_recovered_from() {
    let ward = Ward::new();
    // It is ready only where it has decided to stay, however slow its shell is.
    let (well, up) = (ward.text("well"), ward.text("up"));
    let script = format!("test -e {well} && touch {up} && exec sleep 1000; exit 9");
    let file = |restart: &str| {
        format!(
            "exec = \"/bin/sh\"\nargs = [\"-c\", {script:?}]\n[health]\nexec = \"test -e {up}\"\n\
             [restart]\n{restart}"
        )
    };
    let site = Site::boot(&[
        ("slow.toml", &file("delay = \"1h\"\nmax_delay = \"1h\"\n")),
        ("over.toml", &file("delay = \"1ms\"\nfactor = 1\nlimit = 2\n")),
    ]);
    wait_for(&site, "slow", "backoff", "ended with exit code 9; it is started again in 3");
    let fatal = || wait_for(&site, "over", "fatal", "was restarted as often as restart.limit");
    let instance = fatal();
    assert_eq!(instance["restarts"], 2);
    let said = site.bootctl(&["start", "over"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains(" is fatal") && said.err.contains("last exit was 9"), "{said:?}");
    for words in [&["start", "over"][..], &["restart", "over"], &["reload", "--timeout", "0"]] {
        drop(fs::remove_file(ward.path("well")));
        drop(fs::remove_file(ward.path("up")));
        // What is well is made to fail, what has failed stays so.
        if let Some(pid) = site.pids("over").first() {
            kill(*pid);
        }
        fatal();
        fs::write(ward.path("well"), "").expect("written");
        drop(site.bootctl(words));
        site.wait_for("over", "running");
    }
}

#[test]
fn o05_a_new_check_is_asked_of_new_instances_first() {
    let site = Site::boot(&[("a.toml", &answers(1, ""))]);
    site.wait_for("a", "running");
    let pids = site.pids("a");
    // It never answers that: what it was asked before goes on to be asked.
    let health = "[health]\nexec = \"false\"\ninterval = \"20ms\"\nfails = 1\n";
    site.write("a.toml", &answers(1, health));
    let said = site.bootctl(&["reload", "--timeout", "1"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    kill(site.supervisor());
    wait_for(&site, "a", "starting", "not ready yet: /bin/sh ended with exit code 1");
    assert!(site.pids("a").contains(&pids[0]));
    assert_eq!(site.get("a", "/").status, 200);
}

#[test]
fn health_one_that_is_to_say_that_it_lives_and_does_not_is_restarted() {
    let ward = Ward::new();
    // The helper says that it is ready, and nothing after that.
    let more = "[health]\nnotify = true\nwatchdog = \"300ms\"\n[restart]\ndelay = \"10ms\"\n";
    let site = Site::boot(&[("a.toml", &ward.app(more))]);
    let before = site.wait_for("a", "running")["instances"][0]["pid"].clone();
    wait::until("it to be started again", || {
        let view = site.wait_for("a", "running");
        let instance = &view["instances"][0];
        (instance["pid"] != before && instance["restarts"].as_u64() > Some(0)).then_some(())
    });
}
