//! The root as it is wanted, the disks of `/etc/fstab` where they belong, and the folder of the config.
//!
//! Disks are looked over before they are mounted, by `fsck.KIND`, which runs as a job of init. One that is not
//! there, or not well, is told and left: the machine comes up without it, at runlevel 1 unless its line says `nofail`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use init_wire::{JobSpec, LastExit};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::device::{Device, Volume};
use super::mount_table::{self, Entry, Mistake, What};
use super::windows::{is_mounted, is_read_only};
use super::words::{Access, Source};
use crate::client::{Init, InitError, Then};

const TABLE: &str = "/etc/fstab";
/// Where the config is.
pub(super) const CONFIG: &str = "/etc/bootctl";
/// How long disks may take to show up, all together, but for those whose line says another time.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one may take to be mounted, with its journal.
const LONGEST_MOUNT: Duration = Duration::from_mins(1);
/// How long one may be looked over.
const LONGEST_CHECK: Duration = Duration::from_mins(30);
/// Where programs are that look disks over.
const FOLDERS: [&str; 4] = ["/sbin", "/usr/sbin", "/bin", "/usr/bin"];

/// Why a disk is not where it belongs.
#[derive(Debug, thiserror::Error)]
enum DiskError {
    #[error("it has not shown up within {} s", .0.as_secs())]
    Missing(Duration),
    #[error("what is on it is not known; write its kind instead of `auto`")]
    UnknownKind,
    #[error("it is damaged, and {program} could not mend it ({outcome}); look at it by hand")]
    Damaged { program: String, outcome: String },
    #[error("the folder cannot be made: {0}")]
    Folder(std::io::Error),
    #[error("{}", .0.desc())]
    Refused(Errno),
    #[error("it does not answer")]
    Hangs,
    #[error("it was mended, and the machine cannot be booted again: {0}")]
    Stays(InitError),
}

/// Makes the root what the command line says, and mounts the rest of the table.
pub(super) async fn mount_all(init: &Init, root: Option<Access>) {
    let begun = Instant::now();
    let mut entries = Vec::new();
    for entry in table() {
        match entry {
            Ok(entry) => entries.push(entry),
            Err(mistake) => error!("{mistake}"),
        }
    }
    let of_root = entries.iter().find(|entry| entry.place == Path::new("/"));
    let as_wanted =
        || remount_root(root, of_root.map(|entry| (entry.flags, entry.options.as_str())));
    match look_over_root(init, of_root, begun).await {
        Ok(()) => as_wanted(),
        Err(error @ (DiskError::Damaged { .. } | DiskError::Stays(_))) => {
            error!("the root stays read-only: {error}");
        }
        // It is there, whatever the table calls it.
        Err(error) => {
            error!("the root is not looked over: {error}");
            as_wanted();
        }
    }
    for entry in entries.iter().filter(|entry| entry.place != Path::new("/")) {
        if is_mounted(&entry.place.to_string_lossy()) {
            continue;
        }
        if let Err(error) = mount_entry(init, entry, begun).await {
            let (what, place) = (&entry.what, entry.place.display());
            error!(
                "{what} is not mounted at {place}: {error}; what is written there now is not on it"
            );
        }
    }
}

fn table() -> Vec<Result<Entry, Mistake>> {
    mount_table::read(&fs::read_to_string(TABLE).unwrap_or_default())
}

/// Disks that apps may need, and that are not in their places.
#[derive(Debug, thiserror::Error)]
#[error("what {TABLE} wants is not mounted: {}", .0.join(", "))]
pub(crate) struct LostDisks(Vec<String>);

/// Whether all are there that have to be.
pub(super) fn find_all() -> Result<(), LostDisks> {
    let entries = table().into_iter().flatten();
    // The kernel's list has no links in it.
    let is_there =
        |place: &Path| place.canonicalize().is_ok_and(|place| is_mounted(&place.to_string_lossy()));
    let lost = entries.filter(|entry| !entry.may_fail && !is_there(&entry.place));
    // The root is there, whatever the kernel calls it.
    let lost = lost.filter(|entry| entry.place != Path::new("/"));
    let lost: Vec<String> =
        lost.map(|entry| format!("{} at {}", entry.what, entry.place.display())).collect();
    if lost.is_empty() { Ok(()) } else { Err(LostDisks(lost)) }
}

/// Has the root looked over, which is possible only while nobody writes to it: the kernel is to mount it without `rw`.
async fn look_over_root(
    init: &Init,
    line: Option<&Entry>,
    begun: Instant,
) -> Result<(), DiskError> {
    let Some(Entry { what: What::Device(device), kind, is_checked: true, patience, .. }) = line
    else {
        return Ok(());
    };
    if !is_read_only("/") {
        info!("the root is not looked over: it is writable already, by `rw` of the command line");
        return Ok(());
    }
    let (path, volume) = find(device, begun, patience.unwrap_or(PATIENCE)).await?;
    let kind = match kind.as_str() {
        "auto" => volume.ok_or(DiskError::UnknownKind)?.kind,
        kind => kind,
    };
    match look_over(init, &path, kind).await? {
        Look::Good => Ok(()),
        Look::MendedBelowUs => {
            info!("the root was mended, and is not what the kernel knows of it: booting again");
            init.end_machine(Then::Reboot).await.map_err(DiskError::Stays)?;
            // init ends this process, too.
            std::future::pending().await
        }
    }
}

/// By the command line, else by the table; else it stays as the kernel has it.
fn remount_root(word: Option<Access>, line: Option<(MsFlags, &str)>) {
    let (mut flags, options) = line.unwrap_or((MsFlags::empty(), ""));
    match word {
        Some(Access::ReadOnly) => flags.insert(MsFlags::MS_RDONLY),
        Some(Access::ReadWrite) => flags.remove(MsFlags::MS_RDONLY),
        None if line.is_none() => return,
        None => {}
    }
    let none = None::<&str>;
    let options = Some(options).filter(|options| !options.is_empty());
    if let Err(errno) = mount(none, "/", none, flags | MsFlags::MS_REMOUNT, options) {
        let what = if flags.contains(MsFlags::MS_RDONLY) { "read-only" } else { "writable" };
        error!("the root cannot be made {what}: {}", errno.desc());
    }
}

async fn mount_entry(init: &Init, entry: &Entry, begun: Instant) -> Result<(), DiskError> {
    let (source, kind) = match &entry.what {
        What::Virtual(name) => (PathBuf::from(name), entry.kind.clone()),
        What::Device(device) => {
            let (path, volume) = find(device, begun, entry.patience.unwrap_or(PATIENCE)).await?;
            let kind = match entry.kind.as_str() {
                "auto" => volume.ok_or(DiskError::UnknownKind)?.kind.to_owned(),
                kind => kind.to_owned(),
            };
            if entry.is_checked {
                // Nobody has it mounted, so nobody knows it as it was.
                let (Look::Good | Look::MendedBelowUs) = look_over(init, &path, &kind).await?;
            }
            (path, kind)
        }
    };
    mount_there(source, entry.place.clone(), kind, entry.flags, entry.options.clone()).await
}

async fn find(
    device: &Device,
    begun: Instant,
    patience: Duration,
) -> Result<(PathBuf, Option<Volume>), DiskError> {
    let device = device.clone();
    let patience = patience.min(LONGEST_MOUNT);
    let within = patience.saturating_add(LONGEST_MOUNT);
    let found = timeout(within, spawn_blocking(move || device.find(begun + patience))).await;
    let found = found.map_err(|_| DiskError::Hangs)?;
    found.ok().flatten().ok_or(DiskError::Missing(patience))
}

/// In a thread: a disk may be dead, and the machine is not to wait for it.
async fn mount_there(
    source: PathBuf,
    place: PathBuf,
    kind: String,
    flags: MsFlags,
    options: String,
) -> Result<(), DiskError> {
    let work = spawn_blocking(move || {
        fs::create_dir_all(&place).map_err(DiskError::Folder)?;
        let options = Some(options.as_str()).filter(|options| !options.is_empty());
        mount(Some(&source), &place, Some(kind.as_str()), flags, options)
            .map_err(DiskError::Refused)
    });
    match timeout(LONGEST_MOUNT, work).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) | Err(_) => Err(DiskError::Hangs),
    }
}

/// What has become of a disk that was looked over.
enum Look {
    Good,
    /// What is on it was changed; whoever has it mounted has to begin anew.
    MendedBelowUs,
}

/// Has a disk looked over and mended, as far as that needs no questions.
async fn look_over(init: &Init, disk: &Path, kind: &str) -> Result<Look, DiskError> {
    let name = format!("fsck.{kind}");
    let programs = FOLDERS.iter().map(|folder| format!("{folder}/{name}"));
    let Some(program) = programs.into_iter().find(|path| Path::new(path).exists()) else {
        info!("{} is not looked over: there is no {name}", disk.display());
        return Ok(Look::Good);
    };
    let file = disk.file_name().unwrap_or_default().to_string_lossy();
    let id = format!("fsck.{}", file.replace(|c: char| !c.is_ascii_alphanumeric(), "-"));
    let spec = JobSpec {
        args: vec!["-a".to_owned(), disk.to_string_lossy().into_owned()],
        envs: [("PATH".to_owned(), FOLDERS.join(":"))].into(),
        ..JobSpec::new(program.clone())
    };
    let outcome = match init.run(&id, &spec, LONGEST_CHECK).await {
        // 1: mended.
        Ok(Some(Some(LastExit::Code(0 | 1)))) => return Ok(Look::Good),
        Ok(Some(Some(LastExit::Code(2 | 3)))) => return Ok(Look::MendedBelowUs),
        Ok(Some(Some(LastExit::Code(code)))) => format!("exit code {code}"),
        Ok(Some(Some(LastExit::Signal(signal)))) => signal,
        Ok(Some(None)) => "it has not run".to_owned(),
        Ok(None) => format!("more than {} min", LONGEST_CHECK.as_secs() / 60),
        Err(error) => {
            warn!("{} is not looked over: {error}", disk.display());
            return Ok(Look::Good);
        }
    };
    Err(DiskError::Damaged { program, outcome })
}

/// Puts the config where it is looked for: a disk of its own, or another folder.
pub(super) async fn place_config(source: &Source) {
    if is_mounted(CONFIG) {
        return;
    }
    let placed = match source {
        Source::Folder(folder) => {
            let nothing = String::new();
            mount_there(folder.clone(), CONFIG.into(), nothing.clone(), MsFlags::MS_BIND, nothing)
                .await
        }
        Source::Device(device) => place_disk(device).await,
    };
    match placed {
        Ok(()) => info!("the config is that of {source}"),
        Err(error) => error!("bootctl.config={source}: {error}"),
    }
}

/// The config that the command line names, if something else is in its place.
#[derive(Debug, thiserror::Error)]
#[error("bootctl.config={0} of the command line is not mounted at {CONFIG}")]
pub(crate) struct LostConfig(String);

/// Whether it is in its place.
pub(super) fn find_config(source: &Source) -> Result<(), LostConfig> {
    if is_mounted(CONFIG) { Ok(()) } else { Err(LostConfig(source.to_string())) }
}

async fn place_disk(device: &Device) -> Result<(), DiskError> {
    let (path, volume) = find(device, Instant::now(), PATIENCE).await?;
    let kind = volume.ok_or(DiskError::UnknownKind)?.kind;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let mount =
        |flags| mount_there(path.clone(), CONFIG.into(), kind.to_owned(), flags, String::new());
    match mount(flags).await {
        // It cannot be written, as a CD.
        Err(DiskError::Refused(Errno::EROFS | Errno::EACCES)) => {
            mount(flags | MsFlags::MS_RDONLY).await
        }
        result => result,
    }
}
