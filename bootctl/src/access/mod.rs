//! Who may use the admin API over the network: whoever shows a token that was generated here.
//!
//! A token is 256 random bits, shown once. What is kept of it is a hash, a name and a grant. There is none to begin
//! with, and none can be chosen: so there is no default one, no empty one and none that could be guessed.

pub(crate) mod register;
pub(crate) mod secret;
pub(crate) mod tries;

use serde::{Deserialize, Serialize};

/// What the owner of a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum Grant {
    /// See.
    Read,
    /// See and change.
    Control,
}

impl Grant {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Control => "control",
        }
    }

    /// Whether it covers what `needed` is enough for.
    pub(crate) fn covers(self, needed: Self) -> bool {
        self == Self::Control || needed == Self::Read
    }
}

impl std::str::FromStr for Grant {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "read" => Ok(Self::Read),
            "control" => Ok(Self::Control),
            _ => Err("write read or control"),
        }
    }
}
