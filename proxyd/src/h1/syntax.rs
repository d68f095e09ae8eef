//! Which byte may stand where.

use super::words;

const TOKEN: u8 = 1;
const VALUE: u8 = 2;
const TARGET: u8 = 4;
const HOST: u8 = 8;
const UPPER: u8 = 16;
const DOT: u8 = 32;

const CLASSES: [u8; 256] = classes();

#[expect(clippy::indexing_slicing, reason = "runs in the compiler; a u8 is in range")]
const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte: u8 = 0;
    loop {
        let mut class = 0;
        if byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_'
            )
            || matches!(byte, b'`' | b'|' | b'~')
        {
            class |= TOKEN;
        }
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            class |= HOST;
        }
        if byte.is_ascii_uppercase() {
            class |= UPPER;
        }
        if byte == b'.' {
            class |= DOT;
        }
        if byte == b'\t' || (byte >= b' ' && byte != 0x7f) {
            class |= VALUE;
        }
        if byte > b' ' && byte < 0x7f && byte != b'#' {
            class |= TARGET;
        }
        table[byte as usize] = class;
        if byte == 255 {
            return table;
        }
        byte += 1;
    }
}

#[expect(clippy::indexing_slicing, reason = "a u8 is in range")]
fn class(byte: u8) -> u8 {
    CLASSES[usize::from(byte)]
}

fn is(byte: u8, of: u8) -> bool {
    class(byte) & of != 0
}

/// A line at the start of bytes that may not be all there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// Without its CR LF, and how many bytes at its front may stand in a token. It holds no control
    /// character but tabs.
    Whole(&'a [u8], usize),
    Partial,
    /// It ends in something else than CR LF.
    Unended,
    /// There is a control character in it.
    Control,
}

/// One look at each byte: it finds the token that a line begins with, the end of the line, and what may
/// not be in it.
#[expect(clippy::inline_always, reason = "a fifth of the time that a head takes to be read")]
#[inline(always)]
pub(crate) fn line(bytes: &[u8]) -> Line<'_> {
    let token = token_len(bytes);
    let (line, rest) = bytes.split_at_checked(text_end(bytes, token)).unwrap_or((bytes, b""));
    match rest {
        [b'\r', b'\n', ..] => Line::Whole(line, token),
        [] | [b'\r'] => Line::Partial,
        [b'\r' | b'\n', ..] => Line::Unended,
        _ => Line::Control,
    }
}

/// Where from `at` on the first control character is that is no tab.
#[inline]
fn text_end(bytes: &[u8], mut at: usize) -> usize {
    loop {
        match words::find(bytes, at, words::controls) {
            Ok(found) if bytes.get(found) == Some(&b'\t') => at = found + 1,
            Ok(found) => return found,
            Err(tail) => return first_not(VALUE, bytes, tail),
        }
    }
}

/// How many bytes at the front may stand in a token.
#[inline]
pub(super) fn token_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match words::find(bytes, at, words::no_letters) {
            Ok(found) if bytes.get(found).is_some_and(|&byte| is(byte, TOKEN)) => at = found + 1,
            Ok(found) => return found,
            Err(tail) => return first_not(TOKEN, bytes, tail),
        }
    }
}

/// Where from `at` on the first byte is that is not of a class.
fn first_not(class: u8, bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|&byte| !is(byte, class)).unwrap_or(rest.len())
}

/// What is at the front of bytes that may stand in a host's name.
#[derive(Debug)]
pub(crate) struct Labels {
    pub(crate) len: usize,
    pub(crate) has_upper: bool,
    /// One has no character: a dot follows a dot, or nothing.
    pub(crate) has_empty: bool,
}

impl Labels {
    pub(crate) fn of(bytes: &[u8]) -> Labels {
        let (mut len, mut all, mut twice, mut before) = (0, 0, 0, DOT);
        for class in bytes.iter().map(|&byte| class(byte)).take_while(|class| class & HOST != 0) {
            len += 1;
            all |= class;
            twice |= class & before;
            before = class;
        }
        Labels { len, has_upper: all & UPPER != 0, has_empty: twice & DOT != 0 || len == 0 }
    }
}

/// Whether all of it may stand between quotes, of which there is none in it, nor a backslash.
pub(crate) fn is_quotable(bytes: &[u8]) -> bool {
    let odd = |byte: u8| !(b' '..0x7f).contains(&byte) || matches!(byte, b'"' | b'\\');
    words::is_clean(bytes, words::unquotable)
        .unwrap_or_else(|| !bytes.iter().any(|&byte| odd(byte)))
}

/// A byte of a method or a field name.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    is(byte, TOKEN)
}

/// A byte of a field value: no control but the tab.
pub(crate) fn is_value_byte(byte: u8) -> bool {
    is(byte, VALUE)
}

/// A method or a field name.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is(byte, TOKEN))
}

/// A field value.
pub(crate) fn is_value(bytes: &[u8]) -> bool {
    text_end(bytes, 0) == bytes.len()
}

/// Where a byte is first.
pub(crate) fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    words::find(bytes, 0, words::byte(byte))
        .or_else(|tail| {
            let rest = bytes.get(tail..).unwrap_or_default();
            rest.iter().position(|&found| found == byte).map(|at| tail + at).ok_or(())
        })
        .ok()
}

/// How many bytes at the front may stand in a request target: visible ASCII, and no fragment.
#[inline]
pub(crate) fn target_len(bytes: &[u8]) -> usize {
    words::find(bytes, 0, words::no_target).unwrap_or_else(|tail| first_not(TARGET, bytes, tail))
}

/// Decimal digits only, and few enough not to overflow.
pub(crate) fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() || bytes.len() > 18 {
        return None;
    }
    bytes.iter().try_fold(0_u64, |sum, byte| {
        byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0'))
    })
}

/// The bytes without spaces and tabs at both ends.
#[inline]
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The elements of a comma-separated list, empty ones left out.
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim).filter(|element| !element.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn byte() -> impl Strategy<Value = u8> {
        prop_oneof![8 => any::<u8>(), 8 => b' '..0x7f, 1 => Just(b'\t'), 1 => 0x7e..0x82_u8]
    }

    fn token_byte() -> impl Strategy<Value = u8> {
        prop_oneof![1 => any::<u8>(), 9 => b'a'..=b'z', 2 => b'A'..=b'Z', 1 => Just(b'-')]
    }

    proptest! {
        #[test]
        fn text_is_as_long_as_it_is(bytes in proptest::collection::vec(byte(), 0..64)) {
            let plain = bytes.iter().position(|&byte| !is_value_byte(byte));
            prop_assert_eq!(text_end(&bytes, 0), plain.unwrap_or(bytes.len()));
        }

        #[test]
        fn tokens_are_as_long_as_they_are(bytes in proptest::collection::vec(token_byte(), 0..64)) {
            let plain = bytes.iter().position(|&byte| !is_token_byte(byte));
            prop_assert_eq!(token_len(&bytes), plain.unwrap_or(bytes.len()));
        }

        #[test]
        fn what_would_end_a_quoted_string_is_seen(mut bytes in "[ !#-\\[\\]-~]{0,40}".prop_map(String::into_bytes), at: usize, odd: u8) {
            prop_assert!(is_quotable(&bytes));
            let is_odd = !(b' '..0x7f).contains(&odd) || odd == b'"' || odd == b'\\';
            bytes.insert(at % (bytes.len() + 1), odd);
            prop_assert_eq!(is_quotable(&bytes), !is_odd);
        }
    }

    #[test]
    fn lines() {
        for (bytes, found) in [
            ("", Line::Partial),
            ("Host: a", Line::Partial),
            ("Host: a\r", Line::Partial),
            ("Host: a\r\nmore", Line::Whole(b"Host: a", 4)),
            ("\r\n", Line::Whole(b"", 0)),
            (
                "a\tb: long enough\tfor two words\r\n\r\n",
                Line::Whole(b"a\tb: long enough\tfor two words", 1),
            ),
            ("Host: a\n", Line::Unended),
            ("Host: a\rb\r\n", Line::Unended),
            ("Host: \0a\r\n", Line::Control),
            ("Host: \x7f\r\n", Line::Control),
        ] {
            assert_eq!(line(bytes.as_bytes()), found, "{bytes:?}");
        }
    }
}
