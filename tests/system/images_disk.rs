//! A machine whose root is on a disk: what it keeps when the plug is pulled.
//!
//! Pulling the plug is SIGKILL to QEMU: what the guest's kernel has not given to its disk is gone, what it has is
//! there. Five times, each a boot of a second or two; `JOBINIT_CUTS=50` for more.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use jobinit_tests::machine::{Machine, Setup, can_boot, overlay};
use jobinit_tests::{image, tools};
use serde_json::Value;
use tempfile::TempDir;

/// Writes line after line.
const WRITER: &str = "exec = \"/usr/bin/busybox\"\nweb = false
args = [\"sh\", \"-c\", \"n=0; while :; do n=$((n+1)); echo line $n.; busybox usleep 5000; done\"]\n";
/// Has the state written again and again.
const TOGGLES: &str = "exec = \"/usr/bin/busybox\"\nweb = false
args = [\"sh\", \"-c\", \"while :; do bootctl stop idle; bootctl start idle; done\"]\n";
const IDLE: &str = "exec = \"/usr/bin/busybox\"\nargs = [\"sleep\", \"1000\"]\nweb = false\n";
/// The last line of its log as soon as it has been run so often, and how things are where there is none.
const LAST_LINE: &str = "log=/var/log/bootctl/writer.log
for i in $(seq 100); do
    test $(grep -c 'line 1\\.$' $log) = RUNS && tail -n 1 $log | grep 'line [0-9]*\\.$' && exit
    usleep 50000
done
ls -l /var/log/bootctl; bootctl status; exit 1";
/// How long after it was written a line must be on the disk: the second that is promised, and what an emulated
/// disk may take.
const PROMISED: Duration = Duration::from_millis(1500);

/// A file of a disk that is in no machine.
fn cat(disk: &Path, name: &str) -> Option<String> {
    let mut debugfs = Command::new("/usr/sbin/debugfs");
    let output = debugfs.args(["-R", &format!("cat {name}")]).arg(disk).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    (!said.contains("File not found")).then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What the kernel would do first: the journal is gone through. There is nothing else to mend.
fn settle(disk: &Path) {
    let check = Command::new("/usr/sbin/e2fsck").args(["-p"]).arg(disk).output().unwrap();
    assert!(matches!(check.status.code(), Some(0 | 1)), "{check:?}");
    let check = Command::new("/usr/sbin/e2fsck").args(["-f", "-n"]).arg(disk).output().unwrap();
    assert!(check.status.success(), "{check:?}");
}

/// The last line of each run of the writer; within a run none is missing, and none is there twice.
fn runs(log: &str) -> Vec<u64> {
    let mut runs: Vec<u64> = Vec::new();
    for line in log.lines() {
        let Some(text) = line.split("line ").nth(1).filter(|_| line.contains(" out ")) else {
            continue;
        };
        // The last one of a run may have been cut in two, and is marked by its missing dot.
        let Some(number) = text.strip_suffix('.').and_then(|text| text.parse().ok()) else {
            continue;
        };
        match (number, runs.last_mut()) {
            (1, _) => runs.push(1),
            (number, Some(last)) if number == *last + 1 => *last = number,
            (number, last) => panic!("line {number} follows on {last:?}"),
        }
    }
    runs
}

#[test]
fn images_vm_o02_state_and_logs_survive_power_cuts() {
    if !tools::present(&["/usr/sbin/mkfs.ext4", "/usr/sbin/e2fsck", "/usr/sbin/debugfs"])
        || !can_boot()
    {
        return;
    }
    let cuts: u64 = std::env::var("JOBINIT_CUTS").map_or(5, |text| text.parse().unwrap());
    let folder = TempDir::new().unwrap();
    let more = folder.path().join("more");
    std::fs::create_dir(&more).unwrap();
    let files = [
        ("etc/bootctl/apps/writer.toml", WRITER),
        ("etc/bootctl/apps/toggles.toml", TOGGLES),
        ("etc/bootctl/apps/idle.toml", IDLE),
    ];
    if overlay(&more, &Setup { shell: true, files: &files, ..Setup::default() }).is_none() {
        return;
    }
    let mut assemble = image::script("vm/disk");
    assemble.env("JOBINIT_VM", folder.path()).env("OVERLAY", &more);
    image::run(assemble);
    let disk = folder.path().join("disk");
    let setup = Setup { root: Some(folder.path()), ..Setup::default() };

    let mut acknowledged: Vec<u64> = Vec::new();
    let mut machine_id = String::new();
    for cut in 0..cuts {
        let begun = Instant::now();
        let machine = Machine::boot(&setup).unwrap();
        machine.first_answer(machine.api, "127.0.0.1", "/job/init");
        // One that is slow to boot, beside other work, is slow to write.
        let slack = begun.elapsed() / 2;
        let verb = if cut % 2 == 0 { "stop" } else { "start" };
        machine.says(&format!("bootctl {verb} hello.localhost"));
        let last = machine.says(&LAST_LINE.replace("RUNS", &(cut + 1).to_string()));
        let number = last.split("line ").nth(1);
        let number = number.and_then(|text| text.trim().strip_suffix('.')?.parse::<u64>().ok());
        let number = number.unwrap_or_else(|| panic!("{last:?}"));
        let written = Instant::now();
        let id = machine.says("cat /etc/machine-id");
        assert!(machine_id.is_empty() || machine_id == id, "it stays the same machine");
        machine_id = id;
        acknowledged.push(number);
        // Anywhere within what the toggles do.
        let until = PROMISED + slack + Duration::from_millis(cut * 37 % 200);
        sleep(until.saturating_sub(written.elapsed()));
        let console = machine.console();
        machine.cut();
        assert!(!console.contains("state.json") && !console.contains("panic"), "{console}");

        settle(&disk);
        let state = cat(&disk, "/var/lib/bootctl/state.json").expect("it was written");
        let state: Value =
            serde_json::from_str(&state).unwrap_or_else(|e| panic!("{e} in {state}"));
        let hello = &state["apps"]["hello.localhost"]["stopped"];
        assert_eq!(hello.as_bool().unwrap_or(false), verb == "stop", "{state}");
        let log = cat(&disk, "/var/log/bootctl/writer.log").expect("it was written");
        let runs = runs(&log);
        assert_eq!(runs.len(), acknowledged.len(), "{runs:?} {:?}", log.get(..500));
        let pairs: BTreeMap<_, _> =
            runs.iter().copied().zip(acknowledged.iter().copied()).collect();
        assert!(pairs.iter().all(|(there, promised)| there >= promised), "{pairs:?}");
        eprintln!("cut {cut}: lines there and promised: {pairs:?}");
    }
}
