//! How much of the API each user may take up, so that nobody keeps root out.
//!
//! Root and init's own user have seats that nobody else can take, and no bounds of their own.
//! Every other user has so many connections and so many requests a second, and all of them
//! together have so many connections.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::limits::{
    BURST_OF_A_USER, CONNECTIONS_OF_A_USER, CONNECTIONS_OF_OTHERS, KNOWN_USERS, RATE_OF_A_USER,
};

/// Everybody but root and init's own user. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Crowd(Arc<Mutex<Users>>);

#[derive(Debug, Default)]
struct Users {
    users: HashMap<u32, User>,
    connections: usize,
}

#[derive(Debug)]
struct User {
    connections: usize,
    /// Requests that he may send now, as far as they have been counted up to `at`.
    left: f64,
    at: Instant,
}

/// A user's place for one connection, until it is dropped.
#[derive(Debug)]
pub struct Place {
    crowd: Crowd,
    user: u32,
}

impl Crowd {
    /// A place for a connection of `user`, if he and all others may have one more.
    pub(super) fn enter(&self, user: u32, now: Instant) -> Option<Place> {
        let mut users = self.users();
        if users.connections >= CONNECTIONS_OF_OTHERS {
            return None;
        }
        if users.users.len() >= KNOWN_USERS {
            // Who has been quiet for so long would be as good as new anyway.
            users.users.retain(|_, user| user.connections > 0 || !user.is_rested(now));
            if users.users.len() >= KNOWN_USERS {
                return None;
            }
        }
        let new = User { connections: 0, left: BURST_OF_A_USER, at: now };
        let known = users.users.entry(user).or_insert(new);
        if known.connections >= CONNECTIONS_OF_A_USER {
            return None;
        }
        known.connections += 1;
        users.connections += 1;
        Some(Place { crowd: self.clone(), user })
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        // Each change is whole before the next thing that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whether its user may send one more request now.
    pub(super) fn may_ask(&self, now: Instant) -> bool {
        let mut users = self.crowd.users();
        users.users.get_mut(&self.user).is_some_and(|user| user.takes(now))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut users = self.crowd.users();
        users.connections = users.connections.saturating_sub(1);
        if let Some(user) = users.users.get_mut(&self.user) {
            user.connections = user.connections.saturating_sub(1);
        }
    }
}

impl User {
    fn is_rested(&self, now: Instant) -> bool {
        self.filled(now) >= BURST_OF_A_USER
    }

    fn filled(&self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        (self.left + since * RATE_OF_A_USER).min(BURST_OF_A_USER)
    }

    fn takes(&mut self, now: Instant) -> bool {
        self.left = self.filled(now);
        self.at = now;
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn b29_a_user_has_so_many_connections_and_all_have_so_many() {
        let (crowd, now) = (Crowd::default(), Instant::now());
        let mut places: Vec<_> = (0..CONNECTIONS_OF_A_USER).map(|_| crowd.enter(5, now)).collect();
        assert!(places.iter().all(Option::is_some) && crowd.enter(5, now).is_none());
        assert!(crowd.enter(6, now).is_some(), "another one may");
        places.pop();
        assert!(crowd.enter(5, now).is_some(), "who leaves makes room");
        let mut all = Vec::new();
        for user in 10.. {
            match crowd.enter(user, now) {
                Some(place) => all.push(place),
                None => break,
            }
        }
        assert_eq!(all.len() + places.len(), CONNECTIONS_OF_OTHERS);
    }

    #[test]
    fn b29_a_user_may_send_so_many_requests() {
        let (crowd, now) = (Crowd::default(), Instant::now());
        let place = crowd.enter(5, now).unwrap();
        let at_once = (0..10_000_u16).find(|_| !place.may_ask(now)).unwrap();
        assert!((f64::from(at_once) - BURST_OF_A_USER).abs() < 0.5);
        // Coming anew does not help.
        drop(place);
        let place = crowd.enter(5, now).unwrap();
        assert!(!place.may_ask(now));
        let later = now + Duration::from_secs_f64(1.5 / RATE_OF_A_USER);
        assert!(place.may_ask(later) && !place.may_ask(later));
    }

    #[test]
    fn b29_users_are_forgotten_when_that_makes_no_difference() {
        let (crowd, now) = (Crowd::default(), Instant::now());
        for user in 0..u32::try_from(KNOWN_USERS).unwrap() {
            assert!(crowd.enter(user + 10, now).unwrap().may_ask(now));
        }
        assert!(crowd.enter(1, now).is_none(), "too many to be told apart");
        assert!(crowd.enter(1, now + Duration::from_mins(1)).is_some());
    }
}
