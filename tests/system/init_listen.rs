//! Sockets that init keeps for jobs.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use jobinit_tests::init::Init;
use jobinit_tests::wait;
use serde_json::{Value, json};

/// A server that answers one connection on fd 3 and ends.
const ONCE: &str = "import os, socket\n\
    assert os.environ['LISTEN_PID'] == str(os.getpid())\n\
    assert os.environ['LISTEN_FDS'] == '2' and os.environ['LISTEN_FDNAMES'] == 'http:extra'\n\
    s = socket.socket(fileno=3); assert socket.socket(fileno=4).family == socket.AF_UNIX\n\
    c, _ = s.accept(); c.sendall(b'%d' % os.getpid())\n";

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn once(port: SocketAddr, unix: &std::path::Path) -> Value {
    json!({"exec": "python3", "args": ["-c", ONCE], "envs": {"PATH": std::env::var("PATH").unwrap()},
        "fds": [{"name": "http", "listen": format!("tcp:{port}")},
                {"name": "extra", "listen": format!("unix:{}", unix.display())}]})
}

fn read(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn b23_a_client_between_two_generations_is_served_by_the_next() {
    let init = Init::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let (port, unix) = (free_port(), folder.path().join("sock"));
    let first = init.launch_job("web", &once(port, &unix));
    assert_eq!(read(TcpStream::connect(port).unwrap()), first.to_string());
    init.wait_for("web", "success");
    // Nobody runs. The connection is not refused, it waits.
    let waiting = TcpStream::connect(port).unwrap();
    let second = init.put("/job/web/start").json()["pid"].clone();
    assert_eq!(read(waiting), second.to_string());
}

#[test]
fn b23_sockets_go_with_the_last_job_that_names_them() {
    let init = Init::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let (port, unix) = (free_port(), folder.path().join("sock"));
    init.launch_job("web", &once(port, &unix));
    let meta = std::fs::metadata(&unix).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    assert_eq!(init.put("/job/web/stop").status, 200);
    drop(TcpStream::connect(port).unwrap());
    assert_eq!(init.delete("/job/web").status, 204);
    assert!(TcpStream::connect(port).is_err());
    assert!(!unix.exists());
}

#[test]
fn b23_an_address_in_use_is_a_conflict() {
    let init = Init::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let spec = once(taken.local_addr().unwrap(), &folder.path().join("sock"));
    let answer = init.send("PUT", "/job/web", &spec);
    assert_eq!((answer.status, &answer.json()["stage"]), (409, &json!("listen")), "{answer:?}");
    assert_eq!(init.get("/jobs").body, "[]\n");
    assert!(!folder.path().join("sock").exists(), "none is opened if one cannot be");
}

#[test]
fn b23_a_stale_socket_file_is_replaced_and_a_live_one_is_not() {
    let init = Init::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let unix = folder.path().join("sock");
    let spec = json!({"exec": "/bin/sleep", "args": ["600"],
        "fds": [{"name": "s", "listen": format!("unix:{}", unix.display())}]});
    drop(std::os::unix::net::UnixListener::bind(&unix).unwrap());
    init.launch_job("a", &spec);
    let other = Init::start(&[]);
    assert_eq!(other.send("PUT", "/job/b", &spec).status, 409);
    assert!(std::os::unix::net::UnixStream::connect(&unix).is_ok());
}
