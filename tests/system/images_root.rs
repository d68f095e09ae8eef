//! A machine whose root is damaged: it is looked over at boot, mended and booted again, or left as it is and told.

use std::path::Path;
use std::process::Command;

use jobinit_tests::machine::{Machine, Setup, can_boot, overlay};
use jobinit_tests::{http, image, tools};
use tempfile::TempDir;

const NEEDS: &[&str] =
    &["/usr/sbin/mkfs.ext4", "/usr/sbin/e2fsck", "/usr/sbin/debugfs", "qemu-img", "e2fsck.static"];
/// A file whose blocks are not its own any more, in a file system that knows of errors.
const DAMAGE: &[&str] = &["clri /etc/group", "set_super_value state 2"];
/// Finds what only somebody who looks at it can mend.
const BEYOND_REPAIR: &str = "#!/usr/bin/busybox sh\nexit 4\n";
const OTHER_DISK: &str =
    "LABEL=root / ext4 defaults 0 1\nLABEL=data /srv ext3 defaults,nofail 0 2\n";

/// A disk with a machine, and what `setup` has more.
fn assemble(folder: &Path, setup: &Setup<'_>) -> Option<()> {
    let more = folder.join("more");
    std::fs::create_dir(&more).unwrap();
    overlay(&more, setup)?;
    let mut assemble = image::script("vm/disk");
    assemble.env("JOBINIT_VM", folder).env("OVERLAY", &more);
    image::run(assemble);
    Some(())
}

fn convert(folder: &Path, [from, to]: [&str; 2], [old, new]: [&str; 2]) {
    let mut convert = Command::new("qemu-img");
    convert.args(["convert", "-f", from, "-O", to, old, new]).current_dir(folder);
    assert!(convert.status().unwrap().success());
    std::fs::remove_file(folder.join(old)).unwrap();
}

fn debugfs(disk: &Path, words: &[&str]) -> String {
    let output = Command::new("/usr/sbin/debugfs").args(words).arg(disk).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn is_sound(disk: &Path) -> bool {
    let check = Command::new("/usr/sbin/e2fsck").args(["-f", "-n"]).arg(disk).output().unwrap();
    check.status.success()
}

#[test]
fn images_vm_b03_a_damaged_root_is_mended_at_boot() {
    if !tools::present(NEEDS) || !can_boot() {
        return;
    }
    let folder = TempDir::new().unwrap();
    assemble(folder.path(), &Setup::default()).unwrap();
    let disk = folder.path().join("disk");
    for request in DAMAGE {
        debugfs(&disk, &["-w", "-R", request]);
    }
    assert!(!is_sound(&disk));
    convert(folder.path(), ["raw", "qcow2"], ["disk", "disk.qcow2"]);
    let setup = Setup { root: Some(folder.path()), ..Setup::default() };

    let (status, console) = Machine::boot(&setup).unwrap().wait();
    assert!(status.success() && console.contains("the root was mended"), "{console}");
    assert!(console.contains("Restarting system") && !console.contains("panic"), "{console}");

    // It was told not to boot again by itself.
    let machine = Machine::boot(&setup).unwrap();
    machine.first_answer(machine.proxy, "hello.localhost", "/");
    machine.first_answer(machine.api, "127.0.0.1", "/job/init");
    let end = http::request(machine.api, "PUT", "/job/init/stop?then=poweroff", "", "");
    assert_eq!(end.status, 202, "{end:?}");
    let (status, console) = machine.wait();
    assert!(status.success() && !console.contains("mended"), "{console}");
    convert(folder.path(), ["qcow2", "raw"], ["disk.qcow2", "disk"]);
    assert!(is_sound(&disk));
    let id = debugfs(&disk, &["-R", "cat /etc/machine-id"]);
    assert_eq!(id.len(), 33, "it was written to: {id:?}");
}

#[test]
fn images_vm_b03_a_root_beyond_repair_stays_read_only() {
    if !tools::present(NEEDS) || !can_boot() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let files = [("sbin/fsck.ext4", BEYOND_REPAIR), ("etc/fstab", OTHER_DISK)];
    let setup = Setup { shell: true, files: &files, ..Setup::default() };
    if assemble(folder.path(), &setup).is_none() {
        return;
    }
    let data = folder.path().join("data");
    std::fs::File::create(&data).and_then(|file| file.set_len(16 << 20)).unwrap();
    let made = Command::new("/usr/sbin/mkfs.ext3").args(["-q", "-L", "data"]).arg(&data).status();
    assert!(made.unwrap().success());
    let setup = Setup { root: Some(folder.path()), disks: &[&data], ..Setup::default() };
    let machine = Machine::boot(&setup).unwrap();
    machine.first_answer(machine.api, "127.0.0.1", "/job/init");
    let console = machine.shows("the root stays read-only: it is damaged", 1);
    assert!(console.contains("/sbin/fsck.ext4 could not mend it (exit code 4)"), "{console}");
    // What cannot be looked over is mounted as it is, and that is told.
    let console = machine.shows("/dev/vdb is not looked over: there is no fsck.ext3", 1);
    assert!(!console.contains("panic"), "{console}");
    let mounts = machine.says("grep -E ' / | /srv ' /proc/mounts");
    let of = |place: &str| mounts.lines().find(|line| line.contains(place)).unwrap_or_default();
    assert!(of(" / ").contains(" ro,"), "{mounts}");
    assert!(of(" /srv ").contains(" rw,"), "{mounts}");
    // What needs to write nothing serves all the same.
    let page = machine.first_answer(machine.proxy, "hello.localhost", "/");
    assert!(page.body.contains("app: hello.localhost\n"), "{page:?}");
}
