//! Strict-Transport-Security (RFC 6797), as answers have it.

use std::sync::Arc;

use proxyd_wire as wire;
use thiserror::Error;

const YEAR: u64 = 31_536_000;

/// What clients cannot be told.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum NotAnHsts {
    #[error(
        "preload needs subdomains = true and a max_age of at least 31536000: the lists of browsers ask for that"
    )]
    Preload,
    #[error("max_age is {0}: write a number from 0 to 315360000, which is ten years")]
    MaxAge(u64),
}

impl NotAnHsts {
    pub(crate) fn key(&self) -> &'static str {
        match self {
            NotAnHsts::Preload => "preload",
            NotAnHsts::MaxAge(_) => "max_age",
        }
    }
}

/// The whole line.
pub(crate) fn line(wire: &wire::Hsts) -> Result<Arc<[u8]>, NotAnHsts> {
    if wire.max_age > 10 * YEAR {
        return Err(NotAnHsts::MaxAge(wire.max_age));
    }
    if wire.preload && (!wire.subdomains || wire.max_age < YEAR) {
        return Err(NotAnHsts::Preload);
    }
    let mut line = format!("Strict-Transport-Security: max-age={}", wire.max_age);
    if wire.subdomains {
        line.push_str("; includeSubDomains");
    }
    if wire.preload {
        line.push_str("; preload");
    }
    line.push_str("\r\n");
    Ok(line.into_bytes().into())
}
