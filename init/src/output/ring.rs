//! The last bytes of a stream: what they are, where they stand in it, and when they came.
//!
//! Offsets count from the stream's first byte and never begin anew. Positions count the bytes of all
//! streams together, so that one number tells a reader of all streams how far he is. A mark a piece
//! holds both, and the time. Bytes that no mark is left for are dropped with it: who writes a byte at
//! a time is kept less of, and never costs more.

use std::collections::VecDeque;
use std::io::IoSliceMut;

use serde::{Deserialize, Serialize};

/// What a ring begins with.
pub const LEAST: usize = 4 * 1024;
/// More than is written to one stream between two notes of its end.
const LEAP: u64 = 1 << 40;
/// A ring may have a mark for so many bytes that it may have.
const BYTES_A_MARK: usize = 32;

/// The last bytes of a stream.
#[derive(Debug, Default)]
pub struct Ring {
    /// The byte at `offset` lies at `offset % bytes.len()`.
    bytes: Vec<u8>,
    start: u64,
    end: u64,
    /// Of all kept bytes, the oldest first.
    marks: VecDeque<Mark>,
    most_marks: usize,
    /// The position after the last byte that is not kept any more.
    gone: u64,
}

/// Where a piece begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// In the stream.
    pub offset: u64,
    /// Among the bytes of all streams.
    pub position: u64,
    /// Milliseconds since 1970.
    pub millis: u64,
}

/// Bytes of a stream that came together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where and when.
    pub mark: Mark,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A ring as it is written down; its bytes are elsewhere.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Saved {
    room: usize,
    start: u64,
    end: u64,
    marks: VecDeque<Mark>,
    most_marks: usize,
    gone: u64,
}

impl Saved {
    /// Whether nothing has ever been written to it.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.end == 0 && self.room == 0
    }

    /// Without its bytes, which are gone then.
    pub fn forget_bytes(&mut self) {
        // There may have been more since. Who goes on is to find that he has missed something, and not
        // other bytes at his offset.
        self.end += LEAP;
        (self.start, self.room) = (self.end, 0);
        self.marks.clear();
    }

    /// Bytes that it kept.
    #[must_use]
    pub fn count(&self) -> usize {
        let count = usize::try_from(self.end.saturating_sub(self.start)).unwrap_or(usize::MAX);
        count.min(self.room)
    }
}

impl Ring {
    /// The ring, to be written down.
    #[must_use]
    pub fn save(&self) -> Saved {
        Saved {
            room: self.room(),
            start: self.start,
            end: self.end,
            marks: self.marks.clone(),
            most_marks: self.most_marks,
            gone: self.gone,
        }
    }

    /// The ring without its bytes, to be written down.
    #[must_use]
    pub fn save_empty(&self) -> Saved {
        let (end, most_marks, gone) = (self.end, self.most_marks, self.gone);
        Saved { start: end, end, most_marks, gone, ..Saved::default() }
    }

    /// The ring that was written down, with the bytes that it kept; `None` if they cannot be those.
    #[must_use]
    pub fn restore(saved: Saved, bytes: &[u8]) -> Option<Self> {
        let Saved { room, start, end, mut marks, most_marks, gone } = saved;
        // A crash may have come between a mark and its bytes.
        while marks.back().is_some_and(|last| last.offset >= end) {
            marks.pop_back();
        }
        let count = usize::try_from(end.checked_sub(start)?).ok()?;
        let mut ring = Self { start, end, marks, most_marks, gone, ..Self::default() };
        if count != bytes.len() || count > room {
            return None;
        }
        ring.bytes.try_reserve_exact(room).ok()?;
        ring.bytes.resize(room, 0);
        let mut from = bytes;
        for part in split(&mut ring.bytes, start, count) {
            let (first, rest) = from.split_at(part.len());
            part.copy_from_slice(first);
            from = rest;
        }
        Some(ring)
    }

    /// The bytes that are kept, in order.
    #[must_use]
    pub fn kept(&self) -> [&[u8]; 2] {
        self.slices(self.start, self.end)
    }

    /// The offset of the oldest byte that is kept.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The offset after the newest byte: how many there have been.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The position after the newest byte, as long as it is kept.
    #[must_use]
    pub fn end_position(&self) -> Option<u64> {
        self.marks.back().map(|last| last.position + (self.end - last.offset))
    }

    /// Bytes that there is room for at present.
    #[must_use]
    pub fn room(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of memory that it takes, nearly.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len() + self.marks.capacity() * size_of::<Mark>()
    }

    /// Sets how many pieces may be told apart, by the bytes that it may come to have room for.
    pub fn bound(&mut self, bytes: usize) {
        self.most_marks = bytes / BYTES_A_MARK;
    }

    /// No more pieces than there are places for, but for a few.
    pub fn hold(&mut self) {
        self.most_marks = self.most_marks.min(self.marks.capacity().max(LEAST / BYTES_A_MARK));
    }

    /// The offset before which all is gone when one piece more has come, however short that is.
    #[must_use]
    pub fn next_start(&self) -> u64 {
        match (self.marks.len() + 1).saturating_sub(self.most_marks.max(1)) {
            0 => self.start,
            gone => self.marks.get(gone).map_or(self.end, |first| first.offset),
        }
    }

    /// Makes room for so many bytes, or leaves everything as it is if there is no memory for that.
    pub fn grow(&mut self, room: usize) {
        if room > self.room() {
            self.take_room(room);
        }
    }

    /// Leaves room for so many bytes. The oldest go.
    pub fn shrink(&mut self, room: usize) {
        if room >= self.room() {
            return;
        }
        self.start = self.start.max(self.end.saturating_sub(room as u64));
        self.bound(room);
        self.forget();
        self.marks.shrink_to_fit();
        self.take_room(room);
    }

    /// Keeps the last bytes, `most` of them, and takes no memory for more. Nothing more is to come.
    pub fn pack(&mut self, most: usize) {
        self.bound(most);
        self.start = self.start.max(self.end.saturating_sub(most as u64));
        self.forget();
        self.marks.shrink_to_fit();
        self.take_room(self.kept().map(<[u8]>::len).iter().sum());
    }

    /// Has room for so many bytes, among which are those that are kept.
    fn take_room(&mut self, room: usize) {
        let mut bytes = Vec::new();
        if bytes.try_reserve_exact(room).is_err() {
            return;
        }
        bytes.resize(room, 0);
        let mut offset = self.start;
        for old in self.slices(self.start, self.end) {
            for part in
                split(&mut bytes, offset, old.len()).iter_mut().zip(halves(old, offset, room))
            {
                let (to, from) = part;
                to.copy_from_slice(from);
            }
            offset += old.len() as u64;
        }
        self.bytes = bytes;
    }

    /// Where the next bytes are to be read into: at most `most`, and no more than there is room
    /// for. What was there before stands until [`commit`](Self::commit).
    pub fn next(&mut self, most: usize) -> [IoSliceMut<'_>; 2] {
        let most = most.min(self.room());
        split(&mut self.bytes, self.end, most).map(IoSliceMut::new)
    }

    /// So many bytes have been read into [`next`](Self::next).
    pub fn commit(&mut self, count: usize, position: u64, millis: u64) {
        let (offset, count) = (self.end, count as u64);
        if count == 0 {
            return;
        }
        let goes_on = self.marks.back().is_some_and(|last| {
            last.position + (offset - last.offset) == position && last.millis == millis
        });
        if !goes_on {
            self.marks.push_back(Mark { offset, position, millis });
        }
        self.end += count;
        self.start = self.start.max(self.end.saturating_sub(self.room() as u64));
        self.forget();
    }

    /// Appends bytes, of which the last ones stay if there is not room for all.
    pub fn append(&mut self, mut bytes: &[u8], mut position: u64, millis: u64) {
        if self.room() == 0 {
            // There was no memory for any.
            self.end += bytes.len() as u64;
            (self.start, self.gone) = (self.end, position + bytes.len() as u64);
            return;
        }
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(self.room()));
            let mut from = now;
            for part in &mut self.next(now.len()) {
                let (first, rest) = from.split_at(part.len().min(from.len()));
                part.copy_from_slice(first);
                from = rest;
            }
            self.commit(now.len(), position, millis);
            position += now.len() as u64;
            bytes = later;
        }
    }

    /// The piece that the byte at `from` is in, from there on and at most `most` bytes of it. If
    /// that is gone, the oldest one there is; `None` at the end.
    #[must_use]
    pub fn piece(&self, from: u64, most: usize) -> Option<Piece> {
        let from = from.max(self.start);
        if from >= self.end {
            return None;
        }
        let next = self.marks.partition_point(|mark| mark.offset <= from);
        let mark = self.marks.get(next.checked_sub(1)?)?;
        let until = self.marks.get(next).map_or(self.end, |mark| mark.offset);
        let until = until.min(from.saturating_add(most as u64));
        let position = mark.position + (from - mark.offset);
        Some(Piece {
            mark: Mark { offset: from, position, millis: mark.millis },
            bytes: self.slices(from, until).concat(),
        })
    }

    /// Bytes from `from` to `until`, as far as they are kept.
    #[must_use]
    pub fn bytes(&self, from: u64, until: u64) -> Vec<u8> {
        self.slices(from, until).concat()
    }

    /// The offset of the first kept byte at that position or after it.
    #[must_use]
    pub fn at_position(&self, position: u64) -> u64 {
        let next = self.marks.partition_point(|mark| mark.position <= position);
        let until = self.marks.get(next).map_or(self.end, |mark| mark.offset);
        let within = next.checked_sub(1).and_then(|last| self.marks.get(last));
        within.map_or(self.start, |mark| mark.offset + (position - mark.position)).min(until)
    }

    /// The position after the last byte that has come and is not kept any more; 0 if all are.
    #[must_use]
    pub fn gone(&self) -> u64 {
        self.gone
    }

    /// Where the last `lines` lines begin. A last one without an end counts.
    #[must_use]
    pub fn tail(&self, lines: usize) -> u64 {
        let mut left = lines;
        let mut at = self.end;
        for part in self.slices(self.start, self.end).into_iter().rev() {
            for byte in part.iter().rev() {
                // The end of the last line begins none.
                if *byte == b'\n' && at != self.end {
                    left = left.saturating_sub(1);
                }
                if left == 0 {
                    return at;
                }
                at -= 1;
            }
        }
        self.start
    }

    fn slices(&self, from: u64, until: u64) -> [&[u8]; 2] {
        let (from, until) = (from.max(self.start), until.min(self.end));
        if from >= until {
            return [&[], &[]];
        }
        let (room, count) = (self.room(), usize::try_from(until - from).unwrap_or(usize::MAX));
        let at = place(from, room);
        let first = count.min(room - at);
        [
            self.bytes.get(at..at + first).unwrap_or_default(),
            self.bytes.get(..count - first).unwrap_or_default(),
        ]
    }

    /// Drops the marks of bytes that are gone, and what there are too many marks for.
    fn forget(&mut self) {
        while self.marks.get(1).is_some_and(|second| second.offset <= self.start)
            || self.marks.len() > self.most_marks.max(1)
        {
            let old = self.marks.pop_front();
            if let (Some(old), Some(first)) = (old, self.marks.front()) {
                self.gone = old.position + (first.offset - old.offset);
                self.start = self.start.max(first.offset);
            }
        }
        if let Some(first) = self.marks.front_mut()
            && first.offset < self.start
        {
            first.position += self.start - first.offset;
            first.offset = self.start;
            self.gone = first.position;
        }
    }
}

fn place(offset: u64, room: usize) -> usize {
    usize::try_from(offset % room.max(1) as u64).unwrap_or_default()
}

/// The places of so many bytes from `offset` on.
fn split(bytes: &mut [u8], offset: u64, count: usize) -> [&mut [u8]; 2] {
    let at = place(offset, bytes.len());
    let (before, after) = bytes.split_at_mut(at);
    let first = count.min(after.len());
    let second = (count - first).min(before.len());
    [after.split_at_mut(first).0, before.split_at_mut(second).0]
}

/// The same bytes, parted as [`split`] parts their places.
fn halves(bytes: &[u8], offset: u64, room: usize) -> [&[u8]; 2] {
    let (first, second) = bytes.split_at(bytes.len().min(room - place(offset, room)));
    [first, second]
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn ring(room: usize) -> Ring {
        let mut ring = Ring::default();
        ring.bound(room);
        ring.grow(room);
        ring
    }

    #[test]
    fn z06_the_last_bytes_stay_with_their_offsets() {
        let mut ring = ring(128);
        ring.append(&[b'a'; 100], 0, 1);
        ring.append(&[b'b'; 100], 500, 2);
        assert_eq!((ring.start(), ring.end()), (72, 200));
        assert_eq!(ring.bytes(0, u64::MAX), [&[b'a'; 28][..], &[b'b'; 100]].concat());
        let piece = ring.piece(0, usize::MAX).unwrap();
        assert_eq!(piece.mark, Mark { offset: 72, position: 72, millis: 1 });
        assert_eq!(piece.bytes, [b'a'; 28]);
        let piece = ring.piece(110, 5).unwrap();
        assert_eq!(piece.mark, Mark { offset: 110, position: 510, millis: 2 });
        assert_eq!(piece.bytes, [b'b'; 5]);
        assert_eq!(ring.piece(200, 1), None);
    }

    #[test]
    fn z06_lines_are_counted_from_the_end() {
        let mut ring = ring(256);
        ring.append(b"one\ntwo\nthree\n", 0, 0);
        assert_eq!([0, 1, 2, 3, 9].map(|n| ring.tail(n)), [14, 8, 4, 0, 0]);
        ring.append(b"fo", 14, 0);
        assert_eq!([1, 2].map(|n| ring.tail(n)), [14, 8]);
    }

    #[test]
    fn z06_many_small_pieces_cost_no_more_than_a_few_large_ones() {
        let mut ring = ring(4096);
        for at in 0..10_000 {
            ring.append(b"x", at * 2, at);
        }
        assert!(ring.size() <= 3 * 4096, "{}", ring.size());
        assert_eq!(ring.end() - ring.start(), 128);
    }

    proptest! {
        /// Whatever is written in whatever portions: what is kept is the end of it, and every byte's
        /// offset, position and time are those it was written with.
        #[test]
        fn z06_what_is_kept_is_true(
            steps in vec((1_usize..300, 0_u64..3, 0_u64..2, prop_oneof![Just(0), Just(256), Just(512)], any::<bool>()), 1..60),
        ) {
            let mut ring = ring(128);
            let mut all: Vec<(u8, Mark)> = Vec::new();
            let (mut position, mut millis) = (0, 0);
            for (count, gap, later, room, shrinks) in steps {
                ring.grow(room);
                if shrinks {
                    ring.shrink(room.max(128));
                    prop_assert!(ring.room() <= room.max(128));
                }
                position += gap;
                millis += later;
                let bytes: Vec<u8> = (0..count).map(|n| u8::try_from((all.len() + n) % 251).unwrap()).collect();
                ring.append(&bytes, position, millis);
                for byte in bytes {
                    let mark = Mark { offset: all.len() as u64, position, millis };
                    all.push((byte, mark));
                    position += 1;
                }
                prop_assert_eq!(ring.end(), all.len() as u64);
                prop_assert!(ring.end() - ring.start() <= ring.room() as u64);
                let start = usize::try_from(ring.start()).unwrap();
                let kept = &all[start..];
                let bytes: Vec<u8> = kept.iter().map(|(byte, _)| *byte).collect();
                prop_assert_eq!(ring.bytes(0, u64::MAX), bytes);
                let gone = all[..start].last();
                prop_assert_eq!(ring.gone(), gone.map_or(0, |(_, mark)| mark.position + 1));
                for (byte, mark) in kept {
                    let piece = ring.piece(mark.offset, 1).unwrap();
                    prop_assert_eq!(piece, Piece { mark: *mark, bytes: vec![*byte] });
                    prop_assert_eq!(ring.at_position(mark.position), mark.offset);
                }
            }
        }
    }
}
