//! What a certificate is known by: the SHA-256 of the whole of it.

use std::fmt;
use std::str::FromStr;

use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;

const BYTES: usize = 32;
const HEAD: &str = "sha256:";

/// A certificate's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint([u8; BYTES]);

impl Fingerprint {
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut bytes = [0; BYTES];
        // Both have the length of the hash.
        bytes.copy_from_slice(digest(&SHA256, certificate).as_ref());
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEAD)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Fingerprint {
    type Err = &'static str;

    /// As it is shown here, or as openssl shows it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "write it as sha256: and 64 hexadecimal digits";
        let lower = text.to_ascii_lowercase();
        let digits = lower.strip_prefix(HEAD).unwrap_or(&lower).replace(':', "");
        let digits: Option<Vec<u32>> = digits.chars().map(|digit| digit.to_digit(16)).collect();
        let bytes = digits.ok_or(wrong)?;
        let pairs = bytes.chunks(2).map(|pair| match pair {
            [high, low] => u8::try_from(high * 16 + low).ok(),
            _ => None,
        });
        let bytes: Option<Vec<u8>> = pairs.collect();
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn z09_a_fingerprint_is_read_as_it_is_shown() {
        let of = Fingerprint::of(&CertificateDer::from(b"abc".to_vec()));
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of.to_string(), text);
        let pairs: Vec<&str> = (7..text.len()).step_by(2).map(|at| &text[at..at + 2]).collect();
        let openssl = pairs.join(":").to_uppercase();
        for written in [text, &text[7..], &openssl, &format!("SHA256:{openssl}")] {
            assert_eq!(written.parse(), Ok(of), "{written}");
        }
        for wrong in ["", "sha256:", &text[..70], &format!("{text}00"), "sha1:ab", "sha256:zz"] {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
        }
    }
}
