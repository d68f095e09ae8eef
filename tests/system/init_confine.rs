//! What a job may do and use up: exactly what its spec says, checked in the process itself.

use jobinit_tests::init::Init;
use serde_json::json;

use crate::init_spawn::show;

/// The soft and hard bound of a line of `/proc/PID/limits`.
fn limit<'a>(limits: &'a str, name: &str) -> (&'a str, &'a str) {
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect("such a limit");
    let mut words = line.split_whitespace();
    (words.next().unwrap(), words.next().unwrap())
}

#[test]
fn b18_without_a_word_nothing_is_confined() {
    let init = Init::start(&[]);
    let shown = show(&init, &json!({}));
    assert_eq!(shown["umask"], "0022");
    assert_eq!(shown["nice"], 0);
    assert_eq!(shown["noNewPrivs"], "0");
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(shown["oomScoreAdj"], own, "what init was started with, not init's own");
    let limits = shown["limits"].as_str().unwrap();
    let ours = std::fs::read_to_string("/proc/self/limits").unwrap();
    assert_eq!(limit(limits, "Max open files"), limit(&ours, "Max open files"));
}

#[test]
fn umask_nice_and_oom_score_adj_are_as_asked() {
    let init = Init::start(&[]);
    let shown = show(&init, &json!({"umask": "027", "nice": 7, "oom_score_adj": 250}));
    assert_eq!(shown["umask"], "0027");
    assert_eq!(shown["nice"], 7);
    assert_eq!(shown["oomScoreAdj"], "250\n");
    let shown = show(&init, &json!({"nice": -5, "user": "nobody"}));
    assert_eq!(shown["nice"], -5, "set before the user changes");
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(shown["oomScoreAdj"], own, "what another job has asked for is not this one's");
}

#[test]
fn rlimits_are_as_asked() {
    let init = Init::start(&[]);
    let rlimits = json!({
        "nofile": {"soft": 100, "hard": 200}, "core": 0, "fsize": "unlimited",
        "memlock": {"soft": 4096, "hard": 8192}, "as": {"soft": 1_000_000_000, "hard": "unlimited"},
    });
    let shown = show(&init, &json!({"rlimits": rlimits, "user": "nobody"}));
    let limits = shown["limits"].as_str().unwrap();
    assert_eq!(limit(limits, "Max open files"), ("100", "200"));
    assert_eq!(limit(limits, "Max core file size"), ("0", "0"));
    assert_eq!(limit(limits, "Max file size"), ("unlimited", "unlimited"));
    assert_eq!(limit(limits, "Max locked memory"), ("4096", "8192"));
    assert_eq!(limit(limits, "Max address space"), ("1000000000", "unlimited"));
}

#[test]
fn no_new_privs_is_as_asked() {
    let init = Init::start(&[]);
    assert_eq!(show(&init, &json!({"no_new_privs": true}))["noNewPrivs"], "1");
}

#[test]
fn capabilities_are_exactly_those_that_are_named() {
    let init = Init::start(&[]);
    let one = "0000000000000400";
    for user in ["root", "nobody"] {
        let spec = json!({"user": user, "capabilities": ["NET_BIND_SERVICE"]});
        let capabilities = &show(&init, &spec)["capabilities"];
        for set in ["effective", "permitted", "bounding", "ambient"] {
            assert_eq!(capabilities[set], one, "{user} {set}");
        }
    }
    let none = "0000000000000000";
    // Without DAC_OVERRIDE root writes to its own files only, which the test's are.
    let capabilities = &show(&init, &json!({"capabilities": []}))["capabilities"];
    for set in ["effective", "permitted", "bounding", "ambient"] {
        assert_eq!(capabilities[set], none, "{set}");
    }
}

#[test]
fn b20_what_cannot_be_is_refused_by_name() {
    let init = Init::start(&[]);
    for (field, value) in [
        ("umask", json!("8")),
        ("umask", json!(18)),
        ("nice", json!(20)),
        ("nice", json!(-300)),
        ("oom_score_adj", json!(2000)),
        ("capabilities", json!(["FLY"])),
        ("rlimits.nofile", json!(-1)),
        ("rlimits.nofile", json!({"soft": 2, "hard": 1})),
        ("rlimits.nofile", json!({"soft": 2})),
        ("cgroup.memory_max", json!("256M")),
        ("cgroup.cpu_weight", json!(0)),
        ("watchdog_ms", json!(0)),
        ("watchdog_ms", json!(-1)),
        ("ready.fd", json!(1)),
        ("ready", json!("soon")),
        ("cwd", json!("relative")),
        ("no_new_privs", json!("yes")),
    ] {
        let mut spec = json!({"exec": "/bin/true"});
        match field.split_once('.') {
            None => spec[field] = value.clone(),
            Some((outer, inner)) => spec[outer] = json!({inner: value}),
        }
        let answer = init.send("PUT", "/job/bad", &spec);
        assert_eq!(answer.status, 400, "{field} {value}: {answer:?}");
        let named = answer.json()["field"].as_str().unwrap_or_default().to_owned();
        assert!(named == field || field.starts_with(&named) && !named.is_empty(), "{answer:?}");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(field.split('.').next().unwrap()), "{message}");
    }
    assert_eq!(init.get("/jobs").json(), json!([]));
    let unknown = json!({"exec": "/bin/true", "rlimits": {"fly": 1}});
    let answer = init.send("PUT", "/job/bad", &unknown);
    assert_eq!(
        (answer.status, &answer.json()["field"]),
        (400, &json!("rlimits.fly")),
        "{answer:?}"
    );
}

#[test]
fn b20_what_the_kernel_refuses_is_said_with_the_step() {
    use std::process::Command;
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all"]);
    command.arg(jobinit_tests::binaries::program("init")).args(["--listen", "127.0.0.1:0"]);
    let init = Init::launch(command);
    for (change, stage) in [
        (json!({"nice": -5}), "nice"),
        (json!({"rlimits": {"nofile": 4_000_000_000_u64}}), "rlimits"),
        (json!({"capabilities": []}), "capabilities"),
        (json!({"oom_score_adj": -900}), "oom_score_adj"),
        (json!({"user": 0, "group": 0}), "groups"),
        (json!({"cgroup": {"pids_max": 5}}), "cgroup"),
    ] {
        let mut spec = json!({"exec": "/bin/true"});
        let (key, value) = change.as_object().unwrap().iter().next().unwrap();
        spec[key] = value.clone();
        if key == "user" {
            spec["group"] = json!(0);
        }
        let answer = init.send("PUT", "/job/bad", &spec);
        assert_eq!((answer.status, &answer.json()["stage"]), (400, &json!(stage)), "{answer:?}");
    }
    // Its own user is no change, and needs no power.
    let spec = json!({"exec": "/bin/true", "user": 65534, "group": 65534});
    let answer = init.send("PUT", "/job/own?wait=exit", &spec);
    assert_eq!((answer.status, &answer.json()["lastExit"]), (201, &json!(0)), "{answer:?}");
}
