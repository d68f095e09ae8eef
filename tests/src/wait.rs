//! Waiting for something to become true, with a deadline instead of a guess.

use std::time::{Duration, Instant};

/// Far longer than anything takes, also on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What `look` finds, as soon as it finds it.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let by = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < by, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}
