//! The config folder, watched: whatever way a change comes, it is taken over once it is whole.

use std::fs;
use std::path::Path;

use jobinit_tests::bootctl::Site;
use jobinit_tests::wait;

use crate::bootctl_apps::answers;

/// Puts `watch = true` above all tables of bootctl.toml.
fn watch(site: &Site) {
    let path = site.folder().join("conf/bootctl.toml");
    let text = fs::read_to_string(&path).expect("it is there");
    fs::write(&path, format!("watch = true\n{text}")).expect("written");
    site.done(&["reload"]);
}

#[track_caller]
fn problems(site: &Site) -> Vec<String> {
    let status = site.status();
    let all = status["problems"].as_array().expect("an array").iter();
    all.filter_map(|problem| problem.as_str().map(str::to_owned)).collect()
}

#[track_caller]
fn wait_for_instances(site: &Site, app: &str, count: usize) {
    wait::until(&format!("{count} instances of {app}"), || {
        let said = site.bootctl(&["status", app, "--json"]);
        let view: serde_json::Value = serde_json::from_str(&said.out).ok()?;
        let there = view["instances"].as_array().map(Vec::len) == Some(count);
        (there && view["state"] == "running").then_some(())
    });
}

/// How an editor writes: beside the file, which then makes room.
fn edit(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    let (beside, backup) = (folder.join(format!(".{name}.swp")), folder.join(format!("{name}~")));
    fs::write(&beside, text).expect("written");
    fs::rename(&path, backup).expect("renamed");
    fs::rename(beside, path).expect("renamed");
}

/// A copy of a folder of files.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("apps")).expect("created");
    for part in ["", "apps"] {
        for entry in fs::read_dir(from.join(part)).expect("a folder").flatten() {
            if entry.path().is_file() {
                fs::copy(entry.path(), to.join(part).join(entry.file_name())).expect("copied");
            }
        }
    }
}

#[test]
fn z01_a_watched_folder_is_taken_over_however_it_changes() {
    let site = Site::boot(&[("a.toml", &answers(1, "")), ("b.toml", &answers(1, ""))]);
    for app in ["a", "b"] {
        site.wait_for(app, "running");
    }
    watch(&site);
    let (conf, untouched) = (site.folder().join("conf"), site.pids("b"));
    let apps = conf.join("apps");

    site.write("a.toml", &answers(2, ""));
    wait_for_instances(&site, "a", 2);
    edit(&apps, "a.toml", &answers(3, ""));
    wait_for_instances(&site, "a", 3);

    // As a whole, by rename and by link.
    let next = site.folder().join("next");
    copy(&conf, &next);
    fs::write(next.join("apps/a.toml"), answers(1, "")).expect("written");
    fs::rename(&conf, site.folder().join("before")).expect("renamed");
    fs::rename(&next, &conf).expect("renamed");
    wait_for_instances(&site, "a", 1);
    copy(&conf, &next);
    fs::write(next.join("apps/a.toml"), answers(2, "")).expect("written");
    let link = site.folder().join("link");
    std::os::unix::fs::symlink("next", &link).expect("linked");
    fs::rename(&conf, site.folder().join("second")).expect("renamed");
    fs::rename(&link, &conf).expect("renamed");
    wait_for_instances(&site, "a", 2);

    // Many at once, one of them by a link whose file is elsewhere.
    for number in 0..20 {
        site.write(&format!("many{number}.toml"), &answers(0, ""));
    }
    let elsewhere = site.folder().join("elsewhere.toml");
    fs::write(&elsewhere, answers(0, "")).expect("written");
    std::os::unix::fs::symlink(&elsewhere, apps.join("linked.toml")).expect("linked");
    site.wait_for("linked", "parked");
    site.wait_for("many19", "parked");
    fs::write(&elsewhere, answers(1, "")).expect("written");
    site.wait_for("linked", "running");

    // Away for a moment is not away.
    let gone = apps.join("b.toml");
    fs::rename(&gone, apps.join("b.away")).expect("renamed");
    fs::rename(apps.join("b.away"), &gone).expect("renamed");
    site.remove("linked.toml");
    wait::until("linked to be gone", || {
        (site.bootctl(&["status", "linked"]).code == Some(1)).then_some(())
    });
    assert_eq!(site.pids("b"), untouched, "nothing of it has changed");
    assert_eq!(problems(&site), [""; 0]);
}

#[test]
fn z01_a_mistake_in_a_watched_folder_changes_nothing_and_is_told_once() {
    let site = Site::boot(&[("a.toml", &answers(1, "")), ("b.toml", &answers(1, ""))]);
    for app in ["a", "b"] {
        site.wait_for(app, "running");
    }
    watch(&site);
    let pids = (site.pids("a"), site.pids("b"));
    site.write("a.toml", &answers(1, "instnaces = 3\n"));
    site.write("b.toml", &answers(2, ""));
    let told = wait::until("the mistake to be told", || problems(&site).pop());
    for part in ["not taken over: ", "apps/a.toml:3:1: `instnaces`", "did you mean `instances`?"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert!(
        site.done(&["status"]).contains("not taken over"),
        "it is in the status for people, too"
    );
    // The same mistake once more, and somebody else's file.
    site.write("b.toml", &answers(3, ""));
    fs::write(site.folder().join("conf/apps/notes.txt"), "x").expect("written");
    assert_eq!((site.pids("a"), site.pids("b")), pids);
    edit(&site.folder().join("conf/apps"), "a.toml", &answers(1, ""));
    wait_for_instances(&site, "b", 3);
    assert_eq!(problems(&site), [""; 0]);
    assert_eq!(site.pids("a"), pids.0);
    let log = site.init.log_lines().concat();
    assert_eq!(log.matches("not taken over").count(), 1, "{log}");

    // Without the key nothing is watched any more.
    let path = site.folder().join("conf/bootctl.toml");
    let text = fs::read_to_string(&path).expect("it is there").replace("watch = true\n", "");
    fs::write(&path, text).expect("written");
    wait::until("no watch", || {
        let plan: serde_json::Value =
            serde_json::from_str(&site.done(&["plan", "--json"])).expect("JSON");
        (plan["nothing"] == true).then_some(())
    });
    site.write("a.toml", &answers(2, ""));
    assert_eq!(site.pids("a"), pids.0);
    site.done(&["reload"]);
    assert_eq!(site.pids("a").len(), 2);
}
