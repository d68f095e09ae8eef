//! How many connections there are: those who have shown a good token, and those who have not yet.
//!
//! At most 256 have not, each for 10 seconds at most; when one more comes, the one that has taken longest is closed.
//! So a thousand who say nothing keep nobody out who has something to say. At most 512 have shown one; beyond, they are
//! answered 503.

use std::collections::BTreeMap;

use tokio::task::AbortHandle;

const PENDING: usize = 256;
const ADMITTED: usize = 512;

/// A connection, numbered in the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seat(u64);

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    next: u64,
    /// With what ends it; none for a moment, while it is being made.
    pending: BTreeMap<Seat, Option<AbortHandle>>,
    admitted: usize,
}

impl Crowd {
    /// One more has come.
    pub(super) fn enter(&mut self) -> Seat {
        if self.pending.len() >= PENDING
            && let Some((_, Some(longest))) = self.pending.pop_first()
        {
            longest.abort();
        }
        let seat = Seat(self.next);
        self.next = self.next.saturating_add(1);
        self.pending.insert(seat, None);
        seat
    }

    /// What ends it, if that is still of interest.
    pub(super) fn hold(&mut self, seat: Seat, end: AbortHandle) {
        if let Some(held) = self.pending.get_mut(&seat) {
            *held = Some(end);
        }
    }

    /// It has shown a good token, for the first time if it was pending. Whether there is room.
    pub(super) fn admit(&mut self, seat: Seat) -> bool {
        if self.admitted >= ADMITTED && self.pending.contains_key(&seat) {
            return false;
        }
        if self.pending.remove(&seat).is_some() {
            self.admitted += 1;
        }
        true
    }

    /// It has ended.
    pub(super) fn leave(&mut self, seat: Seat, was_admitted: bool) {
        self.pending.remove(&seat);
        if was_admitted {
            self.admitted = self.admitted.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn z09_who_says_nothing_gives_way_to_who_comes() {
        let mut crowd = Crowd::default();
        let mut tasks = Vec::new();
        for _ in 0..=PENDING {
            let seat = crowd.enter();
            let task = tokio::spawn(std::future::pending::<()>());
            crowd.hold(seat, task.abort_handle());
            tasks.push((seat, task));
        }
        assert_eq!(crowd.pending.len(), PENDING);
        let (_, first) = tasks.remove(0);
        assert!(first.await.expect_err("it was ended").is_cancelled());
        assert!(tasks.iter().all(|(_, task)| !task.is_finished()));
        let (seat, _) = tasks.pop().expect("the last one");
        assert!(crowd.admit(seat) && crowd.admit(seat));
        assert_eq!((crowd.pending.len(), crowd.admitted), (PENDING - 1, 1));
        crowd.leave(seat, true);
        assert_eq!(crowd.admitted, 0);
    }

    #[test]
    fn z09_those_who_were_let_in_are_bounded_too() {
        let mut crowd = Crowd::default();
        let seats: Vec<Seat> = (0..=ADMITTED)
            .map(|_| {
                let seat = crowd.enter();
                crowd.admit(seat);
                seat
            })
            .collect();
        let (last, first) = (seats[ADMITTED], seats[0]);
        assert!(!crowd.admit(last) && crowd.admit(first), "who is in stays in");
        crowd.leave(first, true);
        assert!(crowd.admit(last));
    }
}
