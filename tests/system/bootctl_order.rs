//! Apps that wait for others: at the start, and the other way round at the end.

use std::fs;
use std::path::PathBuf;

use jobinit_tests::bootctl::Site;
use jobinit_tests::wait;
use nix::sys::signal::Signal;

use crate::bootctl_apps::{answers, kill};

/// An app that is ready while a file is there, and says in another one when it ends.
struct Slow {
    folder: tempfile::TempDir,
}

impl Slow {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn app(&self, name: &str, more: &str) -> String {
        let (ended, gate) = (self.path("ended"), self.path(name));
        let script = format!(
            "trap 'sleep 0.1; echo {name} >> {}; exit 0' TERM; while :; do sleep 0.05; done",
            ended.display()
        );
        let health = format!("exec = [\"test\", \"-e\", {:?}]", gate.to_str().expect("UTF-8"));
        format!(
            "exec = \"/bin/sh\"\nargs = [\"-c\", {script:?}]\n{more}\n[health]\n{health}\n\
             interval = \"50ms\"\n[stop]\ndrain = \"0s\"\n"
        )
    }

    fn open(&self, name: &str) {
        fs::write(self.path(name), "").expect("written");
    }
}

/// Jobs of apps that init has.
fn jobs(site: &Site) -> Vec<String> {
    let jobs = site.init.get("/jobs").json();
    let ids = jobs.as_array().expect("an array").iter().filter_map(|job| job["id"].as_str());
    let ours = ids.filter(|id| id.ends_with(".1") || id.ends_with(".2"));
    ours.map(str::to_owned).collect()
}

/// Waits until an app waits, for a reason with these words in it.
#[track_caller]
fn waits(site: &Site, app: &str, why: &str) {
    wait::until(why, || {
        let view = site.wait_for(app, "waiting");
        view["why"].as_str().is_some_and(|told| told.contains(why)).then_some(())
    });
}

#[test]
fn i14_apps_wait_for_those_that_they_name_and_others_start_at_once() {
    let slow = Slow::new();
    let site = Site::boot(&[
        ("cache.toml", &slow.app("cache", "")),
        ("db.toml", &slow.app("db", "")),
        ("shop.toml", &answers(2, "after = [\"cache\"]\nrequires = [\"db\"]\n")),
        ("web.toml", &answers(1, "after = [\"shop\"]\n")),
    ]);
    waits(&site, "shop", "shop is waiting for db");
    waits(&site, "web", "web is waiting for shop");
    wait::until("both to be started", || (jobs(&site) == ["cache.1", "db.1"]).then_some(()));
    assert_eq!(site.get("shop", "/").status, 503);
    assert!(site.done(&["status"]).contains("waiting"));
    slow.open("db");
    waits(&site, "shop", "shop is waiting for cache");
    assert_eq!(jobs(&site), ["cache.1", "db.1"]);
    slow.open("cache");
    site.wait_for("web", "running");
    site.wait_for("shop", "running");
    assert_eq!(site.get("shop", "/").status, 200);
}

#[test]
fn i14_what_runs_waits_for_nobody() {
    let slow = Slow::new();
    slow.open("db");
    let shop = |more: &str| answers(1, &format!("requires = [\"db\"]\n{more}"));
    let site = Site::boot(&[("db.toml", &slow.app("db", "")), ("shop.toml", &shop(""))]);
    site.wait_for("shop", "running");
    let pids = site.pids("shop");
    site.done(&["stop", "db"]);
    assert_eq!(site.get("shop", "/").status, 200);
    assert_eq!(site.pids("shop"), pids);
    site.write("shop.toml", &shop("[env]\nCOLOUR = \"red\"\n"));
    site.done(&["reload"]);
    assert!(site.get("shop", "/").body.ends_with("red"), "a roll does not wait");
    site.done(&["restart", "shop"]);
    kill(site.pids("shop")[0]);
    wait::until("it to be started again", || {
        (site.wait_for("shop", "running")["instances"][0]["restarts"] == 1).then_some(())
    });
}

#[test]
fn i14_what_will_not_come_is_not_waited_for_or_told() {
    let slow = Slow::new();
    slow.open("db");
    let fatal =
        "exec = \"false\"\n[health]\nexec = \"true\"\n[restart]\nlimit = 1\ndelay = \"1ms\"\n";
    let site = Site::boot(&[
        ("db.toml", &slow.app("db", "")),
        ("dead.toml", fatal),
        ("parked.toml", &answers(0, "")),
        ("easy.toml", &answers(1, "after = [\"dead\", \"parked\", \"db\"]\n")),
        ("strict.toml", &answers(1, "requires = [\"db\"]\n")),
        ("last.toml", &answers(1, "after = [\"strict\"]\n")),
        ("never.toml", &answers(1, "requires = [\"dead\"]\n")),
    ]);
    site.wait_for("easy", "running");
    site.wait_for("strict", "running");
    let said = site.bootctl(&["start", "never"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("never is waiting for dead, which has ended"), "{said:?}");

    for app in ["strict", "last", "db"] {
        site.done(&["stop", app]);
    }
    let said = site.bootctl(&["start", "strict"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("strict is waiting for db, which is stopped"), "{said:?}");
    site.done(&["start", "last"]);
    waits(&site, "strict", "waiting for db, which is stopped");
    site.done(&["start", "db"]);
    site.wait_for("strict", "running");
}

#[test]
fn i14_a_killed_bootctl_goes_on_waiting() {
    let slow = Slow::new();
    let site = Site::boot(&[
        ("db.toml", &slow.app("db", "")),
        ("shop.toml", &answers(1, "requires = [\"db\"]\n")),
    ]);
    waits(&site, "shop", "shop is waiting for db");
    kill(site.supervisor());
    waits(&site, "shop", "shop is waiting for db");
    assert_eq!(jobs(&site), ["db.1"]);
    slow.open("db");
    site.wait_for("shop", "running");
}

#[test]
fn i14_a_circle_is_told_and_nothing_changes() {
    let site = Site::boot(&[("a.toml", &answers(1, "")), ("b.toml", &answers(1, ""))]);
    site.wait_for("a", "running");
    site.wait_for("b", "running");
    let pids = (site.pids("a"), site.pids("b"));
    site.write("a.toml", &answers(1, "after = [\"b\"]\n"));
    site.write("b.toml", &answers(1, "requires = [\"a\"]\n"));
    let said = site.bootctl(&["reload"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let told = "apps/a.toml:3:10: `after` leads in a circle, a → b → a";
    assert!(said.err.contains(told), "{said:?}");
    kill(site.supervisor());
    wait::until("it to answer again", || site.bootctl(&["status"]).code.filter(|it| *it == 0));
    assert_eq!((site.pids("a"), site.pids("b")), pids, "their files are broken, and they run on");
}

#[test]
fn i14_the_end_comes_in_reverse_order() {
    let slow = Slow::new();
    for name in ["one", "two", "three", "alone"] {
        slow.open(name);
    }
    let mut site = Site::boot(&[
        ("one.toml", &slow.app("one", "")),
        ("two.toml", &slow.app("two", "after = [\"one\"]")),
        ("three.toml", &slow.app("three", "requires = [\"two\"]")),
    ]);
    site.wait_for("three", "running");
    site.init.signal(Signal::SIGTERM);
    site.init.wait_end();
    let ended = fs::read_to_string(slow.path("ended")).expect("they have ended");
    assert_eq!(ended.lines().collect::<Vec<_>>(), ["three", "two", "one"]);
}
