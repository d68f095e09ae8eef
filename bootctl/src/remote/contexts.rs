//! Machines by name, and which certificates are known: `~/.config/bootctl/contexts.toml`, for nobody else to read.
//!
//! It names files of tokens and holds none. It is written whole and renamed into place, by one command at a time, which
//! reads it anew: of two that change it at once, neither is lost. One that cannot be understood is left as it is, and told.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::{env, fs};

use serde::{Deserialize, Serialize};

use super::address::Address;
use super::host::LOCAL;
use crate::durable::{self, OWN};
use crate::fingerprint::Fingerprint;
use crate::name::nearest;

const VERSION: u32 = 1;

/// The file and what it holds.
#[derive(Clone, Debug)]
pub(crate) struct Contexts {
    path: PathBuf,
    shape: Shape,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) address: Address,
    pub(crate) token_file: Option<PathBuf>,
}

/// Why it cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContextError {
    #[error(
        "neither XDG_CONFIG_HOME nor HOME is set, so there is no place for contexts; set one of them"
    )]
    NoHome,
    #[error("{} cannot be read: {source}; see to its permissions", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} makes no sense: {source}; repair it, or remove it and add its contexts anew", path.display())]
    Corrupt { path: PathBuf, source: Box<toml_edit::de::Error> },
    #[error("{} has version {version}, but this bootctl knows {VERSION}", path.display())]
    Version { path: PathBuf, version: u32 },
    #[error("{} says {text:?}, which makes no sense: {why}", path.display())]
    Value { path: PathBuf, text: String, why: &'static str },
    #[error("{} cannot be written, so nothing was changed: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("there is no context {name:?}; {advice}")]
    Unknown { name: String, advice: String },
    #[error("{0:?} is no name for a context: use letters, digits and hyphens, and not `{LOCAL}`")]
    Name(String),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    version: u32,
    /// The one that is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, ContextShape>,
    /// Fingerprints by address.
    #[serde(default)]
    known: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ContextShape {
    address: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_file: Option<PathBuf>,
}

impl Contexts {
    /// Of whoever runs this.
    pub(crate) fn own() -> Result<Self, ContextError> {
        let folder =
            |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = || folder("HOME").map(|home| home.join(".config"));
        let config = folder("XDG_CONFIG_HOME").or_else(home).ok_or(ContextError::NoHome)?;
        Self::open(&config.join("bootctl/contexts.toml"))
    }

    fn open(path: &Path) -> Result<Self, ContextError> {
        let path = path.to_owned();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let (contexts, known) = (BTreeMap::new(), BTreeMap::new());
                let shape = Shape { version: VERSION, current: None, contexts, known };
                return Ok(Self { path, shape });
            }
            Err(source) => return Err(ContextError::Read { path, source }),
        };
        let shape: Shape = match toml_edit::de::from_str(&text) {
            Ok(shape) => shape,
            Err(source) => return Err(ContextError::Corrupt { path, source: Box::new(source) }),
        };
        if shape.version != VERSION {
            return Err(ContextError::Version { path, version: shape.version });
        }
        Ok(Self { path, shape })
    }

    /// The name of the one that is in use.
    pub(crate) fn current(&self) -> Option<&str> {
        self.shape.current.as_deref()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.shape.contexts.keys().map(String::as_str)
    }

    pub(crate) fn get(&self, name: &str) -> Result<Option<Context>, ContextError> {
        let Some(ContextShape { address, token_file }) = self.shape.contexts.get(name) else {
            return Ok(None);
        };
        let address = address.parse().map_err(|why| self.odd(address, why))?;
        Ok(Some(Context { address, token_file: token_file.clone() }))
    }

    pub(crate) fn add(&mut self, name: &str, context: &Context) -> Result<(), ContextError> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name.is_empty() || name == LOCAL || !name.bytes().all(good) {
            return Err(ContextError::Name(name.to_owned()));
        }
        let Context { address, token_file } = context;
        let context = ContextShape { address: address.to_string(), token_file: token_file.clone() };
        self.change(|shape| drop(shape.contexts.insert(name.to_owned(), context)))
    }

    /// What was known of its certificate is forgotten as well, unless another one is there, too.
    pub(crate) fn remove(&mut self, name: &str) -> Result<(), ContextError> {
        let Some(gone) = self.shape.contexts.get(name).cloned() else {
            return Err(self.unknown(name));
        };
        self.change(|shape| {
            shape.contexts.remove(name);
            shape.current.take_if(|current| current == name);
            if !shape.contexts.values().any(|other| other.address == gone.address) {
                shape.known.remove(&gone.address);
            }
        })
    }

    /// Has verbs be about that machine unless they say otherwise; `local` about this one.
    pub(crate) fn select(&mut self, name: &str) -> Result<(), ContextError> {
        if name != LOCAL && !self.shape.contexts.contains_key(name) {
            return Err(self.unknown(name));
        }
        self.change(|shape| shape.current = Some(name.to_owned()).filter(|name| name != LOCAL))
    }

    /// What the certificate at an address is known by.
    pub(crate) fn known(&self, address: &Address) -> Result<Option<Fingerprint>, ContextError> {
        let text = self.shape.known.get(&address.to_string());
        text.map(|text| text.parse().map_err(|why| self.odd(text, why))).transpose()
    }

    pub(crate) fn trust(
        &mut self,
        address: &Address,
        known_by: Fingerprint,
    ) -> Result<(), ContextError> {
        self.change(|shape| drop(shape.known.insert(address.to_string(), known_by.to_string())))
    }

    fn change(&mut self, change: impl FnOnce(&mut Shape)) -> Result<(), ContextError> {
        let path = self.path.clone();
        let failed = |source| ContextError::Write { path: path.clone(), source };
        let _lock = durable::lock(&path).map_err(failed)?;
        let Self { mut shape, .. } = Self::open(&path)?;
        change(&mut shape);
        let text =
            toml_edit::ser::to_string_pretty(&shape).map_err(|e| failed(io::Error::other(e)))?;
        durable::replace(&path, text.as_bytes(), OWN).map_err(failed)?;
        self.shape = shape;
        Ok(())
    }

    fn odd(&self, text: &str, why: &'static str) -> ContextError {
        ContextError::Value { path: self.path.clone(), text: text.to_owned(), why }
    }

    pub(crate) fn unknown(&self, name: &str) -> ContextError {
        let advice = match (nearest(name, self.names()), self.names().next()) {
            (Some(near), _) => format!("did you mean {near}?"),
            (None, Some(_)) => format!("there are {}", self.names().collect::<Vec<_>>().join(", ")),
            (None, None) => "`bootctl context add` makes one".into(),
        };
        ContextError::Unknown { name: name.to_owned(), advice }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(address: &str) -> Context {
        let token_file = Some("/t".into());
        Context { address: address.parse().expect("an address"), token_file }
    }

    #[test]
    fn z09_contexts_are_kept_and_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bootctl/contexts.toml");
        let mut contexts = Contexts::open(&path).expect("none yet");
        contexts.add("shop", &context("192.0.2.7:8443")).expect("added");
        contexts.add("test", &context("192.0.2.8")).expect("added");
        contexts.select("shop").expect("there");
        let known: Fingerprint = "ab".repeat(32).parse().expect("a fingerprint");
        let address = context("192.0.2.7").address;
        contexts.trust(&address, known).expect("kept");
        let mut again = Contexts::open(&path).expect("written");
        assert_eq!(again.current(), Some("shop"));
        assert_eq!(again.get("shop").expect("sound"), Some(context("192.0.2.7:8443")));
        assert_eq!(again.known(&address).expect("sound"), Some(known));
        let error = again.select("shp").expect_err("not there").to_string();
        assert!(error.contains("did you mean shop?"), "{error}");
        again.select(LOCAL).expect("always there");
        assert_eq!(again.current(), None);
        again.select("shop").expect("there");
        again.remove("shop").expect("there");
        assert_eq!((again.current(), again.known(&address).expect("sound")), (None, None));
        for name in ["", "local", "a b", "a/b", "[x]"] {
            assert!(again.add(name, &context("a")).is_err(), "{name:?}");
        }
    }

    #[test]
    fn z09_of_two_who_change_it_at_once_neither_is_lost() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bootctl/contexts.toml");
        // All of them have read it before the first one writes.
        let all = [(); 8].map(|()| Contexts::open(&path).expect("none yet"));
        std::thread::scope(|scope| {
            for (number, mut contexts) in all.into_iter().enumerate() {
                scope.spawn(move || {
                    contexts.add(&format!("m{number}"), &context("192.0.2.7")).expect("added");
                });
            }
        });
        let there = Contexts::open(&path).expect("written");
        assert_eq!(there.names().count(), 8, "{:?}", there.shape);
    }

    #[test]
    fn z09_a_file_that_makes_no_sense_is_told_and_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("contexts.toml");
        for text in ["version = 2", "version = 1\nother = 1", "version = ", "\0"] {
            fs::write(&path, text).expect("written");
            assert!(Contexts::open(&path).is_err(), "{text:?}");
            assert_eq!(fs::read_to_string(&path).expect("there"), text);
        }
    }
}
