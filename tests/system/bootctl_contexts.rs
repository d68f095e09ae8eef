//! Machines by name, and the certificates that they are known by: from the first time on.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use jobinit_tests::bootctl::{Said, said};
use jobinit_tests::pty::Pty;
use jobinit_tests::remote::Reached;
use jobinit_tests::wait;

use crate::bootctl_apps::kill;

/// Runs a command on a terminal.
fn on_a_terminal(command: &Command) -> Pty {
    let mut words = vec!["env".to_owned()];
    let mut texts = Vec::new();
    for (name, value) in command.get_envs() {
        let name = name.to_str().expect("UTF-8");
        match value {
            Some(value) => texts.push(format!("{name}={}", value.to_str().expect("UTF-8"))),
            None => words.extend(["-u".to_owned(), name.to_owned()]),
        }
    }
    let program = std::iter::once(command.get_program()).chain(command.get_args());
    texts.extend(program.map(|word| word.to_str().expect("UTF-8").to_owned()));
    Pty::start(&[words, texts].concat())
}

fn ask(reached: &Reached, token: &Path, words: &[&str]) -> Said {
    let mut command = reached.stranger(words);
    said(command.env("BOOTCTL_TOKEN_FILE", token).output().expect("bootctl can be run"))
}

#[test]
fn z09_a_certificate_is_asked_about_once_and_then_it_is_that_one() {
    let reached = Reached::boot(&[]);
    let token = reached.token("laptop", "control");
    let address = reached.address.to_string();
    let words = ["status", "--host", &address];
    let meet = |answer: &str| {
        let mut command = reached.stranger(&words);
        let mut terminal = on_a_terminal(command.env("BOOTCTL_TOKEN_FILE", &token));
        terminal.expect("is not known yet");
        terminal.expect(&reached.fingerprint);
        terminal.expect("[y/N] ");
        terminal.keys(answer);
        terminal
    };
    for no in ["n\n", "\n", "yep\n"] {
        let mut terminal = meet(no);
        terminal.expect("was not trusted, and nothing was sent");
        assert_eq!(terminal.wait_end().code(), Some(1));
    }
    let mut terminal = meet("y\n");
    terminal.expect("admin on ");
    assert!(terminal.wait_end().success());
    // Nobody is asked a second time, and no program has to be told.
    let known = ask(&reached, &token, &words);
    assert_eq!(known.code, Some(0), "{known:?}");

    // Another certificate is another machine, until somebody says that it is not.
    fs::remove_file(reached.site.folder().join("state/admin.pem")).expect("there");
    kill(reached.site.init.job("gate")["pid"].as_u64().expect("it runs"));
    let new = wait::until("another certificate", || {
        let status = reached.site.status();
        let new = status["admin"]["fingerprint"].as_str()?.to_owned();
        (new != reached.fingerprint).then_some(new)
    });
    let other = ask(&reached, &token, &words);
    assert_eq!(other.code, Some(3), "{other:?}");
    for part in ["another certificate", &new, &reached.fingerprint, "nothing was sent"] {
        assert!(other.err.contains(part), "{part}: {other:?}");
    }
    let added = ask(&reached, &token, &["context", "add", "shop", &address, "--fingerprint", &new]);
    assert_eq!(added.code, Some(0), "{added:?}");
    assert_eq!(ask(&reached, &token, &words).code, Some(0));
    assert_eq!(ask(&reached, &token, &["status", "--host", "shop"]).code, Some(0));
}

#[test]
fn z09_machines_that_are_named_at_once_are_all_known() {
    const MANY: usize = 12;
    let reached = Reached::boot(&[]);
    let token = reached.token("laptop", "control");
    let (address, fingerprint) = (reached.address.to_string(), &reached.fingerprint);
    let all: Vec<_> = (0..MANY)
        .map(|number| {
            let name = format!("m{number}");
            let words = ["context", "add", &name, &address, "--fingerprint", fingerprint];
            let mut command = reached.stranger(&words);
            command.env("BOOTCTL_TOKEN_FILE", &token);
            command.stdout(Stdio::null()).spawn().expect("it runs")
        })
        .collect();
    for mut one in all {
        assert!(one.wait().expect("it ends").success());
    }
    let list = ask(&reached, &token, &["context", "list"]);
    let there = list.out.lines().filter(|line| line.contains(&address)).count();
    assert_eq!(there, MANY, "{list:?}");
}

/// Two machines, each with an app of the same name: what is done to one is not done to the other.
#[test]
fn z09_a_verb_is_about_the_machine_that_is_named_or_in_use() {
    let app = crate::bootctl_apps::answers(1, "");
    let (one, other) = (Reached::boot(&[("a.toml", &app)]), Reached::boot(&[("a.toml", &app)]));
    let tokens = [&one, &other].map(|reached| {
        reached.site.wait_for("a", "running");
        reached.token("laptop", "control")
    });
    let ask = |words: &[&str]| said(one.stranger(words).output().expect("bootctl can be run"));
    for (name, reached, token) in [("one", &one, &tokens[0]), ("other", &other, &tokens[1])] {
        let (address, file) = (reached.address.to_string(), token.to_str().expect("UTF-8"));
        let (what, known) = (["--token-file", file], ["--fingerprint", &reached.fingerprint]);
        let added = ask(&[&["context", "add", name, &address], &what[..], &known].concat());
        assert_eq!(added.code, Some(0), "{added:?}");
    }
    let states = || {
        [&one, &other].map(|reached| {
            let status = reached.site.status();
            status["apps"][0]["state"].as_str().expect("a word").to_owned()
        })
    };
    assert_eq!(ask(&["stop", "a", "--host", "other"]).code, Some(0));
    assert_eq!(states(), ["running", "stopped"]);
    assert_eq!(ask(&["context", "use", "one"]).code, Some(0));
    assert_eq!(ask(&["stop", "a"]).code, Some(0));
    assert_eq!(ask(&["start", "a", "--host", "other"]).code, Some(0));
    assert_eq!(states(), ["stopped", "running"]);
    // The one that is named is meant, whatever is in use; a token of another machine is none.
    let wrong = tokens[0].to_str().expect("UTF-8");
    let refused = ask(&["stop", "a", "--host", "other", "--token-file", wrong]);
    assert!(refused.code == Some(1) && refused.err.contains("not known here"), "{refused:?}");
    assert_eq!(states(), ["stopped", "running"]);
}
