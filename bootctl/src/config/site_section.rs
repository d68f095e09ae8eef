//! `redirect` and `[proxy]` of an app's file: what the proxy is told of it.
//!
//! What is checked here is what an administrator may get wrong; a rule that only the proxy knows is
//! told when it refuses it.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use proxyd_wire::{
    Balance, BasicAuth, ErrorPage, HashBy, HeaderEdits, Limits, Maintenance, Protocol, RateLimit,
    Route, SameSite, Service, Sticky,
};

use super::app_file::Surroundings;
use super::files_section;
use super::problem::Fault;
use super::reader::{Field, Section};
use super::service_section::{eject, pool, retry};
use super::{text, tls_section};
use crate::name::Host;
use crate::site::Site;

/// All pages of an app together: the proxy takes no more than 64 KiB at once.
const MOST_PAGES: usize = 48 << 10;

/// Reads all of it. Pages are looked for where the file is.
pub(super) fn read(root: &Section<'_>, tls: &Section<'_>, surroundings: &Surroundings<'_>) -> Site {
    let proxy = root.section("proxy");
    Site {
        mounts: proxy.get("mount", mounts).unwrap_or_default(),
        strip_prefix: proxy.get("strip_prefix", Field::bool).unwrap_or_default(),
        rewrite: proxy.get("rewrite", |field| rewrite(field, &proxy)),
        redirects: root.get("redirect", Field::hosts).unwrap_or_default(),
        redirect_status: proxy.get("redirect_status", redirect_status),
        to_https: tls_section::to_https(tls, &proxy),
        rules: Route {
            hsts: tls_section::hsts(&tls.section("hsts")),
            ..rules(&proxy, surroundings)
        },
        service: service(&proxy),
        maintenance: maintenance(&proxy.section("maintenance"), surroundings),
        max_in_flight: proxy.get("max_in_flight", Field::number),
        folders: files_section::read(root, surroundings.folder),
        fallback: proxy.get("fallback", |field| shown_instead(field, root)),
        not_found: proxy.get("not_found", |field| shown_instead(field, root)),
    }
}

fn mounts(field: &Field<'_>) -> Option<Vec<String>> {
    let mut mounts = Vec::new();
    for (index, text) in field.strings()?.iter().enumerate() {
        let Some(mount) = mount(text) else {
            let instead = "write a host and the beginning of a path, such as shop.example/api";
            field.report_element(index, Fault::Form { value: text.clone(), instead });
            continue;
        };
        mounts.push(mount);
    }
    Some(mounts)
}

/// In the one spelling that the proxy has, too.
fn mount(text: &str) -> Option<String> {
    let (host, path) = text.split_once('/')?;
    let host = Host::parse(host).ok()?;
    let path = path.strip_suffix('/').unwrap_or(path);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let good = |step: &str| !matches!(step, "" | "." | "..") && step.bytes().all(plain);
    path.split('/').all(good).then(|| format!("{host}/{path}"))
}

fn rewrite(field: &Field<'_>, proxy: &Section<'_>) -> Option<String> {
    let path = field.string()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    if !path.starts_with('/') || !path.bytes().all(plain) {
        field.form(&path, "write the beginning of a path, such as /v2");
    }
    if proxy.get("strip_prefix", Field::bool) == Some(true) {
        field.report_key(Fault::Excludes { other: "proxy.strip_prefix" });
    }
    Some(path)
}

fn shown_instead(field: &Field<'_>, root: &Section<'_>) -> Option<String> {
    if root.field("files").is_none() {
        field.report_key(Fault::Needs("with `[files]`"));
    }
    let path = field.string()?;
    let rest = path.strip_prefix('/').unwrap_or_default();
    if rest.is_empty()
        || path.contains('\0')
        || rest.split('/').any(|s| matches!(s, "" | "." | ".."))
    {
        field.form(&path, "write a path below the folder, such as /index.html");
    }
    Some(path)
}

fn redirect_status(field: &Field<'_>) -> Option<u16> {
    let status = u16::try_from(field.number()?).ok()?;
    if matches!(status, 304..=306) {
        field.form(&status.to_string(), "use 301, 302, 303, 307 or 308");
    }
    Some(status)
}

fn rules(proxy: &Section<'_>, surroundings: &Surroundings<'_>) -> Route {
    Route {
        limits: limits(&proxy.section("limits")),
        request_headers: headers(&proxy.section("request_headers")),
        response_headers: headers(&proxy.section("response_headers")),
        basic_auth: basic_auth(&proxy.section("basic_auth")),
        allow: proxy.get("allow", Field::networks).unwrap_or_default(),
        deny: proxy.get("deny", Field::networks).unwrap_or_default(),
        rate_limit: rate_limit(&proxy.section("rate_limit")),
        error_pages: error_pages(proxy, surroundings),
        compress: proxy.get("compress", Field::bool).unwrap_or_default(),
        compress_types: proxy
            .get("compress_types", |field| types(field, proxy))
            .unwrap_or_default(),
        ..Route::default()
    }
}

fn types(field: &Field<'_>, proxy: &Section<'_>) -> Option<Vec<String>> {
    let types = field.strings()?;
    if !types.is_empty() && proxy.get("compress", Field::bool) != Some(true) {
        field.report_key(Fault::Needs("with `compress = true`"));
    }
    for (index, text) in types.iter().enumerate() {
        let good = text.split_once('/').is_some_and(|(kind, sort)| {
            is_token(kind)
                && !kind.contains('*')
                && (sort == "*" || (is_token(sort) && !sort.contains('*')))
        });
        if !good {
            let instead =
                "write a type of content such as application/json, or text/* for all of a kind";
            field.report_element(index, Fault::Form { value: text.clone(), instead });
        }
    }
    Some(types)
}

/// What the proxy is told where the file says something.
pub(super) fn limits(section: &Section<'_>) -> Option<Limits> {
    let limits = Limits {
        body_bytes: section.get("body", Field::size),
        answer_ms: section.get("answer", Field::duration).map(millis),
        body_rate: section.get("rate", Field::size),
        stream_idle_ms: section.get("stream_idle", Field::duration).map(millis),
    };
    (limits != Limits::default()).then_some(limits)
}

fn headers(section: &Section<'_>) -> HeaderEdits {
    let fields = |name| {
        let table = section.section(name);
        let fields = table.fields();
        fields.filter_map(|field| header(&field)).collect::<BTreeMap<_, _>>()
    };
    HeaderEdits {
        remove: section.get("remove", header_names).unwrap_or_default(),
        set: fields("set"),
        add: fields("add"),
    }
}

fn header(field: &Field<'_>) -> Option<(String, String)> {
    if !is_token(field.name()) {
        let (value, instead) = (field.name().to_owned(), NO_NAME);
        field.report_key(Fault::Form { value, instead });
    }
    let value = field.string()?;
    if value.trim() != value || value.chars().any(char::is_control) {
        field.form(&value, "write it without control characters and without spaces at its ends");
    }
    Some((field.name().to_owned(), value))
}

const NO_NAME: &str = "a field's name is letters, digits and hyphens";

fn header_names(field: &Field<'_>) -> Option<Vec<String>> {
    let names = field.strings()?;
    for (index, name) in names.iter().enumerate().filter(|(_, name)| !is_token(name)) {
        field.report_element(index, Fault::Form { value: name.clone(), instead: NO_NAME });
    }
    Some(names)
}

fn is_token(name: &str) -> bool {
    http::HeaderName::from_bytes(name.as_bytes()).is_ok()
}

fn basic_auth(section: &Section<'_>) -> Option<BasicAuth> {
    let users = section.section("users");
    let users: BTreeMap<_, _> = users.fields().filter_map(|field| user(&field)).collect();
    if section.is_there() && users.is_empty() {
        section.required(
            "users",
            "name at least one, with what `proxyd hash-password` says of the password",
        );
    }
    let auth = BasicAuth {
        realm: section.get("realm", Field::string).unwrap_or_default(),
        users,
        remove_authorization: section.get("remove_authorization", Field::bool).unwrap_or_default(),
    };
    section.is_there().then_some(auth)
}

/// A password in plain words in this place would be a secret that opens nothing.
fn user(field: &Field<'_>) -> Option<(String, String)> {
    let hash = field.string()?;
    let mut parts = hash.split('$').skip(1);
    let version = parts.next().is_some_and(|version| matches!(version, "2a" | "2b" | "2x" | "2y"));
    let cost = parts.next().and_then(|cost| cost.parse::<u32>().ok());
    let good = version
        && cost.is_some_and(|cost| (4..=14).contains(&cost))
        && parts.next().is_some_and(|rest| rest.len() == 53);
    if !good {
        field.form("…", "write what `proxyd hash-password` says of the password");
    }
    Some((field.name().to_owned(), hash))
}

fn rate_limit(section: &Section<'_>) -> Option<RateLimit> {
    if !section.is_there() {
        return None;
    }
    let requests = section.required("requests", "say how many, such as requests = 20");
    Some(RateLimit {
        requests: requests.and_then(|field| field.number()).unwrap_or(1),
        per_s: section.get("per", Field::duration).map_or(1, seconds),
        burst: section.get("burst", Field::number),
        key: section.get("key", counted_by).unwrap_or_default(),
    })
}

fn counted_by(field: &Field<'_>) -> Option<String> {
    let text = field.string()?;
    let good = text == "client" || text.strip_prefix("header ").is_some_and(is_token);
    if !good {
        field.form(&text, "write client, or header and a field's name: \"header X-Api-Key\"");
    }
    Some(text)
}

fn error_pages(
    proxy: &Section<'_>,
    surroundings: &Surroundings<'_>,
) -> BTreeMap<String, ErrorPage> {
    let section = proxy.section("error_pages");
    let of_target = proxy.get("replace_errors", Field::bool) == Some(true);
    let mut pages = BTreeMap::new();
    let mut room = MOST_PAGES;
    for field in section.fields() {
        let name = field.name();
        let status = name.parse().is_ok_and(|status: u16| (400..600).contains(&status));
        if !status && name != "4xx" && name != "5xx" {
            let instead = "use a status from 400 to 599, or 4xx or 5xx";
            field.report_key(Fault::Form { value: name.to_owned(), instead });
            continue;
        }
        let Some(html) = page(&field, surroundings) else { continue };
        match room.checked_sub(html.len()) {
            Some(left) => room = left,
            None => field.report(Fault::Pages),
        }
        pages.insert(
            name.to_owned(),
            ErrorPage { html: Some(html), of_target, ..ErrorPage::default() },
        );
    }
    pages
}

/// The text of the file that a key names.
fn page(field: &Field<'_>, surroundings: &Surroundings<'_>) -> Option<String> {
    surroundings.beside.borrow_mut().pages = true;
    let path = surroundings.folder.join(field.string()?);
    match fs::metadata(&path).and_then(|about| {
        let fits = about.len() <= MOST_PAGES as u64;
        if fits { text::read(&path).map(Some) } else { Ok(None) }
    }) {
        Ok(Some(text)) => return Some(text),
        Ok(None) => field.report(Fault::Pages),
        Err(error) => field.report(Fault::Page { path, why: error.kind() }),
    }
    None
}

fn maintenance(section: &Section<'_>, surroundings: &Surroundings<'_>) -> Option<Maintenance> {
    let on = section.get("on", Field::bool).unwrap_or_default();
    let default = Maintenance::default();
    let answer = Maintenance {
        status: section
            .get("status", Field::number)
            .and_then(|status| u16::try_from(status).ok())
            .unwrap_or(default.status),
        body: section.get("page", |field| page(field, surroundings)).unwrap_or_default(),
        retry_after_s: section.get("retry_after", Field::duration).map(seconds),
        allow: section.get("allow", Field::networks).unwrap_or_default(),
        ..default
    };
    on.then_some(answer)
}

fn service(proxy: &Section<'_>) -> Service {
    Service {
        balance: proxy.get("balance", balance).unwrap_or_default(),
        sticky: sticky(&proxy.section("sticky")),
        retry: retry(&proxy.section("retry")),
        eject: eject(&proxy.section("eject")),
        pool: pool(&proxy.section("pool")),
        protocol: match proxy.get("protocol", Field::choice).as_deref() {
            Some("h2c") => Protocol::H2c,
            Some(_) | None => Protocol::Http1,
        },
        queue: proxy.get("queue", Field::number).unwrap_or_default(),
        queue_ms: proxy
            .get("queue_time", Field::duration)
            .and_then(|time| u32::try_from(time.as_millis()).ok()),
        ..Service::default()
    }
}

fn balance(field: &Field<'_>) -> Option<Balance> {
    let text = field.string()?;
    let by = |prefix| text.strip_prefix(prefix).filter(|name| is_token(name)).map(str::to_owned);
    let balance = match text.as_str() {
        "least-loaded" => Some(Balance::LeastLoaded),
        "round-robin" => Some(Balance::RoundRobin),
        "client" => Some(Balance::Hash(HashBy::Client)),
        "path" => Some(Balance::Hash(HashBy::Path)),
        _ => by("header ")
            .map(|name| Balance::Hash(HashBy::Header(name)))
            .or_else(|| by("cookie ").map(|name| Balance::Hash(HashBy::Cookie(name)))),
    };
    if balance.is_none() {
        let instead = "use least-loaded or round-robin; or client, path, \"header NAME\" or \
                       \"cookie NAME\", which bring the same to the same instance";
        field.form(&text, instead);
    }
    balance
}

fn sticky(section: &Section<'_>) -> Option<Sticky> {
    if !section.is_there() {
        return None;
    }
    let cookie = section.required("cookie", "name it, such as cookie = \"instance\"");
    let cookie = cookie.and_then(|field| {
        let name = field.string()?;
        if !is_token(&name) {
            field.form(&name, "a cookie's name is letters, digits and hyphens");
        }
        Some(name)
    });
    let same_site = match section.get("same_site", Field::choice).as_deref() {
        Some("strict") => SameSite::Strict,
        Some("none") => SameSite::None,
        Some(_) | None => SameSite::Lax,
    };
    let secure = section.get("secure", Field::bool).unwrap_or_default();
    if same_site == SameSite::None
        && !secure
        && let Some(field) = section.field("same_site")
    {
        field.form("none", "browsers take that only with secure = true");
    }
    Some(Sticky {
        cookie: cookie.unwrap_or_default(),
        max_age_s: section.get("max_age", Field::duration).map(seconds),
        path: section.get("path", cookie_path).unwrap_or_default(),
        same_site,
        secure,
        http_only: true,
    })
}

fn cookie_path(field: &Field<'_>) -> Option<String> {
    let path = field.string()?;
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b';';
    if !path.starts_with('/') || !path.bytes().all(plain) {
        field.form(&path, "write a path, such as /cart");
    }
    Some(path)
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_have_one_spelling() {
        assert_eq!(mount("a.b/x/y/").as_deref(), Some("a.b/x/y"));
        assert_eq!(mount("a/x").as_deref(), Some("a/x"));
        for bad in ["a", "a/", "/x", "A/x", "a//x", "a/x/../y", "a/%41", "a/x?y", "a/ä"] {
            assert_eq!(mount(bad), None, "{bad}");
        }
    }
}
