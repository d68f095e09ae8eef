//! What a service under maintenance answers, and to whom.

use std::net::IpAddr;

use proxyd_wire as wire;

use crate::access_log::push_number;
use crate::network::Networks;
use crate::refusal::{OwnAnswer, reason};
use crate::settings::{BadSetting, in_range, is_field_value};

/// An answer that is given instead of the targets'.
#[derive(Debug)]
pub(crate) struct Maintenance {
    /// As it was put.
    pub(crate) wire: wire::Maintenance,
    allowed: Networks,
}

impl Maintenance {
    pub(crate) fn new(wire: wire::Maintenance) -> Result<Maintenance, BadSetting> {
        in_range("status", u64::from(wire.status), 400..=599)?;
        in_range("retry_after_s", wire.retry_after_s.map_or(0, u64::from), 0..=31_536_000)?;
        in_range("the length of allow", wire.allow.len() as u64, 0..=1000)?;
        if !is_field_value(&wire.content_type) {
            return Err(BadSetting::Text { field: "content_type", text: wire.content_type });
        }
        let allowed = Networks::parse(&wire.allow).map_err(BadSetting::Allow)?;
        Ok(Maintenance { wire, allowed })
    }

    /// Whether a client is let through.
    pub(crate) fn allows(&self, client: IpAddr) -> bool {
        self.allowed.contain(client)
    }

    /// Writes the whole answer; returns how long its body is.
    pub(crate) fn write(&self, to_head: bool, connection: &[u8], out: &mut Vec<u8>) -> u64 {
        let wire::Maintenance { status, body, content_type, retry_after_s, .. } = &self.wire;
        let own;
        let (body, content_type): (&str, &str) = if body.is_empty() {
            let reason = reason(*status);
            own = format!("{status} {reason}: this site is under maintenance, try again later.\n");
            (&own, "text/plain; charset=utf-8")
        } else {
            (body, content_type)
        };
        let fields = |out: &mut Vec<u8>| {
            out.extend_from_slice(b"Cache-Control: no-store\r\n");
            if let Some(seconds) = retry_after_s {
                out.extend_from_slice(b"Retry-After: ");
                push_number(out, u64::from(*seconds));
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(connection);
        };
        OwnAnswer { status: *status, content_type, body: body.as_bytes() }
            .write(to_head, fields, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_it_lets_through() {
        let allow = ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"].map(str::to_owned).into();
        let rule = Maintenance::new(wire::Maintenance { allow, ..Default::default() }).unwrap();
        for client in ["10.1.2.3", "192.0.2.7", "2001:db8::1"] {
            assert!(rule.allows(client.parse().unwrap()), "{client}");
        }
        for client in ["11.1.2.3", "192.0.2.8", "2001:db9::1"] {
            assert!(!rule.allows(client.parse().unwrap()), "{client}");
        }
        for allow in ["10.0.0.0/33", "all", ""] {
            let wire = wire::Maintenance { allow: vec![allow.into()], ..Default::default() };
            let error = Maintenance::new(wire).unwrap_err().to_string();
            assert!(error.contains("allow") && error.contains(allow), "{error}");
        }
    }

    #[test]
    fn what_it_says() {
        let wire = wire::Maintenance {
            body: "<p>back soon".into(),
            retry_after_s: Some(120),
            ..Default::default()
        };
        let rule = Maintenance::new(wire).unwrap();
        let mut out = Vec::new();
        assert_eq!(rule.write(false, b"Connection: close\r\n", &mut out), 12);
        let said = String::from_utf8(out).unwrap();
        let lines = said.split_inclusive('\n');
        assert_eq!(
            lines.filter(|line| !line.starts_with("Date: ")).collect::<String>(),
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html; charset=utf-8\r\n\
             Content-Length: 12\r\nCache-Control: no-store\r\nRetry-After: 120\r\n\
             Connection: close\r\n\r\n<p>back soon"
        );
        let mut out = Vec::new();
        assert_eq!(rule.write(true, b"", &mut out), 0);
        assert!(out.ends_with(b"\r\n\r\n"));
    }
}
