//! Which frames a client sends, counted by their heads as the bytes go by. Pure.
//!
//! What the frames say is not read here: it is told which of them try one's patience, and whether a
//! client has begun something that it does not end.

use super::PREFACE;

const HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// What a cancelled request costs, in frames that bring nothing: work had begun on it.
const RESET_COST: u32 = 4;

/// Where in the bytes of a client we are.
#[derive(Debug)]
pub(super) struct Census {
    /// Of the preface, or of the present frame's payload.
    left: usize,
    head: [u8; HEAD],
    have: usize,
    kind: u8,
    /// A head of a request has begun and not ended.
    in_head: bool,
}

impl Census {
    pub(super) fn new() -> Census {
        Census { left: PREFACE.len(), head: [0; HEAD], have: 0, kind: HEADERS, in_head: false }
    }

    /// Reads on; returns what the frames that begin here cost.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> u32 {
        let mut cost: u32 = 0;
        while !bytes.is_empty() {
            let skip = self.left.min(bytes.len());
            self.left -= skip;
            bytes = bytes.get(skip..).unwrap_or_default();
            let take = (HEAD - self.have).min(bytes.len());
            let (head, rest) = bytes.split_at_checked(take).unwrap_or_default();
            if let Some(place) = self.head.get_mut(self.have..self.have + take) {
                place.copy_from_slice(head);
            }
            self.have += take;
            bytes = rest;
            if self.have == HEAD {
                self.have = 0;
                cost = cost.saturating_add(self.begin());
            }
        }
        cost
    }

    /// Whether something was begun that has to end soon. The data of a body has a time of its own.
    pub(super) fn is_held_up(&self) -> bool {
        self.in_head || self.have > 0 || (self.left > 0 && self.kind != DATA)
    }

    fn begin(&mut self) -> u32 {
        let [a, b, c, kind, flags, ..] = self.head;
        self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.kind = kind;
        if matches!(kind, HEADERS | CONTINUATION) {
            self.in_head = flags & END_HEADERS == 0;
        }
        match kind {
            HEADERS => 0,
            DATA if self.left > 0 || flags & END_STREAM != 0 => 0,
            RESET => RESET_COST,
            // Room for answers, too: those that take much earn what it costs.
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, len: usize) -> Vec<u8> {
        let [.., a, b, c] = len.to_be_bytes();
        let mut frame = vec![a, b, c, kind, flags, 0, 0, 0, 1];
        frame.resize(HEAD + len, 0x5a);
        frame
    }

    fn session(frames: &[Vec<u8>]) -> Vec<u8> {
        [PREFACE.to_vec(), frames.concat()].concat()
    }

    #[test]
    fn what_brings_nothing_is_counted() {
        for (frame, cost) in [
            (frame(HEADERS, END_HEADERS, 30), 0),
            (frame(DATA, 0, 1), 0),
            (frame(DATA, END_STREAM, 0), 0),
            (frame(DATA, 0, 0), 1),
            (frame(RESET, 0, 4), RESET_COST),
            (frame(4, 0, 0), 1),
            (frame(6, 0, 8), 1),
            (frame(2, 0, 5), 1),
            (frame(8, 0, 4), 1),
            (frame(0xfa, 0, 100), 1),
        ] {
            assert_eq!(Census::new().pass(&session(&[frame])), cost);
        }
    }

    #[test]
    fn what_has_begun_is_known_until_it_ends() {
        let mut census = Census::new();
        assert!(census.is_held_up(), "the preface is waited for");
        census.pass(PREFACE);
        assert!(!census.is_held_up());
        census.pass(&frame(HEADERS, 0, 10));
        assert!(census.is_held_up());
        census.pass(&frame(CONTINUATION, 0, 10));
        assert!(census.is_held_up());
        census.pass(&frame(CONTINUATION, END_HEADERS, 10));
        assert!(!census.is_held_up());
        census.pass(&frame(DATA, 0, 10)[..15]);
        assert!(!census.is_held_up(), "a body may be slow");
        census.pass(&frame(DATA, 0, 10)[15..]);
        census.pass(&frame(6, 0, 8)[..12]);
        assert!(census.is_held_up());
    }

    proptest! {
        /// However the bytes come, the same is counted.
        #[test]
        fn pieces_do_not_matter(
            frames in prop::collection::vec((0_u8..12, any::<u8>(), 0_usize..40), 0..20),
            cuts in prop::collection::vec(1_usize..30, 1..80),
        ) {
            let frames: Vec<_> = frames.iter().map(|&(kind, flags, len)| frame(kind, flags, len)).collect();
            let bytes = session(&frames);
            let mut whole = Census::new();
            let cost = whole.pass(&bytes);
            let (mut pieces, mut sum, mut rest) = (Census::new(), 0, &bytes[..]);
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                sum += pieces.pass(piece);
                rest = behind;
            }
            prop_assert_eq!(sum, cost);
            prop_assert_eq!(pieces.is_held_up(), whole.is_held_up());
            prop_assert_eq!(pieces.left, 0);
        }
    }
}
