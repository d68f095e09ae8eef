//! From what jobs write to lines of files. Pure: bytes in the order in which init took them in, pages of
//! lines out, and of each stream how far it has got into them.
//!
//! A byte is known by its place among the bytes of all jobs, which init numbers and never begins anew while
//! it lives; so what comes a second time, after the collector was killed, is told from what is new. The
//! offset within its stream tells how much is missing where something is.
//!
//! A line is held back until its end has come, for [`PATIENCE`] at most, and [`MOST_HELD`] bytes of all
//! streams. What is held back counts as not taken: [`Gatherer::floor`] stays before it.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;
use std::sync::Arc;
use std::time::{Duration, Instant};

use init_wire::Channel;

use super::line::{Kind, LONGEST, Line};

/// How long a line may take to come to its end.
const PATIENCE: Duration = Duration::from_secs(1);
/// The most that is held back of all streams.
const MOST_HELD: usize = 4 << 20;
/// The most streams that are remembered, beyond those that are held back. Of one that is forgotten, a loss
/// cannot be counted.
const MOST_STREAMS: usize = 40_000;
/// A gap of so much is none of bytes: init says by it that it does not know.
const UNCOUNTED: u64 = 1 << 39;

/// Which stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StreamKey {
    pub(crate) job: Arc<str>,
    pub(crate) channel: Channel,
}

/// Whose it is: the app, which names the file, and who of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) app: Arc<str>,
    pub(crate) writer: Arc<str>,
}

/// How far a stream is in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The place after its last byte among those of all streams.
    pub(crate) done: u64,
    /// And in the stream itself.
    pub(crate) offset: u64,
}

/// Bytes of a stream, as they came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    /// The place after the last of them.
    pub(crate) position: u64,
    /// The offset of the first.
    pub(crate) offset: u64,
    pub(crate) time: &'a str,
    pub(crate) bytes: &'a [u8],
}

/// What is to be appended to the file of an app.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    pub(crate) text: Vec<u8>,
    /// How far these streams are after it.
    pub(crate) marks: BTreeMap<StreamKey, Mark>,
}

/// All streams.
#[derive(Debug, Default)]
pub(crate) struct Gatherer {
    /// Jobs whose output is collected, and those whose is not.
    jobs: BTreeMap<Arc<str>, Option<Owner>>,
    strands: BTreeMap<StreamKey, Strand>,
    /// Where init has said that the beginning of a stream is missing.
    missed: BTreeMap<StreamKey, u64>,
    /// The place after all that has come.
    position: u64,
    /// Streams with a line that has not ended, by the place where it begins.
    waiting: BTreeMap<u64, StreamKey>,
    held: usize,
    pages: BTreeMap<Arc<str>, Page>,
    size: usize,
}

/// One stream.
#[derive(Debug)]
struct Strand {
    owner: Owner,
    /// What is in pages.
    mark: Mark,
    /// What has come.
    seen: Mark,
    held: Option<Held>,
}

/// The beginning of a line.
#[derive(Debug)]
struct Held {
    from: u64,
    since: Instant,
    time: String,
    text: Vec<u8>,
}

impl Gatherer {
    /// One that goes on from a place, in the same life of init.
    pub(crate) fn at(
        position: u64,
        streams: impl IntoIterator<Item = (StreamKey, Owner, Mark)>,
    ) -> Self {
        let mut gatherer = Self { position, ..Self::default() };
        for (key, owner, mark) in streams {
            gatherer.jobs.insert(key.job.clone(), Some(owner.clone()));
            gatherer.strands.insert(key, Strand { owner, mark, seen: mark, held: None });
        }
        gatherer
    }

    pub(crate) fn knows(&self, job: &str) -> bool {
        self.jobs.contains_key(job)
    }

    /// Says whose job that is; nobody's is not collected.
    pub(crate) fn introduce(&mut self, job: &str, owner: Option<Owner>) {
        if self.jobs.len() >= MOST_STREAMS {
            let there: BTreeSet<&Arc<str>> = self.strands.keys().map(|key| &key.job).collect();
            self.jobs.retain(|job, _| there.contains(job));
        }
        self.jobs.insert(job.into(), owner);
    }

    /// The place from which init is to be asked: what came before it is in pages.
    pub(crate) fn floor(&self) -> u64 {
        let held = self.waiting.keys().next().copied();
        held.map_or(self.position, |held| held.min(self.position))
    }

    /// The place after all that has come.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Whose a stream is.
    pub(crate) fn owner(&self, key: &StreamKey) -> Option<&Owner> {
        self.strands.get(key).map(|strand| &strand.owner)
    }

    /// Bytes of all pages.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The pages that have come together, by app.
    pub(crate) fn pages(&mut self) -> BTreeMap<Arc<str>, Page> {
        self.size = 0;
        take(&mut self.pages)
    }

    /// How far the streams are that are remembered.
    pub(crate) fn marks(&self) -> impl Iterator<Item = (&StreamKey, &Owner, Mark)> {
        self.strands.iter().map(|(key, strand)| (key, &strand.owner, strand.mark))
    }

    /// Takes what a job has written.
    pub(crate) fn take(&mut self, job: &str, channel: Channel, piece: Piece<'_>, now: Instant) {
        self.position = self.position.max(piece.position);
        let Some((job, Some(owner))) = self.jobs.get_key_value(job) else { return };
        let (key, owner) = (StreamKey { job: job.clone(), channel }, owner.clone());
        let missed = self.missed.remove(&key);
        let begin = piece.position.saturating_sub(piece.bytes.len() as u64);
        let known = self.strands.remove(&key);
        let is_first = known.is_none();
        let mut strand = known.unwrap_or_else(|| Strand::new(owner, begin));
        if piece.position <= strand.seen.done {
            self.strands.insert(key, strand);
            return;
        }
        let mut piece = piece;
        let had = strand.seen.done.saturating_sub(begin);
        if had > 0 {
            let rest = usize::try_from(had).ok().and_then(|had| piece.bytes.get(had..));
            piece.bytes = rest.unwrap_or_default();
            piece.offset = piece.offset.saturating_add(had);
        }
        let is_other = piece.offset < strand.seen.offset;
        if is_other {
            // The job was cleared and started anew: its stream begins anew.
            self.let_go(&key, &mut strand);
            strand.seen.offset = 0;
        }
        let lost = piece.offset.saturating_sub(strand.seen.offset);
        // What was there before anybody asked is not missing, unless init says so.
        if lost > 0 && (missed.is_some() || !is_first && !is_other) {
            self.let_go(&key, &mut strand);
            self.note_loss(&key, &strand, lost, piece.time);
        }
        self.add(&key, &mut strand, piece, now);
        self.strands.insert(key, strand);
        if self.held > MOST_HELD {
            self.let_all_go(|_| true);
        }
        if self.strands.len() > MOST_STREAMS {
            self.forget();
        }
    }

    /// init says that bytes of a stream are gone; the rest of it begins at `offset`, or has ended there.
    pub(crate) fn miss(&mut self, job: &str, channel: Channel, offset: u64, time: &str) {
        let Some((job, Some(owner))) = self.jobs.get_key_value(job) else { return };
        let (key, owner) = (StreamKey { job: job.clone(), channel }, owner.clone());
        let position = self.position;
        let mut strand = self.strands.remove(&key).unwrap_or_else(|| Strand::new(owner, position));
        if offset > strand.seen.offset {
            let lost = offset - strand.seen.offset;
            self.let_go(&key, &mut strand);
            self.note_loss(&key, &strand, lost, time);
            strand.seen.offset = offset;
            strand.mark.offset = offset;
            self.mark(&key, &strand);
        } else {
            self.missed.insert(key.clone(), offset);
        }
        self.strands.insert(key, strand);
    }

    /// init does not know of which jobs bytes are gone.
    pub(crate) fn miss_some(&mut self, time: &str) {
        let apps: BTreeSet<Arc<str>> =
            self.strands.values().map(|strand| strand.owner.app.clone()).collect();
        for app in apps {
            let text = "an unknown number of bytes lost: too many jobs were cleared before what \
                        they wrote was collected";
            self.note(&app, "-", Channel::Stderr, text, time);
        }
    }

    /// When a line has waited long enough for its end.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let (_, key) = self.waiting.first_key_value()?;
        let held = self.strands.get(key)?.held.as_ref()?;
        Some(held.since + PATIENCE)
    }

    /// Lets go of the lines that have waited long enough.
    pub(crate) fn let_late_go(&mut self, now: Instant) {
        self.let_all_go(|held| held.since + PATIENCE <= now);
    }

    /// Lets go of all lines as they are.
    pub(crate) fn let_everything_go(&mut self) {
        self.let_all_go(|_| true);
    }

    fn let_all_go(&mut self, which: impl Fn(&Held) -> bool) {
        let keys: Vec<StreamKey> = self.waiting.values().cloned().collect();
        for key in keys {
            let Some(mut strand) = self.strands.remove(&key) else { continue };
            if strand.held.as_ref().is_some_and(&which) {
                self.let_go(&key, &mut strand);
            }
            self.strands.insert(key, strand);
        }
    }

    /// Lets go of what is held back of a line.
    fn let_go(&mut self, key: &StreamKey, strand: &mut Strand) {
        let Some(held) = self.unhold(strand) else { return };
        strand.mark = strand.seen;
        self.write(key, strand, Kind::Part, &held.time, &held.text);
    }

    fn unhold(&mut self, strand: &mut Strand) -> Option<Held> {
        let held = strand.held.take()?;
        self.waiting.remove(&held.from);
        self.held = self.held.saturating_sub(held.text.len());
        Some(held)
    }

    fn add(&mut self, key: &StreamKey, strand: &mut Strand, piece: Piece<'_>, now: Instant) {
        let begin = piece.position.saturating_sub(piece.bytes.len() as u64);
        let mut rest = piece.bytes;
        let place = |rest: &[u8]| {
            let taken = piece.bytes.len().saturating_sub(rest.len()) as u64;
            Mark { done: begin + taken, offset: piece.offset.saturating_add(taken) }
        };
        while !rest.is_empty() {
            let had = strand.held.as_ref().map_or(0, |held| held.text.len());
            let (kind, end, next) = cut(rest, LONGEST.saturating_sub(had));
            let (text, after) = (rest.get(..end).unwrap_or_default(), rest.get(next..));
            let after = after.unwrap_or_default();
            let Some(kind) = kind else {
                let from = place(rest).done;
                self.hold(key, strand, from, text, piece.time, now);
                rest = after;
                continue;
            };
            strand.mark = place(after);
            match self.unhold(strand) {
                Some(mut held) => {
                    held.text.extend_from_slice(text);
                    self.write(key, strand, kind, &held.time, &held.text);
                }
                None => self.write(key, strand, kind, piece.time, text),
            }
            rest = after;
        }
        strand.seen = place(&[]);
    }

    fn hold(
        &mut self,
        key: &StreamKey,
        strand: &mut Strand,
        from: u64,
        text: &[u8],
        time: &str,
        since: Instant,
    ) {
        self.held += text.len();
        let held = strand.held.get_or_insert_with(|| {
            self.waiting.insert(from, key.clone());
            Held { from, since, time: time.to_owned(), text: Vec::new() }
        });
        held.text.extend_from_slice(text);
    }

    fn write(&mut self, key: &StreamKey, strand: &Strand, kind: Kind, time: &str, text: &[u8]) {
        let Owner { app, writer } = &strand.owner;
        self.line(app, &Line { time, writer, channel: key.channel, kind, text: text.into() });
        self.mark(key, strand);
    }

    fn note_loss(&mut self, key: &StreamKey, strand: &Strand, lost: u64, time: &str) {
        let count = if lost < UNCOUNTED { lost.to_string() } else { "an unknown number of".into() };
        let unit = if lost == 1 { "byte" } else { "bytes" };
        let text =
            format!("{count} {unit} lost: init had no room to keep them until they were collected");
        let Owner { app, writer } = &strand.owner;
        self.note(app, writer, key.channel, &text, time);
    }

    fn note(&mut self, app: &Arc<str>, writer: &str, channel: Channel, text: &str, time: &str) {
        let kind = Kind::Note;
        self.line(app, &Line { time, writer, channel, kind, text: text.as_bytes().into() });
    }

    fn line(&mut self, app: &Arc<str>, line: &Line<'_>) {
        let page = self.pages.entry(app.clone()).or_default();
        let before = page.text.len();
        line.write(&mut page.text);
        self.size += page.text.len() - before;
    }

    fn mark(&mut self, key: &StreamKey, strand: &Strand) {
        if let Some(page) = self.pages.get_mut(&strand.owner.app) {
            page.marks.insert(key.clone(), strand.mark);
        }
    }

    /// Forgets the half of the streams that have been silent for longest.
    fn forget(&mut self) {
        let mut places: Vec<u64> = self.strands.values().map(|strand| strand.seen.done).collect();
        places.sort_unstable();
        let half = places.get(places.len() / 2).copied().unwrap_or_default();
        self.strands.retain(|_, strand| strand.held.is_some() || strand.seen.done > half);
        let strands = &self.strands;
        self.missed.retain(|key, _| strands.contains_key(key));
    }
}

impl Strand {
    fn new(owner: Owner, begin: u64) -> Self {
        let mark = Mark { done: begin, offset: 0 };
        Self { owner, mark, seen: mark, held: None }
    }
}

/// What comes first of `bytes`, with room for so much in its line: what it is, none if the line has not
/// ended; where the text ends; where the next begins.
fn cut(bytes: &[u8], room: usize) -> (Option<Kind>, usize, usize) {
    let within = bytes.get(..=room).unwrap_or(bytes);
    if let Some(end) = within.iter().position(|byte| *byte == b'\n') {
        return (Some(Kind::Whole), end, end + 1);
    }
    if bytes.len() <= room {
        return (None, bytes.len(), bytes.len());
    }
    // A character of several bytes stays whole.
    let is_inside = |at: &usize| bytes.get(*at).is_some_and(|byte| byte & 0xC0 == 0x80);
    let end = (room.saturating_sub(3)..=room).rev().find(|at| !is_inside(at)).unwrap_or(room);
    (Some(Kind::Part), end, end)
}

#[cfg(test)]
#[path = "gather_tests.rs"]
mod tests;
