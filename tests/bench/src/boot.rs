//! `boot`: how soon after its kernel a machine serves, by the machine's own clock, beside others that are started by
//! the same kernel, with the same app, in the same emulation.
//!
//! The machine's clock counts instructions, one a nanosecond, and jumps where nobody has anything to do: so a figure is
//! the same however busy the machine below is. It is not a real machine's time.
//!
//! Of ours the first request goes through the proxy; what the others start is the app alone. Roots of Debian's are
//! made once, by mmdebstrap, into `target/peers/roots`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jobinit_tests::binaries::program;
use jobinit_tests::image;
use jobinit_tests::machine::can_boot;
use tempfile::TempDir;

use crate::report::{Row, median, target};

const ROUNDS: usize = 3;
/// Milliseconds that each may take.
const API: f64 = 30.0;
const PAGE: f64 = 150.0;
const PATIENCE: &str = "180";
const APP: &str = "exec = \"/usr/bin/demo-hello\"\n[health]\nhttp = \"/healthz\"\n";
/// Whom the stopwatch asks.
const PORT: &str = "9000";
const INITTAB: &str = "
ap:2345:respawn:/usr/bin/vm-stopwatch serve 9000
sw:2345:once:/usr/bin/vm-stopwatch page 127.0.0.1:9000 x
";
const BUSYBOX: &str = "
::sysinit:/usr/bin/busybox mount -t proc proc /proc
::sysinit:/usr/bin/busybox mount -t sysfs sysfs /sys
::sysinit:/usr/bin/busybox mount -t devtmpfs devtmpfs /dev
::respawn:/usr/bin/vm-stopwatch serve 9000
::once:/usr/bin/vm-stopwatch page 127.0.0.1:9000 x
";
const FINIT: &str = "
service [12345] /usr/bin/vm-app serve 9000 -- the app
task [12345] /usr/bin/vm-stopwatch page 127.0.0.1:9000 x -- the stopwatch
";

/// A machine.
struct Subject {
    name: &'static str,
    /// Makes its files.
    root: fn(&Path) -> Result<(), String>,
    words: &'static str,
}

const SUBJECTS: &[Subject] = &[
    Subject {
        name: "init, bootctl, proxyd",
        root: ours,
        words: "vm-stopwatch beside 127.0.0.1:80 hello.localhost bootctl boot",
    },
    Subject { name: "busybox init", root: busybox, words: "" },
    Subject { name: "finit", root: |root| debian(root, "finit", finit), words: "" },
    Subject { name: "sysvinit", root: |root| debian(root, "sysvinit", sysvinit), words: "" },
    Subject { name: "systemd", root: |root| debian(root, "systemd", systemd), words: "" },
];

/// What a boot took, in milliseconds.
#[derive(Default)]
struct Times {
    api: Vec<f64>,
    page: Vec<f64>,
    /// Beyond what the app takes by itself.
    beyond: Vec<f64>,
}

pub fn measure() -> Vec<Row> {
    if !can_boot() {
        return Vec::new();
    }
    let mut rows = Vec::new();
    let mut ours = 0.0;
    for subject in SUBJECTS {
        let times = match boot(subject) {
            Ok(times) => times,
            Err(why) => {
                eprintln!("bench: SKIPPED {} of boot: {why}", subject.name);
                continue;
            }
        };
        let row = |what: &str, values: &[f64]| {
            Row::new("boot", &format!("{}: {what}", subject.name), median(values.to_vec()), "ms")
        };
        if !times.api.is_empty() {
            rows.push(
                row("API answers", &times.api).compared("what it may take", API).at_most(1.0),
            );
        }
        rows.push(row("first request", &times.page));
        let beyond = row("beyond the app's start", &times.beyond);
        if ours == 0.0 {
            ours = beyond.value;
            rows.push(beyond.compared("what it may take", PAGE).at_most(1.0));
        } else {
            rows.push(beyond.compared("ours", ours));
        }
    }
    rows
}

fn boot(subject: &Subject) -> Result<Times, String> {
    let folder = TempDir::new().map_err(|error| error.to_string())?;
    let root = folder.path().join("root");
    make_folders(&root)?;
    (subject.root)(&root)?;
    for name in ["demo-hello", "vm-stopwatch"] {
        place(&program(name), &root.join("usr/bin").join(name))?;
    }
    write(&root.join("stopwatch"), "")?;
    let archive = folder.path().join("initramfs");
    let pack = "cd \"$0\" && find . | cpio --quiet -o -H newc -R 0:0 >\"$1\"";
    done(Command::new("sh").args(["-c", pack]).arg(&root).arg(&archive))?;
    fs::remove_dir_all(&root).map_err(|error| error.to_string())?;
    let mut times = Times::default();
    for _ in 0..ROUNDS {
        let console = run(&archive, subject.words)?;
        let of = |name: &str| {
            let mark = format!("stopwatch: {name} ");
            let rest = console.split(&mark).nth(1)?.split_whitespace().next()?;
            rest.parse::<f64>().ok().map(|micros| micros / 1000.0)
        };
        let (Some(page), Some(own)) = (of("page"), of("own")) else {
            return Err(format!("it has not served: {console}"));
        };
        times.api.extend(of("api"));
        times.page.push(page);
        times.beyond.push(page - own);
    }
    Ok(times)
}

/// What its console has said by its end.
fn run(archive: &Path, words: &str) -> Result<String, String> {
    let mut qemu = Command::new("timeout");
    qemu.args([PATIENCE, "qemu-system-x86_64", "-accel", "tcg", "-icount", "shift=0,sleep=off"]);
    qemu.args(["-m", "1024", "-no-reboot", "-nodefaults"]);
    qemu.args(["-display", "none", "-serial", "stdio", "-kernel"]);
    qemu.arg(target().join("vm-cache/vmlinuz")).arg("-initrd").arg(archive);
    let line = format!("console=ttyS0 quiet panic=-1 rdinit=/sbin/init -- {words}");
    let line = line.trim_end_matches(" -- ").to_owned();
    qemu.args(["-append", &line]).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = qemu.output().map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn make_folders(root: &Path) -> Result<(), String> {
    for folder in [
        "sbin",
        "usr/bin",
        "etc/bootctl/apps",
        "proc",
        "sys",
        "dev",
        "run",
        "tmp",
        "var/lib/bootctl",
        "var/log/bootctl",
    ] {
        fs::create_dir_all(root.join(folder)).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn ours(root: &Path) -> Result<(), String> {
    place(&program("init"), &root.join("sbin/init"))?;
    for name in ["bootctl", "proxyd"] {
        place(&program(name), &root.join("usr/bin").join(name))?;
    }
    for name in ["passwd", "group"] {
        place(&image::path("etc").join(name), &root.join("etc").join(name))?;
    }
    write(&root.join("etc/bootctl/apps/hello.localhost.toml"), APP)?;
    write(&root.join("etc/bootctl/bootctl.toml"), "")
}

fn busybox(root: &Path) -> Result<(), String> {
    place_busybox(root)?;
    link("../usr/bin/busybox", &root.join("sbin/init"))?;
    write(&root.join("etc/inittab"), BUSYBOX)
}

/// A root of Debian's, in which the app and the stopwatch are started as one does there.
fn debian(root: &Path, name: &str, add: fn(&Path) -> Result<(), String>) -> Result<(), String> {
    let archive = target().join(format!("peers/roots/{name}.tar"));
    if !archive.exists() {
        return Err(format!(
            "{} is not there: tests/install-deps bench makes it, as root",
            archive.display()
        ));
    }
    fs::remove_dir_all(root)
        .and_then(|()| fs::create_dir(root))
        .map_err(|error| error.to_string())?;
    done(Command::new("tar").arg("-C").arg(root).arg("-xf").arg(archive))?;
    place_busybox(root)?;
    add(root)
}

fn finit(root: &Path) -> Result<(), String> {
    fs::create_dir_all(root.join("etc/finit.d")).map_err(|error| error.to_string())?;
    // Of two lines with the same program it takes the latter alone.
    link("vm-stopwatch", &root.join("usr/bin/vm-app"))?;
    write(&root.join("etc/finit.d/app.conf"), FINIT)
}

fn sysvinit(root: &Path) -> Result<(), String> {
    let table = root.join("etc/inittab");
    let text = fs::read_to_string(&table)
        .or_else(|_| fs::read_to_string(root.join("usr/share/sysvinit/inittab")));
    let text = text.map_err(|error| format!("its inittab: {error}"))?;
    write(&table, &(text + INITTAB))
}

fn systemd(root: &Path) -> Result<(), String> {
    let units = root.join("etc/systemd/system");
    let wanted = units.join("multi-user.target.wants");
    fs::create_dir_all(&wanted).map_err(|error| error.to_string())?;
    for (name, words) in
        [("app", format!("serve {PORT}")), ("watch", format!("page 127.0.0.1:{PORT} x"))]
    {
        let text = format!("[Service]\nExecStart=/usr/bin/vm-stopwatch {words}\n");
        write(&units.join(format!("{name}.service")), &text)?;
        link(&format!("../{name}.service"), &wanted.join(format!("{name}.service")))?;
    }
    Ok(())
}

fn place_busybox(root: &Path) -> Result<(), String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("busybox"));
    let found: Option<PathBuf> = found.into_iter().find(|path| path.exists());
    place(&found.ok_or("busybox is not installed")?, &root.join("usr/bin/busybox"))
}

fn place(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to).map_err(|error| format!("{}: {error}", to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).map_err(|error| error.to_string())
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn link(to: &str, path: &Path) -> Result<(), String> {
    symlink(to, path).map_err(|error| format!("{}: {error}", path.display()))
}

fn done(command: &mut Command) -> Result<(), String> {
    let status = command.stdin(Stdio::null()).status().map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
}
