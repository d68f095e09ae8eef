//! A machine's early boot, and what goes wrong at boot: it comes up, and says what is wrong.

use std::path::Path;
use std::process::Command;

use jobinit_tests::machine::{Machine, Setup, disk};
use jobinit_tests::{image, tools, wait};
use serde_json::json;
use tempfile::TempDir;

const RELAY: &str = include_str!("../../images/vm/apps/relay.toml");

/// Takes the place of the disk checker: the disk called `bad` is beyond repair.
const FSCK: &str = "#!/usr/bin/busybox sh
export PATH=/usr/bin
echo \"$@\" >>/run/checked
busybox dd if=$2 bs=1 skip=1144 count=3 2>/dev/null | busybox grep -q bad && exit 4
exit 1
";

/// What its console says of all that is wrong.
const TOLD: &[&str] = &[
    "\"bootctl.ip=\" of the command line is ignored",
    "\"ip=nonsense\" of the command line is ignored",
    "\"bootctl.runlevel=9\" of the command line is ignored",
    "\"bootctl.shell=\" of the command line is ignored",
    "\"bootctl.token=secret\" of the command line is ignored",
    "\"bootctl.unknown\" of the command line is ignored: bootctl knows no such word",
    "\"bootctl.hostname=-x\" of the command line is ignored",
    "runlevel 3 is asked for",
    "cannot set no.such to \"1\"",
    "line 3 of /etc/sysctl.d/10.conf: a setting is written KEY = VALUE",
    "line 4 of /etc/fstab is ignored",
    "LABEL=bad is not mounted at /bad: it is damaged, and /sbin/fsck.ext4 could not mend it (exit code 4)",
    "UUID=none is not mounted at /missing: it has not shown up within 0 s",
    "the clock was at 97",
    "the config is that of LABEL=conf",
    "whoever is at ttyS1 has a shell",
    "eth0 has 10.0.2.15/24 for",
    "broken.toml",
    "/no/such/app",
];

/// Puts a file onto a disk that is not mounted.
fn put(disk: &Path, name: &str, text: &str) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, text).unwrap();
    let mut debugfs = Command::new("/usr/sbin/debugfs");
    let parent = Path::new(name).parent().unwrap().display().to_string();
    let script = format!("mkdir {parent}\nwrite {} {name}\n", file.display());
    let commands = folder.path().join("commands");
    std::fs::write(&commands, script).unwrap();
    let output = debugfs.arg("-w").arg("-f").arg(commands).arg(disk).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn images_vm_b03_early_boot_does_what_it_is_told_and_no_mistake_stops_it() {
    if !tools::present(&["/usr/sbin/mkfs.ext4", "/usr/sbin/debugfs"]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let disks = ["conf", "data", "bad"].map(|label| {
        let path = folder.path().join(label);
        disk(&path, label);
        path
    });
    put(&disks[0], "apps/relay.toml", RELAY);
    put(&disks[0], "apps/broken.toml", "exec = ");
    put(&disks[0], "apps/gone.toml", "exec = \"/no/such/app\"\n");
    put(&disks[0], "x/y", "");
    // Mistakes, duplicates, and as much as the kernel takes.
    let kernel = format!(
        "bootctl.ip= ip=nonsense ip=:::::::::: ip=dhcp bootctl.config=/nowhere bootctl.config=LABEL=conf \
         bootctl.runlevel=9 bootctl.runlevel=3 bootctl.shell= bootctl.token=secret bootctl.unknown \
         bootctl.hostname=-x sysctl.kernel.panic=7 sysctl.no.such=1 sysctl.. bootctl.shell=ttyS1 a={}",
        "x".repeat(900)
    );
    let files = [
        ("etc/hostname", "from-the-file\n"),
        ("etc/sysctl.d/10.conf", "kernel.panic = 3\nvm/swappiness = 11\nnonsense\n"),
        (
            "etc/fstab",
            "LABEL=data /var/lib/bootctl ext4 noatime,nofail 0 2\nLABEL=bad /bad ext4 nofail 0 2\n\
             UUID=none /missing auto nofail,x-systemd.device-timeout=0 0 0\nnonsense\ntmpfs /scratch tmpfs size=1m 0 0\n",
        ),
        ("sbin/fsck.ext4", FSCK),
    ];
    let serial = folder.path().join("ttyS1").display().to_string();
    let serial = format!("file:{serial}");
    let qemu = ["-rtc", "base=2001-01-01", "-serial", serial.as_str()];
    let setup = Setup {
        shell: true,
        kernel: Some(&kernel),
        files: &files,
        disks: &[&disks[0], &disks[1], &disks[2]],
        qemu: &qemu,
        ..Setup::default()
    };
    let Some(machine) = Machine::boot(&setup) else { return };
    // The relay is an app of the config's disk, behind an address that was lent.
    machine.first_answer(machine.api, "127.0.0.1", "/job/init");

    let says = |script: &str| machine.says(script).trim().to_owned();
    assert_eq!(says("hostname"), "from-the-file");
    assert_eq!(says("cat /proc/sys/kernel/panic /proc/sys/vm/swappiness"), "7\n11");
    let id = says("cat /etc/machine-id");
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    let mounts = says("cut -d' ' -f2,3 /proc/mounts");
    for mount in [
        "/proc proc",
        "/sys sysfs",
        "/sys/fs/cgroup cgroup2",
        "/dev devtmpfs",
        "/dev/pts devpts",
        "/dev/shm tmpfs",
        "/run tmpfs",
        "/tmp tmpfs",
        "/var/lib/bootctl ext4",
        "/scratch tmpfs",
        "/etc/bootctl ext4",
    ] {
        assert_eq!(mounts.lines().filter(|line| *line == mount).count(), 1, "{mount}: {mounts}");
    }
    assert!(!mounts.contains("/bad") && !mounts.contains("/missing"), "{mounts}");
    assert_eq!(says("sort /run/checked"), "-a /dev/vdb\n-a /dev/vdc");
    let controllers = says("cat /sys/fs/cgroup/cgroup.subtree_control");
    for controller in ["cpu", "io", "memory", "pids"] {
        assert!(controllers.split(' ').any(|name| name == controller), "{controllers}");
    }
    assert_eq!(
        says(
            "seed=/var/lib/bootctl/random-seed; until test -s $seed; do usleep 10000; done
            wc -c <$seed; stat -c %a $seed",
        ),
        "64\n600"
    );
    assert!(says("date +%Y").parse::<u32>().unwrap() >= 2026, "the clock was in 2001");
    assert_eq!(says("cat /etc/resolv.conf"), "nameserver 10.0.2.3");
    assert!(says("ip -4 addr show dev eth0; ip route").contains("10.0.2.15/24"));
    // By the router that QEMU has.
    assert!(says("for i in $(seq 50); do grep fec0 /proc/net/if_inet6 && exit; usleep 100000; done; exit 1").contains("eth0"));
    // A bootctl that is started again boots no second time, and keeps what it has.
    machine.run("kill -9 $(pidof bootctl)", &json!({}));
    machine.shows("lent by", 2);
    assert_eq!(says("cut -d' ' -f2,3 /proc/mounts"), mounts);

    let console = machine.console();
    for told in TOLD {
        assert!(console.contains(told), "{told} in {console}");
    }
    assert_eq!(console.matches("early boot").count(), 1, "{console}");
    assert!(!console.contains("panic") && !console.contains("Oops"), "{console}");
    let shell = std::fs::read_to_string(folder.path().join("ttyS1")).unwrap();
    assert!(shell.contains('#'), "a shell waits: {shell:?}");

    // By the administrator's own word, once the next bootctl is there to take it.
    machine.says("until bootctl status; do usleep 50000; done");
    // What it says goes to the console: the relay ends with the machine, and with it this side's connections.
    machine.begin("exec bootctl poweroff >/dev/console 2>&1");
    let (status, console) = machine.wait();
    assert!(console.contains("then the machine is powered off"), "{console}");
    assert!(status.success() && console.contains("Power down"), "{console}");
}

/// What the kernel starts: one after the other is wrong, and is put right by nobody but the administrator.
const BOOTS: &str = "#!/usr/bin/busybox sh
export PATH=/usr/bin:/sbin
[ -e /dev/null ] || : >/dev/null
busybox rm -f /etc/bootctl/apps/relay.toml
read -r boots </boots.count
case $boots in '') vm-relay 0.0.0.0:81 127.0.0.1:1 & esac
echo x$boots >/boots.count
case $boots in
'') exec /usr/bin/no-such-bootctl boot ;;
x) exec busybox sh -c 'kill -SEGV $$' ;;
xx) exec bootctl boot --config /nowhere ;;
xxx) cd /etc/bootctl; busybox mv bootctl.toml /good; echo 'nonsense =' >bootctl.toml; exec bootctl boot ;;
*) exec bootctl boot ;;
esac
";

#[test]
fn images_vm_b04_whatever_fails_at_boot_is_told_and_tried_again() {
    let files = [("boots", BOOTS)];
    let kernel = "bootctl.ip=10.0.2.15/24,10.0.2.2 bootctl.runlevel=2";
    let setup = Setup {
        words: Some("/boots"),
        kernel: Some(kernel),
        shell: true,
        files: &files,
        ..Setup::default()
    };
    let Some(machine) = Machine::boot(&setup) else { return };
    // From the first moment on, whatever becomes of what is booted.
    let init = machine.first_answer(machine.api, "127.0.0.1", "/job/init").json();
    assert_eq!(init["machine"], true, "{init}");
    // Without a config it comes up at level 1, and says what is wrong: on the console, and to who asks.
    let comes_up = |why: &str, advice: &str| {
        machine.shows(advice, 1);
        let status = machine.says("until bootctl status; do usleep 50000; done");
        for told in ["runlevel 1 (", why, advice] {
            assert!(status.contains(told), "{told} in {status}");
        }
        let jobs = machine.first_answer(machine.api, "127.0.0.1", "/jobs").json();
        let ids: Vec<_> = jobs.as_array().unwrap().iter().map(|job| &job["id"]).collect();
        assert!(!ids.iter().any(|id| *id == "proxyd" || *id == "hello.localhost.1"), "{ids:?}");
    };
    comes_up("there is no config folder /nowhere", "this is runlevel 1 without any app");
    machine.run("kill -9 $(pidof bootctl)", &json!({}));
    let place = "/etc/bootctl/bootctl.toml:1:";
    comes_up(place, "this is runlevel 1 with the defaults of bootctl.toml");
    let refused = machine.says("bootctl telinit 3 2>&1 && exit 9; exit 0");
    assert!(refused.contains(place), "{refused}");
    // Corrected, it goes on to the level that the command line asks for.
    let status = machine.says("mv /good /etc/bootctl/bootctl.toml && bootctl reload");
    assert!(status.contains("runlevel 2\n"), "{status}");
    let page = machine.first_answer(machine.proxy, "hello.localhost", "/");
    assert!(page.body.contains("app: hello.localhost\n"), "{page:?}");
    let console = machine.console();
    let mut rest = console.as_str();
    for told in ["no-such-bootctl: not found", "SIGSEGV", "/nowhere", "bootctl.toml"] {
        let at = rest.find(told).unwrap_or_else(|| panic!("{told} in its turn in {console}"));
        rest = &rest[at..];
    }
    assert!(!console.contains("panic"), "{console}");
}

/// Has the API beside what it boots.
const RELAYED: &str = "#!/usr/bin/busybox sh
export PATH=/usr/bin:/sbin
[ -e /dev/null ] || : >/dev/null
busybox rm -f /etc/bootctl/apps/relay.toml
vm-relay 0.0.0.0:81 127.0.0.1:1 &
exec bootctl boot
";

#[test]
fn images_vm_b04_no_other_config_is_taken_for_the_one_that_is_missing() {
    let setup = Setup {
        words: Some("/relayed"),
        kernel: Some("bootctl.ip=10.0.2.15/24,10.0.2.2 bootctl.config=/nowhere"),
        shell: true,
        files: &[("relayed", RELAYED)],
        ..Setup::default()
    };
    let Some(machine) = Machine::boot(&setup) else { return };
    machine.first_answer(machine.api, "127.0.0.1", "/job/init");
    let told = "bootctl.config=/nowhere of the command line is not mounted at /etc/bootctl";
    machine.shows(told, 1);
    let status = || machine.says("until bootctl status; do usleep 50000; done");
    let said = status();
    for part in ["runlevel 1 (", told, "no apps"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    // The administrator may want the image's all the same; from then on it is the machine's.
    machine.says("bootctl reload");
    machine.first_answer(machine.proxy, "hello.localhost", "/");
    let pid = machine.says("pidof bootctl; kill -9 $(pidof bootctl)");
    let pid = pid.split_whitespace().next().unwrap().to_owned();
    wait::until("the next bootctl", || (!status().contains(&format!("pid {pid},"))).then_some(()));
    let said = status();
    assert!(said.contains("runlevel 3\n") && !said.contains(told), "{said}");
    let console = machine.console();
    assert!(!console.contains("panic"), "{console}");
}

#[test]
fn images_vm_b04_apps_wait_for_a_disk_that_is_missing() {
    let table = "LABEL=none /data ext4 x-systemd.device-timeout=0 0 2\n\
                 LABEL=other /other ext4 nofail,x-systemd.device-timeout=0 0 2\n";
    let setup = Setup {
        words: Some("/relayed"),
        kernel: Some("bootctl.ip=10.0.2.15/24,10.0.2.2"),
        shell: true,
        files: &[("relayed", RELAYED), ("etc/fstab", table)],
        ..Setup::default()
    };
    let Some(machine) = Machine::boot(&setup) else { return };
    machine.first_answer(machine.api, "127.0.0.1", "/job/init");
    let told = "what /etc/fstab wants is not mounted: LABEL=none at /data; this is runlevel 1: mount what is missing";
    machine.shows(told, 1);
    let status = || machine.says("until bootctl status; do usleep 50000; done");
    let comes_up = || {
        let said = status();
        for part in ["runlevel 1 (", told] {
            assert!(said.contains(part), "{part} in {said}");
        }
        let jobs = machine.first_answer(machine.api, "127.0.0.1", "/jobs").body;
        assert!(!jobs.contains("hello.localhost"), "{jobs}");
    };
    comes_up();
    let kill = || {
        let pid = machine.says("pidof bootctl; kill -9 $(pidof bootctl)");
        let pid = format!("pid {},", pid.split_whitespace().next().unwrap());
        wait::until("the next bootctl", || (!status().contains(&pid)).then_some(()));
    };
    kill();
    comes_up();
    let said = machine.says("mkdir -p /data; mount -t tmpfs none /data && bootctl reload");
    assert!(said.contains("runlevel 3\n") && !said.contains(told), "{said}");
    machine.first_answer(machine.proxy, "hello.localhost", "/");
    // It ends nothing that runs, even if nobody knows any more that it was done without.
    machine.says("umount /data; rm /run/bootctl/settings");
    let app = || machine.first_answer(machine.api, "127.0.0.1", "/job/hello.localhost.1").json();
    let pid = app()["pid"].clone();
    kill();
    assert!(status().contains("runlevel 3\n"));
    assert_eq!(app()["pid"], pid);
    let console = machine.console();
    assert!(!console.contains("panic") && !console.contains("LABEL=other at"), "{console}");
}

#[test]
fn images_vm_b04_a_machine_without_its_disk_comes_up() {
    if !tools::present(&["/usr/sbin/mkfs.ext4"]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let mut assemble = image::script("vm/disk");
    assemble.env("JOBINIT_VM", folder.path()).env("DISK_SIZE", "64M");
    image::run(assemble);
    // No file system is on it.
    std::fs::write(folder.path().join("disk"), vec![0; 1 << 20]).unwrap();
    let setup = Setup { root: Some(folder.path()), ..Setup::default() };
    let Some(machine) = Machine::boot(&setup) else { return };
    machine.shows("threshold: cannot mount /dev/vda as ext4", 1);
    let console = machine.shows("listening on 127.0.0.1:1", 1);
    assert!(console.contains("`bootctl` is no option, and no program"), "{console}");
    assert!(!console.contains("panic"), "{console}");
}
