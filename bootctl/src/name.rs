//! Names and numbers that are checked once, where they come in.

use std::borrow::Borrow;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

/// The longest app name: a job id `APP.N` has to fit into 128 characters.
const LONGEST: usize = 120;
const LONGEST_LABEL: usize = 63;
/// What stands before the name that hosts are below.
pub(crate) const WILD: &str = "*.";

/// A host name as it is routed: lower case labels with dots between, and perhaps `*.` before them for all names below. It is
/// in many places at once, so it is shared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Host(Arc<str>);

/// An app's name, which is also its host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AppName(Host);

/// One instance of an app: the job, and the proxy's target, `APP.N`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct InstanceId {
    /// Whose.
    pub(crate) app: AppName,
    /// Which, from 1 on.
    pub(crate) number: u32,
}

/// A TCP port other than 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Port(u16);

/// Why a text is no host name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HostError {
    #[error("is empty; write a name such as shop.example")]
    Empty,
    #[error("is longer than {LONGEST} characters; use a shorter name")]
    TooLong,
    #[error(
        "is no one host; write one, and `*.` before a name where several may be meant, as in `alias`"
    )]
    Wildcard,
    #[error("has upper case letters; write {0}")]
    UpperCase(String),
    #[error("holds {0:?}; host names consist of a-z, 0-9, `-` and `.`")]
    Character(char),
    #[error(
        "is no host name: what stands between dots is 1 to {LONGEST_LABEL} characters and does \
         not begin or end with `-`"
    )]
    Label,
}

impl Host {
    pub(crate) fn parse(text: &str) -> Result<Self, HostError> {
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        if text.len() > LONGEST {
            return Err(HostError::TooLong);
        }
        if text.contains('*') {
            return Err(HostError::Wildcard);
        }
        let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        if let Some(odd) = text.chars().find(|c| !allowed(c)) {
            return Err(HostError::Character(odd));
        }
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(HostError::UpperCase(text.to_ascii_lowercase()));
        }
        let sound = |label: &str| {
            (1..=LONGEST_LABEL).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.split('.').all(sound) { Ok(Self(text.into())) } else { Err(HostError::Label) }
    }

    /// One host, or `*.` and the name that all of them are below.
    pub(crate) fn parse_many(text: &str) -> Result<Self, HostError> {
        let Some(name) = text.strip_prefix(WILD) else { return Self::parse(text) };
        let Self(name) = Self::parse(name)?;
        Ok(Self(format!("{WILD}{name}").into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl AppName {
    pub(crate) fn parse(text: &str) -> Result<Self, HostError> {
        Host::parse(text).map(Self)
    }

    /// The app that answers for a host of that name.
    pub(crate) fn of(host: Host) -> Self {
        Self(host)
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The host that the app answers for without saying so.
    pub(crate) fn host(&self) -> &Host {
        &self.0
    }
}

/// So that apps can be looked up by a text, which has the same order.
impl Borrow<str> for AppName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl InstanceId {
    pub(crate) fn new(app: AppName, number: u32) -> Self {
        Self { app, number }
    }

    /// From the first to the last that an app can have.
    pub(crate) fn all_of(app: &AppName) -> RangeInclusive<Self> {
        Self::new(app.clone(), 0)..=Self::new(app.clone(), u32::MAX)
    }
}

impl Port {
    pub(crate) const HIGHEST: Self = Self(u16::MAX);

    pub(crate) fn new(number: u16) -> Option<Self> {
        (number != 0).then_some(Self(number))
    }

    pub(crate) fn number(self) -> u16 {
        self.0
    }

    /// This port and those above it.
    pub(crate) fn and_above(self) -> impl Iterator<Item = Self> {
        (self.0..=u16::MAX).map(Self)
    }
}

impl FromStr for Port {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<std::num::NonZeroU16>().map(|number| Self(number.get()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.app, self.number)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What somebody has sent instead of a name, as it is shown to him: no longer than that needs, and no terminal does
/// anything about it.
pub(crate) fn shown(wrong: &str) -> String {
    let short: String = wrong.chars().take(LONGEST).collect();
    let rest = if short.len() < wrong.len() { "…" } else { "" };
    format!("{}{rest}", short.escape_debug())
}

/// The same in quotes.
pub(crate) fn quoted(wrong: &str) -> String {
    format!("\"{}\"", shown(wrong))
}

/// The one of `known` that `wrong` was most likely meant to be.
pub(crate) fn nearest<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // What is far longer than any name is near none, and would take long to compare.
    if wrong.len() > 2 * LONGEST {
        return None;
    }
    let wrong = wrong.to_lowercase();
    let score = |name: &str| strsim::damerau_levenshtein(&wrong, name);
    known
        .into_iter()
        .map(|name| (score(name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_what_dns_allows() {
        for good in ["a", "shop.example", "x-1.y", "9000", "10.0.0.1", &"a".repeat(63)] {
            assert!(Host::parse(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("", HostError::Empty),
            ("Shop", HostError::UpperCase("shop".into())),
            ("a b", HostError::Character(' ')),
            ("a/b", HostError::Character('/')),
            ("a_b", HostError::Character('_')),
            ("*.a", HostError::Wildcard),
            ("a..b", HostError::Label),
            (".a", HostError::Label),
            ("-a", HostError::Label),
            ("a-.b", HostError::Label),
        ] {
            assert_eq!(Host::parse(bad), Err(why), "{bad}");
        }
        assert_eq!(Host::parse(&"a.".repeat(70)), Err(HostError::TooLong));
        for good in ["*.a", "*.shop.example", "a"] {
            assert_eq!(Host::parse_many(good).map(|host| host.to_string()), Ok(good.to_owned()));
        }
        for bad in ["*", "*.", "*a.b", "a.*.b", "*.*.a", "*.A", "**.a"] {
            assert!(Host::parse_many(bad).is_err(), "{bad}");
        }
        assert_eq!(Host::parse(&"a".repeat(64)), Err(HostError::Label));
    }

    #[test]
    fn the_nearest_name_is_near() {
        let known = ["exec", "args", "instances", "env"];
        assert_eq!(nearest("instnaces", known), Some("instances"));
        assert_eq!(nearest("Exec", known), Some("exec"));
        assert_eq!(nearest("arg", known), Some("args"));
        assert_eq!(nearest("frobnicate", known), None);
        assert_eq!(nearest(&"exec".repeat(1_000_000), known), None);
        assert_eq!(quoted("a\n\u{1b}"), r#""a\n\u{1b}""#);
        assert!(quoted(&"a".repeat(1_000_000)).len() < 2 * LONGEST);
    }

    #[test]
    fn ports_are_not_zero() {
        assert!("0".parse::<Port>().is_err());
        assert!("65536".parse::<Port>().is_err());
        assert_eq!("9000".parse::<Port>().ok(), Port::new(9000));
    }
}
