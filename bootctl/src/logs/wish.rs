//! Which lines somebody wants to see.

use init_wire::Channel;
use regex_lite::Regex;

use super::line::{Kind, Line};
use super::since::Since;

/// All that he says; lines that are as he says are shown. Notes of the collector come whatever is searched for:
/// what is lost may have been what he looks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    pub(crate) since: Since,
    pub(crate) grep: Option<Regex>,
    /// By number, or by name.
    pub(crate) writer: Option<String>,
    pub(crate) channel: Option<Channel>,
}

impl Wish {
    pub(crate) fn takes(&self, line: &Line<'_>) -> bool {
        let found = |regex: &Regex| {
            line.kind == Kind::Note || regex.is_match(&String::from_utf8_lossy(&line.text))
        };
        line.time >= self.since.0.as_str()
            && self.writer.as_ref().is_none_or(|writer| writer == line.writer)
            && self.channel.is_none_or(|channel| channel == line.channel)
            && self.grep.as_ref().is_none_or(found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::parse;
    use super::*;

    #[test]
    fn o11_a_line_is_wanted_if_it_is_all_that_is_wanted() {
        let line = parse(b"2026-11-22T00:40:07.123Z 2 err cannot read").expect("a line");
        let all = Wish::default();
        assert!(all.takes(&line));
        let grep = |text: &str| Wish { grep: Regex::new(text).ok(), ..all.clone() };
        assert!(grep("^can.*read$").takes(&line) && !grep("2026").takes(&line));
        let since = |text: &str| Wish { since: text.parse().expect("a time"), ..all.clone() };
        assert!(since("2026-11-22").takes(&line) && !since("2026-11-23").takes(&line));
        for (writer, channel, wanted) in [
            (Some("2"), Some(Channel::Stderr), true),
            (Some("1"), None, false),
            (None, Some(Channel::Stdout), false),
        ] {
            let wish = Wish { writer: writer.map(str::to_owned), channel, ..all.clone() };
            assert_eq!(wish.takes(&line), wanted, "{writer:?} {channel:?}");
        }
        let lost = parse(b"2026-11-22T00:40:07.123Z 2 err! 1 byte lost").expect("a line");
        assert!(grep("nothing like it").takes(&lost));
    }
}
