//! The binaries as a whole virtual machine: the kernel execs init, which execs bootctl.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use jobinit_tests::{http, image, tools, wait};
use tempfile::TempDir;

/// A running machine, killed with the test.
struct Machine {
    qemu: Child,
    began: Instant,
    console: Arc<Mutex<String>>,
    proxy: SocketAddr,
    api: SocketAddr,
    folder: TempDir,
}

impl Machine {
    /// Boots it; `None` where there is no QEMU.
    fn boot() -> Option<Self> {
        if !tools::present(&["qemu-system-x86_64", "cpio", "apt-get"]) {
            return None;
        }
        let folder = TempDir::new().unwrap();
        if !image::script("vm/kernel").status().unwrap().success() {
            tools::skip("there is no kernel to boot");
            return None;
        }
        let mut initramfs = image::script("vm/initramfs");
        initramfs.env("JOBINIT_VM", folder.path());
        image::run(initramfs);
        let [proxy, api] = image::free_addresses();
        let began = Instant::now();
        let mut qemu = image::script("vm/run");
        qemu.env("JOBINIT_VM", folder.path());
        qemu.env("PROXY_PORT", proxy.port().to_string()).env("API_PORT", api.port().to_string());
        let monitor = folder.path().join("monitor").display().to_string();
        let monitor = format!("socket,id=monitor,path={monitor},server=on,wait=off");
        qemu.args(["-chardev", &monitor, "-mon", "chardev=monitor"]);
        let qemu = qemu.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut qemu = qemu.spawn().unwrap();
        let console = Arc::new(Mutex::new(String::new()));
        let (lines, heard) = (qemu.stdout.take().unwrap(), Arc::clone(&console));
        thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                let line = format!("{:>7.3}  {}\n", began.elapsed().as_secs_f32(), line.trim_end());
                eprint!("{line}");
                heard.lock().unwrap().push_str(&line);
            }
        });
        Some(Self { qemu, began, console, proxy, api, folder })
    }

    /// The first answer of the path on one of the two forwarded ports.
    fn first_answer(&self, to: SocketAddr, host: &str, path: &str) -> http::Answer {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = wait::until(path, || {
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
    fn monitor(&self, line: &str) -> UnixStream {
        let mut monitor = UnixStream::connect(self.folder.path().join("monitor")).unwrap();
        writeln!(monitor, "{line}").unwrap();
        monitor
    }

    fn wait(mut self) -> (ExitStatus, String) {
        let status = wait::until("QEMU's end", || self.qemu.try_wait().unwrap());
        eprintln!("{:>7.3}  QEMU has ended", self.began.elapsed().as_secs_f32());
        (status, self.console.lock().unwrap().clone())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended, as it should.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

#[test]
fn images_vm_b03_boots_serves_and_powers_off() {
    let Some(machine) = Machine::boot() else { return };

    let jobs = machine.first_answer(machine.api, "127.0.0.1", "/jobs").json();
    let boot = jobs.as_array().unwrap().iter().find(|job| job["id"] == "boot").unwrap();
    assert_eq!(boot["spec"]["exec"], "bootctl", "from the kernel command line: {boot}");
    assert_eq!(boot["spec"]["args"][0], "boot", "{boot}");
    let init = machine.first_answer(machine.api, "127.0.0.1", "/job/init").json();
    assert_eq!(init["pid"], 1, "{init}");
    let page = machine.first_answer(machine.proxy, "hello.localhost", "/");
    assert!(page.body.contains("app: hello.localhost\n"), "{page:?}");

    let end = http::request(machine.api, "PUT", "/job/init/stop?then=poweroff", "", "");
    assert_eq!(end.status, 202, "{end:?}");
    let (status, console) = machine.wait();
    assert!(status.success(), "{status}");
    assert!(console.contains("Power down") && !console.contains("panic"), "{console}");
}

#[test]
fn images_vm_i17_ctrl_alt_del_reboots() {
    let Some(machine) = Machine::boot() else { return };

    machine.first_answer(machine.proxy, "hello.localhost", "/healthz");
    let _open_until_the_keys_are_up = machine.monitor("sendkey ctrl-alt-delete");
    // It was told not to boot again.
    let (status, console) = machine.wait();
    assert!(status.success(), "{status}");
    assert!(console.contains("Restarting system") && !console.contains("panic"), "{console}");
}
