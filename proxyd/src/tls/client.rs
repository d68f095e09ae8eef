//! What a target is told of the certificate that a client has shown: X-Forwarded-Client-Cert, as
//! Envoy writes it. It has been verified by then; who vouches for it is the administrator's choice.

use std::fmt::Write as _;

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificate::fingerprint;

/// The name of the field.
pub(crate) const FIELD: &str = "X-Forwarded-Client-Cert";

/// The whole line.
pub(super) fn line(certificate: &CertificateDer<'_>) -> Vec<u8> {
    let mut text = format!("{FIELD}: Hash={}", fingerprint(certificate));
    // One that was verified can be read; else its hash says who it is.
    if let Ok((_, parsed)) = X509Certificate::from_der(certificate) {
        push(&mut text, "Subject", &parsed.subject().to_string());
        let names = parsed.subject_alternative_name().ok().flatten();
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::URI(uri) => push(&mut text, "URI", uri),
                GeneralName::DNSName(name) => push(&mut text, "DNS", name),
                _ => {}
            }
        }
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// Quoted, so that nothing in a name ends it.
fn push(text: &mut String, key: &str, value: &str) {
    // Formatting into a string does not fail.
    let _ = write!(text, ";{key}=\"");
    for character in value.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            ' '..='~' => text.push(character),
            _ => text.push('?'),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_ends_the_field() {
        let mut text = String::new();
        push(&mut text, "Subject", "CN=a\"; Hash=0\\, O=x\r\nEvil: 1, L=\u{e4}");
        assert_eq!(text, ";Subject=\"CN=a\\\"; Hash=0\\\\, O=x??Evil: 1, L=?\"");
    }
}
