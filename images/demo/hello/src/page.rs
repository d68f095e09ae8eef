//! What the demo answers.

use std::fmt::Write as _;
use std::time::Duration;
use std::{env, fs, process, thread};

use crate::request::Request;

/// The longest that `/slow` takes, in milliseconds.
const SLOWEST: u64 = 60_000;

/// The whole answer to a request; `last` says that the connection ends with it.
pub(crate) fn answer(request: &Request, last: bool) -> Vec<u8> {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let (status, body) = match path {
        "/" => ("200 OK", about(request)),
        "/healthz" => ("200 OK", "ok\n".to_owned()),
        "/slow" => ("200 OK", slow(query)),
        _ => ("404 Not Found", format!("no page {path}; there are /, /healthz, /slow?ms=N\n")),
    };
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n{}\r\n",
        body.len(),
        if last { "Connection: close\r\n" } else { "" },
    );
    if request.method != "HEAD" {
        answer.push_str(&body);
    }
    answer.into_bytes()
}

fn about(request: &Request) -> String {
    let env = |name| env::var(name).unwrap_or_else(|_| "-".into());
    // A release may have brought one.
    let greeting = fs::read_to_string("greeting").unwrap_or_default();
    let greeting = greeting.lines().next().unwrap_or("hello from demo-hello");
    let mut text = format!(
        "{greeting}\nrelease: {}\napp: {}\ninstance: {}\npid: {}\n",
        env("BOOTCTL_RELEASE"),
        env("BOOTCTL_APP"),
        env("BOOTCTL_INSTANCE"),
        process::id(),
    );
    for name in ["host", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"] {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{name}: {}", request.header(name).unwrap_or("-"));
    }
    text
}

fn slow(query: &str) -> String {
    let asked = query.split('&').find_map(|pair| pair.strip_prefix("ms="));
    let ms = asked.and_then(|n| n.parse().ok()).unwrap_or(1000).min(SLOWEST);
    thread::sleep(Duration::from_millis(ms));
    format!("that took {ms} ms\n")
}
