//! A service's settings, checked and ready for use.

use std::ops::RangeInclusive;
use std::time::Duration;

use proxyd_wire as wire;
use thiserror::Error;

use crate::h1::syntax;
use crate::limits;
use crate::network::NotANetwork;

/// The settings of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// As they were put.
    pub(crate) wire: wire::Service,
    /// How the cookie is set that keeps a client at the canary, or off it.
    pub(crate) canary_cookie: Option<wire::Sticky>,
    pub(crate) queue_time: Duration,
    pub(crate) pool_time: Duration,
    pub(crate) stream_grace: Duration,
    /// Nothing of a request decides who gets it, no status is a failure, and targets speak HTTP/1.1.
    pub(crate) usual: bool,
}

/// What cannot be as it was put.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum BadSetting {
    #[error("{field} is {value}: it must be from {low} to {high}")]
    Range { field: &'static str, value: u64, low: u64, high: u64 },
    #[error("{field}: `{name}` is not a name: use letters, digits and any of !#$%&'*+-.^_`|~")]
    Name { field: &'static str, name: String },
    #[error("{field}: {} is not what it can be: {}", quoted(.text), expected(.field))]
    Text { field: &'static str, text: String },
    #[error("allow: {0}")]
    Allow(NotANetwork),
    #[error("sticky.same_site: `none` needs `secure`, browsers refuse the cookie otherwise")]
    Insecure,
    #[error("canary.sticky: it needs the name of a `cookie`")]
    NamelessCanary,
}

impl BadSetting {
    /// The key that is wrong.
    pub(crate) fn key(&self) -> Vec<String> {
        let field = match self {
            BadSetting::Range { field, .. }
            | BadSetting::Name { field, .. }
            | BadSetting::Text { field, .. } => field.trim_start_matches("the length of "),
            BadSetting::Allow(_) => "allow",
            BadSetting::Insecure => "sticky.same_site",
            BadSetting::NamelessCanary => "canary.sticky",
        };
        field.split('.').map(str::to_owned).collect()
    }
}

fn quoted(text: &str) -> String {
    format!("`{}`", text.escape_debug())
}

fn expected(field: &str) -> &'static str {
    match field {
        "sticky.path" => "write visible ASCII from a `/` on, without `;`",
        _ => "write visible ASCII and spaces",
    }
}

pub(crate) fn in_range(
    field: &'static str,
    value: u64,
    range: RangeInclusive<u64>,
) -> Result<(), BadSetting> {
    let (low, high) = range.clone().into_inner();
    if range.contains(&value) { Ok(()) } else { Err(BadSetting::Range { field, value, low, high }) }
}

pub(crate) fn is_field_value(text: &str) -> bool {
    let visible = |byte: u8| (b' '..0x7f).contains(&byte);
    (1..=1024).contains(&text.len()) && text.bytes().all(visible) && text.trim() == text
}

fn name(field: &'static str, name: &str) -> Result<(), BadSetting> {
    if name.len() <= 128 && syntax::is_token(name.as_bytes()) {
        Ok(())
    } else {
        Err(BadSetting::Name { field, name: name.chars().take(200).collect() })
    }
}

impl Settings {
    pub(crate) fn new(wire: wire::Service) -> Result<Settings, BadSetting> {
        match &wire.balance {
            wire::Balance::Hash(wire::HashBy::Header(text)) => name("balance.hash.header", text)?,
            wire::Balance::Hash(wire::HashBy::Cookie(text)) => name("balance.hash.cookie", text)?,
            wire::Balance::Hash(wire::HashBy::Client | wire::HashBy::Path)
            | wire::Balance::LeastLoaded
            | wire::Balance::RoundRobin => {}
        }
        if let Some(sticky) = &wire.sticky {
            check_sticky(sticky)?;
        }
        if let Some(canary) = &wire.canary {
            check_canary(canary)?;
        }
        check_eject(&wire.eject)?;
        check_retry(&wire.retry)?;
        in_range("queue", u64::from(wire.queue), 0..=100_000)?;
        let queue_ms = wire.queue_ms.map_or(5000, u64::from);
        in_range("queue_ms", queue_ms, 1..=3_600_000)?;
        let stream_grace_ms = wire.stream_grace_ms.map_or(0, u64::from);
        in_range("stream_grace_ms", stream_grace_ms, 0..=86_400_000)?;
        in_range("pool.idle_ms", u64::from(wire.pool.idle_ms), 0..=3_600_000)?;
        in_range("pool.size", u64::from(wire.pool.size), 0..=65_536)?;
        in_range("pool.requests", u64::from(wire.pool.requests), 0..=1_000_000_000)?;
        Ok(Settings {
            usual: is_usual(&wire),
            canary_cookie: wire.canary.as_ref().and_then(canary_cookie),
            queue_time: Duration::from_millis(queue_ms),
            pool_time: Duration::from_millis(u64::from(wire.pool.idle_ms)),
            stream_grace: wire
                .stream_grace_ms
                .map_or(limits::STREAM_GRACE, |ms| Duration::from_millis(ms.into())),
            wire,
        })
    }
}

fn is_usual(wire: &wire::Service) -> bool {
    wire.protocol == wire::Protocol::Http1
        && wire.sticky.is_none()
        && wire.canary.is_none()
        && wire.eject.statuses.is_empty()
        && wire.retry.statuses.is_empty()
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            usual: is_usual(&wire::Service::default()),
            wire: wire::Service::default(),
            canary_cookie: None,
            queue_time: Duration::from_secs(5),
            pool_time: Duration::from_secs(4),
            stream_grace: limits::STREAM_GRACE,
        }
    }
}

fn check_sticky(sticky: &wire::Sticky) -> Result<(), BadSetting> {
    name("sticky.cookie", &sticky.cookie)?;
    in_range("sticky.max_age_s", sticky.max_age_s.map_or(0, u64::from), 0..=34_560_000)?;
    if !sticky.path.starts_with('/')
        || sticky.path.contains([';', ' '])
        || !is_field_value(&sticky.path)
    {
        let text = sticky.path.chars().take(200).collect();
        return Err(BadSetting::Text { field: "sticky.path", text });
    }
    if sticky.same_site == wire::SameSite::None && !sticky.secure {
        return Err(BadSetting::Insecure);
    }
    Ok(())
}

fn check_canary(canary: &wire::Canary) -> Result<(), BadSetting> {
    in_range("canary.percent", u64::from(canary.percent), 0..=100)?;
    if let Some(header) = &canary.header {
        name("canary.header", header)?;
    }
    match &canary.cookie {
        Some(cookie) => name("canary.cookie", cookie),
        None if canary.sticky => Err(BadSetting::NamelessCanary),
        None => Ok(()),
    }
}

fn canary_cookie(canary: &wire::Canary) -> Option<wire::Sticky> {
    let cookie = canary.cookie.clone().filter(|_| canary.sticky)?;
    Some(wire::Sticky {
        cookie,
        max_age_s: None,
        path: "/".to_owned(),
        same_site: wire::SameSite::Lax,
        secure: false,
        http_only: true,
    })
}

fn check_eject(eject: &wire::Eject) -> Result<(), BadSetting> {
    in_range("eject.failures", u64::from(eject.failures), 0..=1000)?;
    for &status in &eject.statuses {
        in_range("eject.statuses", u64::from(status), 500..=599)?;
    }
    in_range("the length of eject.statuses", eject.statuses.len() as u64, 0..=100)?;
    in_range("eject.backoff_ms", u64::from(eject.backoff_ms), 10..=3_600_000)?;
    let backoff = u64::from(eject.backoff_ms);
    in_range("eject.max_backoff_ms", u64::from(eject.max_backoff_ms), backoff..=3_600_000)?;
    in_range("eject.panic", u64::from(eject.panic), 0..=100)
}

fn check_retry(retry: &wire::Retry) -> Result<(), BadSetting> {
    in_range("retry.attempts", u64::from(retry.attempts), 1..=10)?;
    for &status in &retry.statuses {
        in_range("retry.statuses", u64::from(status), 502..=504)?;
    }
    in_range("the length of retry.statuses", retry.statuses.len() as u64, 0..=3)?;
    in_range("retry.budget_percent", u64::from(retry.budget_percent), 0..=1000)?;
    in_range("retry.budget_per_s", u64::from(retry.budget_per_s), 0..=10_000)
}

/// Checks a target's settings beside its address.
pub(crate) fn check_target(target: &wire::Target) -> Result<(), BadSetting> {
    in_range("weight", u64::from(target.weight), 0..=256)?;
    in_range("max_in_flight", target.max_in_flight.map_or(1, u64::from), 1..=1_000_000)
}

pub(crate) fn check_pause(pause: &wire::Pause) -> Result<(), BadSetting> {
    in_range("queue", u64::from(pause.queue), 0..=100_000)?;
    in_range("max_ms", u64::from(pause.max_ms), 1..=3_600_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_right() {
        assert_eq!(Settings::new(wire::Service::default()), Ok(Settings::default()));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_range() {
        for (json, parts) in [
            (r#"{"balance":{"hash":{"header":"a b"}}}"#, ["balance.hash.header", "`a b`"]),
            (r#"{"balance":{"hash":{"cookie":""}}}"#, ["balance.hash.cookie", "``"]),
            (r#"{"sticky":{"cookie":"a;b"}}"#, ["sticky.cookie", "`a;b`"]),
            (r#"{"sticky":{"cookie":"a","max_age_s":34560001}}"#, ["sticky.max_age_s", "34560000"]),
            (r#"{"sticky":{"cookie":"a","path":"x"}}"#, ["sticky.path", "`x`"]),
            (r#"{"sticky":{"cookie":"a","path":"/\r\nX: y"}}"#, ["sticky.path", "\\r\\n"]),
            (r#"{"sticky":{"cookie":"a","same_site":"none"}}"#, ["same_site", "secure"]),
            (r#"{"canary":{"percent":101}}"#, ["canary.percent", "0 to 100"]),
            (r#"{"canary":{"cookie":"="}}"#, ["canary.cookie", "`=`"]),
            (r#"{"canary":{"header":"a:"}}"#, ["canary.header", "`a:`"]),
            (r#"{"canary":{"sticky":true}}"#, ["canary.sticky", "cookie"]),
            (r#"{"eject":{"failures":1001}}"#, ["eject.failures", "0 to 1000"]),
            (r#"{"eject":{"statuses":[404]}}"#, ["eject.statuses", "500 to 599"]),
            (r#"{"eject":{"backoff_ms":9}}"#, ["eject.backoff_ms", "10 to 3600000"]),
            (
                r#"{"eject":{"backoff_ms":90,"max_backoff_ms":80}}"#,
                ["eject.max_backoff_ms", "90 to"],
            ),
            (r#"{"eject":{"panic":101}}"#, ["eject.panic", "0 to 100"]),
            (r#"{"retry":{"attempts":0}}"#, ["retry.attempts", "1 to 10"]),
            (r#"{"retry":{"statuses":[500]}}"#, ["retry.statuses", "502 to 504"]),
            (r#"{"retry":{"budget_percent":1001}}"#, ["retry.budget_percent", "0 to 1000"]),
            (r#"{"retry":{"budget_per_s":10001}}"#, ["retry.budget_per_s", "0 to 10000"]),
            (r#"{"queue":100001}"#, ["queue", "0 to 100000"]),
            (r#"{"queue_ms":0}"#, ["queue_ms", "1 to 3600000"]),
            (r#"{"pool":{"idle_ms":3600001}}"#, ["pool.idle_ms", "0 to 3600000"]),
            (r#"{"pool":{"size":65537}}"#, ["pool.size", "0 to 65536"]),
            (r#"{"pool":{"requests":1000000001}}"#, ["pool.requests", "0 to 1000000000"]),
        ] {
            let error = Settings::new(serde_json::from_str(json).unwrap()).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{json}: {error}");
        }
    }

    #[test]
    fn they_come_back_as_they_were_put() {
        for json in [
            "{}",
            r#"{"balance":"round-robin","queue":5}"#,
            r#"{"balance":{"hash":"client"}}"#,
            r#"{"balance":{"hash":{"cookie":"sid"}},"sticky":{"cookie":"s","same_site":"strict"}}"#,
            r#"{"canary":{"percent":5,"cookie":"c","sticky":true},"queue_ms":100}"#,
        ] {
            let wire: wire::Service = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&wire).unwrap(), json);
            assert!(Settings::new(wire).is_ok());
        }
    }
}
