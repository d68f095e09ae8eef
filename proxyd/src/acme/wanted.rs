//! What is wanted of certificates that are obtained, checked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use http::Uri;
use proxyd_wire as wire;
use thiserror::Error;

use super::domain::{Domain, NotADomain};
use crate::limits;
use crate::name::{Name, NotAName};

/// All that was said, and the certificates of it ready for use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// As it was put.
    pub(crate) wire: wire::Acme,
    pub(crate) certificates: BTreeMap<Name, BTreeSet<Domain>>,
}

/// Why it cannot be as it was put.
#[derive(Debug, Error)]
pub(crate) enum NotAcme {
    #[error(
        "authorities[{at}].directory is `{text}`: write the address of a directory with https://, such as \
         https://acme-v02.api.letsencrypt.org/directory"
    )]
    Directory { at: usize, text: String },
    #[error("authorities[{at}].directory is there twice: {text}")]
    Twice { at: usize, text: String },
    #[error("`{key}` is {}, which is no absolute path: write it from the root on", path.display())]
    Relative { key: &'static str, path: PathBuf },
    #[error("`folder` is missing: accounts and keys need one, such as /var/lib/proxyd/acme")]
    NoFolder,
    #[error("contacts: `{0}` is no mail address: write one as ops@shop.example, without `mailto:`")]
    Contact(String),
    #[error("`challenges` is empty: write at least one of http-01, tls-alpn-01, dns-01")]
    NoChallenges,
    #[error("there are more than {most} {what}: remove some")]
    Many { what: &'static str, most: usize },
    #[error("certificates: {0}")]
    Name(#[from] NotAName),
    #[error("certificates.{certificate}.names: {wrong}")]
    Names { certificate: String, wrong: NotNames },
}

/// Why names are none for a certificate.
#[derive(Debug, Error)]
pub(crate) enum NotNames {
    #[error("{0}")]
    Domain(#[from] NotADomain),
    #[error("write 1 to 100 of them")]
    Count,
    #[error(
        "`{0}` can be proved by a record of its zone only: add dns-01 to `challenges`, and see to it that \
         somebody places records"
    )]
    Wild(Domain),
}

impl NotAcme {
    /// The key that is wrong.
    pub(crate) fn key(&self) -> Vec<String> {
        let keys: &[&str] = match self {
            NotAcme::Relative { key: "folder", .. } | NotAcme::NoFolder => &["folder"],
            NotAcme::Directory { .. } | NotAcme::Twice { .. } | NotAcme::Relative { .. } => {
                &["authorities"]
            }
            NotAcme::Contact(_) => &["contacts"],
            NotAcme::NoChallenges => &["challenges"],
            NotAcme::Many { what, .. } => &[what],
            NotAcme::Name(_) => &["certificates"],
            NotAcme::Names { certificate, .. } => &["certificates", certificate, "names"],
        };
        keys.iter().map(|&key| key.to_owned()).collect()
    }
}

impl Wanted {
    pub(crate) fn new(wire: wire::Acme) -> Result<Wanted, NotAcme> {
        if wire.authorities.len() > limits::ACME_AUTHORITIES {
            return Err(NotAcme::Many { what: "authorities", most: limits::ACME_AUTHORITIES });
        }
        if wire.certificates.len() > limits::OBJECTS {
            return Err(NotAcme::Many { what: "certificates", most: limits::OBJECTS });
        }
        for (at, authority) in wire.authorities.iter().enumerate() {
            check_authority(at, authority)?;
            let before = wire.authorities.iter().take(at);
            if before.into_iter().any(|other| other.directory == authority.directory) {
                return Err(NotAcme::Twice { at, text: authority.directory.clone() });
            }
        }
        match &wire.folder {
            Some(folder) => absolute("folder", folder)?,
            None if wire.authorities.is_empty() => {}
            None => return Err(NotAcme::NoFolder),
        }
        if let Some(wrong) = wire.contacts.iter().find(|contact| !is_mail(contact)) {
            return Err(NotAcme::Contact(wrong.chars().take(200).collect()));
        }
        if wire.challenges.is_empty() {
            return Err(NotAcme::NoChallenges);
        }
        let mut certificates = BTreeMap::new();
        for (text, certificate) in &wire.certificates {
            let name = Name::parse(text)?;
            let names = names(certificate, &wire)
                .map_err(|wrong| NotAcme::Names { certificate: text.clone(), wrong })?;
            certificates.insert(name, names);
        }
        Ok(Wanted { wire, certificates })
    }

    /// Whether the same are asked, in the same way, for whatever.
    pub(super) fn asks_like(&self, other: &Wanted) -> bool {
        let (own, other) = (&self.wire, &other.wire);
        own.authorities == other.authorities
            && own.contacts == other.contacts
            && own.challenges == other.challenges
            && own.preflight == other.preflight
    }

    /// The same with one certificate more, or another one of its name.
    pub(crate) fn with(
        &self,
        name: &Name,
        certificate: wire::AcmeCertificate,
    ) -> Result<Wanted, NotAcme> {
        let mut wire = self.wire.clone();
        wire.certificates.insert(name.as_str().to_owned(), certificate);
        Wanted::new(wire)
    }

    /// The same without one certificate. `None` if there is none.
    pub(crate) fn without(&self, name: &Name) -> Option<Wanted> {
        let mut wanted = self.clone();
        wanted.certificates.remove(name)?;
        wanted.wire.certificates.remove(name.as_str());
        Some(wanted)
    }
}

fn check_authority(at: usize, authority: &wire::AcmeAuthority) -> Result<(), NotAcme> {
    let uri: Option<Uri> = authority.directory.parse().ok();
    let is_address = uri.is_some_and(|uri| {
        uri.scheme_str() == Some("https") && uri.host().is_some_and(|host| !host.is_empty())
    });
    if !is_address {
        let text = authority.directory.chars().take(200).collect();
        return Err(NotAcme::Directory { at, text });
    }
    if let Some(path) = &authority.root_file {
        absolute("root_file", path)?;
    }
    if let Some(eab) = &authority.eab {
        absolute("eab.key_file", &eab.key_file)?;
    }
    Ok(())
}

fn absolute(key: &'static str, path: &Path) -> Result<(), NotAcme> {
    if path.is_absolute() { Ok(()) } else { Err(NotAcme::Relative { key, path: path.to_owned() }) }
}

fn is_mail(text: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic());
    text.len() <= 254
        && !text.contains(':')
        && text.split_once('@').is_some_and(|(who, host)| {
            is_part(who) && is_part(host) && host.contains('.') && !host.contains('@')
        })
}

fn names(
    certificate: &wire::AcmeCertificate,
    wire: &wire::Acme,
) -> Result<BTreeSet<Domain>, NotNames> {
    if !(1..=limits::ACME_NAMES).contains(&certificate.names.len()) {
        return Err(NotNames::Count);
    }
    let mut names = BTreeSet::new();
    for text in &certificate.names {
        let domain = Domain::parse(text)?;
        if domain.is_wild() && !wire.challenges.contains(&wire::AcmeChallenge::Dns01) {
            return Err(NotNames::Wild(domain));
        }
        names.insert(domain);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(json: &str) -> Result<Wanted, NotAcme> {
        Wanted::new(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (json, part) in [
            (r#"{"authorities":[{"directory":"http://a.test/d"}],"folder":"/f"}"#, "with https://"),
            (r#"{"authorities":[{"directory":"x"}],"folder":"/f"}"#, "authorities[0].directory"),
            (r#"{"authorities":[{"directory":"https://a.test/d"}]}"#, "`folder` is missing"),
            (r#"{"folder":"f"}"#, "`folder` is f, which is no absolute path"),
            (
                r#"{"authorities":[{"directory":"https://a.test/d","root_file":"r"}],"folder":"/f"}"#,
                "`root_file` is r",
            ),
            (
                r#"{"authorities":[{"directory":"https://a.test/d"},{"directory":"https://a.test/d"}],"folder":"/f"}"#,
                "there twice",
            ),
            (r#"{"contacts":["mailto:a@b.test"]}"#, "is no mail address"),
            (r#"{"contacts":["a@b"]}"#, "is no mail address"),
            (r#"{"challenges":[]}"#, "`challenges` is empty"),
            (r#"{"certificates":{"a b":{"names":["a.test"]}}}"#, "`a b` is not a name"),
            (r#"{"certificates":{"a":{"names":[]}}}"#, "certificates.a.names: write 1 to 100"),
            (
                r#"{"certificates":{"a":{"names":["10.0.0.1"]}}}"#,
                "is not a name that a certificate",
            ),
            (r#"{"certificates":{"a":{"names":["*.a.test"]}}}"#, "add dns-01"),
        ] {
            let error = put(json).unwrap_err();
            assert!(error.to_string().contains(part), "{json}: {error}");
            assert!(!error.key().is_empty());
        }
    }

    #[test]
    fn one_more_and_one_less() {
        let all = put(
            r#"{"challenges":["dns-01"],"certificates":{"a":{"names":["*.A.test","a.test"]}}}"#,
        );
        let all = all.unwrap();
        let (a, b) = (Name::parse("a").unwrap(), Name::parse("b").unwrap());
        let more = all.with(&b, wire::AcmeCertificate { names: vec!["b.test".into()] }).unwrap();
        assert_eq!((more.certificates.len(), more.certificates[&a].len()), (2, 2));
        let less = more.without(&a).unwrap();
        assert_eq!((less.certificates.len(), less.wire.certificates.len()), (1, 1));
        assert!(less.without(&a).is_none());
    }
}
