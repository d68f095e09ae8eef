//! bootctl may be killed at any time.

use jobinit_tests::bootctl::Site;
use jobinit_tests::wait;

use crate::bootctl_apps::{answers, kill};

#[test]
fn o15_kill_9_of_the_supervisor_touches_no_app() {
    let site = Site::boot(&[("a.toml", &answers(2, "")), ("b.toml", &answers(1, ""))]);
    site.wait_for("a", "running");
    site.wait_for("b", "running");
    let (a, b) = (site.pids("a"), site.pids("b"));
    let proxy = site.init.job("proxyd")["pid"].clone();
    let ports = |app| {
        site.wait_for(app, "running")["instances"]
            .as_array()
            .cloned()
            .map(|list| list.iter().map(|instance| instance["port"].clone()).collect::<Vec<_>>())
    };
    let before = (ports("a"), ports("b"));
    for _ in 0..3 {
        let supervisor = site.supervisor();
        kill(supervisor);
        assert_eq!(site.get("a", "/").status, 200, "requests need no supervisor");
        wait::until("a new supervisor", || {
            let pid = site.init.job("boot")["pid"].as_u64();
            pid.filter(|pid| *pid != supervisor)
        });
        wait::until("it to answer", || (site.bootctl(&["status"]).code == Some(0)).then_some(()));
        site.wait_for("a", "running");
        site.wait_for("b", "running");
        assert_eq!((site.pids("a"), site.pids("b")), (a.clone(), b.clone()));
        assert_eq!((ports("a"), ports("b")), before);
        assert_eq!(site.init.job("proxyd")["pid"], proxy);
    }
    let jobs = site.init.get("/jobs").json();
    assert_eq!(
        jobs.as_array().map(Vec::len),
        Some(6),
        "boot, proxyd, collector, a.1, a.2, b.1: {jobs}"
    );
}

#[test]
fn o15_a_file_that_breaks_while_no_supervisor_runs_costs_no_app() {
    let site = Site::boot(&[("a.toml", &answers(1, "")), ("b.toml", &answers(1, ""))]);
    site.wait_for("a", "running");
    site.wait_for("b", "running");
    let pids = site.pids("a");
    site.write("a.toml", "exce = \"x\"\n");
    kill(site.supervisor());
    site.wait_for("a", "held");
    assert_eq!(site.pids("a"), pids);
    assert_eq!(site.get("a", "/").status, 200);
    assert!(site.done(&["status"]).contains("did you mean `exec`?"));
    site.write("a.toml", &answers(1, ""));
    site.done(&["reload"]);
    assert_eq!(site.pids("a"), pids);
    assert_eq!(site.get("b", "/").status, 200);
}

#[test]
fn jobs_that_are_not_its_own_are_left_alone() {
    let site = Site::boot(&[("a.toml", &answers(1, ""))]);
    let spec = serde_json::json!({"exec": "/bin/sleep", "args": ["60"]});
    let pid = site.init.launch_job("other", &spec);
    site.wait_for("a", "running");
    site.done(&["reload"]);
    assert_eq!(site.init.job("other")["pid"], pid);
}
