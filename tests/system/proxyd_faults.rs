//! proxyd: what the system does not give, and what nobody reads, holds nobody up and ends nothing.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use jobinit_tests::proxyd::{Answer, Client, DEADLINE, Proxyd, binary, wait_for};
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
    let said = proxyd.stderr();
    assert_eq!(said.matches("access log").count(), 1, "once: {said}");
    assert!(said.contains("lines are lost: No space left on device"), "{said}");
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
