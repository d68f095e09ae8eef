//! The six routes of the job API, and those beside them.

use std::thread;

use jobinit_tests::http::{self, Follower};
use jobinit_tests::init::{Init, is_alive};
use jobinit_tests::wait;
use serde_json::{Value, json};

fn sleeper() -> Value {
    json!({"exec": "/bin/sleep", "args": ["600"]})
}

fn exits(code: u8) -> Value {
    json!({"exec": "/bin/sh", "args": ["-c", format!("exit {code}")]})
}

#[test]
fn b06_post_starts_a_job_with_a_name_of_its_own() {
    let init = Init::start(&[]);
    let answers = [(); 2].map(|()| init.send("POST", "/job", &sleeper()));
    for answer in &answers {
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(answer.header("location"), Some(format!("/job/{id}").as_str()));
        assert!(is_alive(answer.json()["pid"].as_u64().unwrap()));
    }
    assert_ne!(answers[0].json()["id"], answers[1].json()["id"]);
}

#[test]
fn b07_put_starts_a_job_with_that_name() {
    let init = Init::start(&[]);
    let answer = init.send("PUT", "/job/web.1", &sleeper());
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("location"), Some("/job/web.1"));
    assert_eq!(answer.json()["id"], "web.1");
    let pid = answer.json()["pid"].as_u64().unwrap();
    // The kernel has forgotten the words of the program before, and tells the new ones a moment later.
    let args = wait::until("its words", || {
        let args = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        (!args.is_empty()).then_some(args)
    });
    assert_eq!(args, "/bin/sleep\x00600\0", "the answer comes after exec");
}

#[test]
fn b08_put_live_id_conflicts() {
    let init = Init::start(&[]);
    let pid = init.launch_job("web", &sleeper());
    let same = init.send("PUT", "/job/web", &sleeper());
    assert_eq!((same.status, same.json()["pid"].as_u64()), (200, Some(pid)));
    let other = init.send("PUT", "/job/web", &json!({"exec": "/bin/sleep", "args": ["601"]}));
    assert_eq!((other.status, &other.json()["error"]), (409, &json!("other_spec")));
    assert!(is_alive(pid));
    assert_eq!(init.job("web")["pid"].as_u64(), Some(pid));
}

#[test]
fn b08_put_on_an_ended_job_takes_its_place() {
    let init = Init::start(&[]);
    init.launch_job("web", &exits(3));
    init.wait_for("web", "failed");
    let answer = init.send("PUT", "/job/web", &sleeper());
    assert_eq!(answer.status, 201);
    assert_eq!(init.job("web")["spec"]["args"], json!(["600"]));
}

#[test]
fn b09_jobs_lists_every_job() {
    let init = Init::start(&[]);
    assert_eq!(init.get("/jobs").json(), json!([]));
    init.launch_job("b", &sleeper());
    init.launch_job("a", &exits(0));
    init.wait_for("a", "success");
    let jobs = init.get("/jobs").json();
    let ids: Vec<_> = jobs.as_array().unwrap().iter().map(|job| job["id"].clone()).collect();
    assert_eq!(ids, ["a", "b"]);
}

#[test]
fn b10_job_shows_what_there_is_to_know() {
    let init = Init::start(&[]);
    let pid = init.launch_job("web", &sleeper());
    let job = init.job("web");
    assert_eq!(job["status"], "running");
    assert_eq!(job["pid"].as_u64(), Some(pid));
    assert_eq!(job["lastExit"], Value::Null);
    assert_eq!(job["respawn"], 0);
    assert_eq!(job["spec"], sleeper());
    let unknown = init.get("/job/nosuch");
    assert_eq!((unknown.status, &unknown.json()["error"]), (404, &json!("unknown_job")));
}

#[test]
fn b11_how_a_job_ended_is_recorded() {
    let init = Init::start(&[]);
    for (id, spec, status, last) in [
        ("good", exits(0), "success", json!(0)),
        ("bad", exits(3), "failed", json!(3)),
        ("most", exits(255), "failed", json!(255)),
    ] {
        init.launch_job(id, &spec);
        assert_eq!(init.wait_for(id, status)["lastExit"], last, "{id}");
    }
    init.launch_job("killed", &sleeper());
    assert_eq!(init.put("/job/killed/sig/KILL").status, 204);
    assert_eq!(init.wait_for("killed", "failed")["lastExit"], "SIGKILL");
}

#[test]
fn b11_wait_exit_answers_when_it_has_ended() {
    let init = Init::start(&[]);
    let ran = init.run_script("exit 7");
    assert_eq!((&ran["status"], &ran["lastExit"]), (&json!("failed"), &json!(7)));
    init.launch_job("brief", &json!({"exec": "/bin/sleep", "args": ["0.2"]}));
    let ended = init.get("/job/brief?wait=exit");
    assert_eq!((ended.status, &ended.json()["lastExit"]), (200, &json!(0)));
}

#[test]
fn b12_signals_go_by_name_and_number() {
    let init = Init::start(&[]);
    for (id, signal, last) in
        [("a", "TERM", "SIGTERM"), ("b", "SIGINT", "SIGINT"), ("c", "9", "SIGKILL")]
    {
        init.launch_job(id, &sleeper());
        assert_eq!(init.put(&format!("/job/{id}/sig/{signal}")).status, 204);
        assert_eq!(init.wait_for(id, "failed")["lastExit"], last);
    }
}

#[test]
fn b13_signals_that_cannot_be_sent() {
    let init = Init::start(&[]);
    init.launch_job("web", &sleeper());
    for bad in ["NOPE", "0", "65", "-9", "%20"] {
        assert_eq!(init.put(&format!("/job/web/sig/{bad}")).status, 400, "{bad}");
    }
    assert_eq!(init.put("/job/nosuch/sig/TERM").status, 404);
    init.launch_job("dead", &exits(0));
    init.wait_for("dead", "success");
    assert_eq!(init.put("/job/dead/sig/TERM").status, 409);
}

#[test]
fn b14_delete_clears_a_stopped_job() {
    let init = Init::start(&[]);
    init.launch_job("web", &exits(0));
    init.wait_for("web", "success");
    assert_eq!(init.delete("/job/web").status, 204);
    assert_eq!(init.get("/job/web").status, 404);
    assert_eq!(init.delete("/job/web").status, 404);
}

#[test]
fn b15_delete_refuses_a_running_job() {
    let init = Init::start(&[]);
    let pid = init.launch_job("web", &sleeper());
    assert_eq!(init.delete("/job/web").status, 409);
    assert!(is_alive(pid));
    assert_eq!(init.job("web")["status"], "running");
}

#[test]
fn b16_delete_cancels_a_pending_restart() {
    let init = Init::start(&[]);
    let mut spec = exits(1);
    spec["restart"] = json!({"policy": "always", "delay_ms": 300});
    init.launch_job("web", &spec);
    assert!(init.wait_for("web", "backoff")["nextStart"].is_string());
    assert_eq!(init.delete("/job/web").status, 204);
    // Another job that lives longer than the delay shows that it has passed.
    init.run_script("sleep 0.5");
    assert_eq!(init.get("/job/web").status, 404);
}

#[test]
fn b24_a_crashed_job_comes_back_by_its_policy() {
    let init = Init::start(&[]);
    let mut spec = sleeper();
    spec["restart"] = json!({"policy": "on-failure", "delay_ms": 20});
    let pid = init.launch_job("web", &spec);
    assert_eq!(init.put("/job/web/sig/KILL").status, 204);
    let back = wait::until("a new process", || {
        let job = init.job("web");
        (job["status"] == "running" && job["pid"].as_u64() != Some(pid)).then_some(job)
    });
    assert_eq!((&back["respawn"], &back["lastExit"]), (&json!(1), &json!("SIGKILL")));

    spec["args"] = json!(["0"]);
    init.launch_job("good", &spec);
    assert_eq!(init.wait_for("good", "success")["respawn"], 0);
}

#[test]
fn b24_a_restart_limit_is_kept() {
    let init = Init::start(&[]);
    let mut spec = exits(1);
    spec["restart"] = json!({"policy": "always", "delay_ms": 0, "limit": 3});
    init.launch_job("web", &spec);
    let job = init.wait_for("web", "failed");
    assert_eq!(job["respawn"], 3);
    assert!(job["why"].as_str().unwrap().contains("restart.limit"), "{job}");
}

#[test]
fn b30_fifty_puts_of_one_id_make_one_process() {
    let init = Init::start(&[]);
    let pids: Vec<_> = thread::scope(|scope| {
        let asks: Vec<_> =
            (0..50).map(|_| scope.spawn(|| init.send("PUT", "/job/one", &sleeper()))).collect();
        asks.into_iter().map(|ask| ask.join().unwrap()).collect()
    });
    let created = pids.iter().filter(|answer| answer.status == 201).count();
    let found = pids.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((created, found), (1, 49));
    assert!(pids.iter().all(|answer| answer.json()["pid"] == pids[0].json()["pid"]));
}

#[test]
fn stop_start_and_restart_answer_after_the_fact() {
    let init = Init::start(&[]);
    let first = init.launch_job("web", &sleeper());
    let stopped = init.put("/job/web/stop");
    assert_eq!((stopped.status, &stopped.json()["status"]), (200, &json!("success")));
    assert!(!is_alive(first));
    let started = init.put("/job/web/start");
    assert_eq!((started.status, &started.json()["status"]), (200, &json!("running")));
    let second = started.json()["pid"].as_u64().unwrap();
    let third = init.put("/job/web/restart").json()["pid"].as_u64().unwrap();
    assert!(!is_alive(second) && is_alive(third));
}

#[test]
fn stop_takes_the_whole_group_and_kills_what_refuses() {
    let init = Init::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("ready");
    let helper = env!("CARGO_BIN_EXE_ignores_term");
    // The leader obeys, its child does not.
    let script = format!("{helper} {} & wait", marker.display());
    init.launch_job(
        "web",
        &json!({"exec": "/bin/sh", "args": ["-c", script], "stop": {"timeout_ms": 200}}),
    );
    wait::until("the stubborn child", || marker.exists().then_some(()));
    let stopped = init.put("/job/web/stop").json();
    assert_eq!(stopped["status"], "success");
    let left = std::process::Command::new("pgrep")
        .args(["-f", &marker.display().to_string()])
        .output()
        .unwrap();
    assert!(left.stdout.is_empty(), "the child is gone when stop answers");
}

#[test]
fn follow_tells_what_is_there_and_what_happens() {
    let init = Init::start(&[]);
    init.launch_job("old", &sleeper());
    let mut events = Follower::start(init.api(), "/jobs?follow");
    let mut next = || events.json().unwrap();
    let first = next();
    assert_eq!((&first["event"], &first["job"]["id"]), (&json!("job"), &json!("old")));
    assert_eq!(next()["event"], "ready");
    init.launch_job("new", &exits(2));
    assert_eq!(next()["job"]["status"], "running");
    let ended = next();
    assert_eq!((&ended["job"]["id"], &ended["job"]["lastExit"]), (&json!("new"), &json!(2)));
    init.delete("/job/new");
    assert_eq!(
        next(),
        json!({"event": "gone", "seq": ended["seq"].as_u64().unwrap() + 1, "id": "new"})
    );
}

#[test]
fn what_is_not_there_is_said_in_json() {
    let init = Init::start(&[]);
    for (method, path, status) in [
        ("GET", "/", 404),
        ("GET", "/job", 405),
        ("PATCH", "/jobs", 405),
        ("GET", "/job/..%2f", 400),
        ("GET", "/jobs?nope=1", 400),
        ("GET", "/job/x?wait=never", 400),
        ("PUT", "/job/init/stop?then=explode", 400),
        ("PUT", "/job/init", 405),
        ("PUT", "/job/init/sig/TERM", 409),
    ] {
        let answer = http::request(init.api(), method, path, "", "");
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert!(answer.json()["message"].as_str().unwrap().len() > 10, "{answer:?}");
    }
    assert_eq!(init.get("/job/init").json()["pid"], init.pid().as_raw());
}

#[test]
fn b20_a_wrong_method_and_a_meaningless_query_are_told() {
    let init = Init::start(&[]);
    let answer = init.get("/job/nap/stop");
    assert_eq!(answer.status, 405);
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("takes PUT, not GET; try curl -X PUT"), "{message}");
    let answer = init.send("POST", "/job/init", &json!({"exec": "/bin/true"}));
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    assert!(answer.status == 405 && message.contains("takes GET"), "{message}");
    init.launch_job("nap", &json!({"exec": "/bin/sleep", "args": ["60"]}));
    let answer = init.put("/job/nap/stop?force=1");
    assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("bad_query")));
    assert_eq!(init.job("nap")["status"], "running");
}
