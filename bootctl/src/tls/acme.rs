//! Certificates that the proxy obtains: which hosts of which app are on them, and who is asked. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use init_wire::Account;
use proxyd_wire as wire;

use super::Coverage;
use crate::app::App;
use crate::name::{Host, WILD};

/// `[acme]` of `bootctl.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acme {
    pub(crate) email: Option<String>,
    /// Who is asked, in this order.
    pub(crate) authorities: Vec<wire::AcmeAuthority>,
    /// Whether apps get one without asking for it.
    pub(crate) is_for_all: bool,
    pub(crate) challenges: Vec<wire::AcmeChallenge>,
    pub(crate) preflight: bool,
    /// Who places records, if somebody does.
    pub(crate) hook: Option<DnsHook>,
}

/// The command that places records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DnsHook {
    pub(crate) exec: String,
    pub(crate) args: Vec<String>,
    pub(crate) user: Option<Account>,
    pub(crate) timeout: Duration,
}

/// More have no place on one certificate.
const MOST: usize = 100;
/// What no authority on the internet vouches for.
const RESERVED: [&str; 9] =
    ["localhost", "test", "example", "invalid", "local", "internal", "home.arpa", "lan", "onion"];

/// The certificates that are to be obtained, by app. `given` are hosts that there is one for without that.
pub(crate) fn certificates<'a>(
    acme: Option<&Acme>,
    apps: impl Iterator<Item = &'a App> + Clone,
    given: &Coverage,
) -> BTreeMap<String, wire::AcmeCertificate> {
    let Some(acme) = acme else { return BTreeMap::new() };
    let owned: BTreeSet<&str> = apps.clone().flat_map(App::hosts).map(Host::as_str).collect();
    let wants = |app: &App| app.tls.acme.unwrap_or(acme.is_for_all && app.tls.files.is_none());
    let named = apps.filter(|app| wants(app)).map(|app| {
        let is_asked_for = app.tls.acme == Some(true);
        let fits = |host: &&str| {
            (is_asked_for || is_public(host) && !given.has(host)) && acme.can_prove(host)
        };
        let own = app.hosts().chain(&app.site.redirects).map(Host::as_str);
        let mounts = app.site.mounts.iter().filter_map(|mount| mount.split('/').next());
        let mounts = mounts.filter(|host| !owned.contains(host));
        let mut names: Vec<String> = Vec::new();
        for host in own.chain(mounts).filter(fits) {
            if names.len() < MOST && !names.iter().any(|name| name == host) {
                names.push(host.to_owned());
            }
        }
        (app.name.to_string(), wire::AcmeCertificate { names })
    });
    named.filter(|(_, certificate)| !certificate.names.is_empty()).collect()
}

/// Whether a host may be known beyond this machine and its neighbours.
fn is_public(host: &str) -> bool {
    let is_below = |domain: &str| {
        let rest = host.strip_suffix(domain);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let is_address =
        host.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    host.contains('.') && !is_address && !RESERVED.iter().any(|domain| is_below(domain))
}

impl Acme {
    /// Whether it can be shown that a host is ours: that all below a name are is shown in its zone.
    pub(crate) fn can_prove(&self, host: &str) -> bool {
        !host.starts_with(WILD) || self.challenges.contains(&wire::AcmeChallenge::Dns01)
    }

    /// In the proxy's words.
    pub(crate) fn wire(
        &self,
        folder: PathBuf,
        certificates: BTreeMap<String, wire::AcmeCertificate>,
    ) -> wire::Acme {
        wire::Acme {
            authorities: self.authorities.clone(),
            contacts: self.email.iter().cloned().collect(),
            folder: Some(folder),
            challenges: self.challenges.clone(),
            preflight: self.preflight,
            certificates,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::sample;
    use crate::tls::Files;

    fn host(text: &str) -> Host {
        Host::parse(text).expect("a host")
    }

    fn acme(is_for_all: bool) -> Acme {
        Acme {
            email: None,
            authorities: Vec::new(),
            is_for_all,
            challenges: Vec::new(),
            preflight: true,
            hook: None,
        }
    }

    #[test]
    fn o22_public_hosts_of_an_app_are_on_one_certificate() {
        let mut shop = sample("shop.jobs.dev", 1);
        shop.alias = vec![host("www.jobs.dev"), host("shop.internal"), host("shop")];
        shop.site.redirects = vec![host("old.jobs.dev")];
        shop.site.mounts = vec!["more.jobs.dev/a".into(), "own.jobs.dev/b".into()];
        let mut own = sample("own.jobs.dev", 1);
        own.tls.files = Some(Files { certificate: "/c".into(), key: "/k".into() });
        let mut inner = sample("a.test", 1);
        let mut never = sample("never.jobs.dev", 1);
        never.tls.acme = Some(false);
        let given = Coverage::of(["www.jobs.dev"].iter());
        let of = |acme: Option<&Acme>, apps: &[App]| {
            let all = certificates(acme, apps.iter(), &given);
            all.into_iter().map(|(name, it)| (name, it.names.join(" "))).collect::<Vec<_>>()
        };
        let apps = [shop.clone(), own.clone(), inner.clone(), never.clone()];
        let shops = "shop.jobs.dev old.jobs.dev more.jobs.dev";
        assert_eq!(of(Some(&acme(true)), &apps), [("shop.jobs.dev".into(), shops.into())]);
        assert_eq!(of(Some(&acme(false)), &apps), []);
        assert_eq!(of(None, &apps), []);
        let mut wild = shop.clone();
        wild.alias.push(Host::parse_many("*.jobs.dev").expect("hosts"));
        wild.site.redirects.clear();
        wild.site.mounts.clear();
        let by_zone = Acme { challenges: vec![wire::AcmeChallenge::Dns01], ..acme(true) };
        for (acme, names) in [(acme(true), "shop.jobs.dev"), (by_zone, "shop.jobs.dev *.jobs.dev")]
        {
            let said = of(Some(&acme), std::slice::from_ref(&wild));
            assert_eq!(said, [("shop.jobs.dev".to_owned(), names.to_owned())]);
        }
        inner.tls.acme = Some(true);
        let asked = [("a.test".to_owned(), "a.test".to_owned())];
        assert_eq!(of(Some(&acme(false)), &[shop, own, inner, never]), asked);
    }

    #[test]
    fn o22_names_that_nobody_vouches_for_are_not_public() {
        for (name, public) in [
            ("shop.jobs.dev", true),
            ("contest.dev", true),
            ("localhost", false),
            ("a.localhost", false),
            ("shop", false),
            ("a.example", false),
            ("box.home.arpa", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(is_public(name), public, "{name}");
        }
    }
}
