//! What the other side sends, without the frames of data that hold nothing. Pure.
//!
//! Some libraries write one before the trailers of each answer, or behind each call. The one below bears a hundred in the
//! life of a connection, and then ends it with all that is asked on it. How many of them a client may send is judged before
//! they come here.

const HEAD: usize = 9;
const DATA: u8 = 0;
const END_STREAM: u8 = 1;
const PADDED: u8 = 8;

/// Where in the bytes of a connection we are.
#[derive(Debug)]
pub(super) struct Sieve {
    /// Of a frame whose head has passed, or of what comes before the first.
    left: usize,
    /// Of a head that has come in part, and waits for the rest.
    held: Vec<u8>,
}

impl Sieve {
    /// So much comes before the first frame.
    pub(super) fn behind(preface: usize) -> Sieve {
        Sieve { left: preface, held: Vec::new() }
    }

    /// What is to stand before the bytes that come next.
    pub(super) fn held(&self) -> &[u8] {
        &self.held
    }

    /// Moves to the front of `bytes` what passes, and returns how much that is. They begin with what was held.
    pub(super) fn pass(&mut self, bytes: &mut [u8]) -> usize {
        let (mut from, mut to) = (0, 0);
        self.held.clear();
        while from < bytes.len() {
            if self.left == 0 {
                let rest = bytes.get(from..).unwrap_or_default();
                let Some([a, b, c, kind, flags, ..]) = rest.first_chunk::<HEAD>() else {
                    self.held.extend_from_slice(rest);
                    break;
                };
                let size = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
                if size == 0 && *kind == DATA && flags & (END_STREAM | PADDED) == 0 {
                    from += HEAD;
                    continue;
                }
                self.left = HEAD + size;
            }
            let count = self.left.min(bytes.len() - from);
            if from > to {
                bytes.copy_within(from..from + count, to);
            }
            (from, to, self.left) = (from + count, to + count, self.left - count);
        }
        to
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let [_, size @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&size[..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    proptest! {
        /// However the bytes come, all frames pass but those that hold nothing.
        #[test]
        fn only_what_holds_nothing_stays(
            frames in proptest::collection::vec((0..3_u8, 0..2_u8, 0..20_usize, any::<bool>()), 0..12),
            sizes in proptest::collection::vec(1..30_usize, 1..8),
            preface in 0..30_usize,
        ) {
            let (mut all, mut expected) = (vec![0; preface], vec![0; preface]);
            for (kind, flags, size, empty) in frames {
                let frame = frame(kind, flags, &vec![0; if empty { 0 } else { size }]);
                all.extend_from_slice(&frame);
                if frame.len() > HEAD || kind != DATA || flags == END_STREAM {
                    expected.extend_from_slice(&frame);
                }
            }
            let (mut sieve, mut passed, mut rest) = (Sieve::behind(preface), Vec::new(), &all[..]);
            for size in sizes.into_iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, behind) = rest.split_at(size.min(rest.len()));
                rest = behind;
                let mut bytes = [sieve.held(), piece].concat();
                let count = sieve.pass(&mut bytes);
                passed.extend_from_slice(&bytes[..count]);
            }
            prop_assert_eq!(passed, expected);
        }
    }
}
