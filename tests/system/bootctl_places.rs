//! Where apps listen, and what they may use: ports, sockets of their own, listeners of init's;
//! limits and rights.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use jobinit_tests::bootctl::Site;
use jobinit_tests::tools::present;
use jobinit_tests::wait;
use serde_json::Value;

use crate::bootctl_apps::{answers, kill};
use crate::bootctl_roll::under_load;

pub(crate) const NODE: &str = "
const server = require('http').createServer((request, response) => {
  response.end(`${process.env.BOOTCTL_APP} ${process.pid}`);
});
server.listen(process.env.SOCKET || {fd: 3});
";

const PYTHON: &str = "
import os, socket
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, UnixStreamServer

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        body = f'{os.environ[\"BOOTCTL_APP\"]} {os.getpid()}'.encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def address_string(self):
        return 'the proxy'

if 'SOCKET' in os.environ:
    server = UnixStreamServer(os.environ['SOCKET'], Answer)
else:
    server = TCPServer(('', 0), Answer, bind_and_activate=False)
    server.socket = socket.socket(fileno=3)
server.serve_forever()
";

/// A program and what makes it run this script.
pub(crate) fn scripted(exec: &str, flag: &str, script: &str, more: &str) -> String {
    format!("exec = {exec:?}\nargs = [{flag:?}, {script:?}]\n{more}")
}

/// The helper that listens wherever it is told to.
fn sickens(more: &str) -> String {
    let exec = env!("CARGO_BIN_EXE_sickens");
    format!("exec = {exec:?}\nargs = [\"/nowhere\"]\n{more}")
}

fn instance(site: &Site, app: &str) -> Value {
    site.wait_for(app, "running")["instances"][0].clone()
}

#[track_caller]
fn answers_as(site: &Site, app: &str) {
    let answer = site.get(app, "/");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body.starts_with(app), "{answer:?}");
}

/// Kills an app's only process, and waits until a new one is ready.
#[track_caller]
fn kill_and_wait(site: &Site, app: &str) {
    let before = site.pids(app);
    kill(before[0]);
    wait::until("a new process to be ready", || {
        let view = site.wait_for(app, "running");
        let pid = view["instances"][0]["pid"].as_u64();
        (pid != Some(before[0])).then_some(())
    });
}

#[test]
fn place_unix_sockets_of_other_users_are_reached_and_left_ones_are_not_in_the_way() {
    let user = if nix::unistd::geteuid().is_root() { "user = \"daemon\"\n" } else { "" };
    let site = Site::boot(&[("a.test.toml", &sickens(&format!("socket = \"unix\"\n{user}")))]);
    let view = instance(&site, "a.test");
    let path = PathBuf::from(view["socket"].as_str().expect("a path"));
    assert_eq!(view["port"], Value::Null);
    assert!(path.ends_with("run/apps/a.test.1/sock"), "{path:?}");
    answers_as(&site, "a.test");
    let folder = fs::metadata(path.parent().expect("a folder")).expect("it is there");
    assert_eq!(folder.mode() & 0o777, 0o711);
    assert!(site.done(&["status", "a.test"]).contains(path.to_str().expect("UTF-8")));
    // The helper does not listen where a file is.
    for _ in 0..2 {
        kill_and_wait(&site, "a.test");
        answers_as(&site, "a.test");
    }
    site.done(&["stop", "a.test"]);
    // It is answered once the process has ended; what it leaves is cleared then.
    let folder = path.parent().expect("a folder");
    wait::until("nothing to be left", || (!folder.exists()).then_some(()));
    site.done(&["start", "a.test"]);
    answers_as(&site, "a.test");
    let pids = site.pids("a.test");
    kill(site.supervisor());
    site.wait_for("a.test", "running");
    assert_eq!(site.pids("a.test"), pids);
    answers_as(&site, "a.test");
}

#[test]
fn place_a_socket_that_nobody_listens_on_is_not_ready() {
    let site = Site::boot(&[("a.toml", &sickens("socket = \"unix\"\n"))]);
    let path = PathBuf::from(instance(&site, "a")["socket"].as_str().expect("a path"));
    let sleeps = "exec = \"sleep\"\nargs = [\"1000\"]\nsocket = \"unix\"\n";
    site.done(&["stop", "a"]);
    site.write("a.toml", sleeps);
    let said = site.bootctl(&["reload"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let said = site.bootctl(&["start", "a", "--timeout", "0"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let why = |expected: &str| {
        wait::until(expected, || {
            let view = site.done(&["status", "a"]);
            (view.contains("a.1 is starting") && view.contains(expected)).then_some(())
        });
    };
    why("there is no socket at");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
    why("connection refused");
}

#[test]
fn place_node_and_python_listen_on_sockets_of_their_own() {
    if !present(&["node", "python3"]) {
        return;
    }
    let more = "socket = \"unix\"\n[restart]\ndelay = \"10ms\"\n";
    let site = Site::boot(&[
        ("node.toml", &scripted("node", "-e", NODE, more)),
        ("python.toml", &scripted("/usr/bin/python3", "-c", PYTHON, more)),
    ]);
    for app in ["node", "python"] {
        instance(&site, app);
        answers_as(&site, app);
        kill_and_wait(&site, app);
        answers_as(&site, app);
    }
}

#[test]
fn place_node_and_python_serve_a_listener_of_inits_and_a_crash_refuses_nobody() {
    if !present(&["node", "python3"]) {
        return;
    }
    let more = "socket = \"fd\"\n[health]\nhttp = \"/\"\n[restart]\ndelay = \"300ms\"\n";
    let site = Site::boot(&[
        ("node.toml", &scripted("node", "-e", NODE, more)),
        ("python.toml", &scripted("/usr/bin/python3", "-c", PYTHON, more)),
    ]);
    for app in ["node", "python"] {
        assert!(instance(&site, app)["port"].as_u64().is_some());
        answers_as(&site, app);
        for _ in 0..3 {
            let before = site.pids(app);
            kill(before[0]);
            // Nobody serves now, and who asks waits.
            answers_as(&site, app);
            site.wait_for(app, "running");
            assert_ne!(site.pids(app), before);
        }
    }
}

#[test]
fn place_a_listener_is_not_ready_before_its_app_is() {
    let gate = tempfile::NamedTempFile::with_suffix(".gate").expect("a file");
    let file = gate.path().with_extension("");
    let text = format!(
        "exec = {:?}\nargs = [{:?}]\nsocket = \"fd\"\n[health]\nhttp = \"/\"\ntimeout = \"100ms\"\n",
        env!("CARGO_BIN_EXE_sickens"),
        file.to_str().expect("UTF-8")
    );
    let site = Site::boot(&[("a.toml", &text)]);
    wait::until("a probe to fail", || {
        let view = site.done(&["status", "a"]);
        (view.contains("a.1 is starting: not ready yet: timed out after 100ms")).then_some(())
    });
    assert!(site.proxy_state().services.get("a").is_none_or(|it| it.targets.is_empty()));
    gate.close().expect("removed");
    instance(&site, "a");
    answers_as(&site, "a");
}

#[test]
fn place_a_change_of_place_is_rolled_without_a_failed_request() {
    let file = |socket: &str| {
        let health = "[health]\nhttp = \"/healthz\"\n";
        sickens(&format!("instances = 2\nsocket = \"{socket}\"\n{health}"))
    };
    let site = Site::boot(&[("a.toml", &file("port"))]);
    site.wait_for("a", "running");
    let asked = under_load(&site, "/", 2, || {
        for socket in ["unix", "fd", "unix", "port"] {
            site.write("a.toml", &file(socket));
            site.done(&["reload"]);
        }
    });
    assert!(asked > 10);
}

#[test]
fn place_a_path_that_is_too_long_is_told() {
    let name = "x".repeat(60) + "." + &"y".repeat(50);
    let site = Site::boot(&[(&format!("{name}.toml"), &sickens("socket = \"unix\"\n"))]);
    let said = site.bootctl(&["start", &name]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("is longer than the 107 bytes"), "{said:?}");
}

#[test]
fn i06_limits_and_rights_are_the_processes() {
    let more = "umask = \"027\"\nnice = 5\noom_score_adj = 300\nno_new_privs = true\n\
                [limits]\nopen_files = 321\n";
    let site = Site::boot(&[("a.toml", &answers(1, more))]);
    instance(&site, "a");
    let proc = PathBuf::from(format!("/proc/{}", site.pids("a")[0]));
    let read = |name: &str| fs::read_to_string(proc.join(name)).expect("it runs");
    let line = |name: &str, key: &str| {
        let text = read(name);
        let line = text.lines().find(|line| line.starts_with(key)).expect("it is told");
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("limits", "Max open files"), "Max open files 321 321 files");
    assert_eq!(line("status", "Umask"), "Umask: 0027");
    assert_eq!(line("status", "NoNewPrivs"), "NoNewPrivs: 1");
    assert_eq!(read("oom_score_adj").trim(), "300");
    assert_eq!(read("stat").rsplit(") ").next().and_then(|it| it.split(' ').nth(16)), Some("5"));
}

/// Where the kernel has the controllers they hold; elsewhere the app is not run without.
#[test]
fn i06_memory_is_limited_or_the_start_fails() {
    let site = Site::boot(&[("a.toml", &answers(1, "[limits]\nmemory = \"64M\"\n"))]);
    let said = site.bootctl(&["start", "a"]);
    if said.code == Some(0) {
        let group = fs::read_to_string(format!("/proc/{}/cgroup", site.pids("a")[0]));
        let group = group.expect("it runs");
        let path = group.lines().find_map(|line| line.strip_prefix("0::")).expect("version 2");
        let file = format!("/sys/fs/cgroup{path}/memory.max");
        assert_eq!(fs::read_to_string(file).expect("it is there").trim(), "67108864");
    } else {
        assert!(said.err.contains("`cgroup` needs cgroup v2"), "{said:?}");
    }
}
