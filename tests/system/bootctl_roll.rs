//! An app's processes are replaced one by one: none of its requests is lost, and what fails is given up.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use jobinit_tests::bootctl::Site;
use jobinit_tests::init::is_alive;
use jobinit_tests::proxyd::Client;
use jobinit_tests::wait;

use crate::bootctl_apps::answers;

/// Asks again and again while `work` goes on; answers how often, and what was not answered with 200.
#[track_caller]
pub(crate) fn under_load(site: &Site, path: &str, clients: usize, work: impl FnOnce()) -> usize {
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

/// How many requests each of an app's instances answers out of `count`.
fn spread(site: &Site, count: usize) -> std::collections::BTreeMap<String, usize> {
    let mut answered = std::collections::BTreeMap::new();
    for _ in 0..count {
        let body = site.get("a", "/").body;
        let instance = body.split(' ').nth(1).expect("its number").to_owned();
        *answered.entry(instance).or_default() += 1;
    }
    answered
}

#[test]
fn o06_scale_changes_the_number_and_one_line_of_the_file() {
    let text = "# The shop.\n".to_owned() + &answers(1, "alias = [\"b\"]\n# The end.\n");
    let site = Site::boot(&[("a.toml", &text)]);
    site.wait_for("a", "running");
    let first = site.pids("a");
    let file = site.folder().join("conf/apps/a.toml");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o640);
    std::fs::set_permissions(&file, mode).expect("ours");

    let said = site.done(&["scale", "a", "4"]);
    assert!(said.starts_with("a runs: a.1 on "), "{said}");
    assert_eq!(site.pids("a").len(), 4);
    assert_eq!(site.pids("a")[0], first[0], "what runs is left alone");
    let answered = spread(&site, 40);
    assert_eq!(answered.len(), 4, "{answered:?}");
    let written = std::fs::read_to_string(&file).expect("there");
    assert_eq!(written, text.replace("instances = 1", "instances = 4"));
    let about = std::fs::metadata(&file).expect("there");
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&about) & 0o777, 0o640);

    under_load(&site, "/slow", 6, || drop(site.done(&["scale", "a", "2"])));
    assert_eq!(site.pids("a").len(), 2, "in-flight requests are kept");
    site.done(&["reload"]);
    assert_eq!(site.pids("a").len(), 2, "the file says so, too");
    assert!(site.done(&["scale", "a", "0"]).contains("is parked"));
    assert_eq!((site.pids("a").len(), site.get("a", "/").status), (0, 503));
    site.done(&["scale", "a", "1"]);
    assert_eq!(site.get("a", "/").status, 200);
}

#[test]
fn o06_what_was_scaled_is_no_change_of_the_next_plan() {
    let site = Site::boot(&[("a.toml", &answers(1, ""))]);
    site.done(&["scale", "a", "2"]);
    assert!(site.done(&["plan"]).contains("nothing to do"));
    site.write("a.toml", &answers(2, "[stop]\ntimeout = \"5s\"\n"));
    let plan: serde_json::Value =
        serde_json::from_str(&site.done(&["plan", "--json"])).expect("JSON");
    let keys = plan["apps"][0]["keys"].as_array().expect("an array").iter();
    assert_eq!(keys.map(|key| &key["key"]).collect::<Vec<_>>(), ["stop.timeout"], "{plan}");
    site.done(&["reload"]);
    assert_eq!(site.pids("a").len(), 2);
}

#[test]
fn o06_a_stopped_app_is_scaled_for_its_next_start() {
    let site = Site::boot(&[("a.toml", &answers(1, ""))]);
    site.wait_for("a", "running");
    site.done(&["stop", "a"]);
    assert!(site.done(&["scale", "a", "2"]).contains("is stopped"));
    assert_eq!(site.pids("a").len(), 0);
    site.done(&["start", "a"]);
    assert_eq!(site.pids("a").len(), 2);
}

#[test]
fn o07_what_is_no_number_of_instances_changes_nothing() {
    let text = answers(2, "");
    let site = Site::boot(&[("a.toml", &text)]);
    site.wait_for("a", "running");
    let pids = site.pids("a");
    let unchanged = || {
        let file = site.folder().join("conf/apps/a.toml");
        assert_eq!(std::fs::read_to_string(file).expect("there"), text);
        assert_eq!(site.pids("a"), pids);
    };
    for bad in ["abc", "-1", "1000000000", "1001", "1.5"] {
        let said = site.bootctl(&["scale", "a", bad]);
        assert_eq!(said.code, Some(1), "{said:?}");
        let told = format!("a cannot have {bad:?} instances: use a whole number from 0");
        assert!(said.err.contains(&told), "{said:?}");
        unchanged();
    }
    let said = site.bootctl(&["scale", "b", "1"]);
    assert!(said.err.contains("there is no app \"b\""), "{said:?}");
    unchanged();
}

#[test]
fn o07_scale_takes_over_nothing_but_the_number() {
    let site = Site::boot(&[("a.toml", &answers(1, "")), ("b.toml", &answers(1, ""))]);
    site.wait_for("a", "running");
    site.wait_for("b", "running");
    let (a, b) = (site.pids("a"), site.pids("b"));
    site.write("b.toml", &answers(1, "alias = [\"c\"]\n"));
    site.done(&["scale", "a", "2"]);
    assert_eq!((site.get("c", "/").status, site.pids("b")), (404, b));
    for (text, told) in [
        (answers(2, "[env]\nCOLOUR = \"red\"\n"), "has changes that are not taken over yet"),
        (answers(2, "colour = 1\n"), "`colour` is not a known key"),
        ("exec = \"".into(), "is not TOML"),
    ] {
        site.write("a.toml", &text);
        let said = site.bootctl(&["scale", "a", "1"]);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains(told) && said.err.contains("nothing was changed"), "{said:?}");
        let file = site.folder().join("conf/apps/a.toml");
        assert_eq!(std::fs::read_to_string(file).expect("there"), text);
        assert_eq!(site.pids("a").len(), 2);
    }
    site.remove("a.toml");
    let said = site.bootctl(&["scale", "a", "1"]);
    assert!(said.err.contains("is broken or gone"), "{said:?}");
    assert_eq!(site.pids("a")[0], a[0]);
}

/// An app file whose program is `sh` with this script, which may become the helper `answers`.
fn script(instances: u32, script: &str, more: &str) -> String {
    let answers = env!("CARGO_BIN_EXE_answers");
    let script = script.replace("ANSWERS", answers);
    format!("exec = \"sh\"\nargs = [\"-c\", '{script}']\ninstances = {instances}\n{more}")
}

const QUICK: &str = "[restart]\ndelay = \"10ms\"\nfactor = 1\n";

#[test]
fn o05_a_build_that_ends_is_given_up_with_its_last_words() {
    let site = Site::boot(&[("a.toml", &answers(2, ""))]);
    site.wait_for("a", "running");
    let pids = site.pids("a");
    let bad = "for i in 1 2 3 4 5 6; do echo out $i; echo err $i >&2; done; exit 7";
    let bad = script(2, bad, QUICK);
    site.write("a.toml", &bad);
    let asked = under_load(&site, "/", 2, || {
        let said = site.bootctl(&["reload"]);
        assert_eq!(said.code, Some(1), "{said:?}");
        for told in [
            "a.3 does not stay up after ",
            "its last exit was 7",
            "a goes on as of the config before (a.1, a.2)",
            "\nit has written last:\n  | ",
            "\n  | err ",
        ] {
            assert!(said.err.contains(told), "{told}: {said:?}");
        }
        assert_eq!(said.err.matches("\n  | ").count(), 10, "{said:?}");
    });
    assert!(asked > 10, "{asked}");
    jobinit_tests::wait::until("the failed one to be cleared", || {
        (site.init.get("/job/a.3").status == 404).then_some(())
    });
    assert_eq!(site.pids("a"), pids);
    let file = site.folder().join("conf/apps/a.toml");
    assert_eq!(std::fs::read_to_string(file).expect("there"), bad, "the file is as it is");

    let held = |site: &Site| {
        let view = site.wait_for("a", "held");
        assert!(view["why"].as_str().expect("a text").contains("its last exit was 7"), "{view}");
        assert_eq!(view["log"].as_array().map(Vec::len), Some(10));
        assert_eq!(site.pids("a"), pids);
        let told = site.done(&["status", "a"]);
        assert!(told.contains("a is held") && told.contains("\n  | err "), "{told}");
    };
    held(&site);
    crate::bootctl_apps::kill(site.supervisor());
    held(&site);
    site.wait_for("a", "held");

    let said = site.bootctl(&["reload"]);
    assert_eq!(said.code, Some(1), "the same again: {said:?}");
    assert!(said.err.contains("its last exit was 7"), "{said:?}");
    site.write("a.toml", &answers(2, "[env]\nCOLOUR = \"red\"\n"));
    site.done(&["reload"]);
    assert!(site.get("a", "/").body.ends_with(" red"));
    assert_eq!(site.wait_for("a", "running")["why"], serde_json::Value::Null);
}

#[test]
fn o05_a_restart_that_fails_is_taken_back() {
    let site = Site::boot(&[]);
    let flag = site.folder().join("broken");
    let text = format!("test -e {} && {{ echo broken; exit 9; }}; exec ANSWERS", flag.display());
    site.write("a.toml", &script(2, &text, QUICK));
    site.done(&["reload"]);
    site.done(&["restart", "a"]);
    let pids = site.pids("a");
    std::fs::write(&flag, "").expect("written");
    for _ in 0..2 {
        let said = site.bootctl(&["restart", "a"]);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains("a goes on as before the restart"), "{said:?}");
        assert!(said.err.contains("run `bootctl restart a`\nit has written last:"), "{said:?}");
        assert!(said.err.contains("\n  | broken"), "{said:?}");
        site.wait_for("a", "held");
        wait::until("what failed to be cleared", || (site.pids("a") == pids).then_some(()));
    }
    let state = std::fs::read_to_string(site.folder().join("state/state.json")).expect("there");
    let state: serde_json::Value = serde_json::from_str(&state).expect("JSON");
    assert_eq!((&state["version"], &state["apps"]["a"]["revision"]), (&2.into(), &1.into()));
    // What one of them is started anew with is still what it was.
    std::fs::remove_file(&flag).expect("removed");
    site.done(&["start", "a"]);
    assert_eq!(site.pids("a"), pids, "start asks for what is there");
    site.done(&["restart", "a"]);
    assert!(site.pids("a").iter().all(|pid| !pids.contains(pid)));
}

#[test]
fn o05_what_is_refused_or_never_ready_is_given_up() {
    let site = Site::boot(&[("a.toml", &answers(1, ""))]);
    site.wait_for("a", "running");
    let pids = site.pids("a");
    let never = script(1, "echo waiting; exec sleep 100", "[deploy]\ntimeout = \"700ms\"\n");
    for (text, told) in [
        ("exec = \"/nowhere/server\"\n", "a.2 cannot be started: init refused: "),
        (never.as_str(), "a.2 was not ready after 700 ms"),
    ] {
        site.write("a.toml", text);
        let said = site.bootctl(&["reload"]);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains(told), "{said:?}");
        assert!(said.err.contains("a goes on as of the config before (a.1)"), "{said:?}");
        assert_eq!(site.pids("a")[0], pids[0]);
        assert_eq!(site.get("a", "/").status, 200);
    }
    let said = site.bootctl(&["reload"]);
    assert!(said.err.contains("\n  | waiting"), "{said:?}");
}

#[test]
fn o05_what_is_never_ready_is_told_with_what_its_check_has_said_last() {
    let patience = "[deploy]\ntimeout = \"300ms\"\n";
    let sleeps = |name: &str, health: &str| {
        (
            format!("{name}.toml"),
            script(1, "exec sleep 100", &format!("{patience}[health]\n{health}")),
        )
    };
    let apps = [
        sleeps("tcp", ""),
        sleeps("command", "exec = \"exit 7\"\n"),
        sleeps("hangs", "exec = \"sleep 100\"\ntimeout = \"100ms\"\n"),
        sleeps("absent", "exec = [\"/nowhere/check\"]\n"),
        sleeps("notify", "notify = true\n"),
        ("socket.toml".to_owned(), format!("socket = \"unix\"\n{}", sleeps("", "").1)),
    ];
    let apps: Vec<_> = apps.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let site = Site::boot(&apps);
    for (app, told) in [
        ("tcp", "its last check, on port PORT: connection refused"),
        ("command", "its last check: /bin/sh ended with exit code 7"),
        ("hangs", "its last check: timed out after 100ms"),
        ("absent", "its last check: the check cannot be run: init refused: "),
        ("notify", "it has not sent READY=1"),
        ("socket", "its last check: there is no socket at /"),
    ] {
        let view = site.wait_for(app, "failed");
        let told = told.replace("PORT", &view["instances"][0]["port"].to_string());
        let told = format!("{app}.1 was not ready after 300 ms: {told}");
        // A machine that is busy asks nobody before that.
        wait::until(&told, || site.done(&["status", app]).contains(&told).then_some(()));
        let said = site.bootctl(&["start", app]);
        assert!(said.code == Some(1) && said.err.contains(&told), "{said:?}");
    }
}

#[test]
fn o05_with_nothing_earlier_the_new_one_is_tried_further() {
    let site = Site::boot(&[]);
    let flag = site.folder().join("repaired");
    let text = format!("test -e {} && exec ANSWERS; echo broken; exit 1", flag.display());
    site.write("a.toml", &script(1, &text, QUICK));
    let said = site.bootctl(&["reload"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    for told in ["there is nothing earlier to go on with; it is tried further", "\n  | broken"] {
        assert!(said.err.contains(told), "{said:?}");
    }
    assert_eq!(site.wait_for("a", "failed")["instances"][0]["instance"], 1);
    std::fs::write(&flag, "").expect("written");
    site.wait_for("a", "running");
    assert_eq!(site.get("a", "/").status, 200);
}

#[test]
fn o05_what_keeps_dying_before_the_roll_is_over_is_given_up() {
    let site = Site::boot(&[("a.toml", &answers(2, ""))]);
    site.wait_for("a", "running");
    let pids = site.pids("a");
    // The first new one gets ready and dies, again and again; a second one never gets ready.
    let dies = "test $BOOTCTL_INSTANCE = 3 || exec sleep 100; ANSWERS & sleep 0.3; kill $!; exit 5";
    site.write("a.toml", &script(2, dies, QUICK));
    let said = site.bootctl(&["reload"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("its last exit was 5"), "{said:?}");
    let left = site.pids("a");
    assert!(left.iter().any(|pid| pids.contains(pid)), "{left:?} {pids:?}");
    assert_eq!(site.get("a", "/").status, 200);
}

#[test]
fn o05_one_that_dies_once_after_it_was_ready_does_not_end_the_roll() {
    let site = Site::boot(&[("a.toml", &answers(2, ""))]);
    site.wait_for("a", "running");
    let pids = site.pids("a");
    let died = site.folder().join("died");
    let text = format!(
        "test -e {0} || {{ : > {0}; ANSWERS & sleep 0.4; kill $!; exit 5; }}; exec ANSWERS",
        died.display()
    );
    site.write("a.toml", &script(2, &text, QUICK));
    site.done(&["reload"]);
    assert!(site.pids("a").iter().all(|pid| !pids.contains(pid)));
    site.wait_for("a", "running");
}

/// The site's own command, for whoever runs it in another way.
fn command(site: &Site, words: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(jobinit_tests::binaries::program("bootctl"));
    command.args(words).env("BOOTCTL_SOCKET", site.socket());
    command
}

/// Where each text is found, one after the other.
#[track_caller]
fn in_order(all: &str, texts: &[&str]) {
    let mut rest = all;
    for text in texts {
        let at = rest.find(text).unwrap_or_else(|| panic!("{text:?} is not in its place: {all}"));
        rest = &rest[at + text.len()..];
    }
}

const STEPS: &[&str] = &[
    "starting a.2",
    "waiting for a.2 to be ready: connection refused",
    "a.2 is ready",
    "retiring a.1",
    "retiring a.1: 1 request in flight",
    "a.1 has ended",
];

/// A site whose next restart takes 1.5 s to start and a while to finish, with a request in flight.
fn slow_site() -> Site {
    let slow = "[env]\nDELAY_MS = \"1500\"\nSLOW_MS = \"4000\"\n";
    let site = Site::boot(&[("a.toml", &answers(1, slow))]);
    site.wait_for("a", "running");
    site
}

fn with_one_in_flight<T: Send>(site: &Site, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let asked = scope.spawn(|| site.get("a", "/slow"));
        jobinit_tests::wait::until("the request to be in flight", || {
            let state = site.proxy_state();
            (state.services["a"].targets["a.1"].in_flight == 1).then_some(())
        });
        let made = work();
        assert_eq!(asked.join().expect("no panic").status, 200);
        made
    })
}

#[test]
fn o03_progress_is_told_in_plain_lines_after_a_second() {
    let site = Site::boot(&[("a.toml", &answers(1, ""))]);
    site.wait_for("a", "running");
    site.done(&["status"]);
    drop(site);
    let site = slow_site();
    let said = with_one_in_flight(&site, || site.bootctl(&["restart", "a"]));
    assert_eq!(said.code, Some(0), "{said:?}");
    in_order(&said.err, STEPS);
    assert!(said.err.lines().all(|line| line.contains(" s  ")), "{said:?}");
    assert!(said.out.starts_with("a is restarted: a.2 on "), "{said:?}");
}

#[test]
fn o03_progress_is_told_live_on_a_terminal() {
    let site = slow_site();
    with_one_in_flight(&site, || {
        let bootctl = jobinit_tests::binaries::program("bootctl");
        let socket = format!("BOOTCTL_SOCKET={}", site.socket().display());
        let bootctl = bootctl.to_str().expect("UTF-8");
        let words = ["env", "TERM=xterm", &socket, bootctl, "restart", "a"];
        let mut terminal = jobinit_tests::pty::Pty::start(&words);
        for text in STEPS {
            terminal.expect(text);
        }
        terminal.expect("a is restarted: a.2 on ");
    });
}

#[test]
fn o03_progress_is_told_to_programs() {
    let site = slow_site();
    let lines = |said: &str| -> Vec<serde_json::Value> {
        said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let said = with_one_in_flight(&site, || site.done(&["restart", "a", "--json"]));
    let told = lines(&said);
    let texts: Vec<_> = told.iter().filter_map(|line| line["text"].as_str()).collect();
    in_order(&texts.join("\n"), STEPS);
    let last = told.last().expect("an end");
    assert_eq!((&last["event"], &last["answer"]["app"]), (&"done".into(), &"a".into()), "{said}");

    site.write("a.toml", &script(1, "echo broken; exit 4", QUICK));
    let said = site.bootctl(&["reload", "--json"]);
    assert_eq!(said.code, Some(1));
    let told = lines(&said.out);
    let last = told.last().expect("an end");
    assert_eq!((&last["event"], &last["status"]), (&"failed".into(), &409.into()), "{said:?}");
    assert_eq!(last["refusal"]["log"][0], "broken");
    assert!(told.len() > 1, "{said:?}");

    let said = site.bootctl(&["restart", "b", "--json"]);
    let told = lines(&said.out);
    assert_eq!((told.len(), &told[0]["status"]), (1, &404.into()), "{said:?}");
}

#[test]
fn o03_a_client_without_patience_does_not_end_what_it_asked_for() {
    let site = slow_site();
    let pids = site.pids("a");
    let said = site.bootctl(&["restart", "a", "--timeout", "1"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("not there yet when the time was over"), "{said:?}");
    jobinit_tests::wait::until("the restart to be over", || {
        let now = site.pids("a");
        (now.len() == 1 && now != pids).then_some(())
    });
}

#[test]
fn o03_two_restarts_at_once_are_one() {
    let site = slow_site();
    let pids = site.pids("a");
    let both = [(); 2].map(|()| command(&site, &["restart", "a"]).spawn().expect("it runs"));
    for mut one in both {
        assert!(one.wait().expect("it ends").success());
    }
    let job = site.status()["apps"][0]["instances"][0]["job"].as_str().expect("a name").to_owned();
    assert_eq!(job, "a.2");
    assert_eq!(site.init.job(&job)["spec"]["envs"]["BOOTCTL_REVISION"], "1");
    assert!(!site.pids("a").contains(&pids[0]));
}

#[test]
fn o03_stop_and_reload_in_the_middle_of_a_restart() {
    let slow = |more: &str| answers(1, &format!("[env]\nDELAY_MS = \"1000\"\n{more}"));
    let site = Site::boot(&[("a.toml", &slow(""))]);
    site.wait_for("a", "running");
    let begin = |site: &Site| {
        let mut restart = command(site, &["restart", "a"]);
        let child = restart.stderr(std::process::Stdio::piped()).spawn().expect("it runs");
        jobinit_tests::wait::until("the new one to be there", || {
            (site.pids("a").len() == 2).then_some(())
        });
        child
    };
    let restart = begin(&site);
    site.write("a.toml", &slow("COLOUR = \"red\"\n"));
    under_load(&site, "/", 1, || drop(site.done(&["reload"])));
    assert!(restart.wait_with_output().expect("it ends").status.success());
    assert_eq!(site.pids("a").len(), 1);
    assert!(site.get("a", "/").body.ends_with(" red"));

    let restart = begin(&site);
    site.done(&["stop", "a"]);
    assert_eq!(site.pids("a").len(), 0);
    let said = jobinit_tests::bootctl::said(restart.wait_with_output().expect("it ends"));
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("a was stopped meanwhile"), "{said:?}");
}

#[test]
fn o03_an_app_that_does_not_heed_term_is_restarted_all_the_same() {
    let stubborn = script(2, "trap \"\" TERM; exec ANSWERS", "[stop]\ntimeout = \"300ms\"\n");
    let site = Site::boot(&[("a.toml", &stubborn)]);
    site.wait_for("a", "running");
    let pids = site.pids("a");
    under_load(&site, "/", 2, || drop(site.done(&["restart", "a"])));
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
}

#[test]
fn p04_term_comes_after_the_last_answer_and_the_last_connection() {
    let site = Site::boot(&[]);
    let book = site.folder().join("book");
    let env = format!("[env]\nBOOK = \"{}\"\nSLOW_MS = \"300\"\n", book.display());
    site.write("a.toml", &answers(1, &env));
    site.done(&["reload"]);
    under_load(&site, "/slow", 4, || {
        for _ in 0..3 {
            site.done(&["restart", "a"]);
        }
    });
    let book = std::fs::read_to_string(&book).expect("there");
    let mut ended = 0;
    let mut in_flight = std::collections::BTreeMap::<&str, i32>::new();
    for line in book.lines() {
        let (instance, what) = line.split_once(' ').expect("whose, and what");
        let requests = in_flight.entry(instance).or_default();
        match what {
            "begin" => *requests += 1,
            "end" => *requests -= 1,
            _ => {
                assert_eq!((what, *requests), ("TERM with 0 open", 0), "{instance}: {book}");
                ended += 1;
            }
        }
    }
    assert_eq!(ended, 3, "{book}");
}

/// Whoever took an instance out of the proxy may die while it finishes. Who comes after it waits as well.
#[test]
fn p04_bootctl_killed_while_an_instance_finishes_lets_it_finish() {
    let site = Site::boot(&[("a.toml", &answers(1, "[env]\nSLOW_MS = \"2500\"\n"))]);
    site.wait_for("a", "running");
    let mut client = Client::connect(site.proxy);
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    let targets = || site.proxy_state().services.remove("a").expect("there").targets;
    wait::until("the request to be in flight", || {
        targets().get("a.1").filter(|target| target.in_flight > 0).map(drop)
    });
    thread::scope(|scope| {
        scope.spawn(|| site.bootctl(&["restart", "a"]));
        wait::until("a.1 to be taken out", || {
            targets().get("a.1").filter(|target| target.retired).map(drop)
        });
        crate::bootctl_apps::kill(site.supervisor());
        assert_eq!(client.answer().status, 200, "what was in flight is answered");
    });
    let view = site.wait_for("a", "running");
    assert_eq!(view["instances"].as_array().map(Vec::len), Some(1), "{view}");
    assert_eq!(view["instances"][0]["job"], "a.2");
}
