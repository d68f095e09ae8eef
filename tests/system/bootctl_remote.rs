//! The admin API from other machines: TLS, tokens, and what strangers try.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::thread;

use jobinit_tests::bootctl::{Said, Site, said};
use jobinit_tests::random::Random;
use jobinit_tests::remote::Reached;
use jobinit_tests::{tools, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::bootctl_apps::answers;

const PATHS: [(&str, &str); 12] = [
    ("GET", "/status"),
    ("HEAD", "/status"),
    ("GET", "/apps/a"),
    ("PUT", "/apps/a/stop"),
    ("PUT", "/apps/a/release"),
    ("DELETE", "/apps/a/work"),
    ("GET", "/tokens"),
    ("PUT", "/tokens/mine"),
    ("POST", "/status"),
    ("OPTIONS", "/nowhere"),
    ("GET", "/init/job/boot"),
    ("PUT", "/init/job/init/stop"),
];

#[test]
fn z09_every_method_refuses_without_a_token() {
    let reached = Reached::boot(&[("a.toml", &answers(1, ""))]);
    reached.site.wait_for("a", "running");
    let token = fs::read_to_string(reached.token("reader", "read")).expect("written");
    let token = token.trim();
    let before = reached.site.pids("a");
    let in_query = format!("?token={token}&access_token={token}");
    let ways: [(&[&str], &str); 5] = [
        (&[], ""),
        (&["-H", "Authorization: Bearer "], ""),
        (&["-H", "Authorization: Bearer changeme"], ""),
        (&["-u", "root:root"], ""),
        (&["-H", "Cookie: token=x"], &in_query),
    ];
    let mut requests = Vec::new();
    for (number, (method, path)) in PATHS.into_iter().enumerate() {
        for (words, query) in ways {
            let how: &[&str] = if method == "HEAD" { &["-I"] } else { &["-X", method] };
            // Each path from an address of its own: of one, ten wrong ones are the most.
            let from = format!("127.0.1.{}", number + 1);
            requests.push((from, [words, how].concat(), format!("{path}{query}")));
        }
    }
    let statuses = reached.curl_many(&requests);
    for (request, status) in requests.iter().zip(&statuses) {
        assert_eq!(*status, 401, "{request:?}");
    }
    assert_eq!(statuses.len(), requests.len());
    assert_eq!(reached.site.pids("a"), before);
    let (status, _) =
        reached.curl("127.0.2.1", &["-H", &format!("Authorization: Bearer {token}")], "/status");
    assert_eq!(status, 200, "with it, it is answered");
    let lines = reached.audit();
    let refused = lines.iter().filter(|line| line["status"] == 401);
    assert_eq!(refused.count(), PATHS.len() * 5, "each try has a line");
    assert!(lines.iter().all(|line| !line.to_string().contains(token)), "and none holds a token");
}

#[test]
fn z09_who_tries_too_often_is_not_listened_to() {
    let reached = Reached::boot(&[]);
    let good = fs::read_to_string(reached.token("laptop", "control")).expect("written");
    let good = format!("Authorization: Bearer {}", good.trim());
    let wrong =
        || ("127.0.3.1".to_owned(), vec!["-H", "Authorization: Bearer x"], "/status".into());
    let wrong: Vec<_> = std::iter::repeat_with(wrong).take(10).collect();
    assert_eq!(reached.curl_many(&wrong), [401; 10]);
    let (status, body) = reached.curl("127.0.3.1", &["-H", &good, "-i"], "/status");
    assert_eq!(status, 429, "{body}");
    assert!(body.to_ascii_lowercase().contains("retry-after:"), "{body}");
    assert_eq!(reached.curl("127.0.3.2", &["-H", &good], "/status").0, 200, "others are");
}

/// Tokens: names, grants, until when.
#[test]
fn z10_generate_tokens_are_shown_once_and_can_be_revoked() {
    let reached = Reached::boot(&[("a.toml", &answers(1, ""))]);
    let site = &reached.site;
    let shown = site.done(&["generate", "ci"]);
    let token = shown.trim();
    assert!(token.starts_with("bootctl_") && token.len() == 8 + 43, "256 bits: {token}");
    let kept = fs::read_to_string(site.folder().join("state/tokens.json")).expect("there");
    assert!(!kept.contains(&token[8..]), "{kept}");
    for secret in ["tokens.json", "admin.pem", "audit.log"] {
        let about = fs::metadata(site.folder().join("state").join(secret)).expect("there");
        assert_eq!(about.permissions().mode() & 0o777, 0o600, "{secret}");
    }
    let twice = site.bootctl(&["generate", "ci"]);
    assert_eq!(twice.code, Some(1), "{twice:?}");
    let list = site.done(&["generate", "--list"]);
    assert!(list.contains("ci     read") && !list.contains(token), "{list}");

    let (reader, admin) = (reached.token("reader", "read"), reached.token("admin", "control"));
    assert_eq!(reached.from_afar(&reader, &["status"]).code, Some(0));
    let refused = reached.from_afar(&reader, &["stop", "a"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("may only look"), "{refused:?}");
    assert_eq!(site.wait_for("a", "running")["state"], "running");
    let refused = reached.from_afar(&reader, &["attach", "a.1"]);
    assert!(
        refused.err.contains("may only look"),
        "a job's environment is not for it: {refused:?}"
    );

    assert_eq!(reached.from_afar(&admin, &["stop", "a"]).code, Some(0));
    let line = reached.audit().pop().expect("a line");
    assert_eq!(
        (&line["who"], &line["path"], &line["result"]),
        (&"token admin".into(), &"/apps/a/stop?timeout_ms=300000".into(), &"done".into())
    );
    assert!(line["from"].as_str().expect("a text").starts_with("127.0.0.1:"), "{line}");

    site.done(&["generate", "--revoke", "admin"]);
    let refused = reached.from_afar(&admin, &["status"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("not known here"), "{refused:?}");
    let line = reached.audit().into_iter().find(|line| line["method"] == "DELETE").expect("a line");
    assert_eq!((&line["who"], &line["result"]), (&"uid 0".into(), &"done".into()));

    // What cannot be read grants nothing, and is told.
    fs::write(site.folder().join("state/tokens.json"), "{\"version\": 1, \"tok").expect("written");
    let refused = reached.from_afar(&reader, &["status"]);
    assert!(refused.err.contains("truncated or corrupt"), "{refused:?}");
}

/// Hosts that are known, and others.
#[test]
fn z09_who_is_refused_in_the_middle_of_much_is_told_why() {
    let reached = Reached::boot(&[("a.toml", &answers(1, ""))]);
    reached.site.wait_for("a", "running");
    let folder = tempfile::tempdir().expect("a folder");
    // Nothing that would be small once it is packed.
    let mut random = Random::new(1);
    let much: Vec<u8> = (0..1 << 20).flat_map(|_| random.below(usize::MAX).to_le_bytes()).collect();
    fs::write(folder.path().join("much"), much).expect("written");
    let deploy = ["deploy", "a", "--from", folder.path().to_str().expect("UTF-8")];
    let reader = reached.token("reader", "read");
    let former = reached.token("former", "control");
    reached.site.done(&["generate", "--revoke", "former"]);
    for (token, why) in [(&reader, "may only look"), (&former, "not known here")] {
        for _ in 0..5 {
            let refused = reached.from_afar(token, &deploy);
            assert!(refused.err.contains(why), "{why}: {refused:?}");
        }
    }
}

#[test]
fn z09_another_certificate_is_not_spoken_to() {
    let reached = Reached::boot(&[]);
    let token = reached.token("laptop", "control");
    let file = token.to_str().expect("UTF-8");
    let address = reached.address.to_string();
    let run = |words: &[&str]| said(reached.stranger(words).output().expect("bootctl can be run"));

    let unknown = run(&["status", "--host", &address, "--token-file", file]);
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert!(unknown.err.contains(&reached.fingerprint), "it is told which one: {unknown:?}");
    let wrong = "sha256:".to_owned() + &"ab".repeat(32);
    let other = run(&["status", "--host", &address, "--token-file", file, "--fingerprint", &wrong]);
    assert_eq!(other.code, Some(3), "{other:?}");
    assert!(
        other.err.contains("another certificate") && other.err.contains("nothing was sent"),
        "{other:?}"
    );

    let added = run(&[
        "context",
        "add",
        "shop",
        &address,
        "--token-file",
        file,
        "--fingerprint",
        &reached.fingerprint,
    ]);
    assert_eq!(added.code, Some(0), "{added:?}");
    assert_eq!(run(&["status", "--host", "shop"]).code, Some(0));
    let typo = run(&["status", "--host", "shp"]);
    assert!(typo.err.contains("did you mean shop?"), "{typo:?}");
    assert_eq!(run(&["context", "use", "shop"]).code, Some(0));
    assert!(run(&["status"]).out.contains("admin on"), "verbs are about it now");
    let listed = run(&["context", "list"]);
    assert!(listed.out.contains(&format!("*  shop   {address}")), "{listed:?}");
    let local = run(&["status", "--host", "local", "--run-dir", "/nowhere"]);
    assert_eq!(local.code, Some(3), "{local:?}");
    assert_eq!(run(&["context", "remove", "shop"]).code, Some(0));
    assert_eq!(run(&["status", "--run-dir", "/nowhere"]).code, Some(3));

    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).expect("ours");
    let open = reached.from_afar(&token, &["status"]);
    assert!(open.err.contains("may be read by everybody"), "{open:?}");
}

#[test]
fn z09_strangers_who_send_nonsense_are_in_nobodys_way() {
    let reached = Reached::boot(&[("a.toml", &answers(1, ""))]);
    let token = reached.token("laptop", "control");
    let (supervisor, gate) =
        (reached.site.supervisor(), reached.site.init.job("gate")["pid"].clone());
    let connect = || TcpStream::connect(reached.address).expect("it listens");
    // A thousand who say nothing, or half of something, and stay.
    let crowd: Vec<TcpStream> = (0..1000_usize)
        .map(|number| {
            let mut stream = connect();
            let words: [&[u8]; 4] = [b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n", &[0xff; 700]];
            let _ = stream.write_all(words[number % 4]);
            stream
        })
        .collect();
    // The same with a thousand in front of it: only a machine that is busy with others needs a second try.
    wait::until("an answer", || {
        (reached.from_afar(&token, &["status"]).code == Some(0)).then_some(())
    });
    drop(crowd);
    let plain = reached
        .stranger(&["status"])
        .env("BOOTCTL_HOST", reached.site.proxy.to_string())
        .env("BOOTCTL_TOKEN_FILE", &token)
        .env("BOOTCTL_FINGERPRINT", &reached.fingerprint)
        .output();
    let plain = said(plain.expect("bootctl can be run"));
    assert_eq!(plain.code, Some(3), "{plain:?}");
    assert!(plain.err.contains("does not speak TLS"), "{plain:?}");
    let header =
        format!("Authorization: Bearer {}", fs::read_to_string(&token).expect("there").trim());
    for (words, path, wanted) in [
        (vec!["-X", "PUT"], "/apps/%2e%2e%2ftokens%00/stop", 404),
        (vec!["-X", "PUT"], "/apps/%0a%7b%22who%22:%22uid%200%22%7d/stop", 404),
        (vec![], "/apps/a/../../tokens", 404),
        (vec!["-X", "PUT"], "/tokens/..%2fstate", 422),
        (vec!["-X", "PUT"], "/init/job/a.1/stop", 404),
        (vec!["-X", "PUT", "-d", "x"], "/apps/a/instances/-1", 422),
        (vec!["-X", "PUT", "-H", "Bootctl-Who: uid 0"], "/apps/nowhere/stop", 404),
        (vec!["--tls-max", "1.2"], "/status", 0),
    ] {
        let words = [words, vec!["-H", &header]].concat();
        let (status, body) = reached.curl("127.0.0.1", &words, path);
        assert_eq!(status, wanted, "{path}: {body}");
    }
    let last = reached.audit().pop().expect("a line");
    assert_eq!(last["who"], "token laptop", "nobody passes for another: {last}");
    assert_eq!(reached.site.supervisor(), supervisor);
    assert_eq!(reached.site.init.job("gate")["pid"], gate);
}

/// The listener is init's: neither a supervisor nor a gate that is killed refuses anybody.
#[test]
fn z09_neither_restart_refuses_a_connection() {
    let reached = Reached::boot(&[("a.toml", &answers(1, ""))]);
    reached.site.wait_for("a", "running");
    let token = reached.token("laptop", "control");
    for round in 0..4 {
        let job = if round % 2 == 0 { "gate" } else { "boot" };
        let before = reached.site.init.job(job)["pid"].as_i64().expect("it runs");
        kill(Pid::from_raw(i32::try_from(before).expect("a pid")), Signal::SIGKILL)
            .expect("killed");
        let status = reached.from_afar(&token, &["status", "a", "--json"]);
        assert_eq!(status.code, Some(0), "{job}: {status:?}");
        wait::until("the next one", || {
            (reached.site.init.job(job)["pid"].as_i64()? != before).then_some(())
        });
    }
}

/// Another machine: a network of its own, with one line to this one.
struct Machine {
    name: String,
    here: Ipv4Addr,
}

impl Machine {
    fn build() -> Self {
        let pid = std::process::id();
        let [_, _, high, low] = pid.to_be_bytes();
        let (here, there) =
            (Ipv4Addr::new(198, 18, high, low | 1), Ipv4Addr::new(198, 19, high, low | 1));
        let machine = Self { name: format!("ji{pid}"), here };
        let Self { name, .. } = &machine;
        sh(&format!(
            "ip netns add {name} && ip link add {name}a type veth peer name {name}b netns {name} && \
             ip addr add {here} peer {there} dev {name}a && ip link set {name}a up && \
             ip -n {name} addr add {there} peer {here} dev {name}b && ip -n {name} link set {name}b up && \
             ip -n {name} link set lo up"
        ));
        machine
    }

    /// Runs a command there.
    fn run(&self, command: &Command) -> Said {
        let mut there = Command::new("ip");
        there
            .args(["netns", "exec", &self.name])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => there.env(name, value),
                None => there.env_remove(name),
            };
        }
        said(there.stdin(Stdio::null()).output().expect("ip can be run"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let name = &self.name;
        let _ = Command::new("sh")
            .args(["-c", &format!("ip link del {name}a; ip netns del {name}")])
            .status();
    }
}

#[track_caller]
fn sh(script: &str) {
    let said = said(Command::new("sh").args(["-c", script]).output().expect("sh can be run"));
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn z09_verbs_work_from_a_second_machine() {
    if !nix::unistd::geteuid().is_root() || !tools::present(&["/usr/sbin/ip"]) {
        return tools::skip("a second machine takes root and ip");
    }
    let machine = Machine::build();
    let reached = Reached::boot_at(machine.here, &[("a.toml", &answers(2, ""))]);
    let site = &reached.site;
    let token = reached.token("laptop", "control");
    let there = |words: &[&str]| machine.run(&reached.from_afar_as(&token, words));
    let done = |words: &[&str]| {
        let said = there(words);
        assert_eq!(said.code, Some(0), "{words:?}: {said:?}");
        said.out
    };
    site.wait_for("a", "running");
    assert!(done(&["status", "a"]).contains("a is running"));
    let before = site.pids("a");
    done(&["restart", "a"]);
    assert_ne!(site.pids("a"), before);
    done(&["scale", "a", "1"]);
    done(&["stop", "a"]);
    assert!(site.done(&["status", "a"]).contains("is stopped"));
    let progress = done(&["start", "a", "--json"]);
    let last: Value = serde_json::from_str(progress.lines().last().expect("lines")).expect("JSON");
    assert_eq!(last["event"], "done", "{progress}");
    done(&["plan"]);
    done(&["reload"]);
    done(&["restart", "proxyd"]);
    done(&["generate", "--list"]);
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("index"), "x".repeat(300_000)).expect("written");
    done(&["deploy", "a", "--from", folder.path().to_str().expect("UTF-8")]);
    assert!(done(&["releases", "a"]).contains("current"));
    let failed = there(&["rollback", "a", "--to", "77"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    let missing = there(&["stop", "b"]);
    assert!(missing.code == Some(1) && missing.err.contains("there is no app"), "{missing:?}");
    let lines = reached.audit();
    let from_there = lines
        .iter()
        .filter(|line| line["from"].as_str().is_some_and(|from| from.starts_with("198.19.")));
    assert!(from_there.count() >= 8, "{lines:?}");
}

#[test]
fn z09_streams_come_as_they_are_written() {
    let reached = Reached::boot(&[]);
    let token = reached.token("laptop", "control");
    let spec = serde_json::json!({
        "exec": "/bin/sh", "args": ["-c", "echo begun; while read line; do echo got $line; done"],
        "stdin": "pipe", "stdout": "log",
    });
    reached.site.init.launch_job("talk", &spec);
    let mut command = reached.from_afar_as(&token, &["attach", "talk"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run");
    let mut out = child.stdout.take().expect("a pipe");
    let (tell, heard) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let (mut all, mut some) = (String::new(), [0; 256]);
        while let Ok(count @ 1..) = out.read(&mut some) {
            all += &String::from_utf8_lossy(&some[..count]);
            if tell.send(all.clone()).is_err() {
                return;
            }
        }
    });
    let expect = |text: &str| loop {
        let all = heard.recv_timeout(wait::PATIENCE).expect("it writes on");
        if all.contains(text) {
            break;
        }
    };
    expect("begun\n");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(b"one\n").expect("written");
    expect("got one\n");
    input.write_all(b"two\n").expect("written");
    expect("got two\n");
    drop(input);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    let typed = reached.audit().into_iter().filter(|line| line["path"] == "/init/job/talk/stdin");
    assert_eq!(typed.count(), 1, "it is told once that somebody types");
}

#[test]
fn z09_logs_are_read_from_afar() {
    let script = "echo one; echo two >&2; trap 'exit 0' TERM; while read line < /dev/null; do :; done; sleep 60 & wait";
    let app = format!("exec = \"/bin/sh\"\nargs = [\"-c\", \"{script}\"]\nweb = false\n");
    let reached = Reached::boot(&[("talks.toml", &app)]);
    let (reader, admin) = (reached.token("reader", "read"), reached.token("admin", "control"));
    wait::until("both lines", || {
        let said = reached.from_afar(&reader, &["log", "talks", "--stream", "err", "--json"]);
        (said.code == Some(0) && said.out.contains("two") && !said.out.contains("one"))
            .then_some(())
    });
    let none = reached.from_afar(&reader, &["log", "takls"]);
    assert!(none.code == Some(1) && none.err.contains("did you mean talks?"), "{none:?}");
    let mut follow = reached.from_afar_as(&reader, &["log", "talks", "-f"]);
    let mut child = follow.stdout(Stdio::piped()).spawn().expect("bootctl can be run");
    let mut out = child.stdout.take().expect("a pipe");
    let mut seen = String::new();
    let mut expect = |count: usize| {
        let mut some = [0; 256];
        while seen.matches("out one").count() < count {
            let read = out.read(&mut some).expect("it reads on");
            assert!(read > 0, "it goes on: {seen}");
            seen += &String::from_utf8_lossy(&some[..read]);
        }
    };
    expect(1);
    reached.site.done(&["restart", "talks"]);
    expect(2);
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    let refused = reached.from_afar(&reader, &["log", "--clear", "talks"]);
    assert!(refused.code == Some(1) && refused.err.contains("may only look"), "{refused:?}");
    let cleared = reached.from_afar(&admin, &["log", "--clear", "talks"]);
    assert_eq!((cleared.code, cleared.out.as_str()), (Some(0), "the log of talks is empty\n"));
    let line =
        reached.audit().into_iter().rfind(|line| line["path"] == "/logs?app=talks&view=plain");
    assert_eq!(line.expect("a line")["result"], "done");
}

#[test]
fn o24_probes_and_figures() {
    let reached = Reached::boot(&[
        ("shop.toml", &answers(2, "")),
        ("shut.toml", &answers(1, "[proxy.maintenance]\non = true\n")),
    ]);
    let site = &reached.site;
    site.wait_for("shop", "running");
    site.wait_for("shut", "running");
    let token = fs::read_to_string(reached.token("monitor", "read")).expect("written");
    let header = format!("Authorization: Bearer {}", token.trim());
    let ask = |path: &str| reached.curl("127.0.0.1", &["-H", &header], path);
    assert_eq!(reached.curl("127.0.0.1", &[], "/metrics").0, 401, "not without a token");
    let (status, page) = ask("/metrics");
    assert_eq!(status, 200);
    for row in [
        "bootctl_app_state{app=\"shop\",state=\"running\"} 1",
        "bootctl_app_state{app=\"shop\",state=\"failed\"} 0",
        "bootctl_app_instances_ready{app=\"shop\"} 2",
        "bootctl_app_maintenance{app=\"shut\"} 1",
        "bootctl_instance_restarts_total{app=\"shop\",job=\"shop.1\"} 0",
        "bootctl_runlevel 3",
        "bootctl_proxy_ready 1",
        "# TYPE bootctl_instance_cpu_seconds_total counter",
    ] {
        assert!(page.lines().any(|line| line == row), "{row}: {page}");
    }
    for (path, wanted) in
        [("/probe", 200), ("/probe/shop", 200), ("/probe/shut", 503), ("/probe/no", 404)]
    {
        let (status, body) = ask(path);
        assert_eq!(status, wanted, "{path}: {body}");
    }
    site.done(&["stop", "shop"]);
    assert_eq!((ask("/probe/shop").0, ask("/probe").0), (503, 200));
    site.done(&["telinit", "1"]);
    let (status, body) = ask("/probe");
    assert!(status == 503 && body.contains("runlevel 1"), "{body}");
}

#[test]
fn z09_a_reload_tells_that_other_machines_are_not_let_in() {
    let site = Site::boot(&[]);
    let main = site.folder().join("conf/bootctl.toml");
    let before = fs::read_to_string(&main).expect("there");
    let listens = |at: SocketAddr| {
        fs::write(&main, format!("{before}[admin]\nlisten = \"{at}\"\n")).expect("written");
    };
    let taken = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there are free ports");
    let (one, other) = (taken(), taken());
    let at = |taken: &TcpListener| taken.local_addr().expect("it is bound");
    listens(at(&one));
    let said = site.bootctl(&["reload"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains(&format!("the admin API at {}: ", at(&one))), "{said:?}");
    let address = at(&one);
    drop(one);
    assert!(site.done(&["reload"]).contains("all is as the config says"));
    assert_eq!(site.status()["admin"]["state"], "open");
    // It is open, and is to be elsewhere.
    listens(at(&other));
    let said = site.bootctl(&["reload"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    listens(address);
    site.done(&["reload"]);
}

#[test]
fn z09_who_changes_the_way_that_he_has_come_learns_how_it_went() {
    let reached = Reached::boot(&[("a.toml", &answers(1, ""))]);
    let admin = reached.token("admin", "control");
    let certificate = reached.site.folder().join("state/admin.pem");
    let named = certificate.with_file_name("named.pem");
    fs::copy(&certificate, &named).expect("copied");
    let main = reached.site.folder().join("conf/bootctl.toml");
    let named = named.to_str().expect("UTF-8");
    let text = fs::read_to_string(&main).expect("there");
    let more = format!("certificate = \"{named}\"\nkey = \"{named}\"\n");
    fs::write(&main, text + &more).expect("written");
    let said = reached.from_afar(&admin, &["reload"]);
    assert_eq!(said.code, Some(0), "{said:?}");
}
