//! PID 1's first duty: taking the dead.

use jobinit_tests::init::Init;
use jobinit_tests::wait;
use serde_json::json;

fn children_of(pid: i32) -> Vec<i32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let list = std::fs::read_to_string(path).unwrap();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

#[test]
fn b27_two_thousand_orphans_leave_no_zombie() {
    let init = Init::start(&[]);
    let helper = env!("CARGO_BIN_EXE_orphans");
    let spec = json!({"exec": helper, "args": ["2000"]});
    let ran = init.send("POST", "/job?wait=exit", &spec);
    assert_eq!(ran.json()["lastExit"], 0, "{ran:?}");
    wait::until("all orphans to be reaped", || {
        children_of(init.pid().as_raw()).is_empty().then_some(())
    });
    let jobs = init.get("/jobs").json();
    assert_eq!(jobs.as_array().unwrap().len(), 1, "an orphan is never shown as a job: {jobs}");
}

#[test]
fn b27_an_orphan_that_lives_is_no_job_and_reaped_later() {
    let init = Init::start(&[]);
    init.run_script("setsid sh -c 'sleep 0.3; exit 9' &");
    assert_eq!(init.get("/jobs").json().as_array().unwrap().len(), 1);
    wait::until("the orphan to be reaped", || {
        children_of(init.pid().as_raw()).is_empty().then_some(())
    });
}
