//! The codings there are, and which of them a client takes.

use crate::h1::field::Field;
use crate::h1::syntax;

/// A coding, in the order in which they are preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Zstd,
    Brotli,
    Gzip,
}

impl Coding {
    const ALL: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

    /// As heads have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Coding::Zstd => "zstd",
            Coding::Brotli => "br",
            Coding::Gzip => "gzip",
        }
    }

    /// What the name of a file ends with that holds another one so.
    pub(crate) fn ending(self) -> &'static str {
        match self {
            Coding::Zstd => ".zst",
            Coding::Brotli => ".br",
            Coding::Gzip => ".gz",
        }
    }

    fn find(name: &[u8]) -> Option<Coding> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("x-gzip") {
            return Some(Coding::Gzip);
        }
        Coding::ALL.into_iter().find(|coding| is(coding.name()))
    }

    fn place(self) -> usize {
        self as usize
    }
}

/// Which codings a client takes, the one that it likes best first (RFC 9110, 12.5.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accepted([Option<Coding>; 3]);

impl Accepted {
    /// A client that says nothing takes none: it may not know any.
    pub(crate) fn read(head: &[u8], fields: &[Field]) -> Accepted {
        let of_it = |field: &&Field| field.name.of(head).eq_ignore_ascii_case(b"accept-encoding");
        let lines = fields.iter().filter(of_it).map(|field| field.value.of(head));
        Accepted::of(lines)
    }

    fn of<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Accepted {
        let mut said = [None; 3];
        let (mut others, mut identity) = (None, None);
        for word in lines.flat_map(syntax::list) {
            let mut parts = word.split(|&byte| byte == b';').map(syntax::trim);
            let name = parts.next().unwrap_or_default();
            let weight = parts.find_map(weight).unwrap_or(1000);
            if let Some(place) = Coding::find(name).and_then(|it| said.get_mut(it.place())) {
                place.get_or_insert(weight);
            } else if name == b"*" {
                others.get_or_insert(weight);
            } else if name.eq_ignore_ascii_case(b"identity") {
                identity.get_or_insert(weight);
            }
        }
        let weight = |coding: Coding| {
            let own = said.get(coding.place()).copied().flatten();
            own.or(others).unwrap_or_default()
        };
        // As it is comes last unless somebody says otherwise.
        let least = identity.unwrap_or_default().max(1);
        let mut ranked = Coding::ALL.map(|coding| (weight(coding), coding));
        ranked.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        Accepted(ranked.map(|(weight, coding)| (weight >= least).then_some(coding)))
    }

    pub(crate) fn best(self) -> Option<Coding> {
        self.ranked().next()
    }

    pub(crate) fn ranked(self) -> impl Iterator<Item = Coding> {
        self.0.into_iter().flatten()
    }
}

/// In thousandths, if it is one. What cannot be understood is no wish.
fn weight(parameter: &[u8]) -> Option<u16> {
    let (name, value) = parameter.split_at_checked(2)?;
    if !name.eq_ignore_ascii_case(b"q=") {
        return None;
    }
    let (whole, rest) = value.split_at_checked(1)?;
    let digits = match rest {
        [] => rest,
        [b'.', digits @ ..] => digits,
        _ => return Some(0),
    };
    if digits.len() > 3 || !digits.iter().all(u8::is_ascii_digit) {
        return Some(0);
    }
    let mut thousandths = 0;
    for at in 0..3 {
        let digit = digits.get(at).map_or(0, |digit| u16::from(digit - b'0'));
        thousandths = thousandths * 10 + digit;
    }
    Some(match whole {
        b"0" => thousandths,
        b"1" if thousandths == 0 => 1000,
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranked(lines: &[&str]) -> String {
        let accepted = Accepted::of(lines.iter().map(|line| line.as_bytes()));
        accepted.ranked().map(Coding::name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_a_client_takes() {
        for (said, expected) in [
            (&[][..], ""),
            (&[""], ""),
            (&["gzip"], "gzip"),
            (&["gzip, deflate, br, zstd"], "zstd br gzip"),
            (&["gzip, deflate", "br"], "br gzip"),
            (&["GZIP;q=1.0, br;q=0.5"], "gzip br"),
            (&["gzip;q=0.8, br;q=0.9, zstd;q=0.1"], "br gzip zstd"),
            (&["gzip;q=0"], ""),
            (&["gzip; q=0.000"], ""),
            (&["gzip;q=0.001"], "gzip"),
            (&["*"], "zstd br gzip"),
            (&["*;q=0.5, br;q=0"], "zstd gzip"),
            (&["*;q=0"], ""),
            (&["identity;q=1, gzip;q=0.5"], ""),
            (&["identity;q=0.5, gzip;q=1"], "gzip"),
            (&["identity;q=0, gzip;q=0.2"], "gzip"),
            (&["x-gzip"], "gzip"),
            (&["deflate, compress"], ""),
            (&["gzip;q=2"], ""),
            (&["gzip;q=1.001"], ""),
            (&["gzip;q=x"], ""),
            (&["gzip;q="], "gzip"),
            (&["gzip;q=0.1234"], ""),
            (&["gzip;level=9;q=0.5"], "gzip"),
            (&["gzip;q=0, gzip"], ""),
        ] {
            assert_eq!(ranked(said), expected, "{said:?}");
        }
    }

    proptest! {
        /// Whatever a client says, what it is given is something that it has named, or everything.
        #[test]
        fn nothing_that_was_not_asked_for(said in "[a-z*;=,. 0-9-]{0,40}") {
            let accepted = ranked(&[&said]);
            for name in accepted.split_whitespace() {
                prop_assert!(said.contains(name) || said.contains('*'), "{} for {}", name, said);
            }
        }
    }
}
