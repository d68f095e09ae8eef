//! The OCI image: the same from the same binaries, small, and running where nearly everything is forbidden: as
//! nobody, without a capability, on a root that cannot be written, behind the usual list of system calls.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio, id};
use std::thread;

use jobinit_tests::binaries::program;
use jobinit_tests::{http, image, tools, wait};
use nix::unistd::Uid;
use serde_json::{Value, json};
use tempfile::TempDir;

/// With what is in it compressed, as it is pulled.
const LARGEST: u64 = 12 << 20;
const SECCOMP: &str = "/usr/share/containers/seccomp.json";
const NOBODY: u32 = 65534;
const HELLO: &str = "exec = \"/demo/demo-hello\"\n[health]\nhttp = \"/healthz\"\n";
/// Has to be killed, half a second after it was asked to end.
const STUBBORN: &str = "exec = \"/demo/busybox\"\nweb = false\n[stop]\ntimeout = \"500ms\"\n";
const STUBBORNS: &str = "args = [\"sh\", \"-c\", \"trap '' TERM; while :; do sleep 1; done\"]\n";

fn assemble(folder: &Path) -> u64 {
    let mut layout = image::script("oci/layout");
    layout.env("JOBINIT_IMAGE", folder);
    image::run(layout);
    let blobs = fs::read_dir(folder.join("blobs/sha256")).unwrap().flatten();
    blobs.map(|blob| blob.metadata().unwrap().len()).sum()
}

/// A whole bundle of the image, as a tool of others makes it.
fn unpack(layout: &Path, bundle: &Path) -> Value {
    let mut umoci = Command::new("umoci");
    umoci.args(["unpack", "--image", &format!("{}:latest", layout.display())]).arg(bundle);
    let output = umoci.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&fs::read(bundle.join("config.json")).unwrap()).unwrap()
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
    let linux = config["linux"].as_object_mut().unwrap();
    // Its network is that of the test, and it has no group of its own, for machines with old ones.
    linux["namespaces"].as_array_mut().unwrap().retain(|one| one["type"] != "network");
    linux.remove("resources");
    linux.remove("cgroupsPath");
    linux.insert("seccomp".into(), seccomp());
    let mounts = config["mounts"].as_array_mut().unwrap();
    let writable = ["/run", "/tmp", "/var/lib/bootctl", "/var/log/bootctl"];
    mounts.retain(|mount| {
        let place = mount["destination"].as_str().unwrap();
        place != "/sys/fs/cgroup" && !writable.contains(&place)
    });
    for place in writable {
        mounts.push(json!({
            "destination": place, "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "nodev", "noexec", "mode=700", "size=16m", "uid=65534", "gid=65534"],
        }));
    }
}

/// What Docker and Podman allow to a container without capabilities, in the words of a runtime.
fn seccomp() -> Value {
    let all: Value = serde_json::from_slice(&fs::read(SECCOMP).unwrap()).unwrap();
    let rules = all["syscalls"].as_array().unwrap().iter().filter(|rule| {
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

/// A running container, deleted with the test.
struct Container {
    runtime: &'static str,
    child: Child,
    name: String,
    said: Option<thread::JoinHandle<String>>,
}

impl Container {
    fn run(runtime: &'static str, bundle: &Path) -> Self {
        let name = format!("jobinit-{}-{}", runtime, id());
        let mut command = tool(runtime);
        command.args(["run", "--bundle"]).arg(bundle).arg(&name);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let said = thread::spawn(move || {
            let lines = lines.map_while(Result::ok).inspect(|line| eprintln!("{line}"));
            lines.map(|line| line + "\n").collect()
        });
        Self { runtime, child, name, said: Some(said) }
    }

    fn end(mut self) -> (Option<i32>, String) {
        let told = tool(self.runtime).args(["kill", &self.name, "TERM"]).status().unwrap();
        assert!(told.success(), "{told}");
        let status = wait::until("its end", || self.child.try_wait().unwrap());
        let said = self.said.take().unwrap().join().unwrap();
        (status.code(), said)
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

fn tool(runtime: &str) -> Command {
    if runtime == "crun" { image::script("oci/crun") } else { Command::new(runtime) }
}

fn bind(config: &mut Value, place: &str, source: &Path) {
    config["mounts"].as_array_mut().unwrap().push(json!({
        "destination": place, "type": "bind", "source": source, "options": ["bind", "ro"],
    }));
}

fn hello(proxy: SocketAddr) -> Option<http::Answer> {
    let request = "GET / HTTP/1.1\r\nHost: hello.localhost\r\nConnection: close\r\n\r\n";
    let answer = http::Answer::parse(&http::raw(proxy, request.as_bytes()).ok()?)?;
    (answer.status == 200).then_some(answer)
}

#[test]
fn images_oci_i16_the_image_is_small_always_the_same_and_content_with_nothing() {
    let folder = TempDir::new().unwrap();
    let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
    let size = assemble(&one);
    assert!(size <= LARGEST, "{size} bytes");
    assemble(&other);
    let index = |layout: &Path| fs::read_to_string(layout.join("index.json")).unwrap();
    assert_eq!(index(&one), index(&other));
    if !tools::present(&["umoci", "crun", "runc", "busybox", SECCOMP]) {
        return;
    }
    if !Uid::effective().is_root() {
        return tools::skip("only root can run the container");
    }

    let bundle = folder.path().join("bundle");
    let whole = unpack(&one, &bundle);
    assert_eq!(whole["process"]["args"], json!(["/sbin/init", "--", "bootctl", "boot"]));
    let [apps, demo] = ["apps", "demo"].map(|name| folder.path().join(name));
    for folder in [&apps, &demo] {
        fs::create_dir(folder).unwrap();
    }
    fs::write(apps.join("hello.localhost.toml"), HELLO).unwrap();
    let (head, tail) = STUBBORN.split_once("[stop]").unwrap();
    fs::write(apps.join("stubborn.toml"), format!("{head}{STUBBORNS}[stop]{tail}")).unwrap();
    fs::copy(program("demo-hello"), demo.join("demo-hello")).unwrap();
    let busybox = "cp \"$(command -v busybox)\" .";
    assert!(
        Command::new("sh").args(["-c", busybox]).current_dir(&demo).status().unwrap().success()
    );
    // What nobody may come through would be no bundle for nobody.
    for path in [folder.path(), &bundle] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(path, mode).unwrap();
    }

    for runtime in ["crun", "runc"] {
        let [proxy, api] = image::free_addresses();
        let mut config = whole.clone();
        harden(&mut config);
        bind(&mut config, "/etc/bootctl/apps", &apps);
        bind(&mut config, "/demo", &demo);
        let process = &mut config["process"];
        process["env"].as_array_mut().unwrap().push(json!(format!("INIT_LISTEN={api}")));
        let words = [json!("--proxy-listen"), json!(proxy.to_string())];
        process["args"].as_array_mut().unwrap().extend(words);
        fs::write(bundle.join("config.json"), config.to_string()).unwrap();

        let container = Container::run(runtime, &bundle);
        let page = wait::until_for(wait::PATIENCE * 3, "the app's page", || hello(proxy));
        assert!(page.body.contains("app: hello.localhost\n"), "{page:?}");
        let state = tool(runtime).args(["state", &container.name]).output().unwrap();
        let state: Value = serde_json::from_slice(&state.stdout).unwrap();
        let status = fs::read_to_string(format!("/proc/{}/status", state["pid"])).unwrap();
        let said: BTreeSet<&str> = status.lines().collect();
        for line in ["NoNewPrivs:\t1", "CapEff:\t0000000000000000", "Seccomp:\t2"] {
            assert!(said.contains(line), "{line} in {status}");
        }
        // As a probe asks, inside.
        let user = format!("{NOBODY}:{NOBODY}");
        let probe = tool(runtime)
            .args(["exec", "--user", &user, &container.name, "bootctl", "status"])
            .output()
            .unwrap();
        assert!(probe.status.success(), "{probe:?}");

        let (code, said) = container.end();
        assert_eq!(code, Some(0), "{said}");
        let at = |text: &str| said.find(text).unwrap_or_else(|| panic!("{text} in {said}"));
        for app in ["retiring hello.localhost.1", "retiring stubborn.1"] {
            assert!(at("winding down") < at(app) && at(app) < at("stopping proxyd"), "{said}");
        }
    }
    has_a_terminal(&whole, &bundle, &demo);
}

/// A shell as the command: a terminal, what is typed there, and its exit code.
fn has_a_terminal(whole: &Value, bundle: &Path, demo: &Path) {
    let mut config = whole.clone();
    harden(&mut config);
    bind(&mut config, "/demo", demo);
    let [_, api] = image::free_addresses();
    let process = &mut config["process"];
    process["terminal"] = json!(true);
    process["env"].as_array_mut().unwrap().push(json!(format!("INIT_LISTEN={api}")));
    let script = "/demo/busybox tty; read line; echo got $line; exit 7";
    process["args"] = json!(["/sbin/init", "--", "/demo/busybox", "sh", "-c", script]);
    fs::write(bundle.join("config.json"), config.to_string()).unwrap();
    let name = format!("jobinit-tty-{}", id());
    let crun = image::path("oci/crun");
    let line = format!("{} run --bundle {} {name}", crun.display(), bundle.display());
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut typed = child.stdin.take().unwrap();
    typed.write_all(b"word\n").unwrap();
    let status = wait::until("its end", || child.try_wait().unwrap());
    drop(typed);
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(7), "{said}");
    assert!(said.contains("/dev/pts/0") && said.contains("got word"), "{said}");
}
