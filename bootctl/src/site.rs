//! What the proxy is told of an app: its routes, how its service is used, and what is answered instead.
//!
//! All of it is compared as a whole with what the proxy has, so a proxy that has lost it is told again.
//! None of it is in an instance's job: a change of it restarts nothing.

use std::collections::BTreeMap;

use proxyd_wire::{Maintenance, Redirect, Route, Service, Target};

use crate::name::{AppName, Host};

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
    /// Whether clients that come by http are sent to https.
    pub(crate) force_https: bool,
    /// What holds for all of its routes.
    pub(crate) rules: Route,
    pub(crate) service: Service,
    pub(crate) maintenance: Option<Maintenance>,
    /// How many requests an instance works on at once.
    pub(crate) max_in_flight: Option<u32>,
}

/// How clients reach the proxy, which redirects have to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) is_https: bool,
    /// If it is not the usual one.
    pub(crate) port: Option<u16>,
}

impl Origin {
    fn of(self, host: &Host) -> String {
        let scheme = if self.is_https { "https" } else { "http" };
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{scheme}://{host}{port}")
    }
}

impl Origin {
    /// The same place by https.
    fn secured(self, place: &str) -> String {
        let port = self.port.filter(|_| self.is_https).map(|port| format!(":{port}"));
        let at = place.find('/').unwrap_or(place.len());
        let (host, path) = place.split_at_checked(at).unwrap_or((place, ""));
        format!("https://{host}{}{path}", port.unwrap_or_default())
    }
}

impl Site {
    /// The routes of an app that answers for these hosts.
    pub(crate) fn routes<'a>(
        &self,
        name: &AppName,
        hosts: impl Iterator<Item = &'a Host>,
        origin: Origin,
    ) -> BTreeMap<String, Route> {
        let to_app = Route { service: Some(name.to_string()), ..self.rules.clone() };
        let (strip_prefix, rewrite) = (self.strip_prefix, self.rewrite.clone());
        let mounted = Route { strip_prefix, rewrite, ..to_app.clone() };
        let elsewhere = |status: Option<u16>| Route {
            redirect: Some(Redirect {
                to: origin.of(name.host()),
                status: status.unwrap_or(PERMANENT),
                keep_path: true,
                keep_query: true,
                unless_https: false,
            }),
            ..Route::default()
        };
        let own = hosts.map(|host| (host.to_string(), &to_app));
        let mounts = self.mounts.iter().map(|mount| (mount.clone(), &mounted));
        let served = own.chain(mounts).map(|(place, to)| {
            let secured = self.force_https.then(|| Redirect {
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

    /// An instance at an address.
    pub(crate) fn target(&self, address: String) -> Target {
        Target { max_in_flight: self.max_in_flight, ..Target::at(address) }
    }
}

/// What keeps method and body.
const PERMANENT: u16 = 308;

/// The app that a route of ours is for: the service that it leads to, or the host that it sends to.
pub(crate) fn owner(route: &Route) -> Option<AppName> {
    let text = match (&route.service, &route.redirect) {
        (Some(service), _) => service.as_str(),
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
        let routes = |origin| site.routes(&name(), own.iter(), origin);
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
        assert_eq!(to(Origin { is_https: true, port: Some(8443) }).to, "https://shop.example:8443");
        let site = Site { force_https: true, ..site.clone() };
        let all = site.routes(&name(), own.iter(), Origin::default());
        let to = |place: &str| all[place].redirect.as_ref().map(|redirect| redirect.to.as_str());
        assert_eq!(to("shop.example"), Some("https://shop.example"));
        assert_eq!(to("www.example/shop"), Some("https://www.example/shop"));
        assert!(all["shop.example"].redirect.as_ref().is_some_and(|to| to.unless_https));
        for (origin, count) in
            [(Origin::default(), 3), (Origin { is_https: true, port: Some(1) }, 3)]
        {
            let owners = routes(origin).values().filter_map(owner).collect::<Vec<_>>();
            assert_eq!(owners, vec![name(); count]);
        }
    }
}
