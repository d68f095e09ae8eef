//! The config changed key by key.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;
use std::thread;

use jobinit_tests::binaries::program;
use jobinit_tests::bootctl::{Said, Site, said};
use tempfile::TempDir;

use crate::bootctl_apps::answers;

const SHOP: &str = "\
# The shop. Ask Ann before you change it.
exec = \"node\"   # as on the other machine

# Two are enough.
instances = 2
[health]
http = \"/healthz\"
";

/// A config folder without a supervisor.
struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("apps")).expect("created");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("written");
        }
        Self(folder)
    }

    fn bootctl(&self, words: &[&str]) -> Said {
        let mut command = Command::new(program("bootctl"));
        command.args(words).env("BOOTCTL_CONFIG", self.0.path());
        command.env("BOOTCTL_SOCKET", self.0.path().join("none.sock"));
        said(command.current_dir(self.0.path()).output().expect("bootctl can be run"))
    }

    #[track_caller]
    fn done(&self, words: &[&str]) -> String {
        let said = self.bootctl(words);
        assert_eq!(said.code, Some(0), "{words:?}: {said:?}");
        said.out.trim_end().to_owned()
    }

    #[track_caller]
    fn refused(&self, words: &[&str]) -> String {
        let said = self.bootctl(words);
        assert_eq!(said.code, Some(1), "{words:?}: {said:?}");
        said.err
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).expect("it is there")
    }
}

#[test]
fn o09_keys_are_shown_set_and_deleted() {
    let folder = Folder::new(&[("apps/shop.test.toml", SHOP)]);
    let path = folder.0.path().join("apps/shop.test.toml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("it is ours");
    let app = |words: &[&str]| folder.done(&[&["config", "-a", "shop.test"], words].concat());
    assert_eq!(app(&["-g", "instances"]), "2");
    assert_eq!(app(&["--get", "exec"]), "node");
    assert_eq!(app(&["-g", "restart.policy"]), "always", "without a word of the file");
    assert_eq!(app(&["-g"]), "exec = \"node\"\ninstances = 2\nhealth.http = \"/healthz\"");

    let out = app(&["-s", "instances", "4"]);
    assert!(out.ends_with("shop.test.toml: instances = 4, was 2"), "{out}");
    app(&["--set", "alias", "www.shop.test,b.test"]);
    app(&["-s", "env.NODE_ENV", "production"]);
    app(&["-s", "args", "[\"-v\", \"--port=80\"]"]);
    app(&["-d", "health.http"]);
    assert_eq!(
        folder.text("apps/shop.test.toml"),
        SHOP.replace(
            "2\n[health]\nhttp = \"/healthz\"",
            "4\nalias = [\"www.shop.test\", \"b.test\"]\nargs = [\"-v\", \"--port=80\"]\n[health]\n"
        ) + "[env]\nNODE_ENV = \"production\"\n"
    );
    assert_eq!(fs::metadata(&path).expect("there").mode() & 0o7777, 0o640);

    folder.done(&["config", "--set", "ports.first", "10000"]);
    assert_eq!(folder.text("bootctl.toml"), "[ports]\nfirst = 10000\n");
    assert_eq!(folder.done(&["config", "--get", "ports.first"]), "10000");
    folder.done(&["config", "--delete", "ports.first"]);
    assert_eq!(folder.done(&["config", "--get", "ports.first"]), "9000");
}

#[test]
fn o09_what_would_not_be_good_is_refused_before_it_is_written() {
    let folder = Folder::new(&[("apps/shop.test.toml", SHOP), ("apps/b.toml", "exec = \"b\"\n")]);
    for (words, part) in [
        (&["-s", "instances", "four"][..], "`instances` is a string, expected a whole number"),
        (&["-s", "instances", "-1"], "use a number from 0 to 1000"),
        (&["-s", "instnaces", "4"], "did you mean `instances`?"),
        (&["-s", "health.interval", "10"], "write a number with its unit"),
        (&["-s", "alias", "b"], "is a host that b has already"),
        (&["-s", "alias", "[x"], "is not TOML"),
        (&["-s", "exec.x", "1"], "stands below `exec`, which is no table"),
        (&["-d", "exec"], "`exec` is missing"),
        (&["-d", "cwd"], "`cwd` is not set"),
        (&["-g", "cwd"], "`cwd` is not set, and has no default"),
        (&["-g", "nonsense"], "`nonsense` is not a known key"),
    ] {
        let told = folder.refused(&[&["config", "-a", "shop.test"], words].concat());
        assert!(told.contains(part), "{words:?}: {told}");
    }
    assert_eq!(folder.text("apps/shop.test.toml"), SHOP);
    let told = folder.refused(&["config", "-a", "shop.tset", "-g"]);
    assert!(told.contains("did you mean shop.test?"), "{told}");
    folder.refused(&["config", "-a", "../b", "-g"]);
    assert_eq!(folder.bootctl(&["config", "-g", "-k"]).code, Some(2));
}

#[test]
fn o09_a_file_that_has_a_problem_can_be_repaired_one_key_at_a_time() {
    let broken = "exec = \"x\"\ninstances = \"2\"\nhealth = { interval = 5 }\n";
    let folder = Folder::new(&[("apps/a.toml", broken)]);
    folder.done(&["config", "-a", "a", "-s", "instances", "2"]);
    folder.refused(&["config", "-a", "a", "-s", "instances", "two"]);
    folder.done(&["config", "-a", "a", "-s", "health.interval", "5s"]);
    folder.done(&["check"]);
}

#[test]
fn o09_many_at_once_lose_nothing() {
    let folder = Folder::new(&[("apps/a.toml", "exec = \"x\"\n")]);
    thread::scope(|scope| {
        for number in 0..12 {
            let key = format!("env.V{number}");
            let folder = &folder;
            scope.spawn(move || folder.done(&["config", "-a", "a", "-s", &key, "1"]));
        }
    });
    assert_eq!(folder.done(&["config", "-a", "a", "-g", "env"]).lines().count(), 12);
    let left = fs::read_dir(folder.0.path().join("apps")).expect("there").count();
    assert_eq!(left, 1, "nothing is left beside the file");
}

#[test]
fn o01_a_new_app_has_a_file_that_teaches() {
    let folder = Folder::new(&[("apps/b.toml", "exec = \"b\"\nalias = [\"taken.test\"]\n")]);
    let www = folder.0.path().join("www");
    fs::create_dir(&www).expect("created");
    fs::write(www.join("package.json"), "{\"main\": \"server.js\"}").expect("written");
    let www = www.to_str().expect("UTF-8");
    let port = TcpListener::bind("0.0.0.0:0").expect("there are free ports");
    let taken = port.local_addr().expect("it is bound").port();
    folder.done(&["config", "-s", "ports.first", &taken.to_string()]);
    let said = folder.done(&["init", "shop.test", "--cwd", "www", "--alias", "www.shop.test"]);
    assert!(said.contains("shop.test runs `node server.js` in "), "{said}");
    assert!(said.contains(&format!("the first free one from {taken} on, which is ")), "{said}");
    let text = folder.text("apps/shop.test.toml");
    assert!(text.contains("# user = \"www\"\n") && text.contains("alias = [\"www.shop.test\"]\n"));
    folder.done(&["check"]);
    let app = |key| folder.done(&["config", "-a", "shop.test", "-g", key]);
    let real = fs::canonicalize(www).expect("there");
    assert_eq!(
        (app("cwd").as_str(), app("exec").as_str()),
        (real.to_str().expect("UTF-8"), "node")
    );

    for (words, part) in [
        (&["shop.test", "--cwd", www][..], "shop.test.toml is there already"),
        (&["c", "--cwd", "nowhere"], "nowhere cannot be used: No such file"),
        (&["c", "--cwd", "bootctl.toml"], "is no folder"),
        (&["c", "--cwd", "apps"], "apps does not tell what is to be started; name it"),
        (&["A.test", "--exec", "x"], "\"A.test\" has upper case letters; write a.test"),
        (&["../x", "--exec", "x"], "holds '/'"),
        (&["c", "--exec", "x", "--alias", "taken.test"], "is a host that b has already"),
        (&["c", "--exec", "x", "--instances", "1001"], "use a number from 0 to 1000"),
    ] {
        let told = folder.refused(&[&["init"], words].concat());
        assert!(told.contains(part), "{words:?}: {told}");
    }
    assert_eq!(fs::read_dir(folder.0.path().join("apps")).expect("there").count(), 2);
}

#[test]
fn o01_a_new_app_runs() {
    let site = Site::boot(&[]);
    let conf = site.folder().join("conf");
    let exec = env!("CARGO_BIN_EXE_answers");
    let conf = conf.to_str().expect("UTF-8");
    let said = site
        .bootctl(&["init", "new.test", "--config", conf, "--cwd", conf, "--exec", exec, "--apply"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(site.get("new.test", "/").status, 200);
}

#[test]
fn o10_what_is_taken_over_is_told_apart_from_what_is_not() {
    let site = Site::boot(&[]);
    site.write("broken.toml", "exec = \"/nowhere/server\"\n");
    let conf = site.folder().join("conf");
    let conf = conf.to_str().expect("UTF-8");
    let new = ["init", "new", "--config", conf, "--cwd", conf, "--exec", "sh"];
    let said = site.bootctl(&[&new[..], &["--instances", "0", "--apply"]].concat());
    assert_eq!(said.code, Some(1), "{said:?}");
    let told = "bootctl: the change is written and taken over, but not all is as the config says:";
    assert!(said.err.starts_with(told) && said.err.contains("/nowhere/server"), "{said:?}");
    assert_eq!(site.wait_for("new", "parked")["wanted"], 0);
    site.write("broken.toml", "exec = 1\n");
    let set = ["config", "--config", conf, "-a", "new", "-s", "stop.timeout", "5s", "--apply"];
    let said = site.bootctl(&set);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.err.starts_with("bootctl: the change is written, and not taken over:"),
        "{said:?}"
    );
}

#[test]
fn o01_the_ports_of_an_app_begin_where_its_file_says() {
    let site = Site::boot(&[("a.toml", &answers(1, ""))]);
    let before = site.wait_for("a", "running")["instances"][0]["port"].as_u64().expect("a port");
    let from = before + 7;
    site.write("a.toml", &answers(2, &format!("port = {from}\n")));
    site.done(&["reload"]);
    let view = site.wait_for("a", "running");
    let ports = view["instances"].as_array().expect("an array").iter();
    let ports: Vec<u64> = ports.filter_map(|instance| instance["port"].as_u64()).collect();
    assert!(ports.len() == 2 && ports.iter().all(|port| *port >= from), "{ports:?} from {from}");
}

#[test]
fn o01_a_port_that_somebody_else_listens_on_is_left_to_him() {
    let site = Site::boot(&[("a.toml", &answers(1, ""))]);
    let port =
        |app: &str| site.wait_for(app, "running")["instances"][0]["port"].as_u64().expect("a port");
    let taken = u16::try_from(port("a") + 7).expect("a port");
    let _stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, taken)).expect("a port of this site");
    site.write("b.toml", &answers(1, &format!("port = {taken}\n")));
    site.done(&["reload"]);
    assert_eq!(port("b"), u64::from(taken) + 1);
}

#[test]
fn o25_all_keys_are_listed() {
    let folder = Folder::new(&[]);
    let main = folder.done(&["config", "--keys"]);
    assert!(main.contains("ports.first = 10000\n    number, 1 to 65535 [9000]: "), "{main}");
    let app = folder.done(&["config", "--keys", "--app"]);
    assert!(app.contains("health.interval = \"5s\"\n    time above 0 [\"10s\"]: "), "{app}");
    assert_eq!(app, folder.done(&["config", "-k", "-a", "shop.test"]));
}

#[test]
fn o10_a_change_is_taken_over_when_asked_for() {
    let site = Site::boot(&[("a.toml", &answers(1, ""))]);
    site.wait_for("a", "running");
    let pids = site.pids("a");
    let conf = site.folder().join("conf");
    let config = |words: &[&str]| {
        let at = ["config", "--config", conf.to_str().expect("UTF-8"), "-a", "a"];
        site.bootctl(&[&at, words].concat())
    };
    let said = config(&["-s", "alias", "www.a"]);
    assert!(said.out.contains("`bootctl reload` applies it"), "{said:?}");
    assert_eq!(site.get("www.a", "/").status, 404);
    site.done(&["reload"]);
    assert_eq!(site.get("www.a", "/").status, 200);
    assert_eq!(site.pids("a"), pids, "an alias touches no process");
    let said = config(&["-s", "env.COLOUR", "green", "--apply"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(site.get("a", "/").body.ends_with("green"), "it has been rolled");
    assert_ne!(site.pids("a"), pids);
}
