//! What is wanted, in a file, so that proxyd alone can end and come back.
//!
//! It is written a moment after a change, whole and beside the data path: to `FILE.new`, synced,
//! renamed, and its folder synced. So what is read at the next start is always one whole picture. A
//! file that is none is set aside, not overwritten; one that another process has written since is that
//! process's: it is our successor.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use proxyd_wire as wire;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::acme::Known;
use crate::config::{Config, Mistake};
use crate::limits;
use crate::registry::Registry;
use crate::say::say;
use crate::tls::Secret;

/// What the file is written as. A later form has a higher number.
const VERSION: u32 = 2;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    generation: u64,
    /// Whether clients were let in; version 1 did not say so.
    #[serde(default)]
    open: bool,
    config: wire::Config,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tickets: Option<wire::Tickets>,
}

/// What is gone on with.
struct Resumed {
    /// Which file it was, if it was one.
    own: Option<File>,
    /// Whether clients were let in.
    open: bool,
}

impl Resumed {
    const NOTHING: Resumed = Resumed { own: None, open: false };
}

/// Looked at first: a later version may have any other form.
#[derive(Deserialize)]
struct Header {
    version: u32,
}

/// Why a snapshot is set aside.
#[derive(Debug, Error)]
enum Unusable {
    #[error("is damaged ({0})")]
    Damaged(#[from] serde_json::Error),
    #[error("has version {0}, but this proxyd knows {VERSION}")]
    Newer(u32),
    #[error("is larger than 64 MiB")]
    Large,
    #[error("wants what cannot be ({})", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Wrong(Vec<Mistake>),
}

/// Whether there is a file at `path`, and it is not the one we have open. While we have that open no other gets its number.
fn is_another_s(path: &Path, own: Option<&File>) -> io::Result<bool> {
    let number = |file: fs::Metadata| (file.dev(), file.ino());
    let there = match fs::metadata(path) {
        Ok(file) => number(file),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let own = own.map(File::metadata).transpose()?;
    Ok(own.map(number) != Some(there))
}

/// Goes on with what the file says, if there is one.
fn resume(path: &Path, registry: &Registry) -> io::Result<Resumed> {
    let own = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Resumed::NOTHING),
        Err(error) => return Err(error),
    };
    match understand(&read(&own)?) {
        Ok(Understood { config, generation, open, tickets }) => {
            // As many objects as there are now have been there before.
            let _ = registry.change(|state| {
                if let Some(Ok(secret)) = tickets.as_ref().map(Secret::new) {
                    state.put_tickets(secret);
                }
                state.resume(config, generation)
            });
            Ok(Resumed { own: Some(own), open })
        }
        Err(unusable) => {
            let aside = beside(
                path,
                match unusable {
                    Unusable::Newer(_) => "newer",
                    Unusable::Damaged(_) | Unusable::Large | Unusable::Wrong(_) => "damaged",
                },
            );
            say!(
                "proxyd: {} {unusable}; it is kept as {}, and nothing is wanted for now",
                path.display(),
                aside.display()
            );
            fs::rename(path, aside)?;
            Ok(Resumed::NOTHING)
        }
    }
}

/// All of it, or enough to see that it is too large.
fn read(file: &File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(limits::CONFIG as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

#[derive(Debug)]
struct Understood {
    config: Config,
    generation: u64,
    open: bool,
    tickets: Option<wire::Tickets>,
}

fn understand(text: &[u8]) -> Result<Understood, Unusable> {
    if text.len() > limits::CONFIG {
        return Err(Unusable::Large);
    }
    let Header { version } = serde_json::from_slice(text)?;
    if version > VERSION {
        return Err(Unusable::Newer(version));
    }
    let Document { generation, open, config, tickets, .. } = serde_json::from_slice(text)?;
    let mut config = Config::new(config).map_err(Unusable::Wrong)?;
    for mistake in config.read_pages() {
        say!("proxyd: {mistake}; this error has no page for now");
    }
    for mistake in config.read_certificates(&BTreeMap::new(), None) {
        say!("proxyd: {mistake}; it is left out for now");
    }
    config.take_obtained(&Known::default());
    Ok(Understood { config, generation, open, tickets })
}

/// The thread that writes.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Whether clients were let in by whoever has written what is gone on with.
    pub(crate) was_open: bool,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Snapshot {
    /// Goes on with what the file says, and begins to write changes down.
    pub(crate) fn start(path: PathBuf, registry: Arc<Registry>) -> io::Result<Snapshot> {
        let Resumed { own, open: was_open } = resume(&path, &registry)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (stop, stopped) = oneshot::channel();
        let changes = registry.subscribe();
        let written = (registry.generation(), was_open || registry.door.is_open());
        let mut writer = Writer { path, own, registry, written, failing: false };
        let thread = std::thread::Builder::new()
            .name("snapshot".to_owned())
            .spawn(move || runtime.block_on(writer.run(changes, stopped)))?;
        Ok(Snapshot { was_open, stop, thread })
    }

    /// Returns when the last change is written.
    pub(crate) fn finish(self) {
        // A writer that panicked has said so.
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

#[derive(Debug)]
struct Writer {
    path: PathBuf,
    /// What we have read or written there.
    own: Option<File>,
    registry: Arc<Registry>,
    /// The generation that the file is of, and whether it says that clients are let in.
    written: (u64, bool),
    /// That it cannot be written has been said.
    failing: bool,
}

impl Writer {
    async fn run(&mut self, mut changes: watch::Receiver<u64>, mut stopped: oneshot::Receiver<()>) {
        loop {
            let pause = if self.registry.generation() == self.written.0 && !self.has_opened() {
                let opens = !self.written.1;
                tokio::select! {
                    _ = changes.changed() => limits::SNAPSHOT_DELAY,
                    () = self.registry.door.opened(), if opens => limits::SNAPSHOT_DELAY,
                    _ = &mut stopped => break,
                }
            } else if self.failing {
                limits::SNAPSHOT_RETRY
            } else {
                limits::SNAPSHOT_DELAY
            };
            let ended = timeout(pause, &mut stopped).await.is_ok();
            if !self.write() {
                say!(
                    "proxyd: the snapshot {} was written by another process, and is left to it",
                    self.path.display()
                );
                return;
            }
            if ended {
                break;
            }
        }
        self.write();
    }

    /// Whether clients are let in, and the file does not say so yet.
    fn has_opened(&self) -> bool {
        !self.written.1 && self.registry.door.is_open()
    }

    fn fails(&mut self, failing: bool) {
        self.failing = failing;
        self.registry.gauges.snapshot_failing.store(failing, Ordering::Relaxed);
    }

    /// `false` if the file is another's by now.
    fn write(&mut self) -> bool {
        let (generation, config, tickets) = self
            .registry
            .look(|state| (state.generation(), state.config(), state.keyring().tickets().wire()));
        // One that leaves the door to somebody else has still been open before.
        let open = self.written.1 || self.registry.door.is_open();
        if (generation, open) == self.written {
            return true;
        }
        if matches!(is_another_s(&self.path, self.own.as_ref()), Ok(true)) {
            return false;
        }
        let document = Document { version: VERSION, generation, open, config, tickets };
        let written = write(&self.path, &document);
        // It is there from now on, and ours, whatever becomes of its folder.
        let synced = written.and_then(|own| {
            self.own = Some(own);
            sync_folder(&self.path)
        });
        match synced {
            Ok(()) => {
                self.written = (generation, open);
                self.fails(false);
            }
            Err(error) if !self.failing => {
                self.fails(true);
                say!(
                    "proxyd: the snapshot {} cannot be written, and will be tried again: {error}",
                    self.path.display()
                );
            }
            Err(_) => {}
        }
        true
    }
}

fn write(path: &Path, document: &Document) -> io::Result<File> {
    let text = serde_json::to_vec(document)?;
    let new = beside(path, "new");
    let written = write_new(&new, &text).inspect_err(|_| {
        // Half of it is of use to nobody, and a full disk is what it may have failed for.
        let _ = fs::remove_file(&new);
    })?;
    fs::rename(&new, path)?;
    Ok(written)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// For its owner only: private keys and hashes of passwords are in it.
fn write_new(path: &Path, text: &[u8]) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    Ok(file)
}

fn beside(path: &Path, word: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(word);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_ours_is_never_taken_for_another_s_nor_another_s_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        assert!(!is_another_s(&path, None).unwrap());
        let own = write_new(&path, b"{}").unwrap();
        assert!(!is_another_s(&path, Some(&own)).unwrap());
        assert!(is_another_s(&path, None).unwrap());
        // A number that was freed is given again, on ext4 at once.
        for _ in 0..20 {
            write_new(&path, b"{}").unwrap();
            assert!(is_another_s(&path, Some(&own)).unwrap());
        }
    }

    #[test]
    fn what_is_written_is_understood() {
        let route = wire::Route { strip_prefix: true, ..wire::Route::to("s") };
        let config = wire::Config {
            routes: [("a.test/x".to_owned(), route)].into(),
            ..wire::Config::default()
        };
        let document =
            Document { version: VERSION, generation: 7, open: true, config, tickets: None };
        let text = serde_json::to_vec(&document).unwrap();
        let understood = understand(&text).unwrap();
        let Understood { config, generation, open, tickets: None } = understood else { panic!() };
        assert_eq!((config.routes.len(), generation, open), (1, 7, true));
        for end in 0..text.len() {
            assert!(matches!(understand(&text[..end]), Err(Unusable::Damaged(_))), "{end}");
        }
        let newer = br#"{"version":3,"other":[]}"#;
        assert!(matches!(understand(newer), Err(Unusable::Newer(3))));
        let older = br#"{"version":1,"generation":4,"config":{}}"#;
        assert!(matches!(understand(older), Ok(Understood { generation: 4, open: false, .. })));
        let wrong = br#"{"version":1,"generation":1,"config":{"routes":{"a b":{"service":"s"}}}}"#;
        assert!(matches!(understand(wrong), Err(Unusable::Wrong(_))));
    }
}
