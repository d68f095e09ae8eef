//! proxyd: where listeners come from, how it ends, and how targets leave it.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use jobinit_tests::cost::of_files;
use jobinit_tests::proxyd::{Backend, Proxyd, binary, wait_for};
use jobinit_tests::tools;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A backend that answers when it is told to.
fn held() -> (Backend, impl Fn()) {
    let (go, going) = channel::<()>();
    let going = Mutex::new(going);
    let backend = Backend::start(move |_, out| {
        going.lock().unwrap().recv().unwrap();
        write!(out, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nheld")?;
        Ok(true)
    });
    (backend, move || go.send(()).unwrap())
}

#[test]
fn b23_listeners_passed_as_descriptors() {
    let backend = Backend::saying("passed");
    let folder = tempfile::tempdir().unwrap();
    let http = TcpListener::bind("127.0.0.1:0").unwrap();
    let control = UnixListener::bind(folder.path().join("control")).unwrap();
    let mut command = as_init(&http, &control, "$$", "http:control");
    command.args(["--access-log", "/dev/null"]);
    let address = http.local_addr().unwrap();
    let mut first = Proxyd::spawn(&mut command, folder);
    assert_eq!(first.address, address);
    first.put_route("app.test", "app");
    first.put_target("app", "1", &backend.target());
    assert_eq!(first.client().get("/").text(), "passed");
    first.signal(Signal::SIGTERM);
    assert_eq!(first.wait().code(), Some(0));
    // Between two generations a client waits in the backlog, and is served.
    let mut early = first.client();
    early.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    let mut command = as_init(&http, &control, "$$", "http:control");
    command.args(["--access-log", "/dev/null"]);
    let second = Proxyd::spawn(&mut command, tempfile::tempdir().unwrap());
    assert_eq!(early.answer().status, 404, "it has no routes yet, but it answers");
    assert_eq!(second.address, address);
}

/// proxyd as init starts it: the listeners at 3 and 4, described in the environment.
fn as_init(http: &TcpListener, control: &UnixListener, pid: &str, names: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("export LISTEN_PID={pid}; exec \"$0\" \"$@\""));
    command.arg(binary("proxyd"));
    command.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", names);
    let fds = [http.as_raw_fd(), control.as_raw_fd()];
    // SAFETY: only async-signal-safe calls, on descriptors that the caller holds open.
    unsafe {
        command.pre_exec(move || {
            // Out of the way first, so that neither is overwritten before it is in its place.
            let high = fds.map(|fd| libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 10));
            for (fd, place) in high.into_iter().zip([3, 4]) {
                if libc::dup2(fd, place) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    command
}

/// Who has the listener, too, can shut it down: then it has nothing but an error to say, again and again.
#[test]
fn a_listener_that_is_shut_down_is_looked_at_at_rest() {
    let folder = tempfile::tempdir().unwrap();
    let http = TcpListener::bind("127.0.0.1:0").unwrap();
    let control = UnixListener::bind(folder.path().join("control")).unwrap();
    let mut command = as_init(&http, &control, "$$", "http:control");
    command.args(["--access-log", "/dev/null"]);
    let proxyd = Proxyd::spawn(&mut command, folder);
    let mut client = proxyd.client();
    assert_eq!(client.get("/").status, 404);
    nix::sys::socket::shutdown(http.as_raw_fd(), nix::sys::socket::Shutdown::Both).unwrap();
    let before = ticks(&proxyd);
    std::thread::sleep(Duration::from_millis(500));
    assert!(ticks(&proxyd) - before < 20, "it must not spin");
    assert_eq!(client.get("/").status, 404);
}

#[test]
fn what_only_a_start_needs_is_let_go_of() {
    let proxyd = Proxyd::start();
    // The kernel maps six times as much while it starts.
    wait_for("its program to be unmapped", || (of_files(proxyd.pid()) < 3 << 10).then_some(()));
    let backend = Backend::saying("ok");
    proxyd.put_route("app.test", "app");
    proxyd.put_target("app", "1", &backend.target());
    assert_eq!(proxyd.client().get("/").text(), "ok", "what is used again comes back");
}

#[test]
fn who_speaks_no_tls_waits_for_no_randomness() {
    if !tools::present(&["strace"]) {
        return;
    }
    // Without a flag it waits until the kernel has something that nobody can guess: a second on a new machine.
    let waits = |listen: &str| {
        let folder = tempfile::tempdir().unwrap();
        let (calls, control) = (folder.path().join("calls"), folder.path().join("control"));
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-e", "trace=getrandom", "-o"]).arg(&calls).arg(binary("proxyd"));
        strace.args([listen, "127.0.0.1:0", "--control"]).arg(&control);
        let mut strace = strace.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(strace.stderr.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("listening")));
        let children = format!("/proc/{0}/task/{0}/children", strace.id());
        let proxyd = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
        kill(Pid::from_raw(proxyd), Signal::SIGTERM).unwrap();
        strace.wait().unwrap();
        let calls = std::fs::read_to_string(&calls).unwrap();
        assert!(calls.contains("getrandom("), "{calls}");
        calls.lines().filter(|line| line.contains(", 0)")).count()
    };
    assert!(waits("--listen-tls") > 0);
    assert_eq!(waits("--listen"), 0);
}

/// Hundredths of a second that it has worked for.
fn ticks(proxyd: &Proxyd) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", proxyd.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn wrong_listeners_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let http = TcpListener::bind("127.0.0.1:0").unwrap();
    let control = UnixListener::bind(folder.path().join("control")).unwrap();
    let said = |command: &mut Command| {
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (pid, names, part) in [
        ("$$", "control:http", "not a listening unix socket"),
        ("$$", "http:https", "named `https`"),
        ("$$", "http", "named ``"),
        ("1", "http:control", "nothing to listen on"),
        ("x", "http:control", "is not a number"),
    ] {
        let (code, stderr) = said(&mut as_init(&http, &control, pid, names));
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains(part), "{names} {pid}: {stderr}");
    }
    let (code, stderr) =
        said(as_init(&http, &control, "$$", "http:control").env("LISTEN_FDS", "9"));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("not a socket"), "{stderr}");
    let proxyd = || Command::new(binary("proxyd"));
    let (code, stderr) = said(&mut proxyd());
    assert_eq!((code, stderr.contains("--listen")), (Some(2), true), "{stderr}");
    let (code, stderr) = said(proxyd().args(["--listen", "127.0.0.1:0"]));
    assert_eq!((code, stderr.contains("--control")), (Some(2), true), "{stderr}");
    let address = http.local_addr().unwrap().to_string();
    let (code, stderr) = said(proxyd().args(["--listen", &address, "--control", "/x/y"]));
    assert_eq!((code, stderr.contains("cannot listen")), (Some(2), true), "{stderr}");
    // A control socket that somebody listens on is not taken away.
    let path = folder.path().join("control");
    let command = &mut proxyd();
    command.args(["--listen", "127.0.0.1:0", "--control"]).arg(&path);
    let (code, stderr) = said(command);
    assert_eq!((code, stderr.contains("another process")), (Some(2), true), "{stderr}");
}

#[test]
fn p03_term_drains() {
    let (backend, release) = held();
    let mut proxyd = Proxyd::with_target(&backend.target());
    let mut slow = proxyd.client();
    slow.send("GET /slow HTTP/1.1\r\nHost: app.test\r\n\r\n");
    wait_for("the slow request at the backend", || (backend.seen().len() == 1).then_some(()));
    let mut idle = proxyd.client();
    release();
    assert_eq!(slow.answer().text(), "held");
    slow.send("GET /slow HTTP/1.1\r\nHost: app.test\r\n\r\n");
    wait_for("the slow request at the backend", || (backend.seen().len() == 2).then_some(()));
    idle.send("GET /first HTTP/1.1\r\nHost: unknown.test\r\n\r\n");
    assert_eq!(idle.answer().field("connection"), None);
    proxyd.signal(Signal::SIGTERM);
    wait_for("no listener any more", || TcpStream::connect(proxyd.address).err());
    // A connection that was idle gets one more answer.
    idle.send("GET /last HTTP/1.1\r\nHost: unknown.test\r\n\r\n");
    let answer = idle.answer();
    assert_eq!((answer.status, answer.field("connection").unwrap().as_str()), (404, "close"));
    assert!(proxyd.is_running());
    release();
    let answer = slow.answer();
    assert_eq!(answer.text(), "held");
    assert_eq!(answer.field("connection").unwrap(), "close");
    assert_eq!(proxyd.wait().code(), Some(0));
}

#[test]
fn the_grace_is_an_end() {
    let (backend, _release) = held();
    let mut proxyd = Proxyd::start_with(&["--grace", "1"]);
    proxyd.put_route("app.test", "app");
    proxyd.put_target("app", "1", &backend.target());
    let mut client = proxyd.client();
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    wait_for("the request at the backend", || (backend.seen().len() == 1).then_some(()));
    proxyd.signal(Signal::SIGTERM);
    assert_eq!(proxyd.wait().code(), Some(0));
    assert!(client.try_answer(false).is_err());
}

#[test]
fn a_second_signal_ends_at_once() {
    let (backend, _release) = held();
    let mut proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    wait_for("the request at the backend", || (backend.seen().len() == 1).then_some(()));
    proxyd.signal(Signal::SIGINT);
    wait_for("the drain", || proxyd.stderr().contains("draining").then_some(()));
    proxyd.signal(Signal::SIGINT);
    assert_eq!(proxyd.wait().code(), Some(0));
}

#[test]
fn p04_retire_waits_for_what_is_in_flight() {
    let (old, release) = held();
    let new = Backend::saying("new");
    let proxyd = Proxyd::with_target(&old.target());
    let mut client = proxyd.client();
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    wait_for("the request at the backend", || (old.seen().len() == 1).then_some(()));
    assert_eq!(proxyd.state().services["app"].targets["1"].in_flight, 1);
    proxyd.put_target("app", "2", &new.target());
    assert_eq!(proxyd.delete_target("app", "1", 50).left, 1, "the grace is over");
    assert!(proxyd.state().services["app"].targets["1"].retired);
    for _ in 0..20 {
        assert_eq!(proxyd.client().get("/").text(), "new");
    }
    release();
    assert_eq!(client.answer().text(), "held");
    wait_for("the old target gone", || {
        (!proxyd.state().services["app"].targets.contains_key("1")).then_some(())
    });
    wait_for("its connection closed", || (old.open_connections() == 0).then_some(()));
    assert_eq!(old.seen().len(), 1);
}

#[test]
fn p04_retire_under_load_loses_nothing() {
    let mut backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let address = proxyd.address;
    let clients: Vec<_> = (0..6)
        .map(|number| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            thread::spawn(move || {
                let mut client = jobinit_tests::proxyd::Client::connect(address);
                while !stop.load(Ordering::SeqCst) {
                    let answer = if number % 2 == 0 {
                        client.get("/")
                    } else {
                        client.send(
                            "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1\r\n\r\nx",
                        );
                        client.answer()
                    };
                    assert_eq!(answer.text(), "ok");
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for round in 0..30 {
        let (old_name, new_name) = (format!("{}", round + 1), format!("{}", round + 2));
        let before = answered.load(Ordering::SeqCst);
        let next = Backend::saying("ok");
        proxyd.put_target("app", &new_name, &next.target());
        assert_eq!(proxyd.delete_target("app", &old_name, 10_000).left, 0);
        // From here on the old one is never asked again, and nothing is kept open to it.
        let asked = backend.seen().len();
        wait_for("its connections closed", || (backend.open_connections() == 0).then_some(()));
        wait_for("some load", || (answered.load(Ordering::SeqCst) > before + 50).then_some(()));
        assert_eq!(backend.seen().len(), asked);
        backend = next;
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.join().expect("no client may lose a request");
    }
}

#[test]
fn out_of_descriptors_it_waits_and_recovers() {
    let backend = Backend::saying("ok");
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 40; exec \"$0\" \"$@\""]).arg(binary("proxyd"));
    command.args(["--listen", "127.0.0.1:0", "--workers", "1", "--access-log", "/dev/null"]);
    command.arg("--control").arg(folder.path().join("control"));
    let proxyd = Proxyd::spawn(&mut command, folder);
    proxyd.put_route("app.test", "app");
    proxyd.put_target("app", "1", &backend.target());
    let mut crowd: Vec<_> = (0..60).map(|_| proxyd.client()).collect();
    let mut late = crowd.pop().unwrap();
    late.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    let before = ticks(&proxyd);
    late.stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(late.try_answer(false).is_err(), "there is no descriptor for it yet");
    assert!(ticks(&proxyd) - before < 20, "it must not spin");
    drop(crowd);
    late.stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(late.answer().text(), "ok");
}
