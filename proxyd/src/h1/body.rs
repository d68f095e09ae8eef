//! Where a message's body ends, and taking it out of a buffer piece by piece.

use super::chunked::Chunks;
use super::malformed::Malformed;

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is no body.
    #[default]
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks; the last is empty.
    Chunked,
    /// All until the connection is closed. Responses only.
    UntilClose,
}

/// What one look at a buffer brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The payload, as a range of the buffer.
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Bytes of the buffer that are done with, payload and framing.
    pub(crate) consumed: usize,
}

/// Takes a body out of the bytes that carry it.
#[derive(Debug)]
pub(crate) enum Body {
    Done,
    Left(u64),
    Chunks(Chunks),
    UntilClose,
}

impl Body {
    pub(crate) fn new(framing: Framing) -> Body {
        match framing {
            Framing::None | Framing::Length(0) => Body::Done,
            Framing::Length(length) => Body::Left(length),
            Framing::Chunked => Body::Chunks(Chunks::default()),
            Framing::UntilClose => Body::UntilClose,
        }
    }

    /// Whether the body is complete.
    pub(crate) fn is_done(&self) -> bool {
        match self {
            Body::Done => true,
            Body::Left(_) | Body::UntilClose => false,
            Body::Chunks(chunks) => chunks.is_done(),
        }
    }

    /// Bytes up to the next one that is framing, as far as is known; 0: the next one is.
    pub(crate) fn payload_left(&self) -> u64 {
        match self {
            Body::Done => 0,
            Body::Left(left) => *left,
            Body::Chunks(chunks) => chunks.payload_left(),
            Body::UntilClose => u64::MAX,
        }
    }

    /// The fields behind it, as they came: there are some only behind chunks.
    pub(crate) fn trailers(&self) -> &[u8] {
        match self {
            Body::Done | Body::Left(_) | Body::UntilClose => b"",
            Body::Chunks(chunks) => chunks.trailers(),
        }
    }

    /// How much is still to come, where that is known; else 0.
    pub(crate) fn left(&self) -> u64 {
        if let Body::Left(left) = self { *left } else { 0 }
    }

    /// So much of what was left has been passed on without a look at it.
    pub(crate) fn passed(&mut self, count: usize) {
        if let Body::Left(left) = self {
            *left = left.saturating_sub(count as u64);
            if *left == 0 {
                *self = Body::Done;
            }
        }
    }

    /// Looks at `data`, from where the last step ended. Chunks are moved together in place, so
    /// that the payload is one range.
    pub(crate) fn step(&mut self, data: &mut [u8]) -> Result<Step, Malformed> {
        match self {
            Body::Done => Ok(Step { start: 0, end: 0, consumed: 0 }),
            Body::Left(left) => {
                let here = usize::try_from(*left).map_or(data.len(), |left| left.min(data.len()));
                *left -= here as u64;
                if *left == 0 {
                    *self = Body::Done;
                }
                Ok(Step { start: 0, end: here, consumed: here })
            }
            Body::Chunks(chunks) => chunks.step(data),
            Body::UntilClose => Ok(Step { start: 0, end: data.len(), consumed: data.len() }),
        }
    }
}
