//! A proxyd of its own for each test, and its control API.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proxyd_wire::{Drained, State};
use tempfile::TempDir;

use super::{Answer, Client, DEADLINE, wait_for};

/// A binary of the workspace, from `JOBINIT_BIN` or `target/bin`.
pub fn binary(name: &str) -> PathBuf {
    let folder = std::env::var_os("JOBINIT_BIN")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bin"), PathBuf::from);
    let path = folder.join(name);
    assert!(path.exists(), "{} is missing: run `make build` first", path.display());
    path
}

/// A running proxyd; dropping it kills it.
pub struct Proxyd {
    child: Child,
    pub address: SocketAddr,
    pub folder: TempDir,
    stderr: Arc<Mutex<String>>,
}

impl Proxyd {
    /// On a free port, with two workers and its access log in a file.
    pub fn start() -> Proxyd {
        Proxyd::start_with(&[])
    }

    pub fn start_with(args: &[&str]) -> Proxyd {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(binary("proxyd"));
        command.args(["--listen", "127.0.0.1:0", "--workers", "2"]);
        command.arg("--control").arg(folder.path().join("control"));
        command.arg("--access-log").arg(folder.path().join("access.log"));
        command.args(args);
        Proxyd::spawn(&mut command, folder)
    }

    /// Starts a command that is, or becomes, proxyd, and waits until it listens.
    pub fn spawn(command: &mut Command, folder: TempDir) -> Proxyd {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let collected = Arc::clone(&stderr);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = writeln!(collected.lock().unwrap(), "{line}");
            }
        });
        let address = wait_for("the address that proxyd listens on", || {
            let text = stderr.lock().unwrap().clone();
            let line = text.lines().find_map(|line| line.split_once("listening on "))?;
            line.1.parse().ok()
        });
        Proxyd { child, address, folder, stderr }
    }

    /// With one host, `app.test`, and one target for it.
    pub fn with_target(address: &str) -> Proxyd {
        let proxyd = Proxyd::start();
        proxyd.put_route("app.test", "app");
        proxyd.put_target("app", "1", address);
        proxyd
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// A client with another address, such as 127.0.0.2.
    pub fn client_from(&self, address: &str) -> Client {
        Client::connect_from(address.parse().unwrap(), self.address)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    pub fn access_log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default()
    }

    /// One control request; any status.
    pub fn control(&self, method: &str, path: &str, fields: &str, body: &str) -> Answer {
        let mut stream = UnixStream::connect(self.folder.path().join("control")).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let length = body.len();
        // The other side may answer and close before it has read it all.
        let _ = stream.write_all(
            format!(
                "{method} {path} HTTP/1.1\r\nHost: proxyd\r\nConnection: close\r\n\
                 Content-Length: {length}\r\n{fields}\r\n{body}"
            )
            .as_bytes(),
        );
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        Answer::parse(&bytes)
    }

    pub fn put(&self, path: &str, body: &str) -> Answer {
        self.control("PUT", path, "Content-Type: application/json\r\n", body)
    }

    pub fn put_route(&self, host: &str, service: &str) {
        let answer = self.put(&format!("/routes/{host}"), &format!(r#"{{"service":"{service}"}}"#));
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    }

    /// Settings of the whole process, as JSON.
    pub fn put_front(&self, front: &str) {
        let answer = self.put("/front", front);
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    pub fn put_target(&self, service: &str, name: &str, address: &str) {
        let path = format!("/services/{service}/targets/{name}");
        let answer = self.put(&path, &format!(r#"{{"address":"{address}"}}"#));
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    }

    pub fn delete_target(&self, service: &str, name: &str, grace_ms: u32) -> Drained {
        let path = format!("/services/{service}/targets/{name}?grace_ms={grace_ms}");
        let answer = self.control("DELETE", &path, "", "");
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_slice(&answer.body).unwrap()
    }

    pub fn state(&self) -> State {
        let answer = self.control("GET", "/state", "", "");
        serde_json::from_slice(&answer.body).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for("the end of proxyd", || self.child.try_wait().unwrap())
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Proxyd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("proxyd said:\n{}", self.stderr());
        }
    }
}
