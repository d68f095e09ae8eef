//! An app with no vices but those asked for: listens on `PORT`, after `DELAY_MS`, and answers
//! every request with who it is. `/crash` ends it with 3, `/slow` takes half a second, or `SLOW_MS`.
//! It keeps a book in the file `BOOK`, if there is one to keep: what is begun and ended, and when it was
//! told to end, with how many connections.

use std::env::var;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv};

fn main() {
    if var("BOOK").is_ok() {
        heed_term();
    }
    sleep(time("DELAY_MS", 0));
    let port: u16 = var("PORT").expect("PORT is set").parse().expect("a port");
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    for stream in listener.incoming().flatten() {
        let stream = Arc::new(stream);
        OPEN.lock().expect("no thread panics").push(Arc::clone(&stream));
        thread::spawn(move || {
            let _ = serve(&stream);
            OPEN.lock().expect("no thread panics").retain(|other| !Arc::ptr_eq(other, &stream));
            let _ = stream.shutdown(std::net::Shutdown::Both);
        });
    }
}

fn serve(stream: &TcpStream) -> Option<()> {
    let mut lines = BufReader::new(stream).lines();
    loop {
        let request = lines.next()?.ok()?;
        while !lines.next()?.ok()?.is_empty() {}
        book("begin");
        match request.split(' ').nth(1)? {
            "/crash" => std::process::exit(3),
            "/slow" => sleep(time("SLOW_MS", 500)),
            _ => {}
        }
        let env = |name| var(name).unwrap_or_default();
        let body = format!(
            "{} {} {} {}",
            env("BOOTCTL_APP"),
            env("BOOTCTL_INSTANCE"),
            std::process::id(),
            env("COLOUR")
        );
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        // Written down first: nobody may hear of it before.
        book("end");
        (&*stream).write_all(answer.as_bytes()).ok()?;
    }
}

fn time(name: &str, default: u64) -> Duration {
    let told = var(name).ok().and_then(|text| text.parse().ok());
    Duration::from_millis(told.unwrap_or(default))
}

/// All connections.
static OPEN: Mutex<Vec<Arc<TcpStream>>> = Mutex::new(Vec::new());

/// How many connections the other end has not closed.
fn open() -> usize {
    let is_open = |stream: &&Arc<TcpStream>| {
        let fd = stream.as_raw_fd();
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        recv(fd, &mut [0], flags) != Ok(0)
    };
    OPEN.lock().expect("no thread panics").iter().filter(is_open).count()
}

/// Ends as one that does not heed it, but writes it down.
fn heed_term() {
    let mut term = nix::sys::signal::SigSet::empty();
    term.add(nix::sys::signal::Signal::SIGTERM);
    term.thread_block().expect("a signal can be blocked");
    thread::spawn(move || {
        term.wait().expect("it is blocked");
        book(&format!("TERM with {} open", open()));
        std::process::exit(0);
    });
}

/// A line of the book: whose, and what.
fn book(what: &str) {
    let Ok(path) = var("BOOK") else { return };
    let instance = var("BOOTCTL_INSTANCE").unwrap_or_default();
    let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
    let line = format!("{instance} {what}\n");
    file.expect("a book").write_all(line.as_bytes()).expect("written");
}
