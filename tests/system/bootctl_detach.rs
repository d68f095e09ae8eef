//! An app's instances are let go of alive, outlive whoever started them, and are taken back.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use jobinit_tests::bootctl::Site;
use jobinit_tests::init::is_alive;
use jobinit_tests::{tools, wait};

use crate::bootctl_apps::{answers, kill};
use crate::bootctl_places::{NODE, scripted};

fn alive(pids: &[u64]) -> bool {
    pids.iter().all(|pid| is_alive(*pid))
}

#[test]
fn z07_an_app_outlives_bootctl_and_init_and_is_taken_back() {
    if !tools::present(&["node"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("script");
    fs::write(&script, "#!/bin/sh\nwhile :; do sleep 0.1; done\n").expect("written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("ours");
    let script = format!("exec = \"{}\"\nweb = false\n", script.display());
    let mut site = Site::boot(&[
        ("a.toml", &answers(2, "")),
        ("u.toml", &scripted("node", "-e", NODE, "socket = \"unix\"\n")),
        ("s.toml", &script),
    ]);
    let apps = ["a", "u", "s"];
    for app in apps {
        site.wait_for(app, "running");
    }
    let before: Vec<Vec<u64>> = apps.iter().map(|app| site.pids(app)).collect();
    for app in apps {
        let said = site.done(&["detach", app]);
        assert!(said.contains(&format!("`bootctl adopt {app}` takes it back")), "{said}");
        assert!(site.pids(app).is_empty());
        assert_eq!(site.wait_for(app, "stopped")["wanted"], 0);
    }
    assert!(before.iter().all(|pids| alive(pids)));
    assert_eq!((site.get("a", "/").status, site.get("u", "/").status), (503, 503));

    // Neither the next bootctl nor the next init has anything to do with them.
    kill(site.supervisor());
    site.wait_for("a", "stopped");
    site.reboot();
    assert!(before.iter().all(|pids| alive(pids)), "{before:?}");
    assert!(apps.iter().all(|app| site.pids(app).is_empty()));

    for (app, pids) in apps.iter().zip(&before) {
        let said = site.done(&["adopt", app]);
        assert!(said.starts_with(&format!("{app} runs: {app}.1")), "{said}");
        assert_eq!(site.pids(app), *pids, "{app} has not been started anew");
    }
    wait::until("the proxy to send them requests", || {
        (site.get("a", "/").status == 200 && site.get("u", "/").status == 200).then_some(())
    });

    // They are instances as before: rolled, and ended.
    site.done(&["restart", "a"]);
    assert!(!alive(&before[0]) && site.pids("a").len() == 2);
    for app in apps {
        site.done(&["stop", app]);
    }
    assert!(before.iter().all(|pids| !pids.iter().any(|pid| alive(&[*pid]))));
}

#[test]
fn z07_what_has_changed_meanwhile_is_rolled_and_what_has_ended_is_started() {
    if !tools::present(&["node"]) {
        return;
    }
    let site = Site::boot(&[
        ("a.toml", &answers(2, "")),
        ("f.toml", &scripted("node", "-e", NODE, "socket = \"fd\"\n[health]\nhttp = \"/\"\n")),
    ]);
    site.wait_for("a", "running");
    site.wait_for("f", "running");
    let refused = site.bootctl(&["detach", "f"]);
    assert!(refused.code == Some(1) && refused.err.contains("listener"), "{refused:?}");
    let refused = site.bootctl(&["detach", "a.1", "--init", &site.init.api().to_string()]);
    assert!(
        refused.code == Some(1) && refused.err.contains("instance of the app a"),
        "{refused:?}"
    );
    let refused = site.bootctl(&["adopt", "a"]);
    assert!(
        refused.code == Some(1) && refused.err.contains("nothing of a was let go"),
        "{refused:?}"
    );

    let before = site.pids("a");
    site.done(&["detach", "a"]);
    kill(before[0]);
    site.write("a.toml", &answers(2, "[env]\nNEW = \"1\"\n"));
    site.done(&["reload"]);
    site.done(&["adopt", "a"]);
    let after = site.pids("a");
    assert!(
        after.len() == 2 && after.iter().all(|pid| !before.contains(pid)),
        "{before:?} {after:?}"
    );
    wait::until("the old one to be gone", || (!alive(&before[1..])).then_some(()));
    let job = site.init.job("a.1");
    assert_eq!(job["spec"]["envs"]["NEW"], "1", "{job}");
    let again = site.bootctl(&["adopt", "a"]);
    assert_eq!(again.code, Some(1), "{again:?}");

    // A plain start leaves what was let go of alone, and starts others.
    let let_go = site.pids("a");
    site.done(&["detach", "a"]);
    site.done(&["start", "a"]);
    assert!(alive(&let_go) && site.pids("a").iter().all(|pid| !let_go.contains(pid)));
    for pid in let_go {
        kill(pid);
    }
}
