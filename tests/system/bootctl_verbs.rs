//! Every verb there is, asked from another machine: each is done there, or says that it is about this one only.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use jobinit_tests::bootctl::{Said, said};
use jobinit_tests::init::is_alive;
use jobinit_tests::remote::Reached;
use jobinit_tests::verbs;
use serde_json::json;

use crate::bootctl_apps::answers;

/// What is done there, in this order; what it says, and with which code. `DIR` is a folder to deploy.
const AFAR: &[(&str, &[&str], i32, &str)] = &[
    ("status", &["a"], 0, "a is running"),
    ("stop", &["a"], 0, "a is stopped"),
    ("start", &["a"], 0, "a runs"),
    ("restart", &["a"], 0, "a is restarted"),
    ("scale", &["a", "2"], 0, "a runs: "),
    ("deploy", &["a", "--from", "DIR"], 0, "a runs from release 1"),
    ("update", &["a"], 0, "release 2"),
    ("rebuild", &["a"], 0, "release 3"),
    ("upgrade", &["a"], 0, "release 4"),
    ("redeploy", &["a"], 0, "release 4"),
    ("rollback", &["a"], 0, "back to release 1"),
    ("releases", &["a"], 0, "current"),
    ("detach", &["a"], 0, "a"),
    ("adopt", &["a"], 0, "a"),
    ("top", &[], 0, "ready"),
    ("plan", &[], 0, "nothing to do"),
    ("reload", &[], 0, ""),
    ("config", &["-a", "a", "--get", "instances"], 0, "2"),
    ("jobs", &[], 0, "talk"),
    ("stats", &["talk"], 0, "talk"),
    ("stdout", &["talk"], 0, "say something"),
    ("stderr", &["talk"], 0, "loudly"),
    ("kill", &["talk", "--signal", "CONT"], 0, "talk"),
    ("exec", &["a", "--", "/bin/echo", "run there"], 0, "run there"),
    ("log", &["proxyd"], 0, ""),
    ("custom", &["say"], 0, "said there"),
    ("telinit", &["3"], 0, "runlevel 3"),
    ("generate", &["--list"], 0, "admin"),
    ("poweroff", &[], 1, "not the first process"),
    ("reboot", &[], 1, "not the first process"),
    ("halt", &[], 1, "not the first process"),
    ("renew", &[], 0, "no app was touched"),
];

/// What goes on for as long as somebody listens: asked apart.
const STREAMS: &[&str] = &["attach", "events"];

/// What is about this machine, and why it is no business of another one's.
const HERE: &[(&str, &str)] = &[
    ("boot", "it is the supervisor"),
    ("check", "it reads a folder of this machine; `plan` does so there"),
    ("completions", "they are for the shell here"),
    ("context", "it says what other machines are called here"),
    ("init", "it writes a file into a folder of this machine"),
    ("install", "it brings programs of this machine to their place"),
    ("uninstall", "it removes them, and who is far away must not lose what he has here"),
];

struct Afar {
    reached: Reached,
    admin: PathBuf,
}

impl Afar {
    fn command(&self, verb: &str, words: &[&str]) -> Command {
        self.reached.from_afar_as(&self.admin, &[&[verb], words].concat())
    }

    fn ask(&self, verb: &str, words: &[&str]) -> Said {
        said(self.command(verb, words).output().expect("bootctl can be run"))
    }
}

#[test]
fn z09_every_verb_is_asked_from_afar_or_is_about_this_machine() {
    let told = AFAR.iter().map(|(verb, ..)| *verb).chain(STREAMS.iter().copied());
    let told: Vec<_> = told.chain(HERE.iter().map(|(verb, _)| *verb)).collect();
    let there: BTreeSet<_> = verbs::all().into_iter().collect();
    assert_eq!(told.len(), there.len(), "each once");
    assert_eq!(
        told.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(),
        there,
        "a new verb has a row above: what it does on another machine, or why it does nothing there"
    );

    let custom = "[custom.say]\nexec = \"/bin/echo\"\nargs = [\"said there\"]\n";
    let app = answers(1, "[deploy]\nupdate = \"true\"\nrebuild = \"true\"\nwatch = \"0s\"\n");
    let reached = Reached::boot_saying(&[("a.toml", &app)], custom);
    reached.site.wait_for("a", "running");
    let admin = reached.token("admin", "control");
    let afar = Afar { reached, admin };
    let talks = json!({
        "exec": "/bin/sh", "stdin": "pipe", "stdout": "log", "stderr": "log",
        "args": ["-c", "echo say something; echo loudly >&2; read line; echo heard $line"],
    });
    afar.reached.site.init.launch_job("talk", &talks);
    let release = tempfile::tempdir().expect("a folder");
    fs::write(release.path().join("index"), "x").expect("written");
    let release = release.path().to_str().expect("UTF-8");

    for (verb, words, code, part) in AFAR {
        let words: Vec<_> =
            words.iter().map(|word| if *word == "DIR" { release } else { word }).collect();
        let said = afar.ask(verb, &words);
        assert_eq!(said.code, Some(*code), "{verb}: {said:?}");
        let text = if *code == 0 { &said.out } else { &said.err };
        assert!(text.contains(part), "{verb}: {said:?}");
    }
    let supervisor = afar.reached.site.supervisor();

    let mut events = afar.command("events", &["--all"]);
    let mut events = events.stdout(Stdio::piped()).spawn().expect("it runs");
    let told = BufReader::new(events.stdout.take().expect("piped")).lines();
    let told = told.map_while(Result::ok).any(|line| line.contains("talk running"));
    events.kill().expect("it runs");
    events.wait().expect("it ends");
    assert!(told, "events are told");
    let mut attach = afar.command("attach", &["talk"]);
    attach.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut attach = attach.spawn().expect("it runs");
    attach.stdin.take().expect("piped").write_all(b"hello\n").expect("written");
    let said = said(attach.wait_with_output().expect("it ends"));
    assert!(said.code == Some(0) && said.out.ends_with("heard hello\n"), "{said:?}");

    for (verb, why) in HERE {
        let mut command = afar.reached.stranger(&[verb, "--host", "192.0.2.1:1", "x"]);
        let said = self::said(command.output().expect("bootctl can be run"));
        let told = if *verb == "init" { (1, "on this machine") } else { (2, "--host") };
        assert_eq!(said.code, Some(told.0), "{verb}: {why}: {said:?}");
        assert!(said.err.contains(told.1), "{verb}: {why}: {said:?}");
    }
    assert!(is_alive(supervisor) && afar.reached.site.supervisor() == supervisor);
}
