//! A bootctl that is started while its config cannot be used: at runlevel 1 where nothing runs yet, as before where
//! something does, and to its end in a container.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use jobinit_tests::binaries::program;
use jobinit_tests::bootctl::{Site, said};
use jobinit_tests::init::Init;
use jobinit_tests::wait;
use serde_json::{Value, json};

use crate::bootctl_apps::{answers, kill};

/// A mistake in the third line of `bootctl.toml`.
const MISTAKE: &str = "wacth = true\n";

fn main_file(site: &Site) -> PathBuf {
    site.folder().join("conf/bootctl.toml")
}

/// Puts the mistake away, and something else in its place.
fn correct(site: &Site, text: &str) {
    let path = main_file(site);
    let there = fs::read_to_string(&path).expect("there");
    fs::write(path, there.replace(MISTAKE, text)).expect("written");
}

fn problems(site: &Site) -> String {
    site.status()["problems"].to_string()
}

#[test]
fn b04_a_broken_bootctl_toml_boots_to_level_1_and_says_where() {
    let apps = [
        ("shop.toml", answers(1, "")),
        ("rescue.toml", answers(1, "runlevels = [1, 3]\n")),
        ("bad.toml", "exce = 1\n".to_owned()),
    ];
    let apps: Vec<_> = apps.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let site = Site::boot_with(&apps, MISTAKE);
    let rescue = site.wait_for("rescue", "running")["instances"][0]["pid"].clone();
    let is_at_level_1 = |place: &str| {
        site.wait_for("rescue", "running");
        let status = site.status();
        assert_eq!(status["runlevel"]["level"], 1, "{status}");
        let trouble = status["runlevel"]["trouble"].as_str().expect("a reason");
        assert!(trouble.contains(place), "{place} in {trouble}");
        let words = site.done(&["status"]);
        for part in
            [place, "`bootctl reload` goes on to the runlevel that was meant", "bad.toml:1:1"]
        {
            assert!(words.contains(part), "{part} in {words}");
        }
        assert!(TcpStream::connect(site.proxy).is_err(), "nobody is let in");
        assert_eq!((site.pids("shop").len(), &json!(site.pids("rescue")[0])), (0, &rescue));
        // It is not known where logs belong.
        assert_eq!(status["logs"]["state"], "down", "{status}");
        for words in [&["reload"][..], &["telinit", "3"], &["plan"]] {
            let said = site.bootctl(words);
            assert!(said.code == Some(1) && said.err.contains(place), "{words:?}: {said:?}");
        }
    };
    is_at_level_1("bootctl.toml:3:1: `ports.wacth` is not a known key");

    // Also for one that is started again, and whatever is wrong with the file.
    let (path, mended) = (main_file(&site), site.folder().join("mended"));
    fs::rename(&path, &mended).expect("renamed");
    fs::create_dir(&path).expect("made");
    site.kill_supervisor();
    is_at_level_1("bootctl.toml: the file cannot be read: is a directory");
    fs::remove_dir(&path).expect("removed");
    fs::write(&path, "runlevel =\n").expect("written");
    site.kill_supervisor();
    is_at_level_1("bootctl.toml:1:");

    fs::rename(&mended, &path).expect("renamed");
    correct(&site, "");
    let said = site.bootctl(&["reload"]);
    assert!(said.err.contains("bad.toml:1:1"), "one mistake is left: {said:?}");
    site.remove("bad.toml");
    let plan: Value = serde_json::from_str(&site.done(&["plan", "--json"])).expect("JSON");
    assert_eq!(plan["nothing"], false, "{plan}");
    let words = site.done(&["reload"]);
    assert!(words.contains("runlevel 3\n"), "{words}");
    assert_eq!(site.get("shop", "/").status, 200, "it answers when all is there");
    assert_eq!(
        json!(site.pids("rescue")),
        json!([rescue]),
        "what is of both levels is not touched"
    );
    assert_eq!(problems(&site), "[]");
    wait::until("logs to be collected", || {
        (site.status()["logs"]["state"] == "collected").then_some(())
    });

    // From now on it is a machine as any other.
    site.done(&["telinit", "1"]);
    site.kill_supervisor();
    assert_eq!(site.status()["runlevel"]["level"], 1);
    site.done(&["reload"]);
    assert_eq!(site.status()["runlevel"]["level"], 1);
}

#[test]
fn b04_a_corrected_file_says_the_level_and_the_hooks_on_the_way_there() {
    let site = Site::boot_with(&[("shop.toml", &answers(1, ""))], MISTAKE);
    let told = site.folder().join("told");
    let hook = |code| {
        format!(
            "[hook.up]\nexec = \"/bin/sh\"\nlevel = 2\nwhen = \"enter\"\n\
             args = [\"-c\", \"echo $PREVLEVEL $RUNLEVEL >>{}; exit {code}\"]\n",
            told.display()
        )
    };
    let path = main_file(&site);
    let text = fs::read_to_string(&path).expect("there");
    let write = |code| {
        let text = format!("runlevel = 2\n{}{}", text.replace(MISTAKE, ""), hook(code));
        fs::write(&path, text).expect("written");
    };
    write(4);
    let said = site.bootctl(&["reload"]);
    assert!(said.code == Some(1) && said.err.contains("runlevel 2 was not reached"), "{said:?}");
    assert_eq!(site.status()["runlevel"]["level"], 1);
    write(0);
    site.done(&["reload"]);
    assert_eq!(site.status()["runlevel"]["level"], 2);
    assert_eq!(fs::read_to_string(&told).expect("hooks ran"), "1 2\n1 2\n");
    assert_eq!(site.get("shop", "/").status, 200);
}

#[test]
fn b04_telinit_reads_the_corrected_file_itself() {
    let site = Site::boot_with(&[("shop.toml", &answers(1, ""))], MISTAKE);
    correct(&site, "[proxy]\nvia = \"gate-1\"\n");
    site.done(&["telinit", "4"]);
    assert_eq!((&site.status()["runlevel"]["level"], problems(&site)), (&json!(4), "[]".into()));
    let answer = site.get("shop", "/");
    assert!(answer.status == 200 && answer.head.contains("gate-1"), "{answer:?}");
}

#[test]
fn z01_a_bootctl_that_is_started_again_beside_a_mistake_goes_on_as_before() {
    let table = "[custom.hello]\nexec = \"/bin/echo\"\nargs = [\"hello\"]\n";
    let site = Site::boot_with(&[("a.toml", &answers(1, ""))], table);
    site.wait_for("a", "running");
    let main = fs::read_to_string(main_file(&site)).expect("there");
    let jobs = || {
        let others = ["proxyd", "collector"].map(|job| site.init.job(job)["pid"].as_u64());
        assert!(others.iter().all(Option::is_some), "{others:?}");
        (site.pids("a"), others)
    };
    let before = jobs();
    fs::write(main_file(&site), format!("{main}{MISTAKE}")).expect("written");
    site.kill_supervisor();
    site.wait_for("a", "running");
    assert_eq!(jobs(), before);
    let told = problems(&site);
    for part in ["bootctl.toml:6:1: `custom.hello.wacth`", "what it said before holds"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert_eq!(site.status()["runlevel"]["level"], 3);
    assert_eq!(site.get("a", "/").status, 200);
    // It is no less able than before.
    assert_eq!(site.done(&["custom", "hello"]), "hello\n");
    site.done(&["restart", "a"]);
    assert_ne!(site.pids("a"), before.0);
    assert_eq!(site.bootctl(&["reload"]).code, Some(1));
    let again = jobs();
    fs::write(main_file(&site), main).expect("written");
    site.done(&["reload"]);
    assert_eq!((jobs(), problems(&site)), (again, "[]".into()));
}

/// What runs goes on while a bootctl that is started again cannot, and is known to the one that can.
fn goes_on_beside(spoil: fn(&Site), told: &str, mend: fn(&Site)) {
    let site = Site::boot(&[("a.toml", &answers(1, ""))]);
    site.wait_for("a", "running");
    let jobs = || ["a.1", "proxyd", "collector"].map(|job| site.init.job(job)["pid"].clone());
    let before = jobs();
    let goes_on = || {
        assert_eq!(jobs(), before);
        assert_eq!(site.get("a", "/").status, 200);
    };
    spoil(&site);
    kill(site.supervisor());
    let end = site.init.log_line("without it nothing is started or changed");
    assert!(end.contains(told), "{end}");
    goes_on();
    mend(&site);
    site.wait_for_bootctl();
    site.wait_for("a", "running");
    goes_on();
}

#[test]
fn z01_what_runs_is_not_ended_where_nobody_knows_what_the_file_said() {
    let spoil = |site: &Site| {
        let main = fs::read_to_string(main_file(site)).expect("there");
        fs::write(main_file(site), format!("{main}{MISTAKE}")).expect("written");
        let kept = site.folder().join("run/settings");
        assert_eq!(fs::read_to_string(&kept).expect("kept").split_once('\n').expect("two").1, main);
        fs::write(kept, "of another init\n").expect("written");
    };
    goes_on_beside(spoil, "bootctl.toml:3:1: `ports.wacth`", |site| correct(site, ""));
}

#[test]
fn z01_what_runs_is_not_ended_where_nobody_knows_the_apps() {
    let spoil = |site: &Site| {
        fs::rename(site.folder().join("conf"), site.folder().join("away")).expect("renamed");
    };
    goes_on_beside(spoil, "there is no config folder", |site| {
        fs::rename(site.folder().join("away"), site.folder().join("conf")).expect("renamed");
    });
}

#[test]
fn b04_where_nobody_would_start_it_again_it_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    fs::create_dir(path("conf")).expect("made");
    fs::write(path("conf/bootctl.toml"), MISTAKE).expect("written");
    let bootctl = program("bootctl");
    let bootctl = bootctl.to_str().expect("UTF-8");
    for (conf, why) in [("conf", "bootctl.toml:1:1"), ("none", "there is no config folder")] {
        let (conf, run, state) = (path(conf), path("run"), path("state"));
        let words = ["--config", &conf, "--run-dir", &run, "--state-dir", &state];
        let mut all = vec!["--", bootctl, "boot"];
        all.extend(words);
        // As a container's entrypoint: its orchestrator is told.
        let mut init = Init::start(&all);
        init.log_line(why);
        assert_eq!(init.wait_end().code(), Some(1));
        // By hand, beside an init that has started something else.
        let init = Init::start(&[]);
        let mut command = Command::new(bootctl);
        command.args(["boot", "--init", &init.api().to_string()]).args(words);
        let said = said(command.output().expect("it can be run"));
        assert!(said.code == Some(1) && said.err.contains(why), "{said:?}");
    }
}
