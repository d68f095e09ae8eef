//! proxyd: many clients at once, and what becomes of more than there may be.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use jobinit_tests::cost::anonymous;
use jobinit_tests::proxyd::{Backend, Client, Proxyd, binary, wait_for};
use jobinit_tests::tools;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Processor time that a process has used, in ticks of 10 ms.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Whether a client gets nothing within a moment.
fn waits(client: &mut Client) -> bool {
    client.stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let waits = client.try_answer(false).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    client.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    waits
}

const GET: &str = "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n";

#[test]
fn p10_connections_of_one_client() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    proxyd.put_front(
        r#"{"connections_per_client":3,"proxy_protocol":["127.0.0.8"],"trusted":["127.0.0.9"]}"#,
    );
    let mut three: Vec<Client> = (0..3).map(|_| proxyd.client()).collect();
    for client in &mut three {
        assert_eq!(client.get("/").text(), "ok");
    }
    let mut more = proxyd.client();
    let answer = more.answer();
    assert_eq!((answer.status, answer.field("connection").unwrap().as_str()), (429, "close"));
    assert!(more.is_closed());
    wait_for("its line in the log", || proxyd.access_log().contains(" 429 ").then_some(()));
    // Others are not concerned, and those who are there are served on.
    assert_eq!(proxyd.client_from("127.0.0.2").get("/").text(), "ok");
    for client in &mut three {
        assert_eq!(client.get("/").text(), "ok");
    }
    // Behind a load balancer each client counts by itself, and a trusted proxy does not count.
    let mut balanced = Vec::new();
    for (number, status) in [(1, 200), (1, 200), (1, 200), (1, 429), (2, 200)] {
        let mut client = proxyd.client_from("127.0.0.8");
        let _ = client.try_send(format!("PROXY TCP4 9.9.9.{number} 127.0.0.1 1 2\r\n{GET}"));
        assert_eq!(client.answer().status, status);
        balanced.push(client);
    }
    let mut trusted: Vec<Client> = (0..5).map(|_| proxyd.client_from("127.0.0.9")).collect();
    for client in &mut trusted {
        assert_eq!(client.get("/").text(), "ok");
    }
    three.pop();
    wait_for("a place", || {
        let mut client = proxyd.client();
        let _ = client.try_send(GET);
        client.try_answer(false).is_ok_and(|answer| answer.status == 200).then_some(())
    });
}

#[test]
fn p10_connections_in_all_wait_for_their_turn() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    proxyd.put_front(r#"{"connections":5}"#);
    let mut five: Vec<Client> = (0..5).map(|_| proxyd.client()).collect();
    for client in &mut five {
        assert_eq!(client.get("/").text(), "ok");
    }
    let mut late = proxyd.client();
    late.send(GET);
    assert!(waits(&mut late));
    for client in &mut five {
        assert_eq!(client.get("/").text(), "ok", "those who are there are served");
    }
    five.pop();
    assert_eq!(late.answer().text(), "ok");
    assert_eq!(proxyd.stderr().matches("as many as may be").count(), 1);
}

#[test]
fn p10_in_a_crowd_the_idle_make_room() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    proxyd.put_front(r#"{"connections":20}"#);
    let mut idle: Vec<Client> = (0..10).map(|_| proxyd.client()).collect();
    let mut used: Vec<Client> = (0..10).map(|_| proxyd.client()).collect();
    for client in idle.iter_mut().chain(&mut used) {
        assert_eq!(client.get("/").text(), "ok");
    }
    let mut late = proxyd.client();
    late.send(GET);
    late.stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let begin = Instant::now();
    wait_for("a place for one more", || {
        for client in &mut used {
            assert_eq!(client.get("/").text(), "ok", "whoever is not idle stays");
        }
        late.try_answer(false).ok()
    });
    let took = begin.elapsed();
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(15), "{took:?}");
    for client in &mut idle {
        assert!(client.is_closed());
    }
}

#[test]
fn p10_out_of_descriptors_those_who_are_there_are_served() {
    let backend = Backend::start(|_, out| {
        // Each on a connection of its own.
        write!(out, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")?;
        Ok(false)
    });
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 120; exec \"$0\" \"$@\""]).arg(binary("proxyd"));
    command.args(["--listen", "127.0.0.1:0", "--workers", "2", "--access-log", "/dev/null"]);
    command.arg("--control").arg(folder.path().join("control"));
    let proxyd = Proxyd::spawn(&mut command, folder);
    proxyd.put_route("app.test", "app");
    proxyd.put_target("app", "1", &backend.target());
    // 62 have room: three quarters of 120, less what the process needs in any case.
    let mut crowd: Vec<Client> = (0..62).map(|_| proxyd.client()).collect();
    for client in &mut crowd {
        assert_eq!(client.get("/").text(), "ok");
    }
    let mut late: Vec<Client> = (0..20).map(|_| proxyd.client()).collect();
    for client in &mut late {
        client.send(GET);
    }
    assert!(waits(&mut late[0]) && waits(&mut late[19]));
    let before = ticks(proxyd.pid());
    for _ in 0..3 {
        for client in &mut crowd {
            assert_eq!(client.get("/").text(), "ok", "there are descriptors for targets");
        }
    }
    assert!(waits(&mut late[10]));
    assert!(ticks(proxyd.pid()) - before < 100, "it must not spin");
    assert_eq!(proxyd.stderr().matches("new ones wait").count(), 1, "{}", proxyd.stderr());
    crowd.truncate(42);
    let begin = Instant::now();
    for client in &mut late {
        assert_eq!(client.answer().text(), "ok");
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

/// As many descriptors as this process may have.
fn raise_limit(wanted: u64) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(hard >= wanted, "this test needs {wanted} descriptors: raise `ulimit -Hn`");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

/// Whether all threads of a process are traced.
fn is_traced(pid: u32) -> bool {
    fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten().all(|task| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
    })
}

#[test]
fn who_asks_at_once_and_goes_is_not_watched() {
    const COUNT: usize = 50;
    if !tools::present(&["strace"]) {
        return;
    }
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    // The connections to the target are there then.
    let ask = || {
        let mut client = proxyd.client();
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n");
        assert_eq!(client.answer().text(), "ok");
        assert!(client.is_closed());
    };
    (0..20).for_each(|_| ask());
    let folder = tempfile::tempdir().unwrap();
    let calls = folder.path().join("calls");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-e", "trace=accept4,epoll_ctl", "-o"]).arg(&calls);
    strace.args(["-p", &proxyd.pid().to_string()]).stderr(Stdio::null());
    let mut strace = strace.spawn().unwrap();
    wait_for("strace to be attached", || is_traced(proxyd.pid()).then_some(()));
    (0..COUNT).for_each(|_| ask());
    kill(Pid::from_raw(strace.id().cast_signed()), Signal::SIGTERM).unwrap();
    strace.wait().unwrap();
    let calls = fs::read_to_string(calls).unwrap();
    let count = |call: &str| calls.matches(call).count();
    assert!(count("accept4(") >= COUNT, "{calls}");
    // Each that is watched takes two. Who was let in before he asked is, and who waits for long.
    assert!(count("epoll_ctl(") < 2 * COUNT, "{calls}");
}

/// What an idle connection may cost, in bytes: with a release build it is 1,400.
const IDLE: u64 = 1500;

#[test]
fn p10_ten_thousand_idle_connections() {
    const COUNT: u64 = 10_000;
    raise_limit(COUNT + 100);
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    // All code that will be used has been, before memory is looked at.
    assert_eq!(proxyd.client().get("/").text(), "ok");
    let empty = anonymous(proxyd.pid());
    let connect = |used: bool, before: &mut Vec<Client>| {
        for _ in 0..COUNT / 2 {
            let mut client = proxyd.client();
            if used {
                assert_eq!(client.get("/").text(), "ok");
            }
            before.push(client);
        }
        // The kernel has let them in before the proxy has.
        let open = || std::fs::read_dir(format!("/proc/{}/fd", proxyd.pid())).unwrap().count();
        wait_for("all to be let in", || (open() > before.len()).then_some(()));
        wait_for("all to be at rest", || {
            let now = anonymous(proxyd.pid());
            std::thread::sleep(Duration::from_millis(100));
            (anonymous(proxyd.pid()) == now).then_some(now)
        })
    };
    let mut crowd = Vec::new();
    // Half of them have never said a word.
    connect(false, &mut crowd);
    let full = connect(true, &mut crowd);
    let each = (full - empty) * 1024 / COUNT;
    println!("{empty} KiB empty, {full} KiB with {COUNT}: {each} bytes each");
    assert!(each < IDLE, "{each} bytes each");
    // Being used again and again, here and there, they do not cost more.
    let mut use_some = || {
        for client in crowd.iter_mut().step_by(7) {
            assert_eq!(client.get("/").text(), "ok");
        }
        anonymous(proxyd.pid())
    };
    let used = use_some();
    let each = (used - empty) * 1024 / COUNT;
    assert!(each < IDLE, "{each} bytes each once they are used");
    for round in 0..3 {
        let now = use_some();
        assert!(now < used + 1024, "{used} KiB, then {now} KiB after {round} more rounds");
    }
    let idle = ticks(proxyd.pid());
    std::thread::sleep(Duration::from_millis(500));
    assert!(ticks(proxyd.pid()) - idle <= 5, "idle connections are no work");
}

/// Answers one connection after the other with 101, and keeps them.
fn switching() -> (String, Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp:{}", listener.local_addr().unwrap());
    let (switched, coming) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                           Upgrade: websocket\r\n\r\n";
            stream.write_all(answer).unwrap();
            if switched.send(stream).is_err() {
                return;
            }
        }
    });
    (address, coming)
}

/// What an idle WebSocket may cost, in bytes, both its connections and all that is between them.
const TUNNEL: u64 = 40 * 1024;

#[test]
fn p10_five_thousand_websockets() {
    const COUNT: u64 = 5_000;
    raise_limit(2 * COUNT + 200);
    let (address, coming) = switching();
    let proxyd = Proxyd::with_target(&address);
    let switch = || {
        let mut client = proxyd.client();
        client.send(
            "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        assert_eq!(client.answer().status, 101);
        (client, coming.recv().unwrap())
    };
    let _first = switch();
    let empty = anonymous(proxyd.pid());
    let mut crowd: Vec<(Client, TcpStream)> = (0..COUNT).map(|_| switch()).collect();
    let full = anonymous(proxyd.pid());
    let each = (full - empty) * 1024 / COUNT;
    println!("{empty} KiB empty, {full} KiB with {COUNT}: {each} bytes each");
    assert!(each < TUNNEL, "{each} bytes each");
    let mut talk = || {
        for (client, target) in &mut crowd {
            client.send("there");
            let mut bytes = [0; 5];
            target.read_exact(&mut bytes).unwrap();
            target.write_all(&bytes).unwrap();
            assert_eq!(client.read_exact(5), b"there");
        }
        anonymous(proxyd.pid())
    };
    talk();
    let once = talk();
    let twice = talk();
    assert!(twice < once + 1024, "{once} KiB, then {twice} KiB: it grows");
}
