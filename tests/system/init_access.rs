//! Who may use the API, and from where.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jobinit_tests::binaries::program;
use jobinit_tests::bootctl::Site;
use jobinit_tests::http::{self, Client};
use jobinit_tests::init::Init;
use jobinit_tests::wait;

use crate::bootctl_apps::answers;

#[test]
fn b01_loopback_only() {
    for address in ["0.0.0.0:0", "[::]:0", "10.0.0.1:1", "localhost:1", "1"] {
        let run =
            Command::new(program("init")).args(["--listen", address, "true"]).output().unwrap();
        let said = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(2), "{address}: {said}");
        assert!(said.contains("loopback"), "{address}: {said}");
    }
    let init = Init::start(&[]);
    let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", init.pid())).unwrap();
    let port = format!(":{:04X}", init.api().port());
    let own: Vec<_> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.len() > 3 && fields[3] == "0A" && fields[1].ends_with(&port))
        .map(|fields| fields[1].to_owned())
        .collect();
    assert_eq!(own, [format!("0100007F{port}")]);
}

#[test]
fn b01_ipv6_loopback_works() {
    let mut command = Command::new(program("init"));
    command.args(["--listen", "[::1]:0"]);
    let init = Init::launch(command);
    assert_eq!(init.get("/jobs").status, 200);
}

#[test]
fn b02_the_environment_gives_the_address() {
    let mut command = Command::new(program("init"));
    command.env("INIT_LISTEN", "127.0.0.1:0").env("PORT", "80");
    let init = Init::launch(command);
    assert_eq!(init.get("/jobs").status, 200);
    let refused = Command::new(program("init")).env("INIT_LISTEN", "0.0.0.0:1").output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn b02_the_default_is_port_1_of_127_0_0_1() {
    // In a network namespace of its own, where nobody else has that port.
    let script = "ip link set lo up && exec \"$0\" -- \
                  sh -c 'test $INIT_API = 127.0.0.1:1 && curl -sf http://127.0.0.1:1/jobs'";
    let run = Command::new("unshare")
        .args(["-n", "sh", "-c", script])
        .arg(program("init"))
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && shown.contains("\"boot\""), "{run:?}");
}

#[test]
fn b05_init_opens_no_config() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let run = Command::new("strace")
        .args(["-e", "trace=open,openat,openat2", "-o"])
        .arg(&trace)
        .arg(program("init"))
        .args(["--listen", "127.0.0.1:0", "/bin/true"])
        .status()
        .unwrap();
    assert!(run.success());
    let opened = std::fs::read_to_string(trace).unwrap();
    let files: Vec<_> = opened
        .lines()
        .filter_map(|line| line.split('"').nth(1))
        .filter(|path| !path.starts_with("/proc/") && !path.starts_with("/sys/"))
        .collect();
    assert_eq!(files, [""; 0], "{opened}");
}

/// What `curl` says, run as a user: the body, and the status behind it.
fn curl(init: &Init, user: &str, more: &[&str], path: &str) -> (String, String) {
    let run = Command::new("setpriv")
        .args(["--reuid", user, "--regid", user, "--clear-groups"])
        .args(["curl", "-s", "-g", "-w", "\n%{http_code}"])
        .args(more)
        .arg(format!("http://{}{path}", init.api()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    let (body, status) = said.rsplit_once('\n').unwrap();
    (body.to_owned(), status.to_owned())
}

const JSON: &str = "Content-Type: application/json";
const SPEC: &str = r#"{"exec": "/bin/sleep", "args": ["600"]}"#;
const READS: &str = "Authorization: Bearer 0123456789abcdef-reads";
const CONTROLS: &str = "Authorization: Bearer 0123456789abcdef-controls";

/// A file with two tokens, and an init that is started with it and `words`.
fn with_tokens(words: &[&str]) -> (Init, tempfile::TempDir) {
    let (file, folder) = tokens();
    (Init::start(&[&["--token-file", &file], words].concat()), folder)
}

fn tokens() -> (String, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let text = "# of the test\n0123456789abcdef-reads read\n0123456789abcdef-controls control\n";
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    (file.display().to_string(), folder)
}

#[test]
fn b25_another_user_is_refused() {
    let init = Init::start(&[]);
    let (said, status) = curl(&init, "65534", &["-H", JSON, "-d", SPEC], "/job");
    assert!(status == "403" && said.contains("only root"), "{said}");
    assert_eq!(init.get("/jobs").body, "[]\n");
    let (said, status) = curl(&init, "0", &["-H", JSON, "-d", SPEC], "/job");
    assert_eq!(status, "201", "{said}");
    // A token is nothing where there are none.
    let (_, status) = curl(&init, "65534", &["-H", CONTROLS], "/jobs");
    assert_eq!(status, "403");
}

#[test]
fn b25_a_grant_gives_a_user_its_right() {
    let init = Init::start(&["--grant", "65534:read", "--grant=www-data:control"]);
    assert_eq!(curl(&init, "65534", &[], "/jobs").1, "200");
    assert_eq!(curl(&init, "65534", &["-I"], "/jobs").1, "200");
    for (method, path) in
        [("POST", "/job"), ("PUT", "/job/x"), ("DELETE", "/job/x"), ("PUT", "/job/init/stop")]
    {
        let words = ["-X", method, "-H", JSON, "-d", SPEC];
        let (said, status) = curl(&init, "65534", &words, path);
        assert!(status == "403" && said.contains("control"), "{method} {path}: {said}");
    }
    assert_eq!(init.get("/jobs").body, "[]\n");
    // 33 is www-data on Debian.
    assert_eq!(curl(&init, "33", &["-H", JSON, "-d", SPEC], "/job").1, "201");
    assert_eq!(curl(&init, "65533", &[], "/jobs").1, "403");
}

#[test]
fn b25_bad_access_options_are_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let open = folder.path().join("open");
    fs::write(&open, "0123456789abcdef read\n").unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    let bad = folder.path().join("bad");
    fs::write(&bad, "0123456789abcdef read\n0123456789abcdef-secret writes\n").unwrap();
    fs::set_permissions(&bad, fs::Permissions::from_mode(0o600)).unwrap();
    let [open, bad] = [open, bad].map(|path| path.display().to_string());
    for (words, said) in [
        (&["--grant", "65534"][..], "USER:read or USER:control"),
        (&["--grant", "65534:write"], "USER:read or USER:control"),
        (&["--grant", "nosuchuser:read"], "not in /etc/passwd"),
        (&["--auth", "none"], "peer or token"),
        (&["--auth", "token"], "--token-file"),
        (&["--token-file", "/no/such/file"], "No such file"),
        (&["--token-file", "/"], "regular file"),
        (&["--token-file", &open], "open to other users"),
        (&["--token-file", &bad], "line 2"),
    ] {
        let mut command = Command::new(program("init"));
        let run = command.args(["--listen", "127.0.0.1:0"]).args(words).output().unwrap();
        let text = String::from_utf8_lossy(&run.stderr);
        assert!(!run.status.success() && text.contains(said), "{words:?}: {text}");
        assert!(!text.contains("0123456789abcdef"), "no token is shown: {text}");
    }
}

#[test]
fn b25_a_token_gives_whoever_shows_it_its_right() {
    let (init, _folder) = with_tokens(&[]);
    for user in ["65534", "0"] {
        assert_eq!(curl(&init, user, &["-H", READS], "/jobs").1, "200", "{user}");
        let wrong = ["-H", "Authorization: Bearer 0123456789abcdef-read"];
        assert_eq!(curl(&init, user, &wrong, "/jobs").1, "401", "{user}");
    }
    let (said, status) = curl(&init, "65534", &["-i"], "/jobs");
    assert_eq!(status, "401", "{said}");
    assert!(said.to_lowercase().contains("www-authenticate: bearer"), "{said}");
    let post = |token| curl(&init, "65534", &["-H", token, "-H", JSON, "-d", SPEC], "/job").1;
    assert_eq!(post(READS), "403");
    assert_eq!(init.get("/jobs").body, "[]\n");
    assert_eq!(post(CONTROLS), "201");
    // Not in the URL, where logs would show it; and no way around what web pages are refused for.
    let in_url = "/jobs?token=0123456789abcdef-controls";
    assert_eq!(curl(&init, "65534", &[], in_url).1, "401");
    let page = ["-H", CONTROLS, "-H", "Origin: http://localhost"];
    assert_eq!(curl(&init, "65534", &page, "/jobs").1, "403");
    // Root needs none.
    assert_eq!(init.get("/jobs").status, 200);
}

#[test]
fn b25_tokens_can_be_insisted_on() {
    let (init, _folder) = with_tokens(&["--auth", "token", "--", "sh", "-c", "echo up; sleep 60"]);
    assert_eq!(init.get("/jobs").status, 401);
    let (said, status) = curl(&init, "0", &["-H", READS], "/job/boot");
    assert_eq!(status, "200");
    assert!(said.contains("INIT_TOKEN_FILE") && !said.contains("0123456789"), "{said}");
    assert_eq!(curl(&init, "0", &["-H", READS, "-X", "PUT"], "/job/init/stop").1, "403");
    assert_eq!(curl(&init, "65534", &["-H", CONTROLS, "-X", "PUT"], "/job/init/stop").1, "202");
}

#[test]
fn b29_a_slow_user_keeps_nobody_out() {
    let init = Init::start(&["--grant", "65534:read"]);
    // As many connections as the kernel gives, each with a byte of a head now and then.
    let script = r#"
import socket, sys, time
at = ("127.0.0.1", int(sys.argv[1]))
held = []
for n in range(600):
    s = socket.create_connection(at, 5)
    s.sendall(b"GET /jobs?follow HTTP/1.1\r\nHost: localhost\r\n\r\n" if n % 3 == 0 else b"GET /jo")
    held.append(s)
print("begun", flush=True)
while True:
    for s in held:
        try: s.sendall(b"x")
        except OSError: pass
    time.sleep(0.2)
"#;
    let slow = Crowd::of(1, script, &init);
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(
            curl(&init, "0", &["-H", JSON, "-d", r#"{"exec": "/bin/true"}"#], "/job").1,
            "201"
        );
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
    // He himself is told that he has too many, as soon as not too many are being told.
    wait::until("the refusal", || {
        let (said, status) = curl(&init, "65534", &[], "/jobs");
        assert_ne!(status, "200");
        (status == "503" && said.contains("too_many_connections")).then_some(())
    });
    drop(slow);
}

#[test]
fn b29_a_flood_of_connections_keeps_nobody_out() {
    let init = Init::start(&[]);
    let flood = Crowd::of(1, FLOOD, &init);
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(curl(&init, "0", &[], "/jobs").1, "200");
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
    drop(flood);
}

#[test]
fn b25_grants_and_tokens_hold_on_ipv6() {
    let (file, _folder) = tokens();
    let mut command = Command::new(program("init"));
    command.args(["--listen", "[::1]:0", "--grant", "65534:read", "--token-file", &file]);
    let init = Init::launch(command);
    assert_eq!(curl(&init, "0", &["-H", JSON, "-d", SPEC], "/job").1, "201");
    assert_eq!(curl(&init, "65534", &[], "/jobs").1, "200");
    assert_eq!(curl(&init, "65534", &["-H", JSON, "-d", SPEC], "/job").1, "403");
    assert_eq!(curl(&init, "65533", &[], "/jobs").1, "401");
    assert_eq!(curl(&init, "65533", &["-H", READS], "/jobs").1, "200");
}

#[test]
fn b25_users_are_told_apart_without_sock_diag() {
    for (listen, table) in [("127.0.0.1:0", "/proc/net/tcp\""), ("[::1]:0", "/proc/net/tcp6\"")] {
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("trace");
        let mut command = Command::new("strace");
        // From the side, so that init is the child; netlink's questions are all it sends this way.
        command.args(["-D", "-e", "trace=sendmsg,openat", "-e", "inject=sendmsg:error=EPERM"]);
        command.arg("-o").arg(&trace).arg(program("init"));
        command.args(["--listen", listen, "--grant", "65534:read"]);
        let init = Init::launch(command);
        assert_eq!(curl(&init, "0", &["-H", JSON, "-d", SPEC], "/job").1, "201");
        assert_eq!(curl(&init, "65534", &[], "/jobs").1, "200");
        assert_eq!(curl(&init, "65534", &["-H", JSON, "-d", SPEC], "/job").1, "403");
        assert_eq!(curl(&init, "65533", &[], "/jobs").1, "403");
        wait::until("the table to be read", || {
            fs::read_to_string(&trace).unwrap().contains(table).then_some(())
        });
    }
}

#[test]
fn b25_who_has_no_id_in_a_user_namespace_is_nobody() {
    // There init and all others show as one and the same user.
    let mut command = Command::new("unshare");
    command.arg("-U").arg(program("init")).args(["--listen", "127.0.0.1:0"]);
    let init = Init::launch(command);
    for user in ["65534", "65533", "0"] {
        assert_eq!(curl(&init, user, &[], "/jobs").1, "403", "{user}");
    }
}

#[test]
fn b25_bootctl_finds_the_token_that_is_insisted_on() {
    let (file, _folder) = tokens();
    let options = ["--token-file", &file, "--auth", "token"];
    let site = Site::boot_under(&options, &[("shop.test.toml", &answers(1, ""))], "");
    site.wait_for("shop.test", "running");
    assert_eq!(site.get("shop.test", "/").status, 200);
    assert_eq!(site.init.get("/jobs").status, 401);
    let (jobs, status) = curl(&site.init, "0", &["-H", CONTROLS], "/jobs");
    assert_eq!(status, "200");
    assert!(!jobs.contains("0123456789abcdef"), "no job is told a token: {jobs}");
}

#[test]
fn b29_idle_connections_are_closed() {
    let init = Init::start(&[]);
    let connect = |words: &str| {
        let mut stream = TcpStream::connect(init.api()).unwrap();
        stream.set_read_timeout(Some(wait::PATIENCE)).unwrap();
        stream.write_all(words.as_bytes()).unwrap();
        stream
    };
    // One after an answer, one in a head, one that never says a word.
    let whole = "GET /jobs HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut streams = [whole, "GET /jobs HTTP/1.1\r\nHost", ""].map(connect);
    let [answered, ..] = &mut streams.each_mut().map(|stream| {
        let mut said = String::new();
        stream.read_to_string(&mut said).expect("closed before long");
        said
    });
    assert!(answered.starts_with("HTTP/1.1 200 "), "{answered}");
}

/// Connects without end, and hangs up at once.
const FLOOD: &str = r#"
import socket, sys
at = ("127.0.0.1", int(sys.argv[1]))
print("begun", flush=True)
while True:
    s = socket.socket()
    s.setblocking(False)
    try: s.connect(at)
    except OSError: pass
    s.close()
"#;

/// Processes of another user that are killed with the test.
struct Crowd(Vec<Child>);

impl Crowd {
    fn of(size: usize, script: &str, init: &Init) -> Self {
        let start = |_| {
            Command::new("setpriv")
                .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
                .args(["/usr/bin/python3", "-c", script])
                .arg(init.api().port().to_string())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        };
        let mut crowd = Self((0..size).map(start).collect());
        for child in &mut crowd.0 {
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            assert_eq!(line, "begun\n");
        }
        crowd
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn b29_a_queue_that_is_never_empty_stops_nothing_else() {
    // More processes that connect than init can keep up with.
    let init = Init::start(&[]);
    let mut kept = Client::connect(init.api());
    let mut ask = || {
        let began = Instant::now();
        assert_eq!(kept.ask("GET", "/job/init", "").status, 200);
        began.elapsed()
    };
    ask();
    let flood = Crowd::of(6, FLOOD, &init);
    for _ in 0..50 {
        let took = ask();
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    drop(flood);
    assert_eq!(init.get("/jobs").status, 200);
}

#[test]
fn b29_a_user_who_asks_too_often_is_told_to_wait() {
    let init = Init::start(&["--grant", "65534:read"]);
    // One connection, one request after the other.
    let script = r#"
import http.client, sys
c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
for n in range(5000):
    c.request("GET", "/job/init")
    r = c.getresponse()
    r.read()
    if r.status != 200: break
print(n, r.status, r.getheader("Retry-After"))
"#;
    let run = |user: &str| {
        let run = Command::new("setpriv")
            .args([
                "--reuid",
                user,
                "--regid",
                user,
                "--clear-groups",
                "/usr/bin/python3",
                "-c",
                script,
            ])
            .arg(init.api().port().to_string())
            .output()
            .unwrap();
        String::from_utf8_lossy(&run.stdout).into_owned()
    };
    let said = run("65534");
    assert!(said.ends_with(" 429 1\n") && !said.starts_with("0 "), "{said}");
    assert_eq!(run("0"), "4999 200 None\n", "root is not counted");
}

#[test]
fn b26_a_preflight_gets_nothing() {
    let init = Init::start(&[]);
    let headers = "Origin: http://evil.example\r\nAccess-Control-Request-Method: PUT\r\n";
    let answer = http::request(init.api(), "OPTIONS", "/job/x", headers, "");
    assert_eq!(answer.status, 403, "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[test]
fn b25_hanging_up_early_makes_nobody_root() {
    // A socket that its owner has closed shows as user 0's in the kernel's tables. Somebody else
    // sends a job and is gone before init can look.
    let init = Init::start(&[]);
    let script = r#"
        use IO::Socket::INET;
        my $body = '{"exec": "/bin/sleep", "args": ["600"]}';
        my $head = "POST /job HTTP/1.1\r\nHost: localhost\r\n"
            . "Content-Type: application/json\r\nContent-Length: " . length($body) . "\r\n\r\n";
        for (1..300) {
            my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $ARGV[0]) or die $!;
            syswrite($s, $head . $body);
            close($s);
        }
    "#;
    let run = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "perl", "-e", script])
        .arg(init.api().port().to_string())
        .status()
        .unwrap();
    assert!(run.success());
    assert_eq!(init.get("/jobs").body, "[]\n");
}

#[test]
fn b26_web_pages_are_refused() {
    let init = Init::start(&[]);
    let spec = r#"{"exec": "/bin/sleep", "args": ["600"]}"#;
    let json = "Content-Type: application/json\r\n";
    for (headers, status) in [
        ("Content-Type: text/plain\r\n".to_owned(), 415),
        (String::new(), 415),
        ("Content-Type: application/x-www-form-urlencoded\r\n".to_owned(), 415),
        (format!("{json}Host: evil.example\r\n"), 403),
        (format!("{json}Host: 127.0.0.1.evil.example:1\r\n"), 403),
        (format!("{json}Host: localhost\r\nHost: localhost\r\n"), 400),
        (format!("{json}Origin: http://localhost\r\n"), 403),
        (format!("{json}Origin: null\r\n"), 403),
    ] {
        let answer = http::request(init.api(), "POST", "/job", &headers, spec);
        assert_eq!(answer.status, status, "{headers:?}");
        assert!(answer.json()["message"].is_string());
    }
    let read = http::request(init.api(), "GET", "/jobs", "Host: evil.example\r\n", "");
    assert_eq!(read.status, 403);
    assert_eq!(init.get("/jobs").body, "[]\n");
}

#[test]
fn b01_nobody_connects_from_outside() {
    // The machine's other addresses have nobody listening on the API's port.
    let init = Init::start(&[]);
    let port = init.api().port();
    assert!(TcpStream::connect(("127.0.0.2", port)).is_err());
}
