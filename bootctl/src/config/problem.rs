//! What can be wrong with a config file, and how it is told: where, what, and what to do.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::doubts::Doubt;
use super::units::shown_size;
use crate::name::{AppName, HostError};

/// One thing that is wrong, with its place.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    /// The file, as its path was given.
    pub(crate) file: Arc<str>,
    /// Line and column, from 1 on; none if it is about the file as a whole.
    pub(crate) place: Option<(usize, usize)>,
    /// The key, as a path (`health.http`).
    pub(crate) key: Option<String>,
    /// What is wrong.
    pub(crate) fault: Fault,
}

/// What is wrong. Reads on after the key: "`key` …".
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("cannot be read: {0}; see to its permissions, or remove it")]
    Unreadable(Arc<io::Error>),
    #[error("is not TOML: {0}")]
    Syntax(String),
    #[error("is not a known key; {}", did_you_mean(*nearest, known))]
    Unknown { nearest: Option<&'static str>, known: Vec<&'static str> },
    #[error("is {found}, expected {expected}")]
    Type { expected: &'static str, found: &'static str },
    #[error("is missing; {0}")]
    Missing(&'static str),
    #[error("is {value}; use a number from {min} to {max}")]
    Range { value: i64, min: i64, max: i64 },
    #[error("is {value}; use a number from {least} to {most}")]
    Span { value: f64, least: f64, most: f64 },
    #[error("is {value:?}; use whole seconds, at most {most}, such as \"30s\"")]
    Seconds { value: String, most: String },
    #[error("is {value:?}; use a time of at most {most}")]
    Longer { value: String, most: String },
    #[error("is {value:?}; use a size from {} to {}", shown_size(*least), shown_size(*most))]
    Size { value: String, least: u64, most: u64 },
    #[error("is {value:?}; use one of {}", choices.join(", "))]
    Choice { value: String, choices: &'static [&'static str] },
    #[error("is {value:?}; {instead}")]
    Form { value: String, instead: &'static str },
    #[error("names {}, which cannot be read: {why}", path.display())]
    Page { path: PathBuf, why: io::ErrorKind },
    #[error("makes the pages of this app larger than 48 KiB together; write shorter ones")]
    Pages,
    #[error("{0}")]
    Host(HostError),
    #[error("is a host that {taken_by} has already ({there}); remove it from one of the two")]
    HostTaken { taken_by: AppName, there: Arc<str> },
    #[error("excludes `{other}`; keep one of the two")]
    Excludes { other: &'static str },
    #[error("names {name}, and there is no such app; {}", or_advice(nearest.as_deref()))]
    NoApp { name: AppName, nearest: Option<String> },
    #[error("leads in a circle, {path}: none of them could ever start; remove one of the steps")]
    Circle { path: String },
    #[error("has a meaning only {0}")]
    Needs(&'static str),
    #[error(
        "is {text:?}, but the file is named {name}.toml, which gives the app its name; rename the \
         file, or remove the key"
    )]
    OtherName { text: String, name: AppName },
    #[error("is set by bootctl itself; use another name")]
    Reserved,
    #[error("gives the app its name, which {0}; rename the file")]
    FileName(HostError),
    #[error("gives the app its name, which is that of the proxy's jobs; rename the file")]
    ProxyName,
    /// No mistake.
    #[error(transparent)]
    Doubt(Doubt),
}

fn did_you_mean(nearest: Option<&str>, known: &[&str]) -> String {
    match nearest {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("known keys are {}", known.join(", ")),
    }
}

fn or_advice(nearest: Option<&str>) -> String {
    match nearest {
        Some(name) => format!("did you mean {name}?"),
        None => "write its file, or remove the name".to_owned(),
    }
}

/// Line and column of an offset in a text, both from 1 on, in characters.
pub(crate) fn place(text: &str, span: Option<Range<usize>>) -> Option<(usize, usize)> {
    let before = text.get(..span?.start)?;
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Some((line, column))
}

impl Problem {
    /// Whether it is that the file is not there any more. A link that leads nowhere is there.
    pub(super) fn is_of_one_gone(&self) -> bool {
        let Fault::Unreadable(error) = &self.fault else { return false };
        let there = || std::fs::symlink_metadata(&*self.file).is_ok();
        error.kind() == io::ErrorKind::NotFound && !there()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        match &self.key {
            Some(key) => write!(f, ": `{key}` {}", self.fault),
            None => write!(f, ": the file {}", self.fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_from_one() {
        let text = "a = 1\nü = 2\n";
        assert_eq!(place(text, Some(0..1)), Some((1, 1)));
        assert_eq!(place(text, Some(6..8)), Some((2, 1)));
        assert_eq!(place(text, Some(11..12)), Some((2, 5)));
        assert_eq!(place(text, None), None);
    }
}
