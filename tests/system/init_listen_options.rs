//! Kinds and options of the sockets that init keeps for jobs, and who is in their way.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::Path;

use jobinit_tests::http::Answer;
use jobinit_tests::init::Init;
use jobinit_tests::wait;
use serde_json::{Value, json};

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A job that sleeps, with a socket of these fields.
fn sleeper(fd: &Value) -> Value {
    let mut fd = fd.clone();
    fd["name"] = json!("s");
    json!({"exec": "/bin/sleep", "args": ["600"], "fds": [fd]})
}

fn python(script: &str, fd: &Value) -> Value {
    let mut spec = sleeper(fd);
    spec["exec"] = json!("python3");
    spec["args"] = json!(["-c", script]);
    spec["envs"] = json!({"PATH": std::env::var("PATH").unwrap()});
    spec
}

fn put(init: &Init, id: &str, fd: &Value) -> Answer {
    init.send("PUT", &format!("/job/{id}"), &sleeper(fd))
}

#[track_caller]
fn assert_in_use(answer: &Answer, says: &[&str]) {
    let error = answer.json();
    assert_eq!((answer.status, &error["errno"]), (409, &json!("EADDRINUSE")), "{error}");
    for part in says {
        assert!(error["message"].as_str().unwrap().contains(part), "{part:?}: {error}");
    }
}

#[test]
fn b23_datagrams_between_two_generations_are_read_by_the_next() {
    let (init, folder) = (Init::start(&[]), tempfile::tempdir().unwrap());
    let script = "import socket\n\
        s = socket.socket(fileno=3); assert s.type == socket.SOCK_DGRAM\n\
        text, back = s.recvfrom(99); s.sendto(text[::-1], back)\n";
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    init.launch_job("udp", &python(script, &json!({"listen": format!("udp:{port}")})));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(port).unwrap();
    client.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    let path = folder.path().join("sock");
    let unix = format!("unix-dgram:{}", path.display());
    init.launch_job("unix", &python(script, &json!({"listen": unix})));
    let local = UnixDatagram::bind(folder.path().join("back")).unwrap();
    local.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    for (text, back) in [(b"abc", b"cba"), (b"def", b"fed")] {
        let mut answer = [0; 3];
        client.send(text).unwrap();
        local.send_to(text, &path).unwrap();
        for job in ["udp", "unix"] {
            // In the second round, nobody runs when they are sent.
            init.put(&format!("/job/{job}/start"));
        }
        client.recv_exact_into(&mut answer);
        assert_eq!(&answer, back);
        local.recv(&mut answer).unwrap();
        assert_eq!(&answer, back);
        init.wait_for("udp", "success");
        init.wait_for("unix", "success");
    }
    assert_eq!(init.delete("/job/udp").status, 204);
    drop(UdpSocket::bind(port).unwrap());
    assert_eq!(init.delete("/job/unix").status, 204);
    assert!(!path.exists());
}

trait Receives {
    fn recv_exact_into(&self, buffer: &mut [u8]);
}

impl Receives for UdpSocket {
    fn recv_exact_into(&self, buffer: &mut [u8]) {
        assert_eq!(self.recv(buffer).unwrap(), buffer.len());
    }
}

#[test]
fn b23_an_abstract_socket_is_kept() {
    let init = Init::start(&[]);
    let name = format!("jobinit-test-{}", init.pid());
    let address = UnixAddr::from_abstract_name(&name).unwrap();
    let fd = json!({"listen": format!("unix:@{name}")});
    init.launch_job("a", &sleeper(&fd));
    drop(UnixStream::connect_addr(&address).unwrap());
    // Two that name it share it.
    init.launch_job("b", &sleeper(&fd));
    assert_eq!(init.put("/job/a/stop").status, 200);
    assert_eq!(init.delete("/job/a").status, 204);
    drop(UnixStream::connect_addr(&address).unwrap());
    let other = Init::start(&[]);
    assert_in_use(
        &put(&other, "c", &fd),
        &[&format!("listen on unix:@{name} failed"), "init (pid "],
    );
    assert_eq!(init.put("/job/b/stop").status, 200);
    assert_eq!(init.delete("/job/b").status, 204);
    assert!(UnixStream::connect_addr(&address).is_err());
    drop(UnixListener::bind_addr(&address).unwrap());
}

#[test]
fn b23_a_backlog_is_as_long_as_it_says() {
    let init = Init::start(&[]);
    let (short, long) = (free_port(), free_port());
    init.launch_job("a", &sleeper(&json!({"listen": format!("tcp:{short}"), "backlog": 5})));
    init.launch_job("b", &sleeper(&json!({"listen": format!("tcp:{long}"), "backlog": 65535})));
    let shown = std::process::Command::new("ss").args(["-ltnH"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let backlog = |port: SocketAddr| -> u32 {
        let port = port.to_string();
        let line = shown.lines().find(|line| line.contains(&port)).unwrap();
        line.split_whitespace().nth(2).unwrap().parse().unwrap()
    };
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let most: u32 = most.trim().parse().unwrap();
    assert_eq!((backlog(short), backlog(long)), (5, most.min(65_535)));
}

#[test]
fn b23_a_port_can_be_shared_with_others_on_request() {
    let init = Init::start(&[]);
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (protocol, port) in [("tcp", free_port()), ("udp", udp)] {
        let other = Init::start(&[]);
        let listen = format!("{protocol}:{port}");
        let fd = json!({"listen": listen, "reuse_port": true});
        init.launch_job(protocol, &sleeper(&fd));
        other.launch_job(protocol, &sleeper(&fd));
        // Only with those who say so, too.
        assert_in_use(&put(&Init::start(&[]), "x", &json!({"listen": listen})), &["init (pid "]);
    }
}

#[test]
fn b23_ipv4_may_be_left_to_others() {
    let init = Init::start(&[]);
    let port = free_port().port();
    let six = format!("tcp:[::]:{port}");
    init.launch_job("six", &sleeper(&json!({"listen": six, "v6_only": true})));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    drop(TcpStream::connect(("::1", port)).unwrap());
    init.launch_job("four", &sleeper(&json!({"listen": format!("tcp:0.0.0.0:{port}")})));
    drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
    // Without, one has both.
    let port = free_port().port();
    init.launch_job("both", &sleeper(&json!({"listen": format!("tcp:[::]:{port}")})));
    drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
    let answer = put(&init, "more", &json!({"listen": format!("tcp:127.0.0.1:{port}")}));
    assert_in_use(&answer, &["kept for job `both`", &format!("tcp:[::]:{port}")]);
}

#[test]
fn b23_a_socket_file_has_its_mode_and_owner() {
    let (init, folder) = (Init::start(&[]), tempfile::tempdir().unwrap());
    let file = |name: &str| folder.path().join(name);
    let listen = |path: &Path| format!("unix:{}", path.display());
    let look = |path: &Path| {
        let meta = std::fs::metadata(path).unwrap();
        (meta.permissions().mode() & 0o7777, meta.uid(), meta.gid())
    };
    let [a, b, c] = ["a", "b", "c"].map(file);
    init.launch_job("a", &sleeper(&json!({"listen": listen(&a), "mode": "0666"})));
    assert_eq!(look(&a), (0o666, 0, 0));
    let fd = json!({"listen": listen(&b), "mode": "660", "user": "daemon", "group": 7});
    init.launch_job("b", &sleeper(&fd));
    assert_eq!(look(&b), (0o660, 1, 7));
    let fd = json!({"listen": listen(&c), "user": "daemon"});
    init.launch_job("c", &sleeper(&fd));
    assert_eq!(look(&c), (0o600, 1, 1));
    assert_eq!(init.put("/job/c/stop").status, 200);
    assert_eq!(init.delete("/job/c").status, 204);
    assert!(!c.exists());
}

#[test]
fn b23_only_root_gives_a_socket_file_away() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let program = folder.path().join("init");
    std::fs::copy(jobinit_tests::binaries::program("init"), &program).unwrap();
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg(program).args(["--listen", "127.0.0.1:0", "--grant", "0:control"]);
    let init = Init::launch(command);
    let path = folder.path().join("sock");
    let fd = json!({"listen": format!("unix:{}", path.display()), "user": 65534, "group": 65534});
    assert_eq!(put(&init, "own", &fd).status, 201);
    assert_eq!(std::fs::metadata(&path).unwrap().uid(), 65534);
    let path = folder.path().join("other");
    let fd = json!({"listen": format!("unix:{}", path.display()), "user": 1, "group": 1});
    let answer = put(&init, "other", &fd);
    assert_eq!((answer.status, &answer.json()["errno"]), (400, &json!("EPERM")), "{answer:?}");
    assert!(answer.body.contains("only root"), "{answer:?}");
    assert!(!path.exists(), "what could not be given away is removed");
}

#[test]
fn b23_bad_options_are_refused_by_name() {
    let init = Init::start(&[]);
    for (fd, field) in [
        (json!({"listen": "udp:127.0.0.1:5", "backlog": 5}), "fds.backlog"),
        (json!({"listen": "tcp:127.0.0.1:5", "backlog": 65536}), "fds.backlog"),
        (json!({"listen": "unix:@x", "mode": "0600"}), "fds.mode"),
        (json!({"listen": "unix:/x", "user": "nosuch"}), "fds.user"),
        (json!({"listen": "tcp:127.0.0.1:5", "v6_only": true}), "fds.v6_only"),
        (json!({"listen": "tcp:127.0.0.1:5", "backlog": "5"}), "fds[0].backlog"),
        (json!({"listen": "tcp:127.0.0.1:5", "keepalive": true}), "fds[0].keepalive"),
    ] {
        let answer = put(&init, "a", &fd);
        assert_eq!((answer.status, &answer.json()["field"]), (400, &json!(field)), "{answer:?}");
    }
}

#[test]
fn b23_who_names_a_socket_with_other_options_is_told_whose_it_is() {
    let init = Init::start(&[]);
    let port = free_port();
    let fd = json!({"listen": format!("tcp:{port}"), "backlog": 5});
    init.launch_job("first", &sleeper(&fd));
    let other = json!({"listen": format!("tcp:{port}")});
    let says = ["job `first` has it opened with another `backlog`", &format!("tcp:{port}")];
    assert_in_use(&put(&init, "second", &other), &says);
    // Also when it is its own earlier self.
    assert_eq!(init.put("/job/first/stop").status, 200);
    assert_in_use(&put(&init, "first", &other), &says);
    drop(TcpStream::connect(port).unwrap());
    assert_eq!(init.delete("/job/first").status, 204);
    init.launch_job("second", &sleeper(&other));
}

#[test]
fn b23_who_has_an_address_is_named() {
    let (init, folder) = (Init::start(&[]), tempfile::tempdir().unwrap());
    let own = format!("(pid {})", std::process::id());
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let path = folder.path().join("sock");
    let unix = UnixListener::bind(&path).unwrap();
    let name = std::fs::read_to_string("/proc/self/comm").unwrap();
    for listen in [
        format!("tcp:{}", tcp.local_addr().unwrap()),
        format!("tcp:0.0.0.0:{}", tcp.local_addr().unwrap().port()),
        format!("udp:{}", udp.local_addr().unwrap()),
        format!("unix:{}", path.display()),
    ] {
        let says =
            [format!("listen on {listen} failed"), format!("in use by {} {own}", name.trim())];
        // init rests between two searches.
        wait::until("the answer that names us", || {
            let answer = put(&init, "a", &json!({"listen": listen}));
            answer.body.contains("pid").then(|| {
                assert_in_use(&answer, &[&says[0], &says[1]]);
            })
        });
    }
    drop(unix);
    // A file in the way, and init's own API.
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let answer = put(&init, "a", &json!({"listen": format!("unix:{}", file.display())}));
    assert_in_use(&answer, &["a file that is no socket is there"]);
    wait::until("the API to be named", || {
        let answer = put(&init, "a", &json!({"listen": format!("tcp:{}", init.api())}));
        assert_in_use(&answer, &[]);
        answer.body.contains("init's own API").then_some(())
    });
    assert_eq!(init.get("/jobs").body, "[]\n");
}

#[test]
fn b23_a_job_that_has_an_address_by_itself_is_named() {
    let (init, port) = (Init::start(&[]), free_port());
    // A child of the job's has it.
    let script = format!(
        "import os, socket, time\n\
        if os.fork() == 0: s = socket.create_server(('127.0.0.1', {})); time.sleep(600)\n\
        time.sleep(600)",
        port.port(),
    );
    let mut spec = python(&script, &Value::Null);
    spec["fds"] = json!([]);
    init.launch_job("own", &spec);
    wait::until("its socket", || TcpStream::connect(port).ok());
    let says = ["in use by python3 (pid ", "a process of job `own`"];
    assert_in_use(&put(&init, "a", &json!({"listen": format!("tcp:{port}")})), &says);
}
