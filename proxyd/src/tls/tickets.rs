//! Tickets: what a client keeps of a session, sealed, so that it need not be kept here. All workers
//! seal with the same keys, and so do all proxies that were told the same secret.
//!
//! ```text
//!   secret ──time──▶ next secret ──time──▶ …      each step one way: what is past cannot be made again
//!      └─▶ key, number of the key
//! ```
//!
//! A ticket is taken while its key is the present one or the one before. Of a secret that another one has
//! replaced the same holds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proxyd_wire as wire;
use rustls::server::ProducesTickets;
use thiserror::Error;

use super::hex;
use super::provider::{aead, hmac, provider};
use crate::limits;

/// A client of TLS 1.3 gets so many: it uses each once, and opens a second connection at times.
pub(super) const SENT: usize = 2;
/// The number of a key, which a ticket begins with.
const NUMBER: usize = 8;

/// A secret that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum NotATicketSecret {
    #[error("`secret` is not 32 bytes in Base64: `openssl rand -base64 32` makes such")]
    Secret,
    #[error("`since` is {0}, which is not in the past ten years: write when the secret was made")]
    Since(u64),
}

/// What keys are made from.
#[derive(Clone)]
pub(crate) struct Secret {
    bytes: [u8; 32],
    /// The period that it is of.
    period: u64,
}

impl Secret {
    pub(crate) fn new(wire: &wire::Tickets) -> Result<Secret, NotATicketSecret> {
        Secret::of_time(wire, now())
    }

    fn of_time(wire: &wire::Tickets, now: u64) -> Result<Secret, NotATicketSecret> {
        let bytes = STANDARD.decode(&wire.secret).map_err(|_| NotATicketSecret::Secret)?;
        let bytes = bytes.try_into().map_err(|_| NotATicketSecret::Secret)?;
        let since = wire.since;
        let oldest = now.saturating_sub(limits::TICKET_SECRET_AGE.as_secs());
        // Clocks of two machines may differ a little.
        if !(oldest..=now.saturating_add(limits::TICKET_PERIOD.as_secs())).contains(&since) {
            return Err(NotATicketSecret::Since(since));
        }
        Ok(Secret { bytes, period: period(since) })
    }

    fn random(now: u64) -> Option<Secret> {
        let mut bytes = [0; 32];
        provider().secure_random.fill(&mut bytes).ok()?;
        Some(Secret { bytes, period: period(now) })
    }

    fn derive(&self, what: &[u8]) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.bytes);
        hmac::sign(&key, what).as_ref().try_into().unwrap_or_default()
    }

    fn next(&self) -> Secret {
        Secret { bytes: self.derive(b"next"), period: self.period + 1 }
    }

    /// What tells it from others, and nothing about it.
    fn name(&self) -> String {
        hex(self.derive(b"name").get(..NUMBER).unwrap_or_default())
    }
}

/// The key of one period.
struct Key {
    number: [u8; NUMBER],
    aead: aead::LessSafeKey,
}

impl Key {
    fn of(secret: &Secret) -> Option<Key> {
        let number = secret.derive(b"number").get(..NUMBER)?.try_into().ok()?;
        let key = aead::UnboundKey::new(&aead::AES_256_GCM, &secret.derive(b"key")).ok()?;
        Some(Key { number, aead: aead::LessSafeKey::new(key) })
    }
}

/// A secret at its present period, and the keys that it has made.
struct Line {
    name: String,
    secret: Secret,
    present: Option<Arc<Key>>,
    before: Option<Arc<Key>>,
}

impl Line {
    fn new(secret: Secret) -> Line {
        let present = Key::of(&secret).map(Arc::new);
        Line { name: secret.name(), secret, present, before: None }
    }

    /// Goes on to a time; what is past is forgotten.
    fn advance(&mut self, to: u64) {
        while self.secret.period < to {
            self.secret = self.secret.next();
            let next = Key::of(&self.secret).map(Arc::new);
            self.before = std::mem::replace(&mut self.present, next);
        }
    }
}

/// The keys of all workers. There are none, and so no tickets, until it begins or is told a secret.
#[derive(Default)]
pub(crate) struct Tickets(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    own: Option<Line>,
    replaced: Option<Line>,
    /// The period in which it was.
    since: u64,
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

impl Tickets {
    fn lock(&self, now: u64) -> MutexGuard<'_, Lines> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let period = period(now);
        if let Some(own) = &mut lines.own {
            own.advance(period);
        }
        if lines.since.saturating_add(2) <= period {
            lines.replaced = None;
        }
        if let Some(replaced) = &mut lines.replaced {
            replaced.advance(period);
        }
        lines
    }

    /// Makes a secret, unless there is one. Only who speaks TLS needs one, and a machine that has just been booted may take
    /// a second until it has anything that nobody can guess.
    pub(crate) fn begin(&self) {
        let now = now();
        let mut lines = self.lock(now);
        if lines.own.is_none() {
            // Nobody else has it, so it needs no name.
            let unnamed = |secret| Line { name: String::new(), ..Line::new(secret) };
            lines.own = Secret::random(now).map(unnamed);
        }
    }

    /// Seals with this from now on. `false`: it does already.
    pub(crate) fn put(&self, secret: Secret) -> bool {
        let now = now();
        let mut lines = self.lock(now);
        let mut new = Line::new(secret);
        if lines.own.as_ref().is_some_and(|own| own.name == new.name) {
            return false;
        }
        new.advance(period(now));
        lines.replaced = lines.own.replace(new);
        lines.since = period(now);
        true
    }

    /// What tells the present secret from others; empty if it was made here.
    pub(crate) fn name(&self) -> String {
        self.lock(now()).own.as_ref().map(|own| own.name.clone()).unwrap_or_default()
    }

    /// For whoever goes on where this process ends.
    pub(crate) fn wire(&self) -> Option<wire::Tickets> {
        let lines = self.lock(now());
        let secret = &lines.own.as_ref()?.secret;
        let since = secret.period.saturating_mul(limits::TICKET_PERIOD.as_secs());
        Some(wire::Tickets { secret: STANDARD.encode(secret.bytes), since })
    }

    fn seal(&self, plain: &[u8], bound: &[u8], now: u64) -> Option<Vec<u8>> {
        let key = self.lock(now).own.as_ref()?.present.clone()?;
        let mut nonce = [0; aead::NONCE_LEN];
        provider().secure_random.fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        let unique = aead::Nonce::assume_unique_for_key(nonce);
        key.aead.seal_in_place_append_tag(unique, aead::Aad::from(bound), &mut sealed).ok()?;
        Some([&key.number[..], &nonce, &sealed].concat())
    }

    fn open(&self, ticket: &[u8], bound: &[u8], now: u64) -> Option<Vec<u8>> {
        let (number, rest) = ticket.split_at_checked(NUMBER)?;
        let (nonce, sealed) = rest.split_at_checked(aead::NONCE_LEN)?;
        let key = {
            let lines = self.lock(now);
            let lines = [&lines.own, &lines.replaced].into_iter().flatten();
            let mut keys = lines.flat_map(|line| [&line.present, &line.before]).flatten();
            Arc::clone(keys.find(|key| key.number == number)?)
        };
        let nonce = aead::Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let plain = key.aead.open_in_place(nonce, aead::Aad::from(bound), &mut sealed).ok()?;
        Some(plain.to_vec())
    }
}

/// Tickets under some settings: where clients have to show other certificates, those of before are
/// worth nothing.
#[derive(Debug)]
pub(super) struct Sealer {
    pub(super) tickets: Arc<Tickets>,
    pub(super) bound: Vec<u8>,
}

impl ProducesTickets for Sealer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(limits::TICKET_PERIOD.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.tickets.seal(plain, &self.bound, now())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.tickets.open(ticket, &self.bound, now())
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn period(now: u64) -> u64 {
    now / limits::TICKET_PERIOD.as_secs()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUND: &[u8] = b"settings";

    fn secret(byte: u8, since: u64) -> wire::Tickets {
        wire::Tickets { secret: STANDARD.encode([byte; 32]), since }
    }

    /// One that has been told a secret when it was made.
    fn told(byte: u8, since: u64, now: u64) -> Tickets {
        let line = Line::new(Secret::of_time(&secret(byte, since), now).unwrap());
        Tickets(Mutex::new(Lines { own: Some(line), ..Lines::default() }))
    }

    fn begun() -> Tickets {
        let tickets = Tickets::default();
        assert_eq!(tickets.seal(b"session", BOUND, now()), None, "nobody has given it a secret");
        tickets.begin();
        tickets
    }

    #[test]
    fn o21_what_one_proxy_seals_another_opens() {
        let hour = 3600;
        let start = now();
        let old = told(1, start, start);
        let ticket = old.seal(b"session", BOUND, start + hour).unwrap();
        let late = start + 30 * hour;
        let late_ticket = old.seal(b"late", BOUND, late).unwrap();
        // The new one was told the same later on.
        let new = told(1, start, late);
        assert_eq!(new.open(&late_ticket, BOUND, late).unwrap(), b"late");
        assert_eq!(told(1, start, start).open(&ticket, BOUND, start + hour).unwrap(), b"session");
        assert_eq!(new.open(&ticket, BOUND, late), None, "its time is over");
        assert_eq!(old.open(&ticket, BOUND, late), None);
        assert_eq!(told(2, start, start).open(&ticket, BOUND, start + hour), None);
        assert_eq!(old.open(&late_ticket, b"others", late), None, "other settings");
    }

    #[test]
    fn who_goes_on_where_another_ended_takes_its_tickets() {
        let (one, other) = (begun(), begun());
        let ticket = one.seal(b"session", BOUND, now()).unwrap();
        assert_eq!(other.open(&ticket, BOUND, now()), None);
        let before = other.seal(b"before", BOUND, now()).unwrap();
        let handed = Secret::new(&one.wire().unwrap()).unwrap();
        assert!(other.put(handed.clone()));
        assert!(!other.put(handed), "it has it already");
        assert!(one.name().is_empty() && !other.name().is_empty());
        assert_eq!(other.open(&ticket, BOUND, now()).unwrap(), b"session");
        assert_eq!(other.open(&before, BOUND, now()).unwrap(), b"before");
        let later = now() + 2 * limits::TICKET_PERIOD.as_secs();
        assert_eq!(other.open(&before, BOUND, later), None);
    }

    #[test]
    fn odd_secrets_are_told() {
        let at = 1_800_000_000;
        for (wire, said) in [
            (wire::Tickets { secret: "x".into(), since: at }, NotATicketSecret::Secret),
            (
                wire::Tickets { secret: STANDARD.encode([1; 31]), since: at },
                NotATicketSecret::Secret,
            ),
            (secret(1, 0), NotATicketSecret::Since(0)),
            (secret(1, u64::MAX), NotATicketSecret::Since(u64::MAX)),
        ] {
            assert_eq!(Secret::of_time(&wire, at).err(), Some(said));
        }
    }

    proptest! {
        #[test]
        fn nothing_else_is_a_ticket(mut ticket in proptest::collection::vec(any::<u8>(), 0..100), at: prop::sample::Index) {
            let tickets = begun();
            prop_assert_eq!(tickets.open(&ticket, BOUND, now()), None);
            let mut changed = tickets.seal(&ticket, BOUND, now()).unwrap();
            let at = at.index(changed.len());
            changed[at] ^= 1;
            prop_assert_eq!(tickets.open(&changed, BOUND, now()), None);
            changed[at] ^= 1;
            prop_assert_eq!(tickets.open(&changed, BOUND, now()), Some(std::mem::take(&mut ticket)));
        }
    }
}
