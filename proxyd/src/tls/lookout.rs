//! Files of certificates, watched: what is written to them is taken over as soon as it is of one piece. What
//! is not is said, and what was there goes on being shown.
//!
//! ```text
//!   armed ──something moves in a folder──▶ waiting for calm ──▶ read ──▶ armed anew
//!     └──other files are wanted──▶ read ──▶ armed anew
//! ```
//!
//! Folders are watched, and not files: those who renew certificates replace files, or links to them.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::select;
use tokio::sync::watch::Receiver;
use tokio::time::{sleep, timeout};

use super::certificate::Certificate;
use super::settings::Settings;
use crate::limits;
use crate::name::Name;
use crate::registry::Registry;
use crate::say::say;

/// Begins to watch, in a thread of its own, to the end of the process.
pub(crate) fn start(registry: Arc<Registry>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name("certificates".to_owned());
    thread.spawn(move || {
        let changes = registry.subscribe();
        let mut lookout = Lookout { registry, told: BTreeMap::new() };
        if let Err(error) = runtime.block_on(lookout.run(changes)) {
            say!("proxyd: files of certificates cannot be watched: {error}");
        }
    })?;
    Ok(())
}

struct Lookout {
    registry: Arc<Registry>,
    /// What was last said of a certificate whose files are wrong.
    told: BTreeMap<String, String>,
}

/// A watch on some folders.
struct Watch {
    inotify: Inotify,
    ready: AsyncFd<OwnedFd>,
    /// Not all of them are there.
    is_partial: bool,
}

impl Lookout {
    async fn run(&mut self, mut changes: Receiver<u64>) -> io::Result<()> {
        let folders = |registry: &Registry| registry.look(|state| state.keyring().folders());
        loop {
            let wanted = folders(&self.registry);
            let watch = Watch::on(&wanted)?;
            // Only now, so that nothing is written unseen in between.
            self.read();
            loop {
                select! {
                    moved = watch.moved(), if !wanted.is_empty() => {
                        moved?;
                        // Chain and key are written one after the other.
                        let _ = timeout(limits::CERTIFICATE_STIR, watch.calm()).await;
                        break;
                    }
                    news = changes.changed() => {
                        if news.is_err() {
                            return Ok(());
                        }
                        if !Arc::ptr_eq(&wanted, &folders(&self.registry)) {
                            break;
                        }
                    }
                    () = retry(watch.is_partial) => break,
                }
            }
        }
    }

    /// Takes over what is new in the files.
    fn read(&mut self) {
        let (settings, certificates) = self.registry.look(|state| {
            let keyring = state.keyring();
            (Arc::clone(&keyring.settings), keyring.in_files())
        });
        for (name, old) in certificates {
            let read = Certificate::load(old.wire.clone(), None);
            let what = format!("the certificate {}", name.as_str());
            match read {
                Ok(new) if new.is_like(&old) => drop(self.told.remove(&what)),
                Ok(new) => self.take_over(&name, &old, new, &what),
                Err(error) => self.tell(what, &error),
            }
        }
        if settings.wire.client_ca_file.is_some() {
            let what = "who vouches for clients".to_owned();
            match Settings::new(settings.wire.clone()) {
                Ok(new) => {
                    if self.told.remove(&what).is_some() || !settings.are_like(&new) {
                        say!("proxyd: {what} is taken over from its file");
                    }
                    self.registry.change(|state| {
                        if state.keyring().settings.wire == new.wire {
                            state.put_tls(new);
                        }
                    });
                }
                Err(error) => self.tell(what, &error),
            }
        }
    }

    fn take_over(&mut self, name: &Name, old: &Arc<Certificate>, new: Certificate, what: &str) {
        self.told.remove(what);
        let day = new.last_day();
        let taken = self.registry.change(|state| {
            // Somebody may have put another one meanwhile.
            let is_there = state.keyring().certificates().get(name);
            let is_old = is_there.is_some_and(|there| Arc::ptr_eq(there, old));
            is_old && state.put_certificate(name, Arc::new(new)).is_ok()
        });
        if taken {
            say!("proxyd: {what} is taken over from its files, and valid until {day}");
        }
    }

    /// Says once what is wrong.
    fn tell(&mut self, what: String, error: &impl ToString) {
        let error = error.to_string();
        if self.told.get(&what) != Some(&error) {
            say!("proxyd: {what} stays as it was, since its files are wrong: {error}");
            self.told.insert(what, error);
        }
    }
}

async fn retry(is_partial: bool) {
    if is_partial { sleep(limits::CERTIFICATE_RETRY).await } else { pending().await }
}

impl Watch {
    fn on(folders: &BTreeSet<PathBuf>) -> io::Result<Watch> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let flags = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        let mut is_partial = false;
        for folder in folders {
            is_partial |= inotify.add_watch(folder, flags).is_err();
        }
        let ready = readable(inotify.as_fd().try_clone_to_owned()?)?;
        Ok(Watch { inotify, ready, is_partial })
    }

    /// Returns once nothing moves.
    async fn calm(&self) {
        while timeout(limits::CERTIFICATE_CALM, self.moved()).await.is_ok() {}
    }

    /// Returns once something has moved.
    async fn moved(&self) -> io::Result<()> {
        loop {
            let mut ready = self.ready.readable().await?;
            match self.inotify.read_events() {
                Ok(_) => return Ok(()),
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Where a file is: the folder that is written, and the one that it is in, if it is a link.
pub(super) fn folders_of(file: &Path) -> impl Iterator<Item = PathBuf> {
    let named = file.parent().map(Path::to_owned);
    let linked = file.canonicalize().ok().and_then(|file| file.parent().map(Path::to_owned));
    named.into_iter().chain(linked)
}

#[expect(
    deprecated,
    reason = "an owned descriptor stays what it is, as its unsafe successor asks for"
)]
fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}
