//! What the proxy is told of an app: its routes, how its service is used, and what is answered instead.
//!
//! All of it is compared as a whole with what the proxy has, so a proxy that has lost it is told again.
//! None of it is in an instance's job: a change of it restarts nothing.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use proxyd_wire::{Files, HeaderEdits, Maintenance, Redirect, Route, Service, Target};

use crate::name::{AppName, Host, WILD};
use crate::tls::{Coverage, PORT};

/// Of one app.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Site {
    /// Further places that lead to it: a host and the beginning of a path, `shop.example/api`.
    pub(crate) mounts: Vec<String>,
    /// Whether it is asked without the beginning of the path that a mount has.
    pub(crate) strip_prefix: bool,
    /// What it is asked for instead.
    pub(crate) rewrite: Option<String>,
    /// Hosts whose clients are sent to the app's own.
    pub(crate) redirects: Vec<Host>,
    /// With which status, if not the usual one.
    pub(crate) redirect_status: Option<u16>,
    /// Whether clients that come by http are sent to https; without a word, where there is a certificate.
    pub(crate) to_https: Option<bool>,
    /// What holds for all of its routes.
    pub(crate) rules: Route,
    pub(crate) service: Service,
    pub(crate) maintenance: Option<Maintenance>,
    /// How many requests an instance works on at once.
    pub(crate) max_in_flight: Option<u32>,
    /// What the proxy serves by itself, by the beginning of the path.
    pub(crate) folders: BTreeMap<String, Folder>,
    /// What is shown in place of a file that is not there, with 200 or with 404.
    pub(crate) fallback: Option<String>,
    pub(crate) not_found: Option<String>,
}

/// A folder whose files the proxy serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Folder {
    /// Where it is when the app runs from no release.
    pub(crate) path: PathBuf,
    /// Where it is in a release, if it is in each.
    pub(crate) within: Option<PathBuf>,
}

impl Folder {
    /// None where nothing is to be shown yet: the whole of a release is what `.` means, and not the folder of all
    /// apps' files.
    fn of(&self, release: Option<&Path>) -> Option<PathBuf> {
        match (release, &self.within) {
            (Some(release), Some(within)) => Some(release.join(within).components().collect()),
            (None, Some(within)) if within.components().all(|step| step == Component::CurDir) => {
                None
            }
            (Some(_) | None, _) => Some(self.path.clone()),
        }
    }
}

/// Whether an app's files are shown, and those of which release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown<'a> {
    Not,
    /// Those where the app's file is.
    Own,
    Release(&'a Path),
}

/// How clients reach the proxy, which redirects have to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Somebody in front of it speaks TLS.
    pub(crate) is_https: bool,
    /// If it is not the usual one.
    pub(crate) port: Option<u16>,
    /// Where it speaks TLS itself.
    pub(crate) tls_port: Option<u16>,
}

impl Origin {
    /// As a host is reached without more being known.
    fn of(self, host: &Host) -> String {
        let scheme = if self.is_https { "https" } else { "http" };
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{scheme}://{host}{port}")
    }

    /// A host and the beginning of a path, by https.
    fn secured(self, place: &str) -> String {
        let own = self.tls_port.filter(|port| *port != PORT);
        let port = if self.is_https { self.port } else { own };
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let at = place.find('/').unwrap_or(place.len());
        let (host, path) = place.split_at_checked(at).unwrap_or((place, ""));
        // The one of them that was asked.
        let host = if host.starts_with(WILD) { "*" } else { host };
        format!("https://{host}{port}{path}")
    }
}

impl Site {
    /// The routes of an app that answers for these hosts.
    pub(crate) fn routes<'a>(
        &self,
        name: &AppName,
        hosts: impl Iterator<Item = &'a Host>,
        origin: Origin,
        coverage: &Coverage,
        shown: Shown<'_>,
    ) -> BTreeMap<String, Route> {
        let is_secured = |place: &str| {
            let host = place.split_once('/').map_or(place, |(host, _)| host);
            let by_itself = origin.tls_port.is_some() && coverage.has(host);
            self.to_https.unwrap_or(by_itself)
        };
        let to_app = Route { service: Some(name.to_string()), ..self.rules.clone() };
        let (strip_prefix, rewrite) = (self.strip_prefix, self.rewrite.clone());
        let mounted = Route { strip_prefix, rewrite, ..to_app.clone() };
        let elsewhere = |status: Option<u16>| Route {
            redirect: Some(Redirect {
                to: if is_secured(name.as_str()) {
                    origin.secured(name.as_str())
                } else {
                    origin.of(name.host())
                },
                status: status.unwrap_or(PERMANENT),
                keep_path: true,
                keep_query: true,
                unless_https: false,
            }),
            ..Route::default()
        };
        let own = hosts.map(|host| (host.to_string(), &to_app));
        let mounts = self.mounts.iter().map(|mount| (mount.clone(), &mounted));
        let places: Vec<_> = own.chain(mounts).collect();
        // Behind them, so that files of all paths are in their place.
        let files = places.iter().flat_map(|(place, to)| self.files(name, (place, to), shown));
        let files: Vec<_> = files.collect();
        let files = files.iter().map(|(place, to)| (place.clone(), to));
        let served = places.iter().cloned().chain(files).map(|(place, to)| {
            let secured = is_secured(&place).then(|| Redirect {
                to: origin.secured(&place),
                status: PERMANENT,
                keep_path: true,
                keep_query: true,
                unless_https: true,
            });
            (place, Route { redirect: secured, ..to.clone() })
        });
        let moved = self.redirects.iter();
        let moved = moved.map(|host| (host.to_string(), elsewhere(self.redirect_status)));
        served.chain(moved).collect()
    }

    /// The routes to files below a place, from which `to` leads. What is not shown is the service's to answer: it says
    /// that it is stopped, or under maintenance.
    fn files(
        &self,
        name: &AppName,
        (place, to): (&str, &Route),
        shown: Shown<'_>,
    ) -> Vec<(String, Route)> {
        let route = |prefix: &String| {
            let Some(folder) = self.folder_at(prefix, shown) else {
                return (place_of(place, prefix), to.clone());
            };
            let files = Files {
                fallback: self.fallback.clone(),
                not_found: self.not_found.clone(),
                ..Files::of(folder.to_string_lossy())
            };
            let to = Route {
                files: Some(files),
                owner: Some(name.to_string()),
                // That is about what a program is asked.
                request_headers: HeaderEdits::default(),
                ..self.rules.clone()
            };
            (place_of(place, prefix), to)
        };
        self.folders.keys().map(route).collect()
    }

    /// The folder that is shown for a beginning of the path, if one is.
    pub(crate) fn folder_at(&self, prefix: &str, shown: Shown<'_>) -> Option<PathBuf> {
        let folder = self.folders.get(prefix).filter(|_| self.maintenance.is_none())?;
        match shown {
            Shown::Not => None,
            Shown::Own => folder.of(None),
            Shown::Release(path) => folder.of(Some(path)),
        }
    }

    /// An instance at an address.
    pub(crate) fn target(&self, address: String) -> Target {
        Target { max_in_flight: self.max_in_flight, ..Target::at(address) }
    }
}

/// Where the files of a beginning of the path are, at a host or below a mount.
pub(crate) fn place_of(place: &str, prefix: &str) -> String {
    format!("{place}{}", prefix.trim_end_matches('/'))
}

/// What keeps method and body.
const PERMANENT: u16 = 308;

/// The app that a route of ours is for: the one that it names, the service that it leads to, or the host that it sends to.
pub(crate) fn owner(route: &Route) -> Option<AppName> {
    let named = route.owner.as_ref().or(route.service.as_ref());
    let text = match (named, &route.redirect) {
        (Some(name), _) => name.as_str(),
        (None, Some(redirect)) => {
            let (_, rest) = redirect.to.split_once("://")?;
            rest.split_once(':').map_or(rest, |(host, _)| host)
        }
        (None, None) => return None,
    };
    AppName::parse(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> AppName {
        AppName::parse("shop.example").expect("a name")
    }

    #[test]
    fn o17_an_app_has_routes_of_three_kinds() {
        let host = |text| Host::parse(text).expect("a host");
        let rules = Route { allow: vec!["10.0.0.0/8".into()], ..Route::default() };
        let site = Site {
            mounts: vec!["www.example/shop".into()],
            strip_prefix: true,
            redirects: vec![host("old.example")],
            rules,
            ..Site::default()
        };
        let own = [host("shop.example")];
        let nobody = Coverage::default();
        let routes = |origin| site.routes(&name(), own.iter(), origin, &nobody, Shown::Own);
        let all = routes(Origin::default());
        assert_eq!(
            all.keys().collect::<Vec<_>>(),
            ["old.example", "shop.example", "www.example/shop"]
        );
        assert!(!all["shop.example"].strip_prefix && all["www.example/shop"].strip_prefix);
        assert_eq!(all["shop.example"].allow.len(), 1);
        let to = |origin| routes(origin)["old.example"].redirect.clone().expect("it is one");
        assert_eq!(
            (to(Origin::default()).to.as_str(), to(Origin::default()).status),
            ("http://shop.example", 308)
        );
        let in_front = Origin { is_https: true, port: Some(8443), tls_port: None };
        assert_eq!(to(in_front).to, "https://shop.example:8443");
        let site = Site { to_https: Some(true), ..site.clone() };
        let all = site.routes(&name(), own.iter(), Origin::default(), &nobody, Shown::Own);
        let to = |place: &str| all[place].redirect.as_ref().map(|redirect| redirect.to.as_str());
        assert_eq!(to("shop.example"), Some("https://shop.example"));
        assert_eq!(to("www.example/shop"), Some("https://www.example/shop"));
        assert!(all["shop.example"].redirect.as_ref().is_some_and(|to| to.unless_https));
        for (origin, count) in
            [(Origin::default(), 3), (Origin { is_https: true, port: Some(1), tls_port: None }, 3)]
        {
            let owners = routes(origin).values().filter_map(owner).collect::<Vec<_>>();
            assert_eq!(owners, vec![name(); count]);
        }
    }
    #[test]
    fn o17_where_there_is_a_certificate_http_leads_to_https() {
        let host = |text| Host::parse(text).expect("a host");
        let hosts = [host("shop.example"), host("www.shop.example")];
        let coverage = Coverage::of(["shop.example"].iter());
        let origin = |tls_port| Origin { tls_port, port: Some(8080), is_https: false };
        let to = |to_https, tls_port| {
            let redirects = vec![host("old.example")];
            let site = Site { redirects, to_https, ..Site::default() };
            let all = site.routes(&name(), hosts.iter(), origin(tls_port), &coverage, Shown::Own);
            ["shop.example", "www.shop.example", "old.example"]
                .map(|place| all[place].redirect.as_ref().map(|redirect| redirect.to.clone()))
        };
        let text = |text: &str| Some(text.to_owned());
        let (plain, secured) = (text("http://shop.example:8080"), text("https://shop.example"));
        assert_eq!(to(None, None), [None, None, plain.clone()], "it speaks no TLS");
        assert_eq!(to(None, Some(443)), [secured.clone(), None, secured.clone()]);
        let odd = text("https://shop.example:8443");
        assert_eq!(to(None, Some(8443)), [odd.clone(), None, odd]);
        assert_eq!(to(Some(false), Some(443)), [None, None, plain]);
        let www = text("https://www.shop.example");
        assert_eq!(to(Some(true), Some(443)), [secured.clone(), www, secured]);
        let wild = Host::parse_many("*.shop.example").expect("hosts");
        let (site, covered) = (Site::default(), Coverage::of(["*.shop.example"].iter()));
        let (hosts, origin) = ([wild], origin(Some(8443)));
        let all = site.routes(&name(), hosts.iter(), origin, &covered, Shown::Own);
        let redirect = all["*.shop.example"].redirect.as_ref().expect("there is a certificate");
        assert_eq!(redirect.to, "https://*:8443", "who asked for one of them stays there");
    }

    #[test]
    fn files_have_routes_of_their_own_unless_nothing_is_shown() {
        let folder = |path: &str, within: Option<&str>| Folder {
            path: path.into(),
            within: within.map(PathBuf::from),
        };
        let folders = [
            ("/".to_owned(), folder("/conf/public", Some("public"))),
            ("/docs".to_owned(), folder("/srv/docs", None)),
        ];
        let rules = Route { compress: true, ..Route::default() };
        let site = Site {
            folders: folders.into(),
            fallback: Some("/index.html".into()),
            to_https: Some(true),
            rules,
            ..Site::default()
        };
        let own = [Host::parse("shop.example").expect("a host")];
        let nobody = Coverage::default();
        let routes = |site: &Site, shown| {
            site.routes(&name(), own.iter(), Origin::default(), &nobody, shown)
        };
        let folder_of = |all: &BTreeMap<String, Route>, place: &str| {
            let files = all[place].files.clone().expect("files");
            assert_eq!(files.fallback.as_deref(), Some("/index.html"));
            files.folder
        };
        let all = routes(&site, Shown::Own);
        assert_eq!(all.keys().collect::<Vec<_>>(), ["shop.example", "shop.example/docs"]);
        assert_eq!(folder_of(&all, "shop.example"), "/conf/public");
        assert!(all.values().all(|route| {
            route.compress
                && route.service.is_none()
                && owner(route) == Some(name())
                && route.redirect.as_ref().is_some_and(|to| to.unless_https)
        }));
        let released = routes(&site, Shown::Release(Path::new("/r/3")));
        assert_eq!(folder_of(&released, "shop.example"), "/r/3/public");
        assert_eq!(folder_of(&released, "shop.example/docs"), "/srv/docs");
        let whole = [("/".to_owned(), folder("/conf", Some("./")))];
        let whole = Site { folders: whole.into(), ..site.clone() };
        assert_eq!(routes(&whole, Shown::Own)["shop.example"].files, None, "not all apps' files");
        assert_eq!(
            folder_of(&routes(&whole, Shown::Release(Path::new("/r/3"))), "shop.example"),
            "/r/3"
        );
        for all in [
            routes(&site, Shown::Not),
            routes(&Site { maintenance: Some(Maintenance::default()), ..site.clone() }, Shown::Own),
        ] {
            assert_eq!(all.keys().collect::<Vec<_>>(), ["shop.example", "shop.example/docs"]);
            let to_app = |route: &Route| route.service.as_deref() == Some("shop.example");
            assert!(all.values().all(to_app), "nobody is shown what is stopped");
        }
    }
}
