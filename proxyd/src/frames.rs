//! Where WebSocket frames begin and end (RFC 6455, 5.2), by their heads only: payloads are skipped,
//! whatever they hold.
//!
//! A frame of our own may go between two frames, and nowhere else.

/// The bit of the second byte that says that a mask follows the length.
const MASKED: u8 = 0x80;
const CLOSE: u8 = 8;
/// What a close frame says: 1001, Going Away.
const GOING_AWAY: [u8; 2] = 1001_u16.to_be_bytes();

/// One direction of a WebSocket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frames {
    at: At,
    is_close: bool,
    closed: bool,
}

/// Where in a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Start,
    Length,
    /// So many bytes of the length are to come, then the mask if there is one.
    Extended {
        left: u8,
        masked: bool,
        length: u64,
    },
    /// So many bytes of mask and payload.
    Payload {
        left: u64,
    },
}

impl Frames {
    /// Whether all frames so far are complete.
    pub(crate) fn is_between(&self) -> bool {
        self.at == At::Start
    }

    /// Whether there was a close frame: nothing may follow it.
    pub(crate) fn has_closed(&self) -> bool {
        self.closed
    }

    /// Takes in bytes.
    pub(crate) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = self.pass_one(bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }

    /// Takes in bytes up to the end of the frame that they begin or go on with; how many.
    pub(crate) fn pass_one(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while let Some(&byte) = bytes.get(taken) {
            match self.at {
                At::Start => {
                    self.is_close = byte & 0x0f == CLOSE;
                    self.at = At::Length;
                    taken += 1;
                }
                At::Length => {
                    let masked = byte & MASKED != 0;
                    taken += 1;
                    match byte & !MASKED {
                        126 => self.at = At::Extended { left: 2, masked, length: 0 },
                        127 => self.at = At::Extended { left: 8, masked, length: 0 },
                        length => self.begin_payload(u64::from(length), masked),
                    }
                }
                At::Extended { left, masked, length } => {
                    let length = length << 8 | u64::from(byte);
                    taken += 1;
                    match left.saturating_sub(1) {
                        0 => self.begin_payload(length, masked),
                        left => self.at = At::Extended { left, masked, length },
                    }
                }
                At::Payload { left } => {
                    let here = bytes.len().saturating_sub(taken);
                    let part = usize::try_from(left).map_or(here, |left| left.min(here));
                    taken += part;
                    self.go_on(left.saturating_sub(part as u64));
                }
            }
            if self.at == At::Start {
                break;
            }
        }
        taken
    }

    fn begin_payload(&mut self, length: u64, masked: bool) {
        self.go_on(length.saturating_add(if masked { 4 } else { 0 }));
    }

    fn go_on(&mut self, left: u64) {
        self.at = if left == 0 { At::Start } else { At::Payload { left } };
        self.closed |= self.is_close && left == 0;
    }
}

/// The close frame for a client.
pub(crate) fn going_away() -> Vec<u8> {
    let [high, low] = GOING_AWAY;
    vec![0x80 | CLOSE, 2, high, low]
}

/// The close frame for a target: what goes there is masked.
pub(crate) fn going_away_masked(mask: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0x80 | CLOSE, MASKED | 2];
    frame.extend(mask);
    frame.extend(GOING_AWAY.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(opcode: u8, length: usize, mask: Option<[u8; 4]>) -> Vec<u8> {
        let bit = if mask.is_some() { MASKED } else { 0 };
        let mut frame = vec![opcode];
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ 0..=125), _) => frame.push(bit | short),
            (_, Ok(length)) => {
                frame.push(bit | 0x7e);
                frame.extend(length.to_be_bytes());
            }
            (..) => {
                frame.push(bit | 0x7f);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(mask.iter().flatten());
        frame.extend(std::iter::repeat_n(0x88, length));
        frame
    }

    proptest! {
        #[test]
        fn ends_are_found_however_bytes_come(
            frames in prop::collection::vec(
                (0..8_u8, prop_oneof![0..300_usize, 65_000..66_000_usize], any::<bool>()), 1..6),
            piece in 1..5000_usize,
        ) {
            let mut bytes = Vec::new();
            let mut ends = vec![0];
            for (opcode, length, masked) in frames {
                bytes.extend(frame(opcode, length, masked.then_some([1, 2, 3, 4])));
                ends.push(bytes.len());
            }
            let mut whole = Frames::default();
            let mut seen = 0;
            for part in bytes.chunks(piece) {
                whole.pass(part);
                seen += part.len();
                prop_assert_eq!(whole.is_between(), ends.contains(&seen));
            }
            prop_assert!(!whole.has_closed());
            let mut one = Frames::default();
            let mut at = 0;
            while at < bytes.len() {
                at += one.pass_one(&bytes[at..]);
                prop_assert!(ends.contains(&at));
            }
        }

        #[test]
        fn any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut frames = Frames::default();
            frames.pass(&bytes);
        }
    }

    #[test]
    fn a_close_frame_counts_when_it_is_complete() {
        for close in [going_away(), going_away_masked([9, 8, 7, 6])] {
            let mut frames = Frames::default();
            frames.pass(&frame(1, 20, None));
            let (last, before) = close.split_last().unwrap();
            frames.pass(before);
            assert!(!frames.has_closed());
            frames.pass(&[*last]);
            assert!(frames.has_closed() && frames.is_between());
        }
        let mut empty = Frames::default();
        empty.pass(&[0x88, 0]);
        assert!(empty.has_closed());
    }

    #[test]
    fn the_mask_is_applied() {
        assert_eq!(going_away(), [0x88, 2, 3, 0xe9]);
        assert_eq!(going_away_masked([0xff, 0, 1, 1]), [0x88, 0x82, 0xff, 0, 1, 1, 0xfc, 0xe9]);
    }
}
