//! Who waits for a target of a service, over all workers, in the order in which they came.
//!
//! Only the first in line is ever called. Who is called tries to get what he waits for; whoever
//! leaves the front, with it or without, lets the next one try. So one place that gets free wakes one
//! waiter, or two, however many there are.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The line.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// To be looked at without the lock. Who joins counts himself in before he looks for a place;
    /// who frees a place looks here after that: so one of the two sees the other.
    length: AtomicUsize,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    next: u64,
    waiting: BTreeMap<u64, Waiter>,
}

#[derive(Debug)]
struct Waiter {
    /// There may be something for him.
    called: bool,
    waker: Option<Waker>,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.length.load(Ordering::SeqCst)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place at the end; `None` if as many wait already.
    pub(crate) fn join(self: &Arc<Queue>, bound: usize) -> Option<Place> {
        let mut line = self.line();
        if line.waiting.len() >= bound {
            return None;
        }
        let ticket = line.next;
        line.next += 1;
        // What has got free before he came has called nobody.
        let called = line.waiting.is_empty();
        line.waiting.insert(ticket, Waiter { called, waker: None });
        self.length.store(line.waiting.len(), Ordering::SeqCst);
        Some(Place { queue: Arc::clone(self), ticket })
    }

    /// Lets the first in line try.
    pub(crate) fn call(&self) {
        if self.is_empty() {
            return;
        }
        let mut line = self.line();
        let waker = line.waiting.values_mut().next().and_then(|first| {
            first.called = true;
            first.waker.take()
        });
        drop(line);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A place in line; dropping it leaves.
#[derive(Debug)]
pub(crate) struct Place {
    queue: Arc<Queue>,
    ticket: u64,
}

impl Place {
    pub(crate) fn is_in(&self, queue: &Arc<Queue>) -> bool {
        Arc::ptr_eq(&self.queue, queue)
    }

    /// Ready when it is time to try. It is not again before the next call.
    pub(crate) fn poll_turn(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut line = self.queue.line();
        match line.waiting.get_mut(&self.ticket) {
            Some(waiter) if !waiter.called => {
                waiter.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(waiter) => {
                waiter.called = false;
                Poll::Ready(())
            }
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut line = self.queue.line();
        let was_first = line.waiting.keys().next() == Some(&self.ticket);
        line.waiting.remove(&self.ticket);
        self.queue.length.store(line.waiting.len(), Ordering::SeqCst);
        drop(line);
        if was_first {
            self.queue.call();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::task::Wake;

    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicU64);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn ready(place: &Place, woken: &Arc<Woken>) -> bool {
        let waker = Waker::from(Arc::clone(woken));
        place.poll_turn(&mut Context::from_waker(&waker)).is_ready()
    }

    /// Wakes a thread that sleeps.
    struct Unpark(std::thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    /// Threads that claim a target with room for two, and wait for it: none sleeps for ever, whatever
    /// happens between its look and its sleep.
    #[test]
    fn no_call_is_lost_between_threads() {
        let queue = Arc::new(Queue::default());
        let address = crate::target::Address::parse("unix:/x").unwrap();
        let target = crate::target::Target::new(1, String::new(), address, Arc::clone(&queue));
        let claim = || {
            if queue.is_empty() && target.claim(2).is_some() {
                return;
            }
            let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
            let place = queue.join(usize::MAX).unwrap();
            loop {
                let begin = std::time::Instant::now();
                while place.poll_turn(&mut Context::from_waker(&waker)).is_pending() {
                    std::thread::park_timeout(std::time::Duration::from_secs(20));
                    assert!(begin.elapsed().as_secs() < 20, "nobody called");
                }
                if target.claim(2).is_some() {
                    return;
                }
            }
        };
        std::thread::scope(|scope| {
            for number in 0..6 {
                let (claim, target) = (&claim, &target);
                scope.spawn(move || {
                    for round in 0..3000 {
                        claim();
                        if (round + number) % 7 == 0 {
                            std::thread::yield_now();
                        }
                        target.release();
                    }
                });
            }
        });
        assert!(queue.is_empty() && target.in_flight() == 0);
    }

    #[test]
    fn the_first_tries_and_the_next_when_he_has_left() {
        let (queue, woken) = (Arc::new(Queue::default()), Arc::new(Woken::default()));
        let first = queue.join(3).unwrap();
        let second = queue.join(3).unwrap();
        let third = queue.join(3).unwrap();
        assert!(queue.join(3).is_none());
        assert!(ready(&first, &woken) && !ready(&first, &woken) && !ready(&second, &woken));
        assert!(!ready(&third, &woken));
        queue.call();
        queue.call();
        assert_eq!(woken.0.load(Ordering::SeqCst), 1, "only the first");
        drop(second);
        assert_eq!(woken.0.load(Ordering::SeqCst), 1, "nothing got free");
        assert!(ready(&first, &woken));
        drop(first);
        assert_eq!(woken.0.load(Ordering::SeqCst), 2);
        assert!(ready(&third, &woken));
        drop(third);
        assert!(queue.is_empty());
    }

    proptest! {
        /// A place for `rooms` at once, whose users come and go in any order: nobody sleeps while
        /// there is room, and nobody overtakes.
        #[test]
        fn nobody_is_forgotten(rooms in 1..4_usize, steps in proptest::collection::vec(0..6_u8, 1..100)) {
            let (queue, woken) = (Arc::new(Queue::default()), Arc::new(Woken::default()));
            let (mut inside, mut waiting, mut entered, mut number) = (0, Vec::new(), Vec::new(), 0);
            for step in steps.into_iter().chain([9]) {
                match step {
                    0 | 1 => {
                        waiting.push((number, queue.join(usize::MAX).unwrap()));
                        number += 1;
                    }
                    2 if inside > 0 => {
                        inside -= 1;
                        queue.call();
                    }
                    3 if !waiting.is_empty() => drop(waiting.remove(waiting.len() / 2)),
                    _ => {}
                }
                // Much may happen before anybody gets to try.
                if step < 4 {
                    continue;
                }
                while let Some(at) = waiting.iter().position(|(_, place)| ready(place, &woken)) {
                    prop_assert_eq!(at, 0);
                    if inside < rooms {
                        inside += 1;
                        entered.push(waiting.remove(at).0);
                    }
                }
                prop_assert!(inside == rooms || waiting.is_empty());
            }
            prop_assert!(entered.is_sorted());
        }
    }
}
