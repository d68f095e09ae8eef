//! `[proxy.tls]` of `bootctl.toml`, and `[tls]` of an app's file: who is shown which certificate.
//!
//! What is in the files that are named is not looked at here: they may be written later, and they change.

use std::path::{Path, PathBuf};

use proxyd_wire::{ClientAuth, Hsts, Http2, Tls, TlsVersion};

use super::main_file::parse_listen;
use super::problem::Fault;
use super::reader::{Field, Section};
use super::site_section::millis;
use crate::tls::{AppTls, Files, GENERAL, Listen, ProxyTls};

/// `[proxy.tls]`.
pub(super) fn of_proxy(proxy: &Section<'_>) -> ProxyTls {
    let section = proxy.section("tls");
    let files = files(&section, from_root);
    let answers = section.get("unknown_names", Field::choice).is_some_and(|word| word == "answer");
    if let (true, None, Some(field)) = (answers, &files, section.field("unknown_names")) {
        field.report_key(Fault::Needs("with proxy.tls.certificate, which is what would be shown"));
    }
    let client_ca = section.field("client_ca").and_then(|field| from_root(&field));
    if let (None, Some(field)) = (&client_ca, section.field("client_auth")) {
        field.report_key(Fault::Needs("with proxy.tls.client_ca"));
    }
    let min_version = match section.get("min_version", Field::choice).as_deref() {
        Some("1.3") => TlsVersion::Tls13,
        Some(_) | None => TlsVersion::Tls12,
    };
    let client_auth = match section.get("client_auth", Field::choice).as_deref() {
        Some("optional") => ClientAuth::Optional,
        Some(_) | None => ClientAuth::Required,
    };
    ProxyTls {
        listen: section.get("listen", listen).unwrap_or_default(),
        public_port: section
            .get("public_port", Field::number)
            .and_then(|port| u16::try_from(port).ok()),
        settings: Tls {
            min_version,
            default_certificate: (answers && files.is_some()).then(|| GENERAL.to_owned()),
            client_auth: if client_ca.is_some() { client_auth } else { ClientAuth::default() },
            http2: section.get("http2", Field::bool).unwrap_or(true),
            handshake_ms: section.get("handshake_time", Field::duration).map(millis),
            hsts: hsts(&section.section("hsts")),
            ..Tls::default()
        },
        files,
        client_ca,
    }
}

/// `[proxy.http2]`.
pub(super) fn http2(proxy: &Section<'_>) -> Http2 {
    let section = proxy.section("http2");
    Http2 {
        cleartext: section.get("cleartext", Field::bool).unwrap_or_default(),
        streams: section.get("streams", Field::number),
    }
}

/// `[tls]` of an app whose file is in a folder.
pub(super) fn of_app(section: &Section<'_>, folder: &Path) -> AppTls {
    let files = files(section, |field| Some(folder.join(path(field)?)));
    let acme = section.field("acme").and_then(|field| {
        if field.bool() == Some(true) && files.is_some() {
            field.report_key(Fault::Excludes { other: "tls.certificate" });
        }
        field.bool()
    });
    AppTls { files, acme }
}

/// Whether clients that come by http are sent to https.
pub(super) fn to_https(tls: &Section<'_>, proxy: &Section<'_>) -> Option<bool> {
    let forced = proxy.field("force_https").and_then(|field| field.bool()) == Some(true);
    match tls.field("redirect").map(|field| (field.bool(), field)) {
        Some((Some(false), field)) if forced => {
            field.report_key(Fault::Excludes { other: "proxy.force_https" });
            None
        }
        Some((said, _)) => said,
        None => forced.then_some(true),
    }
}

fn files(section: &Section<'_>, read: impl Fn(&Field<'_>) -> Option<PathBuf>) -> Option<Files> {
    let (certificate, key) = (section.field("certificate"), section.field("key"));
    let advice = "a certificate and its key are named together";
    match (&certificate, &key) {
        (Some(_), None) => drop(section.required("key", advice)),
        (None, Some(_)) => drop(section.required("certificate", advice)),
        (Some(_), Some(_)) | (None, None) => {}
    }
    let (certificate, key) = (certificate.and_then(|f| read(&f)), key.and_then(|f| read(&f)));
    Some(Files { certificate: certificate?, key: key? })
}

fn path(field: &Field<'_>) -> Option<PathBuf> {
    let text = field.string()?;
    if text.is_empty() || text.contains('\0') {
        field.form(&text, "name a file");
        return None;
    }
    Some(text.into())
}

pub(super) fn from_root(field: &Field<'_>) -> Option<PathBuf> {
    let path = path(field)?;
    if !path.is_absolute() {
        field.form(
            &path.to_string_lossy(),
            "write an absolute path, such as \"/etc/ssl/example.pem\"",
        );
        return None;
    }
    Some(path)
}

fn listen(field: &Field<'_>) -> Option<Listen> {
    let text = field.string()?;
    if text == "off" {
        return Some(Listen::Off);
    }
    let address = parse_listen(&text);
    if address.is_none() {
        field.form(&text, "write a numeric address and a port, such as \"[::]:443\", or \"off\"");
    }
    address.map(Listen::At)
}

/// `[proxy.tls.hsts]`, or `[tls.hsts]` of an app.
pub(super) fn hsts(section: &Section<'_>) -> Option<Hsts> {
    const YEAR: u64 = 365 * 24 * 3600;
    let max_age = section.get("max_age", Field::duration).map(|time| time.as_secs());
    let flag = |name| section.get(name, Field::bool).unwrap_or_default();
    let (subdomains, preload) = (flag("subdomains"), flag("preload"));
    let Some(max_age) = max_age else {
        let first = ["subdomains", "preload"].iter().find_map(|name| section.field(name));
        if let (Some(field), None) = (first, section.field("max_age")) {
            field.report_key(Fault::Needs("with max_age beside it"));
        }
        return None;
    };
    if let (true, Some(field)) =
        (preload && (!subdomains || max_age < YEAR), section.field("preload"))
    {
        field.report_key(Fault::Needs("with subdomains = true and a max_age of a year or more"));
    }
    Some(Hsts { max_age, subdomains, preload })
}
