//! Apps from start to stop, through the proxy.

use std::fs;

use jobinit_tests::bootctl::Site;
use jobinit_tests::init::is_alive;
use jobinit_tests::wait;

use crate::bootctl_roll::under_load;

/// An app file of the helper `answers`.
pub(crate) fn answers(instances: u32, more: &str) -> String {
    let exec = env!("CARGO_BIN_EXE_answers");
    format!("exec = \"{exec}\"\ninstances = {instances}\n{more}")
}

#[test]
fn o02_apps_start_stop_and_start_again() {
    let site = Site::boot(&[("shop.test.toml", &answers(2, "alias = [\"www.shop.test\"]\n"))]);
    site.wait_for("shop.test", "running");
    for host in ["shop.test", "www.shop.test"] {
        let answer = site.get(host, "/");
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.body.starts_with("shop.test "), "{answer:?}");
    }
    let pids = site.pids("shop.test");
    assert_eq!(pids.len(), 2);

    site.done(&["stop", "shop.test"]);
    assert!(pids.iter().all(|pid| !is_alive(*pid)), "stop answers when they are gone");
    assert_eq!(site.get("shop.test", "/").status, 503);
    assert!(site.done(&["status", "shop.test"]).contains("is stopped"));

    site.done(&["start", "shop.test"]);
    assert_eq!(site.get("shop.test", "/").status, 200, "start answers when it answers");
    let again = site.pids("shop.test");
    site.done(&["start", "shop.test"]);
    assert_eq!(site.pids("shop.test"), again, "to start what runs changes nothing");
}

#[test]
fn o02_a_stopped_app_stays_stopped_when_bootctl_starts_anew() {
    let site = Site::boot(&[("a.toml", &answers(1, "")), ("b.toml", &answers(1, ""))]);
    site.wait_for("a", "running");
    site.done(&["stop", "a"]);
    kill(site.supervisor());
    site.wait_for("b", "running");
    site.wait_for("a", "stopped");
}

#[test]
fn o02_who_shares_an_alias_keeps_the_host_of_its_own() {
    let shared = answers(1, "alias = [\"www.test\"]\n");
    let mut site = Site::boot(&[("shop.test.toml", &shared)]);
    site.wait_for("shop.test", "running");
    site.write("blog.test.toml", &shared);
    assert_eq!(site.bootctl(&["reload"]).code, Some(1));
    assert!(site.get("www.test", "/").body.starts_with("shop.test "));
    site.reboot();
    for app in ["blog.test", "shop.test"] {
        site.wait_for(app, "running");
        assert!(site.get(app, "/").body.starts_with(app));
    }
    assert!(site.get("www.test", "/").body.starts_with("blog.test "), "the first file has it");
    let problem = &site.status()["problems"][0];
    for told in [
        "apps/shop.test.toml:3:10: `alias www.test`",
        "blog.test has already",
        "apps/blog.test.toml",
    ] {
        assert!(problem.as_str().expect("a sentence").contains(told), "{problem}");
    }
    let said = site.bootctl(&["scale", "shop.test", "2"]);
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn o02_a_start_that_fails_says_why() {
    let site = Site::boot(&[
        ("absent.toml", "exec = \"/nowhere/server\"\n"),
        ("dies.toml", "exec = \"false\"\n[restart]\ndelay = \"10ms\"\nfactor = 1\n"),
        ("ends.toml", "exec = \"false\"\n[restart]\npolicy = \"never\"\n"),
    ]);
    let said = site.bootctl(&["start", "absent"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("ENOENT") || said.err.contains("No such file"), "{said:?}");
    let said = site.bootctl(&["start", "dies"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("last exit was 1"), "{said:?}");
    let said = site.bootctl(&["start", "ends"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("is failed: ended with exit code 1"), "{said:?}");
    let table = site.done(&["status"]);
    assert!(table.contains("dies"), "{table}");
}

#[test]
fn o08_status_works_with_nothing_there() {
    let site = Site::boot(&[]);
    assert!(site.done(&["status"]).contains("no apps"));
    assert_eq!(site.status()["apps"].as_array().map(Vec::len), Some(0));
}

#[test]
fn o08_status_tells_of_each_instance_and_what_it_uses() {
    let site = Site::boot(&[("a.toml", &answers(2, ""))]);
    let view = site.wait_for("a", "running");
    let instances = view["instances"].as_array().expect("instances");
    assert_eq!(instances.len(), 2, "{view}");
    for instance in instances {
        let (pid, used) = (&instance["pid"], &instance["memoryBytes"]);
        let about = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
        let resident = about.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it says");
        let resident = resident.trim().trim_end_matches(" kB").parse::<u64>().expect("a number");
        let used = used.as_u64().expect("known") / 1024;
        assert!(used.abs_diff(resident) < resident / 2 + 512, "{used} and {resident} KiB");
        assert!(instance["cpuMs"].is_u64() && instance["uptimeMs"].is_u64(), "{instance}");
    }
    for words in [&["status"][..], &["status", "a"]] {
        let table = site.done(words);
        let lines: Vec<_> = table.lines().collect();
        let head = lines.iter().position(|line| line.starts_with("APP ")).expect("a head");
        let memory = lines[head].find("MEMORY").expect("a column");
        assert!(lines[head + 1][memory..].contains("iB"), "{table}");
    }
}

#[test]
fn o08_names_that_are_not_there_suggest_the_nearest() {
    let site = Site::boot(&[("shop.test.toml", &answers(0, ""))]);
    let said = site.bootctl(&["stop", "shpo.test"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("did you mean shop.test?"), "{said:?}");
    let said = site.bootctl(&["start", "../x y"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("there is no app"), "{said:?}");
    let said = site.bootctl(&["start", "shop.test"]);
    assert!(said.err.contains("parked"), "{said:?}");
    assert_eq!(site.bootctl(&["strat", "x"]).code, Some(2));
}

#[test]
fn o10_a_changed_environment_is_rolled_without_a_failed_request() {
    let file =
        |colour: &str| answers(2, &format!("[env]\nCOLOUR = \"{colour}\"\nDELAY_MS = \"80\"\n"));
    let site = Site::boot(&[("a.toml", &file("red"))]);
    site.wait_for("a", "running");
    let asked = under_load(&site, "/", 2, || {
        for colour in ["green", "blue", "white"] {
            site.write("a.toml", &file(colour));
            site.done(&["reload"]);
            let answer = site.get("a", "/");
            assert!(answer.body.ends_with(colour), "{answer:?}");
        }
    });
    assert!(asked > 10);
}

#[test]
fn z01_reload_touches_only_what_changed() {
    let site = Site::boot(&[("a.toml", &answers(2, "")), ("b.toml", &answers(1, ""))]);
    site.wait_for("a", "running");
    site.wait_for("b", "running");
    let a = site.pids("a");
    site.write("c.toml", &answers(1, ""));
    site.remove("b.toml");
    site.done(&["reload"]);
    assert_eq!(site.pids("a"), a);
    assert_eq!(site.get("c", "/").status, 200);
    assert_eq!(site.get("b", "/").status, 404);
    assert_eq!(site.bootctl(&["status", "b"]).code, Some(1));
    site.write("a.toml", &answers(1, ""));
    site.done(&["reload"]);
    assert_eq!(site.pids("a"), a[..1], "the highest number goes");
    site.write("a.toml", &answers(3, ""));
    site.done(&["reload"]);
    assert_eq!(site.pids("a").len(), 3);
    assert_eq!(site.pids("a")[0], a[0]);
}

#[test]
fn o05_a_broken_build_leaves_the_old_one_serving() {
    let site = Site::boot(&[("a.toml", &answers(2, ""))]);
    site.wait_for("a", "running");
    let pids = site.pids("a");
    site.write(
        "a.toml",
        "exec = \"false\"\ninstances = 2\n[restart]\ndelay = \"10ms\"\nfactor = 1\n",
    );
    let said = site.bootctl(&["reload"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("last exit was 1"), "{said:?}");
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    assert_eq!(site.get("a", "/").status, 200);
}

#[test]
fn o13_a_crash_is_seen_and_recovered_from() {
    let more = "[restart]\ndelay = \"10ms\"\n";
    let site = Site::boot(&[("a.toml", &answers(1, more))]);
    site.wait_for("a", "running");
    let before = site.pids("a");
    let _ = jobinit_tests::http::raw(
        site.proxy,
        b"GET /crash HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    let after = wait::until("a new process", || {
        let status = site.wait_for("a", "running");
        let instance = &status["instances"][0];
        (instance["restarts"] == 1).then(|| site.pids("a"))
    });
    assert_ne!(before, after);
    assert_eq!(site.get("a", "/").status, 200);
}

#[test]
fn a_proxy_that_died_is_told_everything_anew() {
    let site = Site::boot(&[("a.toml", &answers(2, ""))]);
    site.wait_for("a", "running");
    let pids = site.pids("a");
    let proxy = site.init.job("proxyd")["pid"].as_u64().expect("it runs");
    kill(proxy);
    wait::until("the proxy to answer again", || {
        let bytes = jobinit_tests::http::raw(
            site.proxy,
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        );
        let answer = jobinit_tests::http::Answer::parse(&bytes.ok()?)?;
        (answer.status == 200).then_some(())
    });
    assert_eq!(site.pids("a"), pids);
}

#[test]
fn o10_a_changed_proxy_is_replaced_and_reload_waits_for_it() {
    let site = Site::boot(&[("a.toml", &answers(1, ""))]);
    site.wait_for("a", "running");
    let before = (site.pids("a"), site.init.job("proxyd")["pid"].clone());
    let file = site.folder().join("conf/bootctl.toml");
    let text = std::fs::read_to_string(&file).expect("it is there");
    std::fs::write(&file, text + "[proxy]\nworkers = 1\n").expect("written");
    site.done(&["reload"]);
    assert_eq!(site.get("a", "/").status, 200);
    assert_eq!(site.pids("a"), before.0);
    assert_ne!(site.init.job(&site.proxy_job())["pid"], before.1);
}

/// SIGKILL.
pub(crate) fn kill(pid: u64) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it is there");
}
