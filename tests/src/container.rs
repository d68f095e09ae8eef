//! The image as a container, under a runtime of others, where nearly everything is forbidden.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio, id};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nix::unistd::Uid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::binaries::program;
use crate::{image, tools, wait};

/// Each is to take the image.
pub const RUNTIMES: [&str; 2] = ["crun", "runc"];
/// Who the image runs as.
pub const NOBODY: u32 = 65534;
const SECCOMP: &str = "/usr/share/containers/seccomp.json";
/// What has to be writable.
const WRITABLE: [&str; 4] = ["/run", "/tmp", "/var/lib/bootctl", "/var/log/bootctl"];

/// The image, unpacked by a tool of others, and a folder beside it with busybox and an app.
pub struct Bundle {
    folder: TempDir,
    config: Value,
}

impl Bundle {
    /// Of the image of that layout; `None` where containers cannot be run.
    pub fn new(layout: &Path) -> Option<Self> {
        if !tools::present(&["umoci", "crun", "runc", "busybox", SECCOMP]) {
            return None;
        }
        if !Uid::effective().is_root() {
            tools::skip("only root can run the container");
            return None;
        }
        let folder = TempDir::new().expect("a folder");
        let [path, demo] = ["bundle", "demo"].map(|name| folder.path().join(name));
        let mut umoci = Command::new("umoci");
        umoci.args(["unpack", "--image", &format!("{}:latest", layout.display())]).arg(&path);
        let output = umoci.output().expect("umoci can be run");
        assert!(output.status.success(), "{output:?}");
        let config = fs::read(path.join("config.json")).expect("umoci has written it");
        let config = serde_json::from_slice(&config).expect("JSON");
        fs::create_dir(&demo).expect("a folder");
        fs::copy(program("demo-hello"), demo.join("demo-hello")).expect("it is there");
        let busybox = "cp \"$(command -v busybox)\" .";
        let copied = Command::new("sh").args(["-c", busybox]).current_dir(&demo).status();
        assert!(copied.is_ok_and(|status| status.success()));
        // What nobody may come through would be no bundle for nobody.
        for path in [folder.path(), &path] {
            fs::set_permissions(path, Permissions::from_mode(0o755)).expect("it is ours");
        }
        Some(Self { folder, config })
    }

    /// The same of an image that is made for it.
    pub fn make() -> Option<Self> {
        let folder = TempDir::new().expect("a folder");
        let mut layout = image::script("oci/layout");
        layout.env("JOBINIT_IMAGE", folder.path().join("image"));
        image::run(layout);
        Self::new(&folder.path().join("image"))
    }

    /// How the image wants to be run.
    pub fn as_made(&self) -> &Value {
        &self.config
    }

    /// The same, without whatever can be taken, with what is beside it as /demo.
    pub fn hardened(&self) -> Value {
        let mut config = self.config.clone();
        harden(&mut config);
        bind(&mut config, "/demo", &self.folder.path().join("demo"));
        config
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("bundle")
    }

    /// A command that runs it so, under a name that is not taken.
    pub fn command(&self, runtime: &str, config: &Value) -> (Command, String) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("jobinit-{runtime}-{}-{count}", id());
        fs::write(self.path().join("config.json"), config.to_string()).expect("it is ours");
        let mut command = tool(runtime);
        command.args(["run", "--bundle"]).arg(self.path()).arg(&name);
        (command, name)
    }

    /// Starts it so.
    pub fn run(&self, runtime: &'static str, config: &Value) -> Container {
        let (mut command, name) = self.command(runtime, config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the runtime can be run");
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let said = Arc::new(Mutex::new(String::new()));
        let heard = Arc::clone(&said);
        let reader = thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                eprintln!("{line}");
                let mut said = heard.lock().unwrap_or_else(PoisonError::into_inner);
                said.push_str(&line);
                said.push('\n');
            }
        });
        Container { runtime, child, name, said, reader: Some(reader) }
    }
}

/// Takes from a container whatever can be taken.
fn harden(config: &mut Value) {
    config["root"]["readonly"] = json!(true);
    let process = &mut config["process"];
    process["terminal"] = json!(false);
    process["user"] = json!({"uid": NOBODY, "gid": NOBODY});
    process["noNewPrivileges"] = json!(true);
    process["capabilities"] = json!({
        "bounding": [], "effective": [], "permitted": [], "inheritable": [], "ambient": [],
    });
    let linux = config["linux"].as_object_mut().expect("umoci has written it");
    // Its network is that of the test, and it has no group of its own, for machines with old ones.
    linux["namespaces"].as_array_mut().expect("a list").retain(|one| one["type"] != "network");
    linux.remove("resources");
    linux.remove("cgroupsPath");
    linux.insert("seccomp".into(), seccomp());
    let mounts = config["mounts"].as_array_mut().expect("a list");
    mounts.retain(|mount| {
        let place = mount["destination"].as_str().expect("a path");
        place != "/sys/fs/cgroup" && !WRITABLE.contains(&place)
    });
    for place in WRITABLE {
        mounts.push(json!({
            "destination": place, "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "nodev", "noexec", "mode=700", "size=16m", "uid=65534", "gid=65534"],
        }));
    }
}

/// What Docker and Podman allow to a container without capabilities, in the words of a runtime.
fn seccomp() -> Value {
    let all = fs::read(SECCOMP).expect("it is there");
    let all: Value = serde_json::from_slice(&all).expect("JSON");
    let rules = all["syscalls"].as_array().expect("a list").iter().filter(|rule| {
        let list = |key: &str| rule["includes"][key].as_array().cloned().unwrap_or_default();
        let arches = list("arches");
        list("caps").is_empty() && (arches.is_empty() || arches.contains(&json!("amd64")))
    });
    let rules: Vec<Value> = rules
        .map(|rule| {
            let mut short = json!({"names": rule["names"], "action": rule["action"]});
            for key in ["args", "errnoRet"] {
                if !rule[key].is_null() {
                    short[key] = rule[key].clone();
                }
            }
            short
        })
        .collect();
    json!({
        "defaultAction": all["defaultAction"], "defaultErrnoRet": all["defaultErrnoRet"],
        "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules,
    })
}

/// Shows a file or a folder in a container, where it cannot be written.
pub fn bind(config: &mut Value, place: &str, source: &Path) {
    config["mounts"].as_array_mut().expect("a list").push(json!({
        "destination": place, "type": "bind", "source": source, "options": ["bind", "ro"],
    }));
}

/// More words of its command line, or of its environment.
pub fn add(config: &mut Value, list: &str, words: &[&str]) {
    let list = config["process"][list].as_array_mut().expect("a list");
    list.extend(words.iter().map(|word| json!(word)));
}

/// The runtime, in the way in which it works here.
pub fn tool(runtime: &str) -> Command {
    if runtime == "crun" { image::script("oci/crun") } else { Command::new(runtime) }
}

/// The pid namespace of a process, which tells a container's processes from all others.
#[track_caller]
pub fn namespace_of(pid: u32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/pid")).expect("it runs")
}

/// How many processes there are in a pid namespace.
pub fn count_in(namespace: &Path) -> usize {
    let processes = fs::read_dir("/proc").expect("it is mounted").flatten();
    let of = |process: &Path| fs::read_link(process.join("ns/pid"));
    let inside = processes
        .map(|entry| entry.path())
        .filter(|process| of(process).is_ok_and(|link| link == namespace));
    inside.count()
}

/// A running container, deleted with the test.
pub struct Container {
    runtime: &'static str,
    child: Child,
    pub name: String,
    said: Arc<Mutex<String>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Container {
    /// What it has written to standard error.
    pub fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has said that.
    #[track_caller]
    pub fn says(&self, text: &str) {
        wait::until_for(wait::PATIENCE * 3, text, || self.said().contains(text).then_some(()));
    }

    /// The process that the runtime has started, as the host sees it.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        let state = tool(self.runtime).args(["state", &self.name]).output().expect("it can be run");
        let state: Value = serde_json::from_slice(&state.stdout).expect("JSON");
        state["pid"].as_u64().and_then(|pid| pid.try_into().ok()).expect("a number")
    }

    #[track_caller]
    pub fn kill(&self, signal: &str) {
        let told = tool(self.runtime).args(["kill", &self.name, signal]).status();
        assert!(told.as_ref().is_ok_and(ExitStatus::success), "{told:?}");
    }

    /// Its end, and all that it has said.
    #[track_caller]
    pub fn wait(mut self) -> (Option<i32>, String) {
        let status = wait::until("its end", || self.child.try_wait().expect("our child"));
        if let Some(reader) = self.reader.take() {
            reader.join().expect("it only reads");
        }
        (status.code(), self.said())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = tool(self.runtime).args(["delete", "--force", &self.name]).status();
            let _ = self.child.wait();
        }
    }
}
