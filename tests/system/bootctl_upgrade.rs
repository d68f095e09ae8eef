//! The commands of an app's `[deploy]`: off unless they are written, and a bad result changes nothing.

use std::fs;
use std::path::PathBuf;
use std::thread;

use jobinit_tests::bootctl::Site;
use jobinit_tests::init::is_alive;
use jobinit_tests::wait;
use serde_json::json;

use crate::bootctl_apps::{answers, kill};
use crate::bootctl_roll::under_load;

/// Where a site's app is when it has no releases.
fn here(site: &Site) -> PathBuf {
    site.folder().join("conf/apps/here")
}

fn file(deploy: &str) -> String {
    answers(1, &format!("cwd = \"here\"\n[deploy]\n{deploy}\n"))
}

fn boot(deploy: &str) -> Site {
    let site = Site::boot(&[]);
    fs::create_dir_all(here(&site)).expect("created");
    site.write("a.toml", &file(deploy));
    site.done(&["reload"]);
    site
}

/// One that runs from release 1.
fn with_release(deploy: &str) -> Site {
    let site = Site::boot(&[("a.toml", &answers(1, &format!("[deploy]\n{deploy}\n")))]);
    let source = site.folder().join("source");
    fs::create_dir(&source).expect("created");
    fs::write(source.join("built"), "by hand").expect("written");
    site.done(&["deploy", "a", "--from", source.to_str().expect("UTF-8")]);
    site
}

fn release(site: &Site, number: u32) -> PathBuf {
    site.folder().join(format!("state/releases/a/{number}"))
}

#[test]
fn d09_commands_are_off_unless_they_are_written() {
    let site = boot("");
    for (verb, key) in
        [("update", "update"), ("rebuild", "rebuild"), ("upgrade", "update"), ("deploy", "update")]
    {
        let said = site.bootctl(&[verb, "a"]);
        assert_eq!(said.code, Some(1), "{said:?}");
        let told = format!("the {verb} of a is off; to turn it on, write `{key} = ");
        assert!(said.err.contains(&told), "{said:?}");
    }
    let said = site.bootctl(&["update", "b"]);
    assert!(said.err.contains("there is no app \"b\""), "{said:?}");
    let said = site.bootctl(&["update", "a", "--cancel"]);
    assert!(said.err.contains("no command of a runs"), "{said:?}");
}

#[test]
fn d09_without_releases_commands_work_in_place() {
    let site =
        boot("update = \"pwd > updated; env >> updated\"\nrebuild = \"cat updated > built\"\n");
    let pids = site.pids("a");
    let said = site.done(&["update", "a"]);
    assert!(said.contains("`bootctl redeploy a` starts what has come of it"), "{said}");
    let updated = fs::read_to_string(here(&site).join("updated")).expect("there");
    assert!(
        updated.lines().next().is_some_and(|cwd| cwd.ends_with("/conf/apps/here")),
        "{updated}"
    );
    assert!(updated.contains("BOOTCTL_APP=a\n") && !updated.contains("PORT="), "{updated}");
    assert!(!here(&site).join("built").exists());
    site.done(&["upgrade", "a"]);
    assert!(here(&site).join("built").exists());
    assert_eq!(site.pids("a"), pids, "nothing is restarted");
    under_load(&site, "/", 2, || drop(site.done(&["deploy", "a"])));
    let after = site.pids("a");
    assert_ne!(after, pids);
    site.done(&["redeploy", "a"]);
    assert_ne!(site.pids("a"), after);
}

#[test]
fn d09_upgrade_stops_where_it_fails_and_says_how() {
    let site = boot("update = \"echo no network; exit 7\"\nrebuild = \"touch rebuilt\"\n");
    let pids = site.pids("a");
    for verb in ["upgrade", "deploy", "update"] {
        let said = site.bootctl(&[verb, "a"]);
        assert_eq!(said.code, Some(7), "the exit code is passed on: {said:?}");
        let told = format!("the {verb} of a has failed: its update ended with exit code 7");
        assert!(said.err.contains(&told) && said.err.contains("no network"), "{said:?}");
        assert!(site.done(&["status", "a"]).contains(&told));
    }
    assert!(!here(&site).join("rebuilt").exists());
    assert_eq!(site.pids("a"), pids);
    site.done(&["rebuild", "a"]);
    assert!(here(&site).join("rebuilt").exists());
    assert!(!site.done(&["status", "a"]).contains("has failed"));
}

#[test]
fn d09_with_releases_commands_work_in_a_copy() {
    let site = with_release(
        "update = \"cat built > before\"\nrebuild = \"echo $BOOTCTL_RELEASE > built\"\n",
    );
    let said = site.done(&["upgrade", "a"]);
    assert!(said.contains("release 2 is built; `bootctl redeploy a` switches to it"), "{said}");
    let read = |number, name: &str| fs::read_to_string(release(&site, number).join(name));
    assert_eq!(read(1, "built").expect("there"), "by hand");
    assert_eq!(read(2, "built").expect("there"), "2\n");
    assert_eq!(read(2, "before").expect("there"), "by hand");
    let table = site.done(&["releases", "a"]);
    assert!(table.contains("2        staged ") && table.contains("1        current "), "{table}");
    under_load(&site, "/", 2, || {
        assert!(site.done(&["redeploy", "a"]).starts_with("a runs from release 2: a."));
        assert!(site.done(&["deploy", "a"]).starts_with("a runs from release 3: a."));
    });
    assert_eq!(read(3, "before").expect("there"), "2\n");
    site.done(&["rollback", "a"]);
    assert!(site.done(&["status", "a"]).contains("it runs from release 2"));
}

#[test]
fn d09_a_build_that_fails_leaves_nothing() {
    let site = with_release("rebuild = \"echo half > built; exit 3\"\n");
    let pids = site.pids("a");
    under_load(&site, "/", 2, || {
        let said = site.bootctl(&["deploy", "a"]);
        assert_eq!(said.code, Some(3), "{said:?}");
        assert!(said.err.contains("nothing was changed"), "{said:?}");
    });
    assert_eq!(site.pids("a"), pids);
    wait::until("its copy to be removed", || (!release(&site, 2).exists()).then_some(()));
    assert_eq!(fs::read_to_string(release(&site, 1).join("built")).expect("there"), "by hand");
    let table = site.done(&["releases", "a"]);
    assert!(!table.contains("2   "), "{table}");
}

#[test]
fn d09_two_at_once_cancelled_and_too_long() {
    let site = boot("update = \"echo $$ > pid; sleep 600\"\ncommand_timeout = \"20s\"\n");
    let pid = || fs::read_to_string(here(&site).join("pid")).ok()?.trim().parse::<u64>().ok();
    thread::scope(|scope| {
        let command = scope.spawn(|| site.bootctl(&["update", "a"]));
        let shell = wait::until("it to run", pid);
        let said = site.bootctl(&["deploy", "a"]);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains("the update of a is under way: its update runs"), "{said:?}");
        assert!(site.done(&["status", "a"]).contains("the update of a is under way"));
        site.done(&["update", "a", "--cancel"]);
        let said = command.join().expect("no panic");
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains("its update was cancelled"), "{said:?}");
        assert!(!is_alive(shell));
    });
    fs::remove_file(here(&site).join("pid")).expect("removed");
    site.write("a.toml", &file("update = \"sleep 600\"\ncommand_timeout = \"300ms\"\n"));
    site.done(&["reload"]);
    let said = site.bootctl(&["update", "a"]);
    assert!(said.err.contains("took longer than 0 s"), "{said:?}");
    let gone = || site.init.get("/job/a.update").status == 404;
    wait::until("its job to be cleared", || gone().then_some(()));
}

#[test]
fn d09_a_bootctl_that_starts_anew_takes_the_outcome() {
    let site = with_release(
        "update = \"echo $$ > pid; while ! test -e go; do sleep 0.02; done; test ! -e bad\"\n\
         rebuild = \"echo done > built\"\n",
    );
    for (number, bad) in [(2, false), (3, true)] {
        let copy = release(&site, number);
        let supervisor = site.supervisor();
        thread::scope(|scope| {
            let command = scope.spawn(|| site.bootctl(&["upgrade", "a"]));
            wait::until("it to run", || copy.join("pid").exists().then_some(()));
            kill(supervisor);
            assert_ne!(command.join().expect("no panic").code, Some(0));
        });
        site.wait_for("a", "running");
        if bad {
            fs::write(copy.join("bad"), "").expect("written");
        }
        fs::write(copy.join("go"), "").expect("written");
        if bad {
            wait::until("its failure to be told", || {
                let told = "the upgrade of a has failed: its update ended with exit code 1";
                site.done(&["status", "a"]).contains(told).then_some(())
            });
            assert!(site.done(&["status", "a"]).contains("release 2 is built"));
        } else {
            wait::until("it to be built", || {
                site.done(&["status", "a"]).contains("release 2 is built").then_some(())
            });
            assert_eq!(fs::read_to_string(copy.join("built")).expect("there"), "done\n");
            fs::remove_file(copy.join("go")).expect("removed");
            fs::remove_file(copy.join("pid")).expect("removed");
        }
    }
}

#[test]
fn d09_a_bootctl_that_starts_anew_clears_what_an_earlier_one_has_left() {
    let site = boot("update = \"true\"\n");
    // As an earlier one leaves it that has written down how it ended, and was killed then; and what is none of ours.
    let ended = json!({"exec": "/bin/true", "envs": {"BOOTCTL_APP": "a"}});
    site.init.launch_job("a.update", &ended);
    site.init.launch_job("a.rebuild", &json!({"exec": "/bin/true"}));
    for job in ["a.update", "a.rebuild"] {
        site.init.wait_for(job, "success");
    }
    kill(site.supervisor());
    wait::until("it to be cleared", || {
        (site.init.get("/job/a.update").status == 404).then_some(())
    });
    assert_eq!(site.init.job("a.rebuild")["status"], "success");
}

#[test]
fn d09_a_reboot_in_the_middle_is_told() {
    let mut site = with_release("rebuild = \"touch begun; sleep 600\"\n");
    thread::scope(|scope| {
        let command = scope.spawn(|| site.bootctl(&["deploy", "a", "--timeout", "1"]));
        wait::until("it to run", || release(&site, 2).join("begun").exists().then_some(()));
        let said = command.join().expect("no panic");
        assert!(said.err.contains("the deploy of a is under way"), "{said:?}");
    });
    site.reboot();
    site.wait_for("a", "running");
    let status = wait::until("its end to be told", || {
        let status = site.done(&["status", "a"]);
        status.contains("the deploy of a has failed").then_some(status)
    });
    assert!(
        status.contains("it runs from release 1") && status.contains("in the middle of it"),
        "{status}"
    );
    wait::until("its copy to be removed", || (!release(&site, 2).exists()).then_some(()));
}
