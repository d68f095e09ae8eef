//! An app of moods: listens in its place, whatever kind that is, after `DELAY_MS`, and answers every
//! request with who it is. Of so many starts as `FAILS_ONE_IN` says, one ends with 1 at once.

use std::env::var;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;
use std::time::Duration;

fn main() {
    let number = |name| var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if number("FAILS_ONE_IN").is_some_and(|among| u64::from(std::process::id()) % among == 0) {
        eprintln!("not this time");
        std::process::exit(1);
    }
    thread::sleep(Duration::from_millis(number("DELAY_MS").unwrap_or(0)));
    if let Ok(path) = var("SOCKET") {
        let path = Path::new(&path);
        fs::create_dir_all(path.parent().expect("it is in a folder")).expect("a folder");
        drop(fs::remove_file(path));
        let listener = UnixListener::bind(path).expect("nobody is there");
        // The proxy is somebody else.
        fs::set_permissions(path, Permissions::from_mode(0o666)).expect("it is ours");
        for stream in listener.incoming().flatten() {
            let answers = stream.try_clone().expect("another descriptor");
            thread::spawn(move || serve(stream, answers));
        }
    }
    for stream in tcp().incoming().flatten() {
        let answers = stream.try_clone().expect("another descriptor");
        thread::spawn(move || serve(stream, answers));
    }
}

fn tcp() -> TcpListener {
    if let Ok(port) = var("PORT") {
        let port: u16 = port.parse().expect("a port");
        return TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    }
    assert_eq!(var("LISTEN_FDS").as_deref(), Ok("1"), "there is a place of some kind");
    // SAFETY: init has opened it for this program, and nobody else here knows of it.
    TcpListener::from(unsafe { OwnedFd::from_raw_fd(3) })
}

fn serve(requests: impl Read, mut answers: impl Write) -> Option<()> {
    let mut lines = BufReader::new(requests).lines();
    loop {
        while !lines.next()?.ok()?.is_empty() {}
        let name = |name| var(name).unwrap_or_default();
        let body = format!("{} {}", name("BOOTCTL_APP"), name("BOOTCTL_INSTANCE"));
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        answers.write_all(answer.as_bytes()).ok()?;
    }
}
