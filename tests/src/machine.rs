//! A virtual machine under test: init as the kernel's first process, in QEMU.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{http, image, tools, wait};

/// Far longer than an emulated machine takes, also beside other work.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a machine is to be besides the demo's.
#[derive(Clone, Copy, Default)]
pub struct Setup<'a> {
    /// init's command line, if it is another one.
    pub words: Option<&'a str>,
    /// The kernel's words, and bootctl's.
    pub kernel: Option<&'a str>,
    /// Whether it is to have a shell.
    pub shell: bool,
    /// Files by path and text; those that begin with `#!` are programs.
    pub files: &'a [(&'a str, &'a str)],
    /// Disks beside the root.
    pub disks: &'a [&'a Path],
    /// The folder with the disk that its root is on.
    pub root: Option<&'a Path>,
    /// Words for QEMU.
    pub qemu: &'a [&'a str],
}

/// A running machine, killed with the test.
pub struct Machine {
    pub qemu: Child,
    began: Instant,
    console: Arc<Mutex<String>>,
    pub proxy: SocketAddr,
    pub api: SocketAddr,
    folder: TempDir,
}

/// Whether machines can be booted here.
#[track_caller]
pub fn can_boot() -> bool {
    if !tools::present(&["qemu-system-x86_64", "cpio", "apt-get"]) {
        return false;
    }
    let has_kernel = image::script("vm/kernel").status().is_ok_and(|status| status.success());
    if !has_kernel {
        tools::skip("there is no kernel to boot");
    }
    has_kernel
}

/// Lays out what a machine has more than the demo's, below `folder`.
pub fn overlay(folder: &Path, setup: &Setup<'_>) -> Option<()> {
    for (name, text) in setup.files {
        let path = folder.join(name.trim_start_matches('/'));
        fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
        fs::write(&path, text).expect("it can be written");
        let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
    }
    if setup.shell {
        if !tools::present(&["busybox"]) {
            return None;
        }
        let script = "mkdir -p usr/bin && cp \"$(command -v busybox)\" usr/bin/";
        let added = Command::new("sh").args(["-c", script]).current_dir(folder).status();
        assert!(added.is_ok_and(|status| status.success()));
    }
    Some(())
}

/// A disk of 16 MiB with an empty file system of that name.
pub fn disk(path: &Path, label: &str) {
    fs::File::create(path).and_then(|file| file.set_len(16 << 20)).expect("a file");
    let made = Command::new("/usr/sbin/mkfs.ext4").args(["-q", "-L", label]).arg(path).status();
    assert!(made.is_ok_and(|status| status.success()));
}

impl Machine {
    /// Boots it; `None` where there is no QEMU.
    pub fn boot(setup: &Setup<'_>) -> Option<Self> {
        if !can_boot() {
            return None;
        }
        let folder = TempDir::new().expect("a folder");
        let vm: PathBuf = setup.root.map_or_else(|| folder.path().into(), Path::to_owned);
        if setup.root.is_none() {
            let mut initramfs = image::script("vm/initramfs");
            initramfs.env("JOBINIT_VM", &vm);
            image::run(initramfs);
            let more = folder.path().join("more");
            fs::create_dir(&more).expect("a folder");
            overlay(&more, setup)?;
            // The kernel unpacks one archive after the other.
            let script = "find . | cpio --quiet -o -H newc -R 0:0 >>../initramfs";
            let added = Command::new("sh").args(["-c", script]).current_dir(&more).status();
            assert!(added.is_ok_and(|status| status.success()));
        }
        let [proxy, api] = image::free_addresses();
        let began = Instant::now();
        let mut qemu = image::script("vm/run");
        qemu.env("JOBINIT_VM", &vm);
        qemu.env("PROXY_PORT", proxy.port().to_string()).env("API_PORT", api.port().to_string());
        let kind = setup.root.map(|root| if root.join("disk").exists() { "disk" } else { "qcow2" });
        qemu.env("ROOT", kind.unwrap_or_default());
        for (name, words) in [("INIT_WORDS", setup.words), ("KERNEL_WORDS", setup.kernel)] {
            if let Some(words) = words {
                qemu.env(name, words);
            }
        }
        for disk in setup.disks {
            qemu.arg("-drive").arg(format!("file={},format=raw,if=virtio", disk.display()));
        }
        let monitor = folder.path().join("monitor").display().to_string();
        let monitor = format!("socket,id=monitor,path={monitor},server=on,wait=off");
        qemu.args(["-chardev", &monitor, "-mon", "chardev=monitor"]).args(setup.qemu);
        let qemu = qemu.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut qemu = qemu.spawn().expect("a script that is there");
        let console = Arc::new(Mutex::new(String::new()));
        let (lines, heard) = (qemu.stdout.take().expect("piped"), Arc::clone(&console));
        thread::spawn(move || {
            for line in BufReader::new(lines).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                let line = format!("{:>7.3}  {}\n", began.elapsed().as_secs_f32(), line.trim_end());
                eprint!("{line}");
                heard.lock().unwrap_or_else(PoisonError::into_inner).push_str(&line);
            }
        });
        Some(Self { qemu, began, console, proxy, api, folder })
    }

    /// All that the console has shown.
    pub fn console(&self) -> String {
        self.console.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs a shell script in it as a job, with `changes` to its spec, to its end.
    #[track_caller]
    pub fn run(&self, script: &str, changes: &Value) -> Value {
        self.start("/job?wait=exit", script, changes)
    }

    /// Begins a shell script in it, whose last word is of no interest: a machine that it ends may take the answer along.
    pub fn begin(&self, script: &str) {
        eprintln!("{script}");
        let spec = Self::shell(script, &json!({})).to_string();
        let length = spec.len();
        let head = format!(
            "POST /job HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        drop(http::raw(self.api, (head + &spec).as_bytes()));
    }

    fn shell(script: &str, changes: &Value) -> Value {
        let mut spec = json!({
            "exec": "/usr/bin/busybox", "args": ["sh", "-c", script],
            "envs": {"PATH": "/usr/bin:/sbin"},
        });
        for (key, value) in changes.as_object().expect("changes") {
            spec[key] = value.clone();
        }
        spec
    }

    #[track_caller]
    fn start(&self, path: &str, script: &str, changes: &Value) -> Value {
        let spec = Self::shell(script, changes);
        let json = "Content-Type: application/json\r\n";
        eprintln!("{script}");
        let answer = http::request(self.api, "POST", path, json, &spec.to_string());
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }

    /// What a shell script in it says, with which it has to be content.
    #[track_caller]
    pub fn says(&self, script: &str) -> String {
        let job = self.run(script, &json!({"stdout": "log"}));
        let path = format!("/job/{}/stdout", job["id"].as_str().expect("a name"));
        // An answer may be cut short on its way through QEMU.
        let said = wait::until("what it has said", || http::try_get(self.api, &path));
        assert_eq!((said.status, &job["lastExit"]), (200, &json!(0)), "{script}: {said:?}");
        said.body
    }

    /// Waits until the console shows `text` so many times, and answers all it has shown.
    #[track_caller]
    pub fn shows(&self, text: &str, times: usize) -> String {
        wait::until_for(PATIENCE, text, || {
            let console = self.console();
            (console.matches(text).count() >= times).then_some(console)
        })
    }

    /// The first answer of the path on one of the two forwarded ports.
    #[track_caller]
    pub fn first_answer(&self, to: SocketAddr, host: &str, path: &str) -> http::Answer {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = wait::until_for(PATIENCE, path, || {
            // QEMU accepts before the guest does, and is in no hurry to try the guest again.
            let mut stream = TcpStream::connect(to).ok()?;
            stream.set_read_timeout(Some(Duration::from_millis(300))).ok()?;
            stream.write_all(request.as_bytes()).ok()?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).ok()?;
            http::Answer::parse(&bytes).filter(|answer| answer.status == 200)
        });
        eprintln!("{:>7.3}  first answer: {host}{path}", self.began.elapsed().as_secs_f32());
        answer
    }

    /// A line typed into QEMU's own monitor.
    pub fn monitor(&self, line: &str) -> UnixStream {
        let monitor = UnixStream::connect(self.folder.path().join("monitor"));
        let mut monitor = monitor.expect("QEMU listens");
        writeln!(monitor, "{line}").expect("QEMU reads");
        monitor
    }

    /// How QEMU has ended, and all that the console has shown.
    #[track_caller]
    pub fn wait(mut self) -> (ExitStatus, String) {
        let status =
            wait::until_for(PATIENCE, "QEMU's end", || self.qemu.try_wait().expect("our child"));
        eprintln!("{:>7.3}  QEMU has ended", self.began.elapsed().as_secs_f32());
        (status, self.console())
    }

    /// Pulls the plug.
    pub fn cut(mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended, as it should.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}
