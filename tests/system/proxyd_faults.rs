//! proxyd: what the system does not give, and what nobody reads, holds nobody up and ends nothing.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use jobinit_tests::proxyd::{Answer, Backend, Client, DEADLINE, Proxyd, binary, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The value of a line of the metrics.
fn metric(proxyd: &Proxyd, name: &str) -> u64 {
    let text = proxyd.control("GET", "/metrics", "", "").text();
    let value =
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// proxyd with one worker and its log elsewhere.
fn logging_to(log: &Path) -> Proxyd {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary("proxyd"));
    command.args(["--listen", "127.0.0.1:0", "--workers", "2", "--access-log"]).arg(log);
    command.arg("--control").arg(folder.path().join("control"));
    Proxyd::spawn(&mut command, folder)
}

/// Asks often enough, with targets long enough, for a pipe and all batches to be full.
fn fill_the_log(proxyd: &Proxyd) {
    let target = format!("/{}", "x".repeat(8000));
    let begin = Instant::now();
    let mut client = proxyd.client();
    for _ in 0..700 {
        assert_eq!(client.get(&target).status, 404);
    }
    assert!(begin.elapsed() < DEADLINE, "it took {:?}", begin.elapsed());
}

#[test]
fn o20_a_log_that_nobody_reads_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    nix::unistd::mkfifo(&log, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _reader = File::options().read(true).write(true).open(&log).unwrap();
    let mut proxyd = logging_to(&log);
    fill_the_log(&proxyd);
    wait_for("lines to be lost", || {
        (metric(&proxyd, "proxyd_access_log_lost_lines_total") > 0).then_some(())
    });
    // What rotates logs does not know that. It must not take the thread that hears signals with it.
    proxyd.signal(Signal::SIGUSR1);
    proxyd.signal(Signal::SIGHUP);
    assert_eq!(proxyd.client().get("/").status, 404);
    proxyd.signal(Signal::SIGTERM);
    assert_eq!(proxyd.wait().code(), Some(0));
}

#[test]
fn o20_a_pipe_without_a_reader_is_no_reason_to_wait() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    nix::unistd::mkfifo(&log, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let proxyd = logging_to(&log);
    assert_eq!(proxyd.client().get("/early").status, 404);
    let mut reader =
        File::options().read(true).custom_flags(nix::libc::O_NONBLOCK).open(&log).unwrap();
    let mut text = String::new();
    wait_for("the line", || {
        let mut piece = [0; 4096];
        let count = reader.read(&mut piece).unwrap_or(0);
        text.push_str(&String::from_utf8_lossy(&piece[..count]));
        text.contains("GET /early").then_some(())
    });
}

#[test]
fn o20_lines_that_a_full_disk_does_not_take_are_counted() {
    let proxyd = logging_to(Path::new("/dev/full"));
    let mut client = proxyd.client();
    for _ in 0..10 {
        assert_eq!(client.get("/").status, 404);
    }
    wait_for("ten lines to be lost", || {
        (metric(&proxyd, "proxyd_access_log_lost_lines_total") == 10).then_some(())
    });
    let said = wait_for("it to be said", || {
        Some(proxyd.stderr())
            .filter(|said| said.contains("lines are lost: No space left on device"))
    });
    assert_eq!(said.matches("access log").count(), 1, "once: {said}");
}

/// proxyd whose standard error is this, serving by an empty file. It says where it listens there, so
/// that is found out otherwise.
fn saying_to(stderr: impl Into<Stdio>, folder: &Path) -> (Child, SocketAddr) {
    std::fs::write(folder.join("proxyd.toml"), "").unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new(binary("proxyd"));
    command.arg("--listen").arg(address.to_string()).args(["--access-log", "/dev/null"]);
    command.arg("--config").arg(folder.join("proxyd.toml"));
    let child = command.stderr(stderr).spawn().unwrap();
    // It hears signals when it answers.
    wait_for("it to listen", || TcpStream::connect(address).ok());
    assert_eq!(Client::connect(address).get("/").status, 404);
    (child, address)
}

/// Has it say something, then tells it to stop.
fn hears_signals(mut child: Child, address: SocketAddr) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    for _ in 0..3 {
        kill(pid, Signal::SIGHUP).unwrap();
    }
    assert_eq!(Client::connect(address).get("/").status, 404);
    kill(pid, Signal::SIGTERM).unwrap();
    let ended = wait_for("its end", || child.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn whoever_read_what_it_says_may_go() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let (child, address) = saying_to(writer, folder.path());
    hears_signals(child, address);
}

#[test]
fn whoever_reads_what_it_says_may_sleep() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let (child, address) = saying_to(writer.try_clone().unwrap(), folder.path());
    let flags = nix::fcntl::OFlag::O_NONBLOCK;
    nix::fcntl::fcntl(writer.as_fd(), nix::fcntl::FcntlArg::F_SETFL(flags)).unwrap();
    while writer.write(&[b'x'; 1024]).is_ok() {}
    while writer.write(b"x").is_ok() {}
    nix::fcntl::fcntl(writer.as_fd(), nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty()))
        .unwrap();
    hears_signals(child, address);
    drop(reader);
}

#[test]
fn the_control_socket_replaces_nothing_but_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxyd.toml");
    std::fs::write(&path, "precious").unwrap();
    let mut command = Command::new(binary("proxyd"));
    command.args(["--listen", "127.0.0.1:0", "--control"]).arg(&path);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("which is not a socket") && said.contains("--control"), "{said}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

/// Connections that say nothing to those who watch take only so many descriptors, for so long.
#[test]
fn o24_watchers_cannot_take_the_descriptors() {
    let proxyd = Proxyd::start_with(&["--monitor", "127.0.0.1:0"]);
    let address: SocketAddr = wait_for("where it is watched", || {
        let text = proxyd.stderr();
        text.lines().find_map(|line| line.split_once("probes are on ")?.1.parse().ok())
    });
    let open = || std::fs::read_dir(format!("/proc/{}/fd", proxyd.pid())).unwrap().count();
    // By then each thread has what it needs.
    assert_eq!(proxyd.client().get("/").status, 404);
    assert_eq!(metric(&proxyd, "proxyd_serving"), 1);
    let before = open();
    let silent: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    wait_for("some of them to be let in", || (open() > before + 50).then_some(()));
    assert!(open() <= before + 70, "{} more", open() - before);
    // Whoever asks has his turn when those have had theirs.
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(2 * DEADLINE)).unwrap();
    stream.write_all(b"GET /ready HTTP/1.1\r\nHost: watch\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert_eq!(Answer::parse(&bytes).status, 200);
    drop(silent);
}

/// proxyd with a file for its state in a file system of its own, of so many bytes.
fn on_a_small_disk(bytes: u32) -> (Proxyd, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mut command = Command::new("unshare");
    let mount = format!("mount -t tmpfs -o size={bytes} none \"$0\" && exec \"$@\"");
    command.args(["-m", "sh", "-c", &mount]).arg(&disk).arg(binary("proxyd"));
    command.args(["--listen", "127.0.0.1:0", "--workers", "2", "--access-log", "/dev/null"]);
    command.arg("--control").arg(folder.path().join("control"));
    command.arg("--state").arg(disk.join("state"));
    let proxyd = Proxyd::spawn(&mut command, folder);
    // Seen from inside.
    let disk = Path::new("/proc")
        .join(proxyd.pid().to_string())
        .join("root")
        .join(disk.strip_prefix("/").unwrap());
    (proxyd, disk)
}

fn status(proxyd: &Proxyd) -> proxyd_wire::Status {
    serde_json::from_slice(&proxyd.control("GET", "/status", "", "").body).unwrap()
}

#[test]
fn a_full_disk_keeps_the_snapshot_that_was_there() {
    let (proxyd, disk) = on_a_small_disk(64 * 1024);
    let state = disk.join("state");
    let written = |what: &str| {
        std::fs::read_to_string(&state).is_ok_and(|text| text.contains(what)).then_some(())
    };
    proxyd.put_route("first.test", "app");
    wait_for("the first snapshot", || written("first.test"));
    std::fs::write(disk.join("ballast"), vec![0; 50 * 1024]).unwrap();
    let page = "x".repeat(30_000);
    let large = format!(r#"{{"service":"app","error_pages":{{"502":{{"html":"{page}"}}}}}}"#);
    assert_eq!(proxyd.put("/routes/second.test", &large).status, 201);
    wait_for("the failure to be told", || status(&proxyd).snapshot_failing.then_some(()));
    assert_eq!(metric(&proxyd, "proxyd_snapshot_failing"), 1);
    wait_for("it to be said", || {
        proxyd.stderr().contains("and will be tried again: No space left").then_some(())
    });
    // Changes are made all the same, the last whole picture is there, and no half one beside it.
    assert_eq!(proxyd.client().get("/").status, 404);
    assert!(proxyd.state().routes.contains_key("second.test"));
    assert!(written("first.test").is_some() && written("second.test").is_none());
    let left: Vec<_> = std::fs::read_dir(&disk).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    std::fs::remove_file(disk.join("ballast")).unwrap();
    wait_for("the snapshot with both", || written("second.test"));
    wait_for("that to be told", || (!status(&proxyd).snapshot_failing).then_some(()));
}

#[test]
fn a_control_socket_that_cannot_be_made_is_explained() {
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", "mount -t tmpfs -o ro none /mnt && exec \"$0\" \"$@\""]);
    command.arg(binary("proxyd")).args(["--listen", "127.0.0.1:0", "--control", "/mnt/control"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("/mnt/control: Read-only file system") && said.contains("--control"),
        "{said}"
    );
}

/// Whatever moment it is killed at, the next one goes on with a whole picture, and not with an old one.
#[test]
fn a_kill_in_the_middle_of_a_snapshot_loses_no_more_than_a_moment() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state").display().to_string();
    let page = "x".repeat(60_000);
    let mut seen = 0;
    for round in 0_u32..8 {
        let proxyd = Proxyd::start_with(&["--state", &state]);
        let there = proxyd.state();
        assert!(!proxyd.stderr().contains("damaged"), "{}", proxyd.stderr());
        assert!(there.generation >= seen && there.routes.len() as u64 == there.generation);
        // Large enough for the writing to take a while.
        for number in 0..6 {
            let large = format!(r#"{{"service":"a","error_pages":{{"5xx":{{"html":"{page}"}}}}}}"#);
            let path = format!("/routes/h{round}-{number}.test");
            assert_eq!(proxyd.put(&path, &large).status, 201);
        }
        let text = || std::fs::read_to_string(&state).unwrap_or_default();
        let has = |text: &str| (text.len() as u64) / 60_000;
        wait_for("a part of it on the disk", || (has(&text()) > there.generation).then_some(()));
        seen = has(&text());
        std::thread::sleep(std::time::Duration::from_millis(u64::from(round * 7)));
        proxyd.signal(Signal::SIGKILL);
    }
}

#[test]
fn of_two_who_change_at_once_one_is_told_that_he_is_late() {
    let proxyd = Proxyd::start();
    let made = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for who in 0..2 {
            let (proxyd, made) = (&proxyd, &made);
            scope.spawn(move || {
                let mut number = 0;
                while number < 40 {
                    let tag = proxyd.control("GET", "/state", "", "").field("etag").unwrap();
                    let fields = format!("Content-Type: application/json\r\nIf-Match: {tag}\r\n");
                    let path = format!("/routes/w{who}-{number}.test");
                    let put = proxyd.control("PUT", &path, &fields, r#"{"service":"a"}"#);
                    match put.status {
                        201 => {
                            made.fetch_add(1, Ordering::SeqCst);
                            number += 1;
                        }
                        412 => {}
                        _ => panic!("{put:?}"),
                    }
                }
            });
        }
    });
    let state = proxyd.state();
    assert_eq!(made.into_inner(), 80);
    assert_eq!(
        (state.routes.len(), state.generation),
        (80, 80),
        "each change is one, and none is lost"
    );
}

#[test]
fn ten_thousand_routes_and_no_more() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::start();
    let target = backend.target();
    let mut config = serde_json::json!({ "routes": {}, "services": {} });
    for number in 0..10_000 {
        config["routes"][format!("h{number}.test")] =
            serde_json::json!({ "service": format!("s{number}") });
        config["services"][format!("s{number}")] =
            serde_json::json!({ "targets": { "1": { "address": target } } });
    }
    let begin = Instant::now();
    assert_eq!(proxyd.put("/config", &config.to_string()).status, 204);
    let took = begin.elapsed();
    let mut client = proxyd.client();
    let mut ask = |number: u32| {
        client.send(format!("GET / HTTP/1.1\r\nHost: h{number}.test\r\n\r\n"));
        client.answer().status
    };
    for number in [0, 4711, 9999] {
        assert_eq!(ask(number), 200);
    }
    assert_eq!(ask(10_000), 404);
    let one = proxyd.put("/routes/more.test", r#"{"service":"s1"}"#);
    assert_eq!((one.status, one.error().error.as_str()), (409, "full"));
    config["routes"]["more.test"] = serde_json::json!({ "service": "s1" });
    let all = proxyd.put("/config", &config.to_string());
    assert_eq!(all.status, 400, "{}", all.text());
    assert!(all.error().message.contains("more than 10000 routes"), "{}", all.text());
    // A change of one is a change of one.
    let begin_one = Instant::now();
    assert_eq!(proxyd.control("DELETE", "/routes/h17.test", "", "").status, 204);
    let took_one = begin_one.elapsed();
    assert_eq!((ask(17), ask(18)), (404, 200));
    println!("all in {took:?}, one more in {took_one:?}");
    assert!(took < DEADLINE / 2 && took_one < DEADLINE / 4, "{took:?} {took_one:?}");
    // Counted when the last byte is out, which a client may have read before.
    let metrics = wait_for("it to be counted", || {
        let text = proxyd.control("GET", "/metrics", "", "").text();
        text.contains("route=\"h18.test\"").then_some(text)
    });
    assert!(!metrics.contains("route=\"h19.test\""), "who was never asked has nothing to tell");
}

/// Requests without an end have all descriptors that requests can have. Whoever deploys gets in all the
/// same, and what he says is done.
#[test]
fn p04_a_deploy_needs_no_descriptor_of_a_client_s() {
    let old = Backend::raw(|mut connection| {
        connection.request();
        while connection.more().is_some() {}
    });
    let new = Backend::saying("new");
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 90; exec \"$0\" \"$@\""]).arg(binary("proxyd"));
    command.args(["--listen", "127.0.0.1:0", "--workers", "2", "--access-log", "/dev/null"]);
    command.arg("--control").arg(folder.path().join("control")).arg("--state").arg(&state);
    let proxyd = Proxyd::spawn(&mut command, folder);
    proxyd.put_route("app.test", "app");
    proxyd.put_target("app", "1", &old.target());
    let mut crowd: Vec<Client> = (0..80).map(|_| proxyd.client()).collect();
    for client in &mut crowd {
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    }
    wait_for("as many at the app as there can be", || (old.seen().len() >= 10).then_some(()));
    // Who finds no descriptor for his request, asks again.
    let crowded = Arc::new(AtomicBool::new(true));
    let others: Vec<_> = (0..4)
        .map(|_| {
            let (crowded, address) = (Arc::clone(&crowded), proxyd.address);
            std::thread::spawn(move || {
                while crowded.load(Ordering::SeqCst) {
                    let mut client = Client::connect(address);
                    client.send("GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n");
                    let short = std::time::Duration::from_millis(100);
                    client.stream.set_read_timeout(Some(short)).unwrap();
                    let _ = client.try_answer(false);
                }
            })
        })
        .collect();
    let begin = Instant::now();
    proxyd.put_target("app", "2", &new.target());
    assert!(proxyd.delete_target("app", "1", 0).left >= 10);
    let took = begin.elapsed();
    crowded.store(false, Ordering::SeqCst);
    for other in others {
        other.join().unwrap();
    }
    assert!(took < DEADLINE / 4, "it took {took:?}");
    wait_for("the snapshot of it", || {
        std::fs::read_to_string(&state).is_ok_and(|text| !text.contains("\"1\":")).then_some(())
    });
    drop(crowd);
    wait_for("the new one to answer", || (proxyd.client().get("/").text() == "new").then_some(()));
}

#[test]
fn a_config_file_that_hangs_keeps_nobody_from_stopping() {
    let folder = tempfile::tempdir().unwrap();
    let (child, address) = saying_to(Stdio::null(), folder.path());
    let path = folder.path().join("proxyd.toml");
    std::fs::remove_file(&path).unwrap();
    // Opening it waits for somebody who writes.
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    hears_signals(child, address);
}
