//! Looking at eight bytes at a time.
//!
//! A look brings a word with the highest bit of each byte set that is looked for. It is right up to the
//! first such byte, which is all that is asked: behind it, what a sum carries over may lie.

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGH: u64 = ONES << 7;
const LOW: u64 = !HIGH;

/// Where the first byte is that a look is for.
pub(super) fn find(eights: &[[u8; 8]], look: impl Fn(u64) -> u64) -> Option<usize> {
    for (at, eight) in eights.iter().enumerate() {
        let found = look(u64::from_le_bytes(*eight));
        if found != 0 {
            return Some(8 * at + found.trailing_zeros() as usize / 8);
        }
    }
    None
}

/// Control characters, tabs among them.
pub(super) fn controls(word: u64) -> u64 {
    below(word, b' ') | equal(word, 0x7f)
}

/// What is no letter and no `-`, of which most names of fields are.
pub(super) fn no_letters(word: u64) -> u64 {
    // No sum of two such bytes carries over.
    let (plain, lower) = (word & LOW, (word | ONES << 5) & LOW);
    let from_a = lower + ONES * u64::from(0x80 - b'a');
    let behind_z = lower + ONES * u64::from(0x7f - b'z');
    let no_dash = (plain ^ (ONES * u64::from(b'-'))) + LOW;
    (word | (no_dash & !(from_a & !behind_z))) & HIGH
}

/// What is no visible ASCII or space, and `"` and `\`.
pub(super) fn unquotable(word: u64) -> u64 {
    controls(word) | (word & HIGH) | equal(word, b'"') | equal(word, b'\\')
}

/// Of a byte that is smaller, and has not the highest bit itself, subtraction borrows it.
fn below(word: u64, least: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(least)) & !word & HIGH
}

fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (ONES * u64::from(byte)), 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn first(bytes: [u8; 8], look: impl Fn(u64) -> u64) -> Option<usize> {
        find(&[bytes], look)
    }

    proptest! {
        #[test]
        fn the_first_is_found(bytes: [u8; 8]) {
            let position = |is: fn(u8) -> bool| bytes.iter().position(|&byte| is(byte));
            let control = |byte: u8| byte < b' ' || byte == 0x7f;
            prop_assert_eq!(first(bytes, controls), position(control));
            let letter = |byte: u8| !byte.is_ascii_alphabetic() && byte != b'-';
            prop_assert_eq!(first(bytes, no_letters), position(letter));
            let odd = |byte: u8| !(b' '..0x7f).contains(&byte) || b"\"\\".contains(&byte);
            prop_assert_eq!(first(bytes, unquotable), position(odd));
        }
    }
}
