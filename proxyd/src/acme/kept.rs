//! What the records say, and what becomes of one that says nothing: it is set aside, and told of.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::domain::Domain;
use super::failure::Failure;
use super::plan::Past;
use super::store::{CannotStore, Record, Store};
use crate::limits;
use crate::name::Name;
use crate::say::say;

/// What records are written as. A later form has a higher number.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    what: T,
}

/// Looked at first: a later version may have any other form.
#[derive(Deserialize)]
struct Header {
    version: u32,
}

#[derive(Debug, Error)]
enum Unusable {
    #[error("is damaged ({0})")]
    Damaged(#[from] serde_json::Error),
    #[error("has version {0}, but this proxyd knows {VERSION}")]
    Newer(u32),
    #[error("is too large")]
    Large,
}

/// Our account with an authority.
#[derive(Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) directory: String,
    pub(super) contacts: Vec<String>,
    /// Of the account that it belongs to, where it belongs to one.
    pub(super) key_id: Option<String>,
    /// What answers at port 80 end with.
    pub(super) thumbprint: String,
    /// With its private key.
    pub(super) credentials: instant_acme::AccountCredentials,
}

/// A certificate that was obtained.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Issued {
    pub(super) authority: String,
    pub(super) chain: String,
    pub(super) key: String,
}

/// An order that is under way, and goes on after an end of the process.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) authority: String,
    pub(super) url: String,
    pub(super) names: BTreeSet<Domain>,
    pub(super) key: String,
}

/// Tries that have failed.
#[derive(Serialize, Deserialize)]
struct Tries {
    failure: Failure,
    authority: String,
    at: i64,
    count: u32,
    next: i64,
}

/// The record of an account: one for each directory.
pub(super) fn account_of(directory: &str) -> Record {
    let digest = ring::digest::digest(&ring::digest::SHA256, directory.as_bytes());
    let number = crate::tls::hex(digest.as_ref().get(..4).unwrap_or_default());
    let rest = directory.strip_prefix("https://").unwrap_or(directory);
    let host: String = rest.chars().take_while(|c| !"/:".contains(*c)).take(100).collect();
    let allowed = |c: &char| c.is_ascii_alphanumeric() || ".-".contains(*c);
    let host: String = host.chars().filter(allowed).collect();
    Record::Account(format!("{host}-{number}"))
}

/// `None`: there is none, or it was of no use.
pub(super) fn load<T: DeserializeOwned>(
    store: &dyn Store,
    record: &Record,
) -> Result<Option<T>, CannotStore> {
    let Some(bytes) = store.read(record)? else { return Ok(None) };
    match understand(&bytes) {
        Ok(what) => Ok(Some(what)),
        Err(unusable) => {
            refuse(store, record, &unusable)?;
            Ok(None)
        }
    }
}

fn understand<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unusable> {
    if bytes.len() >= limits::ACME_RECORD {
        return Err(Unusable::Large);
    }
    let Header { version } = serde_json::from_slice(bytes)?;
    if version > VERSION {
        return Err(Unusable::Newer(version));
    }
    let Versioned { what, .. } = serde_json::from_slice(bytes)?;
    Ok(what)
}

/// Sets a record aside, and says why.
pub(super) fn refuse(
    store: &dyn Store,
    record: &Record,
    why: &dyn std::fmt::Display,
) -> Result<(), CannotStore> {
    let aside = store.set_aside(record)?;
    say!("proxyd: what is kept of {record} {why}; it is kept as {} and not used", aside.display());
    Ok(())
}

pub(super) fn save<T: Serialize>(
    store: &dyn Store,
    record: &Record,
    what: &T,
) -> Result<(), CannotStore> {
    // What was made here can be written as JSON.
    let bytes = serde_json::to_vec(&Versioned { version: VERSION, what }).unwrap_or_default();
    store.write(record, &bytes)
}

pub(super) fn load_past(store: &dyn Store, name: &Name) -> Result<Option<Past>, CannotStore> {
    let tries: Option<Tries> = load(store, &Record::Past(name.clone()))?;
    Ok(tries.map(|Tries { failure, authority, at, count: tries, next }| Past {
        failure,
        authority,
        at,
        tries,
        next,
    }))
}

pub(super) fn save_past(
    store: &dyn Store,
    name: &Name,
    past: Option<Past>,
) -> Result<(), CannotStore> {
    let record = Record::Past(name.clone());
    let Some(Past { failure, authority, at, tries, next }) = past else {
        return store.remove(&record);
    };
    save(store, &record, &Tries { failure, authority, at, count: tries, next })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::failure::Cause;
    use crate::acme::folder::Folder;

    #[test]
    fn what_is_kept_comes_back_and_what_is_damaged_is_set_aside() {
        let outer = tempfile::tempdir().unwrap();
        let folder = Folder::open(&outer.path().join("acme")).unwrap();
        let name = Name::parse("shop").unwrap();
        let failure =
            Failure::new(Cause::RateLimit, "too\nmany").of(Domain::parse("a.test").unwrap());
        let past = Past { failure, authority: "https://ca.test".into(), at: 5, tries: 2, next: 9 };
        save_past(&folder, &name, Some(past.clone())).unwrap();
        assert_eq!(load_past(&folder, &name).unwrap(), Some(past.clone()));
        let record = Record::Past(name.clone());
        let text = folder.read(&record).unwrap().unwrap();
        for end in 0..text.len() {
            folder.write(&record, &text[..end]).unwrap();
            assert_eq!(load_past(&folder, &name).unwrap(), None, "{end}");
            assert!(outer.path().join("acme/past/shop.json.damaged").exists());
            assert!(folder.read(&record).unwrap().is_none());
        }
        folder.write(&record, br#"{"version":2,"other":1}"#).unwrap();
        assert_eq!(load_past(&folder, &name).unwrap(), None, "it is a later one's");
        save_past(&folder, &name, Some(past)).unwrap();
        save_past(&folder, &name, None).unwrap();
        assert_eq!(load_past(&folder, &name).unwrap(), None);
    }

    #[test]
    fn each_directory_has_its_account() {
        let all = [
            "https://ca.test/dir",
            "https://ca.test/dir2",
            "https://ca.test:14000/dir",
            "https://[::1]:14000/dir",
        ];
        let names: BTreeSet<String> = all.map(|directory| account_of(directory).to_string()).into();
        assert_eq!(names.len(), 4);
    }
}
