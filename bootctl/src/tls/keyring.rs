//! The certificates that the config names, as their files were read last. One whose files are wrong stays as it was.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::pair::{self, Part};
use super::{Files, GENERAL, Pair, Unfit};
use crate::app::App;
use crate::config::Settings;
use crate::name::{AppName, Host};
use crate::tls::wanted::Coverage;

/// A certificate that the config names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// Whose file names it; `None`: `bootctl.toml`.
    pub(crate) app: Option<AppName>,
    pub(crate) files: Files,
    /// The hosts that it has to be made out to.
    pub(crate) hosts: Vec<Host>,
}

impl Source {
    /// What the proxy knows it by.
    pub(crate) fn name(&self) -> &str {
        self.app.as_ref().map_or(GENERAL, AppName::as_str)
    }
}

/// All of them.
pub(crate) fn sources<'a>(
    settings: &Settings,
    apps: impl Iterator<Item = &'a Arc<App>>,
) -> Vec<Source> {
    let general = settings.proxy.tls.files.clone();
    let general = general.map(|files| Source { app: None, files, hosts: Vec::new() });
    let of_app = |app: &Arc<App>| {
        let files = app.tls.files.clone()?;
        Some(Source { app: Some(app.name.clone()), files, hosts: app.hosts().cloned().collect() })
    };
    general.into_iter().chain(apps.filter_map(of_app)).collect()
}

/// Them, with what is in their files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keyring {
    held: BTreeMap<String, Held>,
    client_ca: Option<ClientCa>,
}

/// One.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) source: Source,
    /// As it was read last when it could be.
    pub(crate) pair: Option<Arc<Pair>>,
    /// Why it cannot be read now.
    pub(crate) unfit: Option<Unfit>,
}

/// Who vouches for clients.
#[derive(Clone, Debug)]
struct ClientCa {
    path: PathBuf,
    text: Option<Arc<str>>,
    unfit: Option<Unfit>,
}

impl Keyring {
    /// Reads the files of these. What cannot be read, or is no pair, is as it was in this one.
    pub(crate) fn read(&self, sources: Vec<Source>, client_ca: Option<&Path>) -> Self {
        let held = sources.into_iter().map(|source| {
            let name = source.name().to_owned();
            let before = self.held.get(&name).and_then(|held| held.pair.clone());
            let (pair, unfit) = match Pair::read(&source.files, before.as_deref()) {
                Ok(Some(pair)) => (Some(Arc::new(pair)), None),
                Ok(None) => (before, None),
                Err(unfit) => (before, Some(unfit)),
            };
            (name, Held { source, pair, unfit })
        });
        Self { held: held.collect(), client_ca: client_ca.map(|path| self.read_ca(path)) }
    }

    fn read_ca(&self, path: &Path) -> ClientCa {
        let before = self.client_ca.as_ref().filter(|before| before.path == path);
        let before = before.and_then(|before| before.text.clone());
        let (text, unfit) = match pair::text(Part::Certificate, path) {
            Ok(text) if before.as_deref() == Some(&text) => (before, None),
            Ok(text) => (Some(text.into()), None),
            Err(unfit) => (before, Some(unfit)),
        };
        ClientCa { path: path.to_owned(), text, unfit }
    }

    pub(crate) fn held(&self) -> &BTreeMap<String, Held> {
        &self.held
    }

    /// The text of who vouches for clients. `Err`: there is to be one, and nobody knows what it says.
    pub(crate) fn client_ca(&self) -> Result<Option<&str>, ()> {
        match &self.client_ca {
            None => Ok(None),
            Some(ClientCa { text: Some(text), .. }) => Ok(Some(text)),
            Some(ClientCa { text: None, .. }) => Err(()),
        }
    }

    /// What is wrong with the file of who vouches for clients.
    pub(crate) fn client_ca_unfit(&self) -> Option<&Unfit> {
        self.client_ca.as_ref()?.unfit.as_ref()
    }

    /// All files, to be watched.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let pairs = self.held.values().map(|held| &held.source.files);
        let pairs = pairs.flat_map(|files| [&*files.certificate, &*files.key]);
        pairs.chain(self.client_ca.as_ref().map(|ca| &*ca.path))
    }

    /// When the next of them is over, in seconds since 1970.
    pub(crate) fn next_end(&self, now: i64) -> Option<i64> {
        let pairs = self.held.values().filter_map(|held| held.pair.as_ref());
        pairs.map(|pair| pair.not_after).filter(|end| *end >= now).min()
    }
}

impl Held {
    /// All that is to be said against it.
    pub(crate) fn doubts(&self, now: i64) -> Vec<Unfit> {
        let mut all: Vec<Unfit> = self.unfit.iter().cloned().collect();
        let Files { certificate: path, key } = &self.source.files;
        all.extend(pair::is_open(key));
        // What is shown on is not what the files say.
        let Some(pair) = self.pair.as_ref().filter(|_| self.unfit.is_none()) else { return all };
        if pair.is_over(now) {
            let (path, day) = (path.clone(), pair::day(pair.not_after));
            all.push(Unfit::Expired { path, day });
        }
        let coverage = Coverage::of(pair.names.iter());
        let hosts = self.source.hosts.iter().map(Host::as_str);
        let hosts: Vec<String> =
            hosts.filter(|host| !coverage.has(host)).map(str::to_owned).collect();
        if !hosts.is_empty() {
            let (path, names) = (path.clone(), pair.names.clone());
            all.push(Unfit::Elsewhere { path, hosts, names });
        }
        all
    }

    /// The pair while it is worth something.
    pub(crate) fn good(&self, now: i64) -> Option<&Arc<Pair>> {
        self.pair.as_ref().filter(|pair| !pair.is_over(now))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::pair::tests::{made, written};
    use super::*;

    fn source(files: &Files) -> Source {
        let app = AppName::parse("a.test").expect("a name");
        let hosts = ["a.test", "www.a.test"].map(|host| Host::parse(host).expect("a host"));
        Source { app: Some(app), files: files.clone(), hosts: hosts.into() }
    }

    #[test]
    fn o21_what_was_good_stays_while_its_files_are_wrong() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = written(folder.path(), "a", &made(&["a.test", "*.a.test"], 2099));
        let first = Keyring::default().read(vec![source(&files)], None);
        let held = |ring: &Keyring| ring.held()["a.test"].clone();
        let pair = held(&first).pair.expect("it is good");
        assert_eq!(held(&first).doubts(0), []);
        // The certificate is written first, its key a moment later.
        let (chain, key) = made(&["a.test"], 2098);
        fs::write(&files.certificate, chain).expect("written");
        let between = first.read(vec![source(&files)], None);
        assert!(Arc::ptr_eq(held(&between).pair.as_ref().expect("as it was"), &pair));
        assert!(matches!(held(&between).doubts(0)[..], [Unfit::Mismatch { .. }]));
        fs::write(&files.key, key).expect("written");
        let after = between.read(vec![source(&files)], None);
        let new = held(&after).pair.expect("it is good");
        assert_ne!(new.fingerprint, pair.fingerprint);
        let doubts = held(&after).doubts(new.not_after + 1);
        let told: Vec<String> = doubts.iter().map(ToString::to_string).collect();
        assert!(told[0].contains("has expired on 2098-01-01"), "{told:?}");
        assert!(told[1].contains("is not made out to www.a.test; it is for a.test"), "{told:?}");
        assert!(held(&after).good(new.not_after + 1).is_none());
        assert_eq!(after.next_end(0), Some(new.not_after));
        assert_eq!(after.next_end(new.not_after + 1), None);
        fs::remove_file(&files.key).expect("removed");
        let gone = after.read(vec![source(&files)], None);
        assert!(held(&gone).pair.is_some() && held(&gone).unfit.is_some());
        assert!(gone.read(Vec::new(), None).held().is_empty());
    }

    #[test]
    fn o21_who_vouches_for_clients_is_known_or_it_is_known_that_he_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ca.pem");
        let ring = Keyring::default().read(Vec::new(), Some(&path));
        assert_eq!((ring.client_ca(), ring.client_ca_unfit().is_some()), (Err(()), true));
        fs::write(&path, "one").expect("written");
        let ring = ring.read(Vec::new(), Some(&path));
        assert_eq!((ring.client_ca(), ring.client_ca_unfit()), (Ok(Some("one")), None));
        fs::remove_file(&path).expect("removed");
        let ring = ring.read(Vec::new(), Some(&path));
        assert_eq!(ring.client_ca(), Ok(Some("one")), "what was known is not forgotten");
        assert!(ring.client_ca_unfit().is_some());
        assert_eq!(ring.read(Vec::new(), None).client_ca(), Ok(None));
    }
}
