//! The verbs that ask init, and those about files, from another machine: the gate is the one door.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::Stdio;

use jobinit_tests::bootctl::{Said, said};
use jobinit_tests::init::is_alive;
use jobinit_tests::remote::Reached;
use jobinit_tests::wait;
use serde_json::{Value, json};

use crate::bootctl_apps::answers;

/// A site with an app of two instances, and whoever may do all there, and only look.
struct Afar {
    reached: Reached,
    admin: PathBuf,
    reader: PathBuf,
}

impl Afar {
    fn boot(more: &str) -> Self {
        let reached = Reached::boot(&[("a.toml", &answers(2, more))]);
        reached.site.wait_for("a", "running");
        let (admin, reader) = (reached.token("admin", "control"), reached.token("reader", "read"));
        Self { reached, admin, reader }
    }

    fn ask(&self, words: &[&str]) -> Said {
        self.reached.from_afar(&self.admin, words)
    }

    #[track_caller]
    fn done(&self, words: &[&str]) -> String {
        let said = self.ask(words);
        assert_eq!(said.code, Some(0), "{words:?}: {said:?}");
        said.out
    }

    /// What was written of a change by whoever has this token.
    #[track_caller]
    fn noted(&self, method: &str, path: &str) -> Value {
        let lines = self.reached.audit();
        let line = lines.iter().rfind(|line| {
            line["method"] == method && line["path"].as_str().is_some_and(|p| p.contains(path))
        });
        line.unwrap_or_else(|| panic!("{method} {path} has a line: {lines:?}")).clone()
    }
}

#[test]
fn z09_jobs_are_shown_and_signalled_from_afar() {
    let afar = Afar::boot("[restart]\ndelay = \"0s\"\n");
    let site = &afar.reached.site;
    let table = afar.done(&["jobs"]);
    assert!(table.lines().any(|line| line.starts_with("a.2 ")), "{table}");
    let stats: Value = serde_json::from_str(&afar.done(&["stats", "a", "--json"])).expect("JSON");
    assert_eq!((&stats[0]["id"], &stats[1]["id"]), (&json!("a.1"), &json!("a.2")));
    // Figures hold no secrets, specs do.
    let figures = afar.reached.from_afar(&afar.reader, &["stats"]);
    assert!(figures.code == Some(0) && figures.out.contains("a.1"), "{figures:?}");
    for words in [&["jobs"][..], &["kill", "a"], &["events"], &["exec", "a", "--", "id"]] {
        let refused = afar.reached.from_afar(&afar.reader, words);
        assert!(refused.code == Some(1) && refused.err.contains("may only look"), "{refused:?}");
    }

    let mut follower = afar.reached.from_afar_as(&afar.admin, &["events", "--all"]);
    let mut follower = follower.stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(follower.stdout.take().expect("piped")).lines();
    let mut until = |what: &str| {
        let mut all = lines.by_ref().map(|line| line.expect("text"));
        all.find(|line| line.contains(what)).expect("it is told");
    };
    until("a.1 running");
    let before = site.pids("a");
    let said = afar.done(&["kill", "a.1", "--signal", "KILL"]);
    assert!(said.contains(&format!("a.1 (pid {})", before[0])), "{said}");
    until("a.1 running");
    follower.kill().expect("it runs");
    follower.wait().expect("ended");
    assert_eq!(afar.noted("PUT", "/init/job/a.1/sig/KILL")["who"], "token admin");
    let typo = afar.ask(&["kill", "b"]);
    assert!(typo.code == Some(1) && typo.err.contains("no job"), "{typo:?}");
    let machine = afar.ask(&["poweroff"]);
    assert!(
        machine.code == Some(1) && machine.err.contains("not the first process"),
        "{machine:?}"
    );
}

#[test]
fn z09_commands_run_as_an_app_runs_from_afar() {
    let afar = Afar::boot("[env]\nCOLOUR = \"red\"\n");
    let script = "echo $COLOUR; echo oh >&2; cat; exit 7";
    let mut command =
        afar.reached.from_afar_as(&afar.admin, &["exec", "a", "--", "sh", "-c", script]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    child.stdin.take().expect("piped").write_all(b"from afar\n").expect("written");
    let said = said(child.wait_with_output().expect("it ends"));
    let wanted = (Some(7), "red\nfrom afar\n", "oh\n");
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), wanted);
    let noted = afar.noted("PUT", "/exec");
    assert!(noted["path"].as_str().is_some_and(|path| path.contains("/init/job/exec-")), "{noted}");
    let left = afar.reached.site.init.get("/jobs").json();
    assert!(!left.to_string().contains("\"exec-"), "it is cleared: {left}");
    let none = afar.ask(&["exec", "a", "--", "no-such-program"]);
    assert!(none.code == Some(1) && none.err.contains("no-such-program"), "{none:?}");

    // Neither as root, as init and bootctl are, nor by a spec of a stranger's making.
    let boot = afar.ask(&["exec", "boot", "--", "id"]);
    assert!(boot.code == Some(1) && boot.err.contains("no instance of an app"), "{boot:?}");
    let header =
        format!("Authorization: Bearer {}", fs::read_to_string(&afar.admin).expect("there").trim());
    let spec = ["-X", "PUT", "-H", &header, "-d", "{\"exec\": \"id\"}"];
    for (path, wanted) in [
        ("/init/job/mine", 405),
        ("/init/job/exec-1/exec", 422),
        ("/init/job/mine/exec", 422),
        ("/init/job/mine/adopt", 422),
        ("/init/job/init/stop?then=exit", 422),
        ("/init/job/init/stop?then=poweroff", 409),
        ("/init/job/init/detach", 404),
    ] {
        let (status, body) = afar.reached.curl("127.0.0.1", &spec, path);
        assert_eq!(status, wanted, "{path}: {body}");
    }
}

#[test]
fn z09_what_jobs_write_is_read_from_afar() {
    let afar = Afar::boot("");
    let talks = json!({
        "exec": "/bin/sh", "args": ["-c", "echo one; echo two; echo oh >&2; read line; echo $line"],
        "stdin": "pipe", "stdout": "log", "stderr": "log",
    });
    let init = &afar.reached.site.init;
    init.launch_job("talk", &talks);
    wait::until("it to have spoken", || (afar.done(&["stderr", "talk"]) == "oh\n").then_some(()));
    assert_eq!(afar.done(&["stdout", "talk", "-n", "1"]), "two\n");
    let mut follower = afar.reached.from_afar_as(&afar.admin, &["stdout", "talk", "-f"]);
    let mut follower = follower.stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(follower.stdout.take().expect("piped")).lines();
    let mut next = || lines.next().map(|line| line.expect("text"));
    assert_eq!((next().as_deref(), next().as_deref()), (Some("one"), Some("two")));
    jobinit_tests::http::request(init.api(), "PUT", "/job/talk/stdin", "", "three\n");
    assert_eq!((next().as_deref(), next()), (Some("three"), None));
    assert!(follower.wait().expect("ended").success());
}

#[test]
fn z07_z09_jobs_are_let_go_of_and_taken_back_from_afar() {
    let afar = Afar::boot("");
    let site = &afar.reached.site;
    let pid = site.init.launch_job("nap", &json!({"exec": "/bin/sleep", "args": ["600"]}));
    assert!(afar.done(&["detach", "nap"]).contains(&format!("`bootctl adopt nap {pid}`")));
    assert!(is_alive(pid) && site.init.get("/job/nap").status == 404);
    assert!(afar.done(&["adopt", "nap", &pid.to_string()]).contains("nap is a job now"));
    assert_eq!(site.init.job("nap")["pid"], pid);
    assert_eq!(afar.noted("PUT", "/init/job/nap/adopt")["result"], "done");

    let pids = site.pids("a");
    afar.done(&["detach", "a"]);
    assert_eq!(site.init.get("/job/a.1").status, 404);
    afar.done(&["adopt", "a"]);
    assert_eq!(site.pids("a"), pids);
    assert_eq!(afar.noted("PUT", "/apps/a/adopt")["result"], "done");
}

#[test]
fn z09_the_config_is_changed_where_the_apps_are() {
    let afar = Afar::boot("[env]\nSECRET = \"do not tell\"\n");
    let site = &afar.reached.site;
    assert_eq!(afar.done(&["config", "-a", "a", "--get", "instances"]), "2\n");
    let refused = afar.reached.from_afar(&afar.reader, &["config", "-a", "a", "--get"]);
    assert!(refused.code == Some(1) && refused.err.contains("may only look"), "{refused:?}");
    let said = afar.done(&["config", "-a", "a", "--set", "env.SECRET", "hush hush"]);
    assert!(
        said.contains("\"hush hush\", was \"do not tell\"") && said.contains("reload"),
        "{said}"
    );
    let file = || fs::read_to_string(site.folder().join("conf/apps/a.toml")).expect("there");
    assert!(file().contains("hush hush"), "{}", file());
    assert_eq!(afar.noted("PUT", "/config?app=a")["result"], "done");
    assert!(afar.reached.audit().iter().all(|line| !line.to_string().contains("hush")));
    afar.done(&["config", "-a", "a", "--set", "instances", "1", "--apply"]);
    assert_eq!(site.pids("a").len(), 1);
    afar.done(&["config", "-a", "a", "--delete", "env.SECRET"]);
    assert!(!file().contains("SECRET"), "{}", file());

    let before = file();
    for (words, told) in [
        (&["config", "-a", "a", "--set", "instanzes", "1"][..], "instanzes"),
        (&["config", "-a", "a", "--set", "instances", "many"], "instances"),
        (&["config", "-a", "b", "--get"], "there is no app \"b\""),
        (&["config", "--get", "a", "--config", "/etc/other"], "names a folder of this machine"),
        (&["init", "b"], "would be written on this machine"),
    ] {
        let said = afar.ask(words);
        assert!(said.code == Some(1) && said.err.contains(told), "{words:?}: {said:?}");
    }
    assert_eq!(file(), before);
}
