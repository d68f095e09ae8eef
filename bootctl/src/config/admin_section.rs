//! `[admin]` of `bootctl.toml`: the admin API over the network.

use super::main_file::address;
use super::problem::Fault;
use super::reader::{Field, Section};
use crate::gate::Admin;

pub(super) fn read(section: &Section<'_>) -> Admin {
    let (certificate, key) = (section.field("certificate"), section.field("key"));
    for (one, other, name) in [(&certificate, &key, "key"), (&key, &certificate, "certificate")] {
        if let (Some(_), None) = (one, other) {
            section.required(name, "a certificate and its key are named together");
        }
    }
    if let (Some(listenless), None) = (&certificate, section.field("listen")) {
        listenless.report_key(Fault::Needs("with admin.listen"));
    }
    let files = certificate.and_then(|field| file(&field)).zip(key.and_then(|field| file(&field)));
    Admin { listen: section.get("listen", address), certificate: files }
}

fn file(field: &Field<'_>) -> Option<String> {
    let text = field.string()?;
    let good = text.starts_with('/') && !text.contains('\0');
    if !good {
        field.form(&text, "write an absolute path, such as \"/etc/ssl/private/admin.pem\"");
    }
    good.then_some(text)
}
