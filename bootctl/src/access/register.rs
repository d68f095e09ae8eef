//! The tokens there are: `STATE_DIR/tokens.json`, for nobody but bootctl's own user to read.
//!
//! Written whole and renamed into place. One that cannot be understood grants nothing to anybody until it is
//! repaired: it is neither guessed at nor overwritten.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Grant;
use super::secret::{NoRandom, Seal, Secret};
use crate::durable::{self, OWN};

/// The file's name in the folder of what is kept.
const FILE: &str = "tokens.json";
const VERSION: u32 = 1;
/// More are not needed by people, and each is compared with.
pub(crate) const MOST: usize = 1000;
/// The longest name.
const LONGEST: usize = 64;

/// A token, but for itself.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) grant: Grant,
    /// When it was made: RFC 3339, UTC.
    pub(crate) made: String,
    seal: Seal,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Register {
    path: PathBuf,
    entries: Vec<Entry>,
}

/// Why tokens cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegisterError {
    #[error("{} cannot be read: {source}; see to its permissions", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{} is truncated or corrupt ({source}): no token is good until it is repaired, or removed and \
         tokens are generated anew", path.display()
    )]
    Corrupt { path: PathBuf, source: serde_json::Error },
    #[error("{} has version {version}, but this bootctl knows {VERSION}", path.display())]
    Version { path: PathBuf, version: u32 },
    #[error("{} has a token {name:?} without a good hash; revoke it by removing it there", path.display())]
    Seal { path: PathBuf, name: String },
    #[error("{} cannot be written, so nothing was changed: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "{0:?} is no name for a token: use up to {LONGEST} lower case letters, digits, dots and hyphens, \
         a letter or digit first"
    )]
    Name(String),
    #[error("there is a token {0:?} already; revoke it first, or choose another name")]
    Taken(String),
    #[error("there is no token {0:?}; `bootctl generate --list` shows which there are")]
    Unknown(String),
    #[error("there are {MOST} tokens, and no more can be kept; revoke some")]
    Full,
    #[error(transparent)]
    Random(#[from] NoRandom),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    tokens: Vec<Shape>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    name: String,
    grant: Grant,
    made: String,
    sha256: String,
}

/// Where they are.
pub(crate) fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE)
}

impl Register {
    /// Reads what there is: without a file, nothing.
    pub(crate) fn open(state_dir: &Path) -> Result<Self, RegisterError> {
        let path = path(state_dir);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Self { path, entries: Vec::new() });
            }
            Err(source) => return Err(RegisterError::Read { path, source }),
        };
        let document: Document = match serde_json::from_slice(&text) {
            Ok(document) => document,
            Err(source) => return Err(RegisterError::Corrupt { path, source }),
        };
        if document.version != VERSION {
            return Err(RegisterError::Version { path, version: document.version });
        }
        let entries = document.tokens.into_iter().map(|shape| {
            let Shape { name, grant, made, sha256 } = shape;
            match Seal::parse(&sha256) {
                Some(seal) => Ok(Entry { name, grant, made, seal }),
                None => Err(RegisterError::Seal { path: path.clone(), name }),
            }
        });
        let entries = entries.collect::<Result<_, _>>()?;
        Ok(Self { path, entries })
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Whose token this is. All are looked at, whichever it is.
    pub(crate) fn find(&self, secret: &Secret) -> Option<&Entry> {
        let seal = secret.seal();
        self.entries
            .iter()
            .fold(None, |found, entry| if entry.seal.is(&seal) { Some(entry) } else { found })
    }

    /// Makes one, and answers it: nobody can show it again.
    pub(crate) fn add(
        &mut self,
        name: &str,
        grant: Grant,
        now: String,
    ) -> Result<Secret, RegisterError> {
        if !is_name(name) {
            return Err(RegisterError::Name(name.chars().take(LONGEST).collect()));
        }
        if self.entries.iter().any(|entry| entry.name == name) {
            return Err(RegisterError::Taken(name.to_owned()));
        }
        if self.entries.len() >= MOST {
            return Err(RegisterError::Full);
        }
        let secret = Secret::generate()?;
        let mut entries = self.entries.clone();
        entries.push(Entry { name: name.to_owned(), grant, made: now, seal: secret.seal() });
        self.write(entries)?;
        Ok(secret)
    }

    pub(crate) fn revoke(&mut self, name: &str) -> Result<Entry, RegisterError> {
        let mut entries = self.entries.clone();
        let at = entries.iter().position(|entry| entry.name == name);
        let at = at.ok_or_else(|| RegisterError::Unknown(name.chars().take(LONGEST).collect()))?;
        let entry = entries.remove(at);
        self.write(entries)?;
        Ok(entry)
    }

    fn write(&mut self, entries: Vec<Entry>) -> Result<(), RegisterError> {
        let shape = |entry: &Entry| Shape {
            name: entry.name.clone(),
            grant: entry.grant,
            made: entry.made.clone(),
            sha256: entry.seal.text(),
        };
        let document = Document { version: VERSION, tokens: entries.iter().map(shape).collect() };
        let text = serde_json::to_vec_pretty(&document).map_err(io::Error::from);
        let written = text.and_then(|text| durable::replace(&self.path, &text, OWN));
        written.map_err(|source| RegisterError::Write { path: self.path.clone(), source })?;
        self.entries = entries;
        Ok(())
    }
}

fn is_name(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= LONGEST
        && text.bytes().next().is_some_and(good)
        && text.bytes().all(|byte| good(byte) || b".-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn z10_a_token_is_good_from_when_it_was_made_until_it_is_revoked() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut register = Register::open(folder.path()).expect("nothing yet");
        let now = || "2026-11-22T00:00:00Z".to_owned();
        let laptop = register.add("laptop", Grant::Control, now()).expect("made");
        let monitor = register.add("monitor", Grant::Read, now()).expect("made");
        assert!(matches!(register.add("laptop", Grant::Read, now()), Err(RegisterError::Taken(_))));
        let mut again = Register::open(folder.path()).expect("written");
        let found = again.find(&monitor).expect("known");
        assert_eq!((found.name.as_str(), found.grant), ("monitor", Grant::Read));
        again.revoke("laptop").expect("there");
        assert!(again.find(&laptop).is_none() && again.find(&monitor).is_some());
        assert!(matches!(again.revoke("laptop"), Err(RegisterError::Unknown(_))));
        let path = path(folder.path());
        let text = fs::read_to_string(&path).expect("there");
        assert!(!text.contains(&monitor.text()), "only its hash is kept");
        assert_eq!(fs::metadata(path).expect("there").permissions().mode() & 0o777, OWN);
    }

    #[test]
    fn z10_a_file_that_is_not_understood_grants_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        for text in [
            "",
            "{\"version\": 1, \"tok",
            "{\"version\": 2, \"tokens\": []}",
            r#"{"version": 1, "tokens": [{"name": "a", "grant": "control", "made": "", "sha256": ""}]}"#,
            r#"{"version": 1, "tokens": [{"name": "a", "grant": "all", "made": "", "sha256": ""}]}"#,
        ] {
            fs::write(path(folder.path()), text).expect("written");
            assert!(Register::open(folder.path()).is_err(), "{text}");
        }
    }

    #[test]
    fn z10_names_are_plain_words() {
        for (name, good) in [
            ("a", true),
            ("ci-1.x_y", true),
            ("", false),
            ("-a", false),
            ("A", false),
            ("a b", false),
            ("a\n", false),
            (&"a".repeat(65), false),
        ] {
            assert_eq!(is_name(name), good, "{name:?}");
        }
    }
}
