//! Looking at eight bytes at a time.
//!
//! A look brings a word with the highest bit of each byte set that is looked for. It is right up to the
//! first such byte, which is all that is asked: behind it, what a sum carries over may lie.

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGH: u64 = ONES << 7;
const LOW: u64 = !HIGH;

/// Where from `at` on the first byte is that a look is for, or else where fewer than eight are left.
#[inline]
pub(super) fn find(bytes: &[u8], mut at: usize, look: impl Fn(u64) -> u64) -> Result<usize, usize> {
    let mut rest = bytes.get(at..).unwrap_or_default();
    while let Some((eight, behind)) = rest.split_first_chunk() {
        let found = look(u64::from_le_bytes(*eight));
        if found != 0 {
            return Ok(at + found.trailing_zeros() as usize / 8);
        }
        (at, rest) = (at + 8, behind);
    }
    Err(at)
}

/// Whether there is none of what a look is for, as long as there are eight bytes; `None` if there are fewer.
#[inline]
pub(super) fn is_clean(bytes: &[u8], look: impl Fn(u64) -> u64) -> Option<bool> {
    let last = look(u64::from_le_bytes(*bytes.last_chunk()?));
    let (words, _) = bytes.as_chunks();
    Some(last == 0 && words.iter().all(|word| look(u64::from_le_bytes(*word)) == 0))
}

/// Whether a token is, but for case, a known one of letters and `-`, of which each has the bit that
/// tells lower case: no other byte of a token becomes one of them by it.
#[inline]
pub(super) fn same(token: &[u8], known: &[u8]) -> bool {
    token.len() == known.len()
        && match known.len() {
            4..=7 => ends::<4>(token) == ends(known),
            8..=16 => ends::<8>(token) == ends(known),
            _ => token.eq_ignore_ascii_case(known),
        }
}

/// The first bytes and the last ones, in lower case.
fn ends<const N: usize>(name: &[u8]) -> Option<([u8; N], [u8; N])> {
    let lower = |bytes: &[u8; N]| bytes.map(|byte| byte | 0x20);
    Some((lower(name.first_chunk()?), lower(name.last_chunk()?)))
}

/// Control characters, tabs among them.
pub(super) fn controls(word: u64) -> u64 {
    // One more, so that 0x7f is beyond all others; then no byte carries over, nor borrows.
    let next = (word & LOW) + ONES;
    !(((next | HIGH) - ONES * u64::from(b' ' + 1)) | word) & HIGH
}

/// What is no visible ASCII, and `#`.
pub(super) fn no_target(word: u64) -> u64 {
    controls(word) | (word & HIGH) | equal(word, b' ') | equal(word, b'#')
}

/// One byte.
pub(super) fn byte(byte: u8) -> impl Fn(u64) -> u64 {
    move |word| equal(word, byte)
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

    use super::super::syntax;
    use super::*;

    fn first(bytes: [u8; 8], look: impl Fn(u64) -> u64) -> Option<usize> {
        find(&bytes, 0, look).ok()
    }

    proptest! {
        /// Whatever byte of a token stands in for one of a known name.
        #[test]
        fn a_name_is_known_by_its_letters_alone(
            known in "te|host|proxy|expect|upgrade|connection|content-length|proxy-connection|transfer-encoding",
            place: usize,
            byte in (0x21..0x7f_u8).prop_filter("of a token", |&byte| syntax::is_token_byte(byte)),
        ) {
            let mut token = known.clone().into_bytes();
            let place = place % token.len();
            token[place] = byte;
            let is_known = token.eq_ignore_ascii_case(known.as_bytes());
            prop_assert_eq!(same(&token, known.as_bytes()), is_known);
            token[place] = known.as_bytes()[place];
            prop_assert!(same(&token, known.as_bytes()));
            prop_assert!(same(&token.to_ascii_uppercase(), known.as_bytes()));
            token.push(byte);
            prop_assert!(!same(&token, known.as_bytes()));
        }

        #[test]
        fn the_first_is_found(bytes: [u8; 8]) {
            let position = |is: fn(u8) -> bool| bytes.iter().position(|&byte| is(byte));
            let control = |byte: u8| byte < b' ' || byte == 0x7f;
            prop_assert_eq!(first(bytes, controls), position(control));
            let letter = |byte: u8| !byte.is_ascii_alphabetic() && byte != b'-';
            prop_assert_eq!(first(bytes, no_letters), position(letter));
            let odd = |byte: u8| !(b' '..0x7f).contains(&byte) || b"\"\\".contains(&byte);
            prop_assert_eq!(first(bytes, unquotable), position(odd));
            prop_assert_eq!(is_clean(&bytes, unquotable), Some(position(odd).is_none()));
            let blank = |byte: u8| !byte.is_ascii_graphic() || byte == b'#';
            prop_assert_eq!(first(bytes, no_target), position(blank));
            prop_assert_eq!(first(bytes, byte(b' ')), position(|byte| byte == b' '));
        }
    }
}
