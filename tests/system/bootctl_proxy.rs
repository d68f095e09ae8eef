//! The proxy's generations: a new one takes over from an old one, and whatever dies, requests are answered.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Duration;

use jobinit_tests::binaries::program;
use jobinit_tests::bootctl::Site;
use jobinit_tests::http::Answer;
use jobinit_tests::proxyd::Client;
use jobinit_tests::wait;

use crate::bootctl_apps::{answers, kill};

/// Writes the `[proxy]` table of bootctl.toml anew.
fn set_proxy(site: &Site, table: &str) {
    let file = site.folder().join("conf/bootctl.toml");
    let text = fs::read_to_string(&file).expect("it is there");
    let ports = text.split("[proxy]").next().expect("the beginning");
    fs::write(&file, format!("{ports}[proxy]\n{table}")).expect("written");
}

fn proxy_pid(site: &Site) -> u64 {
    site.init.job(&site.proxy_job())["pid"].as_u64().expect("it runs")
}

/// A request on a connection that stays open.
fn ask(client: &mut Client, path: &str) -> jobinit_tests::proxyd::Answer {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    client.answer()
}

fn only(site: &Site, job: &str) {
    wait::until(&format!("only {job} to be left"), || (site.proxy_jobs() == [job]).then_some(()));
}

#[test]
fn p02_a_changed_proxy_takes_over_before_the_old_one_goes() {
    let site = Site::boot(&[("a.toml", &answers(1, ""))]);
    site.wait_for("a", "running");
    let (mut busy, mut idle) = (Client::connect(site.proxy), Client::connect(site.proxy));
    assert_eq!(ask(&mut idle, "/").status, 200);
    assert_eq!(ask(&mut busy, "/").status, 200);
    busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    wait::until("the request to be in flight", || {
        let state = site.proxy_state();
        (state.services["a"].targets["a.1"].in_flight > 0).then_some(())
    });
    set_proxy(&site, "workers = 1\n");
    site.done(&["reload"]);
    assert_eq!(site.proxy_jobs(), ["proxyd", "proxyd.2"], "the old one finishes what it has begun");
    assert_eq!(busy.answer().status, 200);
    assert_eq!(site.get("a", "/").status, 200);
    let last = ask(&mut idle, "/");
    assert_eq!((last.status, last.field("connection").as_deref()), (200, Some("close")));
    only(&site, "proxyd.2");
    assert!(!site.folder().join("run/proxyd.sock").exists());
    site.done(&["reload"]);
    assert_eq!(site.proxy_jobs(), ["proxyd.2"], "nothing has changed");
}

#[test]
fn p02_restart_proxyd_is_done_when_the_new_one_serves() {
    let site = Site::boot(&[("a.toml", &answers(1, ""))]);
    site.wait_for("a", "running");
    for number in 2..5 {
        let before = proxy_pid(&site);
        let said = site.done(&["restart", "proxyd"]);
        let after = proxy_pid(&site);
        assert_ne!(before, after);
        assert!(said.contains(&format!("(pid {after})")), "{said}");
        assert_eq!(site.get("a", "/").status, 200);
        only(&site, &format!("proxyd.{number}"));
    }
    assert_eq!(site.bootctl(&["restart", "other"]).code, Some(1));
}

#[test]
fn p02_a_program_that_was_replaced_is_taken_over_by_reload() {
    let site = Site::boot(&[("a.toml", &answers(1, ""))]);
    let copy = site.folder().join("proxyd");
    fs::copy(program("proxyd"), &copy).expect("copied");
    set_proxy(&site, &format!("exec = \"{}\"\n", copy.display()));
    site.done(&["reload"]);
    only(&site, "proxyd.2");
    site.done(&["reload"]);
    assert_eq!(site.proxy_jobs(), ["proxyd.2"]);
    fs::remove_file(&copy).expect("removed");
    fs::copy(program("proxyd"), &copy).expect("copied");
    site.done(&["reload"]);
    only(&site, "proxyd.3");
}

#[test]
fn p02_a_new_one_that_never_gets_ready_leaves_the_old_one_serving() {
    let site = Site::boot(&[("a.toml", &answers(1, ""))]);
    site.wait_for("a", "running");
    let before = proxy_pid(&site);
    for exec in ["/bin/false", "/nowhere/proxyd"] {
        set_proxy(&site, &format!("exec = \"{exec}\"\n"));
        let said = site.bootctl(&["reload"]);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains("proxyd.2"), "{said:?}");
        assert_eq!(site.init.job("proxyd")["pid"].as_u64(), Some(before));
        assert_eq!(site.get("a", "/").status, 200);
        let status = site.status();
        assert_eq!(status["proxy"]["state"], "ready");
        assert_eq!(status["proxy"]["pid"].as_u64(), Some(before));
        // It goes on to be restarted, and the text to count.
        wait::until("people to be told, too", || {
            let why = site.status()["proxy"]["why"].as_str().expect("a text").to_owned();
            assert!(why.contains("proxyd.2"), "{why}");
            site.done(&["status"]).contains(&why).then_some(())
        });
    }
    // A bootctl that knows nothing of it comes to the same.
    site.kill_supervisor();
    wait::until("it to find the old proxy", || {
        (site.status()["proxy"]["pid"].as_u64() == Some(before)).then_some(())
    });
    set_proxy(&site, "workers = 1\n");
    site.done(&["reload"]);
    assert_eq!(site.get("a", "/").status, 200);
    wait::until("only the good one to be left", || (site.proxy_jobs().len() == 1).then_some(()));
    assert_ne!(proxy_pid(&site), before);
}

#[test]
fn p02_a_proxy_of_an_earlier_bootctl_is_taken_over_from() {
    // Started as its job was before there were generations: without --wait, with its mark.
    let site = Site::boot(&[("a.toml", &answers(1, ""))]);
    site.wait_for("a", "running");
    let supervisor = site.supervisor();
    let mut spec = site.init.job("proxyd")["spec"].clone();
    let first = site.init.job("proxyd")["pid"].as_u64().expect("it runs");
    // In one go while bootctl sleeps.
    let pid = nix::unistd::Pid::from_raw(i32::try_from(supervisor).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).expect("it is there");
    spec["args"] = serde_json::json!(["--access-log", "-", "--grace", "5"]);
    spec["envs"] = serde_json::json!({"BOOTCTL_PROXY": "1"});
    assert!(site.init.put("/job/proxyd/stop").status < 300);
    assert!(site.init.delete("/job/proxyd").status < 300);
    let old = site.init.launch_job("proxyd", &spec);
    assert_ne!(old, first);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it is there");
    site.wait_for_bootctl();
    only(&site, "proxyd.2");
    assert_eq!(site.get("a", "/").status, 200);
}

#[test]
fn o15_bootctl_killed_in_the_middle_of_a_takeover_goes_on_with_it() {
    let site = Site::boot(&[("a.toml", &answers(1, ""))]);
    site.wait_for("a", "running");
    for round in 0..6_u64 {
        set_proxy(&site, &format!("workers = {}\n", 1 + round % 2));
        thread::scope(|scope| {
            // Cut off, so that its answer does not count.
            scope.spawn(|| site.bootctl(&["reload"]));
            thread::sleep(Duration::from_millis(round * 12));
            kill(site.supervisor());
        });
        site.wait_for_bootctl();
        site.done(&["reload"]);
        assert_eq!(site.get("a", "/").status, 200);
        wait::until("one proxy to be left", || (site.proxy_jobs().len() == 1).then_some(()));
    }
}

#[test]
fn p01_who_comes_while_a_killed_proxy_comes_back_waits_and_is_answered() {
    let site = Site::boot(&[("a.toml", &answers(2, ""))]);
    site.wait_for("a", "running");
    for _ in 0..10 {
        kill(proxy_pid(&site));
        for _ in 0..5 {
            let mut stream = TcpStream::connect(site.proxy).expect("no connection is refused");
            // One that the killed process was given still may be reset with it.
            let ask = stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            let mut bytes = Vec::new();
            let read = ask.and_then(|()| stream.read_to_end(&mut bytes));
            if let Some(answer) = read.ok().and_then(|_| Answer::parse(&bytes)) {
                assert_eq!(answer.status, 200, "{answer:?}");
            }
        }
        wait::until("the proxy to be ready again", || {
            (site.status()["proxy"]["state"] == "ready").then_some(())
        });
    }
}

#[test]
fn p01_either_of_two_generations_may_be_killed() {
    let site = Site::boot(&[("a.toml", &answers(1, ""))]);
    site.wait_for("a", "running");
    let mut held = Client::connect(site.proxy);
    assert_eq!(ask(&mut held, "/").status, 200);
    site.done(&["restart", "proxyd"]);
    assert_eq!(site.proxy_jobs(), ["proxyd", "proxyd.2"], "the old one waits for its client");
    // Before that, its client's next request would not be the last.
    wait::until("the old one to be told to end", || {
        (site.init.job("proxyd")["status"] == "stopping").then_some(())
    });
    kill(site.init.job("proxyd.2")["pid"].as_u64().expect("it runs"));
    assert_eq!(site.get("a", "/").status, 200);
    assert_eq!(ask(&mut held, "/").status, 200, "the old one goes on");
    only(&site, "proxyd.2");
    let mut held = Client::connect(site.proxy);
    assert_eq!(ask(&mut held, "/").status, 200);
    site.done(&["restart", "proxyd"]);
    kill(site.init.job("proxyd.2")["pid"].as_u64().expect("it runs"));
    only(&site, "proxyd.3");
    assert_eq!(site.get("a", "/").status, 200);
}

#[test]
fn p04_an_instance_is_drained_in_both_generations() {
    let site = Site::boot(&[("a.toml", &answers(1, ""))]);
    site.wait_for("a", "running");
    let (mut slow, mut next) = (Client::connect(site.proxy), Client::connect(site.proxy));
    assert_eq!(ask(&mut slow, "/").status, 200);
    assert_eq!(ask(&mut next, "/").status, 200);
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    wait::until("the request to be in flight", || {
        let state = site.proxy_state();
        (state.services["a"].targets["a.1"].in_flight > 0).then_some(())
    });
    site.done(&["restart", "proxyd"]);
    site.write("a.toml", &answers(1, "[env]\nCOLOUR = \"green\"\n"));
    site.done(&["reload"]);
    assert_eq!(slow.answer().status, 200, "it is not stopped under a request of the old one's");
    let answer = ask(&mut next, "/");
    assert_eq!(answer.status, 200);
    assert!(answer.text().ends_with("green"), "the old one knows the new instance: {answer:?}");
    // One that was told to go only after these answers would keep their connections.
    drop((slow, next));
    only(&site, "proxyd.2");
}

#[test]
fn a_program_that_is_no_proxy_is_said_to_be_none() {
    let site = Site::boot(&[]);
    let script = site.folder().join("silent");
    fs::write(&script, "#!/bin/sh\nexec sleep 60\n").expect("written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it is ours");
    set_proxy(&site, &format!("exec = \"{}\"\n", script.display()));
    let said = site.bootctl(&["reload", "--timeout", "1"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("the proxy is not ready yet"), "{said:?}");
    set_proxy(&site, "workers = 1\n");
    site.done(&["reload"]);
    wait::until("only the good one to be left", || (site.proxy_jobs().len() == 1).then_some(()));
}

#[test]
fn p01_a_proxy_that_dies_while_bootctl_is_down_serves_what_it_was_told() {
    let site = Site::boot_as_job("supervisor", &[("a.toml", &answers(2, ""))], "");
    site.wait_for("a", "running");
    let snapshot = site.folder().join("run/proxyd.state/snapshot.json");
    wait::until("the snapshot", || {
        let text = fs::read(&snapshot).ok()?;
        let noted: serde_json::Value = serde_json::from_slice(&text).expect("it is whole");
        let targets = noted["config"]["services"]["a"]["targets"].as_object()?.len();
        (noted["open"] == true && targets == 2).then_some(())
    });
    let apps = site.pids("a");
    assert!(site.init.put("/job/supervisor/stop").status < 300);
    for _ in 0..3 {
        kill(proxy_pid_of(&site, "proxyd"));
        assert_eq!(site.get("a", "/").status, 200, "whoever comes meanwhile is served");
    }
    assert!(site.init.put("/job/supervisor/start").status < 300);
    site.wait_for_bootctl();
    site.wait_for("a", "running");
    assert_eq!(site.pids("a"), apps);
    // While bootctl is there, it is the one who lets clients in.
    site.done(&["scale", "a", "1"]);
    kill(proxy_pid_of(&site, "proxyd"));
    assert_eq!(site.get("a", "/").status, 200);
    wait::until("one target", || {
        let state = site.proxy_state_of("proxyd")?;
        (state.serving && state.services.get("a")?.targets.len() == 1).then_some(())
    });
    site.done(&["restart", "proxyd"]);
    only(&site, "proxyd.2");
    assert!(!snapshot.exists(), "a generation that is gone leaves nothing");
}

fn proxy_pid_of(site: &Site, job: &str) -> u64 {
    wait::until("the proxy to run", || site.init.job(job)["pid"].as_u64())
}
