//! Releases, under load: what is good takes over without a failed request, what is bad changes nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use jobinit_tests::bootctl::Site;
use jobinit_tests::init::is_alive;
use jobinit_tests::wait;
use serde_json::Value;

use crate::bootctl_apps::kill;
use crate::bootctl_roll::under_load;

/// A real app: it answers with its version, and has the vice that its file `VICE` names.
const PYTHON: &str = r#"
import http.server, os, signal, sys, threading, time
version = open("VERSION").read().strip()
vice = open("VICE").read().split()
def has(name): return vice and vice[0] == name
print("version", version, "begins", flush=True)
if has("exits"):
    print("there is no such module: shop", file=sys.stderr, flush=True)
    sys.exit(3)
if has("dies"):
    threading.Timer(float(vice[1]), lambda: os._exit(4)).start()
if has("ignores_term"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536 # an answer is one write: it is there, or nothing of it
    def do_GET(self):
        if self.path == "/slow": time.sleep(5)
        code = 500 if has("sick") and self.path == "/healthz" else 200
        body = ("%s release %s in %s" % (version, os.environ.get("BOOTCTL_RELEASE"), os.getcwd())).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
Server(("127.0.0.1", int(os.environ["PORT"])), App).serve_forever()
"#;

/// Another one, that needs nothing but itself.
const NODE: &str = r#"
const fs = require("fs"), http = require("http");
const version = fs.readFileSync("VERSION", "utf8").trim();
http.createServer((request, response) => {
  response.end(`${version} release ${process.env.BOOTCTL_RELEASE} in ${process.cwd()}`);
}).listen(process.env.PORT, "127.0.0.1");
"#;

/// A folder that a release is made of.
fn source(site: &Site, version: &str, vice: &str) -> PathBuf {
    let folder = site.folder().join(format!("source-{version}"));
    fs::create_dir_all(folder.join("lib")).expect("created");
    for (name, text) in [
        ("server.py", PYTHON),
        ("server.js", NODE),
        ("VERSION", version),
        ("VICE", vice),
        ("lib/x", "x"),
    ] {
        fs::write(folder.join(name), text).expect("written");
    }
    folder
}

/// An app's file for them.
fn python(deploy: &str) -> String {
    format!(
        "exec = \"/usr/bin/python3\"\nargs = [\"server.py\"]\ninstances = 2\n[health]\nhttp = \"/healthz\"\n\
         interval = \"200ms\"\n[restart]\ndelay = \"20ms\"\nfactor = 1\n[deploy]\n{deploy}\n"
    )
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Deploys what is good.
#[track_caller]
fn deploy(site: &Site, version: &str) -> String {
    let from = source(site, version, "");
    site.done(&["deploy", "a", "--from", text(&from)])
}

#[track_caller]
fn releases(site: &Site) -> Vec<(u64, String)> {
    let text = site.done(&["releases", "a", "--json"]);
    let view: Value = serde_json::from_str(&text).expect("JSON");
    let all = view["releases"].as_array().expect("an array").iter();
    let one = |release: &Value| {
        let state = release["state"].as_str().expect("a word").to_owned();
        (release["release"].as_u64().expect("a number"), state)
    };
    all.map(one).collect()
}

fn states(all: &[(u64, &str)]) -> Vec<(u64, String)> {
    all.iter().map(|(number, state)| (*number, (*state).to_owned())).collect()
}

/// What both instances answer.
#[track_caller]
fn serves(site: &Site, version: &str, release: u64) {
    let folder = fs::canonicalize(site.folder()).expect("it is there");
    let expected =
        format!("{version} release {release} in {}/state/releases/a/{release}", folder.display());
    for _ in 0..4 {
        let answer = site.get("a", "/");
        assert_eq!((answer.status, answer.body.as_str()), (200, expected.as_str()));
    }
}

/// The folder of an app's releases.
fn shelf(site: &Site) -> PathBuf {
    site.folder().join("state/releases/a")
}

#[test]
fn d08_folders_and_archives_take_over_without_a_failed_request() {
    let site = Site::boot(&[("a.toml", &python(""))]);
    assert!(deploy(&site, "one").starts_with("a runs from release 1: a."));
    serves(&site, "one", 1);
    let asked = under_load(&site, "/", 3, || {
        let said = deploy(&site, "two");
        assert!(said.starts_with("a runs from release 2: a."), "{said}");
        serves(&site, "two", 2);
        for (n, (version, flag, name)) in
            (3..).zip([("three", "-cf", "x"), ("four", "-czf", "x.zip"), ("five", "--zstd", "y")])
        {
            let folder = source(&site, version, "");
            let archive = site.folder().join(name);
            let mut tar = Command::new("tar");
            tar.arg(flag).args(if flag == "--zstd" { &["-cf"][..] } else { &[] });
            let packed = tar.arg(&archive).arg("-C").arg(&folder).arg(".").status();
            assert!(packed.expect("tar runs").success());
            site.done(&["deploy", "a", "--from", text(&archive)]);
            serves(&site, version, n);
        }
    });
    assert!(asked > 10, "{asked}");
    assert_eq!(fs::read_link(shelf(&site).join("current")).expect("a link"), Path::new("5"));
    let status = site.done(&["status", "a"]);
    assert!(status.contains("it runs from release 5"), "{status}");
    let table = site.done(&["releases", "a"]);
    assert!(
        table.lines().nth(1).is_some_and(|line| line.starts_with("5        current ")),
        "{table}"
    );
}

#[test]
fn d08_a_node_app_is_deployed_and_rolled_back() {
    let file = "exec = \"node\"\nargs = [\"server.js\"]\ninstances = 2\n";
    let site = Site::boot(&[("a.toml", file)]);
    deploy(&site, "one");
    let said = site.bootctl(&["rollback", "a", "--to", "7"]);
    assert_eq!(
        (said.code, said.err.contains("no release \"7\"; there are 1")),
        (Some(1), true),
        "{said:?}"
    );
    under_load(&site, "/", 2, || {
        deploy(&site, "two");
        deploy(&site, "three");
        assert!(site.done(&["rollback", "a"]).starts_with("a is back to release 2: a."));
        serves(&site, "two", 2);
        site.done(&["rollback", "a", "--to", "1"]);
        serves(&site, "one", 1);
        site.done(&["rollback", "a"]);
        serves(&site, "two", 2);
    });
    assert_eq!(releases(&site), states(&[(3, "kept"), (2, "current"), (1, "previous")]));
    let said = site.bootctl(&["rollback", "a", "--to", "2"]);
    assert!(said.err.contains("runs from release 2 already"), "{said:?}");
    assert_eq!(fs::read_link(shelf(&site).join("current")).expect("a link"), Path::new("2"));
}

#[test]
fn d08_a_bad_release_is_taken_back_and_said_why() {
    let site = Site::boot(&[("a.toml", &python("timeout = \"3s\"\n"))]);
    deploy(&site, "one");
    let pids = site.pids("a");
    under_load(&site, "/", 2, || {
        for (n, version, vice, told) in [
            (2, "exits", "exits", "last exit was 3"),
            (3, "sick", "sick", "was not ready after 3 s"),
        ] {
            let from = source(&site, version, vice);
            let said = site.bootctl(&["deploy", "a", "--from", text(&from)]);
            assert_eq!(said.code, Some(1), "{said:?}");
            let back = format!("release {n} of a was taken back");
            assert!(said.err.contains(&back) && said.err.contains(told), "{said:?}");
            assert!(said.err.contains("a goes on from release 1"), "{said:?}");
            assert!(said.err.contains(&format!("| version {version} begins")), "{said:?}");
            serves(&site, "one", 1);
            let status = site.done(&["status", "a"]);
            assert!(status.contains(&back) && status.contains("a is held"), "{status}");
        }
    });
    // What was not touched runs on, alone as soon as the last bad one has ended.
    wait::until("the bad ones to be gone", || (site.pids("a") == pids).then_some(()));
    assert!(site.done(&["releases", "a"]).contains("release 3 of a was taken back: "));
    assert_eq!(releases(&site), states(&[(3, "failed"), (2, "failed"), (1, "current")]));
    assert!(shelf(&site).join("3/VERSION").exists(), "it is there to be looked at");
    deploy(&site, "four");
    serves(&site, "four", 4);
    wait::until("the bad ones to be removed", || {
        (releases(&site) == states(&[(4, "current"), (1, "previous")])).then_some(())
    });
    assert!(!site.done(&["status", "a"]).contains("taken back"));
}

#[test]
fn d08_one_that_dies_soon_after_is_taken_back() {
    let site = Site::boot(&[("a.toml", &python("watch = \"60s\"\n"))]);
    deploy(&site, "one");
    let from = source(&site, "two", "dies 1.5");
    site.bootctl(&["deploy", "a", "--from", text(&from)]);
    let view = site.wait_for("a", "held");
    let why = view["why"].as_str().expect("a sentence");
    assert!(why.contains("release 2 of a was taken back: a."), "{why}");
    wait::until("the old one to be back", || {
        let text = site.done(&["releases", "a", "--json"]);
        let view: Value = serde_json::from_str(&text).expect("JSON");
        let instances = |n: usize| view["releases"][n]["instances"].as_array().map(Vec::len);
        (instances(0) == Some(0) && instances(1) == Some(2)).then_some(())
    });
    serves(&site, "one", 1);
    assert_eq!(releases(&site), states(&[(2, "failed"), (1, "current")]));
    assert_eq!(fs::read_link(shelf(&site).join("current")).expect("a link"), Path::new("1"));
}

#[test]
fn d08_one_that_dies_before_it_has_settled_harms_nobody() {
    let site = Site::boot(&[("a.toml", &python("settle = \"3s\"\n"))]);
    deploy(&site, "one");
    let pids = site.pids("a");
    under_load(&site, "/healthz", 2, || {
        let from = source(&site, "two", "dies 1");
        let said = site.bootctl(&["deploy", "a", "--from", text(&from)]);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains("release 2 of a was taken back"), "{said:?}");
    });
    // It is answered when that is decided; the failed one may still be leaving.
    wait::until("the earlier ones alone", || (site.pids("a") == pids).then_some(()));
    serves(&site, "one", 1);
}

#[test]
fn d08_what_is_no_release_changes_nothing() {
    let site = Site::boot(&[("a.toml", &python("max_size = \"1M\"\nmax_files = 10\n"))]);
    let good = source(&site, "good", "");
    let whole = site.folder().join("whole.tar.gz");
    let packed = Command::new("tar").arg("-czf").arg(&whole).arg("-C").arg(&good).arg(".").status();
    assert!(packed.expect("tar runs").success());
    let bytes = fs::read(&whole).expect("read");
    let make = |name: &str, bytes: &[u8]| {
        let path = site.folder().join(name);
        fs::write(&path, bytes).expect("written");
        path
    };
    let out = source(&site, "out", "");
    std::os::unix::fs::symlink("/etc/passwd", out.join("passwd")).expect("linked");
    let large = source(&site, "large", "");
    fs::write(large.join("bomb"), vec![0; 2 << 20]).expect("written");
    let many = source(&site, "many", "");
    (0..20).for_each(|n| fs::write(many.join(n.to_string()), "").expect("written"));
    for (from, told) in [
        (make("cut", &bytes[..bytes.len() / 2]), "damaged or incomplete"),
        (make("zip.tar.gz", b"PK\x03\x04 and more"), "this is a zip archive; pack it as tar"),
        (make("text.tar", b"hello"), "this is no tar archive"),
        (make("empty", b""), "this is no tar archive"),
        (out, "links must be relative, and stay in the release"),
        (large, "more than 1048576 bytes"),
        (many, "more than 10 files"),
        (site.folder().join("nowhere"), "cannot be read: No such file"),
    ] {
        let said = site.bootctl(&["deploy", "a", "--from", text(&from)]);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains(told), "{told}: {said:?}");
        assert!(said.err.contains("nothing was"), "{said:?}");
        assert_eq!(releases(&site), []);
    }
    let left = fs::read_dir(shelf(&site)).map_or(0, Iterator::count);
    assert_eq!(left, 0, "nothing is left of them");
    let said = site.bootctl(&["deploy", "b", "--from", text(&good)]);
    assert!(said.err.contains("there is no app \"b\""), "{said:?}");
    site.write("a.toml", &python("").replace("instances", "cwd = \"/tmp\"\ninstances"));
    drop(site.bootctl(&["reload", "--timeout", "0"]));
    let said = site.bootctl(&["deploy", "a", "--from", text(&good)]);
    assert!(said.err.contains("has an absolute `cwd`"), "{said:?}");
    let said = site.bootctl(&["rollback", "a"]);
    assert!(said.err.contains("has run from nothing else before"), "{said:?}");
}

#[test]
fn d08_old_releases_are_removed_and_needed_ones_stay() {
    let site = Site::boot(&[("a.toml", &python("keep = 3\nwatch = \"0s\"\n"))]);
    for version in ["one", "two", "three", "four", "five"] {
        deploy(&site, version);
    }
    let expected = states(&[(5, "current"), (4, "previous"), (3, "kept")]);
    wait::until("old ones to be removed", || (releases(&site) == expected).then_some(()));
    wait::until("their files to be gone", || (!shelf(&site).join("2").exists()).then_some(()));
    assert!(shelf(&site).join("3").exists());
    assert!(!site.done(&["status", "a"]).contains("held"));
}

#[test]
fn d08_an_app_that_ignores_term_and_one_with_slow_requests() {
    let more = "\n[stop]\ntimeout = \"500ms\"\ndrain = \"20s\"\n";
    let site = Site::boot(&[("a.toml", &(python("") + more))]);
    let from = source(&site, "one", "ignores_term");
    site.done(&["deploy", "a", "--from", text(&from)]);
    let pids = site.pids("a");
    let asked = under_load(&site, "/slow", 3, || {
        wait::until("requests to be in flight", || {
            let state = site.proxy_state();
            let targets = state.services.get("a")?.targets.values();
            (targets.map(|target| target.in_flight).sum::<u64>() == 3).then_some(())
        });
        deploy(&site, "two");
    });
    assert!(asked >= 3, "{asked}");
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    serves(&site, "two", 2);
}

#[test]
fn d08_bootctl_killed_while_an_archive_comes_in_changes_nothing() {
    let site = Site::boot(&[("a.toml", &python(""))]);
    deploy(&site, "one");
    let from = source(&site, "two", "");
    fs::write(from.join("large"), vec![7; 64 << 20]).expect("written");
    let pids = site.pids("a");
    under_load(&site, "/", 2, || {
        let supervisor = site.supervisor();
        let said = thread::scope(|scope| {
            let command = scope.spawn(|| site.bootctl(&["deploy", "a", "--from", text(&from)]));
            wait::until("it to begin", || shelf(&site).join(".2.new").exists().then_some(()));
            kill(supervisor);
            command.join().expect("no panic")
        });
        assert_ne!(said.code, Some(0), "{said:?}");
        site.wait_for("a", "running");
    });
    assert_eq!(site.pids("a"), pids);
    assert_eq!(releases(&site), states(&[(1, "current")]));
    wait::until("the half one to be removed", || {
        (!shelf(&site).join(".2.new").exists()).then_some(())
    });
    assert!(!shelf(&site).join("2").exists());
    deploy(&site, "three");
}

/// Deploys the second release, and kills bootctl as soon as the first instance of it is there.
fn kill_while_rolled(site: &Site, from: &Path) {
    let supervisor = site.supervisor();
    thread::scope(|scope| {
        let command = scope.spawn(|| site.bootctl(&["deploy", "a", "--from", text(from)]));
        wait::until("it to be rolled", || {
            let jobs = site.init.get("/jobs").json();
            let mut jobs = jobs.as_array()?.iter();
            jobs.any(|job| job["spec"]["envs"]["BOOTCTL_RELEASE"] == "2").then_some(())
        });
        kill(supervisor);
        drop(command.join().expect("no panic"));
    });
}

#[test]
fn d08_bootctl_killed_while_it_rolls_and_while_it_watches_goes_on() {
    let site = Site::boot(&[("a.toml", &python("watch = \"60s\"\n"))]);
    deploy(&site, "one");
    under_load(&site, "/", 2, || {
        let from = source(&site, "two", "");
        kill_while_rolled(&site, &from);
        wait::until("the new one to have taken over", || {
            let view = site.wait_for("a", "running");
            (view["release"] == 2 && view["instances"].as_array()?.len() == 2).then_some(())
        });
    });
    serves(&site, "two", 2);
    let from = source(&site, "three", "dies 2");
    site.bootctl(&["deploy", "a", "--from", text(&from)]);
    kill(site.supervisor());
    let view = site.wait_for("a", "held");
    assert!(view["why"].as_str().is_some_and(|why| why.contains("release 3 of a was taken back")));
    assert_eq!(view["release"], 2);
}

#[test]
fn d08_a_failed_release_is_taken_back_by_the_bootctl_that_comes_after() {
    let site = Site::boot(&[("a.toml", &python("timeout = \"4s\"\n"))]);
    deploy(&site, "one");
    let pids = site.pids("a");
    under_load(&site, "/", 2, || {
        let from = source(&site, "two", "sick");
        kill_while_rolled(&site, &from);
        let view = site.wait_for("a", "held");
        assert_eq!(view["release"], 1, "{view}");
    });
    wait::until("those of before to be alone", || (site.pids("a") == pids).then_some(()));
}

#[test]
fn d08_after_a_reboot_all_is_as_it_was() {
    let mut site = Site::boot(&[("a.toml", &python("watch = \"60s\"\n"))]);
    deploy(&site, "one");
    deploy(&site, "two");
    site.reboot();
    site.wait_for("a", "running");
    serves(&site, "two", 2);
    assert_eq!(releases(&site), states(&[(2, "current"), (1, "previous")]));
    site.done(&["rollback", "a"]);
    site.reboot();
    site.wait_for("a", "running");
    serves(&site, "one", 1);
}

#[test]
fn d08_a_release_that_was_not_written_down_is_there_to_go_to() {
    let site = Site::boot(&[("a.toml", &python(""))]);
    deploy(&site, "one");
    fs::rename(source(&site, "two", ""), shelf(&site).join("2")).expect("moved");
    kill(site.supervisor());
    site.wait_for("a", "running");
    wait::until("it to be known", || {
        (releases(&site) == states(&[(2, "kept"), (1, "current")])).then_some(())
    });
    site.done(&["rollback", "a", "--to", "2"]);
    serves(&site, "two", 2);
}

#[test]
fn d08_two_deploys_at_once() {
    let site = Site::boot(&[("a.toml", &python(""))]);
    deploy(&site, "one");
    let sources = ["two", "three"].map(|version| source(&site, version, ""));
    let said = under_load_of(&site, || {
        thread::scope(|scope| {
            let deploy = |from: &PathBuf| site.bootctl(&["deploy", "a", "--from", text(from)]);
            let [one, other] = sources.each_ref().map(|from| scope.spawn(move || deploy(from)));
            [one, other].map(|command| command.join().expect("no panic"))
        })
    });
    let codes: Vec<_> = said.iter().map(|said| said.code).collect();
    assert!(codes.contains(&Some(0)), "{said:?}");
    for refused in said.iter().filter(|said| said.code != Some(0)) {
        assert!(refused.err.contains("nothing was changed"), "{refused:?}");
    }
    assert!(!site.done(&["status", "a"]).contains("held"));
}

/// The same as [`under_load`], for its result.
fn under_load_of<T>(site: &Site, work: impl FnOnce() -> T) -> T {
    let mut result = None;
    under_load(site, "/", 2, || result = Some(work()));
    result.expect("it was run")
}

#[test]
fn d08_a_stopped_app_is_deployed_for_its_next_start() {
    let site = Site::boot(&[("a.toml", &python(""))]);
    deploy(&site, "one");
    site.done(&["stop", "a"]);
    let from = source(&site, "two", "");
    let said = site.done(&["deploy", "a", "--from", text(&from)]);
    assert!(said.contains("`bootctl start a` starts it from release 2"), "{said}");
    site.done(&["start", "a"]);
    serves(&site, "two", 2);
}

#[test]
fn d08_the_first_release_of_an_app_that_runs_from_its_file() {
    let site = Site::boot(&[]);
    let beside = source(&site, "beside", "");
    site.write(
        "a.toml",
        &python("").replace("\"server.py\"", &format!("{:?}", beside.join("server.py"))),
    );
    // Its file says nothing of where it runs, so it does not find its version.
    drop(site.bootctl(&["reload"]));
    let file = python("").replace("instances", "cwd = \"here\"\ninstances");
    fs::create_dir_all(site.folder().join("conf/apps/here")).expect("created");
    for name in ["server.py", "VERSION", "VICE"] {
        fs::copy(beside.join(name), site.folder().join("conf/apps/here").join(name))
            .expect("copied");
    }
    site.write("a.toml", &file);
    site.done(&["reload"]);
    assert!(site.get("a", "/").body.starts_with("beside release None"));
    let from = source(&site, "two", "");
    under_load(&site, "/", 2, || {
        let said = site.bootctl(&["deploy", "a", "--from", text(&from)]);
        assert!(said.err.contains("release 1 of a was taken back"), "there is no here: {said:?}");
    });
    assert!(site.get("a", "/").body.starts_with("beside release None"));
    fs::create_dir(from.join("here")).expect("created");
    for name in ["server.py", "VERSION", "VICE"] {
        fs::rename(from.join(name), from.join("here").join(name)).expect("moved");
    }
    under_load(&site, "/", 2, || drop(site.done(&["deploy", "a", "--from", text(&from)])));
    let answer = site.get("a", "/").body;
    assert!(answer.starts_with("two release 2 in ") && answer.ends_with("/2/here"), "{answer}");
    site.done(&["rollback", "a"]);
    assert!(site.get("a", "/").body.starts_with("beside release None"));
    // What its file names is not what it was.
    site.done(&["rollback", "a"]);
    fs::write(site.folder().join("conf/apps/here/VICE"), "exits").expect("written");
    let said = site.bootctl(&["rollback", "a"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    for told in [
        "a was taken back from what its file names: a.",
        "its last exit was 3; it goes on from release 2",
        "| there is no such module: shop",
    ] {
        assert!(said.err.contains(told), "{told}: {said:?}");
    }
    assert!(site.get("a", "/").body.starts_with("two release 2"));
}

#[test]
fn d08_what_its_file_names_and_never_ran_is_nothing_to_go_back_to() {
    let site = Site::boot(&[("a.toml", &python(""))]);
    assert_eq!(site.bootctl(&["start", "a"]).code, Some(1), "there is no server.py");
    deploy(&site, "one");
    let said = site.bootctl(&["rollback", "a"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("a has run from nothing else before; there are 1"), "{said:?}");
}
