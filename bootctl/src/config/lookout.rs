//! The config folder, or some files, watched: it is told when they may say something else. What they say is not read here.
//!
//! Every folder on the way to a file is watched for the next step of that way, through links too: so it is seen when a
//! file is written, replaced or linked elsewhere, and also when the folder as a whole is. Files that
//! app files name, such as pages, are not watched.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::time::Instant;
use std::{fs, io};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use tokio::io::Interest as Ready;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::Sender;
use tokio::time::timeout_at;

use super::calm::Calm;
use super::main_file;
use crate::event::Event;

/// As many links in a row as the kernel follows.
const LINKS: u32 = 40;

/// What is of interest in one folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Interest {
    names: BTreeSet<OsString>,
    /// All files of apps.
    apps: bool,
}

/// What was heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Heard {
    /// Somebody is at it: no reason to look, but one to wait with it. Who writes in several steps closes the file
    /// at the end of them.
    Writing,
    Changed,
}

/// By folder.
#[derive(Debug, Default, PartialEq, Eq)]
struct Interests(BTreeMap<PathBuf, Interest>);

/// What is watched.
#[derive(Clone, Debug)]
pub(crate) enum Watched {
    /// A config folder.
    Config(PathBuf),
    /// The files of certificates.
    Files(BTreeSet<PathBuf>),
}

impl Watched {
    fn interests(&self) -> io::Result<Interests> {
        match self {
            Self::Config(folder) => Ok(Interests::of(&std::path::absolute(folder)?)),
            Self::Files(files) => {
                let mut all = Interests::default();
                for file in files {
                    all.follow(&std::path::absolute(file)?, LINKS);
                }
                Ok(all)
            }
        }
    }

    fn news(&self) -> Event {
        match self {
            Self::Config(_) => Event::ConfigTouched,
            Self::Files(_) => Event::KeysTouched,
        }
    }
}

/// Who watches.
struct Lookout {
    what: Watched,
    inotify: Inotify,
    ready: AsyncFd<OwnedFd>,
    watched: BTreeMap<WatchDescriptor, Interest>,
}

/// Tells of every change, and of one at once: something may have changed before. Returns why it cannot watch.
pub(crate) async fn watch(what: Watched, tell: &Sender<Event>) -> io::Error {
    match Lookout::begin(what) {
        Ok(mut lookout) => match lookout.go_on(tell).await {
            Ok(never) => match never {},
            Err(error) => error,
        },
        Err(error) => error,
    }
}

impl Lookout {
    fn begin(what: Watched) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let descriptor = inotify.as_fd().try_clone_to_owned()?;
        Ok(Self { what, inotify, ready: readiness(descriptor)?, watched: BTreeMap::new() })
    }

    async fn go_on(&mut self, tell: &Sender<Event>) -> io::Result<std::convert::Infallible> {
        loop {
            // Before anybody looks, so that nothing happens unseen after that.
            self.arm()?;
            if tell.send(self.what.news()).await.is_err() {
                std::future::pending::<()>().await;
            }
            let mut calm = Calm::Calm;
            loop {
                let heard = match calm.look_at() {
                    None => self.heard().await?,
                    Some(at) => match timeout_at(at.into(), self.heard()).await {
                        Ok(heard) => heard?,
                        Err(_) => break,
                    },
                };
                if heard == Heard::Changed || calm != Calm::Calm {
                    calm = calm.stir(Instant::now());
                }
            }
        }
    }

    /// Returns when something of interest has happened.
    async fn heard(&self) -> io::Result<Heard> {
        loop {
            let mut guard = self.ready.readable().await?;
            match self.inotify.read_events() {
                Ok(events) => {
                    let concern = events
                        .iter()
                        .filter(|event| self.concerns(event.wd, event.mask, event.name.as_deref()));
                    if let Some(heard) = concern.map(|event| Heard::of(event.mask)).max() {
                        return Ok(heard);
                    }
                }
                Err(Errno::EAGAIN) => guard.clear_ready(),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn concerns(&self, wd: WatchDescriptor, mask: AddWatchFlags, name: Option<&OsStr>) -> bool {
        if mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            return true;
        }
        if mask.contains(AddWatchFlags::IN_IGNORED) {
            return false;
        }
        match (self.watched.get(&wd), name) {
            (Some(interest), Some(name)) => interest.is_in(name),
            // Of the folder itself, as when its mode changes.
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// Watches what is on the way now.
    fn arm(&mut self) -> io::Result<()> {
        let what = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_ONLYDIR;
        let mut watched: BTreeMap<WatchDescriptor, Interest> = BTreeMap::new();
        for (folder, interest) in self.what.interests()?.0 {
            match self.inotify.add_watch(&folder, what) {
                // Two ways may lead to the same folder.
                Ok(wd) => watched.entry(wd).or_default().join(interest),
                Err(errno @ (Errno::ENOSPC | Errno::ENOMEM)) => return Err(errno.into()),
                // It is not there, or nobody may look into it: the folder above tells when that changes.
                Err(_) => {}
            }
        }
        let before = std::mem::replace(&mut self.watched, watched);
        for wd in before.into_keys().filter(|wd| !self.watched.contains_key(wd)) {
            // One that is gone took its watch along.
            let _ = self.inotify.rm_watch(wd);
        }
        Ok(())
    }
}

impl Heard {
    fn of(mask: AddWatchFlags) -> Self {
        if mask.contains(AddWatchFlags::IN_MODIFY) { Self::Writing } else { Self::Changed }
    }
}

impl Interests {
    fn of(folder: &Path) -> Self {
        let mut all = Self::default();
        let apps = folder.join("apps");
        all.follow(&main_file(folder), LINKS);
        all.follow(&apps, LINKS);
        let links = fs::read_dir(&apps).into_iter().flatten().flatten();
        let links = links.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
        for link in links.filter(|entry| is_app(&entry.file_name())) {
            all.follow(&link.path(), LINKS);
        }
        all.0.entry(apps).or_default().apps = true;
        all
    }

    /// Every step of the way to a path.
    fn follow(&mut self, path: &Path, links: u32) {
        let mut at = PathBuf::new();
        let mut rest = path.components();
        while let Some(step) = rest.next() {
            let Component::Normal(name) = step else {
                at.push(step);
                continue;
            };
            self.0.entry(at.clone()).or_default().names.insert(name.to_owned());
            let next = at.join(name);
            match fs::read_link(&next) {
                Ok(target) if links > 0 => {
                    return self.follow(&at.join(target).join(rest.as_path()), links - 1);
                }
                Ok(_) | Err(_) => at = next,
            }
        }
    }
}

impl Interest {
    fn is_in(&self, name: &OsStr) -> bool {
        self.names.contains(name) || self.apps && is_app(name)
    }

    fn join(&mut self, other: Self) {
        self.names.extend(other.names);
        self.apps |= other.apps;
    }
}

#[expect(
    deprecated,
    reason = "an owned descriptor stays what it is, as its unsafe successor asks for"
)]
fn readiness(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, Ready::READABLE)
}

/// Whether a file of this name declares an app.
fn is_app(name: &OsStr) -> bool {
    Path::new(name).extension() == Some(OsStr::new("toml"))
        && !name.as_encoded_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn z01_each_step_of_the_way_is_of_interest_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let base = folder.path().canonicalize().expect("it is there");
        for made in ["real/apps", "more/now"] {
            fs::create_dir_all(base.join(made)).expect("made");
        }
        symlink("real", base.join("conf")).expect("linked");
        symlink("../../more/link/b.toml", base.join("real/apps/b.toml")).expect("linked");
        symlink("now", base.join("more/link")).expect("linked");
        let Interests(all) = Interests::of(&base.join("conf"));
        let names = |folder: &str| {
            let interest = all.get(&base.join(folder)).cloned().unwrap_or_default();
            let mut names: Vec<_> = interest.names.into_iter().collect();
            names.sort();
            (
                names.iter().map(|n| n.to_string_lossy().into_owned()).collect::<Vec<_>>(),
                interest.apps,
            )
        };
        assert_eq!(names(""), (vec!["conf".to_owned(), "real".into()], false));
        assert_eq!(names("real/apps/../.."), (vec!["more".to_owned()], false));
        assert_eq!(names("real"), (vec!["apps".to_owned(), "bootctl.toml".into()], false));
        assert_eq!(names("conf/apps"), (Vec::new(), true));
        assert_eq!(names("real/apps/../../more"), (vec!["link".to_owned(), "now".into()], false));
        let interest = Interest { apps: true, ..Interest::default() };
        for (name, concerns) in
            [("a.toml", true), (".a.toml", false), ("a.toml~", false), ("4913", false)]
        {
            assert_eq!(interest.is_in(OsStr::new(name)), concerns, "{name}");
        }
    }
}
