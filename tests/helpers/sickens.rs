//! `sickens FILE`: an app that is as ill as a file says. Listens wherever it is told to, says so to
//! `NOTIFY_SOCKET`, and answers every request with who it is.
//!
//! `/healthz` is answered 200 if the request names the app as its host. A line `PID STATUS` in the
//! file makes that process answer STATUS instead, and one `PID hang` nothing at all; `all` is
//! every process. `/crash` ends it with 3. While there is a file `FILE.gate`, it does not begin.

use std::env::var;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::Path;
use std::thread::{self, sleep};
use std::time::Duration;

fn main() {
    let file = std::env::args().nth(1).expect("a file");
    while Path::new(&format!("{file}.gate")).exists() {
        sleep(Duration::from_millis(2));
    }
    if let Ok(path) = var("SOCKET") {
        let listener = UnixListener::bind(path).expect("nothing is there");
        say_ready();
        for stream in listener.incoming().flatten() {
            let writer = stream.try_clone().expect("a descriptor");
            spawn(&file, stream, writer);
        }
    }
    let listener = match var("PORT") {
        Ok(port) => {
            TcpListener::bind(("127.0.0.1", port.parse().expect("a port"))).expect("it is free")
        }
        // SAFETY: init has opened descriptor 3 for us, and nobody else in here knows it.
        Err(_) => TcpListener::from(unsafe { OwnedFd::from_raw_fd(3) }),
    };
    say_ready();
    for stream in listener.incoming().flatten() {
        let writer = stream.try_clone().expect("a descriptor");
        spawn(&file, stream, writer);
    }
}

fn say_ready() {
    let Ok(name) = var("NOTIFY_SOCKET") else { return };
    let name = name.strip_prefix('@').expect("an abstract name");
    let to = SocketAddr::from_abstract_name(name).expect("a name");
    let socket = UnixDatagram::unbound().expect("a socket");
    socket.send_to_addr(b"READY=1", &to).expect("init listens");
}

fn spawn(file: &str, reader: impl Read + Send + 'static, writer: impl Write + Send + 'static) {
    let file = file.to_owned();
    thread::spawn(move || serve(&file, reader, writer));
}

fn serve(file: &str, reader: impl Read, mut writer: impl Write) -> Option<()> {
    let mut lines = BufReader::new(reader).lines();
    loop {
        let request = lines.next()?.ok()?;
        let mut host = String::new();
        loop {
            let field = lines.next()?.ok()?;
            if field.is_empty() {
                break;
            }
            if let Some(value) = field.to_ascii_lowercase().strip_prefix("host: ") {
                value.clone_into(&mut host);
            }
        }
        let env = |name| var(name).unwrap_or_default();
        let status = match request.split(' ').nth(1)? {
            "/crash" => std::process::exit(3),
            "/healthz" => illness(file).unwrap_or_else(|| {
                let known = host == env("BOOTCTL_APP");
                if known { "200" } else { "421" }.to_owned()
            }),
            _ => "200".to_owned(),
        };
        if status == "hang" {
            sleep(Duration::MAX);
        }
        let (app, number) = (env("BOOTCTL_APP"), env("BOOTCTL_INSTANCE"));
        let body = format!("{app} {number} {}", std::process::id());
        let length = body.len();
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}");
        writer.write_all(answer.as_bytes()).ok()?;
    }
}

fn illness(file: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let own = std::process::id().to_string();
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(who, _)| *who == own || *who == "all").map(|(_, what)| what.to_owned())
}
