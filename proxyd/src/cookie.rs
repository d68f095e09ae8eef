//! Cookies as far as a proxy looks into them: one is read, or one is set.

use proxyd_wire::{SameSite, Sticky};

use crate::h1::field::{Field, Role};

/// The value of the first field of a name.
pub(crate) fn field<'a>(head: &'a [u8], fields: &[Field], name: &str) -> Option<&'a [u8]> {
    let named = |field: &&Field| field.name.of(head).eq_ignore_ascii_case(name.as_bytes());
    fields.iter().find(named).map(|field| field.value.of(head))
}

/// The value of the first cookie of a name; quotes around it are not part of it.
pub(crate) fn find<'a>(head: &'a [u8], fields: &[Field], name: &str) -> Option<&'a [u8]> {
    let cookies = |field: &&Field| {
        field.role == Role::End && field.name.of(head).eq_ignore_ascii_case(b"cookie")
    };
    let pairs = fields.iter().filter(cookies).flat_map(|f| f.value.of(head).split(|&b| b == b';'));
    let value = pairs.map(<[u8]>::trim_ascii).find_map(|pair| {
        pair.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
    })?;
    Some(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
}

/// Appends the line that sets a cookie, as the rule has it but for its name.
pub(crate) fn set(name: &str, value: &str, rule: &Sticky, out: &mut Vec<u8>) {
    let mut line = format!("Set-Cookie: {name}={value}; Path={}", rule.path);
    if let Some(seconds) = rule.max_age_s {
        line.push_str("; Max-Age=");
        line.push_str(&seconds.to_string());
    }
    line.push_str(match rule.same_site {
        SameSite::Lax => "; SameSite=Lax",
        SameSite::Strict => "; SameSite=Strict",
        SameSite::None => "; SameSite=None",
    });
    if rule.secure {
        line.push_str("; Secure");
    }
    if rule.http_only {
        line.push_str("; HttpOnly");
    }
    out.extend_from_slice(line.as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1::request::RequestHead;

    #[test]
    fn one_of_many() {
        let head =
            b"GET / HTTP/1.1\r\nHost: a\r\nCookie: x=1; sid=\"two\";y=3\r\nX-Cookie: z=9\r\n\
                     cookie: last=l=m\r\n\r\n";
        let mut request = RequestHead::default();
        request.advance(head).unwrap();
        let find = |name| {
            find(head, &request.fields, name)
                .map(|value| String::from_utf8_lossy(value).into_owned())
        };
        assert_eq!(find("x").as_deref(), Some("1"));
        assert_eq!(find("sid").as_deref(), Some("two"));
        assert_eq!(find("y").as_deref(), Some("3"));
        assert_eq!(find("last").as_deref(), Some("l=m"));
        assert_eq!(find("id"), None);
        assert_eq!(find("z"), None);
        assert_eq!(field(head, &request.fields, "x-cookie"), Some(&b"z=9"[..]));
    }

    #[test]
    fn set_as_the_rule_has_it() {
        let mut rule = Sticky {
            cookie: "sid".into(),
            max_age_s: None,
            path: "/".into(),
            same_site: SameSite::Lax,
            secure: false,
            http_only: true,
        };
        let said = |rule: &Sticky| {
            let mut out = Vec::new();
            set(&rule.cookie, "v", rule, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(said(&rule), "Set-Cookie: sid=v; Path=/; SameSite=Lax; HttpOnly\r\n");
        rule = Sticky {
            max_age_s: Some(60),
            path: "/x".into(),
            same_site: SameSite::None,
            secure: true,
            http_only: false,
            ..rule
        };
        assert_eq!(
            said(&rule),
            "Set-Cookie: sid=v; Path=/x; Max-Age=60; SameSite=None; Secure\r\n"
        );
    }
}
