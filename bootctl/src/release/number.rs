//! Which release, and what an app runs from.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A release's number: from 1 on, and never given twice to releases of one app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Number(NonZeroU32);

/// What an app runs from. Written as a number, 0 for the file alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "u32", into = "u32")]
pub(crate) enum Base {
    /// What its file names, beside the file.
    #[default]
    File,
    /// A release.
    Release(Number),
}

impl Number {
    pub(crate) const FIRST: Self = Self(NonZeroU32::MIN);

    pub(crate) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Base {
    pub(crate) fn release(self) -> Option<Number> {
        match self {
            Self::File => None,
            Self::Release(number) => Some(number),
        }
    }
}

impl From<u32> for Base {
    fn from(number: u32) -> Self {
        NonZeroU32::new(number).map_or(Self::File, |number| Self::Release(Number(number)))
    }
}

impl From<Base> for u32 {
    fn from(base: Base) -> Self {
        base.release().map_or(0, |number| number.0.get())
    }
}

impl FromStr for Number {
    type Err = std::num::ParseIntError;

    /// As it is written by [`fmt::Display`], and not otherwise: `07` is no release.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = if text.starts_with(['0', '+']) { "" } else { text };
        digits.parse().map(Self)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// As it goes on after "is back to" and "runs from".
impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("what its file names"),
            Self::Release(number) => write!(f, "release {number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_one_way() {
        assert_eq!("7".parse::<Number>().map(|number| number.to_string()), Ok("7".into()));
        for bad in ["0", "07", "+7", "-1", "", "x", "4294967296", "1.5"] {
            assert!(bad.parse::<Number>().is_err(), "{bad}");
        }
        let base = Base::Release(Number::FIRST.next());
        assert_eq!(serde_json::to_string(&base).expect("written"), "2");
        assert_eq!(serde_json::from_str::<Base>("0").expect("read"), Base::File);
    }
}
