//! What clients resume sessions by: a secret that all generations of the proxy share, so that one that takes over from
//! another takes its tickets, too. It is kept in the runtime folder, for nobody else to read, and is of one day.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proxyd_wire::Tickets;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use super::pair::hex;
use crate::durable::{self, OWN};

/// How long one is told to new proxies; what it has sealed is worth something for as long as the proxy says.
pub(crate) const AGE: Duration = Duration::from_hours(24);
const BYTES: usize = 32;
/// Of the name of a secret.
const NAME: usize = 8;

fn file(run_dir: &Path) -> PathBuf {
    run_dir.join("tickets")
}

/// The present one, which is made if need be. `now` in seconds since 1970.
pub(super) fn present(run_dir: &Path, now: u64) -> io::Result<Tickets> {
    let path = file(run_dir);
    let kept = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    // One of the future is of a clock that was wrong.
    let is_present = |kept: &Tickets| {
        name(kept).is_some() && (kept.since..kept.since + AGE.as_secs()).contains(&now)
    };
    if let Some(kept) = kept.filter(is_present) {
        return Ok(kept);
    }
    let mut bytes = [0; BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("no randomness"))?;
    let new = Tickets { secret: STANDARD.encode(bytes), since: now };
    durable::replace(&path, &serde_json::to_vec(&new)?, OWN)?;
    Ok(new)
}

/// What the proxy tells it by from others.
pub(crate) fn name(tickets: &Tickets) -> Option<String> {
    let bytes = STANDARD.decode(&tickets.secret).ok().filter(|bytes| bytes.len() == BYTES)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
    Some(hex(hmac::sign(&key, b"name").as_ref().get(..NAME)?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn o21_a_secret_is_kept_for_a_day_and_is_nobody_elses() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |now| present(folder.path(), now).expect("kept");
        let first = at(1_000_000);
        let mode = std::fs::metadata(file(folder.path())).expect("there").mode() & 0o777;
        assert_eq!(mode, OWN);
        assert_eq!(at(1_000_000 + 86_399), first);
        let next = at(1_000_000 + 86_400);
        assert!(next != first && name(&next) != name(&first));
        assert_ne!(at(999_999), next, "the clock was wrong");
        std::fs::write(file(folder.path()), "{}").expect("written");
        assert!(
            name(&at(1_000_000)).is_some_and(|name| name.len() == 16),
            "what is damaged is made anew"
        );
    }
}
