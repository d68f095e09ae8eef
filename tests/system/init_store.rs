//! Descriptors that jobs give init to keep for their next run.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use jobinit_tests::init::Init;
use jobinit_tests::wait;
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use serde_json::{Value, json};

const STORES_FD: &str = env!("CARGO_BIN_EXE_stores_fd");

/// A job that says in `report` what it is passed, and does `deeds` in its first run.
fn storer(report: &Path, max: usize, deeds: &[&str]) -> Value {
    let args: Vec<_> = [report.to_str().unwrap()].iter().chain(deeds).copied().collect();
    json!({"exec": STORES_FD, "args": args, "fd_store_max": max})
}

/// What the job's present process was passed: names and contents.
#[track_caller]
fn passed(init: &Init, job: &str, report: &Path) -> (Vec<String>, Vec<String>) {
    wait::until("the report of the present process", || {
        let text = std::fs::read_to_string(report).ok()?;
        let told: Value = serde_json::from_str(&text).ok()?;
        let texts = |name: &str| serde_json::from_value(told[name].clone()).unwrap();
        assert_eq!(told["isOurs"], true, "{told}");
        (told["pid"] == init.job(job)["pid"]).then(|| (texts("names"), texts("fds")))
    })
}

fn restart(init: &Init, job: &str) {
    let answer = init.put(&format!("/job/{job}/restart"));
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Descriptors of init's that are of a file that the kernel calls so.
fn held(init: &Init, what: &str) -> usize {
    let fds = std::fs::read_dir(format!("/proc/{}/fd", init.pid())).unwrap();
    let targets = fds.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
    targets.filter(|target| target.to_str().is_some_and(|target| target.contains(what))).count()
}

/// Waits until init has just so many files that helpers have made.
#[track_caller]
fn holds(init: &Init, count: usize) {
    wait::until(&format!("init to hold {count}"), || {
        (held(init, "memfd:kept") == count).then_some(())
    });
}

#[test]
fn i04_what_is_stored_is_there_in_the_next_run() {
    for init in [Init::start(&[]), Init::start_without_cgroups(&[])] {
        let folder = tempfile::tempdir().unwrap();
        let report = folder.path().join("report");
        // It dies with its last message on its way.
        let deeds = ["keep=state:seven", "keep=more:eight", "keep=:nine", "exit=1"];
        let mut spec = storer(&report, 8, &deeds);
        spec["restart"] = json!({"policy": "always", "delay_ms": 0});
        spec["fds"] = json!([{"name": "http", "listen": "tcp:127.0.0.1:0"}]);
        init.launch_job("a", &spec);
        wait::until("the second run", || (init.job("a")["respawn"] == 1).then_some(()));
        let (names, fds) = passed(&init, "a", &report);
        assert_eq!(names, ["http", "state", "more", "stored"]);
        assert!(fds[0].starts_with("socket:"), "{fds:?}");
        assert_eq!(fds[1..], ["seven", "eight", "nine"]);
        // Nobody else gets them.
        let others = init.run_script("! ls -l /proc/self/fd | grep memfd");
        assert_eq!(others["lastExit"], 0, "{others}");
        // A stop and a start do not change that.
        restart(&init, "a");
        assert_eq!(passed(&init, "a", &report).0, names);
        assert_eq!(init.put("/job/a/stop").status, 200);
        assert_eq!(init.put("/job/a/start").status, 200);
        assert_eq!(passed(&init, "a", &report).1[1..], ["seven", "eight", "nine"]);
        // Nor does putting the same once more.
        assert_eq!(init.put("/job/a/stop").status, 200);
        assert_eq!(init.send("PUT", "/job/a", &spec).status, 201);
        assert_eq!(passed(&init, "a", &report).0, names);
    }
}

#[test]
fn i04_a_stored_listener_is_not_closed_between_two_runs() {
    let init = Init::start(&[]);
    let script = r#"
import array, os, socket
names = os.environ.get("LISTEN_FDNAMES", "")
if names == "web":
    server = socket.socket(fileno=3)
    while True:
        client, _ = server.accept()
        client.sendall(b"%d" % os.getpid())
        client.close()
assert names == ""
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], file=open(os.environ["PORT"], "w"), flush=True)
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\0"))
rights = array.array("i", [server.fileno()])
s.sendmsg([b"FDSTORE=1\nFDNAME=web"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
"#;
    let folder = tempfile::tempdir().unwrap();
    let port = folder.path().join("port");
    let spec = json!({"exec": "python3", "args": ["-c", script], "fd_store_max": 1,
        "envs": {"PATH": std::env::var("PATH").unwrap(), "PORT": port}});
    init.launch_job("web", &spec);
    assert_eq!(init.get("/job/web?wait=exit").json()["lastExit"], 0);
    // Nobody runs. The connection is not refused, it waits.
    let port: u16 = std::fs::read_to_string(port).unwrap().trim().parse().unwrap();
    let mut waiting = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let second = init.put("/job/web/start").json()["pid"].clone();
    let mut text = String::new();
    waiting.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    waiting.read_to_string(&mut text).unwrap();
    assert_eq!(text, second.to_string());
    // Who wants the address is told who has it.
    assert_eq!(init.put("/job/web/stop").status, 200);
    let other = json!({"exec": "/bin/sleep", "args": ["60"],
        "fds": [{"name": "s", "listen": format!("tcp:127.0.0.1:{port}")}]});
    let answer = init.send("PUT", "/job/other", &other);
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(answer.body.contains("job `web` has stored a socket there"), "{answer:?}");
    // Cleared, it is closed.
    drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
    assert_eq!(init.delete("/job/web").status, 204);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn i04_another_spec_gets_nothing_of_what_was_stored() {
    let (init, folder) = (Init::start(&[]), tempfile::tempdir().unwrap());
    let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
    let spec = storer(&one, 8, &["many=8", "exit=0"]);
    init.launch_job("a", &spec);
    init.wait_for("a", "success");
    let mut bad = storer(&two, 8, &[]);
    bad["exec"] = json!("/no/such/program");
    // As long as the other one does not run, what there was stays.
    assert_eq!(init.send("PUT", "/job/a", &bad).status, 400);
    assert_eq!(init.put("/job/a/start").status, 200);
    assert_eq!(passed(&init, "a", &one).0.len(), 8);
    assert_eq!(init.put("/job/a/stop").status, 200);
    init.launch_job("a", &storer(&two, 8, &[]));
    assert_eq!(passed(&init, "a", &two).0.len(), 0);
    holds(&init, 0);
    restart(&init, "a");
    assert_eq!(passed(&init, "a", &two).0.len(), 0);
}

#[test]
fn i04_a_store_is_bounded_and_says_so() {
    let (init, folder) = (Init::start(&[]), tempfile::tempdir().unwrap());
    let report = folder.path().join("report");
    let deeds = ["many=100", "keep=late:x", "many=250", "exit=0"];
    init.launch_job("a", &storer(&report, 3, &deeds));
    assert!(init.log_line("not stored").contains("97 descriptors"));
    init.wait_for("a", "success");
    holds(&init, 3);
    restart(&init, "a");
    let (names, fds) = passed(&init, "a", &report);
    assert_eq!((names, fds), (vec!["many".into(); 3], ["0", "1", "2"].map(Into::into).into()));
    // A job that may store nothing is told once, and what it gives is closed.
    let report = folder.path().join("none");
    let mut spec = storer(&report, 0, &["many=100", "many=100", "barrier", "keep=a:b", "exit=0"]);
    spec["ready"] = json!("notify");
    init.launch_job("b", &spec);
    assert!(init.log_line("not stored").contains("may store 0"));
    init.wait_for("b", "success");
    holds(&init, 3);
}

#[test]
fn i04_what_is_stored_can_be_removed_and_is_stored_once() {
    let (init, folder) = (Init::start(&[]), tempfile::tempdir().unwrap());
    let [report, done] = ["report", "done"].map(|name| folder.path().join(name));
    let deeds = [
        "keep=a:1",
        "twice=b",
        "keep=c:2",
        "keep=a:3",
        "remove=a",
        "remove=nothing",
        "keep=d:4",
        // What is no order to store is closed, and what has no good name has none.
        "raw=READY=1",
        "raw=FDSTORE=1\\nFDNAME=e:e",
        "raw=FDSTORE=1\\nFDSTOREREMOVE=1",
        "barrier",
        &format!("done={}", done.display()),
    ];
    init.launch_job("a", &storer(&report, 64, &deeds));
    wait::until("all to be said", || done.exists().then_some(()));
    restart(&init, "a");
    let (names, fds) = passed(&init, "a", &report);
    assert_eq!(names, ["b", "c", "d", "stored"]);
    assert_eq!(fds, ["b", "2", "4", "raw"]);
}

#[test]
fn i04_a_stranger_stores_nothing() {
    let (init, folder) = (Init::start(&[]), tempfile::tempdir().unwrap());
    let report = folder.path().join("report");
    let pid = init.launch_job("a", &storer(&report, 64, &["keep=own:1"]));
    holds(&init, 1);
    let envs = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let envs = String::from_utf8(envs).unwrap();
    let name = envs.split('\0').find_map(|line| line.strip_prefix("NOTIFY_SOCKET=@")).unwrap();
    let file = std::fs::File::open("/dev/zero").unwrap();
    let fds = [file.as_raw_fd(); 100];
    let from = UnixDatagram::unbound().unwrap();
    let to = UnixAddr::new_abstract(name.as_bytes()).unwrap();
    for text in ["FDSTORE=1", "FDSTORE=1\nFDNAME=own", "FDSTOREREMOVE=1\nFDNAME=own", "", "\0"] {
        let (text, rights) =
            ([std::io::IoSlice::new(text.as_bytes())], ControlMessage::ScmRights(&fds));
        sendmsg(from.as_raw_fd(), &text, &[rights], MsgFlags::empty(), Some(&to)).unwrap();
    }
    init.log_line("not of it");
    // Enough of them that the first ones have been read.
    let to = SocketAddr::from_abstract_name(name).unwrap();
    for _ in 0..50 {
        from.send_to_addr(b"x", &to).unwrap();
    }
    assert_eq!(held(&init, "/dev/zero"), 0);
    restart(&init, "a");
    assert_eq!(passed(&init, "a", &report), (vec!["own".into()], vec!["1".into()]));
}

#[test]
fn i04_who_floods_the_store_harms_nobody() {
    let (init, folder) = (Init::start(&[]), tempfile::tempdir().unwrap());
    let script = r#"
import array, os, socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\0"))
while True:
    fds = [os.open("/dev/zero", os.O_RDONLY) for _ in range(60)]
    rights = array.array("i", fds)
    for text in (b"FDSTORE=1\nFDNAME=x", b"FDSTOREREMOVE=1\nFDNAME=x"):
        s.sendmsg([text], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    for fd in fds:
        os.close(fd)
"#;
    for n in 0..4 {
        let spec = json!({"exec": "python3", "args": ["-c", script], "fd_store_max": 16,
            "envs": {"PATH": std::env::var("PATH").unwrap()}});
        init.launch_job(&format!("flood-{n}"), &spec);
    }
    let report = folder.path().join("report");
    let mut spec = storer(&report, 8, &["keep=a:1", "keep=b:2", "keep=c:3", "exit=1"]);
    spec["restart"] = json!({"policy": "on-failure", "delay_ms": 0});
    init.launch_job("calm", &spec);
    wait::until("the second run", || (init.job("calm")["respawn"] == 1).then_some(()));
    assert_eq!(passed(&init, "calm", &report).0, ["a", "b", "c"]);
    // What is on its way is bounded for all together.
    for _ in 0..50 {
        let now = held(&init, "/dev/zero");
        assert!(now <= 4 * 16 + 4 * 60, "{now}");
    }
    for n in 0..4 {
        assert_eq!(init.put(&format!("/job/flood-{n}/stop")).status, 200);
        assert_eq!(init.delete(&format!("/job/flood-{n}")).status, 204);
    }
    wait::until("all to be closed", || (held(&init, "/dev/zero") == 0).then_some(()));
}

#[test]
fn i04_the_store_counts_among_what_init_keeps() {
    // Room for 128 descriptors in all.
    let mut command = std::process::Command::new("sh");
    let script = "ulimit -n 256; exec \"$0\" \"$@\"";
    command.args(["-c", script]).arg(jobinit_tests::binaries::program("init"));
    command.args(["--listen", "127.0.0.1:0"]);
    let (init, folder) = (Init::launch(command), tempfile::tempdir().unwrap());
    for n in 0..4 {
        let report = folder.path().join(format!("report-{n}"));
        init.launch_job(&format!("a-{n}"), &storer(&report, 60, &["many=60", "exit=0"]));
        init.wait_for(&format!("a-{n}"), "success");
    }
    // The last of them has one for its messages.
    holds(&init, 127);
    let spec = json!({"exec": "/bin/sleep", "args": ["60"],
        "fds": [{"name": "s", "listen": "tcp:127.0.0.1:0"},
                {"name": "t", "listen": "udp:127.0.0.1:0"}]});
    let answer = init.send("PUT", "/job/full", &spec);
    assert_eq!((answer.status, &answer.json()["errno"]), (503, &json!("EMFILE")), "{answer:?}");
    // Whoever is cleared makes room.
    assert_eq!(init.delete("/job/a-0").status, 204);
    init.launch_job("full", &spec);
}

#[test]
fn i04_a_socket_that_lingers_does_not_hold_init_up() {
    let script = r#"
import array, os, socket, struct
out = socket.create_connection(("127.0.0.1", int(os.environ["PORT"])))
out.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
out.setblocking(False)
try:
    while True:
        out.send(bytes(65536))
except BlockingIOError:
    pass
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\0"))
rights = array.array("i", [out.fileno()])
s.sendmsg([os.environ["TEXT"].encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
os._exit(0)
"#;
    // Somebody who never reads.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let init = Init::start(&[]);
    for (job, text) in [("stored", "FDSTORE=1"), ("closed", "READY=1")] {
        let spec = json!({"exec": "python3", "args": ["-c", script], "fd_store_max": 1,
            "envs": {"PATH": std::env::var("PATH").unwrap(), "TEXT": text,
                "PORT": silent.local_addr().unwrap().port().to_string()}});
        init.launch_job(job, &spec);
        // Its own close would linger too, so it is killed for good.
        init.wait_for(job, "success");
        assert_eq!(init.delete(&format!("/job/{job}")).status, 204);
        assert_eq!(init.get("/job/init").status, 200);
    }
}
