//! Which file a path names, as far as the path tells.

use crate::limits;
use crate::path::{self, Ambiguous};

/// A name below the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Without a slash at either end; empty for the folder itself.
    pub(crate) name: Vec<u8>,
    /// The path ended with a slash, as that of a folder does.
    pub(crate) is_open: bool,
}

/// Why a path names no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// An escape that is none, or a path that servers understand differently.
    Malformed,
    /// It could be there, and nobody is to see it.
    Hidden,
}

impl From<Ambiguous> for NoPlace {
    fn from(_: Ambiguous) -> NoPlace {
        NoPlace::Malformed
    }
}

impl Place {
    /// Of the path of a request for a route that is for so many steps.
    pub(crate) fn parse(path: &[u8], steps: usize) -> Result<Place, NoPlace> {
        if path::has_broken_escape(path) {
            return Err(NoPlace::Malformed);
        }
        let spelled = path::spelling(path)?;
        let below = path::below(&spelled, steps);
        let mut name = Vec::with_capacity(below.len());
        for step in below.split(|&byte| byte == b'/').filter(|step| !step.is_empty()) {
            if !name.is_empty() {
                name.push(b'/');
            }
            let start = name.len();
            decode(step, &mut name)?;
            let step = name.get(start..).unwrap_or_default();
            if is_hidden(step, start == 0) {
                return Err(NoPlace::Hidden);
            }
        }
        if name.len() > limits::FILE_NAME {
            return Err(NoPlace::Hidden);
        }
        Ok(Place { name, is_open: below.ends_with(b"/") })
    }

    /// Of a path that an administrator has written.
    pub(crate) fn of_setting(path: &str) -> Option<Place> {
        if !path.starts_with('/') {
            return None;
        }
        let steps: Vec<&str> = path.split('/').filter(|step| !step.is_empty()).collect();
        let good = |step: &&str| !matches!(*step, "." | "..") && !step.contains('\0');
        let name = steps.join("/").into_bytes();
        let fits = (1..=limits::FILE_NAME).contains(&name.len());
        (fits && steps.iter().all(good) && !path.ends_with('/'))
            .then_some(Place { name, is_open: false })
    }
}

/// Names of files that begin with a dot are hidden, as `ls` has it; but for the one folder that is there to be asked for.
fn is_hidden(step: &[u8], is_first: bool) -> bool {
    let odd = step.contains(&b'/') || step.contains(&0);
    odd || (step.starts_with(b".") && !(is_first && step == b".well-known"))
}

/// Undoes all escapes. A `/` that comes out of one is a byte of the name, and no file has such a name.
fn decode(step: &[u8], out: &mut Vec<u8>) -> Result<(), NoPlace> {
    let mut rest = step;
    while let [first, behind @ ..] = rest {
        if *first != b'%' {
            out.push(*first);
            rest = behind;
            continue;
        }
        let (byte, behind) = path::escape(rest).ok_or(NoPlace::Malformed)?;
        out.push(byte);
        rest = behind;
    }
    Ok(())
}

/// A name as a path has it, in which nothing can be taken for something else.
pub(crate) fn encode(name: &[u8], out: &mut Vec<u8>) {
    for &byte in name {
        if byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=:@".contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(path: &str, steps: usize) -> Result<(String, bool), NoPlace> {
        let place = Place::parse(path.as_bytes(), steps)?;
        Ok((String::from_utf8_lossy(&place.name).into_owned(), place.is_open))
    }

    #[test]
    fn a_path_names_a_file_or_a_folder() {
        for (path, steps, name, is_open) in [
            ("/", 0, "", true),
            ("/a", 0, "a", false),
            ("/a/", 0, "a", true),
            ("/a/b.css", 0, "a/b.css", false),
            ("//a///b", 0, "a/b", false),
            ("/a/../b", 0, "b", false),
            ("/a/..", 0, "", true),
            ("/../../etc/passwd", 0, "etc/passwd", false),
            ("/%2e%2e/%2E%2e/x", 0, "x", false),
            ("/a%20b/%c3%a4", 0, "a b/ä", false),
            ("/%25", 0, "%", false),
            ("/a%5cb", 0, "a\\b", false),
            ("/%3f", 0, "?", false),
            ("/.well-known/security.txt", 0, ".well-known/security.txt", false),
            ("/static", 1, "", false),
            ("/static/", 1, "", true),
            ("/static/x", 1, "x", false),
            ("/x/../static/y", 1, "y", false),
            ("/a/b/c", 2, "c", false),
        ] {
            assert_eq!(place(path, steps), Ok((name.to_owned(), is_open)), "{path}");
        }
    }

    #[test]
    fn what_nobody_is_to_see() {
        for path in [
            "/.env",
            "/.git/config",
            "/a/.htpasswd",
            "/%2eenv",
            "/a/.well-known/x",
            "/a%2fb",
            "/%2f",
            "/..%2f..%2fetc/passwd",
            "/a%00b",
            "/a.txt%00.png",
            "/...",
            "/%2e%2e%2f",
            "/.well-known%2f..",
            "/.well-knownx/y",
        ] {
            assert_eq!(place(path, 0), Err(NoPlace::Hidden), "{path}");
        }
        for path in ["/%", "/a%4", "/%zz", "/%u002e", "/a//../b", "//../b"] {
            assert_eq!(place(path, 0), Err(NoPlace::Malformed), "{path}");
        }
        assert_eq!(place(&format!("/{}", "a".repeat(4097)), 0), Err(NoPlace::Hidden));
        // Undone once, and not again.
        assert_eq!(place("/%252e%252e/x", 0), Ok(("%2e%2e/x".into(), false)));
    }

    #[test]
    fn places_of_settings() {
        let name = |path| Place::of_setting(path).map(|place| place.name);
        assert_eq!(name("/index.html").as_deref(), Some(&b"index.html"[..]));
        assert_eq!(name("/e/404.html").as_deref(), Some(&b"e/404.html"[..]));
        for bad in ["", "/", "index.html", "/a/../b", "/a/", "/a\0b"] {
            assert_eq!(name(bad), None, "{bad:?}");
        }
    }

    proptest! {
        /// Whatever is asked for, its name goes down only, and shows nothing hidden.
        #[test]
        fn no_name_leads_up(path in "(/|\\.|\\.\\.|%2e|%2F|%5c|%00|%25|\\\\|a|%61|;){0,16}") {
            if let Ok(place) = Place::parse(format!("/{path}").as_bytes(), 0) {
                for step in place.name.split(|&byte| byte == b'/') {
                    prop_assert!(place.name.is_empty() || !step.is_empty());
                    prop_assert!(!step.starts_with(b"."));
                    prop_assert!(!step.contains(&0));
                }
            }
        }

        #[test]
        fn what_is_encoded_names_the_same(name in "[a-z ?#%\u{e4}\\\\/]{0,12}") {
            let mut out = b"/".to_vec();
            encode(name.as_bytes(), &mut out);
            let place = Place::parse(&out, 0).unwrap();
            let steps: Vec<&str> = name.split('/').filter(|step| !step.is_empty()).collect();
            prop_assert_eq!(place.name, steps.join("/").into_bytes());
        }
    }
}
