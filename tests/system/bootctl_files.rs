//! Files of an app that the proxy serves by itself, and apps that are nothing else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use jobinit_tests::bootctl::Site;
use jobinit_tests::{http, wait};

use crate::bootctl_apps::answers;

/// A folder that a release is made of.
fn source(site: &Site, version: &str) -> PathBuf {
    let folder = site.folder().join(format!("source-{version}"));
    fs::create_dir_all(folder.join("deep")).expect("created");
    fs::write(folder.join("index.html"), version).expect("written");
    fs::write(folder.join("deep/x.txt"), version.repeat(50_000)).expect("written");
    folder
}

/// Whoever the proxy runs as gets to its files.
fn open(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("ours");
}

#[track_caller]
fn deploy(site: &Site, version: &str) -> String {
    let from = source(site, version);
    site.done(&["deploy", "docs.test", "--from", from.to_str().expect("UTF-8")])
}

#[track_caller]
fn shows(site: &Site, version: &str) {
    let answer = site.get("docs.test", "/");
    assert_eq!((answer.status, answer.body.as_str()), (200, version), "{answer:?}");
    assert_eq!(site.get("docs.test", "/deep/x.txt").body, version.repeat(50_000));
}

const DOCS: &str = "alias = [\"www.docs.test\"]\n[files]\n\"/\" = \".\"\n";

#[test]
fn d08_a_folder_is_a_site_that_deploys_like_an_app() {
    let site = Site::boot(&[("docs.test.toml", DOCS), ("b.toml", &answers(1, ""))]);
    open(site.folder());
    site.wait_for("b", "running");
    site.wait_for("docs.test", "running");
    let pids = site.pids("b");
    assert_eq!(site.get("docs.test", "/").status, 503, "nothing was deployed");
    assert_eq!(site.get("docs.test", "/docs.test.toml").status, 503, "least of all these files");
    let said = deploy(&site, "1");
    assert!(said.contains("release 1: its files are served"), "{said}");
    shows(&site, "1");
    assert_eq!(site.get("www.docs.test", "/").body, "1");
    assert_eq!(site.get("docs.test", "/no").status, 404);
    // Under load: each answer is of one of the two, whole, and none fails.
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut count = 0;
            while !done.load(Ordering::Acquire) {
                let answer = site.get("docs.test", "/deep/x.txt");
                let whole = ["1", "2"].iter().any(|version| answer.body == version.repeat(50_000));
                assert!(answer.status == 200 && whole, "{} {}", answer.status, answer.body.len());
                count += 1;
            }
            count
        });
        let from = source(&site, "2");
        site.done(&["deploy", "docs.test", "--from", from.to_str().expect("UTF-8")]);
        shows(&site, "2");
        done.store(true, Ordering::Release);
        assert!(load.join().expect("no failed request") > 0);
    });
    site.done(&["rollback", "docs.test"]);
    shows(&site, "1");
    site.done(&["stop", "docs.test"]);
    assert_eq!(site.get("docs.test", "/").status, 503);
    site.done(&["start", "docs.test"]);
    shows(&site, "1");
    assert_eq!(site.pids("b"), pids, "no process is touched");
    for words in [&["restart", "docs.test"][..], &["scale", "docs.test", "2"]] {
        let said = site.bootctl(words);
        assert!(said.code != Some(0) && said.err.contains("files only"), "{said:?}");
    }
    assert_eq!(site.pids("docs.test"), [0; 0]);
}

#[test]
fn d08_a_release_of_which_nothing_would_be_served_is_refused() {
    let site = Site::boot(&[]);
    open(site.folder());
    let fixed = source(&site, "0");
    let from = source(&site, "1");
    let absolute = format!("[files]\n\"/deep\" = \"{}/deep\"\n", fixed.display());
    let root = format!("\"/\" = \"{}\"\n", fixed.display());
    site.write("docs.test.toml", &format!("{absolute}{root}"));
    site.done(&["reload"]);
    let said = site.bootctl(&["deploy", "docs.test", "--from", from.to_str().expect("UTF-8")]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("names no folder in [files] but absolute ones"), "{said:?}");
    shows(&site, "0");
    assert!(site.done(&["releases", "docs.test", "--json"]).contains("\"releases\": []"));
    // What one of them shows is of the release.
    site.write("docs.test.toml", &format!("{absolute}\"/\" = \".\"\n"));
    site.done(&["reload"]);
    deploy(&site, "1");
    assert_eq!(site.get("docs.test", "/").body, "1");
    assert_eq!(site.get("docs.test", "/deep/x.txt").body, "0".repeat(50_000));
}

#[test]
fn d08_a_site_of_files_goes_on_whatever_dies() {
    let mut site = Site::boot(&[("docs.test.toml", DOCS)]);
    open(site.folder());
    deploy(&site, "1");
    // Its file is broken: it stays as it is, also for a proxy that is told anew.
    site.write("docs.test.toml", "files = 3\n");
    assert_ne!(site.bootctl(&["reload"]).code, Some(0));
    shows(&site, "1");
    site.done(&["restart", "proxyd"]);
    shows(&site, "1");
    site.write("docs.test.toml", DOCS);
    site.done(&["reload"]);
    shows(&site, "1");
    site.reboot();
    wait::until("the site after a reboot", || {
        let answer = http::try_get(site.proxy, "/")?;
        // By the address alone nothing is known.
        (answer.status == 404).then_some(())
    });
    wait::until("its files", || (site.get("docs.test", "/").status == 200).then_some(()));
    shows(&site, "1");
    let maintained = format!("{DOCS}[proxy.maintenance]\non = true\n");
    site.write("docs.test.toml", &maintained);
    site.done(&["reload"]);
    assert_eq!(site.get("docs.test", "/").status, 503);
    site.remove("docs.test.toml");
    site.done(&["reload"]);
    assert_eq!(site.get("docs.test", "/").status, 404);
}

#[test]
fn o10_an_app_has_some_of_its_paths_served_by_the_proxy() {
    let more = "[files]\n\"/static\" = \"static\"\n[proxy]\ncompress = true\nnot_found = \"/no.html\"\n\
                [proxy.request_headers]\nset = { X-Own = \"1\" }\n";
    let site = Site::boot(&[("shop.test.toml", &answers(1, more))]);
    open(site.folder());
    for folder in ["conf", "conf/apps"] {
        open(&site.folder().join(folder));
    }
    let folder = site.folder().join("conf/apps/static");
    fs::create_dir(&folder).expect("created");
    fs::write(folder.join("a.css"), "a{}".repeat(1000)).expect("written");
    fs::write(folder.join("no.html"), "no").expect("written");
    site.wait_for("shop.test", "running");
    assert!(site.get("shop.test", "/").body.starts_with("shop.test "));
    assert_eq!(site.get("shop.test", "/static/a.css").body, "a{}".repeat(1000));
    let answer = site.get("shop.test", "/static/x");
    assert_eq!((answer.status, answer.body.as_str()), (404, "no"));
    let state = site.proxy_state();
    assert!(state.routes.values().all(|route| route.compress), "{:?}", state.routes);
    // A stopped app shows nothing of itself.
    site.done(&["stop", "shop.test"]);
    assert_eq!(site.get("shop.test", "/static/a.css").status, 503);
}
