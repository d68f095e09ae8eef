//! The proxies that are measured: one worker each, keep-alive on both sides, X-Forwarded-*, and
//! an access log in a file.

use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::report;

/// A running proxy; dropping it ends it.
pub struct Peer {
    pub address: SocketAddr,
    child: Child,
}

impl Peer {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn start(command: &mut Command, address: SocketAddr) -> Result<Peer, String> {
        let child = command.stdin(Stdio::null()).spawn();
        let child = child.map_err(|error| format!("cannot be started: {error}"))?;
        let peer = Peer { address, child };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            if Instant::now() > deadline {
                return Err("does not listen".to_owned());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(peer)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // nginx's master needs a TERM to take its worker along.
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(3);
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound")
}

fn program(candidates: &[&str]) -> Result<String, String> {
    let found = candidates.iter().find(|path| Path::new(path).exists());
    found.map(ToString::to_string).ok_or_else(|| "is not installed".to_owned())
}

pub fn proxyd(folder: &Path, target: &str) -> Result<Peer, String> {
    let binary = std::env::var_os("JOBINIT_BIN")
        .map_or_else(|| report::target().join("bin"), Into::into)
        .join("proxyd");
    let address = free();
    let control = folder.join(format!("proxyd-{}", address.port()));
    let mut command = Command::new(binary);
    command.arg("--listen").arg(address.to_string()).arg("--control").arg(&control);
    command.args(["--workers", "1", "--grace", "0", "--access-log"]);
    command.arg(folder.join("proxyd.log")).stderr(Stdio::null());
    let peer = Peer::start(&mut command, address)?;
    for (path, body) in [
        ("/routes/bench.test", r#"{"service":"origin"}"#.to_owned()),
        ("/services/origin/targets/1", format!(r#"{{"address":"{target}"}}"#)),
    ] {
        let mut stream = UnixStream::connect(&control).map_err(|error| error.to_string())?;
        let request = format!(
            "PUT {path} HTTP/1.1\r\nHost: proxyd\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        let answer = std::io::read_to_string(stream).map_err(|error| error.to_string())?;
        if !answer.starts_with("HTTP/1.1 201") {
            return Err(answer);
        }
    }
    Ok(peer)
}

pub fn nginx(folder: &Path, origin: SocketAddr) -> Result<Peer, String> {
    let binary = program(&["/usr/sbin/nginx", "/usr/bin/nginx"])?;
    let address = free();
    let path = folder.join("nginx.conf");
    let here = folder.display();
    let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
    let config = format!(
        "daemon off; {user} worker_processes 1;\n\
         pid {here}/nginx.pid; error_log {here}/nginx.err crit;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n\
           access_log {here}/nginx.log combined buffer=32k flush=1s;\n\
           client_body_temp_path {here}/b; proxy_temp_path {here}/p; fastcgi_temp_path {here}/f;\n\
           uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;\n\
           keepalive_requests 100000000; keepalive_timeout 300;\n\
           upstream origin {{ server {origin}; keepalive 128; keepalive_requests 100000000; }}\n\
           server {{ listen {address}; location / {{\n\
             proxy_pass http://origin; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; proxy_set_header Host $http_host;\n\
             proxy_set_header X-Forwarded-For $remote_addr;\n\
             proxy_set_header X-Forwarded-Proto $scheme;\n\
             proxy_set_header X-Forwarded-Host $http_host;\n\
           }} }}\n\
         }}\n"
    );
    std::fs::write(&path, config).map_err(|error| error.to_string())?;
    Peer::start(Command::new(binary).arg("-c").arg(&path).stderr(Stdio::null()), address)
}

pub fn haproxy(folder: &Path, origin: SocketAddr) -> Result<Peer, String> {
    let binary = program(&["/usr/sbin/haproxy", "/usr/bin/haproxy"])?;
    let address = free();
    let path = folder.join("haproxy.cfg");
    let config = format!(
        "global\n  nbthread 1\n  maxconn 4096\n  log stdout format raw local0 info\n\
         defaults\n  mode http\n  log global\n  option httplog\n  option http-keep-alive\n\
         \x20 http-reuse always\n  timeout client 300s\n  timeout server 300s\n\
         \x20 timeout connect 5s\n  timeout http-keep-alive 300s\n\
         frontend front\n  bind {address}\n  option forwardfor\n\
         \x20 http-request set-header X-Forwarded-Proto http\n\
         \x20 http-request set-header X-Forwarded-Host %[req.hdr(host)]\n\
         \x20 default_backend origin\n\
         backend origin\n  server one {origin} pool-max-conn 256\n"
    );
    std::fs::write(&path, config).map_err(|error| error.to_string())?;
    let log = File::create(folder.join("haproxy.log")).map_err(|error| error.to_string())?;
    let mut command = Command::new(binary);
    command.arg("-db").arg("-f").arg(&path).stdout(log).stderr(Stdio::null());
    Peer::start(&mut command, address)
}

/// No proxy at all, but the least that can stand in its place.
pub fn relay(origin: SocketAddr) -> Result<Peer, String> {
    let address = free();
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(own);
    command.arg("relay").arg(address.to_string()).arg(origin.to_string());
    Peer::start(&mut command, address)
}
