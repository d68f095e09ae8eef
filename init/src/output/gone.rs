//! Streams of which nothing is kept any more: enough of each to tell who was behind what he has missed.

use std::collections::VecDeque;

use init_wire::Channel;
use serde::{Deserialize, Serialize};

use super::StreamId;
use crate::id::JobId;
use crate::limits::MAX_GONE;

/// All such streams. Readers count them, and so know which ones they have been told of.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Gone {
    /// The last ones, in the order in which they went.
    streams: VecDeque<GoneStream>,
    /// How many there have been.
    count: u64,
    /// The position after the last byte of those that are not remembered.
    forgotten: u64,
}

/// A stream that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoneStream {
    /// Its name.
    pub id: StreamId,
    /// Its job.
    pub job: JobId,
    /// Which of its streams.
    pub channel: Channel,
    /// The position of its first byte, if that is known.
    pub first: Option<u64>,
    /// The position of its last byte.
    pub last: u64,
    /// How many bytes there were.
    pub end: u64,
}

/// What is gone of what somebody has yet to read.
#[derive(Debug, PartialEq, Eq)]
pub struct Losses {
    /// Whether there is more than the streams tell.
    pub more: bool,
    /// The streams.
    pub streams: Vec<GoneStream>,
}

impl Gone {
    /// How many there have been.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn add(&mut self, stream: GoneStream) {
        if self.streams.len() >= MAX_GONE
            && let Some(oldest) = self.streams.pop_front()
        {
            self.forgotten = self.forgotten.max(oldest.last + 1);
        }
        self.streams.push_back(stream);
        self.count += 1;
    }

    /// What has gone since there were so many of what came at `position` or after it.
    pub(super) fn since(&self, count: u64, position: u64) -> Losses {
        let first = self.count.saturating_sub(self.streams.len() as u64);
        let known = usize::try_from(count.saturating_sub(first)).unwrap_or(usize::MAX);
        let streams = self.streams.iter().skip(known).filter(|stream| stream.last >= position);
        let more = count < first && self.forgotten > position;
        Losses { more, streams: streams.cloned().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(number: u64) -> GoneStream {
        GoneStream {
            id: StreamId(number),
            job: JobId::parse("a").unwrap(),
            channel: Channel::Stdout,
            first: Some(number * 10),
            last: number * 10 + 9,
            end: 10,
        }
    }

    #[test]
    fn o12_who_was_behind_is_told_of_what_went_and_only_of_that() {
        let mut gone = Gone::default();
        (0..3).for_each(|number| gone.add(stream(number)));
        let since = |count, position| {
            let Losses { more, streams } = gone.since(count, position);
            assert!(!more);
            streams.iter().map(|stream| stream.id.0).collect::<Vec<_>>()
        };
        assert_eq!(since(0, 0), [0, 1, 2]);
        assert_eq!(since(0, 19), [1, 2], "its last byte");
        assert_eq!(since(0, 20), [2]);
        assert_eq!(since(1, 0), [1, 2]);
        assert!(since(3, 0).is_empty());
    }

    #[test]
    fn o12_of_too_many_it_is_said_that_there_were_some() {
        let mut gone = Gone::default();
        let most = MAX_GONE as u64;
        (0..most + 2).for_each(|number| gone.add(stream(number)));
        let losses = gone.since(0, 0);
        assert!(losses.more);
        assert_eq!(losses.streams.len(), MAX_GONE);
        assert!(gone.since(0, 19).more);
        assert!(!gone.since(0, 20).more, "he has had all of those");
        assert!(!gone.since(2, 0).more, "he has been told of those");
    }
}
