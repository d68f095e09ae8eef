//! `images`: how large the machine and the container are, as they are downloaded.

use std::fs;
use std::process::{Command, Stdio};

use jobinit_tests::image;

use crate::report::Row;

/// MB that each may have.
const INITRAMFS: f64 = 10.0;
const CONTAINER: f64 = 12.0;

pub fn measure() -> Vec<Row> {
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
