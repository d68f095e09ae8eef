//! An app with no vices but those asked for: listens on `PORT`, after `DELAY_MS`, and answers
//! every request with who it is. `/crash` ends it with 3, `/slow` takes half a second, or `SLOW_MS`.

use std::env::var;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, sleep};
use std::time::Duration;

fn main() {
    sleep(time("DELAY_MS", 0));
    let port: u16 = var("PORT").expect("PORT is set").parse().expect("a port");
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    for stream in listener.incoming().flatten() {
        thread::spawn(move || serve(&stream));
    }
}

fn serve(stream: &TcpStream) -> Option<()> {
    let mut lines = BufReader::new(stream).lines();
    loop {
        let request = lines.next()?.ok()?;
        while !lines.next()?.ok()?.is_empty() {}
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
        (&*stream).write_all(answer.as_bytes()).ok()?;
    }
}

fn time(name: &str, default: u64) -> Duration {
    let told = var(name).ok().and_then(|text| text.parse().ok());
    Duration::from_millis(told.unwrap_or(default))
}
