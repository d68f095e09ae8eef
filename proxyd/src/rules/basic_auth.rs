//! Names and passwords. A password that was right once is known again by a keyed hash; only the
//! first time it is checked the slow way, on a thread of its own.
//!
//! A name that is not known takes as long as one that is. What is kept is one number a user, so there
//! is nothing to fill up or to clear.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bcrypt::{BcryptError, HashParts};
use proxyd_wire as wire;
use siphasher::sip128::{Hasher128, SipHasher24};
use subtle::ConstantTimeEq;
use thiserror::Error;
use tokio::sync::Semaphore;

use crate::h1::syntax;
use crate::limits;

/// Some clients leave out the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Whose turn it is to have a password checked, and who is in line, over all routes and workers.
static TURNS: Semaphore = Semaphore::const_new(limits::PASSWORD_CHECKS);
static IN_LINE: AtomicUsize = AtomicUsize::new(0);

/// The users of a route.
#[derive(Debug)]
pub(super) struct BasicAuth {
    wire: wire::BasicAuth,
    users: HashMap<String, Arc<User>>,
    /// Whose password is checked, in vain, for a name that nobody has.
    stranger: Arc<User>,
    /// `WWW-Authenticate`, a whole line.
    challenge: Vec<u8>,
    key: (u64, u64),
}

#[derive(Debug)]
struct User {
    hash: String,
    /// The tag of the name and password that were right.
    known: OnceLock<u128>,
}

/// What cannot be asked for, or checked.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum NotAnAuth {
    #[error("realm is `{0}`: write visible text of at most 200 bytes without `\"` and `\\`")]
    Realm(String),
    #[error("users is empty: name at least one, with what `proxyd hash-password` says")]
    Nobody,
    #[error("users has more than {} names: write fewer", limits::USERS)]
    Many,
    #[error("users has `{0}`: a name is 1 to 200 bytes without `:` and control characters")]
    User(String),
    #[error(
        "users.{0} is not a bcrypt hash of cost 4 to {most}: write what `proxyd hash-password` says",
        most = limits::HASH_COST
    )]
    Hash(String),
}

impl NotAnAuth {
    pub(crate) fn key(&self) -> Vec<String> {
        match self {
            NotAnAuth::Realm(_) => vec!["realm".into()],
            NotAnAuth::Nobody | NotAnAuth::Many => vec!["users".into()],
            NotAnAuth::User(name) | NotAnAuth::Hash(name) => vec!["users".into(), name.clone()],
        }
    }
}

/// Why a password opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// There is none, or a wrong one.
    Wrong,
    /// Too many are to be checked.
    Busy,
}

impl BasicAuth {
    pub(super) fn new(wire: wire::BasicAuth) -> Result<BasicAuth, Vec<NotAnAuth>> {
        let mut wrong = Vec::new();
        let realm = wire.realm.as_bytes();
        if realm.len() > 200 || !syntax::is_value(realm) || wire.realm.contains(['"', '\\']) {
            wrong.push(NotAnAuth::Realm(wire.realm.chars().take(200).collect()));
        }
        if wire.users.len() > limits::USERS {
            return Err(vec![NotAnAuth::Many]);
        }
        let mut users = HashMap::new();
        for (name, hash) in &wire.users {
            if name.is_empty()
                || name.len() > 200
                || name.contains(|c: char| c == ':' || c.is_control())
            {
                wrong.push(NotAnAuth::User(name.chars().take(200).collect()));
            }
            let parts = HashParts::from_str(hash);
            if !parts.is_ok_and(|parts| (4..=limits::HASH_COST).contains(&parts.get_cost())) {
                wrong.push(NotAnAuth::Hash(name.chars().take(200).collect()));
            }
            let user = User { hash: hash.clone(), known: OnceLock::new() };
            users.insert(name.clone(), Arc::new(user));
        }
        let Some(stranger) = wire.users.values().next() else {
            wrong.push(NotAnAuth::Nobody);
            return Err(wrong);
        };
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let stranger = Arc::new(User { hash: stranger.clone(), known: OnceLock::new() });
        let challenge =
            format!("WWW-Authenticate: Basic realm=\"{}\", charset=\"UTF-8\"\r\n", wire.realm);
        // Random by the system's own numbers, and told to nobody.
        let random = RandomState::new();
        let key = (random.hash_one(0), random.hash_one(1));
        Ok(BasicAuth { users, stranger, challenge: challenge.into_bytes(), key, wire })
    }

    /// Whether both know the same users and ask the same way.
    pub(super) fn is_like(&self, other: &BasicAuth) -> bool {
        self.wire == other.wire
    }

    /// A whole line.
    pub(super) fn challenge(&self) -> &[u8] {
        &self.challenge
    }

    pub(super) fn hides_authorization(&self) -> bool {
        self.wire.remove_authorization
    }

    /// Whether the value of an `Authorization` field opens the route, and for whom.
    pub(super) async fn check(&self, value: &[u8]) -> Result<String, Closed> {
        let (name, password) = credentials(value).ok_or(Closed::Wrong)?;
        let tag = self.tag(&name, &password);
        let user = self.users.get(&name);
        if user.is_some_and(|user| user.knows(tag)) {
            return Ok(name);
        }
        let place = Place::take(&IN_LINE).ok_or(Closed::Busy)?;
        let turn = TURNS.acquire().await.map_err(|_| Closed::Busy)?;
        // Somebody before us in the line may have brought the same.
        if user.is_some_and(|user| user.knows(tag)) {
            return Ok(name);
        }
        let asked = Arc::clone(user.unwrap_or(&self.stranger));
        let is_right = tokio::task::spawn_blocking(move || {
            let is_right = bcrypt::non_truncating_verify(&password, &asked.hash);
            drop((turn, place));
            is_right.unwrap_or(false)
        });
        match (user, is_right.await) {
            (Some(user), Ok(true)) => {
                user.known.get_or_init(|| tag);
                Ok(name)
            }
            _ => Err(Closed::Wrong),
        }
    }

    fn tag(&self, name: &str, password: &[u8]) -> u128 {
        let mut hasher = SipHasher24::new_with_keys(self.key.0, self.key.1);
        hasher.write_usize(name.len());
        hasher.write(name.as_bytes());
        hasher.write(password);
        hasher.finish128().as_u128()
    }
}

impl User {
    fn knows(&self, tag: u128) -> bool {
        let known = self.known.get();
        known.is_some_and(|known| known.to_ne_bytes().ct_eq(&tag.to_ne_bytes()).into())
    }
}

/// A place in the line; dropping it leaves.
struct Place(&'static AtomicUsize);

impl Place {
    fn take(line: &'static AtomicUsize) -> Option<Place> {
        let taken = line.fetch_add(1, Ordering::AcqRel);
        let place = Place(line);
        (taken < limits::PASSWORD_QUEUE).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Name and password from `Basic BASE64`.
fn credentials(value: &[u8]) -> Option<(String, Vec<u8>)> {
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let mut decoded = BASE64.decode(syntax::trim(encoded)).ok()?;
    let colon = syntax::find(b':', &decoded)?;
    let password = decoded.split_off(colon + 1);
    decoded.pop();
    Some((String::from_utf8(decoded).ok()?, password))
}

/// The hash of a password, for a config.
///
/// # Errors
/// When it is longer than bcrypt reads, or the cost is none.
pub(crate) fn hash(password: &[u8], cost: u32) -> Result<String, BcryptError> {
    bcrypt::non_truncating_hash(password, cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(users: &[(&str, &str)]) -> wire::BasicAuth {
        let hashed = |&(name, password): &(&str, &str)| {
            (name.to_owned(), hash(password.as_bytes(), 4).unwrap())
        };
        let users = users.iter().map(hashed).collect();
        wire::BasicAuth { realm: "r".into(), users, remove_authorization: false }
    }

    fn check(auth: &BasicAuth, credentials: &str) -> Result<(), Closed> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let value = format!("Basic {}", BASE64.encode(credentials));
        let name = runtime.block_on(auth.check(value.as_bytes()))?;
        assert_eq!(credentials.split(':').next(), Some(name.as_str()));
        Ok(())
    }

    #[test]
    fn right_ones_open_and_are_known_again() {
        let auth = BasicAuth::new(wire(&[("ann", "a:b"), ("bob", "\u{e4}")])).unwrap();
        for wrong in ["ann:a", "ann", "bob:a:b", "eve:a:b", ":a:b", "ann:a:b ", ""] {
            assert_eq!(check(&auth, wrong), Err(Closed::Wrong), "{wrong}");
        }
        assert!(auth.users["ann"].known.get().is_none());
        assert_eq!(check(&auth, "ann:a:b"), Ok(()));
        let tag = auth.tag("ann", b"a:b");
        assert!(auth.users["ann"].knows(tag) && !auth.users["bob"].knows(tag));
        assert_eq!(check(&auth, "ann:a:b"), Ok(()));
        assert_eq!(check(&auth, "ann:a:c"), Err(Closed::Wrong));
        assert_eq!(check(&auth, "bob:\u{e4}"), Ok(()));
        assert_ne!(auth.tag("a", b"nn"), auth.tag("an", b"n"));
    }

    #[test]
    fn odd_credentials_are_wrong() {
        let auth = BasicAuth::new(wire(&[("ann", "x")])).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for value in ["", "Basic", "Basic ", "Basic !!!", "Bearer YW5uOng=", "Basic YW5u"] {
            assert_eq!(
                runtime.block_on(auth.check(value.as_bytes())),
                Err(Closed::Wrong),
                "{value}"
            );
        }
        for value in ["basic YW5uOng=", "BASIC  YW5uOng"] {
            let name = runtime.block_on(auth.check(value.as_bytes()));
            assert_eq!(name.as_deref(), Ok("ann"), "{value}");
        }
    }

    #[test]
    fn odd_users_are_told() {
        assert_eq!(BasicAuth::new(wire(&[])).unwrap_err(), [NotAnAuth::Nobody]);
        let mut odd = wire(&[("a:b", "x")]);
        odd.users.insert("bob".into(), "secret".into());
        odd.users.insert(
            "eve".into(),
            "$2y$31$abcdefghijklmnopqrstuu1234567890123456789012345678901".into(),
        );
        odd.realm = "a\"b".into();
        let wrong = BasicAuth::new(odd).unwrap_err();
        let keys: Vec<String> = wrong.iter().map(|error| error.key().join(".")).collect();
        assert_eq!(keys, ["realm", "users.a:b", "users.bob", "users.eve"]);
        assert!(
            !wrong[2].to_string().contains("secret"),
            "a password may stand where its hash should"
        );
    }

    #[test]
    fn a_line_has_an_end() {
        static LINE: AtomicUsize = AtomicUsize::new(0);
        let all = || std::iter::from_fn(|| Place::take(&LINE)).take(1000);
        assert_eq!(all().collect::<Vec<_>>().len(), limits::PASSWORD_QUEUE);
        assert_eq!(LINE.load(Ordering::SeqCst), 0, "who has left, and who was turned away");
    }
}
