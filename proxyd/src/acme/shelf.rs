//! Certificates that were obtained, taken from where they are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use proxyd_wire as wire;

use super::domain::Domain;
use super::folder::Folder;
use super::kept::{self, Issued};
use super::plan::Held;
use super::store::{CannotStore, Record, Store};
use super::wanted::Wanted;
use crate::name::Name;
use crate::say::say;
use crate::tls::{Certificate, Material, NotACertificate};

/// One that was obtained.
#[derive(Clone, Debug)]
pub(crate) struct Obtained {
    /// Ready to be shown.
    pub(crate) certificate: Arc<Certificate>,
    /// The directory of the authority that it is from.
    pub(crate) authority: String,
}

impl Obtained {
    /// An end that has passed is no reason to refuse it: clients tell that best.
    pub(super) fn new(issued: Issued) -> Result<Obtained, NotACertificate> {
        let wire = wire::Certificate {
            chain: Some(issued.chain),
            key: Some(issued.key),
            ..wire::Certificate::default()
        };
        let material = Material::read(&wire, None)?;
        let certificate = Arc::new(Certificate::new(wire, material, None)?);
        Ok(Obtained { certificate, authority: issued.authority })
    }

    pub(super) fn held(&self) -> Held {
        let names = self.certificate.names.iter();
        Held {
            covers: names.filter_map(|name| Domain::parse(name).ok()).collect(),
            not_before: self.certificate.not_before,
            not_after: self.certificate.not_after,
            fingerprint: self.certificate.fingerprint.clone(),
            authority: self.authority.clone(),
        }
    }
}

/// What the store has of one.
pub(super) fn take(store: &dyn Store, name: &Name) -> Result<Option<Obtained>, CannotStore> {
    let record = Record::Certificate(name.clone());
    let Some(issued) = kept::load(store, &record)? else { return Ok(None) };
    match Obtained::new(issued) {
        Ok(obtained) => Ok(Some(obtained)),
        Err(error) => {
            kept::refuse(store, &record, &format!("cannot be used ({error})"))?;
            Ok(None)
        }
    }
}

/// What was obtained for these before, and what answers at port 80 end with.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) certificates: BTreeMap<Name, Obtained>,
    pub(crate) thumbprint: Option<String>,
}

/// Those that are shown already, and need not be read.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) folder: Option<PathBuf>,
    pub(crate) names: BTreeSet<Name>,
}

/// Takes what is there. What cannot be had is told, and obtained anew.
pub(crate) fn take_new(wanted: &Wanted, known: &Known) -> Stored {
    let Some(path) = wanted.wire.folder.as_ref().filter(|_| !wanted.wire.authorities.is_empty())
    else {
        return Stored::default();
    };
    let read = || -> Result<Stored, CannotStore> {
        let folder = Folder::open(path)?;
        let mut stored = Stored::default();
        let is_known =
            |name: &&Name| known.folder.as_ref() == Some(path) && known.names.contains(*name);
        for name in wanted.certificates.keys().filter(|name| !is_known(name)) {
            if let Some(obtained) = take(&folder, name)? {
                stored.certificates.insert(name.clone(), obtained);
            }
        }
        if let Some(first) = wanted.wire.authorities.first() {
            let account: Option<kept::Account> =
                kept::load(&folder, &kept::account_of(&first.directory))?;
            stored.thumbprint = account.map(|account| account.thumbprint);
        }
        Ok(stored)
    };
    read().unwrap_or_else(|error| {
        say!("proxyd: certificates that were obtained cannot be had: {error}");
        Stored::default()
    })
}
