//! What is wrong in a document, and where.

use std::fmt;

use thiserror::Error;

use crate::acme::NotAcme;
use crate::front::NotAFront;
use crate::name::NotAName;
use crate::route::{NotAKey, NotARoute};
use crate::settings::BadSetting;
use crate::target::NotAnAddress;
use crate::tls::{NotACertificate, NotATls};

/// A mistake.
#[derive(Debug)]
pub(crate) struct Mistake {
    /// The object: `routes`, `shop.example`.
    object: Vec<String>,
    /// The key within it, as far as it is known.
    within: Vec<String>,
    why: Why,
}

/// What it is.
#[derive(Debug, Error)]
pub(crate) enum Why {
    #[error("{0}")]
    Key(#[from] NotAKey),
    #[error("{0}")]
    Route(#[from] NotARoute),
    #[error("{0}")]
    Front(#[from] NotAFront),
    #[error("{0}")]
    Setting(#[from] BadSetting),
    #[error("{0}")]
    Name(#[from] NotAName),
    #[error("{0}")]
    Certificate(#[from] NotACertificate),
    #[error("{0}")]
    Tls(#[from] NotATls),
    #[error("{0}")]
    Acme(#[from] NotAcme),
    #[error("address: {0}")]
    Address(#[from] NotAnAddress),
    #[error("it means `{0}`, which is there in another spelling: remove one of the two")]
    Twice(String),
    #[error(
        "service: there is no service `{name}`{}; add [services.{name}]",
        nearest.as_ref().map(|nearest| format!(": did you mean `{nearest}`?")).unwrap_or_default()
    )]
    NoService { name: String, nearest: Option<String> },
    #[error(
        "default_certificate: there is no certificate `{name}`{}; add [certificates.{name}]",
        nearest.as_ref().map(|nearest| format!(": did you mean `{nearest}`?")).unwrap_or_default()
    )]
    NoCertificate { name: String, nearest: Option<String> },
    #[error("there are more than 10000 {0}: remove some")]
    Many(&'static str),
}

impl Why {
    pub(super) fn no_service<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Why {
        let nearest = nearest(name, known).map(str::to_owned);
        Why::NoService { name: name.to_owned(), nearest }
    }

    pub(super) fn no_certificate<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Why {
        let nearest = nearest(name, known).map(str::to_owned);
        Why::NoCertificate { name: name.to_owned(), nearest }
    }
}

/// What somebody may have meant who wrote something else.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |known: &&str| strsim::damerau_levenshtein(word, known);
    let likely = |known: &&str| distance(known) <= 2.max(known.len() / 3);
    known.filter(likely).min_by_key(distance)
}

impl Mistake {
    pub(super) fn new(object: &[&str], why: Why) -> Mistake {
        let object = object.iter().map(|&step| step.to_owned()).collect();
        Mistake { object, within: Vec::new(), why }
    }

    /// About a key of an object.
    pub(super) fn within(object: &[&str], within: Vec<String>, why: Why) -> Mistake {
        Mistake { within, ..Mistake::new(object, why) }
    }

    pub(super) fn key(text: &str, error: NotAKey) -> Mistake {
        Mistake::new(&["routes", text], error.into())
    }

    pub(super) fn route(text: &str, error: NotARoute) -> Mistake {
        Mistake::within(&["routes", text], error.key(), error.into())
    }

    /// From the root of the document.
    pub(super) fn path(&self) -> impl Iterator<Item = &str> {
        self.object.iter().chain(&self.within).map(String::as_str)
    }

    /// Whether it is the name of the object that is wrong.
    pub(super) fn is_of_name(&self) -> bool {
        matches!(self.why, Why::Key(_) | Why::Name(_) | Why::Twice(_))
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", dotted(self.object.iter().map(String::as_str)), self.why)
    }
}

/// A path as TOML writes it.
pub(super) fn dotted<'a>(steps: impl Iterator<Item = &'a str>) -> String {
    let bare = |step: &str| {
        let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        !step.is_empty() && step.bytes().all(is_bare)
    };
    let quoted = |step: &str| if bare(step) { step.to_owned() } else { format!("{step:?}") };
    steps.map(quoted).collect::<Vec<_>>().join(".")
}
