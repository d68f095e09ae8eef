//! `images`: how large the machine and the container are, as they are downloaded; and `boot`: how soon after its
//! kernel a machine runs what, by the guest's own clock, emulated.

use std::fs;
use std::process::{Command, Stdio};

use jobinit_tests::image;
use jobinit_tests::machine::{Machine, Setup};
use serde_json::Value;

use crate::report::{Row, median};

/// MB that each may have.
const INITRAMFS: f64 = 10.0;
const CONTAINER: f64 = 12.0;
const ROUNDS: usize = 3;
/// Milliseconds of the kernel's own unit of time.
const TICK: f64 = 10.0;

pub fn sizes() -> Vec<Row> {
    let row = |subject: &str, size: Option<u64>, bound: f64| {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
        let size = size? as f64 / 1e6;
        Some(
            Row::new("images", subject, size, "MB")
                .compared("what it may have", bound)
                .at_most(1.0),
        )
    };
    let rows = [
        row("initramfs without kernel, gzip", initramfs(), INITRAMFS),
        row("container from scratch, gzip", container(), CONTAINER),
    ];
    rows.into_iter().flatten().collect()
}

fn initramfs() -> Option<u64> {
    let folder = tempfile::tempdir().ok()?;
    let mut script = image::script("vm/initramfs");
    script.env("JOBINIT_VM", folder.path()).stdout(Stdio::null());
    if !script.status().ok()?.success() {
        return None;
    }
    let packed = Command::new("gzip").arg(folder.path().join("initramfs")).status().ok()?;
    packed
        .success()
        .then(|| fs::metadata(folder.path().join("initramfs.gz")).ok())?
        .map(|it| it.len())
}

fn container() -> Option<u64> {
    let folder = tempfile::tempdir().ok()?;
    let layout = folder.path().join("image");
    let mut script = image::script("oci/layout");
    script.env("JOBINIT_IMAGE", &layout);
    if !script.status().ok()?.success() {
        return None;
    }
    let blobs = fs::read_dir(layout.join("blobs/sha256")).ok()?.flatten();
    Some(blobs.filter_map(|blob| blob.metadata().ok()).map(|about| about.len()).sum())
}

pub fn boot() -> Vec<Row> {
    let (mut boot, mut app) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let Some(machine) = Machine::boot(&Setup { shell: true, ..Setup::default() }) else {
            return Vec::new();
        };
        let jobs = machine.first_answer(machine.api, "127.0.0.1", "/jobs").json();
        machine.first_answer(machine.proxy, "hello.localhost", "/");
        let began = |id: &str| {
            let job = jobs.as_array()?.iter().find(|job| job["id"] == id)?;
            let pid = job["pid"].as_u64().filter(|_| job["status"] != Value::Null)?;
            let stat = machine.says(&format!("cut -d' ' -f22 /proc/{pid}/stat"));
            stat.trim().parse::<f64>().ok().map(|ticks| ticks * TICK)
        };
        boot.extend(began("boot"));
        app.extend(began("hello.localhost.1"));
    }
    let row = |subject: &str, values| Row::new("boot", subject, median(values), "ms");
    vec![row("kernel to bootctl", boot), row("kernel to the first app", app)]
}
