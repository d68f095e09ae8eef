//! The Debian package, on this machine's own Debian: its root, under a layer in memory that is gone with the test.
//! dpkg and its table of packages are the real ones, processes and network are the test's.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use jobinit_tests::binaries::program;
use jobinit_tests::{image, tools, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use serde_json::Value;
use tempfile::TempDir;

/// Puts the layer over this machine's root, and waits.
const LAYER: &str = r#"
set -e
mount -t tmpfs layer "$0"
cd "$0"
mkdir upper work root
mount -t overlay root -o lowerdir=/,upperdir="$0/upper",workdir="$0/work" root
mount -t proc proc root/proc
for memory in run tmp; do mount -t tmpfs $memory root/$memory; done
mount --bind /dev root/dev
ip link set lo up
echo ready >"$0/root/tmp/ready"
exec chroot root sleep 1000
"#;
/// What a container's entrypoint is; its processes are its own.
const ENTRYPOINT: &str = "mount -t proc proc /proc && \
     exec /usr/lib/jobinit/init --boot-exit respawn -- /usr/lib/jobinit/bootctl boot";
const APP: &str = "exec = \"/demo/demo-hello\"\ninstances = 2\n[health]\nhttp = \"/healthz\"\n";
const CONFIG: &str = "# mine\n[proxy]\nlisten = \"127.0.0.1:80\"\n";
/// Asks without a pause, and notes how each request went.
const LOAD: &str = "while [ ! -e /tmp/enough ]; do \
     curl -s -o /dev/null -m 10 -w '%{http_code}\n' -H 'Host: hello.localhost' http://127.0.0.1/; done";
/// How many requests are to be answered before, and after, something happens.
const SOME: usize = 20;

/// A process in namespaces of its own, killed with the test.
struct Inside(Child);

impl Inside {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().expect("it can be run"))
    }

    /// The process that `unshare` has started.
    fn first(&self) -> Option<u32> {
        let id = self.0.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }

    /// A command among its processes, in its root and its network.
    fn command(&self, words: &[&str]) -> Command {
        self.enter(&["--mount", "--pid", "--net", "--uts", "--ipc"], words)
    }

    /// A command in some of its namespaces, and in its root.
    fn enter(&self, namespaces: &[&str], words: &[&str]) -> Command {
        let first = self.first().expect("it runs").to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &first]).args(namespaces);
        command.args(["--root", "--wd=/", "--"]).args(words).stdin(Stdio::null());
        command.current_dir("/");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
        command
    }

    fn says(&self, words: &[&str]) -> Output {
        let output = self.command(words).output().expect("it can be run");
        eprintln!("{words:?}: {output:?}");
        output
    }

    #[track_caller]
    fn done(&self, words: &[&str]) -> String {
        let output = self.says(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// dpkg, without what other packages would do after it.
    fn dpkg(&self, words: &[&str]) -> Output {
        let usual = ["dpkg", "--no-triggers", "--force-unsafe-io"];
        self.says(&usual.into_iter().chain(words.iter().copied()).collect::<Vec<_>>())
    }

    #[track_caller]
    fn dpkg_done(&self, words: &[&str]) {
        let output = self.dpkg(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
    }

    /// dpkg's word for how the package stands: `ii `, `iF `, `rc `.
    fn standing(&self) -> Option<String> {
        let output = self.says(&["dpkg-query", "-W", "-f", "${db:Status-Abbrev}", "jobinit"]);
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // With the first process of the namespace end the others.
        if let Some(first) = self.first() {
            let _ = kill(Pid::from_raw(first.cast_signed()), Signal::SIGKILL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// This machine's Debian, to be changed at will.
struct Debian {
    inside: Inside,
    folder: TempDir,
}

impl Debian {
    /// `None` where it cannot be had.
    fn start() -> Option<Self> {
        if !tools::present(&["dpkg", "dpkg-deb", "unshare", "nsenter", "ip", "curl"]) {
            return None;
        }
        if !Uid::effective().is_root() {
            tools::skip("only root can install packages");
            return None;
        }
        let folder = TempDir::new().unwrap();
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--pid", "--fork", "--kill-child", "--net", "--uts", "--ipc"]);
        unshare.args(["sh", "-c", LAYER]).arg(folder.path());
        let mut debian = Self { inside: Inside::start(&mut unshare), folder };
        let is_there = wait::until("the layer", || {
            let ended = debian.inside.0.try_wait().unwrap().map(|_| false);
            ended.or_else(|| Some(debian.root()?.join("tmp/ready").exists()).filter(|ready| *ready))
        });
        if !is_there {
            tools::skip("this machine's root takes no layer");
        }
        is_there.then_some(debian)
    }

    /// Its root, as it is seen from here.
    fn root(&self) -> Option<PathBuf> {
        // Until its shell has come so far it has the folder of the test, or none.
        let root = PathBuf::from(format!("/proc/{}/root", self.inside.first()?));
        Some(root)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root().expect("it runs").join(path.trim_start_matches('/'))
    }

    /// Builds a package of the programs in `bin` where it can be installed from.
    fn build(&self, bin: &Path, version: &str) -> String {
        let built = self.folder.path().join(version);
        let mut package = image::script("dist/package");
        package.env("JOBINIT_BIN", bin).env("JOBINIT_DIST", &built).env("DEB_VERSION", version);
        package.env("DEB_COMPRESSION", "none");
        image::run(package);
        let name = format!("jobinit_{version}_amd64.deb");
        fs::copy(built.join(&name), self.path("tmp").join(&name)).unwrap();
        format!("/tmp/{name}")
    }

    /// What the packages and their programs have left, but for dpkg's own table.
    fn left(&self) -> Vec<String> {
        let find = "find /etc /usr /var /run -xdev \\( -path /var/lib/dpkg -o -path /proc \\) -prune \
                    -o \\( -path '*bootctl*' -o -path '*jobinit*' \\) ! -type d -print";
        let found = self.inside.done(&["sh", "-c", &format!("{find} | sort")]);
        // Shells bring completions for another command of that name.
        let shells = ["/usr/share/fish/completions/", "/usr/share/zsh/"];
        let theirs = |path: &&str| shells.iter().any(|shell| path.starts_with(shell));
        found.lines().filter(|path| !theirs(path)).map(str::to_owned).collect()
    }
}

/// The three programs as another build of them would be.
fn rebuilt(folder: &Path, break_init: bool) -> PathBuf {
    fs::create_dir(folder).unwrap();
    for name in ["init", "bootctl", "proxyd"] {
        let mut bytes = fs::read(program(name)).unwrap();
        bytes.extend(b"another build");
        if break_init && name == "init" {
            bytes = b"#!/bin/sh\nexit 1\n".into();
        }
        fs::write(folder.join(name), bytes).unwrap();
        fs::set_permissions(folder.join(name), PermissionsExt::from_mode(0o755)).unwrap();
    }
    folder.to_owned()
}

/// init as a container's first process, with its supervisor, the proxy and an app, and somebody who uses the app.
struct Running {
    inside: Inside,
    load: Child,
    answers: PathBuf,
}

impl Running {
    #[track_caller]
    fn start(debian: &Debian) -> Self {
        let words =
            ["unshare", "--pid", "--mount", "--fork", "--kill-child", "sh", "-c", ENTRYPOINT];
        let inside = Inside::start(
            &mut debian.inside.enter(&["--mount", "--net", "--uts", "--ipc"], &words),
        );
        wait::until("bootctl to answer", || {
            inside.first()?;
            inside.says(&["bootctl", "reload"]).status.success().then_some(())
        });
        let answers = debian.folder.path().join("answers");
        let mut load = debian.inside.command(&["sh", "-c", LOAD]);
        let load = load.stdout(File::create(&answers).unwrap()).spawn().unwrap();
        Self { inside, load, answers }
    }

    /// Waits until some more requests were answered; all of them well.
    #[track_caller]
    fn serves(&self) {
        let all = || fs::read_to_string(&self.answers).unwrap();
        let before = all().lines().count();
        let answers = wait::until("answers", || {
            Some(all()).filter(|answers| answers.lines().count() > before + SOME)
        });
        let bad: Vec<_> = answers.lines().filter(|code| *code != "200").collect();
        assert!(bad.is_empty(), "{bad:?} of {before}");
    }

    /// What runs by job: its process, and its program as the kernel knows it.
    fn programs(&self) -> BTreeMap<String, (u64, String)> {
        let jobs: Value =
            serde_json::from_str(&self.inside.done(&["bootctl", "jobs", "--json"])).unwrap();
        let jobs = jobs.as_array().unwrap().iter().filter(|job| job["pid"].is_u64());
        let jobs = jobs.map(|job| (job["id"].as_str().unwrap(), job["pid"].as_u64().unwrap()));
        let exe =
            |pid| self.inside.done(&["readlink", &format!("/proc/{pid}/exe")]).trim().to_owned();
        let all = jobs.chain([("init", 1)]);
        all.map(|(id, pid)| (id.to_owned(), (pid, exe(pid)))).collect()
    }

    /// The processes of the app.
    fn app(&self) -> Vec<u64> {
        let of_app = |id: &str| id.starts_with("hello.localhost");
        self.programs().into_iter().filter(|(id, _)| of_app(id)).map(|(_, (pid, _))| pid).collect()
    }

    fn end(mut self, debian: &Debian) {
        fs::write(debian.path("tmp/enough"), "").unwrap();
        assert!(self.load.wait().unwrap().success());
        let first = self.inside.first().expect("it runs");
        kill(Pid::from_raw(first.cast_signed()), Signal::SIGTERM).unwrap();
        let status = wait::until("init's end", || self.inside.0.try_wait().unwrap());
        assert!(status.success(), "{status}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.load.kill();
        let _ = self.load.wait();
    }
}

#[test]
fn images_package_is_installed_renewed_under_load_removed_and_purged() {
    let Some(debian) = Debian::start() else { return };
    let folder = debian.folder.path();
    let first = debian.build(program("init").parent().unwrap(), "0.1-1");
    let next = debian.build(&rebuilt(&folder.join("rebuilt"), false), "0.2-1");
    let broken = debian.build(&rebuilt(&folder.join("broken"), true), "0.3-1");
    let inside = &debian.inside;

    // Installed where nothing runs, nothing is started; once more is no harm.
    for _ in 0..2 {
        inside.dpkg_done(&["--install", &first]);
    }
    let mode = |path: &str| fs::metadata(debian.path(path)).unwrap().mode() & 0o7777;
    assert_eq!(["var/lib/bootctl", "var/log/bootctl"].map(mode), [0o700, 0o750]);
    let command = fs::read_link(debian.path("usr/sbin/bootctl")).unwrap();
    assert_eq!(command, Path::new("../lib/jobinit/bootctl"));
    assert_eq!(inside.done(&["bootctl", "check"]).trim(), "0 apps, no problems");
    assert_eq!(inside.says(&["bootctl", "jobs"]).status.code(), Some(3));
    // Without a trace, where nobody has used it.
    inside.dpkg_done(&["--purge", "jobinit"]);
    assert_eq!(debian.left(), [""; 0]);

    inside.dpkg_done(&["--install", &first]);
    fs::write(debian.path("etc/bootctl/bootctl.toml"), CONFIG).unwrap();
    fs::write(debian.path("etc/bootctl/apps/hello.localhost.toml"), APP).unwrap();
    fs::create_dir(debian.path("demo")).unwrap();
    fs::copy(program("demo-hello"), debian.path("demo/demo-hello")).unwrap();
    let running = Running::start(&debian);
    running.serves();
    let (before, app) = (running.programs(), running.app());
    assert_eq!(app.len(), 2, "{before:?}");

    // The next version: all of it runs, and no request knows.
    running.inside.dpkg_done(&["--install", &next]);
    running.serves();
    assert_eq!(running.app(), app);
    let after = running.programs();
    for (job, name) in [("init", "init"), ("boot", "bootctl"), ("collector", "bootctl")] {
        assert_eq!(after[job].1, format!("/usr/lib/jobinit/{name}"), "{after:?}");
    }
    let proxies: Vec<_> = after.values().filter(|(_, exe)| exe.contains("proxyd")).collect();
    assert!(
        matches!(proxies.as_slice(), [(_, exe)] if exe == "/usr/lib/jobinit/proxyd"),
        "{after:?}"
    );
    assert_ne!(before["boot"].0, after["boot"].0);
    assert_eq!(fs::read_to_string(debian.path("etc/bootctl/bootctl.toml")).unwrap(), CONFIG);

    // One whose init cannot take over: dpkg is told, all goes on, and a good one mends it.
    let output = running.inside.dpkg(&["--install", &broken]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("what ran goes on"), "{said}");
    assert_eq!(inside.standing().as_deref(), Some("iF "));
    running.serves();
    assert_eq!((running.app(), running.programs()["boot"].0), (app.clone(), after["boot"].0));
    running.inside.dpkg_done(&["--install", &next]);
    assert_eq!(running.app(), app);

    // Nothing is removed from below what runs.
    let output = running.inside.dpkg(&["--remove", "jobinit"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("nothing is removed"), "{said}");
    assert_eq!(inside.standing().as_deref(), Some("ri "), "it is still installed");
    running.serves();
    running.end(&debian);

    inside.dpkg_done(&["--remove", "jobinit"]);
    let is_data = |path: &str| path.starts_with("/var/l") || path.starts_with("/etc/bootctl/");
    let left = debian.left();
    assert!(left.iter().any(|path| path == "/etc/bootctl/bootctl.toml"), "{left:?}");
    inside.dpkg_done(&["--purge", "jobinit"]);
    assert_eq!(inside.standing(), None);
    let left = debian.left();
    assert!(left.iter().all(|path| is_data(path)), "{left:?}");
    assert!(left.iter().any(|path| path.ends_with("apps/hello.localhost.toml")), "{left:?}");
    assert!(!left.iter().any(|path| path.ends_with("bootctl.toml")), "{left:?}");
}

#[test]
fn images_package_is_to_lintians_liking() {
    if !tools::present(&["dpkg-deb", "lintian"]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let mut package = image::script("dist/package");
    package.env("JOBINIT_DIST", folder.path()).env("DEB_COMPRESSION", "gzip");
    image::run(package);
    let found = fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.path());
    let packages: Vec<_> =
        found.filter(|path| path.extension().is_some_and(|end| end == "deb")).collect();
    assert_eq!(packages.len(), 1);
    let output =
        Command::new("lintian").args(["--fail-on", "error,warning"]).args(&packages).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
}
