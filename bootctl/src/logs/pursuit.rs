//! What is written to logs from now on, across the beginning of new files.
//!
//! The folder is watched, so nothing happens while nobody writes. A file that was put away is read to its
//! end by the handle that is open; then come those that were put away after it, if there are any, and then
//! the one that is written to now.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::history::{Lines, Open, Place, Text, look, whole};
use super::shelf::{self, Shelf};
use super::wish::Wish;

/// How often it is looked where the folder cannot be watched.
const INTERVAL_MS: u16 = 250;
/// Read at once of one file.
const A_BITE: usize = 64 << 10;

/// The logs that are followed.
pub(crate) struct Pursuit {
    folder: PathBuf,
    /// One app, or all there are and come.
    only: Option<String>,
    watch: Option<Inotify>,
    places: BTreeMap<String, (Place, String)>,
}

impl Pursuit {
    /// To be called before the logs are read up to the places where it begins.
    pub(crate) fn watch(folder: &Path, only: Option<&str>) -> Self {
        let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok();
        let what = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        // Without it, it is looked again and again.
        let watch = watch.filter(|watch| watch.add_watch(folder, what).is_ok());
        let only = only.map(str::to_owned);
        Self { folder: folder.to_owned(), only, watch, places: BTreeMap::new() }
    }

    /// Goes on from there.
    pub(crate) fn begin(&mut self, app: String, place: Place) {
        self.places.insert(app, (place, Wish::default().since.0));
    }

    /// Lines that have come, by time.
    pub(crate) fn next(&mut self, wish: &Wish) -> io::Result<Vec<(String, Text)>> {
        let names = match &self.only {
            Some(app) => BTreeSet::from([app.clone()]),
            None => shelf::apps(&self.folder)?.into_iter().collect(),
        };
        let mut found = Vec::new();
        for app in names {
            let (place, time) = self.places.entry(app.clone()).or_insert_with(|| {
                let place = Shelf::new(&self.folder, &app);
                (Place { shelf: place, current: None, newest: None }, Wish::default().since.0)
            });
            let mut lines = Vec::new();
            place.go_on(time, &mut lines)?;
            lines.retain(|text| text.line().is_some_and(|line| wish.takes(&line)));
            found.extend(lines.into_iter().map(|text| (app.clone(), text)));
        }
        let time = |text: &Text| text.line().map(|line| line.time.to_owned());
        found.sort_by_cached_key(|(_, text)| time(text));
        Ok(found)
    }

    /// Waits until there may be more; false if nobody reads any more what is written to `out`.
    pub(crate) fn wait(&self, out: &impl AsFd) -> io::Result<bool> {
        let mut fds = vec![PollFd::new(out.as_fd(), PollFlags::empty())];
        let timeout = match &self.watch {
            Some(watch) => {
                fds.push(PollFd::new(watch.as_fd(), PollFlags::POLLIN));
                PollTimeout::NONE
            }
            None => PollTimeout::from(INTERVAL_MS),
        };
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let events = fds.first().and_then(PollFd::revents).unwrap_or(PollFlags::empty());
        if events.intersects(PollFlags::POLLERR | PollFlags::POLLNVAL) {
            return Ok(false);
        }
        if let Some(watch) = &self.watch {
            // What has happened shows in the files.
            while watch.read_events().is_ok_and(|events| !events.is_empty()) {}
        }
        Ok(true)
    }
}

impl Place {
    /// Appends the lines that are new, up to what there is now.
    fn go_on(&mut self, time: &mut String, lines: &mut Vec<Text>) -> io::Result<()> {
        loop {
            let (mut later, now) = look(&self.shelf)?;
            let held = self.current.as_ref().map(|open| open.inode);
            if let Some(open) = &mut self.current {
                open.read(time, lines)?;
            }
            if held == now.as_ref().map(|open| open.inode) {
                return Ok(());
            }
            later.retain(|old| Some(&old.time) > self.newest.as_ref());
            // The first of them is the one that was open, and has been read.
            let skip = usize::from(held.is_some()).min(later.len());
            for old in later.iter().skip(skip) {
                for text in Lines::of(old)? {
                    lines.push(text?);
                }
            }
            if let Some(last) = later.pop() {
                self.newest = Some(last.time);
            }
            self.current = now;
        }
    }
}

impl Open {
    fn read(&mut self, time: &mut String, lines: &mut Vec<Text>) -> io::Result<()> {
        let mut rest: Vec<u8> = Vec::new();
        let mut at = self.offset;
        loop {
            let mut bytes = vec![0; A_BITE];
            let count = self.file.read_at(&mut bytes, at)?;
            if count == 0 {
                return Ok(());
            }
            at += count as u64;
            rest.extend_from_slice(bytes.get(..count).unwrap_or_default());
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = rest.drain(..=end).collect();
                line.pop();
                self.offset += line.len() as u64 + 1;
                lines.push(whole(line, time));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::logs::history::History;

    fn line(number: u32) -> String {
        format!("2026-11-22T00:00:00.{number:03}Z 1 out {number}\n")
    }

    #[test]
    fn o11_no_line_is_missed_or_there_twice_however_many_files_are_begun() {
        let folder = tempfile::tempdir().expect("a folder");
        let shelf = Shelf::new(folder.path(), "a");
        let mut pursuit = Pursuit::watch(folder.path(), None);
        let append = |number: u32| {
            use std::io::Write;
            let mut file = shelf.open().expect("opened");
            file.write_all(line(number).as_bytes()).expect("written");
        };
        append(0);
        let history = History::open(shelf.clone()).expect("opened");
        let (before, place) = history.last(9, &Wish::default()).expect("read");
        pursuit.begin("a".into(), place);
        let mut found = before;
        for number in 1..200 {
            append(number);
            if number % 3 == 0 {
                shelf.put_away("2026-11-22T00:00:01.000Z", 1000).expect("put away");
            }
            if number % 7 == 0 || number % 11 == 0 {
                let next = pursuit.next(&Wish::default()).expect("read");
                found.extend(next.into_iter().map(|(_, text)| text));
            }
        }
        let next = pursuit.next(&Wish::default()).expect("read");
        found.extend(next.into_iter().map(|(_, text)| text));
        let numbers: Vec<String> = found
            .iter()
            .map(|text| String::from_utf8_lossy(&text.line().expect("ok").text).into_owned())
            .collect();
        let wanted: Vec<String> = (0..200).map(|number| number.to_string()).collect();
        assert_eq!(numbers, wanted);
        shelf.clear().expect("cleared");
        append(7);
        fs::remove_file(folder.path().join("other")).unwrap_or_default();
        let next = pursuit.next(&Wish::default()).expect("read");
        assert_eq!(next.len(), 1, "what comes after it was cleared");
    }
}
