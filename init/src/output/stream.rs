//! One stream: where it is read from, what is kept of it, and who wants to know.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use init_wire::Channel;
use nix::errno::Errno;
use nix::sys::uio::readv;
use nix::unistd::read;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tracing::warn;

use super::drain::Readable;
use super::gone::GoneStream;
use super::ring::{self, LEAST, Ring};
use super::{News, StreamId, Unreadable};
use crate::id::JobId;
use crate::inherit::{Inherited, Lost};

/// Bytes read at once while it is not known how much there will be: what a pipe holds.
const A_READ: usize = 64 * 1024;

/// A stream of a job.
#[derive(Debug)]
pub(super) struct Stream {
    job: JobId,
    channel: Channel,
    pub(super) ring: Ring,
    /// Bytes that the ring may grow to.
    pub(super) limit: usize,
    /// Whether the job is to wait until somebody has read what is kept.
    pub(super) waits: bool,
    pub(super) writer: Writer,
    /// The positions of the first byte and of the last one, if there are any.
    pub(super) first: Option<u64>,
    pub(super) last: Option<u64>,
    /// The offset up to which somebody has read.
    taken: u64,
    /// Where it comes from, the one that is next first. There are two where somebody has inherited
    /// an earlier run's and outlives it.
    ends: Vec<End>,
    /// Whether the ends are not looked at, because there is no room.
    is_full: bool,
    watch: Option<Arc<Notify>>,
}

/// Where a stream is read from.
#[derive(Debug)]
struct End {
    fd: OwnedFd,
    /// Whether it is a terminal that nobody has open. Somebody may open it again.
    is_closed: bool,
}

impl From<OwnedFd> for End {
    fn from(fd: OwnedFd) -> Self {
        Self { fd, is_closed: false }
    }
}

/// How it is with the job that writes to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writer {
    /// It may write more.
    Live,
    /// It has ended.
    Ended,
    /// It has been let go of; the stream goes when nobody writes to it any more.
    Adrift,
}

/// The most ends of a stream. With one more, the oldest is closed.
const MOST_ENDS: usize = 2;
/// The same where runs wait to be read.
const MOST_UNREAD_ENDS: usize = 16;

/// What has come of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Something was there, and more may be.
    More,
    /// Nothing is there, or there is no room for it.
    Nothing,
}

/// A stream as it is written down.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Saved {
    job: JobId,
    channel: Channel,
    #[serde(default, skip_serializing_if = "ring::Saved::is_fresh")]
    ring: ring::Saved,
    limit: usize,
    waits: bool,
    is_live: bool,
    is_adrift: bool,
    #[serde(default)]
    first: Option<u64>,
    last: Option<u64>,
    taken: u64,
    ends: Vec<RawFd>,
}

impl Saved {
    /// Without its bytes.
    pub(super) fn forget_bytes(&mut self) {
        self.ring.forget_bytes();
        self.last = None;
    }

    /// Without the ends that are not there any more.
    pub(super) fn leave_out(&mut self, is_there: impl Fn(RawFd) -> bool) {
        self.ends.retain(|end| is_there(*end));
    }

    /// The descriptors that are a part of it.
    pub(super) fn fds(&self) -> impl Iterator<Item = RawFd> {
        self.ends.iter().copied()
    }
}

impl Stream {
    /// The stream, to be written down, with what is kept of it or without.
    pub(super) fn save(&self, with_bytes: bool) -> Saved {
        Saved {
            job: self.job.clone(),
            channel: self.channel,
            ring: if with_bytes { self.ring.save() } else { self.ring.save_empty() },
            limit: self.limit,
            waits: self.waits,
            is_live: self.writer == Writer::Live,
            is_adrift: self.writer == Writer::Adrift,
            first: self.first,
            last: self.last,
            taken: self.taken,
            ends: self.ends.iter().map(|end| end.fd.as_raw_fd()).collect(),
        }
    }

    /// The stream that was written down, the bytes of which are the next ones of `bytes`.
    pub(super) fn restore(
        saved: Saved,
        bytes: &mut impl io::Read,
        inherited: &mut Inherited,
    ) -> Result<Self, Unreadable> {
        let Saved { job, channel, ring, limit, waits, is_live, is_adrift, .. } = saved;
        let Saved { first, last, taken, ends, .. } = saved;
        let mut kept = vec![0; ring.count()];
        bytes.read_exact(&mut kept)?;
        let ring = Ring::restore(ring, &kept).ok_or(Unreadable::Ring)?;
        let ends = ends.into_iter().map(|end| inherited.claim(end).map(End::from));
        let ends = ends.collect::<Result<_, Lost>>()?;
        let writer = match (is_adrift, is_live) {
            (true, _) => Writer::Adrift,
            (false, true) => Writer::Live,
            (false, false) => Writer::Ended,
        };
        let (is_full, watch) = (false, None);
        Ok(Self {
            job,
            channel,
            ring,
            limit,
            waits,
            writer,
            first,
            last,
            taken,
            ends,
            is_full,
            watch,
        })
    }

    /// Whose it is, unless it is nobody's any more.
    pub(super) fn owner(&self) -> Option<(&JobId, Channel)> {
        (self.writer != Writer::Adrift).then_some((&self.job, self.channel))
    }

    /// Begins to look at its ends.
    pub(super) fn look(&mut self, readable: &Readable, id: StreamId) {
        for end in &mut self.ends {
            end.is_closed = false;
            if let Err(errno) = readable.add(&end.fd, id) {
                warn!("job `{}`: its output is read only when it ends: {}", self.job, errno.desc());
            }
        }
    }

    pub(super) fn new(job: JobId, channel: Channel) -> Self {
        Self {
            job,
            channel,
            ring: Ring::default(),
            limit: LEAST,
            waits: false,
            writer: Writer::Live,
            first: None,
            last: None,
            taken: 0,
            ends: Vec::new(),
            is_full: false,
            watch: None,
        }
    }

    /// How many ends it is read from.
    pub(super) fn ends(&self) -> usize {
        self.ends.len()
    }

    /// Reads from one end more.
    pub(super) fn add(&mut self, end: OwnedFd, readable: &Readable, id: StreamId) {
        // Who could open it again was of an earlier run.
        self.drop_closed(readable);
        let most = if self.waits { MOST_UNREAD_ENDS } else { MOST_ENDS };
        if self.ends.len() >= most {
            self.drop_first(readable);
        }
        if !self.is_full
            && let Err(errno) = readable.add(&end, id)
        {
            warn!("job `{}`: its output is read only when it ends: {}", self.job, errno.desc());
        }
        self.ends.reserve_exact(1);
        self.ends.push(end.into());
    }

    /// Closes the first end. A terminal's is not the only one of its open file, so that the kernel would
    /// go on telling of it.
    fn drop_first(&mut self, readable: &Readable) {
        let end = self.ends.remove(0);
        readable.remove(&end.fd);
    }

    /// Closes terminals that nobody has open.
    pub(super) fn drop_closed(&mut self, readable: &Readable) {
        for end in self.ends.extract_if(.., |end| end.is_closed) {
            readable.remove(&end.fd);
        }
    }

    /// Reads no more.
    pub(super) fn close(&mut self, readable: &Readable) {
        while !self.ends.is_empty() {
            self.drop_first(readable);
        }
        self.writer = Writer::Ended;
        self.tell();
    }

    /// Reads once, what comes first in `now`: the position and the time. It may take so much more
    /// memory.
    pub(super) fn read(
        &mut self,
        now: (u64, u64),
        spare: usize,
        buffer: &mut Vec<u8>,
        (readable, id): (&Readable, StreamId),
    ) -> Read {
        for _ in 0..self.ends.len() {
            let limit = self.limit.min(self.ring.room().saturating_add(spare).max(LEAST));
            let most = self.room(limit, spare);
            if most == 0 {
                self.pause(readable);
                return Read::Nothing;
            }
            let Some(End { fd: end, is_closed }) = self.ends.first() else { return Read::Nothing };
            let is_closed = *is_closed;
            let is_final = self.ring.room() >= limit || self.waits;
            let read = if is_final && self.ring.room() > 0 {
                let mut parts = self.ring.next(most);
                let count = readv(end, &mut parts);
                count.inspect(|count| self.ring.commit(*count, now.0, now.1))
            } else {
                buffer.resize(A_READ, 0);
                read(end, buffer).inspect(|count| {
                    let bytes = buffer.get(..*count).unwrap_or_default();
                    self.grow_for(bytes.len(), limit);
                    self.ring.append(bytes, now.0, now.1);
                })
            };
            match read {
                Ok(1..) => {
                    if is_closed && let Some(end) = self.ends.first_mut() {
                        end.is_closed = false;
                        readable.tell_always(&end.fd, id);
                    }
                    // What is to be read as a whole is read in order.
                    if !self.waits {
                        self.ends.rotate_left(1);
                    }
                    return Read::More;
                }
                Err(Errno::EAGAIN | Errno::EINTR) => self.ends.rotate_left(1),
                // Nobody has the terminal open. While the job lives, it may open it again.
                Err(Errno::EIO) if self.writer == Writer::Live => {
                    if !is_closed && let Some(end) = self.ends.first_mut() {
                        end.is_closed = true;
                        readable.tell_once(&end.fd, id);
                    }
                    self.ends.rotate_left(1);
                }
                // The last who could write has let go.
                Ok(_) | Err(_) => self.drop_first(readable),
            }
        }
        Read::Nothing
    }

    /// Keeps no more than it may. Who is waited for loses nothing: he has to read it first.
    pub(super) fn fit(&mut self) {
        if !self.waits || self.unread() <= self.limit {
            self.ring.shrink(self.limit);
        }
    }

    /// Bytes that are kept and nobody has read.
    fn unread(&self) -> usize {
        let kept = self.ring.end().saturating_sub(self.taken.max(self.ring.start()));
        usize::try_from(kept).unwrap_or(usize::MAX)
    }

    /// Bytes that may be read now into a ring of `limit` bytes at most.
    fn room(&mut self, limit: usize, spare: usize) -> usize {
        self.fit();
        self.ring.bound(limit);
        if spare == 0 {
            self.ring.hold();
        }
        if self.waits || limit <= LEAST {
            self.ring.grow(limit);
        }
        if self.waits && self.taken.max(self.ring.start()) < self.ring.next_start() {
            return 0;
        }
        if self.waits && self.ring.room() > 0 {
            self.ring.room().min(self.limit).saturating_sub(self.unread())
        } else {
            A_READ
        }
    }

    fn grow_for(&mut self, more: usize, limit: usize) {
        let kept = usize::try_from(self.ring.end() - self.ring.start()).unwrap_or(usize::MAX);
        let wanted = kept.saturating_add(more).max(LEAST).next_power_of_two();
        self.ring.grow(wanted.min(limit));
    }

    /// The job has to wait: its ends are looked at again when there is room.
    fn pause(&mut self, readable: &Readable) {
        self.is_full = true;
        self.ends.iter().for_each(|end| readable.remove(&end.fd));
    }

    /// Somebody has read so far.
    pub(super) fn taken(&mut self, offset: u64, readable: &Readable, id: StreamId) {
        // Nobody has read what has not come yet, whatever he says.
        self.taken = self.taken.max(offset.min(self.ring.end()));
        if std::mem::take(&mut self.is_full) {
            self.look(readable, id);
        }
    }

    /// What is told when there is more.
    pub(super) fn watch(&mut self) -> Arc<Notify> {
        Arc::clone(self.watch.get_or_insert_default())
    }

    /// Tells who wants to know.
    pub(super) fn tell(&self) {
        if let Some(watch) = &self.watch {
            watch.notify_waiters();
        }
    }

    /// What is known of it when it has gone, if there was anything.
    pub(super) fn gone(self, id: StreamId) -> Option<GoneStream> {
        let Self { job, channel, first, ring, .. } = self;
        Some(GoneStream { id, job, channel, first, last: self.last?, end: ring.end() })
    }

    /// The piece at `offset`, `most` bytes of it.
    pub(super) fn news(
        &self,
        id: StreamId,
        offset: u64,
        most: usize,
        after_gap: bool,
    ) -> Option<News> {
        let piece = self.ring.piece(offset, most)?;
        let (job, channel, first) = (self.job.clone(), self.channel, self.first);
        Some(News { id, job, channel, piece, after_gap, first })
    }
}

#[cfg(test)]
mod tests {
    use nix::fcntl::OFlag;
    use nix::unistd::{pipe2, write};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever comes in pieces of any size, and wherever readers stand: what nobody has read is kept.
        #[test]
        fn z06_who_waits_for_his_readers_loses_nothing(
            // Mostly short ones, which take a mark each; mostly nobody reads.
            pieces in prop::collection::vec(
                (
                    prop_oneof![60 => 1_usize..8, 1 => 1000_usize..3000],
                    prop_oneof![20 => Just(0), 1 => 0_u64..300],
                ),
                1..1500,
            ),
            limit in prop::sample::select(vec![4096_usize, 8192, 20_000]),
        ) {
            let (end, mouth) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).unwrap();
            let (readable, id) = (Readable::new().unwrap(), StreamId(1));
            let mut stream = Stream::new(JobId::boot(), Channel::Stdout);
            (stream.waits, stream.limit) = (true, limit);
            stream.add(end, &readable, id);
            let (mut buffer, mut position) = (Vec::new(), 0);
            for (piece, more) in pieces {
                let _ = write(&mouth, &vec![b'x'; piece]);
                stream.read((position, position), usize::MAX, &mut buffer, (&readable, id));
                position = stream.ring.end();
                prop_assert!(stream.ring.start() <= stream.taken, "{} of {}", stream.taken, position);
                stream.taken(stream.taken + more, &readable, id);
                prop_assert!(stream.taken <= stream.ring.end());
            }
        }
    }
}
