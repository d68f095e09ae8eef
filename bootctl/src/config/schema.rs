//! What a config file may say: one row a key. Reading, `bootctl config` and `CONFIG.md` all go by
//! these rows, so none of them knows a key that another does not.

use std::time::Duration;

use toml_edit::Value;

use super::acme_keys::ACME;
use super::app_keys::APP;
use super::main_keys::MAIN;
use super::service_keys::SERVICE;
use super::site_keys::SITE;
use super::tls_keys::{APP_TLS, MAIN_TLS};
use super::units::{shown_size, shown_time};

/// One key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Key {
    /// `health.http`; a `*` stands for any name.
    pub(crate) path: &'static str,
    pub(crate) kind: Kind,
    /// As TOML; empty where there is none.
    pub(crate) default: &'static str,
    /// As TOML.
    pub(crate) example: &'static str,
    /// One sentence, or a few.
    pub(crate) says: &'static str,
    /// Whether its value is for nobody to see who only looks.
    pub(crate) is_secret: bool,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Text,
    Texts,
    Flag,
    Whole {
        least: i64,
        most: i64,
    },
    Factor {
        least: f64,
        most: f64,
    },
    /// Whole seconds, or any part of them.
    Time {
        least: Least,
        most: Duration,
        whole: bool,
    },
    Size {
        least: u64,
        most: u64,
    },
    /// How many processors, or which part of one.
    Processors,
    Account,
    Hosts,
    Networks,
    Statuses {
        least: u16,
        most: u16,
    },
    Choice(&'static [&'static str]),
}

/// The least time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Least {
    Zero,
    AboveZero,
}

/// Beyond a year a time is a mistake.
const LONGEST: Duration = Duration::from_hours(24 * 365);
/// Any time.
pub(crate) const TIME: Kind = Kind::Time { least: Least::Zero, most: LONGEST, whole: false };
/// A time that something takes.
pub(crate) const SPAN: Kind = up_to(LONGEST);

/// A time that something takes at most.
pub(crate) const fn up_to(most: Duration) -> Kind {
    Kind::Time { least: Least::AboveZero, most, whole: false }
}

/// Whole seconds.
pub(crate) const fn seconds(least: Least, most: Duration) -> Kind {
    Kind::Time { least, most, whole: true }
}

/// A row.
pub(crate) const fn key(
    path: &'static str,
    kind: Kind,
    default: &'static str,
    example: &'static str,
    says: &'static str,
) -> Key {
    Key { path, kind, default, example, says, is_secret: false }
}

/// A row whose value is not shown.
pub(crate) const fn secret(
    path: &'static str,
    kind: Kind,
    example: &'static str,
    says: &'static str,
) -> Key {
    Key { path, kind, default: "", example, says, is_secret: true }
}

/// The rows of one kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Schema {
    /// `bootctl.toml`
    Main,
    /// `apps/NAME.toml`
    App,
}

impl Schema {
    pub(crate) fn keys(self) -> impl Iterator<Item = &'static Key> {
        let parts: &'static [&'static [Key]] = match self {
            Self::Main => &[MAIN, MAIN_TLS, ACME],
            Self::App => &[APP, SITE, SERVICE, APP_TLS],
        };
        parts.iter().copied().flatten()
    }

    /// The names that may stand in a table, `*` for any.
    pub(crate) fn names<S: AsRef<str>>(self, table: &[S]) -> Vec<&'static str> {
        let mut names: Vec<&str> = Vec::new();
        for key in self.keys() {
            if let Some(name) = key.path.split('.').nth(table.len())
                && begins(key, table)
                && !names.contains(&name)
            {
                names.push(name);
            }
        }
        names
    }
}

/// Whether a key is at a path or below it.
fn begins<S: AsRef<str>>(key: &Key, path: &[S]) -> bool {
    let mut names = key.path.split('.');
    path.iter().all(|part| names.next().is_some_and(|name| name == "*" || name == part.as_ref()))
}

impl Key {
    /// What it is without a word.
    pub(crate) fn default_value(&self) -> Option<Value> {
        self.default.parse().ok()
    }
}

impl Kind {
    /// What it is, for people.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Text => "string".into(),
            Self::Texts => "strings".into(),
            Self::Flag => "true or false".into(),
            Self::Whole { least, most } => format!("number, {least} to {most}"),
            Self::Factor { least, most } => format!("number or percent, {least:?} to {most:?}"),
            Self::Time { least, most, whole } => {
                let least = match least {
                    Least::Zero => "",
                    Least::AboveZero => " above 0",
                };
                let whole = if *whole { ", whole seconds" } else { "" };
                let most = match *most {
                    LONGEST => String::new(),
                    most => format!(", at most `{}`", shown_time(most)),
                };
                format!("time{least}{whole}{most}")
            }
            Self::Size { least, most } => {
                format!("size, `{}` to `{}`", shown_size(*least), shown_size(*most))
            }
            Self::Processors => "processors or percent".into(),
            Self::Account => "name or id".into(),
            Self::Hosts => "hosts".into(),
            Self::Networks => "networks".into(),
            Self::Statuses { least, most } => format!("numbers, {least} to {most}"),
            Self::Choice(choices) => choices.join(", "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_by_their_path() {
        let find = |path: &[&str]| Schema::App.find(path).map(|key| key.path);
        assert_eq!(find(&["exec"]), Some("exec"));
        assert_eq!(find(&["health", "http"]), Some("health.http"));
        assert_eq!(find(&["env", "A.B"]), Some("env.*"));
        assert_eq!(find(&["health"]), None);
        assert_eq!(find(&["health", "http", "x"]), None);
        assert!(Schema::App.is_table(&["health"]) && Schema::App.is_table(&["env"]));
        assert!(!Schema::App.is_table(&["exec"]) && !Schema::App.is_table(&["env", "A"]));
        assert_eq!(Schema::App.names(&["env"]), ["*"]);
        assert!(Schema::App.names::<&str>(&[]).starts_with(&["exec", "args"]));
    }

    #[test]
    fn no_key_is_there_twice() {
        for schema in [Schema::Main, Schema::App] {
            let mut paths: Vec<_> = schema.keys().map(|key| key.path).collect();
            paths.sort_unstable();
            let all = paths.len();
            paths.dedup();
            assert_eq!(paths.len(), all);
        }
    }
}
