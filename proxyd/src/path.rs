//! Paths as a server understands them: one spelling to compare prefixes in, and what is below one.
//!
//! In that spelling a percent escape of visible ASCII is the character itself, a doubled slash is one,
//! and `.` and `..` are walked. Escapes of `/`, `\`, `%`, `?`, `#` and of all that is no visible ASCII
//! stay escapes, and a `%` that begins none is `%25`: else what is decoded behind it would make it an
//! escape, of a dot perhaps, that nobody has looked at. So `%2F` is no slash here: an app that takes it
//! for one, or `\`, or reads `/admin;x` as `/admin`, or takes `/Admin` for `/admin`, has to guard that
//! itself.
//!
//! Servers disagree about `..` behind a doubled slash (`/a//../b` is `/b` or `/a/b`): such a path has no
//! spelling.

use std::borrow::Cow;

use crate::h1::syntax;

/// A path that two servers could understand differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ambiguous;

/// A target's path, and its query with the `?`.
pub(crate) fn split(target: &[u8]) -> (&[u8], &[u8]) {
    let at = syntax::find(b'?', target).unwrap_or(target.len());
    target.split_at_checked(at).unwrap_or((target, b""))
}

/// The one spelling of a path; nothing is copied where it is that already.
pub(crate) fn spelling(path: &[u8]) -> Result<Cow<'_, [u8]>, Ambiguous> {
    if is_plain(path) {
        return Ok(Cow::Borrowed(path));
    }
    let steps = Steps::walk(path)?;
    let mut out = Vec::with_capacity(path.len());
    for step in &steps.kept {
        out.push(b'/');
        decode(step, &mut out);
    }
    if steps.ends_open || steps.kept.is_empty() {
        out.push(b'/');
    }
    Ok(Cow::Owned(out))
}

/// What is behind the first `count` steps of a path, as it came: empty, or from a slash on that no
/// other follows.
pub(crate) fn below(path: &[u8], count: usize) -> Cow<'_, [u8]> {
    if !has_dots(path) {
        return Cow::Borrowed(skip(path, count));
    }
    let Ok(steps) = Steps::walk(path) else { return Cow::Borrowed(skip(path, count)) };
    let mut out = Vec::with_capacity(path.len());
    for step in steps.kept.iter().skip(count) {
        out.push(b'/');
        out.extend_from_slice(step);
    }
    if steps.ends_open {
        out.push(b'/');
    }
    Cow::Owned(out)
}

/// Appends a step with its escapes of visible ASCII undone, others in upper case, and a `%` that begins
/// no escape as one.
pub(crate) fn decode(step: &[u8], out: &mut Vec<u8>) {
    let mut rest = step;
    while let [first, behind @ ..] = rest {
        if *first != b'%' {
            out.push(*first);
            rest = behind;
            continue;
        }
        let (byte, behind) = escape(rest).unwrap_or((b'%', behind));
        if byte > b' ' && byte < 0x7f && !b"/\\%?#".contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
        rest = behind;
    }
}

/// The byte that an escape stands for, and what follows it.
pub(crate) fn escape(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let [b'%', high, low, rest @ ..] = bytes else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some((digit(*high)? << 4 | digit(*low)?, rest))
}

/// Whether a `%` in it begins no escape.
pub(crate) fn has_broken_escape(path: &[u8]) -> bool {
    let mut rest = path;
    while let Some(at) = syntax::find(b'%', rest) {
        let Some((_, behind)) = escape(rest.get(at..).unwrap_or_default()) else { return true };
        rest = behind;
    }
    false
}

fn is_plain(path: &[u8]) -> bool {
    let odd = |pair: &[u8]| matches!(pair, [b'/', b'/' | b'.']);
    syntax::find(b'%', path).is_none() && !path.windows(2).any(odd)
}

/// Whether a step is `.` or `..`, escaped perhaps.
fn has_dots(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/').any(|step| dots(step).is_some())
}

/// How many dots a step is, if it is one or two.
fn dots(step: &[u8]) -> Option<usize> {
    let mut rest = step;
    let mut count = 0;
    while !rest.is_empty() {
        rest = match rest {
            [b'.', rest @ ..] => rest,
            _ => escape(rest).filter(|(byte, _)| *byte == b'.')?.1,
        };
        count += 1;
    }
    (1..=2).contains(&count).then_some(count)
}

/// Behind so many steps that are not empty; of several slashes the last is kept.
fn skip(path: &[u8], count: usize) -> &[u8] {
    let mut rest = slashes(path);
    for _ in 0..count {
        rest = rest.strip_prefix(b"/").unwrap_or(rest);
        let end = syntax::find(b'/', rest).unwrap_or(rest.len());
        rest = slashes(rest.get(end..).unwrap_or_default());
    }
    rest
}

fn slashes(mut path: &[u8]) -> &[u8] {
    while let [b'/', b'/', ..] = path {
        path = path.get(1..).unwrap_or_default();
    }
    path
}

/// The steps of a path that remain when it is walked, as they came.
struct Steps<'a> {
    kept: Vec<&'a [u8]>,
    /// It ends with a slash, or with dots.
    ends_open: bool,
}

impl Steps<'_> {
    fn walk(path: &[u8]) -> Result<Steps<'_>, Ambiguous> {
        let mut steps = Steps { kept: Vec::new(), ends_open: false };
        let mut doubled = false;
        let mut words =
            path.strip_prefix(b"/").unwrap_or(path).split(|&byte| byte == b'/').peekable();
        while let Some(word) = words.next() {
            let last = words.peek().is_none();
            match dots(word) {
                Some(1) => {}
                Some(_) if doubled => return Err(Ambiguous),
                Some(_) => drop(steps.kept.pop()),
                None if word.is_empty() => doubled = true,
                None => {
                    steps.kept.push(word);
                    continue;
                }
            }
            steps.ends_open = last;
        }
        Ok(steps)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spelled(path: &str) -> Option<String> {
        let spelling = spelling(path.as_bytes()).ok()?;
        Some(String::from_utf8(spelling.into_owned()).unwrap())
    }

    #[test]
    fn one_spelling() {
        for (path, expected) in [
            ("/", "/"),
            ("/admin", "/admin"),
            ("/admin/", "/admin/"),
            ("//admin", "/admin"),
            ("/./admin", "/admin"),
            ("/x/../admin", "/admin"),
            ("/../admin", "/admin"),
            ("/%61dmin", "/admin"),
            ("/%2e%2E/admin", "/admin"),
            ("/x/.%2e/admin/.", "/admin/"),
            ("/admin/x/..", "/admin/"),
            ("/admin/..", "/"),
            ("/x//y///z", "/x/y/z"),
            ("/x/..//y", "/y"),
            ("/a%2fb%5c%3f", "/a%2Fb%5C%3F"),
            ("/a%20%c3%a4", "/a%20%C3%A4"),
            ("/100%/%zz%4", "/100%25/%25zz%254"),
            ("/%2%65/x", "/%252e/x"),
            ("/%%32e/%%", "/%252e/%25%25"),
            ("/.well-known/...", "/.well-known/..."),
            ("/%252e%252e/x", "/%252e%252e/x"),
            ("*", "*"),
        ] {
            assert_eq!(spelled(path).as_deref(), Some(expected), "{path}");
        }
        for path in ["/a//../b", "//../b", "/a//b/%2e./c"] {
            assert_eq!(spelled(path), None, "{path}");
        }
    }

    #[test]
    fn below_a_prefix() {
        let below = |path: &str, count| {
            String::from_utf8(super::below(path.as_bytes(), count).into_owned()).unwrap()
        };
        for (path, count, expected) in [
            ("/api", 1, ""),
            ("/api/", 1, "/"),
            ("/api/x", 1, "/x"),
            ("/api/x", 0, "/api/x"),
            ("//api//x", 1, "/x"),
            ("/api/go/http://x", 1, "/go/http://x"),
            ("/%61pi/a%2Fb", 1, "/a%2Fb"),
            ("/x/../api/%41/./y", 1, "/%41/y"),
            ("/a/b/c", 2, "/c"),
        ] {
            assert_eq!(below(path, count), expected, "{path}");
        }
    }

    proptest! {
        /// A server that undoes escapes and walks the path comes to the same place.
        #[test]
        fn spelling_is_stable(path in "(/|\\.|%2e|%2F|%25|%|2|e|a|%32|%61|%65|b){0,12}") {
            let path = format!("/{path}");
            if let Some(once) = spelled(&path) {
                prop_assert_eq!(spelled(&once), Some(once.clone()));
                prop_assert!(once.starts_with('/') && !once.contains("//"));
                prop_assert!(!has_dots(once.as_bytes()) && !has_broken_escape(once.as_bytes()));
            }
        }

        #[test]
        fn below_begins_with_one_slash(path in "(/|\\.|%2e|a|%61|b){0,12}", count in 0..3_usize) {
            let path = format!("/{path}");
            let below = below(path.as_bytes(), count);
            prop_assert!(!below.starts_with(b"//"), "{:?}", below);
            prop_assert!(below.is_empty() || below.starts_with(b"/"), "{:?}", below);
        }
    }
}
