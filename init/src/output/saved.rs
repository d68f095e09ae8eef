//! All output from one process to the next: what is written down of it, and its bytes after that.

use std::io;
use std::os::fd::RawFd;

use serde::{Deserialize, Serialize};

use super::gone::Gone;
use super::stream::{self, Stream};
use super::{Channels, Outputs, StreamId};
use crate::inherit::{Inherited, Lost};

/// All output as it is written down, without its bytes.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Saved {
    streams: Vec<(u64, stream::Saved)>,
    departed: Vec<u64>,
    #[serde(default)]
    gone: Gone,
    position: u64,
    last_id: u64,
}

/// Why what was written down cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// There is less of it than it says.
    #[error("the bytes of a stream are not there: {0}")]
    Bytes(#[from] io::Error),
    /// It contradicts itself.
    #[error("a stream is not as it says")]
    Ring,
    /// A descriptor is not there.
    #[error(transparent)]
    Lost(#[from] Lost),
}

impl Saved {
    /// Without the ends that are not there any more.
    pub fn leave_out(&mut self, is_there: impl Fn(RawFd) -> bool) {
        self.streams.iter_mut().for_each(|(_, stream)| stream.leave_out(&is_there));
    }

    /// Without the bytes.
    pub fn forget_bytes(&mut self) {
        self.streams.iter_mut().for_each(|(_, stream)| stream.forget_bytes());
    }

    /// The descriptors that are a part of it.
    pub fn fds(&self) -> impl Iterator<Item = RawFd> {
        self.streams.iter().flat_map(|(_, stream)| stream.fds())
    }
}

impl Outputs {
    /// All output, to be written down, with what is kept of it or without.
    #[must_use]
    pub fn save(&self, with_bytes: bool) -> Saved {
        let store = self.open();
        let mut streams: Vec<_> =
            store.streams.iter().map(|(id, s)| (id.0, s.save(with_bytes))).collect();
        streams.sort_unstable_by_key(|(id, _)| *id);
        let departed = store.departed.iter().map(|id| id.0).collect();
        let gone = store.gone.clone();
        Saved { streams, departed, gone, position: store.position, last_id: store.last_id }
    }

    /// Writes the bytes of all streams, in the order of what was saved.
    pub fn write_bytes(&self, saved: &Saved, to: &mut impl io::Write) -> io::Result<()> {
        let store = self.open();
        let streams = saved.streams.iter().filter_map(|(id, _)| store.streams.get(&StreamId(*id)));
        for part in streams.flat_map(|stream| stream.ring.kept()) {
            to.write_all(part)?;
        }
        Ok(())
    }

    /// The output that was written down, with its bytes. To be called within the runtime.
    pub fn restore(
        saved: Saved,
        bytes: &mut impl io::Read,
        inherited: &mut Inherited,
    ) -> Result<Self, Unreadable> {
        let outputs = Self::default();
        if !saved.streams.is_empty() {
            outputs.prepare().map_err(io::Error::from)?;
        }
        let mut store = outputs.open();
        store.position = saved.position;
        for (id, stream) in saved.streams {
            let id = StreamId(id);
            let mut stream = Stream::restore(stream, bytes, inherited)?;
            if let Some(position) = stream.ring.end_position() {
                // Which says more than what is only noted beside it, if a crash came between the two.
                stream.last = Some(position.saturating_sub(1));
                store.position = store.position.max(position);
            }
            if let Some((job, channel)) = stream.owner()
                && !saved.departed.contains(&id.0)
            {
                let Channels(channels) = store.jobs.entry(job.clone()).or_default();
                if let Some(place) = channels.get_mut(channel as usize) {
                    *place = Some(id);
                }
            }
            if let Some(readable) = &store.readable {
                stream.look(readable, id);
            }
            store.latest.extend(stream.last.map(|last| (last, id)));
            store.size += stream.ring.size();
            store.ends += stream.ends();
            store.streams.insert(id, Box::new(stream));
        }
        store.departed = saved.departed.into_iter().map(StreamId).collect();
        let gone = store.departed.iter().filter_map(|id| store.streams.get(id));
        store.departed_size = gone.map(|stream| stream.ring.size()).sum();
        (store.last_id, store.gone) = (saved.last_id, saved.gone);
        drop(store);
        Ok(outputs)
    }
}
