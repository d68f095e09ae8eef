//! `[acme]` of `bootctl.toml`: certificates that are obtained.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use proxyd_wire::{AcmeAuthority, AcmeBinding, AcmeChallenge};

use super::problem::Fault;
use super::reader::{Field, Section};
use super::tls_section::from_root;
use crate::tls::{Acme, DnsHook};

const KNOWN: [(&str, &str); 3] = [
    ("letsencrypt", "https://acme-v02.api.letsencrypt.org/directory"),
    ("letsencrypt-staging", "https://acme-staging-v02.api.letsencrypt.org/directory"),
    ("zerossl", "https://acme.zerossl.com/v2/DV90"),
];

/// How long the command for records may take.
const HOOK_TIME: Duration = Duration::from_mins(5);

/// `None`: nothing is obtained.
pub(super) fn read(section: &Section<'_>) -> Option<Acme> {
    let in_authority = section.section("authority");
    let described = in_authority.fields().map(|field| {
        let name = field.name().to_owned();
        let authority = authority(&name, Some(&in_authority.section(&name)));
        (name, authority)
    });
    let described: Described = described.collect();
    let hook = hook(&section.section("dns"));
    let authorities = section.get("ca", |field| authorities(field, &described)).unwrap_or_default();
    let challenges = section.get("challenges", challenges).unwrap_or_default();
    if let (true, None, Some(field)) =
        (challenges.contains(&AcmeChallenge::Dns01), &hook, section.field("challenges"))
    {
        field.report_key(Fault::Needs(
            "with acme.dns.exec, which is what places records for dns-01",
        ));
    }
    section.is_there().then(|| Acme {
        email: section.get("email", email),
        authorities,
        is_for_all: section.get("all", Field::bool).unwrap_or(true),
        challenges,
        preflight: section.get("preflight", Field::bool).unwrap_or(true),
        hook,
    })
}

/// What `[acme.authority.NAME]` says, by name; `None` where it is wrong.
type Described = BTreeMap<String, Option<AcmeAuthority>>;

fn email(field: &Field<'_>) -> Option<String> {
    let text = field.string()?;
    let good =
        text.split_once('@').is_some_and(|(who, host)| !who.is_empty() && host.contains('.'));
    if !good || text.contains(|c: char| c.is_whitespace() || c.is_control() || c == ':') {
        field.form(&text, "write an address such as ops@shop.example");
    }
    Some(text)
}

fn authorities(field: &Field<'_>, described: &Described) -> Option<Vec<AcmeAuthority>> {
    let mut all = Vec::new();
    for (index, name) in field.strings()?.iter().enumerate() {
        match (described.get(name), authority(name, None)) {
            (Some(described), _) => all.extend(described.clone()),
            (None, Some(known)) => all.push(known),
            (None, None) => {
                let instead = "write letsencrypt, letsencrypt-staging, zerossl, a NAME of \
                               [acme.authority.NAME], or an address that begins with https://";
                field.report_element(index, Fault::Form { value: name.clone(), instead });
            }
        }
    }
    Some(all)
}

/// The authority of a name, with what is said of it.
fn authority(name: &str, section: Option<&Section<'_>>) -> Option<AcmeAuthority> {
    let usual = KNOWN.iter().find(|(known, _)| *known == name).map(|(_, address)| *address);
    let usual = usual.or_else(|| name.starts_with("https://").then_some(name));
    let Some(section) = section else {
        return usual
            .map(|usual| AcmeAuthority { directory: usual.to_owned(), ..Default::default() });
    };
    let said = section.field("directory").and_then(|field| address(&field));
    let directory = said.or_else(|| usual.map(str::to_owned));
    if directory.is_none() && section.field("directory").is_none() {
        section.required("directory", "write the address of its directory");
    }
    let path = |name| section.field(name).and_then(|field| from_root(&field));
    let key_id = section.get("eab_key_id", Field::string);
    let key_file: Option<PathBuf> = path("eab_key_file");
    for (one, other) in [("eab_key_id", "eab_key_file"), ("eab_key_file", "eab_key_id")] {
        if section.field(one).is_some() && section.field(other).is_none() {
            section.required(other, "the two are named together");
        }
    }
    let eab = key_id.zip(key_file);
    Some(AcmeAuthority {
        directory: directory?,
        root_file: path("root"),
        eab: eab.map(|(key_id, key_file)| AcmeBinding { key_id, key_file }),
        profile: section.get("profile", Field::string),
    })
}

fn address(field: &Field<'_>) -> Option<String> {
    let text = field.string()?;
    let good = text.strip_prefix("https://").is_some_and(|rest| !rest.is_empty());
    if !good || text.contains(char::is_whitespace) {
        field.form(&text, "write an address that begins with https://");
    }
    Some(text)
}

fn challenges(field: &Field<'_>) -> Option<Vec<AcmeChallenge>> {
    let mut kinds = Vec::new();
    for (index, text) in field.strings()?.iter().enumerate() {
        match text.as_str() {
            "http-01" => kinds.push(AcmeChallenge::Http01),
            "tls-alpn-01" => kinds.push(AcmeChallenge::TlsAlpn01),
            "dns-01" => kinds.push(AcmeChallenge::Dns01),
            _ => {
                let instead = "use http-01, tls-alpn-01 or dns-01";
                field.report_element(index, Fault::Form { value: text.clone(), instead });
            }
        }
    }
    Some(kinds)
}

fn hook(section: &Section<'_>) -> Option<DnsHook> {
    if !section.is_there() {
        return None;
    }
    let exec = section.required("exec", "name the program that places records");
    Some(DnsHook {
        exec: exec.and_then(|field| field.string()).unwrap_or_default(),
        args: section.get("args", Field::strings).unwrap_or_default(),
        user: section.get("user", Field::account),
        timeout: section.get("timeout", Field::duration).unwrap_or(HOOK_TIME),
    })
}
