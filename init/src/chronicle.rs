//! The last changes, for those who follow the jobs and for those who come back.
//!
//! Each change is kept as its line of JSON until it is too old. A follower goes through the lines at
//! its own pace; one that was away asks for what came after the last change it has seen, and gets
//! that if it is still here. Nothing is kept before somebody has followed, nor when nobody who has
//! left could go on from what is kept.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::limits::{MISSABLE_BYTES, MISSABLE_EVENTS};
use crate::sys::cell::Cell;

/// What tells one life of init from all others, since each numbers its changes from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life(u64);

impl Life {
    /// A new one.
    #[must_use]
    pub fn new() -> Self {
        // Its keys are the kernel's random bytes.
        Self(RandomState::new().build_hasher().finish())
    }
}

impl Default for Life {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A change that a client has seen: the place from where it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// In which life.
    pub life: Life,
    /// Its number.
    pub seq: u64,
}

impl Place {
    /// From `LIFE:SEQ`, as a client has been told them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (life, seq) = text.split_once(':')?;
        let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if life.len() != 16 || !are_digits(life) || !are_digits(seq) {
            return None;
        }
        Some(Self { life: Life(u64::from_str_radix(life, 16).ok()?), seq: seq.parse().ok()? })
    }
}

/// Keeps the changes and tells followers of them.
#[derive(Debug)]
pub struct Chronicle {
    life: Life,
    pages: Arc<Cell<Pages>>,
    /// Tells that there is more.
    news: watch::Sender<()>,
}

/// The changes that are kept.
#[derive(Debug)]
struct Pages {
    /// One for each change, without a gap.
    lines: VecDeque<Arc<str>>,
    /// The number of the last change that is not here: the first line is the one after it.
    before: u64,
    /// Bytes of all lines.
    bytes: usize,
    /// Nobody has followed yet, or nobody can go on from here.
    is_closed: bool,
}

/// What follows the place that a client names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// All that came after it is here.
    Kept,
    /// So many changes are not here; it is not known how many, if its place is not of this life.
    Missed(Option<u64>),
}

/// The changes as they are written down.
#[derive(Debug, Serialize, Deserialize)]
pub struct Saved {
    life: u64,
    lines: Vec<String>,
    before: u64,
    is_closed: bool,
}

impl Default for Chronicle {
    fn default() -> Self {
        let pages = Pages { lines: VecDeque::new(), before: 0, bytes: 0, is_closed: true };
        Self::of(Life::new(), pages)
    }
}

impl Chronicle {
    /// The changes, to be written down.
    #[must_use]
    pub fn save(&self) -> Saved {
        let pages = self.pages.open();
        let lines = pages.lines.iter().map(|line| line.as_ref().to_owned()).collect();
        Saved { life: self.life.0, lines, before: pages.before, is_closed: pages.is_closed }
    }

    /// The changes that were written down.
    #[must_use]
    pub fn restore(saved: Saved) -> Self {
        let Saved { life, lines, before, is_closed } = saved;
        let bytes = lines.iter().map(String::len).sum();
        let lines = lines.into_iter().map(Arc::from).collect();
        Self::of(Life(life), Pages { lines, before, bytes, is_closed })
    }

    fn of(life: Life, pages: Pages) -> Self {
        Self { life, pages: Arc::new(Cell::new(pages)), news: watch::Sender::new(()) }
    }

    /// This life.
    #[must_use]
    pub fn life(&self) -> Life {
        self.life
    }

    /// Whether somebody follows now.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        self.news.receiver_count() > 0
    }

    /// Whether changes are to be told.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.pages.open().is_closed
    }

    /// Whether a client can go on from `place`; `last` is the number of the last change.
    #[must_use]
    pub fn since(&self, place: Place, last: u64) -> Since {
        if place.life != self.life || place.seq > last {
            return Since::Missed(None);
        }
        let pages = self.pages.open();
        let before = if pages.is_closed { last } else { pages.before };
        if place.seq < before { Since::Missed(Some(last - place.seq)) } else { Since::Kept }
    }

    /// Lets somebody read on after the change `seq`; `last` is the number of the last one.
    #[must_use]
    pub fn follow(&self, seq: u64, last: u64) -> Reader {
        let mut pages = self.pages.open();
        if pages.is_closed {
            pages.begin_after(last);
            pages.is_closed = false;
        }
        Reader { pages: Arc::clone(&self.pages), news: self.news.subscribe(), seq }
    }

    /// Tells the change `seq`.
    pub fn tell(&self, seq: u64, line: Arc<str>) {
        let is_followed = self.is_followed();
        self.pages.open().add(seq, line, is_followed);
        self.news.send_replace(());
    }
}

impl Pages {
    fn begin_after(&mut self, seq: u64) {
        (self.lines, self.bytes, self.before) = (VecDeque::new(), 0, seq);
    }

    fn add(&mut self, seq: u64, line: Arc<str>, is_followed: bool) {
        if seq != self.before + self.lines.len() as u64 + 1 {
            // Only a defect leaves one out; then nobody takes one for another.
            self.begin_after(seq.saturating_sub(1));
        }
        self.bytes += line.len();
        self.lines.push_back(line);
        // The newest one is kept, however large it is.
        while self.lines.len() > MISSABLE_EVENTS
            || self.lines.len() > 1 && self.bytes > MISSABLE_BYTES
        {
            if !is_followed {
                // The last follower has gone so long ago that it could not go on from here.
                self.begin_after(0);
                self.is_closed = true;
                return;
            }
            let Some(line) = self.lines.pop_front() else { break };
            self.bytes -= line.len();
            self.before += 1;
        }
    }
}

/// A follower's way through the changes.
#[derive(Debug)]
pub struct Reader {
    pages: Arc<Cell<Pages>>,
    news: watch::Receiver<()>,
    /// The last change it has read.
    seq: u64,
}

/// What a reader comes to next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// A change.
    Line(Arc<str>),
    /// So many changes are gone that it has not read.
    Missed(u64),
}

impl Reader {
    /// The number of the last change that it has read, or missed.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// What is next, when it is there. `None` when init ends.
    pub async fn next(&mut self) -> Option<Next> {
        loop {
            if let Some(next) = self.read() {
                return Some(next);
            }
            self.news.changed().await.ok()?;
        }
    }

    fn read(&mut self) -> Option<Next> {
        self.news.borrow_and_update();
        let pages = self.pages.open();
        if let Some(missed) = pages.before.checked_sub(self.seq).filter(|missed| *missed > 0) {
            self.seq = pages.before;
            return Some(Next::Missed(missed));
        }
        let place = usize::try_from(self.seq.checked_sub(pages.before)?).ok()?;
        let line = Arc::clone(pages.lines.get(place)?);
        self.seq += 1;
        Some(Next::Line(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(chronicle: &Chronicle, seqs: std::ops::RangeInclusive<u64>) {
        seqs.for_each(|seq| chronicle.tell(seq, seq.to_string().into()));
    }

    fn rest(reader: &mut Reader) -> Vec<Next> {
        std::iter::from_fn(|| reader.read()).collect()
    }

    fn line(seq: u64) -> Next {
        Next::Line(seq.to_string().into())
    }

    #[test]
    fn b09_each_change_is_read_once_and_in_order() {
        let chronicle = Chronicle::default();
        let mut reader = chronicle.follow(7, 7);
        tell(&chronicle, 8..=10);
        assert_eq!(rest(&mut reader), [line(8), line(9), line(10)]);
        assert_eq!((rest(&mut reader), reader.seq()), (vec![], 10));
    }

    #[test]
    fn b09_who_comes_back_goes_on_where_it_was() {
        let chronicle = Chronicle::default();
        let place = |seq| Place { life: chronicle.life(), seq };
        drop(chronicle.follow(0, 0));
        tell(&chronicle, 1..=5);
        assert_eq!(chronicle.since(place(3), 5), Since::Kept);
        assert_eq!(rest(&mut chronicle.follow(3, 5)), [line(4), line(5)]);
        assert_eq!(chronicle.since(place(6), 5), Since::Missed(None));
        let other = Place { life: Life(!chronicle.life().0), seq: 3 };
        assert_eq!(chronicle.since(other, 5), Since::Missed(None));
    }

    #[test]
    fn b09_a_slow_reader_is_told_how_many_it_missed() {
        let chronicle = Chronicle::default();
        let mut reader = chronicle.follow(0, 0);
        let most = MISSABLE_EVENTS as u64;
        tell(&chronicle, 1..=most + 3);
        assert_eq!(reader.read(), Some(Next::Missed(3)));
        assert_eq!(reader.read(), Some(line(4)));
        let place = |seq| Place { life: chronicle.life(), seq };
        assert_eq!(chronicle.since(place(2), most + 3), Since::Missed(Some(most + 1)));
        assert_eq!(chronicle.since(place(3), most + 3), Since::Kept);
    }

    #[test]
    fn b09_a_change_that_was_left_out_is_told_as_missed() {
        let chronicle = Chronicle::default();
        let mut reader = chronicle.follow(0, 0);
        tell(&chronicle, 1..=3);
        assert_eq!(reader.read(), Some(line(1)));
        tell(&chronicle, 5..=5);
        assert_eq!(rest(&mut reader), [Next::Missed(3), line(5)]);
    }

    #[test]
    fn b09_what_is_kept_is_bounded_in_bytes_too() {
        let chronicle = Chronicle::default();
        let mut reader = chronicle.follow(0, 0);
        let large: Arc<str> = "x".repeat(MISSABLE_BYTES / 4).into();
        (1..=9).for_each(|seq| chronicle.tell(seq, Arc::clone(&large)));
        assert_eq!(chronicle.pages.open().bytes, MISSABLE_BYTES);
        assert_eq!(reader.read(), Some(Next::Missed(5)));
        chronicle.tell(10, "x".repeat(MISSABLE_BYTES * 2).into());
        assert_eq!(reader.read(), Some(Next::Missed(4)));
        assert!(matches!(reader.read(), Some(Next::Line(_))));
    }

    #[test]
    fn b09_nothing_is_kept_for_nobody() {
        let chronicle = Chronicle::default();
        assert!(!chronicle.is_open());
        drop(chronicle.follow(0, 0));
        let most = MISSABLE_EVENTS as u64;
        tell(&chronicle, 1..=most);
        assert!(chronicle.is_open());
        tell(&chronicle, most + 1..=most + 1);
        assert!(!chronicle.is_open());
        assert_eq!(chronicle.pages.open().lines.capacity(), 0);
        // Who has missed nothing can go on all the same.
        let place = |seq| Place { life: chronicle.life(), seq };
        assert_eq!(chronicle.since(place(most), most + 1), Since::Missed(Some(1)));
        assert_eq!(chronicle.since(place(most + 1), most + 1), Since::Kept);
        let mut reader = chronicle.follow(most + 1, most + 1);
        tell(&chronicle, most + 2..=most + 2);
        assert_eq!(rest(&mut reader), [line(most + 2)]);
    }

    #[test]
    fn b09_a_place_is_a_life_and_a_number() {
        let life = Life::new();
        assert_ne!(life, Life::new());
        assert_eq!(Place::parse(&format!("{life}:17")), Some(Place { life, seq: 17 }));
        for bad in [
            "",
            "17",
            ":17",
            "0:17",
            &format!("{life}:"),
            &format!("{life}:+1"),
            "+00000000000000f:1",
        ] {
            assert_eq!(Place::parse(bad), None, "{bad:?}");
        }
    }
}
