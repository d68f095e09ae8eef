//! Ours.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Peer, Setting, free, site};
use crate::report;

pub fn to_tcp(setting: &Setting) -> Result<Peer, String> {
    start(setting, &format!("tcp:{}", setting.tcp))
}

pub fn to_unix(setting: &Setting) -> Result<Peer, String> {
    start(setting, &format!("unix:{}", setting.unix.display()))
}

/// It serves files by itself.
pub fn of_files(setting: &Setting) -> Result<Peer, String> {
    let peer = to_tcp(setting)?;
    let control = peer.control.as_deref().ok_or("has no control socket")?;
    let files = format!(r#"{{"files":{{"folder":"{}"}}}}"#, site(setting).display());
    put(control, "/routes/bench.test", &files)?;
    Ok(peer)
}

/// It speaks HTTP/2 with its clients, too.
pub fn over_http2(setting: &Setting) -> Result<Peer, String> {
    let peer = to_tcp(setting)?;
    let control = peer.control.as_deref().ok_or("has no control socket")?;
    put(control, "/front", r#"{"http2":{"cleartext":true}}"#)?;
    Ok(peer)
}

/// It speaks TLS, and within it what clients choose.
pub fn over_tls(setting: &Setting) -> Result<Peer, String> {
    let peer = start_on("--listen-tls", setting, &format!("tcp:{}", setting.tcp))?;
    let control = peer.control.as_deref().ok_or("has no control socket")?;
    put(control, "/certificates/bench", &setting.tls().pair.json())?;
    put(control, "/tls", r#"{"default_certificate":"bench"}"#)?;
    Ok(peer)
}

/// Where proxyd is.
pub fn program() -> PathBuf {
    std::env::var_os("JOBINIT_BIN")
        .map_or_else(|| report::target().join("bin"), Into::into)
        .join("proxyd")
}

fn start(setting: &Setting, target: &str) -> Result<Peer, String> {
    start_on("--listen", setting, target)
}

fn start_on(listen: &str, setting: &Setting, target: &str) -> Result<Peer, String> {
    let address = free();
    let control = setting.file(address, "control");
    let mut command = Command::new(program());
    command.arg(listen).arg(address.to_string()).arg("--control").arg(&control);
    command.args(["--workers", "1", "--grace", "0", "--access-log"]);
    command.arg(setting.file(address, "proxyd.log"));
    let mut peer = Peer::start(&mut command, address)?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while UnixStream::connect(&control).is_err() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    put(&control, "/routes/bench.test", r#"{"service":"origin"}"#)?;
    put(&control, "/services/origin/targets/1", &format!(r#"{{"address":"{target}"}}"#))?;
    peer.control = Some(control);
    Ok(peer)
}

/// Has the control API create or change something.
pub fn put(control: &Path, path: &str, body: &str) -> Result<(), String> {
    let mut stream = UnixStream::connect(control).map_err(|error| error.to_string())?;
    let request = format!(
        "PUT {path} HTTP/1.1\r\nHost: proxyd\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let answer = std::io::read_to_string(stream).map_err(|error| error.to_string())?;
    if answer.starts_with("HTTP/1.1 20") { Ok(()) } else { Err(answer) }
}
