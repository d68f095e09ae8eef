//! What jobs write, as far as it is captured: the last bytes of each stream, in memory.
//!
//! A stream is its job's, not a run's: it goes on when the job is started again, and is there until
//! the job is cleared. It is read by whoever asks, from wherever he has come to. Nobody who reads
//! holds a job up; only a job that says so is held up while its bytes have not been read.
//!
//! The reactor hands in the read ends, [`drain`] reads them, the API's tasks read what is kept; all in
//! one thread.

pub mod drain;
mod gone;
pub mod ring;
mod saved;
mod stream;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use init_wire::{Channel, Log, WhenFull};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use self::drain::Readable;
use self::gone::Gone;
pub use self::gone::Losses;
use self::ring::Piece;
pub use self::saved::{Saved, Unreadable};
use self::stream::{Read, Stream, Writer};
use crate::id::JobId;
use crate::limits::{MAX_DEPARTED, MAX_OUTPUT};
use crate::sys::cell::{Cell, Open};
use crate::{clock, sys};

/// Names a stream, as long as init lives. No other one ever has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId(u64);

/// All captured output. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    store: Arc<Cell<Store>>,
    /// Told of every byte of every stream.
    news: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Store {
    /// Tells which streams have more; none before anything is captured.
    readable: Option<Arc<Readable>>,
    streams: HashMap<StreamId, Box<Stream>>,
    jobs: BTreeMap<JobId, Channels>,
    /// Streams of cleared jobs, the first cleared first.
    departed: VecDeque<StreamId>,
    /// And those of which nothing is left.
    gone: Gone,
    /// Streams by the position of their last byte.
    latest: BTreeMap<u64, StreamId>,
    /// Bytes of all streams, ever.
    position: u64,
    last_id: u64,
    /// Bytes of memory that all rings take, and those of cleared jobs.
    size: usize,
    departed_size: usize,
    /// Descriptors that are read from.
    ends: usize,
    /// What small rings are read into before it is known how much there is.
    buffer: Vec<u8>,
}

/// The streams of a job.
#[derive(Clone, Copy, Debug, Default)]
struct Channels([Option<StreamId>; 2]);

/// How a stream stands.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// Its name.
    pub id: StreamId,
    /// The offset of the oldest byte that is kept.
    pub start: u64,
    /// The offset after the newest byte.
    pub end: u64,
}

/// What comes next for who follows a stream.
#[derive(Debug)]
pub enum Next {
    /// Bytes that come after what he has, or after a gap.
    Piece(Piece),
    /// Nothing yet.
    Later,
    /// The job has ended, and so has the stream for now.
    Ended,
}

/// A piece of one of all streams.
#[derive(Debug)]
pub struct News {
    /// The stream.
    pub id: StreamId,
    /// Its job.
    pub job: JobId,
    /// Which of its streams.
    pub channel: Channel,
    /// The bytes.
    pub piece: Piece,
    /// Whether there were bytes right before it which are gone.
    pub after_gap: bool,
    /// The position of the stream's first byte, if that is known.
    pub first: Option<u64>,
}

impl Outputs {
    /// Gets ready to capture. To be called within the runtime.
    pub fn prepare(&self) -> Result<(), Errno> {
        let mut store = self.open();
        if store.readable.is_none() {
            let readable = Arc::new(Readable::new()?);
            // It is tried here, where somebody can be told.
            drop(sys::watch(Arc::clone(&readable)).map_err(|error| sys::errno(&error))?);
            store.readable = Some(Arc::clone(&readable));
            tokio::spawn(drain::go_on(self.clone(), readable));
        }
        Ok(())
    }

    /// Begins to read what a new run of `job` writes. What it has written before stays.
    pub fn capture(&self, job: &JobId, channel: Channel, log: &Log, end: OwnedFd) {
        let mut store = self.open();
        let id = store.stream(job, channel);
        let Store { streams, readable: Some(readable), ends, size, .. } = &mut *store else {
            return;
        };
        let Some(stream) = streams.get_mut(&id) else { return };
        *ends = ends.saturating_sub(stream.ends());
        *size = size.saturating_sub(stream.ring.size());
        stream.limit = log.bytes as usize;
        stream.waits = log.when_full == WhenFull::Wait;
        stream.writer = Writer::Live;
        stream.fit();
        stream.add(end, readable, id);
        *size += stream.ring.size();
        *ends += stream.ends();
    }

    /// Reads an end that a lost job has left, so that its processes are not held up or ended.
    pub fn keep_adrift(&self, job: &JobId, end: OwnedFd) {
        let mut store = self.open();
        store.last_id += 1;
        let id = StreamId(store.last_id);
        let Store { streams, readable: Some(readable), ends, .. } = &mut *store else { return };
        let mut stream = Stream::new(job.clone(), Channel::Stdout);
        stream.writer = Writer::Adrift;
        stream.add(end, readable, id);
        *ends += stream.ends();
        streams.insert(id, Box::new(stream));
    }

    /// Counts anew what is counted beside the streams: a defect may have left that untrue.
    pub fn recount(&self) {
        let mut store = self.open();
        let all = || store.streams.values();
        let gone = store.departed.iter().filter_map(|id| store.streams.get(id));
        let (ends, size) = (all().map(|s| s.ends()).sum(), all().map(|s| s.ring.size()).sum());
        let departed = gone.map(|stream| stream.ring.size()).sum();
        (store.ends, store.size, store.departed_size) = (ends, size, departed);
    }

    /// How many descriptors are held for it.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open().ends
    }

    /// Whether anything of the job is captured.
    #[must_use]
    pub fn has(&self, job: &JobId) -> bool {
        self.open().jobs.contains_key(job)
    }

    /// Reads all that the job's processes have written so far.
    pub fn drain(&self, job: &JobId) {
        let mut store = self.open();
        let Some(Channels(channels)) = store.jobs.get(job) else { return };
        let ids: Vec<_> = channels.iter().flatten().copied().collect();
        for id in ids {
            // As much as a pipe can hold at most, so that somebody who goes on writing ends nothing.
            for _ in 0..MOST_READS {
                if self.read(&mut store, id) != Read::More {
                    break;
                }
            }
        }
    }

    /// Says whether the job may still write anything.
    pub fn note(&self, job: &JobId, is_live: bool) {
        let mut store = self.open();
        let Some(Channels(channels)) = store.jobs.get(job) else { return };
        for id in (*channels).into_iter().flatten() {
            let Store { streams, readable: Some(readable), ends, .. } = &mut *store else { return };
            if let Some(stream) = streams.get_mut(&id) {
                stream.writer = if is_live { Writer::Live } else { Writer::Ended };
                if !is_live {
                    *ends = ends.saturating_sub(stream.ends());
                    stream.drop_closed(readable);
                    *ends += stream.ends();
                }
                stream.tell();
            }
        }
    }

    /// The job is cleared. Who reads all streams has a while to read its last words.
    pub fn forget(&self, job: &JobId) {
        let mut store = self.open();
        let Some(Channels(channels)) = store.jobs.remove(job) else { return };
        for id in channels.into_iter().flatten() {
            store.depart(id);
        }
    }

    /// The job is a job no more, and its processes go on. They write to init as long as it lives.
    pub fn let_go(&self, job: &JobId) {
        let mut store = self.open();
        let Some(Channels(channels)) = store.jobs.remove(job) else { return };
        for id in channels.into_iter().flatten() {
            let Store { streams, readable, .. } = &mut *store;
            if let (Some(stream), Some(readable)) = (streams.get_mut(&id), readable) {
                stream.writer = Writer::Adrift;
                // Nobody can follow it alone any more.
                stream.waits = false;
                stream.taken(0, readable, id);
                stream.tell();
            }
            if store.streams.get(&id).is_some_and(|stream| stream.ends() == 0) {
                store.depart(id);
            }
        }
    }

    /// The streams of `job` that are captured no more, because a new run has no such thing.
    pub fn release(&self, job: &JobId, channel: Channel) {
        let mut store = self.open();
        let Some(Channels(channels)) = store.jobs.get_mut(job) else { return };
        let id = channels.get_mut(channel as usize).and_then(Option::take);
        if channels.iter().all(Option::is_none) {
            store.jobs.remove(job);
        }
        if let Some(id) = id {
            store.depart(id);
        }
    }

    /// How a job's stream stands, if it is captured.
    #[must_use]
    pub fn find(&self, job: &JobId, channel: Channel) -> Option<Standing> {
        let store = self.open();
        let Channels(channels) = store.jobs.get(job)?;
        let id = (*channels.get(channel as usize)?)?;
        let ring = &store.streams.get(&id)?.ring;
        Some(Standing { id, start: ring.start(), end: ring.end() })
    }

    /// Bytes of a stream from one offset to another, as far as they are kept.
    #[must_use]
    pub fn bytes(&self, id: StreamId, from: u64, until: u64) -> Vec<u8> {
        self.open().streams.get(&id).map_or_else(Vec::new, |stream| stream.ring.bytes(from, until))
    }

    /// Where the last lines of a stream begin.
    #[must_use]
    pub fn tail(&self, id: StreamId, lines: usize) -> u64 {
        self.open().streams.get(&id).map_or(0, |stream| stream.ring.tail(lines))
    }

    /// What comes at `from` for somebody who follows a stream, `most` bytes of it.
    #[must_use]
    pub fn next(&self, id: StreamId, from: u64, most: usize) -> Next {
        let mut store = self.open();
        for _ in 0..MOST_READS {
            let Some(stream) = store.streams.get(&id) else { return Next::Ended };
            if let Some(piece) = stream.ring.piece(from, most) {
                return Next::Piece(piece);
            }
            if stream.writer == Writer::Live {
                return Next::Later;
            }
            // What a job that waits for its readers has left behind is still to be read.
            if self.read(&mut store, id) == Read::Nothing {
                return Next::Ended;
            }
        }
        Next::Ended
    }

    /// What is told when a stream has more, or has ended.
    #[must_use]
    pub fn watch(&self, id: StreamId) -> Arc<Notify> {
        let mut store = self.open();
        store.streams.get_mut(&id).map_or_else(Arc::default, |stream| stream.watch())
    }

    /// Bytes that have been captured of all streams: the position of the next one.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.open().position
    }

    /// The pieces of all streams from a position on, in their order, as many as fit `A_BATCH` bytes.
    #[must_use]
    pub fn news(&self, from: u64) -> Vec<News> {
        let store = self.open();
        let mut found = Vec::new();
        // The place of each stream's next piece, the earliest first.
        let mut next: BinaryHeap<_> = store
            .latest
            .range(from..)
            .filter_map(|(_, id)| {
                let ring = &store.streams.get(id)?.ring;
                let offset = ring.at_position(from);
                Some(Reverse((
                    ring.piece(offset, 0)?.mark.position,
                    *id,
                    offset,
                    ring.gone() > from,
                )))
            })
            .collect();
        let (mut size, mut most) = (0, MOST_NEWS);
        while size < A_BATCH
            && most > 0
            && let Some(Reverse((_, id, offset, after_gap))) = next.pop()
        {
            let Some(stream) = store.streams.get(&id) else { continue };
            let Some(news) = stream.news(id, offset, A_BATCH - size, after_gap) else { continue };
            let offset = offset.max(news.piece.mark.offset) + news.piece.bytes.len() as u64;
            (size, most) = (size + news.piece.bytes.len(), most - 1);
            found.push(news);
            if let Some(piece) = stream.ring.piece(offset, 0) {
                next.push(Reverse((piece.mark.position, id, offset, false)));
            }
        }
        found
    }

    /// Whether the stream's job waits for who reads it.
    #[must_use]
    pub fn waits(&self, id: StreamId) -> bool {
        self.open().streams.get(&id).is_some_and(|stream| stream.waits)
    }

    /// Somebody has read a stream so far, and will not ask for that again.
    pub fn taken(&self, id: StreamId, offset: u64) {
        let mut store = self.open();
        let Store { streams, readable: Some(readable), .. } = &mut *store else { return };
        if let Some(stream) = streams.get_mut(&id) {
            stream.taken(offset, readable, id);
        }
    }

    /// Somebody has read all streams up to that position.
    pub fn taken_until(&self, position: u64) {
        let mut store = self.open();
        let Store { streams, readable: Some(readable), position: now, .. } = &mut *store else {
            return;
        };
        if position > *now {
            // Who says so has read something else.
            return;
        }
        for (id, stream) in streams.iter_mut().filter(|(_, stream)| stream.waits) {
            let offset = stream.ring.at_position(position);
            stream.taken(offset, readable, *id);
        }
    }

    /// How many streams have gone for good.
    #[must_use]
    pub fn gone(&self) -> u64 {
        self.open().gone.count()
    }

    /// What somebody has missed by that, who is at `position` and was told of the first `count`.
    #[must_use]
    pub fn losses(&self, count: u64, position: u64) -> Losses {
        self.open().gone.since(count, position)
    }

    /// Whether there is still such a stream.
    #[must_use]
    pub fn is_there(&self, id: StreamId) -> bool {
        self.open().streams.contains_key(&id)
    }

    /// What is told when any stream has more.
    #[must_use]
    pub fn watch_all(&self) -> &Notify {
        &self.news
    }

    /// Reads what some of those streams have.
    fn drain_some(&self, ready: impl Iterator<Item = StreamId>) {
        let mut store = self.open();
        for id in ready {
            self.read(&mut store, id);
        }
    }

    fn read(&self, store: &mut Store, id: StreamId) -> Read {
        let Store { streams, latest, position, size, ends, buffer, readable, .. } = store;
        let (Some(stream), Some(readable)) = (streams.get_mut(&id), readable) else {
            return Read::Nothing;
        };
        let before = (stream.ring.size(), stream.ring.end());
        *ends = ends.saturating_sub(stream.ends());
        let spare = MAX_OUTPUT.saturating_sub(*size);
        let read = stream.read((*position, clock::millis()), spare, buffer, (readable, id));
        *ends += stream.ends();
        *size = (*size + stream.ring.size()).saturating_sub(before.0);
        let count = stream.ring.end() - before.1;
        if count > 0 {
            stream.first.get_or_insert(*position);
            if let Some(last) = stream.last.replace(*position + count - 1) {
                latest.remove(&last);
            }
            *position += count;
            latest.insert(*position - 1, id);
            stream.tell();
            self.news.notify_waiters();
        }
        if stream.writer == Writer::Adrift && stream.ends() == 0 {
            store.depart(id);
        }
        read
    }

    fn open(&self) -> Open<'_, Store> {
        self.store.open()
    }
}

/// Bytes handed to who follows all streams at once.
const A_BATCH: usize = 64 * 1024;
/// Pieces handed to him at once.
const MOST_NEWS: usize = 256;
/// Bytes that are kept of one stream of a cleared job, so that its other one has room beside it.
const MAX_DEPARTED_STREAM: usize = MAX_DEPARTED / 2;
/// Reads of one stream when its job has ended.
const MOST_READS: usize = 32;

impl Store {
    /// The stream of a job's channel, a new one if there is none.
    fn stream(&mut self, job: &JobId, channel: Channel) -> StreamId {
        let Channels(channels) = self.jobs.entry(job.clone()).or_default();
        let mut unused = None;
        let place = channels.get_mut(channel as usize).unwrap_or(&mut unused);
        *place.get_or_insert_with(|| {
            self.last_id += 1;
            let id = StreamId(self.last_id);
            self.streams.insert(id, Box::new(Stream::new(job.clone(), channel)));
            id
        })
    }

    fn depart(&mut self, id: StreamId) {
        let Self { streams, readable: Some(readable), ends, .. } = self else { return };
        let Some(stream) = streams.get_mut(&id) else { return };
        *ends = ends.saturating_sub(stream.ends());
        stream.close(readable);
        if stream.ring.end() == 0 {
            self.drop_stream(id);
            return;
        }
        self.size = self.size.saturating_sub(stream.ring.size());
        stream.ring.pack(MAX_DEPARTED_STREAM);
        self.size += stream.ring.size();
        self.departed_size += stream.ring.size();
        self.departed.push_back(id);
        while self.departed_size > MAX_DEPARTED
            && let Some(oldest) = self.departed.pop_front()
        {
            let less = self.drop_stream(oldest);
            self.departed_size = self.departed_size.saturating_sub(less);
        }
    }

    /// Keeps nothing of a stream of a cleared job. Answers how much memory it took.
    fn drop_stream(&mut self, id: StreamId) -> usize {
        let Some(stream) = self.streams.remove(&id) else { return 0 };
        let size = stream.ring.size();
        self.size = self.size.saturating_sub(size);
        if let Some(last) = stream.last {
            self.latest.remove(&last);
        }
        if let Some(gone) = stream.gone(id) {
            self.gone.add(gone);
        }
        size
    }
}
