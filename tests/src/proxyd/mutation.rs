//! Messages that are almost right: a good one with a little changed in it.

use super::Random;

/// What is changed, and by what.
pub struct Mutations {
    /// Good messages.
    pub seeds: &'static [&'static str],
    /// What is put in.
    pub pieces: &'static [&'static str],
    /// Whether some of them end early.
    pub cut: bool,
}

impl Mutations {
    /// One of them. Mostly one thing is changed: what is changed much is refused for the first thing that
    /// is wrong with it.
    pub fn one(&self, random: &mut Random) -> Vec<u8> {
        let mut bytes = random.pick(self.seeds).as_bytes().to_vec();
        for _ in 0..=random.below(2) * random.below(4) {
            self.change(&mut bytes, random);
        }
        bytes
    }

    fn change(&self, bytes: &mut Vec<u8>, random: &mut Random) {
        let at = random.below(bytes.len() + 1);
        let piece = random.pick(self.pieces).bytes();
        match random.below(if self.cut { 9 } else { 8 }) {
            0 if at < bytes.len() => bytes[at] = random.next().to_le_bytes()[0],
            1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 if at < bytes.len() => {
                bytes.remove(at);
            }
            3 | 4 => drop(bytes.splice(at..at, piece)),
            // Between two lines a field is a field.
            5 | 6 => {
                let ends: Vec<usize> = bytes
                    .windows(2)
                    .enumerate()
                    .filter_map(|(at, pair)| (pair == b"\r\n").then_some(at + 2))
                    .collect();
                if !ends.is_empty() {
                    let at = *random.pick(&ends);
                    bytes.splice(at..at, piece);
                }
            }
            7 => {
                let end = (at + random.below(60)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, part);
            }
            8 => bytes.truncate(at),
            _ => {}
        }
    }
}
