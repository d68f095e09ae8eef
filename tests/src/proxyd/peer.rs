//! Other proxies in proxyd's place, to see what they take and what they refuse.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;

use super::{DEADLINE, wait_for};

/// A running peer; dropping it ends it.
pub struct Peer {
    address: SocketAddr,
    child: Child,
    _folder: TempDir,
}

impl Peer {
    /// nginx with its defaults, but for a client that waits: he is refused after two seconds.
    pub fn nginx(program: &str, origin: SocketAddr) -> Peer {
        Peer::nginx_with(
            program,
            &format!(
                "proxy_pass http://{origin}; proxy_http_version 1.1; proxy_set_header Connection \"\";"
            ),
        )
    }

    /// nginx that serves the files of a folder.
    pub fn nginx_of_files(program: &str, folder: &Path) -> Peer {
        let said = format!("root {}; if_modified_since before;", folder.display());
        Peer::nginx_with(program, &said)
    }

    fn nginx_with(program: &str, said: &str) -> Peer {
        let user = if geteuid().is_root() { "user root;" } else { "" };
        Peer::start(program, &["-c"], |address, here| {
            let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
            let places = places.map(|name| format!("{name}_temp_path {here}/{name};")).concat();
            format!(
                "daemon off; master_process off; {user} pid {here}/pid; error_log {here}/log crit;
                 events {{}}
                 http {{
                   access_log off; client_header_timeout 2s; client_body_timeout 2s; {places}
                   server {{ listen {address}; location / {{ {said} }} }}
                 }}\n"
            )
        })
    }

    /// `HAProxy` with its defaults; it looks at a whole body before it asks, as nginx does.
    pub fn haproxy(program: &str, origin: SocketAddr) -> Peer {
        Peer::start(program, &["-db", "-f"], |address, _| {
            format!(
                "global\n  nbthread 1\n\
                 defaults\n  mode http\n  option http-buffer-request\n  timeout connect 2s\n\
                 \x20 timeout http-request 2s\n  timeout client 4s\n  timeout server 4s\n\
                 frontend front\n  bind {address}\n  default_backend origin\n\
                 backend origin\n  server one {origin}\n"
            )
        })
    }

    fn start(program: &str, args: &[&str], config: impl Fn(SocketAddr, &str) -> String) -> Peer {
        let folder = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, config(address, folder.path().to_str().unwrap())).unwrap();
        let mut command = Command::new(program);
        command.args(args).arg(&path).stdin(Stdio::null());
        let output = std::fs::File::create(folder.path().join("output")).unwrap();
        command.stdout(output.try_clone().unwrap()).stderr(output);
        let mut child = command.spawn().unwrap();
        wait_for("a peer that listens", || {
            let said = || std::fs::read_to_string(folder.path().join("output")).unwrap();
            assert!(child.try_wait().unwrap().is_none(), "it has ended: {}", said());
            TcpStream::connect(address).ok()
        });
        Peer { address, child, _folder: folder }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it answers to these bytes first; `None` if it closes without a word.
    pub fn answers(&self, bytes: &[u8]) -> Option<u16> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // Refused early, it may not take the rest.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&answer);
            // What is no number was passed on as it came.
            let word = |line: &str| line.split(' ').nth(1).and_then(|word| word.parse().ok());
            let status = text.split_once("\r\n").map(|(line, _)| word(line).unwrap_or(0));
            match status {
                // An interim answer is none.
                Some(100 | 102..=199) if text.contains("\r\n\r\n") => {
                    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(0);
                    answer.drain(..end + 4);
                    continue;
                }
                Some(100 | 102..=199) | None => {}
                status => return status,
            }
            match stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => answer.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error} after {bytes:?}"),
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        let _ = kill(pid, Signal::SIGTERM);
        let _ = self.child.wait();
    }
}
