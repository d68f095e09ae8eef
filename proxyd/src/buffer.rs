//! Buffers that are read into, and their reuse.
//!
//! An idle connection holds none. A request that waits for its answer holds what came of it, and
//! nothing to read the answer with: whoever has something to read takes the buffer that was used
//! last, whose memory is still in the processor's caches. So it is between two pieces of a body.

use std::cell::RefCell;
use std::sync::Arc;

use crate::compression::Encoders;
use crate::crowd::Crowd;
use crate::exchange::brief::Place;
use crate::h1::request::RequestHead;
use crate::h1::response::ResponseHead;
use crate::limits;
use crate::pipe::Pipes;

/// Bytes that came and are not used up: `start..end` of a block.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    block: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    fn new(size: usize) -> Buffer {
        Buffer { block: vec![0; size].into_boxed_slice(), start: 0, end: 0 }
    }

    /// One that begins with bytes that came already, at most a head's size of them.
    pub(crate) fn holding(bytes: &[u8]) -> Buffer {
        let mut buffer = Buffer::new(limits::HEAD.max(bytes.len()));
        if let Some(place) = buffer.block.get_mut(..bytes.len()) {
            place.copy_from_slice(bytes);
            buffer.end = bytes.len();
        }
        buffer
    }

    pub(crate) fn data(&self) -> &[u8] {
        self.block.get(self.start..self.end).unwrap_or_default()
    }

    pub(crate) fn data_mut(&mut self) -> &mut [u8] {
        self.block.get_mut(self.start..self.end).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    /// The free part; where there would be none, what is held is moved to the front, or else a small
    /// block grows up to the size of the largest head.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
        } else if self.end == self.block.len() && self.start > 0 {
            self.block.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        } else if self.end == self.block.len() && self.end < limits::HEAD {
            let mut block = std::mem::take(&mut self.block).into_vec();
            block.resize((self.end * 2).min(limits::HEAD), 0);
            self.block = block.into_boxed_slice();
        }
        self.block.get_mut(self.end..).unwrap_or_default()
    }

    /// Takes over what was read into the free part.
    pub(crate) fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.block.len());
    }

    /// Appends bytes, up to the size of the largest head in all; `false`: there is no room for them.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> bool {
        loop {
            let before = self.block.len();
            let space = self.space();
            if let Some(place) = space.get_mut(..bytes.len()) {
                place.copy_from_slice(bytes);
                self.filled(bytes.len());
                return true;
            }
            if before >= limits::HEAD {
                return false;
            }
            let mut block = std::mem::take(&mut self.block).into_vec();
            block.resize((before * 2).clamp(limits::HEAD_FIRST, limits::HEAD), 0);
            self.block = block.into_boxed_slice();
        }
    }

    /// Keeps so much of what it holds, from the front.
    pub(crate) fn keep(&mut self, count: usize) {
        self.end = self.end.min(self.start + count);
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }
}

/// What one request is worked on with, from its first byte to the end of its answer.
#[derive(Debug)]
pub(crate) struct Desk {
    /// From the client: a head, and what follows it.
    pub(crate) incoming: Buffer,
    pub(crate) request: RequestHead,
    /// To the target: the head, and the body as far as it came with the head.
    pub(crate) outgoing: Vec<u8>,
}

/// What its answer is relayed with, from its first byte on.
#[derive(Debug)]
pub(crate) struct Tray {
    /// From the target.
    pub(crate) answer: Buffer,
    pub(crate) response: ResponseHead,
    /// To the client.
    pub(crate) reply: Vec<u8>,
    pub(crate) switched_to_websocket: bool,
}

impl Desk {
    fn new() -> Desk {
        Desk {
            incoming: Buffer::new(limits::HEAD_FIRST),
            request: RequestHead::default(),
            outgoing: Vec::with_capacity(1024),
        }
    }

    /// Ready for the next request; what has come of it is kept.
    pub(crate) fn clear(&mut self) {
        self.request.clear();
        self.outgoing.clear();
    }
}

/// What is taken to read something with.
pub(crate) trait Reads {
    fn buffer(&mut self) -> &mut Buffer;

    /// Where the first of it goes.
    fn space(&mut self) -> &mut [u8] {
        self.buffer().space()
    }
}

impl Reads for Box<Desk> {
    fn buffer(&mut self) -> &mut Buffer {
        &mut self.incoming
    }
}

impl Reads for Box<Tray> {
    fn buffer(&mut self) -> &mut Buffer {
        &mut self.answer
    }

    fn space(&mut self) -> &mut [u8] {
        let space = self.answer.space();
        let first = space.len().min(limits::ANSWER_FIRST);
        space.get_mut(..first).unwrap_or_default()
    }
}

/// A worker's buffers that are not in use.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    #[expect(clippy::vec_box, reason = "a desk is handed around as a pointer, not copied")]
    desks: RefCell<Vec<Box<Desk>>>,
    #[expect(clippy::vec_box, reason = "as with desks")]
    trays: RefCell<Vec<Box<Tray>>>,
    large: RefCell<Vec<Buffer>>,
    #[expect(clippy::vec_box, reason = "as with desks")]
    places: RefCell<Vec<Box<Place>>>,
    pub(crate) pipes: Pipes,
    pub(crate) encoders: Encoders,
}

impl Spare {
    pub(crate) fn new(crowd: &Arc<Crowd>) -> Spare {
        Spare { pipes: Pipes::new(crowd), ..Spare::default() }
    }

    pub(crate) fn desk(&self) -> Box<Desk> {
        self.desks.borrow_mut().pop().unwrap_or_else(|| Box::new(Desk::new()))
    }

    pub(crate) fn put_desk(&self, mut desk: Box<Desk>) {
        desk.clear();
        desk.incoming.clear();
        if desk.incoming.block.len() != limits::HEAD_FIRST {
            self.put_large(std::mem::replace(&mut desk.incoming, Buffer::new(limits::HEAD_FIRST)));
        }
        // One large head does not hold memory for ever.
        desk.outgoing.shrink_to(limits::HEAD);
        let mut desks = self.desks.borrow_mut();
        if desks.len() < limits::SPARE_BUFFERS {
            desks.push(desk);
        }
    }

    pub(crate) fn tray(&self) -> Box<Tray> {
        let new = || Tray {
            answer: Buffer::new(limits::BODY_BUFFER),
            response: ResponseHead::default(),
            reply: Vec::with_capacity(2048),
            switched_to_websocket: false,
        };
        let mut tray = self.trays.borrow_mut().pop().unwrap_or_else(|| Box::new(new()));
        self.restore(&mut tray.answer);
        tray
    }

    pub(crate) fn put_tray(&self, mut tray: Box<Tray>) {
        tray.answer.clear();
        tray.response.clear();
        tray.reply.clear();
        tray.reply.shrink_to(limits::HEAD);
        tray.switched_to_websocket = false;
        let mut trays = self.trays.borrow_mut();
        if trays.len() < limits::SPARE_BUFFERS {
            trays.push(tray);
        }
    }

    /// Where a request waits for its answer: nobody does.
    #[expect(clippy::unnecessary_box_returns, reason = "as with desks")]
    pub(crate) fn place(&self) -> Box<Place> {
        self.places.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn put_place(&self, mut place: Box<Place>) {
        let mut places = self.places.borrow_mut();
        if place.clear() && places.len() < limits::SPARE_PLACES {
            places.push(place);
        }
    }

    pub(crate) fn large(&self) -> Buffer {
        self.large.borrow_mut().pop().unwrap_or_else(|| Buffer::new(limits::BODY_BUFFER))
    }

    /// Gives an empty buffer's memory to whoever reads next, if it is of the usual size.
    pub(crate) fn lend(&self, buffer: &mut Buffer) {
        if buffer.is_empty() && buffer.block.len() == limits::BODY_BUFFER {
            self.put_large(std::mem::take(buffer));
        }
    }

    /// Gives memory to a buffer that has lent its own.
    pub(crate) fn restore(&self, buffer: &mut Buffer) {
        if buffer.block.is_empty() {
            *buffer = self.large();
        }
    }

    pub(crate) fn put_large(&self, mut buffer: Buffer) {
        let mut large = self.large.borrow_mut();
        if buffer.block.len() == limits::BODY_BUFFER && large.len() < limits::SPARE_BUFFERS {
            buffer.clear();
            large.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_lends_its_memory() {
        let spare = Spare::default();
        let mut tray = spare.tray();
        let place = tray.answer.block.as_ptr();
        spare.lend(&mut tray.answer);
        let mut other = Buffer::default();
        spare.restore(&mut other);
        assert_eq!(other.block.as_ptr(), place, "the one used last is used next");
        other.filled(3);
        spare.lend(&mut other);
        assert_eq!(other.len(), 3, "what is held is not lent");
        spare.put_tray(tray);
        assert_eq!(spare.tray().answer.space().len(), limits::BODY_BUFFER);
    }
}
