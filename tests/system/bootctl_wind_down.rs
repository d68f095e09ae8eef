//! The end: requests finish, nothing is left.

use std::fs;
use std::thread;

use jobinit_tests::bootctl::Site;
use jobinit_tests::init::is_alive;
use jobinit_tests::wait;
use nix::sys::signal::Signal;

use crate::bootctl_apps::answers;

#[test]
fn b28_term_winds_down_and_leaves_nothing() {
    let mut site = Site::boot(&[("a.toml", &answers(2, "")), ("b.toml", &answers(1, ""))]);
    site.wait_for("a", "running");
    site.wait_for("b", "running");
    let mut pids = site.pids("a");
    pids.extend(site.pids("b"));
    pids.push(site.init.job("proxyd")["pid"].as_u64().expect("it runs"));
    let pending = thread::scope(|scope| {
        let pending = scope.spawn(|| site.get("a", "/slow"));
        wait::until("the request to be in flight", || {
            let state = site.proxy_state();
            let mut targets = state.services.values().flat_map(|service| service.targets.values());
            targets.any(|target| target.in_flight > 0).then_some(())
        });
        site.init.signal(Signal::SIGTERM);
        pending.join().expect("no panic")
    });
    assert_eq!(pending.status, 200, "a request in flight finishes: {pending:?}");
    assert_eq!(site.init.wait_end().code(), Some(0));
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    let left = fs::read_dir(site.folder().join("run")).expect("the folder stays");
    let left: Vec<_> = left.flatten().map(|entry| entry.file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
    wait::until("the port to be free", || std::net::TcpListener::bind(site.proxy).ok());
}
