//! How many clients there are: in all, and of one address.
//!
//! In all, new ones wait in the backlog while it is full, so that they are served in their order; and
//! connections that are idle are let go earlier, those that have been so for longest first. Of one address more are turned away, because waiting they would be in the way of others.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::quality::RandomState;
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};

use crate::limits;

use crate::say::say;

/// The clients of all workers.
#[derive(Debug)]
pub(crate) struct Crowd {
    total: AtomicUsize,
    /// What the descriptors of the process allow: the rest is for connections to targets.
    room: usize,
    /// Connections to targets, and the ends of pipes.
    places: AtomicUsize,
    /// Of clients and connections to targets together: the rest is for whoever says what is wanted.
    descriptors: usize,
    /// That it is full was said, and has been true since.
    said: AtomicBool,
    by_client: Mutex<HashMap<u64, u32, RandomState>>,
}

impl Crowd {
    /// Knows the process's limit of descriptors as it is now.
    pub(crate) fn new(workers: usize) -> Crowd {
        let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
        let own = limits::OWN_DESCRIPTORS + workers.saturating_mul(limits::WORKER_DESCRIPTORS);
        let all = usize::try_from(descriptors).unwrap_or(usize::MAX);
        let left = all.saturating_sub(own).max(all / 2);
        // However many workers there are, clients leave some for their targets.
        Crowd::with_room(room(descriptors).min(left - left / 4), left)
    }

    fn with_room(room: usize, descriptors: usize) -> Crowd {
        Crowd {
            total: AtomicUsize::new(0),
            room,
            places: AtomicUsize::new(0),
            descriptors,
            said: AtomicBool::new(false),
            by_client: Mutex::default(),
        }
    }

    /// Counts a connection in, unless there are too many.
    pub(crate) fn enter(&self, most: usize) -> bool {
        let most = most.min(self.room);
        let before = self.total.fetch_add(1, Ordering::AcqRel);
        if before < most {
            // Well below it, so that one who comes and goes does not make it said again.
            if before < most - (most / 8).max(1) && self.said.load(Ordering::Relaxed) {
                self.said.store(false, Ordering::Relaxed);
            }
            return true;
        }
        self.total.fetch_sub(1, Ordering::AcqRel);
        if !self.said.swap(true, Ordering::Relaxed) {
            say!("proxyd: {most} clients are connected, as many as may be: new ones wait");
        }
        false
    }

    /// A place for a connection to a target, unless the descriptors that are left are for others.
    pub(crate) fn place(self: &Arc<Self>) -> io::Result<Place> {
        let place = Place(Arc::clone(self));
        let places = self.places.fetch_add(1, Ordering::AcqRel);
        if self.total.load(Ordering::Acquire).saturating_add(places) < self.descriptors {
            Ok(place)
        } else {
            Err(Errno::EMFILE.into())
        }
    }

    /// Places for what can be done without, as long as most are free.
    pub(crate) fn spare_places(self: &Arc<Self>) -> Option<[Place; 2]> {
        let places = self.places.fetch_add(2, Ordering::AcqRel);
        let both = [Place(Arc::clone(self)), Place(Arc::clone(self))];
        let taken = self.total.load(Ordering::Acquire).saturating_add(places);
        (taken < self.descriptors / 2).then_some(both)
    }

    /// Whether somebody had to wait, and there is not much more room since.
    pub(crate) fn is_full(&self) -> bool {
        self.said.load(Ordering::Relaxed)
    }

    pub(crate) fn leave(&self) {
        self.total.fetch_sub(1, Ordering::AcqRel);
    }

    /// Says it once, until there is room again.
    pub(crate) fn is_exhausted(&self) {
        if !self.said.swap(true, Ordering::Relaxed) {
            say!("proxyd: the process or the machine has no descriptor left: new clients wait");
        }
    }

    /// A place for one more connection of a client, unless it has too many.
    pub(crate) fn seat(self: &Arc<Self>, client: IpAddr, most: u32) -> Option<Seat> {
        let key = key(client);
        let mut all = self.by_client.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(key).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Seat { crowd: Arc::clone(self), key })
    }
}

/// Three quarters of the descriptors, less what the process needs in any case. Each client that is
/// served wants one more for its target, each that is idle does not.
fn room(descriptors: u64) -> usize {
    let few = descriptors / 4;
    usize::try_from((descriptors - few).saturating_sub(24).max(few)).unwrap_or(usize::MAX)
}

/// An IPv4 address, or the 64 bits of an IPv6 address that its owner does not choose.
fn key(client: IpAddr) -> u64 {
    match client {
        // In a network that is no one's.
        IpAddr::V4(address) => 0xffff_0000_0000 | u64::from(u32::from(address)),
        IpAddr::V6(address) => u64::try_from(u128::from(address) >> 64).unwrap_or_default(),
    }
}

/// A connection to a target, or one end of a pipe, counted; dropping it counts it out.
#[derive(Debug)]
pub(crate) struct Place(Arc<Crowd>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.places.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A place that is taken; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Seat {
    crowd: Arc<Crowd>,
    key: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut all = self.crowd.by_client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                all.remove(&self.key);
                // A crowd that has gone holds no memory.
                if all.len() < all.capacity() / 8 {
                    all.shrink_to_fit();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_of_one_client() {
        let crowd = Arc::new(Crowd::with_room(10, 20));
        let first = crowd.seat(ip("10.0.0.1"), 2).unwrap();
        let _second = crowd.seat(ip("10.0.0.1"), 2).unwrap();
        assert!(crowd.seat(ip("10.0.0.1"), 2).is_none());
        assert!(crowd.seat(ip("10.0.0.2"), 2).is_some());
        drop(first);
        assert!(crowd.seat(ip("10.0.0.1"), 2).is_some());
        let _one = crowd.seat(ip("2001:db8::1"), 1).unwrap();
        assert!(crowd.seat(ip("2001:db8::ffff:1"), 1).is_none(), "the same network");
        assert!(crowd.seat(ip("2001:db8:0:1::1"), 1).is_some());
        assert_eq!(crowd.by_client.lock().unwrap().len(), 2, "who has gone is forgotten");
    }

    #[test]
    fn some_descriptors_are_for_nobody_s_requests() {
        let crowd = Arc::new(Crowd::with_room(3, 4));
        let first = crowd.place().unwrap();
        assert!(crowd.enter(5) && crowd.enter(5));
        let _second = crowd.place().unwrap();
        let full = crowd.place().unwrap_err();
        assert!(crate::listener::is_exhausted(&full));
        drop(first);
        assert!(crowd.place().is_ok(), "who was refused is not counted");
    }

    #[test]
    fn the_last_places_are_not_for_what_can_be_done_without() {
        let crowd = Arc::new(Crowd::with_room(6, 8));
        let first = crowd.spare_places().unwrap();
        let second = crowd.spare_places().unwrap();
        assert!(crowd.spare_places().is_none());
        drop(first);
        assert!(crowd.spare_places().is_some(), "who was refused is not counted");
        drop(second);
        assert_eq!(crowd.places.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn no_more_than_fit() {
        let crowd = Crowd::with_room(2, 4);
        assert!(crowd.enter(5) && crowd.enter(5) && !crowd.enter(5));
        crowd.leave();
        assert!(crowd.enter(5));
        crowd.leave();
        assert!(!crowd.enter(1));
    }

    #[test]
    fn descriptors_are_kept_for_targets() {
        for (descriptors, clients) in [(40, 10), (1024, 744), (20_000, 14_976), (0, 0)] {
            assert_eq!(room(descriptors), clients);
        }
    }
}
