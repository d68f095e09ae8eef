//! Waiting for something to become true, with a deadline instead of a guess.

use std::time::{Duration, Instant};

/// Far longer than anything takes, also on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What `look` finds, as soon as it finds it.
#[track_caller]
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_for(PATIENCE, what, look)
}

/// The same for what may take longer, as an emulated machine beside other work.
#[track_caller]
pub fn until_for<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let by = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < by, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}
