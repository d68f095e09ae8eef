//! Two administrators at once, each on a machine of his own: what one of them asks for is done, or he is told why it
//! is not.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;

use jobinit_tests::bootctl::{Said, Site, said};
use jobinit_tests::proxyd::Random;
use jobinit_tests::remote::Reached;
use jobinit_tests::wait;
use serde_json::Value;
use tempfile::TempDir;

/// A site with an app whose new instances are ready only once they may, and two administrators of it.
struct Two {
    reached: Reached,
    ann: PathBuf,
    bob: PathBuf,
    /// While a file `held` is in it, no new instance is ready.
    folder: TempDir,
}

impl Two {
    fn boot() -> Self {
        let exec = env!("CARGO_BIN_EXE_answers");
        let script = format!("while [ -e $HELD ]; do sleep 0.02; done; exec {exec}");
        let folder = tempfile::tempdir().expect("a folder");
        let app = format!(
            "exec = \"/bin/sh\"\nargs = [\"-c\", \"{script}\"]\n[env]\nHELD = \"{}\"\n[deploy]\nwatch = \"0s\"\n",
            folder.path().join("held").display()
        );
        let reached = Reached::boot(&[("a.toml", &app)]);
        reached.site.wait_for("a", "running");
        let (ann, bob) = (reached.token("ann", "control"), reached.token("bob", "control"));
        Self { reached, ann, bob, folder }
    }

    fn site(&self) -> &Site {
        &self.reached.site
    }

    fn hold(&self) {
        fs::write(self.folder.path().join("held"), "").expect("written");
    }

    fn let_go(&self) {
        fs::remove_file(self.folder.path().join("held")).expect("it was held");
    }

    fn begin(&self, who: &PathBuf, words: &[&str]) -> Child {
        let mut command = self.reached.from_afar_as(who, words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("bootctl can be run")
    }

    /// Waits until the app is shown so.
    #[track_caller]
    fn wait_until(&self, what: &str, is_so: impl Fn(&Value) -> bool) {
        wait::until(what, || {
            let view = self.site().done(&["status", "a", "--json"]);
            is_so(&serde_json::from_str(&view).expect("JSON")).then_some(())
        });
    }

    /// A folder to deploy.
    fn source(&self, version: &str) -> String {
        let folder = self.site().folder().join(format!("source-{version}"));
        fs::create_dir_all(&folder).expect("made");
        fs::write(folder.join("version"), version).expect("written");
        folder.to_str().expect("UTF-8").to_owned()
    }

    #[track_caller]
    fn deploy(&self, version: &str) {
        self.site().done(&["deploy", "a", "--from", &self.source(version)]);
    }
}

fn end(child: Child) -> Said {
    said(child.wait_with_output().expect("it ends"))
}

#[track_caller]
fn is_done(child: Child, part: &str) {
    let said = end(child);
    assert!(said.code == Some(0) && said.out.contains(part), "{said:?}");
}

#[track_caller]
fn is_told(child: Child, part: &str) {
    let said = end(child);
    assert!(said.code == Some(1) && said.err.contains(part), "{said:?}");
}

#[test]
fn z09_who_is_outdone_is_told_by_what() {
    let two = Two::boot();
    two.hold();
    let ann = two.begin(&two.ann, &["scale", "a", "3"]);
    two.wait_until("three to be wanted", |view| view["wanted"] == 3);
    let bob = two.begin(&two.bob, &["scale", "a", "2"]);
    is_told(ann, "a was given 2 instances meanwhile, so this was not brought to its end");
    two.let_go();
    is_done(bob, "a runs: a.1 ");
    assert_eq!(two.site().pids("a").len(), 2);

    two.hold();
    let ann = two.begin(&two.ann, &["restart", "a"]);
    two.wait_until("it to have begun", |view| view["state"] == "changing");
    let bob = two.begin(&two.bob, &["stop", "a"]);
    is_told(ann, "a was stopped meanwhile");
    is_done(bob, "a is stopped");
    let ann = two.begin(&two.ann, &["start", "a"]);
    two.wait_until("it to have begun", |view| view["state"] == "changing");
    let bob = two.begin(&two.bob, &["stop", "a"]);
    is_told(ann, "a was stopped meanwhile");
    is_done(bob, "a is stopped");
    let bob = two.begin(&two.bob, &["restart", "a"]);
    is_told(bob, "a is stopped; start it");
    two.let_go();

    // Each has a line with his name, in the order in which they came to their end.
    let lines = two.reached.audit();
    let lines: Vec<_> = lines.iter().filter(|line| line["method"] == "PUT").collect();
    for (who, result) in [("ann", "failed: a was given 2"), ("bob", "stopped: a is stopped")] {
        let is_it = |line: &&&Value| {
            line["who"] == format!("token {who}")
                && line["result"].as_str().is_some_and(|text| text.starts_with(result))
        };
        assert_eq!(lines.iter().filter(is_it).count(), 1, "{who} {result}: {lines:?}");
    }
}

#[test]
fn d08_of_two_who_deploy_one_is_told_that_the_other_does() {
    let two = Two::boot();
    two.deploy("one");
    two.hold();
    let ann = two.begin(&two.ann, &["deploy", "a", "--from", &two.source("two")]);
    two.wait_until("it to be rolled", |view| view["release"] == 2);
    let bob = two.begin(&two.bob, &["deploy", "a", "--from", &two.source("three")]);
    is_told(bob, "release 2 of a is being rolled; ask again when that has come to its end");
    // What does not get in its way is done with it.
    let bob = two.begin(&two.bob, &["scale", "a", "2"]);
    two.wait_until("two to be wanted", |view| view["wanted"] == 2);
    two.let_go();
    is_done(ann, "a runs from release 2");
    is_done(bob, "a runs: ");
    let releases = two.site().done(&["releases", "a"]);
    assert!(!releases.contains("\n3 "), "nothing is left of it: {releases}");

    two.hold();
    let ann = two.begin(&two.ann, &["deploy", "a", "--from", &two.source("three")]);
    two.wait_until("it to be rolled", |view| view["release"] == 3);
    let bob = two.begin(&two.bob, &["rollback", "a"]);
    is_told(ann, "a was switched to release 2 meanwhile");
    is_done(bob, "a is back to release 2");
    two.let_go();
}

/// Both see that the newest release is bad. That they say so at once is no reason to have it again.
#[test]
fn d08_two_who_go_back_at_once_go_back_once() {
    let two = Two::boot();
    for version in ["one", "two", "three"] {
        two.deploy(version);
    }
    two.hold();
    let mut all = Vec::new();
    for (who, words) in [
        (&two.ann, &["rollback", "a", "--json"][..]),
        (&two.bob, &["rollback", "a", "--json"]),
        (&two.bob, &["rollback", "a", "--to", "2", "--json"]),
    ] {
        let mut one = two.begin(who, words);
        // Its first line is told when it has been begun.
        let mut told = BufReader::new(one.stdout.take().expect("piped")).lines();
        let first = told.next().expect("a line").expect("text");
        assert!(first.contains("\"step\""), "{first}");
        all.push((one, told));
    }
    two.let_go();
    for (mut one, told) in all {
        let last = told.map_while(Result::ok).last().expect("an end");
        assert!(one.wait().expect("it ends").success(), "{last}");
        let last: Value = serde_json::from_str(&last).expect("JSON");
        assert_eq!((&last["event"], &last["answer"]["release"]), (&"done".into(), &2.into()));
    }
    let again = two.begin(&two.bob, &["rollback", "a", "--to", "2"]);
    is_told(again, "a runs from release 2 already");
    is_done(two.begin(&two.bob, &["rollback", "a"]), "a is back to release 3");
}

#[test]
fn z09_whatever_two_ask_for_each_is_answered_and_written_down() {
    const EACH: usize = 12;
    let two = Two::boot();
    let before = two.reached.audit().len();
    let storm = |who: &PathBuf, seed: u64| {
        let mut random = Random(seed);
        let words: [&[&str]; 6] = [
            &["scale", "a", "1"],
            &["scale", "a", "2"],
            &["scale", "a", "3"],
            &["restart", "a"],
            &["stop", "a"],
            &["start", "a"],
        ];
        let ask = |_| end(two.begin(who, words[random.below(words.len())])).code;
        (0..EACH).map(ask).collect::<Vec<_>>()
    };
    let codes = thread::scope(|scope| {
        let all = [(&two.ann, 1), (&two.bob, 2)].map(|(who, seed)| {
            let storm = &storm;
            scope.spawn(move || storm(who, seed))
        });
        all.map(|one| one.join().expect("no panic"))
    });
    let lines = two.reached.audit().split_off(before);
    assert_eq!(lines.len(), 2 * EACH, "{lines:?}");
    for (who, codes) in ["ann", "bob"].into_iter().zip(&codes) {
        let own = lines.iter().filter(|line| line["who"] == format!("token {who}"));
        // Those of one come one after the other.
        let written: Vec<_> = own.map(|line| i32::from(line["result"] != "done")).collect();
        let told: Vec<_> = codes.iter().map(|code| code.expect("an end")).collect();
        assert_eq!(told, written, "{who}: {lines:?}");
        assert!(told.contains(&0), "{who}: {lines:?}");
    }
    two.site().done(&["start", "a"]);
    let file = fs::read_to_string(two.site().folder().join("conf/apps/a.toml")).expect("there");
    let count = file.lines().find_map(|line| line.strip_prefix("instances = ")).unwrap_or("1");
    assert_eq!(two.site().pids("a").len().to_string(), count, "{file}");
}
