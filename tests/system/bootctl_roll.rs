//! An app's processes are replaced one by one: none of its requests is lost, and what fails is given up.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use jobinit_tests::bootctl::Site;
use jobinit_tests::init::is_alive;

use crate::bootctl_apps::answers;

/// Asks again and again while `work` goes on; answers how often, and what was not answered with 200.
#[track_caller]
fn under_load(site: &Site, path: &str, clients: usize, work: impl FnOnce()) -> usize {
    let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let failed = thread::scope(|scope| {
        let load = || {
            let mut bad = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let answer = site.get("a", path);
                asked.fetch_add(1, Ordering::Relaxed);
                if answer.status != 200 {
                    bad.push(answer);
                }
            }
            bad
        };
        let loads: Vec<_> = (0..clients).map(|_| scope.spawn(load)).collect();
        let done = Done(&over);
        work();
        drop(done);
        loads.into_iter().flat_map(|load| load.join().expect("no panic")).collect::<Vec<_>>()
    });
    assert!(failed.is_empty(), "{failed:?}");
    asked.into_inner()
}

/// Ends the load, also when the work fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn o03_restart_replaces_all_and_loses_no_request() {
    let site = Site::boot(&[("a.toml", &answers(2, ""))]);
    site.wait_for("a", "running");
    let mut pids = site.pids("a");
    let asked = under_load(&site, "/", 2, || {
        for _ in 0..3 {
            let said = site.done(&["restart", "a"]);
            assert!(said.starts_with("a is restarted: a."), "{said}");
            let after = site.pids("a");
            assert_eq!(after.len(), 2);
            assert!(after.iter().all(|pid| !pids.contains(pid)), "{pids:?} {after:?}");
            assert!(pids.iter().all(|pid| !is_alive(*pid)));
            pids = after;
        }
    });
    assert!(asked > 10, "{asked}");
    let id = site.status()["apps"][0]["instances"][0]["job"].as_str().expect("a name").to_owned();
    assert_eq!(site.init.job(&id)["spec"]["envs"]["BOOTCTL_REVISION"], "3");
}

#[test]
fn o03_restart_of_an_app_that_is_slow_to_listen() {
    let slow = answers(2, "[env]\nDELAY_MS = \"3000\"\n");
    let site = Site::boot(&[("a.toml", &slow)]);
    site.wait_for("a", "running");
    let pids = site.pids("a");
    let asked = under_load(&site, "/", 2, || drop(site.done(&["restart", "a"])));
    assert!(site.pids("a").iter().all(|pid| !pids.contains(pid)));
    assert!(asked > 10, "{asked}");
}

#[test]
fn o04_restart_lets_requests_of_5_s_finish() {
    let site = Site::boot(&[("a.toml", &answers(1, "[env]\nSLOW_MS = \"5000\"\n"))]);
    site.wait_for("a", "running");
    let pids = site.pids("a");
    let asked = under_load(&site, "/slow", 4, || {
        // Each of the clients has one in flight by then, or has it answered by the new one.
        jobinit_tests::wait::until("requests to be in flight", || {
            let state = site.proxy_state();
            (state.services["a"].targets["a.1"].in_flight == 4).then_some(())
        });
        site.done(&["restart", "a"]);
    });
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    assert!(asked >= 4, "{asked}");
}

#[test]
fn o03_what_is_not_running_is_not_restarted() {
    let site = Site::boot(&[("a.toml", &answers(1, "")), ("parked.toml", &answers(0, ""))]);
    site.wait_for("a", "running");
    for (app, told) in [("parked", "is parked"), ("b", "there is no app \"b\"")] {
        let said = site.bootctl(&["restart", app]);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains(told), "{said:?}");
    }
    site.done(&["stop", "a"]);
    let said = site.bootctl(&["restart", "a"]);
    assert!(said.err.contains("is stopped; start it with `bootctl start a`"), "{said:?}");
}
