//! What one request and its answer may cost: the defaults, or what the front and the route say.

use std::time::Duration;

use proxyd_wire as wire;
use thiserror::Error;

use crate::limits;

/// A number that a setting cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{field}` is {value}: write a number from {least} to {most}")]
pub(crate) struct OutOfRange {
    field: &'static str,
    value: u64,
    least: u64,
    most: u64,
}

impl OutOfRange {
    /// The key that is wrong.
    pub(crate) fn key(&self) -> Vec<String> {
        self.field.split('.').map(str::to_owned).collect()
    }
}

/// A setting that is a number within a range, if it is set.
pub(crate) fn within(
    field: &'static str,
    value: Option<u64>,
    least: u64,
    most: u64,
) -> Result<Option<u64>, OutOfRange> {
    match value {
        Some(value) if value < least || value > most => {
            Err(OutOfRange { field, value, least, most })
        }
        value => Ok(value),
    }
}

/// A setting that is a time in milliseconds, if it is set.
pub(crate) fn time(
    field: &'static str,
    value: Option<u64>,
) -> Result<Option<Duration>, OutOfRange> {
    let most = u64::try_from(limits::LONGEST_TIME.as_millis()).unwrap_or(u64::MAX);
    Ok(within(field, value, 1, most)?.map(Duration::from_millis))
}

/// The bounds of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Of its body: more is 413.
    pub(crate) body_bytes: u64,
    /// From the request to the head of its answer.
    pub(crate) answer: Duration,
    /// Between two pieces of its body.
    pub(crate) body_gap: Duration,
    /// Between two pieces of its answer.
    pub(crate) answer_gap: Duration,
    /// Without a byte in either direction, once it is upgraded.
    pub(crate) tunnel: Duration,
    /// Until a receiver takes a byte.
    pub(crate) write: Duration,
    /// Until a connection to a target is made.
    pub(crate) connect: Duration,
    /// Bytes a second, while a client is waited for.
    pub(crate) rate: u64,
    /// The same of a request's body whose length its client did not know: it may be a conversation.
    pub(crate) stream_rate: u64,
    /// Over what time.
    pub(crate) window: Duration,
    /// A client that has ended its side is not gone.
    pub(crate) half_closed: bool,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            body_bytes: limits::BODY,
            answer: limits::ANSWER_TIME,
            body_gap: limits::BODY_TIME,
            answer_gap: limits::BODY_TIME,
            tunnel: limits::TUNNEL_TIME,
            write: limits::BODY_TIME,
            connect: limits::CONNECT_TIME,
            rate: limits::BODY_RATE,
            stream_rate: limits::STREAM_RATE,
            window: limits::RATE_WINDOW,
            half_closed: false,
        }
    }
}

impl Bounds {
    /// Whether a route, or the front, may say so.
    pub(crate) fn check(limits: &wire::Limits) -> Result<(), OutOfRange> {
        within("limits.body_bytes", limits.body_bytes, 0, i64::MAX.unsigned_abs())?;
        within("limits.body_rate", limits.body_rate, 0, limits::HIGHEST_RATE)?;
        time("limits.answer_ms", limits.answer_ms)?;
        time("limits.stream_idle_ms", limits.stream_idle_ms)?;
        Ok(())
    }

    /// The same, but for what is said otherwise.
    pub(crate) fn with(self, limits: &wire::Limits) -> Bounds {
        let time = |ms: Option<u64>, else_: Duration| ms.map_or(else_, Duration::from_millis);
        Bounds {
            body_bytes: limits.body_bytes.unwrap_or(self.body_bytes),
            answer: time(limits.answer_ms, self.answer),
            answer_gap: time(limits.stream_idle_ms, self.answer_gap),
            tunnel: time(limits.stream_idle_ms, self.tunnel),
            rate: limits.body_rate.unwrap_or(self.rate),
            stream_rate: limits.body_rate.unwrap_or(self.stream_rate),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_said_differs() {
        let bounds = Bounds::default();
        assert_eq!(bounds.with(&wire::Limits::default()), bounds);
        let limits = wire::Limits { body_bytes: Some(7), ..wire::Limits::default() };
        assert_eq!(bounds.with(&limits), Bounds { body_bytes: 7, ..bounds });
        let limits = wire::Limits { stream_idle_ms: Some(9), ..wire::Limits::default() };
        let idle = Duration::from_millis(9);
        assert_eq!(bounds.with(&limits), Bounds { answer_gap: idle, tunnel: idle, ..bounds });
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let limits = wire::Limits { answer_ms: Some(0), ..wire::Limits::default() };
        let error = Bounds::check(&limits).unwrap_err().to_string();
        assert_eq!(error, "`limits.answer_ms` is 0: write a number from 1 to 604800000");
    }
}
